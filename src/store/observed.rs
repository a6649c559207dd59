//! What those who live inside observe: which things there are, what of them somebody wants, and how far it got. Owns these
//! types; never a statement.

use crate::message::{Message, PeerId, PeerName, Seq, Timestamp};

/// What an observer wants to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Messages that are on disk.
    pub logged: bool,
    /// Who came.
    pub join: bool,
    /// Who went.
    pub leave: bool,
    /// Who has got messages.
    pub delivered: bool,
}

impl EventFilter {
    /// Whether anything is wanted besides messages.
    pub fn events(self) -> bool {
        self.join || self.leave || self.delivered
    }

    /// Whether an event is of a kind that is wanted.
    pub(crate) fn wants(self, kind: EventKind) -> bool {
        match kind {
            EventKind::Join => self.join,
            EventKind::Leave => self.leave,
            EventKind::Delivered(_) => self.delivered,
        }
    }

    /// Whether something of this is wanted by the other too.
    pub(crate) fn meets(self, other: EventFilter) -> bool {
        self.logged && other.logged
            || self.join && other.join
            || self.leave && other.leave
            || self.delivered && other.delivered
    }

    /// Adds the kind of an event.
    pub(crate) fn add(&mut self, kind: EventKind) {
        match kind {
            EventKind::Join => self.join = true,
            EventKind::Leave => self.leave = true,
            EventKind::Delivered(_) => self.delivered = true,
        }
    }

    /// What one of the two wants.
    pub(crate) fn or(self, other: EventFilter) -> EventFilter {
        EventFilter {
            logged: self.logged || other.logged,
            join: self.join || other.join,
            leave: self.leave || other.leave,
            delivered: self.delivered || other.delivered,
        }
    }
}

/// Something that happened to a peer; the store gives it its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerEvent {
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
    /// To whom.
    pub peer: PeerId,
}

/// What happened to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// Its first session came.
    Join,
    /// Its last session went.
    Leave,
    /// It has got everything up to this message.
    Delivered(Seq),
}

/// How far an observer got. Of the two of it, each counts for itself and only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObserverCursor {
    /// It has seen every message up to here.
    pub seq: Seq,
    /// It has seen every event up to the one with this number.
    pub event: i64,
}

impl ObserverCursor {
    /// Nothing at all.
    pub const START: ObserverCursor = ObserverCursor { seq: Seq::ZERO, event: 0 };

    /// What one of the two has seen.
    pub(crate) fn or(self, other: ObserverCursor) -> ObserverCursor {
        ObserverCursor { seq: self.seq.max(other.seq), event: self.event.max(other.event) }
    }
}

/// One thing that an observer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// A message is on disk.
    Logged {
        /// The message, and whom it was addressed to.
        message: Message,
        /// Those of its recipients, members of rooms among them, who are not here and have not got it; not its sender, and
        /// no more than [`AWAY_NAMES_MAX`](crate::limits::AWAY_NAMES_MAX).
        away: Vec<(PeerId, PeerName)>,
    },
    /// A peer came.
    Came {
        /// The number of the event: it grows with each.
        event: i64,
        /// When.
        at: Timestamp,
        /// Who.
        name: PeerName,
    },
    /// A peer went.
    Went {
        /// The number of the event.
        event: i64,
        /// When.
        at: Timestamp,
        /// Who.
        name: PeerName,
    },
    /// A peer has got messages.
    Delivered {
        /// The number of the event.
        event: i64,
        /// When.
        at: Timestamp,
        /// Who.
        name: PeerName,
        /// Everything for it up to this message.
        seq: Seq,
    },
}

impl Observed {
    /// What has been seen with it, if all before it was.
    pub fn seen(&self) -> ObserverCursor {
        match self {
            Observed::Logged { message, .. } => ObserverCursor { seq: message.seq, ..ObserverCursor::START },
            Observed::Came { event, .. } | Observed::Went { event, .. } | Observed::Delivered { event, .. } => {
                ObserverCursor { event: *event, ..ObserverCursor::START }
            }
        }
    }
}

/// The next things for an observer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedPage {
    /// In the order in which they happened.
    pub things: Vec<Observed>,
    /// What had been seen before.
    pub after: ObserverCursor,
    /// What has been seen with all of them, and with what is not for it.
    pub seen: ObserverCursor,
    /// Whether it reaches the newest commit: nothing that is for this observer comes after it.
    pub complete: bool,
}
