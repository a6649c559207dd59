//! `/topic`: shows or sets the topic of a room. A change is committed, then announced to the members that are online.

use crate::broker::chat::completion::{Completion, Requester};
use crate::broker::chat::delivery::Delivery;
use crate::broker::chat::lookup::LookupBuilder;
use crate::broker::chat::state::Chat;
use crate::broker::chat::turn::TurnBuilder;
use crate::message::{Recipient, Room, RoomId, SessionId, Text};
use crate::protocol::{Refusal, Reply};
use crate::store::Entry;

/// Deliveries of a message that take as long as one of a topic.
const TOPIC_DELIVERIES: usize = 4;

pub(super) fn lookup<'a>(room: &'a Room, lookup: &mut LookupBuilder<'a>) {
    lookup.room(room);
}

pub(super) fn decide_show(
    room: &Room,
    requester: &Requester,
    chat: &Chat,
    turn: &mut TurnBuilder,
) -> Result<(), Refusal> {
    chat.membership(requester.peer, room, "nothing is shown")?;
    turn.complete(Completion::ShowTopic { requester: requester.clone(), room: room.clone() });
    Ok(())
}

pub(super) fn decide_set(
    room: &Room,
    topic: Option<Text>,
    requester: &Requester,
    chat: &Chat,
    turn: &mut TurnBuilder,
) -> Result<(), Refusal> {
    let room = chat.membership(requester.peer, room, "nothing was done")?;
    // Each session gets an announcement of its own.
    turn.add_deliveries(TOPIC_DELIVERIES * chat.sessions_of(Recipient::Room(room)));
    turn.write(Entry::Topic { room, topic: topic.clone() });
    turn.complete(Completion::SetTopic { requester: requester.clone(), room, topic });
    Ok(())
}

/// Shows the topic of the room of this name: if the commit that creates a room fails, another room may get its id.
pub(super) fn complete_show(requester: &Requester, room: &Room, chat: &mut Chat, delivery: &mut Delivery) {
    match chat.room_ids.get(room).and_then(|id| chat.rooms.get(id)) {
        Some(state) => {
            let reply = Reply::Topic { room: state.name.clone(), topic: state.topic.clone() };
            chat.reply(requester, &reply, delivery);
        }
        // The room was created in this turn.
        None => chat.refuse_uncommitted(requester, "nothing is shown", delivery),
    }
}

pub(super) fn complete_set(
    requester: &Requester,
    room: RoomId,
    topic: Option<Text>,
    chat: &mut Chat,
    delivery: &mut Delivery,
) {
    if delivery.commit.is_err() {
        return chat.refuse_uncommitted(requester, "nothing was done", delivery);
    }
    let state = chat.rooms.get_mut(&room).expect("a room in flight is in memory");
    state.topic.clone_from(&topic);
    let name = state.name.clone();
    chat.reply(requester, &Reply::Topic { room: name.clone(), topic: topic.clone() }, delivery);
    let set_by = chat.peers[&requester.peer].record.name.clone();
    let announcement = Reply::TopicSet { room: name, name: set_by, topic };
    for session in listeners(room, requester.session, chat) {
        chat.announce_to(session, &announcement, delivery);
    }
}

/// Returns the sessions of the members that are online, except the one that set the topic.
fn listeners(room: RoomId, set_by: SessionId, chat: &Chat) -> Vec<SessionId> {
    let is_member = |peer: &&_| chat.peers[*peer].rooms.get(&room).is_some_and(|member| member.joined.is_some());
    let members = chat.rooms[&room].online.iter().filter(is_member);
    let sessions = members.flat_map(|peer| chat.peers[peer].sessions.iter().copied());
    let listens = |id: &SessionId| {
        let session = &chat.sessions[id];
        *id != set_by && session.is_welcomed && session.outbox.capabilities().wants_topics
    };
    sessions.filter(listens).collect()
}
