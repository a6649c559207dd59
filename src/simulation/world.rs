//! State of a run: the broker, its clients, its store, and the events that the broker has been sent. Owns sending events
//! and counting steps; never decides which step comes next.

use std::collections::VecDeque;
use std::fmt;

use async_channel::TrySendError;
use fastrand::Rng;

use super::broker_driver::{BrokerDriver, EventSummary};
use super::checked_store::CheckedStore;
use super::client::{Client, QueuedEvent};
use super::client_model::{ClientModel, ModelRequest};
use super::counts::RunCounts;
use super::oracle::Oracle;
use super::swarm::Swarm;
use crate::broker::{EndReason, Event};
use crate::limits::INBOX_EVENTS_MAX;
use crate::message::{PeerName, Room, Seq};

/// Newest steps that a trace keeps.
const TRACE_LINES_MAX: usize = 100;

/// Broker, clients, store, and the models that check them.
pub(super) struct World {
    pub(super) swarm: Swarm,
    pub(super) rng: Rng,
    pub(super) store: CheckedStore,
    pub(super) broker: BrokerDriver,
    pub(super) clients: Vec<Client>,
    /// Connections that left since the last quiescence.
    pub(super) left: usize,
    pub(super) oracle: Oracle,
    /// One model for each connection there ever was, in the order of the connections.
    pub(super) models: Vec<ClientModel>,
    pub(super) is_full: bool,
    pub(super) is_unreadable: bool,
    /// Decides when the database is full of messages that wait.
    pub(super) ceiling: Rng,
    /// Whether the table `outbox` was written and the broker has not been notified.
    pub(super) is_outbox_touched: bool,
    /// Number of messages whose outcome is known and checked.
    pub(super) checked_lines: usize,
    pub(super) next_token: u64,
    /// Whether some lookups end before all names are looked up.
    pub(super) cuts_lookups: bool,
    /// Whether the last one did.
    pub(super) has_cut_lookup: bool,
    /// Names that the store looked up so far.
    pub(super) looked_up: usize,
    pub(super) trace: Option<VecDeque<String>>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.swarm.fmt(f)
    }
}

impl World {
    pub(super) fn new(swarm: Swarm, is_checked: bool, is_traced: bool) -> Self {
        let store = CheckedStore::new(swarm.durability, swarm.store_limits, is_checked, swarm.seed);
        let (names, rooms) = ((0..swarm.names()).map(name), (0..swarm.rooms).map(room));
        World {
            // A random sequence other than the one that chose the swarm.
            rng: Rng::with_seed(!swarm.seed),
            broker: BrokerDriver::new(&store, &swarm),
            store,
            clients: Vec::new(),
            left: 0,
            oracle: Oracle::new(names, rooms, &swarm),
            models: Vec::new(),
            is_full: false,
            is_unreadable: false,
            ceiling: Rng::with_seed(swarm.seed.rotate_left(32)),
            is_outbox_touched: false,
            checked_lines: 0,
            next_token: 0,
            cuts_lookups: swarm.seed.is_multiple_of(2),
            has_cut_lookup: false,
            looked_up: 0,
            trace: is_traced.then(VecDeque::new),
            swarm,
        }
    }

    pub(super) fn counts(&self) -> RunCounts {
        RunCounts {
            steps: self.oracle.step,
            turns: self.oracle.turn,
            messages: self.oracle.newest.get() as u64,
            sessions: self.models.len() as u64,
        }
    }

    /// The last steps in words.
    pub(super) fn trace(&self) -> impl Iterator<Item = &String> {
        self.trace.iter().flatten()
    }

    /// Counts a step that did something.
    pub(super) fn step(&mut self, words: impl FnOnce() -> String) -> bool {
        self.oracle.step += 1;
        self.note(words);
        true
    }

