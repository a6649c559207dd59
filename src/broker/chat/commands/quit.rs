//! `/quit`, and every other end of a session's requests: the session is closed once all messages that wait for it are in its outbox.

use crate::broker::chat::completion::{Completion, Requester};
use crate::broker::chat::delivery::Delivery;
use crate::broker::chat::state::Chat;
use crate::broker::chat::turn::TurnBuilder;
use crate::broker::event::EndReason;
use crate::message::SessionId;
use crate::protocol::{Refusal, Reply};

pub(super) fn decide(requester: &Requester, turn: &mut TurnBuilder) -> Result<(), Refusal> {
    turn.complete(Completion::End { session: requester.session, reason: EndReason::Client });
    Ok(())
}

pub(super) fn complete(session: SessionId, reason: EndReason, chat: &mut Chat, delivery: &mut Delivery) {
    if reason == EndReason::Shutdown {
        chat.notify(session, &Reply::ShuttingDown, delivery);
    }
    if let Some(ending) = chat.sessions.get_mut(&session) {
        ending.ends_at = Some(chat.newest);
        chat.end_if_fed(session, delivery);
    }
}
