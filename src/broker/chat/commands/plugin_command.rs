//! A command of a plugin. Plugins answer it before the broker if there are any, so the broker knows no such command.

use crate::protocol::Refusal;

pub(super) fn decide(name: &str) -> Result<(), Refusal> {
    Err(Refusal::unknown_command(name))
}
