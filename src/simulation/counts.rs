//! How much the runs have done, for people.

use std::fmt;
use std::ops::Add;

/// How much a run has done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Of the scheduler; each did something.
    pub(super) steps: u64,
    /// That the store was asked for.
    pub(super) turns: u64,
    /// That were committed.
    pub(super) messages: u64,
    /// Connections that there were.
    pub(super) sessions: u64,
}

impl Add for Counts {
    type Output = Counts;

    fn add(self, other: Counts) -> Counts {
        Counts {
            steps: self.steps + other.steps,
            turns: self.turns + other.turns,
            messages: self.messages + other.messages,
            sessions: self.sessions + other.sessions,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { steps, turns, messages, sessions } = self;
        write!(f, "{steps} steps, {turns} turns, {messages} messages, {sessions} sessions")
    }
}
