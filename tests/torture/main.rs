//! The torture test: a server that is killed again and again, while senders write and receivers connect and disconnect.
//! Owns the faults, and whom they meet; what must hold afterwards is in `oracle.rs`.
//!
//! The actions of all clients, and when the server dies, follow from a seed, which a failure prints. Timing does not
//! follow from it: a replay is the same plan, and hardly ever the same run, so give it more kills:
//!
//! ```text
//! HOLDLINE_TORTURE_SEED=7 HOLDLINE_TORTURE_KILLS=1000 cargo test --test torture -- --nocapture
//! ```

mod connection;
mod oracle;
mod receiver;
mod sender;
#[path = "../support/mod.rs"]
mod support;

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use rustix::process::Signal;

use self::connection::Reach;
use self::oracle::{Crash, Evidence};
use self::receiver::{Habits, Receiver};
use self::sender::{Plan, Sender};
use self::support::{TestServer, holdline};

/// Number of kills, unless HOLDLINE_TORTURE_KILLS says otherwise.
const KILLS_DEFAULT: u32 = 40;

/// Senders.
const SENDERS: [&str; 4] = ["ada", "bea", "cleo", "dora"];

/// Receivers, with their habits, and the number of their connections at a time.
const RECEIVERS: [(&str, Habits, usize); 3] =
    [("steady", Habits::Polite, 1), ("twins", Habits::Polite, 2), ("rude", Habits::Rude, 1)];

/// Maximum life of the server between two kills.
const LIFE_MS_MAX: u64 = 120;

/// Maximum time of a shutdown, or a start, before a kill cuts it off.
const CUT_OFF_MS_MAX: u64 = 25;

#[test]
fn messages_before_a_pong_survive_every_crash_once_and_in_order() {
    let torture = Torture::from_environment();
    let evidence = torture.run();
    println!("{}", evidence.summary());
    evidence.check();
}

/// Run with its seed, so that it can be repeated.
struct Torture {
    seed: u64,
    kills: u32,
}

impl Torture {
    fn from_environment() -> Self {
        let number = |name| Some(std::env::var(name).ok()?.parse::<u64>().expect("the text is a number"));
        let seed = number("HOLDLINE_TORTURE_SEED").unwrap_or_else(|| fastrand::u64(0..1_000_000));
        let kills = number("HOLDLINE_TORTURE_KILLS").map_or(KILLS_DEFAULT, |kills| kills as u32);
        Torture { seed, kills }
    }

    fn run(&self) -> Evidence {
        let mut rng = Rng::with_seed(self.seed);
        let durability = rng.choice(["power-loss", "crash"]).expect("there are two kinds of durability");
        let server = TestServer::with_config(&format!("durability = \"{durability}\"\n[limits]\nmailbox_max = 0\n"));
        let plan = Plan { seed: self.seed, receivers: RECEIVERS.map(|(name, ..)| name) };
        let reach = Reach::new();
        let mut victim = Victim { server, rng: rng.fork(), crashes: Vec::new() };

        let (attempts, mut visits) = thread::scope(|scope| {
            // Whatever fails here, all clients end.
            let _over = reach.over_at_last();
            let senders = SENDERS.map(|name| {
                let sender = Sender::new(name, &plan, &reach, rng.fork());
                scope.spawn(|| sender.run())
            });
            let receivers = RECEIVERS.map(|(name, habits, connections)| {
                Vec::from_iter((0..connections).map(|_| {
                    let receiver = Receiver::new(name, habits, &reach, rng.fork());
                    scope.spawn(|| receiver.run())
                }))
            });
            victim.suffer(self.kills, &reach);
            reach.end_writing();
            let attempts = senders.map(|sender| sender.join().expect("a sender fails in words"));
            reach.end_reading();
            let visits = receivers.map(|connections| {
                let visits =
                    connections.into_iter().map(|receiver| receiver.join().expect("a receiver fails in words"));
                Vec::from_iter(visits.flatten())
            });
            (attempts, visits)
        });

        for ((name, ..), visits) in RECEIVERS.iter().zip(&mut visits) {
            visits.push(receiver::last_visit(name, victim.server.address(), self.kills));
            victim.server.wait_until_delivered(name);
        }
        Evidence::new(&victim.server, plan, attempts.into(), visits.into(), victim.crashes)
    }
}

impl Drop for Torture {
    fn drop(&mut self) {
        if thread::panicking() {
            let Torture { seed, kills } = self;
            eprintln!(
                "the same again: HOLDLINE_TORTURE_SEED={seed} HOLDLINE_TORTURE_KILLS={kills} cargo test --test torture"
            );
        }
    }
}

/// Server, and what happens to it.
struct Victim {
    server: TestServer,
    rng: Rng,
    crashes: Vec<Crash>,
}

impl Victim {
    /// Kills the server this many times, and starts it again.
    fn suffer(&mut self, kills: u32, reach: &Reach) {
        for life in 0..kills {
            reach.open(life, self.server.address());
            self.sleep_up_to(LIFE_MS_MAX);
            self.die();
            reach.close();
            self.crashes.push(Crash::look(&self.server, life));
            while self.rng.u32(..4) == 0 {
                self.die_at_birth();
            }
            self.server.start_again();
        }
        reach.open(kills, self.server.address());
    }

    fn die(&mut self) {
        if self.rng.u32(..4) == 0 {
            self.server.signal(Signal::TERM);
            self.sleep_up_to(CUT_OFF_MS_MAX);
        }
        self.server.kill();
    }

    /// Starts the server, and kills it before a client can connect, or soon after.
    fn die_at_birth(&mut self) {
        let mut start = holdline();
        start.args(["--listen", "127.0.0.1:0", "--data"]).arg(self.server.data()).current_dir(self.server.data());
        let mut newborn = start.stderr(Stdio::null()).spawn().expect("the server can be started");
        self.sleep_up_to(CUT_OFF_MS_MAX);
        newborn.kill().and_then(|()| newborn.wait()).expect("the process is a child of the test");
    }

    /// Lets a random time pass: the time of the next event is the subject.
    fn sleep_up_to(&mut self, ms: u64) {
        thread::sleep(Duration::from_micros(self.rng.u64(..ms * 1000)));
    }
}
