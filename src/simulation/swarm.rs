//! What a seed makes of a run: who there is, what they do often, seldom or never, how large it is and what fails. Each seed
//! turns some of it off and some of it up: runs that are all alike miss what only shows where something else does not
//! happen (Groce and others, "Swarm Testing", 2012). Owns these choices; never takes a step.

use std::time::Duration;

use fastrand::Rng;

use crate::config::Durability;
use crate::limits::{ABSENT_PEERS_MAX, TEXT_BYTES_MAX};
use crate::store::{EventFilter, StoreLimits};

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A client logs in.
    Join,
    /// A client hands in a few lines.
    Send,
    /// A client hands in many.
    Flood,
    /// What is put out for a client is written to its socket.
    Write,
    /// It arrives.
    Read,
    /// We learn that it did.
    Acknowledge,
    /// A client stops reading, or goes on.
    Stall,
    /// A client sends no more.
    End,
    /// A client's socket fails, and what it had sent is still read.
    Break,
    /// A client is gone, with what is on its way.
    Vanish,
    /// A client that was let go has got everything, and leaves.
    Finish,
    /// What the inbox had no room for is told.
    Tell,
    /// The broker runs, as far as it comes.
    Broker,
    /// The store does what it was asked.
    Store,
    /// The disk is full, or has room again.
    FailCommits,
    /// The disk cannot be read, or can be again.
    FailReads,
    /// The store removes messages that nobody waits for.
    Remove,
    /// Somebody writes into the table `outbox`.
    Post,
    /// One who observes does what is next for it.
    Observe,
    /// The process dies, and starts anew.
    Crash,
    /// The power fails.
    CutPower,
    /// The server is told to stop, and starts anew.
    ShutDown,
    /// Nothing new happens for a while, and everything arrives.
    Calm,
}

/// All steps, and how often each is taken where a seed says nothing else.
const WEIGHTS: [(Step, u32); 23] = [
    (Step::Join, 40),
    (Step::Send, 120),
    (Step::Flood, 2),
    (Step::Write, 140),
    (Step::Read, 140),
    (Step::Acknowledge, 100),
    (Step::Stall, 20),
    (Step::End, 12),
    (Step::Break, 6),
    (Step::Vanish, 10),
    (Step::Finish, 40),
    (Step::Tell, 60),
    (Step::Broker, 200),
    (Step::Store, 200),
    (Step::FailCommits, 6),
    (Step::FailReads, 6),
    (Step::Remove, 10),
    (Step::Post, 4),
    (Step::Observe, 30),
    (Step::Crash, 2),
    (Step::CutPower, 1),
    (Step::ShutDown, 1),
    (Step::Calm, 3),
];

/// One seed's choices.
#[derive(Clone, Debug)]
pub(super) struct Swarm {
    pub(super) seed: u64,
    pub(super) steps: u64,
    /// Names that log in.
    pub(super) peers: usize,
    /// Names that are written to, and seldom log in.
    pub(super) strangers: usize,
    pub(super) clients_max: usize,
    pub(super) batch_max: usize,
    pub(super) destinations_max: usize,
    pub(super) text_bytes_max: usize,
    /// Bytes that a socket takes and that have not arrived.
    pub(super) socket_bytes: u64,
    /// 0: no cap.
    pub(super) mailbox_max: u64,
    /// 0: no cap.
    pub(super) unknown_names_max: u64,
    /// Rooms that are named.
    pub(super) rooms: usize,
    /// 0: no cap.
    pub(super) rooms_max: u64,
    /// Of 64 requests, so many that join or leave a room.
    pub(super) memberships: u32,
    /// Of 16 lines, so many that have an id.
    pub(super) ids: u32,
    /// Of 16 logins, so many that say themselves what they have.
    pub(super) acks: u32,
    /// What those want who observe: the first of the names.
    pub(super) observers: Vec<EventFilter>,
    /// Some of those say that they have what they have not.
    pub(super) is_boastful: bool,
    /// How long a cursor may wait to be kept: no time passes here, so that it is not at all or for ever.
    pub(super) flush_within: Duration,
    pub(super) durability: Durability,
    /// Limits of the store, low enough to be reached in a short run.
    pub(super) store_limits: StoreLimits,
    weights: [u32; WEIGHTS.len()],
    weights_total: u32,
}