    pub(super) fn note(&mut self, words: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            if trace.len() == TRACE_LINES_MAX {
                trace.pop_front();
            }
            trace.push_back(format!("{:>7}  {}", self.oracle.step, words()));
        }
    }

    pub(super) fn send_event_if_any(&mut self, place: usize, event: Option<Event>) {
        if let Some(event) = event {
            self.send_event(place, event, Vec::new());
        }
    }

    /// Sends an event to the broker, or queues it until the inbox has room.
    pub(super) fn send_event(&mut self, place: usize, event: Event, asked: Vec<ModelRequest>) {
        let queued_events = QueuedEvent { event, asked };
        let session = self.clients[place].number();
        let is_next = self.clients[place].queued_events.is_empty();
        let left = if is_next { self.try_send_event(session, queued_events, true) } else { Some(queued_events) };
        self.clients[place].queued_events.extend(left);
    }

    /// Returns the event if the inbox has no room.
    fn try_send_event(
        &mut self,
        session: usize,
        queued_events: QueuedEvent,
        is_immediate: bool,
    ) -> Option<QueuedEvent> {
        let QueuedEvent { event, asked } = queued_events;
        let summary = EventSummary::of(&event);
        match self.broker.inbox().try_send(event) {
            Ok(()) => {
                self.note_sent(session, summary, asked, is_immediate);
                None
            }
            Err(TrySendError::Full(event)) => Some(QueuedEvent { event, asked }),
            Err(TrySendError::Closed(_)) => unreachable!("the broker outlives its handles"),
        }
    }

    fn note_sent(&mut self, session: usize, summary: EventSummary, asked: Vec<ModelRequest>, is_immediate: bool) {
        let turn_max = if is_immediate { self.turn_max(asked.len()) } else { u64::MAX };
        let (model, oracle) = (&mut self.models[session], &mut self.oracle);
        match summary {
            EventSummary::Join => model.joins(oracle),
            EventSummary::Requests => {
                for asked in &asked {
                    if let ModelRequest::Send(number) = asked {
                        let sent = &mut oracle.sent[*number];
                        sent.turn_max = if sent.attempts == 1 { turn_max } else { u64::MAX };
                    }
                }
                model.asks(asked, oracle);
            }
            EventSummary::DeliveryReport(bytes, seq) => {
                model.reports_written(bytes, oracle);
                let peer = &mut oracle.peers[model.peer];
                peer.reported = peer.reported.max(seq.unwrap_or(Seq::ZERO));
            }
            EventSummary::End(EndReason::Client) => model.ends(oracle),
            EventSummary::End(EndReason::Shutdown) => model.is_shut_down(oracle),
            EventSummary::Leave => model.leaves(oracle),
        }
    }

    /// Returns the last turn in which a batch sent now may be decided, or `u64::MAX` if that is uncertain. A single
    /// request waits for no other; a batch waits for the batches before it.
    fn turn_max(&self, requests: usize) -> u64 {
        // Each connection has at most one batch in the inbox, and one event behind it.
        let connections = self.clients.len() + self.left;
        if self.broker.inbox().len() + 2 * connections >= INBOX_EVENTS_MAX {
            return u64::MAX;
        }
        // The next turn may have taken its events already, and wait for a lookup of names.
        self.oracle.uncut_turn() + 2 + if requests == 1 { 0 } else { connections as u64 }
    }

    /// Retries events for which the inbox had no room.
    pub(super) fn send_queued_events(&mut self) -> bool {
        if self.notify_outbox_touched() {
            return true;
        }
        let waits = |client: &Client| !client.queued_events.is_empty();
        self.clients.iter().position(waits).is_some_and(|place| self.send_queued_events_of(place))
    }

    pub(super) fn send_queued_events_of(&mut self, place: usize) -> bool {
        let session = self.clients[place].number();
        let before = self.clients[place].queued_events.len();
        while let Some(queued_events) = self.clients[place].queued_events.pop_front() {
            if let Some(left) = self.try_send_event(session, queued_events, false) {
                self.clients[place].queued_events.push_front(left);
                break;
            }
        }
        let has_sent = self.clients[place].queued_events.len() < before;
        self.drop_if_gone(place);
        has_sent && self.step(|| format!("#{} sends its queued events", session + 1))
    }

    /// Notifies the broker that the table `outbox` was written.
    pub(super) fn notify_outbox_touched(&mut self) -> bool {
        let receive_observation = self.is_outbox_touched && self.broker.inbox().try_send(Event::OutboxTouched).is_ok();
        self.is_outbox_touched &= !receive_observation;
        receive_observation && self.step(|| "the broker is notified of rows in the outbox".to_owned())
    }

    /// Removes a connection that has left, once all of its events are sent.
    pub(super) fn drop_if_gone(&mut self, place: usize) {
        if self.clients[place].is_gone && self.clients[place].queued_events.is_empty() {
            self.clients.swap_remove(place);
        }
    }
}

fn name(peer: usize) -> PeerName {
    PeerName::parse(&format!("p{peer}")).expect("the name is valid")
}

fn room(room: usize) -> Room {
    Room::parse(&format!("#r{room}")).expect("the name is valid")
}
