//! `/leave`: a peer is no longer a member of a room.

use crate::broker::chat::completion::{Completion, Requester};
use crate::broker::chat::delivery::Delivery;
use crate::broker::chat::lookup::LookupBuilder;
use crate::broker::chat::state::Chat;
use crate::broker::chat::turn::TurnBuilder;
use crate::message::{Room, RoomId};
use crate::protocol::{Refusal, Reply};

pub(super) fn lookup<'a>(room: &'a Room, lookup: &mut LookupBuilder<'a>) {
    lookup.room(room);
}

pub(super) fn decide(
    room: &Room,
    requester: &Requester,
    chat: &mut Chat,
    turn: &mut TurnBuilder,
) -> Result<(), Refusal> {
    let room = chat.membership(requester.peer, room, "nothing was done")?;
    chat.change_membership(requester.peer, room, false, turn);
    turn.complete(Completion::Leave { requester: requester.clone(), room });
    Ok(())
}

pub(super) fn complete(requester: &Requester, room: RoomId, chat: &mut Chat, delivery: &mut Delivery) {
    let left = |chat: &Chat| Reply::Left { room: chat.rooms[&room].name.clone() };
    chat.reply_if_committed(requester, left, "nothing was done", delivery);
}