impl Swarm {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let rng = &mut rng;
        let is_crowd = rng.u32(..200) == 0;
        let durability = if rng.bool() { Durability::PowerLoss } else { Durability::Crash };
        let mut swarm = Swarm {
            seed,
            steps: one_of(rng, &[50, 50, 150, 150, 500, 500, 1500, 5000]),
            peers: if is_crowd { 300 } else { one_of(rng, &[1, 2, 2, 3, 4, 6, 12]) },
            strangers: one_of(rng, &[0, 1, 3, 12]),
            clients_max: if is_crowd { 400 } else { one_of(rng, &[2, 3, 5, 8, 16]) },
            batch_max: one_of(rng, &[1, 1, 2, 4, 16]),
            destinations_max: one_of(rng, &[1, 1, 2, 3, 8]),
            text_bytes_max: one_of(rng, &[0, 0, 0, 0, 20, 20, 20, 20, 20, 200, 200, 2000, TEXT_BYTES_MAX - 20]),
            socket_bytes: one_of(rng, &[100, 2000, 40_000, 1_000_000]),
            mailbox_max: one_of(rng, &[0, 0, 1, 2, 5, 20, 100]),
            unknown_names_max: one_of(rng, &[0, 0, 1, 2, 5]),
            flush_within: one_of(rng, &[Duration::ZERO, Duration::MAX]),
            durability,
            store_limits: StoreLimits::SMALL,
            rooms: one_of(rng, &[0, 0, 1, 1, 2, 3, 8]),
            rooms_max: one_of(rng, &[0, 0, 0, 0, 1, 2]),
            memberships: one_of(rng, &[2, 4, 8, 8, 24]),
            ids: one_of(rng, &[0, 0, 4, 12]),
            acks: one_of(rng, &[0, 0, 4, 8, 16]),
            observers: Vec::new(),
            is_boastful: rng.u32(..3) == 0,
            weights: [0; WEIGHTS.len()],
            weights_total: 0,
        };
        if swarm.ids > 0 {
            // What is said of a line that is sent twice, and refused for a cap once, would fit either.
            (swarm.mailbox_max, swarm.unknown_names_max) = (0, 0);
        }
        let observers = one_of(rng, &[0, 0, 1, 2, 3, 12]).min(swarm.peers);
        swarm.observers = (0..observers).map(|_| wants(rng)).collect();
        swarm.weigh(rng);
        swarm
    }

    /// One who writes to more names than a broker remembers.
    pub(super) fn of_many_names() -> Self {
        let (strangers, durability) = (2 * ABSENT_PEERS_MAX, Durability::Crash);
        let limits = Swarm { mailbox_max: 0, unknown_names_max: 0, acks: 0, ..Swarm::new(0) };
        Swarm { peers: 1, strangers, durability, socket_bytes: u64::MAX, ..limits }
    }

    /// The same run, without what only the model of the store can do.
    pub(super) fn over_the_real_store(mut self) -> Self {
        self.durability = Durability::Crash;
        self.turn_off(Step::Remove);
        self.turn_off(Step::CutPower);
        self
    }

    /// How many names there are, with those that are only used when a run ends.
    pub(super) fn names(&self) -> usize {
        self.peers + self.strangers + self.spare_names()
    }

    /// Names that are only used when a run ends.
    pub(super) fn spare_names(&self) -> usize {
        if self.unknown_names_max > 0 { self.unknown_names_max as usize + 2 } else { 0 }
    }

    /// Whether a line may be refused though nothing fails.
    pub(super) fn may_refuse(&self) -> bool {
        self.mailbox_max > 0 || self.unknown_names_max > 0 || self.rooms > 0 || self.ids > 0
    }

    pub(super) fn next(&self, rng: &mut Rng) -> Step {
        let mut chosen = rng.u32(..self.weights_total);
        for ((step, _), weight) in WEIGHTS.iter().zip(&self.weights) {
            if chosen < *weight {
                return *step;
            }
            chosen -= weight;
        }
        unreachable!("the weights add up")
    }

    fn weigh(&mut self, rng: &mut Rng) {
        for ((step, usual), weight) in WEIGHTS.iter().zip(&mut self.weights) {
            let factor = match step {
                // Without these nothing moves; they may be slow.
                Step::Join | Step::Write | Step::Read | Step::Broker | Step::Store | Step::Tell => {
                    one_of(rng, &[1, 4, 4, 4, 16])
                }
                _ => one_of(rng, &[0, 0, 1, 4, 4, 16]),
            };
            *weight = usual * factor;
        }
        if self.durability == Durability::Crash {
            self.turn_off(Step::CutPower);
        }
        self.weights_total = self.weights.iter().sum();
    }

    fn turn_off(&mut self, off: Step) {
        for ((step, _), weight) in WEIGHTS.iter().zip(&mut self.weights) {
            if *step == off {
                *weight = 0;
            }
        }
        self.weights_total = self.weights.iter().sum();
    }
}

fn wants(rng: &mut Rng) -> EventFilter {
    EventFilter { logged: rng.bool(), join: rng.bool(), leave: rng.bool(), delivered: rng.bool() }
}

/// One of these, each as likely as the others.
pub(super) fn one_of<T: Copy>(rng: &mut Rng, among: &[T]) -> T {
    among[rng.usize(..among.len())]
}
