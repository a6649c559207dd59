//! `/who`: the peers that are online, and those in the rooms of the peer.

use crate::broker::chat::completion::{Completion, Requester};
use crate::broker::chat::delivery::Delivery;
use crate::broker::chat::state::Chat;
use crate::broker::chat::turn::TurnBuilder;
use crate::message::PeerName;
use crate::protocol::{Refusal, Reply, RoomSummary};

pub(super) fn decide(requester: &Requester, chat: &Chat, turn: &mut TurnBuilder) -> Result<(), Refusal> {
    let (here, rooms) = (chat.online(), chat.rooms_of(requester.peer));
    turn.complete(Completion::Who { requester: requester.clone(), here, rooms });
    Ok(())
}

pub(super) fn complete(
    requester: &Requester,
    here: Vec<PeerName>,
    mut rooms: Vec<RoomSummary>,
    chat: &mut Chat,
    delivery: &mut Delivery,
) {
    for room in &mut rooms {
        // A room that was created in a turn that failed has no topic.
        let state = chat.room_ids.get(&room.room).and_then(|id| chat.rooms.get(id));
        room.topic = state.and_then(|state| state.topic.clone());
    }
    chat.reply(requester, &Reply::Who { here, rooms }, delivery);
}
