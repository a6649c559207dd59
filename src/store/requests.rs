//! Waiting for the next request, for good or up to a deadline. Owns how the store's thread sleeps; never what it is asked.
//!
//! It parks the thread. A timer of the runtime would have this thread wait for everybody's sockets meanwhile, and pass on
//! what happens there.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use async_channel::Receiver;

/// What the waiting ended with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waited<T> {
    /// A request.
    Request(T),
    /// The deadline.
    TimeIsUp,
    /// Nobody is left who could ask.
    Closed,
}

/// Waits for the next request, until the deadline where there is one.
pub(super) fn wait<T>(requests: &Receiver<T>, deadline: Option<Instant>) -> Waited<T> {
    match deadline {
        None => requests.recv_blocking().map_or(Waited::Closed, Waited::Request),
        Some(deadline) => wait_until(requests, deadline),
    }
}

fn wait_until<T>(requests: &Receiver<T>, deadline: Instant) -> Waited<T> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut received = pin!(requests.recv());
    loop {
        if let Poll::Ready(request) = received.as_mut().poll(&mut Context::from_waker(&waker)) {
            return request.map_or(Waited::Closed, Waited::Request);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Waited::TimeIsUp;
        }
        thread::park_timeout(left);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_request_comes_before_its_deadline() {
        let (sender, requests) = async_channel::bounded(1);
        sender.try_send(1).unwrap();
        assert_eq!(wait(&requests, Some(Instant::now())), Waited::Request(1), "what is there is taken first");
        let asker = thread::spawn(move || sender.send_blocking(2).unwrap());
        assert_eq!(wait(&requests, Some(Instant::now() + LONG)), Waited::Request(2));
        asker.join().unwrap();
        assert_eq!(wait(&requests, Some(Instant::now() + LONG)), Waited::Closed);
        assert_eq!(wait(&requests, None), Waited::Closed);
    }

    #[test]
    fn a_deadline_comes_before_the_next_request() {
        let (sender, requests) = async_channel::bounded(1);
        let deadline = Instant::now() + Duration::from_millis(20);
        assert_eq!(wait(&requests, Some(deadline)), Waited::TimeIsUp);
        assert!(Instant::now() >= deadline);
        sender.try_send(3).unwrap();
        assert_eq!(wait(&requests, None), Waited::Request(3), "a request is not lost to the deadline before it");
    }
}
