//! Items for an observer. Owns which items an observer gets, and their order; never changes an item.

use super::{Disk, MessageRow};
use crate::limits::{AWAY_NAMES_MAX, OBSERVATIONS_MAX, PAGE_BYTES_MAX};
use crate::message::{Message, PeerId, PeerName, Recipient, Seq};
use crate::store::{EventFilter, EventKind, Observed, ObservedPage, ObservedQuery, ObserverCursor, PeerEvent};

impl Disk {
    /// Returns the next items for an observer.
    pub(super) fn observed(&self, query: &ObservedQuery) -> Option<ObservedPage> {
        let ObservedQuery { observer, after, wants, ref online } = *query;
        let newest = ObserverCursor { seq: self.newest, event: self.observers.last_event };
        let kept = self.observers.cursors.get(&observer).map(|(seq, event)| ObserverCursor {
            seq: seq.unwrap_or(newest.seq),
            event: event.unwrap_or(newest.event),
        });
        let after = after.or(kept)?;
        let mut page = ObservedPage { items: Vec::new(), after, seen: after, complete: false };
        let (mut bytes, mut skipped) = (0, 0);
        for (seq, event, thing) in self.all_after(observer, after, wants, online) {
            if page.items.len() == OBSERVATIONS_MAX
                || bytes >= PAGE_BYTES_MAX
                || skipped == self.limits.observed_skipped_max
            {
                return Some(page);
            }
            if event > 0 {
                page.seen.event = event;
            } else {
                page.seen.seq = seq;
            }
            bytes += thing.as_ref().map_or(0, Observed::counted_bytes);
            skipped += usize::from(thing.is_none() && event == 0);
            page.items.extend(thing);
        }
        // The store has read as many as it takes, and reads more the next time.
        page.complete =
            page.items.len() < OBSERVATIONS_MAX && bytes < PAGE_BYTES_MAX && skipped < self.limits.observed_skipped_max;
        if page.complete {
            page.seen = newest;
        }
        Some(page)
    }

    /// All items after a cursor in the order in which they happened, each with the message and the event at its place;
    /// `None` as the item for what the observer does not want, and for its own.
    fn all_after(
        &self,
        observer: PeerId,
        after: ObserverCursor,
        wants: EventFilter,
        online: &[PeerId],
    ) -> Vec<(Seq, i64, Option<Observed>)> {
        let messages = self.messages.range(after.seq.next()..).filter(|_| wants.logged);
        let messages = messages.map(|(seq, stored)| {
            let is_own = stored.sender == observer;
            (*seq, 0, (!is_own).then(|| self.logged(*seq, stored, online)))
        });
        let events = self.observers.events.range(after.event + 1..).filter(|_| wants.events());
        let is_wanted = |event: &PeerEvent| event.peer != observer && wants.includes(event.kind);
        let item = |id: i64, event| is_wanted(event).then(|| self.event(id, event));
        let mut all: Vec<_> = events.map(|(id, (event, seq))| (*seq, *id, item(*id, event))).collect();
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

    fn logged(&self, seq: Seq, stored: &MessageRow, online: &[PeerId]) -> Observed {
        let mut away: Vec<(PeerId, PeerName)> = Vec::new();
        for recipient in &stored.recipients {
            let reached: Vec<PeerId> = match *recipient {
                Recipient::Peer(peer) => vec![peer],
                Recipient::Room(room) => self.rooms.reached(room, seq).collect(),
            };
            for peer in reached {
                let record = &self.peers[&peer];
                let is_away = peer != stored.sender && record.cursor < seq && !online.contains(&peer);
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
