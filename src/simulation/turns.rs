//! The turns of the broker and of the store: the broker runs until it waits, and the store does what it was asked, or fails. Owns what
//! every turn is held against; never decides when one is taken.

use super::oracle::Oracle;
use super::world::World;
use crate::limits::{POSTS_MAX, TURN_OBSERVED_MAX, TURN_PAGES_MAX, TURN_REQUESTS_MAX};
use crate::store::{Entry, Read, StoreRequest, TurnOutcome, TurnRequest};

impl World {
    /// The broker runs until it waits for something.
    pub(super) fn run_broker(&mut self) -> bool {
        if !self.broker.can_run() {
            return false;
        }
        self.step(|| "the broker runs".to_owned());
        let running = self.broker.run();
        assert!(running.is_none(), "the broker runs until it is let go");
        self.look_at_turn();
        self.look_at_outboxes();
        self.look_at_observers();
        true
    }

    pub(super) fn look_at_turn(&mut self) {
        let Some(StoreRequest::Turn(request, _)) = &self.broker.asked else { return };
        let is_observed = |read: &&Read| matches!(read, Read::Observed(..));
        let observed = request.reads.iter().filter(is_observed).count();
        assert!(observed <= TURN_OBSERVED_MAX, "a turn reads for {observed} observers");
        let is_page = |read: &&Read| matches!(read, Read::Page(..));
        let pages = request.reads.iter().filter(is_page).count();
        assert!(pages <= TURN_PAGES_MAX, "a turn asks for {pages} pages");
        let is_message = |entry: &&Entry| matches!(entry, Entry::Message { .. });
        let messages = request.entries.iter().filter(is_message).count();
        assert!(messages <= TURN_REQUESTS_MAX + POSTS_MAX, "a turn has {messages} messages");
        self.oracle.asked(request);
        let turn = self.oracle.turn;
        let entries = request.entries.len();
        self.note(|| {
            format!(
                "turn {turn} is decided: {entries} entries, {messages} messages; it reads {pages} pages, and for {observed} observers"
            )
        });
    }

    fn look_at_outboxes(&mut self) {
        let is_clogged = !self.broker.inbox().is_empty();
        for place in 0..self.clients.len() {
            self.look_at_outbox(place);
            let client = &mut self.clients[place];
            let view = &mut self.views[client.number()];
            if client.permit().is_some() {
                view.has_said(&mut self.oracle);
            }
            // What it told is not known to the broker in time, or was too much.
            let falls_behind = client.may_be_full() || view.leaves_much_unacknowledged();
            if is_clogged || !client.queued_events.is_empty() || falls_behind {
                view.falls_behind(&mut self.oracle);
            }
            if !is_clogged {
                client.reports_are_read();
            }
        }
    }

    fn look_at_outbox(&mut self, place: usize) {
        let client = &mut self.clients[place];
        let view = &mut self.views[client.number()];
        let was_let_go = client.is_let_go;
        let before = view.messages_read;
        while let Some(chunk) = client.next_chunk() {
            let bytes = chunk.bytes.len();
            let messages_bytes = view.reads(&chunk.bytes, &mut self.oracle);
            client.is_handed(bytes, messages_bytes);
        }
        if client.is_let_go && !was_let_go {
            view.is_let_go(&mut self.oracle);
        }
        if self.trace.is_some() {
            let (session, messages) = (client.session, view.messages_read - before);
            let (place, lets_go) = (view.place(), client.is_let_go && !was_let_go);
            if messages > 0 || lets_go {
                let end = if lets_go { ", and is let go" } else { "" };
                self.note(|| format!("    #{session} is handed {messages} messages, up to its peer's {place}.{end}"));
            }
        }
    }

    /// The store does what it was asked.
    pub(super) fn answer(&mut self) -> bool {
        let Some(asked) = self.broker.asked.take() else { return false };
        self.broker.is_answered = true;
        match asked {
            StoreRequest::Posts(reply) => {
                let found = if self.is_unreadable { Err("injected".to_owned()) } else { Ok(self.store.posts()) };
                self.step(|| format!("the store looks into the outbox: {found:?}"));
                reply.send(found).expect("the broker waits for it");
            }
            StoreRequest::Lookup(lookup, reply) => {
                self.looked_up += lookup.peers.len();
                let found =
                    if self.is_unreadable { Err("injected".to_owned()) } else { Ok(self.store.lookup(&lookup)) };
                if found.is_err() {
                    self.oracle.lookup_failed_at = self.oracle.step + 1;
                }
                self.step(|| format!("the store looks up {lookup:?}: {found:?}"));
                reply.send(found).expect("the broker waits for it");
            }
            StoreRequest::Turn(request, reply) => {
                let outcome = self.turn(request);
                reply.send(outcome).expect("the broker waits for it");
            }
        }
        true
    }

    pub(super) fn turn(&mut self, request: TurnRequest) -> TurnOutcome {
        let outcome = self.store.turn(request, self.is_full, self.is_unreadable);
        if outcome.commit.is_ok() {
            let views = &self.views;
            let may_keep_up = |oracle: &Oracle, session: usize, fed| views[session].may_keep_up(fed, oracle);
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

    pub(super) fn remove(&mut self) -> bool {
        let removed = self.store.disk.remove(self.rng.usize(1..64));
        self.oracle.removed(&removed);
        !removed.is_empty() && self.step(|| format!("the store removes {removed:?}"))
    }
}
