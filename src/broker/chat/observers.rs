//! Those who observe from inside: what they want, how far they got, and what happens besides messages. Owns their cursors, and
//! the events that are not kept yet; never what an observer makes of anything.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::{HashMap as IdMap, HashSet as IdSet};

use super::{Chat, TurnBuilder};
use crate::broker::Observation;
use crate::limits::{EVENTS_MAX, TURN_OBSERVED_MAX};
use crate::message::{PeerId, PeerName, Timestamp};
use crate::store::{
    Entry, EventFilter, EventKind, Observed, ObservedPage, ObservedQuery, ObserverCursor, PeerEvent, Read, ReadReceiver,
};

/// Everyone who observes.
#[derive(Debug, Default)]
pub(super) struct Observers {
    all: IdMap<PeerId, Observer>,
    /// What any of them wants.
    wanted: EventFilter,
    /// Those whose cursor moved; that is no promise, and can wait.
    dirty_cursors: IdSet<PeerId>,
    /// What a turn could not keep, and what happened when no turn could take it: in its order, before all that comes next.
    unkept: VecDeque<Entry>,
    /// Something has come into `unkept` for which nobody has set an alarm.
    is_late: bool,
    /// Those who wait, and for whom there may be something, in this order. One that is gone may still stand here.
    page_queue: VecDeque<PeerId>,
    /// Those for whom it could not be read: tried again when something happens, or after a while.
    failed_reads: Vec<PeerId>,
    /// Everyone who is here, in order; looked up when it is wanted.
    here: Option<Arc<[PeerId]>>,
    /// How many have begun to observe, one who did so anew counted again.
    begun: u64,
}

/// One of them.
#[derive(Debug)]
struct Observer {
    wants: EventFilter,
    /// `Observers::begun`, when it began: what was read for it before that is nothing to it now.
    number: u64,
    /// It has seen all up to here. Not known until something was read for it.
    seen: Option<ObserverCursor>,
    /// What was read last reaches to here, and nothing that it wants has happened since.
    read_to: Option<ObserverCursor>,
    /// It waits.
    reply: Option<oneshot::Sender<Observation>>,
    state: State,
}

/// What is done for an observer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing: it does not wait, or nothing has happened.
    Idle,
    /// It is to be read for: stands in `page_queue` or `failed_reads`.
    Queued,
    /// It is read for in a turn that is under way.
    Reading,
}

/// Read for an observer in a turn.
#[derive(Debug)]
pub(super) struct ObserverRead {
    /// Peer that observes.
    peer: PeerId,
    /// [`Observer::number`] when the turn was decided: the result is not for an observer that began later.
    number: u64,
    /// Next messages and events.
    page: ReadReceiver<Option<ObservedPage>>,
}

impl Observers {
    /// Whether something is to be kept.
    pub(super) fn have_changed(&self) -> bool {
        !self.dirty_cursors.is_empty() || !self.unkept.is_empty()
    }

    /// Whether something is to be read.
    pub(super) fn want_reads(&self) -> bool {
        !self.page_queue.is_empty()
    }

    /// Whether one waits for what could not be read.
    pub(super) fn have_failed_reads(&self) -> bool {
        !self.failed_reads.is_empty()
    }

    /// What could not be read is asked for again.
    pub(super) fn retry_failed_reads(&mut self) {
        self.page_queue.extend(self.failed_reads.drain(..));
    }

    /// Whether a peer observes.
    pub(super) fn include(&self, peer: PeerId) -> bool {
        self.all.contains_key(&peer)
    }

    /// Somebody came or went.
    pub(super) fn forget_who_is_here(&mut self) {
        self.here = None;
    }

    /// Something has happened in a turn that is being decided.
    pub(super) fn note(&self, kind: EventKind, peer: PeerId, turn: &mut TurnBuilder) {
        if self.wanted.includes(kind) {
            turn.write(Entry::Event(PeerEvent { at: turn.at(), kind, peer }));
        }
    }

    /// Something has happened when a turn was delivered: it goes with the next.
    fn note_late(&mut self, kind: EventKind, peer: PeerId, at: Timestamp) {
        if self.wanted.includes(kind) {
            self.unkept.push_back(Entry::Event(PeerEvent { at, kind, peer }));
            self.is_late = true;
            self.bound_unkept();
        }
    }

    /// Adds what was to be kept before this turn.
    pub(super) fn keep_unkept(&mut self, turn: &mut TurnBuilder) {
        if !self.unkept.is_empty() {
            turn.write_first(self.unkept.drain(..));
        }
    }

    /// Adds how far they got.
    pub(super) fn keep_moved(&mut self, turn: &mut TurnBuilder) {
        let all = &self.all;
        turn.write_all(self.dirty_cursors.drain().filter_map(|peer| seen_entry(peer, all.get(&peer)?)));
    }

