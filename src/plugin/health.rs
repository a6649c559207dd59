//! How a plugin fares. Owns the count of its failures, and when they are too many; never what follows from that.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Failure;
use crate::limits::{PLUGIN_FAILURES_MAX, PLUGIN_FAILURES_S};

/// The failures of one plugin.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// When it failed, the oldest first: those of the last [`PLUGIN_FAILURES_S`] seconds.
    failures: VecDeque<Instant>,
    /// Set once it failed too often: how it did so last.
    quarantined: Option<String>,
}

impl Health {
    /// Notes a failure. Says whether it was one too many.
    pub(super) fn note(&mut self, failure: &Failure, now: Instant) -> bool {
        if self.quarantined.is_some() || !failure.counts() {
            return false;
        }
        let window = Duration::from_secs(PLUGIN_FAILURES_S);
        self.failures.retain(|time| now.duration_since(*time) < window);
        self.failures.push_back(now);
        if self.failures.len() < PLUGIN_FAILURES_MAX {
            return false;
        }
        self.failures.clear();
        self.quarantined = Some(failure.to_string());
        true
    }

    /// How it failed last, if it is set aside.
    pub(super) fn quarantined(&self) -> Option<&str> {
        self.quarantined.as_deref()
    }

    /// How many failures are counted now.
    pub(super) fn failures(&self) -> usize {
        self.failures.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_too_often_in_too_short_a_time_is_set_aside() {
        let start = Instant::now();
        let after = |s| start + Duration::from_secs(s);
        let mut health = Health::default();
        let failure = Failure::new("slow");
        for nth in 1..PLUGIN_FAILURES_MAX {
            assert!(!health.note(&failure, after(nth as u64)));
        }
        assert!(!health.note(&Failure::down("is restarted"), after(PLUGIN_FAILURES_MAX as u64)), "it was not asked");
        assert_eq!(health.quarantined(), None);
        assert!(health.note(&failure, after(PLUGIN_FAILURES_MAX as u64)));
        assert_eq!(health.quarantined(), Some("slow"));
        assert!(!health.note(&failure, after(100)), "it is said once");
    }

    #[test]
    fn who_fails_now_and_then_is_not() {
        let start = Instant::now();
        let mut health = Health::default();
        let pause_s = PLUGIN_FAILURES_S / (PLUGIN_FAILURES_MAX as u64 - 1) + 1;
        for nth in 0..1000 {
            assert!(!health.note(&Failure::new("slow"), start + Duration::from_secs(nth * pause_s)));
        }
        assert_eq!(health.failures(), PLUGIN_FAILURES_MAX - 1);
    }
}
