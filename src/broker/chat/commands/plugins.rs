//! `/plugins`: the plugins and their states. If there are plugins, their chain answers it before the broker; so the broker lists none.

use crate::broker::chat::completion::Requester;
use crate::broker::chat::turn::TurnBuilder;
use crate::protocol::{Refusal, Reply};

pub(super) fn decide(requester: &Requester, turn: &mut TurnBuilder) -> Result<(), Refusal> {
    turn.reply(requester.clone(), Reply::Plugins { plugins: Vec::new() });
    Ok(())
}
