//! `/who`: the peers that are online, and the rooms of the peer. People get a list, part by part, with the members of the rooms; programs get
//! one reply, which is bounded.

use crate::broker::chat::completion::{Completion, Requester};
use crate::broker::chat::delivery::Delivery;
use crate::broker::chat::state::Chat;
use crate::broker::chat::turn::TurnBuilder;
use crate::message::counted_name_bytes;
use crate::protocol::{Refusal, Reply, RoomSummary};

pub(super) fn decide(requester: &Requester, turn: &mut TurnBuilder) -> Result<(), Refusal> {
    turn.complete(Completion::Who { requester: requester.clone() });
    Ok(())
}

pub(super) fn complete(requester: &Requester, chat: &mut Chat, delivery: &mut Delivery) {
    let Some(session) = chat.sessions.get_mut(&requester.session) else { return };
    delivery.add(requester.session, session);
    if session.outbox.capabilities().wants_whole_lists {
        let bytes_max = session.outbox.answer_bytes_max(&chat.budget);
        let reply = whole(requester, bytes_max, chat);
        chat.reply(requester, &reply, delivery);
    } else {
        chat.begin_list(requester);
    }
}

/// Returns everything in one reply: first the names, then the topics, as far as they fit.
fn whole(requester: &Requester, bytes_max: usize, chat: &mut Chat) -> Reply {
    let mut bytes_left = bytes_max;
    let mut fits = |bytes: usize| {
        let left = bytes_left.checked_sub(bytes);
        bytes_left = left.unwrap_or(0);
        left.is_some()
    };
    let online = chat.online();
    let here: Vec<_> = online.iter().take_while(|name| fits(counted_name_bytes(name.as_str()))).cloned().collect();
    let ids = chat.rooms_of(requester.peer);
    let states = ids.iter().map(|room| &chat.rooms[room]);
    let states: Vec<_> = states.take_while(|state| fits(counted_name_bytes(state.name.as_str()))).collect();
    let mut more = here.len() < online.len() || states.len() < ids.len();
    let mut rooms = Vec::with_capacity(states.len());
    for state in states {
        let bytes =
            state.topic.as_ref().map_or(0, |topic| counted_name_bytes(state.name.as_str()) + topic.json_bytes());
        let topic = state.topic.clone().filter(|_| fits(bytes));
        more |= topic.is_some() != state.topic.is_some();
        rooms.push(RoomSummary { room: state.name.clone(), topic });
    }
    Reply::Who { here, rooms, more }
}
