//! Two clients that chat during a disturbance. Owns their exchange and how long it takes; never causes the disturbance.

use std::sync::atomic::{AtomicBool, Ordering};
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

/// Exchanges of a pair beside strangers.
const EXCHANGES: usize = 60;

/// Time that an exchange may take beside strangers, nineteen times out of twenty; far above that of a busy machine.
const BESIDE_STRANGERS: Duration = Duration::from_millis(250);

/// Time that every exchange beside strangers may take.
const WORST: Duration = Duration::from_secs(2);

impl Pair {
    /// Exchanges while strangers attack, one in each thread, until the flag is set; fails if an exchange waits for them.
    #[track_caller]
    pub(crate) fn withstand(&mut self, strangers: usize, attack: impl Fn(usize, &AtomicBool) + Sync) {
        let is_over = AtomicBool::new(false);
        let mut times = thread::scope(|scope| {
            for stranger in 0..strangers {
                let (attack, is_over) = (&attack, &is_over);
                scope.spawn(move || attack(stranger, is_over));
            }
            // If the pair fails, the attack ends too.
            let _end = SetOnDrop(&is_over);
            thread::sleep(20 * BREATH);
            Vec::from_iter((0..EXCHANGES).map(|_| {
                thread::sleep(BREATH);
                self.exchange()
            }))
        });
        times.sort();
        let (most, worst, calm) = (times[EXCHANGES * 19 / 20], times[EXCHANGES - 1], self.calm);
        println!("median {:?}, p95 {most:?}, worst {worst:?}; undisturbed {calm:?}", times[EXCHANGES / 2]);
        assert!(most < BESIDE_STRANGERS.max(10 * calm), "one of twenty exchanges takes {most:?}, undisturbed {calm:?}");
        assert!(worst < WORST.max(20 * calm), "an exchange takes {worst:?}, undisturbed {calm:?}");
    }
}

struct SetOnDrop<'f>(&'f AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
