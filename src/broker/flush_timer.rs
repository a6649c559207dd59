//! Timers of the broker that are polled together with its inbox. Owns when one is over; never what happens then.

use std::time::{Duration, Instant};

use smol::Timer;

/// Time at which changes must be stored, and the timer that wakes the broker then.
#[derive(Debug)]
pub(super) struct FlushTimer {
    time: Instant,
    /// Timer, reused until it fires, because each new timer wakes the runtime.
    pub(super) timer: Timer,
}

impl FlushTimer {
    /// Sets a timer. `None`: the time is too far in the future to be represented.
    pub(super) fn after(duration: Duration) -> Option<Self> {
        let time = Instant::now().checked_add(duration)?;
        Some(FlushTimer { time, timer: Timer::at(time) })
    }

    /// Whether the time has come.
    pub(super) fn is_over(&self) -> bool {
        self.time <= Instant::now()
    }
}
