//! Steps of the chat for its observers: record events, read the next page for each observer, deliver it. Owns these steps; never the
//! cursors.

use std::sync::Arc;

use super::observers::{Observer, PageState};
use super::state::Chat;
use super::turn::{ObserverRead, TurnBuilder};
use crate::broker::event::Observation;
use crate::limits::TURN_OBSERVERS_MAX;
use crate::message::{PeerId, PeerName, Timestamp};
use crate::store::{Entry, EventFilter, EventKind, Observed, ObservedPage, ObservedQuery, ObserverCursor, Read};

impl Chat {
    /// Records an event of a peer in a turn that is being decided.
    pub(super) fn record_event(&self, kind: EventKind, peer: PeerId, turn: &mut TurnBuilder) {
        if !self.peers[&peer].is_plugin {
            self.observers.record(kind, peer, turn);
        }
    }

    /// Records an event of a peer that happened when a turn was delivered: it is stored with the next turn.
    pub(super) fn record_event_late(&mut self, kind: EventKind, peer: PeerId, at: Timestamp) {
        if !self.peers[&peer].is_plugin {
            self.observers.record_late(kind, peer, at);
        }
    }

    /// Handles a request for the next page of an observer. If the observer's name could not be looked up, drops the request.
    pub(super) fn observe(
        &mut self,
        name: &PeerName,
        wants: EventFilter,
        reply: oneshot::Sender<Observation>,
        turn: &mut TurnBuilder,
    ) {
        let Some(peer) = self.ids.get(name).copied() else { return };
        self.use_name(peer);
        self.observers.register(peer, wants, turn);
        if let Some(observer) = self.observers.all.get_mut(&peer) {
            observer.reply = Some(reply);
            self.observers.queue_page(peer);
        }
    }

    /// Moves the cursor of an observer, which has processed everything up to it.
    pub(super) fn advance_observer(&mut self, name: &PeerName, seen: ObserverCursor) {
        let Some(peer) = self.ids.get(name) else { return };
        let Some(observer) = self.observers.all.get_mut(peer) else { return };
        // Before its first page an observer has processed nothing.
        if observer.seen.is_some_and(|before| before.union(seen) != before) {
            observer.seen = observer.seen.map(|before| before.union(seen));
            self.observers.dirty_cursors.insert(*peer);
            self.observers.queue_page(*peer);
        }
    }

    /// Removes all observers except these.
    pub(super) fn retain_observers(&mut self, only: Vec<PeerName>, turn: &mut TurnBuilder) {
        let peers = &self.peers;
        self.observers.retain(|peer| only.contains(&peers[&peer].record.name));
        turn.write(Entry::RetainObservers { only });
    }

    /// Adds reads of pages for the observers in the queue, up to the limit of a turn.
    pub(super) fn read_for_observers(&mut self, turn: &mut TurnBuilder) {
        while turn.observer_reads() < TURN_OBSERVERS_MAX
            && let Some(peer) = self.observers.page_queue.pop_front()
        {
            let online = self.online_ids();
            let Some(observer) = self.observers.all.get_mut(&peer) else { continue };
            // An observer that registered again may be in the queue twice.
            if observer.state == PageState::Queued {
                observer.state = PageState::Reading;
                let Observer { wants, seen: after, number, .. } = *observer;
                let page = turn.read(Read::Observed, ObservedQuery { observer: peer, after, wants, online });
                turn.read_for_observer(ObserverRead { peer, number, page });
            }
        }
    }

    fn online_ids(&mut self) -> Arc<[PeerId]> {
        let Chat { peers, observers, .. } = self;
        observers.online(|| {
            let mut ids: Vec<PeerId> = peers.iter().filter(|(_, peer)| peer.is_online()).map(|(id, _)| *id).collect();
            ids.sort_unstable();
            ids.into()
        })
    }

    /// Delivers the page that was read for an observer, or schedules another read.
    pub(super) fn deliver_observed(&mut self, read: ObserverRead, is_committed: bool) {
        let ObserverRead { peer, number, page } = read;
        let Some(observer) = self.observers.all.get(&peer).filter(|observer| observer.number == number) else {
            return;
        };
        let (wants, is_new) = (observer.wants, observer.seen.is_none());
        // Until the registration is stored, the store has no cursor or an outdated one.
        if is_new && (!is_committed || self.observers.is_unstored(peer)) {
            return self.observers.retry_later(peer);
        }
        match page.result() {
            Ok(Some(page)) => self.deliver_page(peer, page),
            Ok(None) => {
                self.observers.register_again(peer, wants);
                self.observers.retry_later(peer);
            }
            Err(_) => self.observers.retry_later(peer),
        }
    }

    fn deliver_page(&mut self, peer: PeerId, mut page: ObservedPage) {
        let Some(observer) = self.observers.all.get_mut(&peer) else { return };
        observer.state = PageState::Idle;
        observer.read_to = page.complete.then_some(page.seen);
        let seen = *observer.seen.get_or_insert(page.after);
        if page.items.is_empty() {
            // The page covered only the observer's own messages, or removed ones.
            observer.seen = Some(seen.union(page.seen));
            if observer.seen != Some(seen) {
                self.observers.dirty_cursors.insert(peer);
            }
            return self.observers.queue_page(peer);
        }
        if let Some(reply) = observer.reply.take() {
            self.update_away(&mut page.items);
            // The plugin may be gone: then its cursor does not move.
            let _ = reply.send(Observation { items: page.items, seen: page.seen });
        }
    }

    /// Removes from each list `away` the peers that came online, or got the message, since the page was read.
    fn update_away(&self, items: &mut [Observed]) {
        for item in items {
            if let Observed::Logged { message, away } = item {
                away.retain(|(peer, _)| match self.peers.get(peer) {
                    Some(peer) => !peer.is_online() && peer.record.cursor < message.seq,
                    None => true,
                });
            }
        }
    }

    /// Whether the turn reads for observers, and entries that these reads depend on are not stored yet.
    pub(in crate::broker) fn must_store_for_observers(&self, turn: &TurnBuilder) -> bool {
        turn.observer_reads() > 0 && self.observers.have_unstored()
    }

    /// Records that all peers go offline, because the server stops.
    pub(in crate::broker) fn record_shutdown_leaves(&mut self, at: Timestamp) {
        for peer in self.online_ids().iter() {
            self.observers.record_late(EventKind::Leave, *peer, at);
        }
    }

    /// Whether an event must be stored although nothing else may happen. Returns true once.
    pub(in crate::broker) fn take_needs_flush(&mut self) -> bool {
        self.observers.take_needs_flush()
    }
}
