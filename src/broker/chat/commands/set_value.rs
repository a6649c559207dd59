//! A value of a plugin is stored or removed.

use crate::broker::chat::completion::{Completion, Requester};
use crate::broker::chat::delivery::Delivery;
use crate::broker::chat::state::Chat;
use crate::broker::chat::turn::TurnBuilder;
use crate::protocol::{Refusal, Reply};
use crate::store::Entry;

pub(super) fn decide(
    key: String,
    value: Option<String>,
    requester: &Requester,
    turn: &mut TurnBuilder,
) -> Result<(), Refusal> {
    turn.write(Entry::Value { peer: requester.peer, key: key.clone(), value });
    turn.complete(Completion::SetValue { requester: requester.clone(), key });
    Ok(())
}

pub(super) fn complete(requester: &Requester, key: String, chat: &mut Chat, delivery: &mut Delivery) {
    chat.reply_if_committed(requester, |_| Reply::Set { key }, "not stored", delivery);
}
