//! Turns: the broker runs until it waits, and the store executes its request or fails. Owns the checks of every turn;
//! never decides when a turn is taken.

use super::oracle::Oracle;
use super::swarm::one_of;
use super::world::World;
use crate::limits::{POSTS_MAX, TURN_OBSERVERS_MAX, TURN_PAGES_MAX, TURN_REQUESTS_MAX};
use crate::store::{Entry, Lookup, Read, StoreRequest, TurnOutcome, TurnRequest};

impl World {
    /// Runs the broker until it waits.
    pub(super) fn run_broker(&mut self) -> bool {
        if !self.broker.can_run() {
            return false;
        }
        if self.broker.headroom.bytes().is_some() {
            self.oracle.full_at = self.oracle.step + 1;
        }
        self.step(|| "the broker runs".to_owned());
        let running = self.broker.run();
        assert!(running.is_none(), "the broker runs as long as it has a handle");
        self.check_turn();
        self.read_outboxes();
        self.receive_observations();
        true
    }

    /// Now and then fills the database with messages that wait, or makes room.
    pub(super) fn change_headroom(&mut self) {
        if self.swarm.has_ceiling && self.ceiling.u32(..8) == 0 {
            self.broker.headroom.set(one_of(&mut self.ceiling, &[None, None, None, Some(0), Some(100), Some(1000)]));
        }
    }

    pub(super) fn check_turn(&mut self) {
        let Some(StoreRequest::Turn(request, _)) = &self.broker.request else { return };
        let is_removal = |entry: &Entry| matches!(entry, Entry::Remove { .. });
        if request.entries.iter().any(is_removal) {
            assert!(request.entries.len() == 1 && request.reads.is_empty(), "a removal has a turn of its own");
        }
        let is_observed = |read: &&Read| matches!(read, Read::Observed(..));
        let observed = request.reads.iter().filter(is_observed).count();
        assert!(observed <= TURN_OBSERVERS_MAX, "a turn reads for {observed} observers");
        let is_page = |read: &&Read| matches!(read, Read::Page(..));
        let pages = request.reads.iter().filter(is_page).count();
        assert!(pages <= TURN_PAGES_MAX, "a turn asks for {pages} pages");
        let is_message = |entry: &&Entry| matches!(entry, Entry::Message { .. });
        let messages = request.entries.iter().filter(is_message).count();
        assert!(messages <= TURN_REQUESTS_MAX + POSTS_MAX, "a turn has {messages} messages");
        self.oracle.turn_decided(request);
        let turn = self.oracle.turn;
        let entries = request.entries.len();
        self.note(|| {
            format!(
                "turn {turn} is decided: {entries} entries, {messages} messages, reads of {pages} pages and for {observed} observers"
            )
        });
    }

    fn read_outboxes(&mut self) {
        let is_clogged = !self.broker.inbox().is_empty();
        // While it looks up names or rooms, the last turn may not be delivered, or may have been delivered before.
        let is_delivered = matches!(&self.broker.request, None | Some(StoreRequest::Turn(..)));
        for place in 0..self.clients.len() {
            self.read_outbox(place);
            let client = &mut self.clients[place];
            let model = &mut self.models[client.number()];
            if client.permit().is_some() {
                model.acks_processed(&mut self.oracle);
            }
            // The broker may not know in time what the client received, or the client received too much.
            let falls_behind = client.may_be_full() || model.leaves_much_unacknowledged();
            if is_clogged || !client.queued_events.is_empty() || falls_behind {
                model.falls_behind(&mut self.oracle);
            }
            let has_room = !is_clogged && client.queued_events.is_empty() && client.has_room_for_announcements();
            model.may_get_topics(has_room, &self.oracle);
            if is_delivered {
                model.check_topics_told(&self.oracle);
            }
            if !is_clogged {
                client.reports_are_read();
            }
        }
        if is_delivered {
            self.oracle.topics.delivered();
        }
    }

