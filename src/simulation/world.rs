//! The world around the broker: its inbox, its clients, its store, and the scheduler that lets one of them take a step.
//! The broker is the real one, with its loop. Owns what happens next; the promises are held by `oracle` and `view`.

mod calm;

use std::collections::VecDeque;
use std::fmt;

use async_channel::TrySendError;
use fastrand::Rng;

use super::client::{Client, QueuedEvent};
use super::client_model::{Asked, ClientModel};
use super::counts::Counts;
use super::differential::CheckedStore;
use super::oracle::Oracle;
use super::running::{Running, Told};
use super::swarm::{Step, Swarm};
use crate::broker::{EndReason, Event};
use crate::limits::{INBOX_EVENTS_MAX, POSTS_MAX, TURN_OBSERVED_MAX, TURN_PAGES_MAX, TURN_REQUESTS_MAX};
use crate::message::{PeerName, Room, Seq};
use crate::store::{Entry, Read, StoreRequest, TurnRequest};

/// Steps that nobody could take, one after the other, until it counts as a standstill.
const STANDSTILL_TRIES: usize = 200;

/// The last steps that a trace shows.
const TRACE_LINES_MAX: usize = 100;

/// Everything.
pub(super) struct World {
    pub(super) swarm: Swarm,
    pub(super) rng: Rng,
    pub(super) store: CheckedStore,
    pub(super) broker: Running,
    pub(super) clients: Vec<Client>,
    /// Connections that left since it was last calm.
    pub(super) left: usize,
    pub(super) oracle: Oracle,
    /// One for each connection there ever was.
    pub(super) views: Vec<ClientModel>,
    is_full: bool,
    is_unreadable: bool,
    /// Somebody has written to the database, and the broker was not told.
    pub(super) is_outbox_touched: bool,
    /// Lines before this one are known to be dealt with.
    dealt_with: usize,
    pub(super) next_token: u64,
    /// Names that the store looked up.
    pub(super) looked_up: usize,
    trace: Option<VecDeque<String>>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.swarm.fmt(f)
    }
}

impl World {
    pub(super) fn new(swarm: Swarm, is_checked: bool, is_traced: bool) -> Self {
        let store = CheckedStore::new(swarm.durability, is_checked);
        let (names, rooms) = ((0..swarm.names()).map(name), (0..swarm.rooms).map(room));
        World {
            // Other numbers than those that chose the swarm.
            rng: Rng::with_seed(!swarm.seed),
            broker: Running::new(&store, &swarm),
            store,
            clients: Vec::new(),
            left: 0,
            oracle: Oracle::new(names, rooms, &swarm),
            views: Vec::new(),
            is_full: false,
            is_unreadable: false,
            is_outbox_touched: false,
            dealt_with: 0,
            next_token: 0,
            looked_up: 0,
            trace: is_traced.then(VecDeque::new),
            swarm,
        }
    }

