//! Counts of a run, for the report of a test.

use std::fmt;
use std::ops::Add;

/// Amount of work that a run did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RunCounts {
    /// Steps of the scheduler that did something.
    pub(super) steps: u64,
    /// Turns that the broker decided.
    pub(super) turns: u64,
    /// Messages that were committed.
    pub(super) messages: u64,
    /// Connections that logged in.
    pub(super) sessions: u64,
}

impl Add for RunCounts {
    type Output = RunCounts;

    fn add(self, other: RunCounts) -> RunCounts {
        RunCounts {
            steps: self.steps + other.steps,
            turns: self.turns + other.turns,
            messages: self.messages + other.messages,
            sessions: self.sessions + other.sessions,
        }
    }
}

impl fmt::Display for RunCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RunCounts { steps, turns, messages, sessions } = self;
        write!(f, "{steps} steps, {turns} turns, {messages} messages, {sessions} sessions")
    }
}
