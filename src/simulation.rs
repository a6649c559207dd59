//! Seeded simulation of the chat: checks the promises of `protocol.md` against the real broker and its loop. Around the
//! broker are models of the store and of sockets. Clients read, stall, break, end, come back, log in more than once,
//! join and leave rooms, set and show topics, acknowledge explicitly, and send a message again. Observers observe, and rows appear in the
//! table `outbox`. The disk fills up or cannot be read; crashes, power cuts and shutdowns happen at any instant.
//!
//! Owns which seeds are run, and how a failing seed is shown. The modules below hold the rest.
//!
//! - `cargo test --lib simulation` runs the same seeds each time, the shortest first.
//! - A failing seed shows its last steps, and prints how to run it alone: `HOLDLINE_SEED=0x… cargo test --lib
//! simulation`.
//! - `HOLDLINE_SIMULATION_S=1200 cargo test --lib simulation -- --nocapture` runs new seeds for 1200 seconds.

mod behaviour;
mod broker_driver;
mod checked_store;
mod client;
mod client_model;
mod counts;
mod disk;
mod ending;
mod observing;
mod oracle;
mod posting;
mod purging;
mod quiescence;
mod replay;
mod restarts;
mod schedule;
mod swarm;
mod turns;
mod world;

use std::iter::repeat_with;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fastrand::Rng;

use self::counts::RunCounts;
use self::swarm::Swarm;
use self::world::World;

/// Seeds that a test run tries with the model of the store.
const MODEL_RUNS: usize = 1000;

/// Seeds that a test run tries with the real store and the model side by side.
const STORE_RUNS: usize = 60;

/// Seeds whose entries are replayed into another database.
const REPLAY_RUNS: usize = 15;

/// Environment variable with the seed to run alone.
const SEED_VARIABLE: &str = "HOLDLINE_SEED";

/// Environment variable with the number of seconds for which new seeds are run.
const SECONDS_VARIABLE: &str = "HOLDLINE_SIMULATION_S";

/// Store that answers the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    /// Model of the store: fast, and a power cut takes what was not synced.
    Model,
    /// Real store beside the model; both must answer the same.
    Store,
}

#[test]
fn the_promises_hold_over_the_model_of_the_store() {
    simulate(Backend::Model, MODEL_RUNS);
}

#[test]
fn the_real_store_answers_as_its_model_and_the_promises_hold() {
    simulate(Backend::Store, STORE_RUNS);
}

#[test]
fn serialised_entries_of_a_run_rebuild_its_database() {
    let seeds = seed().map_or_else(|| seeds(0).take(REPLAY_RUNS).collect(), |seed| vec![seed]);
    for seed in seeds {
        eprintln!("seed {seed:#x}");
        let mut world = Backend::Store.world(seed, false);
        world.run();
        world.store.check_replay();
    }
}

/// A broker that waits for a lookup has not read the reports of written bytes. It may treat an outbox as full when it
/// delivers, and refuse a message for a peer that reads everything.
#[test]
fn a_peer_may_fall_behind_while_its_reports_wait_in_the_inbox() {
    run(0xa9bd2bc2d889543d, Backend::Model);
}

/// The commit that creates a room fails, and another room gets its id before the reply to a request for the topic is delivered.
#[test]
fn topic_is_shown_of_the_room_that_was_requested() {
    for seed in [0x6d3f376106ccb5e1, 0xee3ffde36cd56c91] {
        run(seed, Backend::Model);
    }
}

/// A session is welcomed right after a turn that sets a topic was delivered, while the broker looks up whether a room is unused.
#[test]
fn topic_that_was_set_before_a_welcome_is_not_announced() {
    run(0x904f6999c308dd2f, Backend::Model);
}

/// Between a login and the count of its messages, another session of the peer receives some, and they are removed.
#[test]
fn welcome_does_not_count_messages_that_were_removed() {
    run(0x8463489aa8753f35, Backend::Store);
}

#[test]
fn offline_peers_are_evicted_from_memory() {
    World::new(Swarm::of_many_names(), false, false).check_forgetting();
}

fn simulate(backend: Backend, runs: usize) {
    let began = Instant::now();
    let (counts, runs) = if let Some(seed) = seed() {
        (show(seed, backend), 1)
    } else if let Some(time) = time() {
        let new = UNIX_EPOCH.elapsed().expect("the clock is past 1970").as_nanos() as u64;
        let seeds = seeds(new).take_while(|_| began.elapsed() < time);
        seeds.fold((RunCounts::default(), 0), |(counts, runs), seed| (counts + run(seed, backend), runs + 1))
    } else {
        let mut seeds: Vec<u64> = seeds(0).take(runs).collect();
        seeds.sort_by_key(|seed| Swarm::new(*seed).steps);
        (seeds.iter().fold(RunCounts::default(), |counts, seed| counts + run(*seed, backend)), runs)
    };
    eprintln!("{backend:?}: {runs} runs, {counts} in {:.1} s", began.elapsed().as_secs_f64());
}

fn seeds(first: u64) -> impl Iterator<Item = u64> {
    let mut rng = Rng::with_seed(first);
    repeat_with(move || rng.u64(..))
}

fn run(seed: u64, backend: Backend) -> RunCounts {
    let mut world = backend.world(seed, false);
    match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(()) => world.counts(),
        Err(_) => {
            show(seed, backend);
            panic!("the seed {seed:#x} failed once, and passed when it was run again")
        }
    }
}

/// Runs a seed, and shows the last steps if it fails.
fn show(seed: u64, backend: Backend) -> RunCounts {
    let mut world = backend.world(seed, true);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let Err(panic) = outcome else { return world.counts() };
    eprintln!("\nThe last steps of {world:?}:");
    for line in world.trace() {
        eprintln!("{line}");
    }
    eprintln!("\nTo run this seed alone: {SEED_VARIABLE}={seed:#x} cargo test --lib simulation\n");
    resume_unwind(panic)
}

impl Backend {
    fn world(self, seed: u64, is_traced: bool) -> World {
        let swarm = Swarm::new(seed);
        match self {
            Backend::Model => World::new(swarm, false, is_traced),
            Backend::Store => World::new(swarm.over_the_real_store(), true, is_traced),
        }
    }
}

fn seed() -> Option<u64> {
    let seed = std::env::var(SEED_VARIABLE).ok()?;
    let digits = seed.strip_prefix("0x").unwrap_or_else(|| panic!("{SEED_VARIABLE}={seed} does not begin with 0x"));
    Some(u64::from_str_radix(digits, 16).unwrap_or_else(|error| panic!("{SEED_VARIABLE}={seed}: {error}")))
}

fn time() -> Option<Duration> {
    let time = std::env::var(SECONDS_VARIABLE).ok()?;
    let seconds = time.parse().unwrap_or_else(|error| panic!("{SECONDS_VARIABLE}={time}: {error}"));
    Some(Duration::from_secs(seconds))
}
