//! Limit of the rate at which one connection's lines are read. Owns the count; never refuses a line, and never reads one itself.

use std::time::{Duration, Instant};

use smol::Timer;

/// Token bucket (<https://en.wikipedia.org/wiki/Token_bucket>) that holds the lines of one second.
pub(super) struct RateLimiter {
    /// Lines per second; 0: no limit.
    per_s: u64,
    /// Time from which on the bucket fills. It is in the future if more lines were read than there were tokens.
    empty_at: Instant,
}

impl RateLimiter {
    /// Makes a full bucket.
    pub(super) fn new(per_s: u64) -> Self {
        let now = Instant::now();
        RateLimiter { per_s, empty_at: now.checked_sub(Duration::from_secs(1)).unwrap_or(now) }
    }

    /// Whether a line may be read now.
    pub(super) fn is_ready(&self) -> bool {
        self.per_s == 0 || self.ready_at() <= Instant::now()
    }

    /// Waits until a line may be read.
    pub(super) async fn ready(&self) {
        if !self.is_ready() {
            Timer::at(self.ready_at()).await;
        }
    }

    /// Returns the number of lines that may be read now; at least one, because the caller has waited for it.
    pub(super) fn allowed(&self) -> usize {
        if self.per_s == 0 {
            return usize::MAX;
        }
        let filled = self.empty_at.elapsed().min(Duration::from_secs(1));
        ((filled.as_secs_f64() * self.per_s as f64) as usize).max(1)
    }

    /// Takes as many tokens as lines were read.
    pub(super) fn take(&mut self, lines: usize) {
        if self.per_s > 0 {
            let now = Instant::now();
            let full_at = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
            self.empty_at = self.empty_at.max(full_at) + self.time_of(lines);
        }
    }

    fn ready_at(&self) -> Instant {
        self.empty_at + self.time_of(1)
    }

    fn time_of(&self, lines: usize) -> Duration {
        Duration::from_secs_f64(lines as f64 / self.per_s as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_rate_there_is_no_limit() {
        let mut rate_limiter = RateLimiter::new(0);
        rate_limiter.take(1_000_000);
        assert!(rate_limiter.is_ready());
        assert_eq!(rate_limiter.allowed(), usize::MAX);
    }

    #[test]
    fn lines_of_one_second_may_be_read_at_once_and_the_rest_waits() {
        let mut rate_limiter = RateLimiter::new(100);
        assert!(rate_limiter.is_ready());
        assert_eq!(rate_limiter.allowed(), 100);
        rate_limiter.take(100);
        // One line is a hundredth of a second.
        assert!(rate_limiter.ready_at() > Instant::now());
        smol::block_on(rate_limiter.ready());
        assert!(rate_limiter.is_ready() && (1..100).contains(&rate_limiter.allowed()));
    }

    #[test]
    fn unused_tokens_of_more_than_one_second_expire() {
        let mut rate_limiter = RateLimiter::new(100);
        rate_limiter.empty_at = Instant::now().checked_sub(Duration::from_secs(60)).unwrap_or(rate_limiter.empty_at);
        assert_eq!(rate_limiter.allowed(), 100);
        rate_limiter.take(100);
        assert!(!rate_limiter.is_ready() || rate_limiter.allowed() < 10);
    }
}
