//! Observers: the plugins that are notified of messages and events, the cursor of each, and the events that are not stored yet. Owns the
//! cursors; never calls a plugin.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::{HashMap as IdMap, HashSet as IdSet};

use super::turn::TurnBuilder;
use crate::broker::event::Observation;
use crate::limits::EVENTS_MAX;
use crate::message::{PeerId, Timestamp};
use crate::store::{Entry, EventFilter, EventKind, ObserverCursor, PeerEvent};

/// All plugins that observe.
#[derive(Debug, Default)]
pub(super) struct Observers {
    /// Observers by their peers.
    pub(super) all: IdMap<PeerId, Observer>,
    /// Messages and events that at least one observer wants.
    wanted: EventFilter,
    /// Observers whose cursors moved. No reply waits for that, so the cursors are stored later.
    pub(super) dirty_cursors: IdSet<PeerId>,
    /// Entries that a turn could not commit, and events that happened between turns, in order. The next turn writes them first.
    unstored: VecDeque<Entry>,
    /// Whether an entry was added to `unstored` for which no flush timer is set.
    needs_flush: bool,
    /// Observers that wait and for which there may be something to read, in this order. An observer that was removed may still be in it.
    pub(super) page_queue: VecDeque<PeerId>,
    /// Observers whose page could not be read: it is read again with the next event, or after a while.
    failed_reads: Vec<PeerId>,
    /// Cache of the peers that are online, in order; `None` until it is needed.
    online: Option<Arc<[PeerId]>>,
    /// Number of registrations so far.
    begun: u64,
}

/// Plugin that observes.
#[derive(Debug)]
pub(super) struct Observer {
    /// Messages and events that it wants.
    pub(super) wants: EventFilter,
    /// Number of its registration. A page that was read for an earlier one is dropped.
    pub(super) number: u64,
    /// Cursor of the observer; `None` until its first page was read.
    pub(super) seen: Option<ObserverCursor>,
    /// End of the last page, if nothing that the observer wants has happened since.
    pub(super) read_to: Option<ObserverCursor>,
    /// Sender of the next page, if the observer waits for one.
    pub(super) reply: Option<oneshot::Sender<Observation>>,
    /// Progress of its next page.
    pub(super) state: PageState,
}

/// Progress of the next page for an observer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageState {
    /// The observer does not wait, or nothing has happened.
    Idle,
    /// The observer is in `page_queue` or in `failed_reads`.
    Queued,
    /// The page is read in a turn that is in flight.
    Reading,
}

impl Observers {
    /// Whether there is something to store.
    pub(super) fn are_dirty(&self) -> bool {
        !self.dirty_cursors.is_empty() || !self.unstored.is_empty()
    }

    /// Whether a turn must read a page for an observer.
    pub(super) fn have_pending_reads(&self) -> bool {
        !self.page_queue.is_empty()
    }

    /// Whether an observer waits for something that could not be read.
    pub(super) fn have_failed_reads(&self) -> bool {
        !self.failed_reads.is_empty()
    }

    /// Queues the reads that failed, again.
    pub(super) fn retry_failed_reads(&mut self) {
        self.page_queue.extend(self.failed_reads.drain(..));
    }

    /// Whether a peer observes.
    pub(super) fn include(&self, peer: PeerId) -> bool {
        self.all.contains_key(&peer)
    }

    /// Whether there are entries that must be stored before a page is read.
    pub(super) fn have_unstored(&self) -> bool {
        !self.unstored.is_empty()
    }

    /// Empties the cache of online peers, because a peer came online or went offline.
    pub(super) fn discard_online(&mut self) {
        self.online = None;
    }

    /// Returns the peers that are online, from the cache or by `collect`.
    pub(super) fn online(&mut self, collect: impl FnOnce() -> Arc<[PeerId]>) -> Arc<[PeerId]> {
        self.online.get_or_insert_with(collect).clone()
    }

    /// Records an event of a turn that is being decided.
    pub(super) fn record(&self, kind: EventKind, peer: PeerId, turn: &mut TurnBuilder) {
        if self.wanted.includes(kind) {
            turn.write(Entry::Event(PeerEvent { at: turn.at(), kind, peer }));
        }
    }

    /// Records an event that happened when a turn was delivered: it is stored with the next turn.
    pub(super) fn record_late(&mut self, kind: EventKind, peer: PeerId, at: Timestamp) {
        if self.wanted.includes(kind) {
            self.unstored.push_back(Entry::Event(PeerEvent { at, kind, peer }));
            self.needs_flush = true;
            self.bound_unstored();
        }
    }

    /// Adds the entries in `unstored` to the turn, before its own.
    pub(super) fn write_unstored(&mut self, turn: &mut TurnBuilder) {
        if !self.unstored.is_empty() {
            turn.write_first(self.unstored.drain(..));
        }
    }

    /// Adds the cursors that moved.
    pub(super) fn write_cursors(&mut self, turn: &mut TurnBuilder) {
        let all = &self.all;
        turn.write_all(self.dirty_cursors.drain().filter_map(|peer| cursor_entry(peer, all.get(&peer)?)));
    }

