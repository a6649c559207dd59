//! Observers, events and values of the model. Owns them, and what an observer is told; never a message.

use std::collections::{BTreeMap, HashSet};

use super::{Disk, Stored};
use crate::limits::{
    AWAY_NAMES_MAX, EVENTS_FORGOTTEN_MAX, EVENTS_MAX, OBSERVED_MAX, OBSERVED_SKIPPED_MAX, PAGE_BYTES_MAX,
};
use crate::message::{Message, PeerId, PeerName, Recipient, Seq};
use crate::store::{Entry, EventFilter, EventKind, Observed, ObservedPage, ObservedQuery, ObserverCursor, PeerEvent};

/// The tables `observer`, `event` and `value`.
#[derive(Clone, Default)]
pub(super) struct Observers {
    /// How far each got, in messages and in events; `None` for what it does not want.
    cursors: BTreeMap<PeerId, (Option<Seq>, Option<i64>)>,
    /// With the newest message when each happened.
    events: BTreeMap<i64, (PeerEvent, Seq)>,
    /// The number that was given last.
    last_event: i64,
    values: BTreeMap<(PeerId, String), String>,
}

impl Observers {
    /// What a turn says of these, behind this message.
    pub(super) fn apply(&mut self, entry: &Entry, newest: Seq, peers: &impl Fn(&PeerName) -> Option<PeerId>) {
        match entry {
            Entry::Observe { observer, wants } => {
                let (seq, event) = self.cursors.get(observer).copied().unwrap_or_default();
                let seq = wants.logged.then(|| seq.unwrap_or(newest));
                let event = wants.events().then(|| event.unwrap_or(self.last_event));
                self.cursors.insert(*observer, (seq, event));
            }
            Entry::ObserverAdvanced { observer, seen } => {
                if let Some((seq, event)) = self.cursors.get_mut(observer) {
                    *seq = seq.map(|seq| seq.max(seen.seq));
                    *event = event.map(|event| event.max(seen.event));
                }
            }
            Entry::Observers { only } => {
                let only: HashSet<PeerId> = only.iter().filter_map(peers).collect();
                self.cursors.retain(|peer, _| only.contains(peer));
            }
            Entry::Event(event) => {
                self.last_event += 1;
                self.events.insert(self.last_event, (event.clone(), newest));
            }
            Entry::Value { peer, key, value: Some(value) } => {
                self.values.insert((*peer, key.clone()), value.clone());
            }
            Entry::Value { peer, key, value: None } => {
                self.values.remove(&(*peer, key.clone()));
            }
            _ => unreachable!("it says nothing of these"),
        }
    }

    /// What all have seen goes, and what is too much: not all at once.
    pub(super) fn forget_events(&mut self, added: usize) {
        let seen = self.cursors.values().filter_map(|(_, event)| *event).min().unwrap_or(self.last_event);
        let last = seen.max(self.last_event - EVENTS_MAX as i64);
        for _ in 0..EVENTS_FORGOTTEN_MAX + 2 * added {
            if self.events.first_key_value().is_some_and(|(id, _)| *id <= last) {
                self.events.pop_first();
            }
        }
    }

    pub(super) fn cursor(&self, peer: PeerId) -> Option<(Option<Seq>, Option<i64>)> {
        self.cursors.get(&peer).copied()
    }

    pub(super) fn last_event(&self) -> i64 {
        self.last_event
    }

    pub(super) fn values(&self, peer: PeerId) -> Vec<(String, String)> {
        let own = self.values.iter().filter(|((owner, _), _)| *owner == peer);
        own.map(|((_, key), value)| (key.clone(), value.clone())).collect()
    }
}

