//! `/plugins`: the plugins and their states. Plugins answer it before the broker if there are any, so the broker knows of none.

use crate::broker::chat::completion::Requester;
use crate::broker::chat::turn::TurnBuilder;
use crate::protocol::{Refusal, Reply};

pub(super) fn decide(requester: &Requester, turn: &mut TurnBuilder) -> Result<(), Refusal> {
    turn.reply(requester.clone(), Reply::Plugins { plugins: Vec::new() });
    Ok(())
}
