//! What changes the state of the chat, as values. Owns the entries; never how they become rows.

mod encoding;

pub use self::encoding::DecodeError;
use super::observed::{EventFilter, ObserverCursor, PeerEvent};
use crate::limits::{POSTS_BYTES_MAX, POSTS_MAX};
use crate::message::{PeerId, PeerName, Recipient, RequestId, Room, RoomId, Seq, Text, Timestamp};

/// What changes state: applied in order, inside the transaction of its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A peer that is new, was seen for the first time, or whose cursor moved. A cursor never moves back.
    Peer(PeerRecord),
    /// A room that there was not.
    Room {
        /// Given once, by the broker.
        id: RoomId,
        /// Its name.
        name: Room,
    },
    /// A peer is in a room from here on: what comes after it is for that peer.
    Join {
        /// Which room.
        room: RoomId,
        /// Who.
        peer: PeerId,
    },
    /// A peer is in a room no more.
    Leave {
        /// Which room.
        room: RoomId,
        /// Who.
        peer: PeerId,
    },
    /// The topic of a room is set, or cleared.
    Topic {
        /// The room.
        room: RoomId,
        /// The new topic; `None` clears it.
        topic: Option<Text>,
    },
    /// A message, to be given the next `seq`.
    Message {
        /// When it was accepted.
        at: Timestamp,
        /// Who sent it.
        sender: PeerId,
        /// Who is to get it, each once, in the order in which they were addressed.
        recipients: Vec<Recipient>,
        /// What they get.
        text: Text,
        /// By what it is known when its sender sends it again.
        id: Option<Box<SendId>>,
    },
    /// A row of the table `outbox` became a message of this turn, and goes.
    Posted(Box<Post>),
    /// A row of the table `outbox` cannot be sent.
    Unposted {
        /// The row.
        post: Box<Post>,
        /// When that was found.
        at: Timestamp,
        /// Why, for people.
        reason: String,
    },
    /// A peer observes from here on; one who did before goes on where it was.
    Observe {
        /// Who.
        observer: PeerId,
        /// What.
        wants: EventFilter,
    },
    /// An observer has seen more.
    ObserverAdvanced {
        /// Who.
        observer: PeerId,
        /// All up to here.
        seen: ObserverCursor,
    },
    /// Nobody else observes any more: how far they got is forgotten.
    Observers {
        /// Those who do.
        only: Vec<PeerName>,
    },
    /// Something happened besides messages.
    Event(PeerEvent),
    /// A value is kept, or forgotten.
    Value {
        /// Whose.
        peer: PeerId,
        /// Under which key.
        key: String,
        /// JSON; `None` forgets it.
        value: Option<String>,
    },
    /// Old messages are removed, as the store proposed: all in these ranges that wait for nobody.
    Remove {
        /// Ranges in the order of `seq`, which do not overlap.
        ranges: Vec<SeqRange>,
    },
}

impl Entry {
    /// Whether somebody was promised that this is on disk. A cursor is no promise: if the power takes the last moves,
    /// a few messages are delivered twice and none is lost. Nor is an event.
    pub fn is_durable(&self) -> bool {
        match self {
            Entry::Message { .. } | Entry::Room { .. } | Entry::Join { .. } | Entry::Leave { .. } => true,
            Entry::Topic { .. } => true,
            // What comes after that is not to be missed.
            Entry::Observe { .. } | Entry::Value { .. } => true,
            Entry::Peer(_) | Entry::Posted(_) | Entry::Unposted { .. } => false,
            Entry::ObserverAdvanced { .. } | Entry::Observers { .. } | Entry::Event(_) => false,
            // What a power cut brings back is removed again.
            Entry::Remove { .. } => false,
        }
    }
}

/// Messages from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqRange {
    /// Oldest message.
    pub first: Seq,
    /// Newest message.
    pub last: Seq,
}

/// The id that a program gave a message, and a hash of what it sent and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendId {
    /// Its own for each message of one sender.
    pub id: RequestId,
    /// The same for the same destinations and text, today and in any later version.
    pub fingerprint: i64,
}

/// A row of the table `outbox`, as somebody wrote it: bytes, of which nothing is known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Its rowid.
    pub row: i64,
    /// As whom it is to be sent.
    pub sender: Option<Vec<u8>>,
    /// To whom, joined by commas.
    pub recipients: Option<Vec<u8>>,
    /// What.
    pub text: Option<Vec<u8>>,
}

impl Post {
    /// Bytes of its columns.
    pub fn bytes(&self) -> usize {
        [&self.sender, &self.recipients, &self.text].into_iter().flatten().map(Vec::len).sum()
    }

    /// Whether these are as many as one turn takes: there may be more.
    pub fn is_a_turns_worth(posts: &[Post]) -> bool {
        posts.len() >= POSTS_MAX || posts.iter().map(Post::bytes).sum::<usize>() >= POSTS_BYTES_MAX
    }
}

/// What is kept of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRecord {
    /// Given once, by the broker.
    pub id: PeerId,
    /// The name it logs in by.
    pub name: PeerName,
    /// Whether it ever logged in.
    pub seen: bool,
    /// Everything for it up to here has been delivered.
    pub cursor: Seq,
}
