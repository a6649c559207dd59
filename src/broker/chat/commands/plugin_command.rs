//! A command of a plugin. If there are plugins, their chain answers it before the broker; so the broker refuses it as unknown.

use crate::protocol::Refusal;

pub(super) fn decide(name: &str) -> Result<(), Refusal> {
    Err(Refusal::unknown_command(name))
}
