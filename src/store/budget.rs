//! Time that the reads of a turn may take: other requests wait for the whole turn. Owns the clock of the reads; never reads a row.

use std::time::{Duration, Instant};

use crate::limits::{
    LOOKUP_TURN_US, READ_COMMIT_TURN_US_MAX, READ_COMMIT_TURN_US_MIN, READ_FIRST_SLICE_US, READ_SLICE_US, READ_TURN_US,
};

/// Time for the reads of a turn; the defaults are those of the server, tests lower them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadLimits {
    /// Time of all reads of a turn that commits nothing.
    pub(crate) turn: Duration,
    /// Least and longest time of all reads of a turn that commits something.
    pub(crate) commit_turn: (Duration, Duration),
    /// Time of the lookups of peers before a turn.
    pub(crate) lookup: Duration,
    /// Time of a scan in its first turn.
    pub(crate) first_slice: Duration,
    /// Time of a scan in each later turn.
    pub(crate) slice: Duration,
}

#[cfg(test)]
impl ReadLimits {
    /// Limits with which a scan does one step in a turn, and nothing else depends on the clock.
    pub(crate) const SINGLE_STEPS: ReadLimits = ReadLimits {
        turn: Duration::from_secs(3600),
        commit_turn: (Duration::from_secs(3600), Duration::from_secs(3600)),
        lookup: Duration::from_secs(3600),
        first_slice: Duration::ZERO,
        slice: Duration::ZERO,
    };
}

impl Default for ReadLimits {
    fn default() -> Self {
        ReadLimits {
            turn: Duration::from_micros(READ_TURN_US),
            commit_turn: (
                Duration::from_micros(READ_COMMIT_TURN_US_MIN),
                Duration::from_micros(READ_COMMIT_TURN_US_MAX),
            ),
            lookup: Duration::from_micros(LOOKUP_TURN_US),
            first_slice: Duration::from_micros(READ_FIRST_SLICE_US),
            slice: Duration::from_micros(READ_SLICE_US),
        }
    }
}

impl ReadLimits {
    /// Returns the time of all reads of a turn, with the time that its commit took; `None` if it commits nothing.
    pub(super) fn turn(&self, commit: Option<Duration>) -> Duration {
        let (least, longest) = self.commit_turn;
        commit.map_or(self.turn, |commit| commit.clamp(least, longest))
    }
}

/// Time until which reads may continue.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadBudget {
    ends: Instant,
}

impl ReadBudget {
    /// Returns a budget that begins now.
    pub(super) fn of(time: Duration) -> Self {
        ReadBudget { ends: Instant::now() + time }
    }

    /// Returns the part of the budget that begins now and lasts this long at most.
    pub(super) fn part(self, time: Duration) -> Self {
        ReadBudget { ends: self.ends.min(Instant::now() + time) }
    }

    /// Whether no time is left.
    pub(super) fn is_used_up(self) -> bool {
        Instant::now() >= self.ends
    }
}
