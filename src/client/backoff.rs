//! The pauses between two attempts to connect, which grow. Owns their length; never waits itself.

use std::time::Duration;

use crate::limits::{CLIENT_RETRY_MS_MAX, CLIENT_RETRY_MS_MIN};

/// How long to wait next.
pub(super) struct Backoff(Duration);

impl Backoff {
    /// The shortest.
    pub(super) const fn new() -> Self {
        Backoff(Duration::from_millis(CLIENT_RETRY_MS_MIN))
    }

    /// The pause that is due; the one after it is twice as long.
    pub(super) fn take(&mut self) -> Duration {
        let due = self.0;
        self.0 = (due * 2).min(Duration::from_millis(CLIENT_RETRY_MS_MAX));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let mut backoff = Backoff::new();
        let taken: Vec<_> = (0..9).map(|_| backoff.take().as_millis()).collect();
        assert_eq!(taken, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }
}
