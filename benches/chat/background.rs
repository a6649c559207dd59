//! Background traffic: pairs that exchange 1,000 messages a second while other clients are measured. Owns their thread,
//! and the proof that every message arrived; never measures.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::client::{Client, STALL};
use crate::pair::Pair;

/// Senders, which take turns.
const PAIRS: usize = 10;

/// Time between two messages.
const PAUSE: Duration = Duration::from_millis(1);

/// Pairs that exchange messages until they are stopped.
pub(crate) struct Background {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Background {
    /// Logs the pairs in and starts them.
    pub(crate) fn start(address: SocketAddr) -> Result<Background> {
        let mut pairs = Pair::login_all(address, PAIRS, 0)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = thread::spawn(move || {
            chat(&mut pairs, &over)?;
            finish(&mut pairs)
        });
        Ok(Background { is_over, thread })
    }

    /// Waits until everything sent has arrived, and checks that nothing else did.
    pub(crate) fn stop(self) -> Result<()> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

fn chat(pairs: &mut [Pair], is_over: &AtomicBool) -> Result<()> {
    // Held, because the sockets are non-blocking as long as these exist.
    let _sockets: Vec<_> = pairs.iter().map(Pair::sockets).collect::<Result<_>>()?;
    let mut due = Instant::now();
    for pair in (0..PAIRS).cycle() {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        pairs[pair].add(1);
        pairs[pair].send()?;
        due += PAUSE;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        receive(pairs)?;
    }
    wait_for_the_rest(pairs)
}

fn wait_for_the_rest(pairs: &mut [Pair]) -> Result<()> {
    let stopped = Instant::now();
    while !pairs.iter().all(Pair::is_done) {
        ensure!(stopped.elapsed() < STALL, "the background's messages did not arrive");
        receive(pairs)?;
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn receive(pairs: &mut [Pair]) -> Result<()> {
    for pair in pairs {
        pair.receive()?;
    }
    Ok(())
}

fn finish(pairs: &mut [Pair]) -> Result<()> {
    Client::barrier(pairs.iter_mut().flat_map(Pair::clients), "done")
}
