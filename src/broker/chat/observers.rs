//! Observers: plugins that want messages and events, how far each got, and events that are not stored yet. Owns their cursors; never what
//! an observer makes of anything.

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
    /// Messages and events that any of them wants.
    wanted: EventFilter,
    /// Observers whose cursor moved: nobody waits for that, so it may be stored later.
    pub(super) dirty_cursors: IdSet<PeerId>,
    /// Entries that a turn could not commit, and events for which there was no turn: in their order, before all that comes next.
    unstored: VecDeque<Entry>,
    /// Whether `unstored` has got something for which no flush timer is set.
    needs_flush: bool,
    /// Observers that wait and for which there may be something, in this order. One that is gone may still be in it.
    pub(super) page_queue: VecDeque<PeerId>,
    /// Observers whose page could not be read: read again with the next event, or after a while.
    failed_reads: Vec<PeerId>,
    /// Peers that are online, in order; collected when it is needed.
    online: Option<Arc<[PeerId]>>,
    /// Number of observers that have begun; one that began again is counted again.
    begun: u64,
}

/// Plugin that observes.
#[derive(Debug)]
pub(super) struct Observer {
    /// Messages and events that it wants.
    pub(super) wants: EventFilter,
    /// `Observers::begun` when it began: a page that was read before is not for it.
    pub(super) number: u64,
    /// Cursor of the observer; `None` until something was read for it.
    pub(super) seen: Option<ObserverCursor>,
    /// End of the page that was read last, if nothing that it wants has happened since.
    pub(super) read_to: Option<ObserverCursor>,
    /// Takes the next page, if the observer waits for one.
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

    /// Whether an observer waits to be read for.
    pub(super) fn have_pending_reads(&self) -> bool {
        !self.page_queue.is_empty()
    }

    /// Whether an observer waits for something that could not be read.
    pub(super) fn have_failed_reads(&self) -> bool {
        !self.failed_reads.is_empty()
    }

    /// Queues what could not be read again.
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

    /// Discards the list of the peers that are online: one came online or went offline.
    pub(super) fn discard_online(&mut self) {
        self.online = None;
    }

    /// Returns the list of the peers that are online, which is collected unless it is known.
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

    /// Adds what had to be stored before this turn.
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

    /// Takes back the entries of a turn that could not be committed: they go with the next turn.
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

    /// Drops the oldest entries above the limit. A peer that was to observe is registered again when it is found missing.
    fn bound_unstored(&mut self) {
        let too_many = self.unstored.len().saturating_sub(EVENTS_MAX);
        self.unstored.drain(..too_many);
    }

    /// Queues the observers that want something of a turn that was committed.
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

    /// Stores events for a peer from here on, unless that is done already.
    pub(super) fn register(&mut self, peer: PeerId, wants: EventFilter, turn: &mut TurnBuilder) {
        let known = self.all.get(&peer);
        if known.is_some_and(|observer| observer.wants == wants) {
            return;
        }
        // Its cursor is read again, once the store has got what it wants now.
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

    /// Reads for an observer again, another time.
    pub(super) fn retry_later(&mut self, peer: PeerId) {
        if let Some(observer) = self.all.get_mut(&peer) {
            observer.state = PageState::Queued;
            self.failed_reads.push(peer);
        }
    }

    /// Keeps only some of the observers.
    pub(super) fn retain(&mut self, is_kept: impl Fn(PeerId) -> bool) {
        self.all.retain(|peer, _| is_kept(*peer));
        self.dirty_cursors.retain(|peer| self.all.contains_key(peer));
        self.collect_wanted();
    }

    fn collect_wanted(&mut self) {
        self.wanted = self.all.values().fold(EventFilter::default(), |wanted, observer| wanted.union(observer.wants));
    }

    /// Registers an observer again that the store does not know: its entry was dropped, or a person has removed its row.
    pub(super) fn register_again(&mut self, peer: PeerId, wants: EventFilter) {
        self.unstored.push_front(Entry::Observe { observer: peer, wants });
        self.needs_flush = true;
    }

    /// Whether it is not stored yet that a peer observes.
    pub(super) fn is_unstored(&self, peer: PeerId) -> bool {
        let is_it = |entry: &Entry| matches!(entry, Entry::Observe { observer, .. } if *observer == peer);
        self.unstored.iter().any(is_it)
    }

    /// Whether something must be stored although nothing else may happen. Returns true once.
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
