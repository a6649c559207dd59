//! Types for observers (plugins): the messages and events that they receive, the filter for these, and the cursor of what an
//! observer has seen. Never runs SQL.

use crate::message::{Message, PeerId, PeerName, Seq, Timestamp, counted_name_bytes};

/// Kinds of messages and events that an observer wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Messages, once they are on disk.
    pub logged: bool,
    /// Peers that come online.
    pub join: bool,
    /// Peers that go offline.
    pub leave: bool,
    /// Deliveries of messages.
    pub delivered: bool,
}

impl EventFilter {
    /// Whether any kind besides messages is wanted.
    pub fn events(self) -> bool {
        self.join || self.leave || self.delivered
    }

    /// Whether an event of this kind is wanted.
    pub(crate) fn includes(self, kind: EventKind) -> bool {
        match kind {
            EventKind::Join => self.join,
            EventKind::Leave => self.leave,
            EventKind::Delivered(_) => self.delivered,
        }
    }

    /// Whether the two filters have a kind in common.
    pub(crate) fn overlaps(self, other: EventFilter) -> bool {
        self.logged && other.logged
            || self.join && other.join
            || self.leave && other.leave
            || self.delivered && other.delivered
    }

    /// Adds a kind of event.
    pub(crate) fn add(&mut self, kind: EventKind) {
        match kind {
            EventKind::Join => self.join = true,
            EventKind::Leave => self.leave = true,
            EventKind::Delivered(_) => self.delivered = true,
        }
    }

    /// Returns a filter with the kinds of both.
    pub(crate) fn union(self, other: EventFilter) -> EventFilter {
        EventFilter {
            logged: self.logged || other.logged,
            join: self.join || other.join,
            leave: self.leave || other.leave,
            delivered: self.delivered || other.delivered,
        }
    }
}

/// Event of a peer, before the store numbers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerEvent {
    /// Time of the event.
    pub at: Timestamp,
    /// Kind of the event.
    pub kind: EventKind,
    /// Peer that the event is about.
    pub peer: PeerId,
}

/// Kind of a [`PeerEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The peer's first session logged in.
    Join,
    /// The peer's last session ended.
    Leave,
    /// Every message for the peer up to this one was delivered.
    Delivered(Seq),
}

/// Cursor of an observer. Both parts are independent and only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObserverCursor {
    /// Newest message that the observer has seen.
    pub seq: Seq,
    /// Number of the newest event that the observer has seen.
    pub event: i64,
}

impl ObserverCursor {
    /// Cursor of an observer that has seen nothing.
    pub const START: ObserverCursor = ObserverCursor { seq: Seq::ZERO, event: 0 };

    /// Returns a cursor with the larger value of each part.
    pub(crate) fn union(self, other: ObserverCursor) -> ObserverCursor {
        ObserverCursor { seq: self.seq.max(other.seq), event: self.event.max(other.event) }
    }
}

/// Message or event as an observer receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// A message is on disk.
    Logged {
        /// Message with the destinations that it was addressed to.
        message: Message,
        /// Recipients, members of rooms included, who are offline and have not received the message; without its sender, at
        /// most [`AWAY_NAMES_MAX`](crate::limits::AWAY_NAMES_MAX).
        away: Vec<(PeerId, PeerName)>,
    },
    /// A peer came online.
    Joined {
        /// Number of the event; grows with each event.
        event: i64,
        /// Time of the event.
        at: Timestamp,
        /// Name of the peer.
        name: PeerName,
    },
    /// A peer went offline.
    Left {
        /// Number of the event.
        event: i64,
        /// Time of the event.
        at: Timestamp,
        /// Name of the peer.
        name: PeerName,
    },
    /// Messages were delivered to a peer.
    Delivered {
        /// Number of the event.
        event: i64,
        /// Time of the event.
        at: Timestamp,
        /// Name of the peer.
        name: PeerName,
        /// Every message for the peer up to this one was delivered.
        seq: Seq,
    },
}

impl Observed {
    /// Returns the bytes that a message counts for in a page; an event counts for none.
    pub(crate) fn counted_bytes(&self) -> usize {
        let Observed::Logged { message, away } = self else { return 0 };
        message.counted_bytes() + away.iter().map(|(_, name)| counted_name_bytes(name.as_str())).sum::<usize>()
    }

    /// Returns the cursor of an observer that has seen this and everything before it. Only the part that this advances is set.
    pub fn seen(&self) -> ObserverCursor {
        match self {
            Observed::Logged { message, .. } => ObserverCursor { seq: message.seq, ..ObserverCursor::START },
            Observed::Joined { event, .. } | Observed::Left { event, .. } | Observed::Delivered { event, .. } => {
                ObserverCursor { event: *event, ..ObserverCursor::START }
            }
        }
    }
}

/// Next messages and events for an observer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedPage {
    /// Messages and events in the order in which they happened.
    pub items: Vec<Observed>,
    /// Cursor after which the page was read.
    pub after: ObserverCursor,
    /// Cursor once the observer has seen the whole page, including what the page skips.
    pub seen: ObserverCursor,
    /// Whether the page reaches the newest commit: nothing later is for this observer.
    pub complete: bool,
}

impl ObservedPage {
    /// Returns a page without items after this cursor.
    pub(crate) fn empty(after: ObserverCursor) -> Self {
        ObservedPage { items: Vec::new(), after, seen: after, complete: false }
    }
}
