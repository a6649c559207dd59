//! Time that the reads of a turn may take: other requests wait for the whole turn. Owns the clock of the reads; never reads a row.

use std::time::{Duration, Instant};

use crate::limits::{READ_FIRST_SLICE_US, READ_PAGES_US, READ_SLICE_US, READ_TURN_US};

/// Time for the reads of a turn; the defaults are those of the server, tests lower them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadLimits {
    /// Time of all reads of a turn together.
    pub(crate) turn: Duration,
    /// Time of the pages of a turn together.
    pub(crate) pages: Duration,
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
        pages: Duration::from_secs(3600),
        first_slice: Duration::ZERO,
        slice: Duration::ZERO,
    };
}

impl Default for ReadLimits {
    fn default() -> Self {
        ReadLimits {
            turn: Duration::from_micros(READ_TURN_US),
            pages: Duration::from_micros(READ_PAGES_US),
            first_slice: Duration::from_micros(READ_FIRST_SLICE_US),
            slice: Duration::from_micros(READ_SLICE_US),
        }
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
