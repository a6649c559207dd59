//! Tables of observers, events and values. Owns their rows; never a message.

use std::collections::{BTreeMap, HashSet};

use crate::message::{PeerId, PeerName, Seq};
use crate::store::{Entry, EventLimits, PeerEvent};

/// The tables `observer`, `event` and `value`.
#[derive(Clone, Default)]
pub(super) struct Observers {
    /// How far each observer got in messages and in events; `None` for what it does not observe.
    pub(super) cursors: BTreeMap<PeerId, (Option<Seq>, Option<i64>)>,
    /// Events, each with the newest message when it happened.
    pub(super) events: BTreeMap<i64, (PeerEvent, Seq)>,
    /// Number of the newest event.
    pub(super) last_event: i64,
    values: BTreeMap<(PeerId, String), String>,
}

impl Observers {
    /// Applies an entry; `newest` is the newest message at that place.
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
            Entry::RetainObservers { only } => {
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
            _ => unreachable!("the entry is for these tables"),
        }
    }

    /// Removes events that all observers have seen and those over the limit, a limited number at a time.
    pub(super) fn forget_events(&mut self, added: usize, limits: EventLimits) {
        let seen = self.cursors.values().filter_map(|(_, event)| *event).min().unwrap_or(self.last_event);
        let last = seen.max(self.last_event - limits.stored_max as i64);
        for _ in 0..limits.removed_per_turn_max + 2 * added {
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
