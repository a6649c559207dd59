//! Two who chat while somebody else makes trouble. Owns their exchange and how long it takes; never makes any trouble.

use std::thread;
use std::time::{Duration, Instant};

use super::client::TestClient;
use super::server::TestServer;

/// How many times longer an exchange may take in trouble: what a stall is far above, and a busy machine far below.
const SLOWER: u32 = 20;

/// An exchange in calm counts as this long at least, so that a fast machine sets no narrow bound.
const CALM: Duration = Duration::from_millis(10);

/// The time between two exchanges: they are to measure the trouble, and not to be some.
const BREATH: Duration = Duration::from_millis(5);

/// Two who know how long it takes to ask and to be answered when all is calm.
pub(crate) struct Pair {
    asking: TestClient,
    answering: TestClient,
    calm: Duration,
}

impl Pair {
    /// Logs both in, and lets them chat for a while.
    #[track_caller]
    pub(crate) fn login(server: &TestServer) -> Self {
        let (asking, answering) = (TestClient::login(server, "carol"), TestClient::login(server, "dave"));
        let mut pair = Pair { asking, answering, calm: Duration::ZERO };
        pair.calm = median((0..50).map(|_| pair.exchange()).collect());
        pair
    }

    /// One asks, the other answers.
    #[track_caller]
    pub(crate) fn exchange(&mut self) -> Duration {
        let start = Instant::now();
        self.asking.send("dave: are you there?");
        self.answering.expect("from carol: are you there?");
        self.answering.send("carol: yes");
        self.asking.expect("from dave: yes");
        start.elapsed()
    }

    /// Exchanges as often as this; fails if that takes much longer than in calm.
    #[track_caller]
    pub(crate) fn chat(&mut self, exchanges: usize) {
        self.chat_until(|count| count >= exchanges);
    }

    /// Exchanges until something is over, which is asked after each exchange, with how many they were; fails if they take
    /// much longer than in calm.
    #[track_caller]
    pub(crate) fn chat_until(&mut self, mut is_over: impl FnMut(usize) -> bool) {
        let mut times = vec![self.exchange()];
        while !is_over(times.len()) {
            thread::sleep(BREATH);
            times.push(self.exchange());
        }
        let (exchanges, calm, trouble) = (times.len(), self.calm, median(times));
        println!("{exchanges} exchanges, the median took {trouble:?}, in calm {calm:?}");
        assert!(trouble < SLOWER * calm.max(CALM), "the median exchange took {trouble:?}, in calm {calm:?}");
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