impl Disk {
    /// The next things for an observer.
    pub(super) fn observed(&self, query: &ObservedQuery) -> Option<ObservedPage> {
        let ObservedQuery { observer, after, wants, ref here } = *query;
        let newest = ObserverCursor { seq: self.newest, event: self.observers.last_event };
        let kept = self.observers.cursors.get(&observer).map(|(seq, event)| ObserverCursor {
            seq: seq.unwrap_or(newest.seq),
            event: event.unwrap_or(newest.event),
        });
        let after = after.or(kept)?;
        let mut page = ObservedPage { items: Vec::new(), after, seen: after, complete: false };
        let (mut bytes, mut skipped) = (0, 0);
        for (seq, event, thing) in self.all_after(observer, after, wants, here) {
            if page.items.len() == OBSERVED_MAX || bytes >= PAGE_BYTES_MAX || skipped == OBSERVED_SKIPPED_MAX {
                return Some(page);
            }
            if event > 0 {
                page.seen.event = event;
            } else {
                page.seen.seq = seq;
            }
            if let Some(Observed::Logged { message, away }) = &thing {
                let to: usize = message.to.iter().map(|to| to.as_str().len()).sum();
                bytes += message.text.len() + to + away.iter().map(|(_, name)| name.as_str().len()).sum::<usize>();
            }
            skipped += usize::from(thing.is_none());
            page.items.extend(thing);
        }
        let events = page.items.iter().filter(|thing| !matches!(thing, Observed::Logged { .. })).count();
        // The store has read as many as it takes, and looks for more the next time.
        page.complete = page.items.len() < OBSERVED_MAX
            && bytes < PAGE_BYTES_MAX
            && skipped < OBSERVED_SKIPPED_MAX
            && events < OBSERVED_MAX;
        if page.complete {
            page.seen = newest;
        }
        Some(page)
    }

    /// All in the order in which it happened: behind which message, which event if it is one, and what; nothing for a message
    /// of the observer's own.
    fn all_after(
        &self,
        observer: PeerId,
        after: ObserverCursor,
        wants: EventFilter,
        here: &[PeerId],
    ) -> Vec<(Seq, i64, Option<Observed>)> {
        let messages = self.messages.range(after.seq.next()..).filter(|_| wants.logged);
        let messages = messages.map(|(seq, stored)| {
            let is_own = stored.sender == observer;
            (*seq, 0, (!is_own).then(|| self.logged(*seq, stored, here)))
        });
        let events = self.observers.events.range(after.event + 1..);
        let wanted = events.filter(|(_, (event, _))| event.peer != observer && wants.includes(event.kind));
        let mut all: Vec<_> = wanted.map(|(id, (event, seq))| (*seq, *id, Some(self.event(*id, event)))).collect();
        all.extend(messages);
        all.sort_by_key(|(seq, event, _)| (*seq, *event));
        all
    }

    fn event(&self, id: i64, event: &PeerEvent) -> Observed {
        let (event_id, at, name) = (id, event.at, self.peers[&event.peer].name.clone());
        match event.kind {
            EventKind::Join => Observed::Joined { event: event_id, at, name },
            EventKind::Leave => Observed::Left { event: event_id, at, name },
            EventKind::Delivered(seq) => Observed::Delivered { event: event_id, at, name, seq },
        }
    }

    fn logged(&self, seq: Seq, stored: &Stored, here: &[PeerId]) -> Observed {
        let mut away: Vec<(PeerId, PeerName)> = Vec::new();
        for recipient in &stored.recipients {
            let reached: Vec<PeerId> = match *recipient {
                Recipient::Peer(peer) => vec![peer],
                Recipient::Room(room) => self.rooms.reached(room, seq).collect(),
            };
            for peer in reached {
                let record = &self.peers[&peer];
                let is_away = peer != stored.sender && record.cursor < seq && !here.contains(&peer);
                if is_away && away.iter().all(|(known, _)| *known != peer) {
                    away.push((peer, record.name.clone()));
                }
            }
        }
        away.truncate(AWAY_NAMES_MAX);
        let message = Message { to: self.destinations(stored), ..self.message(seq) };
        Observed::Logged { message, away }
    }
}
