//! `/join`: a peer becomes a member of a room, which is created if it does not exist.

use crate::broker::chat::completion::{Completion, Requester};
use crate::broker::chat::delivery::Delivery;
use crate::broker::chat::lookup::LookupBuilder;
use crate::broker::chat::state::Chat;
use crate::broker::chat::turn::TurnBuilder;
use crate::config::Limits;
use crate::limits::ROOMS_PER_PEER_MAX;
use crate::message::{Room, RoomId};
use crate::protocol::{Code, Refusal, Reply};
use crate::store::{Entry, FoundRoom};

pub(super) fn lookup<'a>(room: &'a Room, lookup: &mut LookupBuilder<'a>) {
    lookup.room(room);
}

pub(super) fn decide(
    room: Room,
    requester: &Requester,
    chat: &mut Chat,
    turn: &mut TurnBuilder,
) -> Result<(), Refusal> {
    let peer = requester.peer;
    let found = chat.find_room(&room, "not joined")?;
    if let Some(room) = found.filter(|found| chat.is_member(peer, *found)) {
        join_again(requester.clone(), room, chat, turn);
        return Ok(());
    }
    let rooms = chat.peers[&peer].rooms.values().filter(|member| member.is_in).count();
    if rooms >= ROOMS_PER_PEER_MAX {
        let words = format!("you are in {rooms} rooms, the most that are possible");
        return Err(Refusal::new(Code::BadRequest, words).with_outcome("leave one first; not joined"));
    }
    let room = match found {
        Some(found) => found,
        None => create(room, requester, chat, turn)?,
    };
    chat.change_membership(peer, room, true, turn);
    turn.complete(Completion::Join { requester: requester.clone(), room });
    Ok(())
}

fn join_again(requester: Requester, room: RoomId, chat: &Chat, turn: &mut TurnBuilder) {
    // The first join may be in this turn, and not committed yet.
    if chat.peers[&requester.peer].rooms[&room].joined.is_none() {
        turn.complete(Completion::Join { requester, room });
    } else {
        turn.complete(Completion::JoinAgain { requester, room });
    }
}

fn create(name: Room, requester: &Requester, chat: &mut Chat, turn: &mut TurnBuilder) -> Result<RoomId, Refusal> {
    name.check_new().map_err(|bad| Refusal::new(Code::BadName, bad.to_string()).with_outcome("not joined"))?;
    let rooms_max = Limits::or_none(chat.limits.rooms_max);
    let holder = chat.holder(requester);
    let usage = chat.room_creators.usage(holder);
    if !usage.admits(rooms_max, 1) {
        let words = format!("there are {} rooms, and your share of rooms_max ({rooms_max}) is used up", usage.all);
        return Err(Refusal::new(Code::StorageFull, words).with_outcome("not joined"));
    }
    chat.last_room = chat.last_room.next();
    chat.room_creators.take(chat.last_room, Some(holder));
    turn.write(Entry::Room { id: chat.last_room, name: name.clone(), creator: Some(requester.peer) });
    chat.add_room(name, FoundRoom { id: chat.last_room, members: 0, topic: None });
    Ok(chat.last_room)
}

pub(super) fn complete(requester: &Requester, room: RoomId, chat: &mut Chat, delivery: &mut Delivery) {
    chat.reply_if_committed(requester, |chat| joined(room, chat), "not joined", delivery);
}

pub(super) fn complete_again(requester: &Requester, room: RoomId, chat: &mut Chat, delivery: &mut Delivery) {
    chat.reply(requester, &joined(room, chat), delivery);
}

fn joined(room: RoomId, chat: &Chat) -> Reply {
    let state = &chat.rooms[&room];
    Reply::Joined { room: state.name.clone(), topic: state.topic.clone() }
}
