//! Choices of a seed: how many peers there are, how often each step is taken, how large everything is and what fails.
//! Each seed turns some steps off and some up, because runs that are all alike miss faults that only show while
//! something else does not happen (Groce and others, "Swarm Testing", 2012). Owns these choices; never takes a step.

use std::time::Duration;

use fastrand::Rng;

use crate::config::Durability;
use crate::limits::{OFFLINE_PEERS_CACHED_MAX, TEXT_BYTES_MAX};
use crate::store::{EventFilter, StoreLimits};

/// Kind of step that the scheduler may take next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A client logs in.
    Join,
    /// A client submits a few requests.
    Send,
    /// A client submits many requests.
    Flood,
    /// A client's outbox is written to its socket.
    Write,
    /// Written bytes arrive at the client's system.
    Read,
    /// The server learns that bytes arrived.
    Acknowledge,
    /// A client stops reading, or continues.
    Stall,
    /// A client sends no more requests.
    End,
    /// A client's socket fails; requests that had arrived are still read.
    Break,
    /// A client disappears, and bytes in flight are lost.
    Vanish,
    /// A client that the broker released has received everything, and leaves.
    Finish,
    /// Events for which the inbox had no room are sent.
    SendQueued,
    /// The broker runs until it waits.
    Broker,
    /// The store executes its request.
    Store,
    /// The disk fills up, or has room again.
    FailCommits,
    /// The disk becomes unreadable, or readable again.
    FailReads,
    /// The store proposes to remove old messages.
    Remove,
    /// Rows are written into the table `outbox`.
    Post,
    /// An observer takes its next step.
    Observe,
    /// The process dies and restarts.
    Crash,
    /// The power fails.
    CutPower,
    /// The server shuts down and restarts.
    ShutDown,
    /// Nothing fails and nothing new starts until everything in flight has arrived.
    Quiesce,
}

/// All steps, each with its weight before a seed changes it.
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
    (Step::SendQueued, 60),
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
    (Step::Quiesce, 3),
];

/// Choices of one seed.
#[derive(Clone, Debug)]
pub(super) struct Swarm {
    pub(super) seed: u64,
    pub(super) steps: u64,
    /// Names that log in often.
    pub(super) peers: usize,
    /// Names that receive messages and seldom log in.
    pub(super) rare_peers: usize,
    pub(super) clients_max: usize,
    pub(super) batch_max: usize,
    pub(super) destinations_max: usize,
    pub(super) text_bytes_max: usize,
    /// Bytes that a socket buffers on their way to the client.
    pub(super) socket_bytes: u64,
    /// 0: no limit.
    pub(super) mailbox_max: u64,
    /// 0: no limit.
    pub(super) unknown_names_max: u64,
    /// Whether the database is sometimes full of messages that wait.
    pub(super) has_ceiling: bool,
    /// Rooms that requests name.
    pub(super) rooms: usize,
    /// 0: no limit.
    pub(super) rooms_max: u64,
    /// Share of requests that join or leave a room, of 64.
    pub(super) memberships: u32,
    /// Share of requests that show, set or clear a topic, of 64.
    pub(super) topics: u32,
    /// Share of messages with an id, of 16.
    pub(super) ids: u32,
    /// Share of logins that acknowledge explicitly, of 16.
    pub(super) acks: u32,
    /// Event filters of the observers. The first names observe.
    pub(super) observers: Vec<EventFilter>,
    /// Whether some clients acknowledge messages that they have not received.
    pub(super) acks_unreceived: bool,
    /// Time that a cursor may wait to be committed. No time passes in a simulation, so it is zero or forever.
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
            rare_peers: one_of(rng, &[0, 1, 3, 12]),
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
            has_ceiling: seed.is_multiple_of(4),
            rooms: one_of(rng, &[0, 0, 1, 1, 2, 3, 8]),
            rooms_max: one_of(rng, &[0, 0, 0, 0, 1, 2]),
            memberships: one_of(rng, &[2, 4, 8, 8, 24]),
            topics: 0,
            ids: one_of(rng, &[0, 0, 4, 12]),
            acks: one_of(rng, &[0, 0, 4, 8, 16]),
            observers: Vec::new(),
            acks_unreceived: rng.u32(..3) == 0,
            weights: [0; WEIGHTS.len()],
            weights_total: 0,
        };
        if swarm.ids > 0 {
            // A message with an id that is sent twice and refused once for a limit could be reported either way.
            (swarm.mailbox_max, swarm.unknown_names_max, swarm.has_ceiling) = (0, 0, false);
        }
        let observers = one_of(rng, &[0, 0, 1, 2, 3, 12]).min(swarm.peers);
        swarm.observers = (0..observers).map(|_| wants(rng)).collect();
        swarm.weigh(rng);
        if swarm.rooms > 0 {
            swarm.topics = one_of(rng, &[0, 0, 2, 8, 24]);
            swarm.store_limits.room_waiting_max = one_of(rng, &[0, 0, 1, 3, 20, 100]);
        }
        swarm
    }

    /// Choices for a client that names more peers than a broker remembers.
    pub(super) fn of_many_names() -> Self {
        let (rare_peers, durability) = (2 * OFFLINE_PEERS_CACHED_MAX, Durability::Crash);
        let limits = Swarm { mailbox_max: 0, unknown_names_max: 0, has_ceiling: false, acks: 0, ..Swarm::new(0) };
        Swarm { peers: 1, rare_peers, durability, socket_bytes: u64::MAX, ..limits }
    }

    /// Returns the same choices without the steps that only the model of the store can take.
    pub(super) fn over_the_real_store(mut self) -> Self {
        self.durability = Durability::Crash;
        self.turn_off(Step::CutPower);
        self
    }

    /// Number of names, including those that are only used at the end of a run.
    pub(super) fn names(&self) -> usize {
        self.peers + self.rare_peers + self.spare_names()
    }

    /// Number of names that are only used at the end of a run.
    pub(super) fn spare_names(&self) -> usize {
        if self.unknown_names_max > 0 { self.unknown_names_max as usize + 2 } else { 0 }
    }

    /// Whether a message may be refused although nothing fails.
    pub(super) fn may_refuse(&self) -> bool {
        self.mailbox_max > 0 || self.unknown_names_max > 0 || self.has_ceiling || self.rooms > 0 || self.ids > 0
    }

    pub(super) fn next(&self, rng: &mut Rng) -> Step {
        let mut chosen = rng.u32(..self.weights_total);
        for ((step, _), weight) in WEIGHTS.iter().zip(&self.weights) {
            if chosen < *weight {
                return *step;
            }
            chosen -= weight;
        }
        unreachable!("the chosen number is below the sum of the weights")
    }

    fn weigh(&mut self, rng: &mut Rng) {
        for ((step, usual), weight) in WEIGHTS.iter().zip(&mut self.weights) {
            let factor = match step {
                // Without these steps nothing moves: they may be rare, but not absent.
                Step::Join | Step::Write | Step::Read | Step::Broker | Step::Store | Step::SendQueued => {
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

/// Returns one of the values, each with the same probability.
pub(super) fn one_of<T: Copy>(rng: &mut Rng, among: &[T]) -> T {
    among[rng.usize(..among.len())]
}
