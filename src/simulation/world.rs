//! The world around the broker: its inbox, its clients and its store, and what the broker has been told. Owns the state of a run;
//! never decides what happens next.

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
use super::swarm::Swarm;
use crate::broker::{EndReason, Event};
use crate::limits::INBOX_EVENTS_MAX;
use crate::message::{PeerName, Room, Seq};

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
    pub(super) is_full: bool,
    pub(super) is_unreadable: bool,
    /// Somebody has written to the database, and the broker was not told.
    pub(super) is_outbox_touched: bool,
    /// Lines before this one are known to be dealt with.
    pub(super) dealt_with: usize,
    pub(super) next_token: u64,
    /// Names that the store looked up.
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
        let store = CheckedStore::new(swarm.durability, swarm.store_limits, is_checked);
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

    /// Counts a step, which has done something.
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
    pub(super) fn tell_untold(&mut self) -> bool {
        if self.tell_of_outbox() {
            return true;
        }
        let waits = |client: &Client| !client.queued_events.is_empty();
        self.clients.iter().position(waits).is_some_and(|place| self.tell_untold_of(place))
    }

    pub(super) fn tell_untold_of(&mut self, place: usize) -> bool {
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
    pub(super) fn tell_of_outbox(&mut self) -> bool {
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
}

fn name(peer: usize) -> PeerName {
    PeerName::parse(&format!("p{peer}")).expect("it is one")
}

fn room(room: usize) -> Room {
    Room::parse(&format!("#r{room}")).expect("it is one")
}