    fn read_outbox(&mut self, place: usize) {
        let client = &mut self.clients[place];
        let model = &mut self.models[client.number()];
        let was_released = client.is_released;
        let before = model.messages_read;
        while let Some(chunk) = client.next_chunk() {
            let bytes = chunk.bytes.len();
            let messages_bytes = model.reads(&chunk.bytes, &mut self.oracle);
            client.is_handed(bytes, messages_bytes);
        }
        if client.is_released && !was_released {
            model.is_released(&mut self.oracle);
        }
        if self.trace.is_some() {
            let (session, messages) = (client.session, model.messages_read - before);
            let (place, is_released_now) = (model.place(), client.is_released && !was_released);
            if messages > 0 || is_released_now {
                let end = if is_released_now { ", and is released" } else { "" };
                self.note(|| format!("    #{session} is flushed {messages} messages, up to its peer's {place}.{end}"));
            }
        }
    }

    /// Executes the request of the broker.
    pub(super) fn answer(&mut self) -> bool {
        let Some(asked) = self.broker.request.take() else { return false };
        self.broker.is_answered = true;
        match asked {
            StoreRequest::Posts(reply) => {
                let found = if self.is_unreadable { Err("injected".to_owned()) } else { Ok(self.store.posts()) };
                self.step(|| format!("the store reads the table outbox: {found:?}"));
                reply.send(found).expect("the broker waits for the reply");
            }
            StoreRequest::Lookup(lookup, reply) => {
                // After a lookup that ended early, which requests of a batch a failure would refuse is not known.
                let fails = self.is_unreadable && !self.has_cut_lookup;
                let mut found = if fails { Err("injected".to_owned()) } else { Ok(self.store.lookup(&lookup)) };
                if let Ok(found) = &mut found {
                    self.cut_lookup(&lookup, &mut found.peers);
                    self.looked_up += found.peers.len();
                }
                if found.is_err() {
                    self.oracle.lookup_failed_at = self.oracle.step + 1;
                }
                self.step(|| format!("the store looks up {lookup:?}: {found:?}"));
                reply.send(found).expect("the broker waits for the reply");
            }
            StoreRequest::Turn(request, reply) => {
                let outcome = self.turn(request);
                reply.send(outcome).expect("the broker waits for the reply");
            }
        }
        true
    }

    /// Drops the last peers that were looked up, as if the time was over, in some of the lookups.
    fn cut_lookup<T>(&mut self, lookup: &Lookup, peers: &mut Vec<T>) {
        let least = lookup.peers_min.max(1);
        self.has_cut_lookup = self.cuts_lookups && least < peers.len() && self.rng.bool();
        if self.has_cut_lookup {
            peers.truncate(self.rng.usize(least..peers.len()));
            self.oracle.lookup_cut_at = self.oracle.step + 1;
            self.oracle.lookups_cut += 1;
        }
    }

    pub(super) fn turn(&mut self, request: TurnRequest) -> TurnOutcome {
        let outcome = self.store.turn(request, self.is_full, self.is_unreadable);
        if outcome.commit.is_ok() {
            let models = &self.models;
            let may_keep_up = |oracle: &Oracle, session: usize, fed| models[session].may_keep_up(fed, oracle);
            self.oracle.committed(&outcome.entries, &self.store.disk, &may_keep_up);
        } else {
            self.oracle.failed(&outcome.entries);
        }
        if let Some(Err(_)) = outcome.reads {
            self.oracle.read_failed_at = self.oracle.step + 1;
        }
        let (newest, is_ok) = (outcome.newest, outcome.commit.is_ok());
        self.step(|| {
            format!("the store {} the turn, its newest message is {newest}", if is_ok { "commits" } else { "fails" })
        });
        outcome
    }

    pub(super) fn fail_commits(&mut self) -> bool {
        self.is_full = !self.is_full;
        let is_full = self.is_full;
        self.step(|| format!("the disk {}", if is_full { "is full" } else { "has room again" }))
    }

    pub(super) fn fail_reads(&mut self) -> bool {
        self.is_unreadable = !self.is_unreadable;
        let fails = self.is_unreadable;
        self.step(|| format!("the disk {}", if fails { "cannot be read" } else { "can be read again" }))
    }

    /// The store proposes to remove the oldest messages, also those that wait.
    pub(super) fn propose_removal(&mut self) -> bool {
        let Some(range) = self.store.disk.oldest(self.rng.usize(1..64)) else { return false };
        self.broker.propose_removal(range) && self.step(|| format!("the store proposes to remove {range:?}"))
    }
}
