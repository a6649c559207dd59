//! Health of a plugin. Owns the count of its failures and decides when it is quarantined; never acts on that.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::failure::Failure;
use crate::limits::{PLUGIN_FAILURES_MAX, PLUGIN_FAILURES_S};

/// Failures of one plugin.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Times of the failures within the last [`PLUGIN_FAILURES_S`] seconds, oldest first.
    failures: VecDeque<Instant>,
    /// Last failure before the quarantine; `None` while the plugin is not quarantined.
    quarantined: Option<String>,
}

impl Health {
    /// Counts a failure. Returns true if it puts the plugin into quarantine.
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

    /// Returns the last failure before the quarantine, if the plugin is quarantined.
    pub(super) fn quarantined(&self) -> Option<&str> {
        self.quarantined.as_deref()
    }

    /// Returns the number of failures that count at the moment.
    pub(super) fn failures(&self) -> usize {
        self.failures.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_failures_quarantine_the_plugin() {
        let start = Instant::now();
        let after = |s| start + Duration::from_secs(s);
        let mut health = Health::default();
        let failure = Failure::new("slow");
        for nth in 1..PLUGIN_FAILURES_MAX {
            assert!(!health.note(&failure, after(nth as u64)));
        }
        let not_called = Failure::down("is restarted");
        assert!(
            !health.note(&not_called, after(PLUGIN_FAILURES_MAX as u64)),
            "a call that was not made does not count"
        );
        assert_eq!(health.quarantined(), None);
        assert!(health.note(&failure, after(PLUGIN_FAILURES_MAX as u64)));
        assert_eq!(health.quarantined(), Some("slow"));
        assert!(!health.note(&failure, after(100)), "the quarantine is reported once");
    }

    #[test]
    fn rare_failures_do_not_quarantine_the_plugin() {
        let start = Instant::now();
        let mut health = Health::default();
        let pause_s = PLUGIN_FAILURES_S / (PLUGIN_FAILURES_MAX as u64 - 1) + 1;
        for nth in 0..1000 {
            assert!(!health.note(&Failure::new("slow"), start + Duration::from_secs(nth * pause_s)));
        }
        assert_eq!(health.failures(), PLUGIN_FAILURES_MAX - 1);
    }
}
