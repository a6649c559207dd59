//! Deadline of the code that a script runs. Owns the time at which it expires; the VM checks it at every iteration of a loop,
//! every call of a function, and every step of a pattern.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Deadline that the VM checks. Only the script's own thread uses it, so the atomics need no ordering; they are there because the
/// VM requires callbacks that can be shared.
#[derive(Debug)]
pub(super) struct Deadline {
    since: Instant,
    end_ns: AtomicU64,
    expired: AtomicBool,
}

impl Deadline {
    /// Returns a deadline that has expired already.
    pub(super) fn new() -> Self {
        Deadline { since: Instant::now(), end_ns: AtomicU64::new(0), expired: AtomicBool::new(false) }
    }

    /// Sets the deadline for the code that runs next.
    pub(super) fn start(&self, end: Instant) {
        let end = end.saturating_duration_since(self.since).as_nanos();
        self.end_ns.store(u64::try_from(end).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.expired.store(false, Ordering::Relaxed);
    }

    /// Returns the time at which the deadline expires.
    pub(super) fn end(&self) -> Instant {
        self.since + Duration::from_nanos(self.end_ns.load(Ordering::Relaxed))
    }

    /// Returns true if the deadline has expired, and records that code was stopped. A script that catches the error is stopped
    /// again at its next check.
    pub(super) fn check(&self) -> bool {
        let is_expired = self.since.elapsed().as_nanos() >= u128::from(self.end_ns.load(Ordering::Relaxed));
        if is_expired {
            self.expired.store(true, Ordering::Relaxed);
        }
        is_expired
    }

    /// Whether code was stopped since the deadline was set.
    pub(super) fn has_expired(&self) -> bool {
        self.expired.load(Ordering::Relaxed)
    }
}