    /// Takes the swarm's steps, and comes to an end.
    pub(super) fn run(&mut self) {
        let mut tries = 0;
        while self.oracle.step < self.swarm.steps {
            let step = self.swarm.next(&mut self.rng);
            tries = if self.take(step) { 0 } else { tries + 1 };
            // Where a seed has turned off what would go on, everything stands still.
            if tries == STANDSTILL_TRIES {
                self.calm_down();
            }
        }
        self.finish();
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            steps: self.oracle.step,
            turns: self.oracle.turn,
            messages: self.oracle.newest.get() as u64,
            sessions: self.views.len() as u64,
        }
    }

    /// The last steps, in words.
    pub(super) fn trace(&self) -> impl Iterator<Item = &String> {
        self.trace.iter().flatten()
    }

    /// Takes a step, if there is anyone who can.
    fn take(&mut self, step: Step) -> bool {
        match step {
            Step::Join => self.join_any(),
            Step::Send => self.send_any(false),
            Step::Flood => self.send_any(true),
            Step::Write => self.write_any(),
            Step::Read => self.read_any(),
            Step::Acknowledge => self.acknowledge_any(),
            Step::Stall => self.stall_any(),
            Step::End => self.end_any(),
            Step::Break => self.break_any(),
            Step::Vanish => self.vanish_any(),
            Step::Finish => self.finish_any(),
            Step::Tell => self.tell_untold(),
            Step::Broker => self.run_broker(),
            Step::Store => self.answer(),
            Step::FailCommits => self.fail_commits(),
            Step::FailReads => self.fail_reads(),
            Step::Remove => self.remove(),
            Step::Post => self.post_any(),
            Step::Observe => self.observe_any(),
            Step::Crash => self.crash(false),
            Step::CutPower => self.crash(true),
            Step::ShutDown => self.shut_down(),
            Step::Calm => self.calm_down(),
        }
    }

    /// Counts a step, which has done something.
    pub(super) fn step(&mut self, words: impl FnOnce() -> String) -> bool {
        self.oracle.step += 1;
        self.note(words);
        true
    }

    fn note(&mut self, words: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            if trace.len() == TRACE_LINES_MAX {
                trace.pop_front();
            }
            trace.push_back(format!("{:>7}  {}", self.oracle.step, words()));
        }
    }

    pub(super) fn tell_some(&mut self, place: usize, event: Option<Event>) {
        if let Some(event) = event {
            self.tell(place, event, Vec::new());
        }
    }

    /// Tells the broker, or waits until the inbox has room.
    pub(super) fn tell(&mut self, place: usize, event: Event, asked: Vec<Asked>) {
        let queued_events = QueuedEvent { event, asked };
        let session = self.clients[place].number();
        let is_next = self.clients[place].queued_events.is_empty();
        let left = if is_next { self.try_tell(session, queued_events, true) } else { Some(queued_events) };
        self.clients[place].queued_events.extend(left);
    }

    /// Hands it back if there is no room.
    fn try_tell(&mut self, session: usize, queued_events: QueuedEvent, at_once: bool) -> Option<QueuedEvent> {
        let QueuedEvent { event, asked } = queued_events;
        let told = Told::of(&event);
        match self.broker.inbox().try_send(event) {
            Ok(()) => {
                self.note_told(session, told, asked, at_once);
                None
            }
            Err(TrySendError::Full(event)) => Some(QueuedEvent { event, asked }),
            Err(TrySendError::Closed(_)) => unreachable!("the broker outlives its handles"),
        }
    }

    fn note_told(&mut self, session: usize, told: Told, asked: Vec<Asked>, at_once: bool) {
        let turn_max = if at_once { self.turn_max(asked.len()) } else { u64::MAX };
        let (view, oracle) = (&mut self.views[session], &mut self.oracle);
        match told {
            Told::Join => view.joins(oracle),
            Told::Requests => {
                for asked in &asked {
                    if let Asked::Send(number) = asked {
                        let sent = &mut oracle.sent[*number];
                        sent.turn_max = if sent.attempts == 1 { turn_max } else { u64::MAX };
                    }
                }
                view.asks(asked, oracle);
            }
            Told::Taken(bytes, seq) => {
                view.is_written(bytes, oracle);
                let peer = &mut oracle.peers[view.peer];
                peer.reported = peer.reported.max(seq.unwrap_or(Seq::ZERO));
            }
            Told::End(EndReason::Client) => view.ends(oracle),
            Told::End(EndReason::Shutdown) => view.is_shut_down(oracle),
            Told::Leave => view.leaves(oracle),
        }
    }

    /// The turn in which a batch that is told now is at the latest, if that can be told: one line waits for nobody, and a
    /// flood for the floods before it.
    fn turn_max(&self, requests: usize) -> u64 {
        // Each connection has a batch that waits at most, and what it told behind that.
        let connections = self.clients.len() + self.left;
        if self.broker.inbox().len() + 2 * connections >= INBOX_EVENTS_MAX {
            return u64::MAX;
        }
        // The next turn may have been taken already, and wait until strangers are looked up.
        self.oracle.turn + 2 + if requests == 1 { 0 } else { connections as u64 }
    }

    /// One who waits for room in the inbox tries again.
    fn tell_untold(&mut self) -> bool {
        if self.tell_of_outbox() {
            return true;
        }
        let waits = |client: &Client| !client.queued_events.is_empty();
        self.clients.iter().position(waits).is_some_and(|place| self.tell_untold_of(place))
    }

    fn tell_untold_of(&mut self, place: usize) -> bool {
        let session = self.clients[place].number();
        let before = self.clients[place].queued_events.len();
        while let Some(queued_events) = self.clients[place].queued_events.pop_front() {
            if let Some(left) = self.try_tell(session, queued_events, false) {
                self.clients[place].queued_events.push_front(left);
                break;
            }
        }
        let has_told = self.clients[place].queued_events.len() < before;
        self.drop_if_gone(place);
        has_told && self.step(|| format!("#{} tells the broker what it waited with", session + 1))
    }

    /// Tells the broker that somebody has written to the database.
    fn tell_of_outbox(&mut self) -> bool {
        let is_told = self.is_outbox_touched && self.broker.inbox().try_send(Event::OutboxTouched).is_ok();
        self.is_outbox_touched &= !is_told;
        is_told && self.step(|| "the broker is told that somebody wrote to the database".to_owned())
    }

    /// A connection that has told everything is no more.
    pub(super) fn drop_if_gone(&mut self, place: usize) {
        if self.clients[place].is_gone && self.clients[place].queued_events.is_empty() {
            self.clients.swap_remove(place);
        }
    }

    /// The broker runs until it waits for something.
    fn run_broker(&mut self) -> bool {
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

    fn look_at_turn(&mut self) {
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
        if let (Some(_), TurnRequest { entries, reads }) = (&self.trace, request) {
            let words = format!("turn {turn} is decided: {} entries, {messages} messages, {reads:?}", entries.len());
            self.note(|| words);
        }
    }

    fn look_at_outboxes(&mut self) {
        let is_clogged = !self.broker.inbox().is_empty();
        for place in 0..self.clients.len() {
            self.look_at_outbox(place);
            let client = &self.clients[place];
            let view = &mut self.views[client.number()];
            if client.permit().is_some() {
                view.has_said(&mut self.oracle);
            }
            // What it told is not known to the broker in time, or was too much.
            let falls_behind = client.may_be_full() || view.leaves_much_unacknowledged();
            if is_clogged || !client.queued_events.is_empty() || falls_behind {
                view.falls_behind(&mut self.oracle);
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
    fn answer(&mut self) -> bool {
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

    fn turn(&mut self, request: TurnRequest) -> crate::store::TurnOutcome {
        let outcome = self.store.turn(request, self.is_full, self.is_unreadable);
        if outcome.commit.is_ok() {
            self.oracle.committed(&outcome.entries, &self.store.disk, &mut self.views);
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

    fn fail_commits(&mut self) -> bool {
        self.is_full = !self.is_full;
        let is_full = self.is_full;
        self.step(|| format!("the disk {}", if is_full { "is full" } else { "has room again" }))
    }

    fn fail_reads(&mut self) -> bool {
        self.is_unreadable = !self.is_unreadable;
        let fails = self.is_unreadable;
        self.step(|| format!("the disk {}", if fails { "cannot be read" } else { "can be read again" }))
    }

    fn remove(&mut self) -> bool {
        let removed = self.store.disk.remove(self.rng.usize(1..64));
        self.oracle.removed(&removed);
        !removed.is_empty() && self.step(|| format!("the store removes {removed:?}"))
    }

    /// The process dies, or the power fails, and it starts anew.
    fn crash(&mut self, is_power_cut: bool) -> bool {
        self.step(|| if is_power_cut { "the power fails".to_owned() } else { "the process dies".to_owned() });
        // The store may have done what it was asked, and nobody learned of it.
        if let Some(StoreRequest::Turn(request, _)) = self.broker.asked.take()
            && self.rng.bool()
        {
            self.turn(request);
        }
        if is_power_cut {
            let kept = self.rng.usize(..=self.store.disk.unsynced_commits());
            self.store.disk.cut_power(kept);
        }
        self.cut_off();
        self.start();
        true
    }

    /// Every connection is gone, and nobody learns how much arrived.
    fn cut_off(&mut self) {
        for place in 0..self.clients.len() {
            self.lose(place);
        }
        self.clients.clear();
    }

    fn start(&mut self) {
        self.left = 0;
        self.dealt_with = self.oracle.sent.len();
        self.views.iter_mut().for_each(ClientModel::is_cut_off);
        self.store.reopen();
        self.oracle.died(&self.store.disk);
        self.broker = Running::new(&self.store, &self.swarm);
    }

    /// The server is told to stop: who reads gets what waits, who stalls is cut off.
    pub(super) fn shut_down(&mut self) -> bool {
        self.step(|| "the server stops".to_owned());
        while self.go_on(true) || self.end_one() {}
        self.check_dealt_with();
        self.cut_off();
        self.broker.handle = None;
        while self.broker.run().is_none() {
            self.look_at_turn();
            assert!(self.answer(), "the broker ends when it is let go");
        }
        let is_kept = !self.is_full;
        if is_kept {
            self.check_cursors_kept();
            self.oracle.observers.check_kept(&self.store.disk);
        }
        self.start();
        true
    }

    fn end_one(&mut self) -> bool {
        let can_end = |client: &Client| !client.is_ending && client.permit().is_some();
        let place = self.clients.iter().position(can_end);
        place.is_some_and(|place| self.end(place, EndReason::Shutdown))
    }
}

fn name(peer: usize) -> PeerName {
    PeerName::parse(&format!("p{peer}")).expect("it is one")
}

fn room(room: usize) -> Room {
    Room::parse(&format!("#r{room}")).expect("it is one")
}
