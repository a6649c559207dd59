//! Two clients that chat during a disturbance. Owns their exchange and how long it takes; never causes the disturbance.

use std::thread;
use std::time::{Duration, Instant};

use super::client::TestClient;
use super::server::TestServer;

/// Factor by which an exchange may take longer during a disturbance: a stall is far above, a busy machine far below.
const SLOWER: u32 = 20;

/// Minimum for the undisturbed time of an exchange, so that a fast machine sets no narrow limit.
const CALM: Duration = Duration::from_millis(10);

/// Time between two exchanges: they should measure the disturbance, and not be one.
const BREATH: Duration = Duration::from_millis(5);

/// Two clients that know how long an undisturbed exchange takes.
pub(crate) struct Pair {
    asking: TestClient,
    answering: TestClient,
    calm: Duration,
}

impl Pair {
    /// Logs both in, and measures undisturbed exchanges.
    #[track_caller]
    pub(crate) fn login(server: &TestServer) -> Self {
        let (asking, answering) = (TestClient::login(server, "carol"), TestClient::login(server, "dave"));
        let mut pair = Pair { asking, answering, calm: Duration::ZERO };
        pair.calm = median((0..50).map(|_| pair.exchange()).collect());
        pair
    }

    /// Lets one peer ask and the other answer. Returns how long that takes.
    #[track_caller]
    pub(crate) fn exchange(&mut self) -> Duration {
        let start = Instant::now();
        self.asking.send("dave: are you there?");
        self.answering.expect("from carol: are you there?");
        self.answering.send("carol: yes");
        self.asking.expect("from dave: yes");
        start.elapsed()
    }

    /// Exchanges this many times; fails if that takes much longer than undisturbed.
    #[track_caller]
    pub(crate) fn chat(&mut self, exchanges: usize) {
        self.chat_until(|count| count >= exchanges);
    }

    /// Exchanges until `is_over` is true, which gets the number of exchanges; fails if they take much longer than
    /// undisturbed.
    #[track_caller]
    pub(crate) fn chat_until(&mut self, mut is_over: impl FnMut(usize) -> bool) {
        let mut times = vec![self.exchange()];
        while !is_over(times.len()) {
            thread::sleep(BREATH);
            times.push(self.exchange());
        }
        let (exchanges, calm, disturbed) = (times.len(), self.calm, median(times));
        println!("{exchanges} exchanges, the median took {disturbed:?}, undisturbed {calm:?}");
        assert!(disturbed < SLOWER * calm.max(CALM), "the median exchange took {disturbed:?}, undisturbed {calm:?}");
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
