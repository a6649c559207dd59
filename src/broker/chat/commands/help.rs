//! `/help`: the commands. If there are plugins, their chain answers it before the broker, with their commands; so the broker lists none.

use crate::broker::chat::completion::Requester;
use crate::broker::chat::turn::TurnBuilder;
use crate::protocol::{Refusal, Reply};

pub(super) fn decide(requester: &Requester, turn: &mut TurnBuilder) -> Result<(), Refusal> {
    turn.reply(requester.clone(), Reply::Help { commands: Vec::new() });
    Ok(())
}
