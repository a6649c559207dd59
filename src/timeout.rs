//! Time limits on futures. Owns the race between a future and a timer; never decides what an expired limit means.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use smol::Timer;

/// Waits for `future`, for no longer than `limit`. With `None` there is no limit, and no timer is set.
pub(crate) fn timeout<F: Future>(limit: impl Into<Option<Duration>>, future: F) -> Timeout<F> {
    Timeout { future, timer: limit.into().map_or_else(Timer::never, Timer::after) }
}

/// Waits for `future` until `deadline`. With `None` there is no deadline, and no timer is set.
pub(crate) fn timeout_at<F: Future>(deadline: impl Into<Option<Instant>>, future: F) -> Timeout<F> {
    Timeout { future, timer: deadline.into().map_or_else(Timer::never, Timer::at) }
}

/// Sleeps for this long.
pub(crate) fn sleep(duration: Duration) -> Timer {
    Timer::after(duration)
}

/// Converts a limit of a configuration file: in seconds, and 0 means no limit.
pub(crate) const fn seconds_or_none(seconds: u64) -> Option<Duration> {
    if seconds == 0 { None } else { Some(Duration::from_secs(seconds)) }
}

/// The time limit ended before the future did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elapsed;

pin_project! {
    /// Future of [`timeout`]. A type of its own and not an `async` block, which would hold `future` twice: as its argument and
    /// as what it awaits. Connections are made of such futures, and their size is most of an idle connection's memory.
    #[must_use = "a future does nothing until it is awaited"]
    pub(crate) struct Timeout<F> {
        #[pin]
        future: F,
        timer: Timer,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    /// Polls the future first: what is ready at the deadline is in time.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(Ok(output));
        }
        ready!(Pin::new(this.timer).poll(context));
        Poll::Ready(Err(Elapsed))
    }
}

#[cfg(test)]
mod tests {
    use smol::future;

    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn a_future_that_is_ready_is_in_time() {
        smol::block_on(async {
            assert_eq!(timeout(Duration::ZERO, future::ready(4)).await, Ok(4));
            assert_eq!(timeout_at(Instant::now(), future::ready(4)).await, Ok(4));
        });
    }

    #[test]
    fn a_future_that_takes_too_long_is_given_up() {
        smol::block_on(async {
            assert_eq!(timeout(SHORT, future::pending::<()>()).await, Err(Elapsed));
            assert_eq!(timeout_at(Instant::now() + SHORT, future::pending::<()>()).await, Err(Elapsed));
        });
    }

    #[test]
    fn without_a_limit_a_future_takes_its_time() {
        smol::block_on(async {
            assert!(timeout(None, sleep(SHORT)).await.is_ok());
            assert!(timeout_at(None, sleep(SHORT)).await.is_ok());
        });
    }
}
