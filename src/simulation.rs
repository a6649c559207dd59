//! The promises of `protocol.md` under a seeded scheduler: the real broker with its loop, and around it models of the store
//! and of sockets with clients that read, stall, break, end, come back, log in more than once, join rooms and leave them,
//! say themselves what they have got, and send a message again; others that observe; rows in the table `outbox`; a disk that is
//! full or cannot be read, crashes, power cuts and shutdowns at any instant. Owns which seeds are run, and how one that fails is shown; the
//! rooms below hold the rest.
//!
//! - `cargo test --lib simulation` runs the same seeds each time, the shortest first.
//! - One that fails shows its last steps, and prints how to run it alone: `HOLDLINE_SEED=0x… cargo test --lib simulation`.
//! - `HOLDLINE_SIMULATION_S=1200 cargo test --lib simulation -- --nocapture` runs new seeds for so many seconds.

mod behaviour;
mod calm;
mod client;
mod client_model;
mod counts;
mod differential;
mod disk;
mod ending;
mod observing;
mod oracle;
mod posting;
mod restarts;
mod running;
mod schedule;
mod swarm;
mod turns;
mod world;

use std::iter::repeat_with;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fastrand::Rng;

use self::counts::Counts;
use self::swarm::Swarm;
use self::world::World;

/// Runs of a test run over the model of the store.
const MODEL_RUNS: usize = 1000;

/// Runs over the real store and the model.
const STORE_RUNS: usize = 60;

/// Names one seed, to be run alone.
const SEED_VARIABLE: &str = "HOLDLINE_SEED";

/// Says for how many seconds new seeds are run.
const SECONDS_VARIABLE: &str = "HOLDLINE_SIMULATION_S";

/// What stands in for the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    /// A model of it: fast, and the power takes what was not synced.
    Model,
    /// The store itself, and the model, which must answer the same.
    Store,
}

#[test]
fn the_promises_hold() {
    simulate(Backend::Model, MODEL_RUNS);
}

#[test]
fn the_promises_hold_over_the_real_store_which_answers_as_its_model_does() {
    simulate(Backend::Store, STORE_RUNS);
}

/// A broker that waits for a lookup has not read the reports of what is written: it may deliver as if an outbox were full, and
/// refuse a message for a peer that reads everything.
#[test]
fn a_peer_may_fall_behind_while_its_reports_wait_in_the_inbox() {
    run(0xa9bd2bc2d889543d, Backend::Model);
}

#[test]
fn absent_peers_are_forgotten() {
    World::new(Swarm::of_many_names(), false, false).check_forgetting();
}

fn simulate(backend: Backend, runs: usize) {
    let began = Instant::now();
    let (counts, runs) = if let Some(seed) = seed() {
        (show(seed, backend), 1)
    } else if let Some(time) = time() {
        let new = UNIX_EPOCH.elapsed().expect("it is later").as_nanos() as u64;
        let seeds = seeds(new).take_while(|_| began.elapsed() < time);
        seeds.fold((Counts::default(), 0), |(counts, runs), seed| (counts + run(seed, backend), runs + 1))
    } else {
        let mut seeds: Vec<u64> = seeds(0).take(runs).collect();
        seeds.sort_by_key(|seed| Swarm::new(*seed).steps);
        (seeds.iter().fold(Counts::default(), |counts, seed| counts + run(*seed, backend)), runs)
    };
    eprintln!("{backend:?}: {runs} runs, {counts} in {:.1} s", began.elapsed().as_secs_f64());
}

fn seeds(first: u64) -> impl Iterator<Item = u64> {
    let mut rng = Rng::with_seed(first);
    repeat_with(move || rng.u64(..))
}

fn run(seed: u64, backend: Backend) -> Counts {
    let mut world = backend.world(seed, false);
    match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(()) => world.counts(),
        Err(_) => {
            show(seed, backend);
            panic!("the seed {seed:#x} broke a promise once and not again")
        }
    }
}

/// Runs a seed, and shows the last steps if it fails.
fn show(seed: u64, backend: Backend) -> Counts {
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