    /// Nothing of a turn was kept: it goes with the next.
    pub(super) fn undo(&mut self, entries: &[Entry]) {
        let mut unkept = VecDeque::new();
        for entry in entries {
            match entry {
                Entry::Observe { .. } | Entry::Observers { .. } | Entry::Event(_) => unkept.push_back(entry.clone()),
                Entry::ObserverAdvanced { observer, .. } if self.all.contains_key(observer) => {
                    self.dirty_cursors.insert(*observer);
                }
                _ => {}
            }
        }
        unkept.append(&mut self.unkept);
        self.unkept = unkept;
        self.bound_unkept();
    }

    /// The oldest go. One who was to observe is noted again when it is found missing.
    fn bound_unkept(&mut self) {
        let too_many = self.unkept.len().saturating_sub(EVENTS_MAX);
        self.unkept.drain(..too_many);
    }

    /// A turn is committed: whoever waits for such items may have them.
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
            self.page_queue.extend(observer.is_to_be_fed().then_some(*peer));
        }
    }

    fn feed(&mut self, peer: PeerId) {
        let awaits_page = self.all.get_mut(&peer).is_some_and(Observer::is_to_be_fed);
        self.page_queue.extend(awaits_page.then_some(peer));
    }

    /// Keeps what happens for a peer from here on, unless that is done already.
    fn register(&mut self, peer: PeerId, wants: EventFilter, turn: &mut TurnBuilder) {
        let known = self.all.get(&peer);
        if known.is_some_and(|observer| observer.wants == wants) {
            return;
        }
        // Where it goes on is read anew, when the store has seen what it wants now.
        if let Some(known) = known.filter(|_| self.dirty_cursors.contains(&peer)) {
            turn.write_all(seen_entry(peer, known));
        }
        self.dirty_cursors.remove(&peer);
        self.begun += 1;
        let (number, state) = (self.begun, State::Idle);
        self.all.insert(peer, Observer { wants, number, seen: None, read_to: None, reply: None, state });
        turn.write(Entry::Observe { observer: peer, wants });
        self.count_wants();
    }

    /// It is read for another time.
    fn retry_later(&mut self, peer: PeerId) {
        if let Some(observer) = self.all.get_mut(&peer) {
            observer.state = State::Queued;
            self.failed_reads.push(peer);
        }
    }

    fn count_wants(&mut self) {
        self.wanted = self.all.values().fold(EventFilter::default(), |wanted, observer| wanted.union(observer.wants));
    }

    /// Nothing is kept of an observer: what was to be is lost, or somebody has removed it.
    fn register_again(&mut self, peer: PeerId, wants: EventFilter) {
        self.unkept.push_front(Entry::Observe { observer: peer, wants });
        self.is_late = true;
    }

    /// Whether it is not kept yet that a peer observes.
    fn is_to_be_kept(&self, peer: PeerId) -> bool {
        let is_it = |entry: &Entry| matches!(entry, Entry::Observe { observer, .. } if *observer == peer);
        self.unkept.iter().any(is_it)
    }
}

impl Observer {
    /// Says whether it begins to be hungry.
    fn is_to_be_fed(&mut self) -> bool {
        let has_all = self.read_to.is_some() && self.read_to == self.seen;
        let begins = self.reply.is_some() && self.state == State::Idle && !has_all;
        if begins {
            self.state = State::Queued;
        }
        begins
    }
}

impl Chat {
    /// Something has happened to a peer in a turn that is being decided.
    pub(super) fn note(&self, kind: EventKind, peer: PeerId, turn: &mut TurnBuilder) {
        if !self.peers[&peer].is_plugin {
            self.observers.note(kind, peer, turn);
        }
    }

    /// Something has happened to a peer when a turn was delivered: it goes with the next.
    pub(super) fn note_late(&mut self, kind: EventKind, peer: PeerId, at: Timestamp) {
        if !self.peers[&peer].is_plugin {
            self.observers.note_late(kind, peer, at);
        }
    }

    /// Somebody waits for the next items. Where its name could not be looked up, it is not answered.
    pub(super) fn observe(
        &mut self,
        name: &PeerName,
        wants: EventFilter,
        reply: oneshot::Sender<Observation>,
        turn: &mut TurnBuilder,
    ) {
        let Some(peer) = self.ids.get(name).copied() else { return };
        self.see(peer);
        self.observers.register(peer, wants, turn);
        if let Some(observer) = self.observers.all.get_mut(&peer) {
            observer.reply = Some(reply);
            self.observers.feed(peer);
        }
    }