    /// Takes the entries for observers from a turn that could not be committed; the next turn writes them.
    pub(super) fn undo(&mut self, entries: &[Entry]) {
        let mut unstored = VecDeque::new();
        for entry in entries {
            match entry {
                Entry::Observe { .. } | Entry::RetainObservers { .. } | Entry::Event(_) => {
                    unstored.push_back(entry.clone())
                }
                Entry::ObserverAdvanced { observer, .. } if self.all.contains_key(observer) => {
                    self.dirty_cursors.insert(*observer);
                }
                _ => {}
            }
        }
        unstored.append(&mut self.unstored);
        self.unstored = unstored;
        self.bound_unstored();
    }

    /// Drops the events of a peer that are not stored yet.
    pub(super) fn forget_events(&mut self, peer: PeerId) {
        self.unstored.retain(|entry| !matches!(entry, Entry::Event(event) if event.peer == peer));
    }

    /// Drops the oldest entries above the limit. If a registration is dropped, the observer is found missing and registered again.
    fn bound_unstored(&mut self) {
        let too_many = self.unstored.len().saturating_sub(EVENTS_MAX);
        self.unstored.drain(..too_many);
    }

    /// Queues the observers that want a message or an event of a committed turn.
    pub(super) fn note_committed(&mut self, entries: &[Entry]) {
        if self.all.is_empty() {
            return;
        }
        let mut happened = EventFilter::default();
        for entry in entries {
            match entry {
                Entry::Message { .. } => happened.logged = true,
                Entry::Event(event) => happened.add(event.kind),
                _ => {}
            }
        }
        for (peer, observer) in self.all.iter_mut().filter(|(_, observer)| observer.wants.overlaps(happened)) {
            observer.read_to = None;
            self.page_queue.extend(observer.start_waiting().then_some(*peer));
        }
    }

    /// Queues an observer for its next page, if it waits for one.
    pub(super) fn queue_page(&mut self, peer: PeerId) {
        let is_queued = self.all.get_mut(&peer).is_some_and(Observer::start_waiting);
        self.page_queue.extend(is_queued.then_some(peer));
    }

    /// Registers a peer as an observer, unless it is one with the same filter: from now on, events are stored for it.
    pub(super) fn register(&mut self, peer: PeerId, wants: EventFilter, turn: &mut TurnBuilder) {
        let known = self.all.get(&peer);
        if known.is_some_and(|observer| observer.wants == wants) {
            return;
        }
        // The cursor is stored first, because it is read from the store after the registration.
        if let Some(known) = known.filter(|_| self.dirty_cursors.contains(&peer)) {
            turn.write_all(cursor_entry(peer, known));
        }
        self.dirty_cursors.remove(&peer);
        self.begun += 1;
        let (number, state) = (self.begun, PageState::Idle);
        self.all.insert(peer, Observer { wants, number, seen: None, read_to: None, reply: None, state });
        turn.write(Entry::Observe { observer: peer, wants });
        self.collect_wanted();
    }

    /// Schedules another read for an observer.
    pub(super) fn retry_later(&mut self, peer: PeerId) {
        if let Some(observer) = self.all.get_mut(&peer) {
            observer.state = PageState::Queued;
            self.failed_reads.push(peer);
        }
    }

    /// Removes the observers for which `stays` is false.
    pub(super) fn retain(&mut self, stays: impl Fn(PeerId) -> bool) {
        self.all.retain(|peer, _| stays(*peer));
        self.dirty_cursors.retain(|peer| self.all.contains_key(peer));
        self.collect_wanted();
    }

    fn collect_wanted(&mut self) {
        self.wanted = self.all.values().fold(EventFilter::default(), |wanted, observer| wanted.union(observer.wants));
    }

    /// Registers an observer again whose row is missing: its entry was dropped, or an operator deleted the row.
    pub(super) fn register_again(&mut self, peer: PeerId, wants: EventFilter) {
        self.unstored.push_front(Entry::Observe { observer: peer, wants });
        self.needs_flush = true;
    }

    /// Whether the registration of a peer is not stored yet.
    pub(super) fn is_unstored(&self, peer: PeerId) -> bool {
        let is_it = |entry: &Entry| matches!(entry, Entry::Observe { observer, .. } if *observer == peer);
        self.unstored.iter().any(is_it)
    }

    /// Whether entries wait for which a flush timer must be set. Returns true once.
    pub(super) fn take_needs_flush(&mut self) -> bool {
        std::mem::take(&mut self.needs_flush)
    }
}

impl Observer {
    /// Marks an observer as queued if it waits and there may be something for it. Returns whether it must be queued.
    fn start_waiting(&mut self) -> bool {
        let has_all = self.read_to.is_some() && self.read_to == self.seen;
        let starts = self.reply.is_some() && self.state == PageState::Idle && !has_all;
        if starts {
            self.state = PageState::Queued;
        }
        starts
    }
}

fn cursor_entry(peer: PeerId, observer: &Observer) -> Option<Entry> {
    observer.seen.map(|seen| Entry::ObserverAdvanced { observer: peer, seen })
}
