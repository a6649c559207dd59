//! Exponential back-off: the delay between two attempts doubles, up to a limit. Owns the length of the delay; never waits itself.

use std::time::Duration;

/// Delay until the next attempt. It counts in milliseconds in 32 bits, because every connection holds one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    min_ms: u32,
    max_ms: u32,
    delay_ms: u32,
}

impl Backoff {
    /// Starts with the shortest delay, `min`; no later one is longer than `max`.
    pub(crate) const fn new(min: Duration, max: Duration) -> Self {
        let (min_ms, max_ms) = (millis(min), millis(max));
        debug_assert!(min_ms > 0, "delays can double");
        Backoff { min_ms, max_ms, delay_ms: min_ms }
    }

    /// Delay before the next attempt.
    pub(crate) const fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms as u64)
    }

    /// Returns the delay before the next attempt, and doubles the one after it.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let delay = self.delay();
        self.delay_ms = self.delay_ms.saturating_mul(2).min(self.max_ms);
        delay
    }

    /// Whether no delay was used since the last success.
    pub(crate) const fn is_fresh(&self) -> bool {
        self.delay_ms == self.min_ms
    }

    /// Starts again with the shortest delay, after a success.
    pub(crate) const fn reset(&mut self) {
        self.delay_ms = self.min_ms;
    }
}

/// Longer delays than 49 days are cut.
const fn millis(delay: Duration) -> u32 {
    let millis = delay.as_millis();
    if millis > u32::MAX as u128 { u32::MAX } else { millis as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays_ms(backoff: &mut Backoff, attempts: usize) -> Vec<u128> {
        (0..attempts).map(|_| backoff.next_delay().as_millis()).collect()
    }

    #[test]
    fn delays_double_up_to_the_limit() {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        assert_eq!(delays_ms(&mut backoff, 9), [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn a_success_starts_again_with_the_shortest_delay() {
        let mut backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(10));
        assert!(backoff.is_fresh());
        assert_eq!(delays_ms(&mut backoff, 4), [2, 4, 8, 10]);
        assert!(!backoff.is_fresh());
        backoff.reset();
        assert_eq!(backoff.delay().as_millis(), 2);
    }
}
