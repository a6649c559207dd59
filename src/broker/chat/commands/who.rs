//! `/who`: the peers that are online, and those in the rooms of the peer.

use crate::broker::chat::completion::Requester;
use crate::broker::chat::state::Chat;
use crate::broker::chat::turn::TurnBuilder;
use crate::protocol::{Refusal, Reply};

pub(super) fn decide(requester: &Requester, chat: &Chat, turn: &mut TurnBuilder) -> Result<(), Refusal> {
    let reply = Reply::Who { here: chat.online(), rooms: chat.rooms_of(requester.peer) };
    turn.reply(requester.clone(), reply);
    Ok(())
}
