//! The time that what a script runs has. Owns the moment at which it is over; the VM asks at every turn of a loop, every call of
//! a function, and every step of a pattern.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the VM asks whether it may go on. Only the script's own thread uses it: it is shared as the VM wants it to be, without
/// an order between threads to keep.
#[derive(Debug)]
pub(super) struct Deadline {
    since: Instant,
    end_ns: AtomicU64,
    stopped: AtomicBool,
}

impl Deadline {
    /// A deadline for what has no time yet.
    pub(super) fn new() -> Self {
        Deadline { since: Instant::now(), end_ns: AtomicU64::new(0), stopped: AtomicBool::new(false) }
    }

    /// What runs from here on may run until then.
    pub(super) fn start(&self, end: Instant) {
        let end = end.saturating_duration_since(self.since).as_nanos();
        self.end_ns.store(u64::try_from(end).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.stopped.store(false, Ordering::Relaxed);
    }

    /// When the time is over.
    pub(super) fn end(&self) -> Instant {
        self.since + Duration::from_nanos(self.end_ns.load(Ordering::Relaxed))
    }

    /// Whether the time is over; what asks stops then. It stays so, however often it is caught and asks again.
    pub(super) fn stops(&self) -> bool {
        let is_over = self.since.elapsed().as_nanos() >= u128::from(self.end_ns.load(Ordering::Relaxed));
        if is_over {
            self.stopped.store(true, Ordering::Relaxed);
        }
        is_over
    }

    /// Whether something was stopped since the start.
    pub(super) fn has_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}
