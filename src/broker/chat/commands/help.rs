//! `/help`: the commands. Plugins answer it before the broker if there are any, so the broker knows no commands of plugins.

use crate::broker::chat::completion::Requester;
use crate::broker::chat::turn::TurnBuilder;
use crate::protocol::{Refusal, Reply};

pub(super) fn decide(requester: &Requester, turn: &mut TurnBuilder) -> Result<(), Refusal> {
    turn.reply(requester.clone(), Reply::Help { commands: Vec::new() });
    Ok(())
}