    /// An observer has dealt with what it was told.
    pub(super) fn seen(&mut self, name: &PeerName, seen: ObserverCursor) {
        let Some(peer) = self.ids.get(name) else { return };
        let Some(observer) = self.observers.all.get_mut(peer) else { return };
        // Before it was told anything, it has seen nothing.
        if observer.seen.is_some_and(|before| before.union(seen) != before) {
            observer.seen = observer.seen.map(|before| before.union(seen));
            self.observers.dirty_cursors.insert(*peer);
            self.observers.feed(*peer);
        }
    }

    /// All others observe no more.
    pub(super) fn only_observers(&mut self, only: Vec<PeerName>, turn: &mut TurnBuilder) {
        let Chat { peers, observers, .. } = self;
        observers.all.retain(|peer, _| only.contains(&peers[peer].record.name));
        observers.dirty_cursors.retain(|peer| observers.all.contains_key(peer));
        observers.count_wants();
        turn.write(Entry::Observers { only });
    }

    /// Has some of them read for in this turn.
    pub(super) fn ask_for_observers(&mut self, turn: &mut TurnBuilder) {
        while turn.observer_reads() < TURN_OBSERVED_MAX
            && let Some(peer) = self.observers.page_queue.pop_front()
        {
            let here = self.who_is_here();
            let Some(observer) = self.observers.all.get_mut(&peer) else { continue };
            // It may stand there twice, if it began anew.
            if observer.state == State::Queued {
                observer.state = State::Reading;
                let Observer { wants, seen: after, number, .. } = *observer;
                let page = turn.read(Read::Observed, ObservedQuery { observer: peer, after, wants, here });
                turn.read_for_observer(ObserverRead { peer, number, page });
            }
        }
    }

    fn who_is_here(&mut self) -> Arc<[PeerId]> {
        let peers = &self.peers;
        let look = || {
            let mut here: Vec<PeerId> = peers.iter().filter(|(_, peer)| peer.is_here()).map(|(id, _)| *id).collect();
            here.sort_unstable();
            here.into()
        };
        self.observers.here.get_or_insert_with(look).clone()
    }

    /// Hands an observer what was read for it, in a turn that is committed or not.
    pub(super) fn tell_observer(&mut self, read: ObserverRead, is_committed: bool) {
        let ObserverRead { peer, number, page } = read;
        let Some(observer) = self.observers.all.get(&peer).filter(|observer| observer.number == number) else {
            return;
        };
        let (wants, is_new) = (observer.wants, observer.seen.is_none());
        // Until it is kept that it observes, what is kept of it is of an earlier time.
        if is_new && (!is_committed || self.observers.is_to_be_kept(peer)) {
            return self.observers.retry_later(peer);
        }
        match page.result() {
            Ok(Some(page)) => self.hand_over(peer, page),
            Ok(None) => {
                self.observers.register_again(peer, wants);
                self.observers.retry_later(peer);
            }
            Err(_) => self.observers.retry_later(peer),
        }
    }

    fn hand_over(&mut self, peer: PeerId, mut page: ObservedPage) {
        let Some(observer) = self.observers.all.get_mut(&peer) else { return };
        observer.state = State::Idle;
        observer.read_to = page.complete.then_some(page.seen);
        let seen = *observer.seen.get_or_insert(page.after);
        if page.items.is_empty() {
            // All of it was its own, or is gone.
            observer.seen = Some(seen.union(page.seen));
            if observer.seen != Some(seen) {
                self.observers.dirty_cursors.insert(peer);
            }
            return self.observers.feed(peer);
        }
        if let Some(reply) = observer.reply.take() {
            self.look_who_is_away(&mut page.items);
            // One that is gone has not seen it.
            let _ = reply.send(Observation { items: page.items, seen: page.seen });
        }
    }

    /// Somebody may have come, or got it, since it was read.
    fn look_who_is_away(&self, items: &mut [Observed]) {
        for thing in items {
            if let Observed::Logged { message, away } = thing {
                away.retain(|(peer, _)| match self.peers.get(peer) {
                    Some(peer) => !peer.is_here() && peer.record.cursor < message.seq,
                    None => true,
                });
            }
        }
    }

    /// Whether something is to be kept before observers are read for in this turn.
    pub(in crate::broker) fn owes_observers(&self, turn: &TurnBuilder) -> bool {
        turn.reads_for_observers() && !self.observers.unkept.is_empty()
    }

    /// The server stops: whoever is still here is gone.
    pub(in crate::broker) fn record_shutdown_leaves(&mut self, at: Timestamp) {
        for peer in self.who_is_here().iter() {
            self.observers.note_late(EventKind::Leave, *peer, at);
        }
    }

    /// Whether something has happened that is to be kept though nothing else comes. Says so once.
    pub(in crate::broker) fn is_late(&mut self) -> bool {
        std::mem::take(&mut self.observers.is_late)
    }
}

fn seen_entry(peer: PeerId, observer: &Observer) -> Option<Entry> {
    observer.seen.map(|seen| Entry::ObserverAdvanced { observer: peer, seen })
}
