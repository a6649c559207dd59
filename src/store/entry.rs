//! Entries: changes of the chat's state, as values. The broker lists them, the store applies them. Owns these types; never how an entry
//! becomes rows.

mod encoding;

pub use self::encoding::DecodeError;
use super::observed::{EventFilter, ObserverCursor, PeerEvent};
use crate::limits::{POSTS_BYTES_MAX, POSTS_MAX};
use crate::message::{PeerId, PeerName, Recipient, RequestId, Room, RoomId, Seq, Text, Timestamp};

/// One change of the chat's state. The entries of a turn are applied in order, in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The record of a peer is stored: the peer is new, its name is used for the first time, or its cursor moved. A cursor never moves
    /// back.
    Peer(PeerRecord),
    /// A room is created.
    Room {
        /// Id of the room; the broker gives each id once.
        id: RoomId,
        /// Name of the room.
        name: Room,
    },
    /// A peer becomes a member of a room: it gets the room's messages after this entry.
    Join {
        /// The room.
        room: RoomId,
        /// The peer.
        peer: PeerId,
    },
    /// A peer is no longer a member of a room.
    Leave {
        /// The room.
        room: RoomId,
        /// The peer.
        peer: PeerId,
    },
    /// The topic of a room is set, or cleared.
    Topic {
        /// The room.
        room: RoomId,
        /// The new topic; `None` clears it.
        topic: Option<Text>,
    },
    /// A message is appended to the log, with the next `seq`.
    Message {
        /// Time at which the message was accepted.
        at: Timestamp,
        /// Peer that sent the message.
        sender: PeerId,
        /// Recipients, each once, in the order in which they were addressed.
        recipients: Vec<Recipient>,
        /// Text of the message.
        text: Text,
        /// Id that the client gave the message, if it gave one: a repeated message is recognised by it.
        id: Option<Box<SendId>>,
    },
    /// A row of the table `outbox` is removed, because this turn sends its message.
    Posted(Box<Post>),
    /// A row of the table `outbox` is moved to `outbox_refused`, because its message cannot be sent.
    Unposted {
        /// The row.
        post: Box<Post>,
        /// Time at which it was refused.
        at: Timestamp,
        /// Reason, for people.
        reason: String,
    },
    /// A peer observes what comes after this entry. If it observed before, its cursor stays.
    Observe {
        /// The peer.
        observer: PeerId,
        /// Messages and events that it observes.
        wants: EventFilter,
    },
    /// The cursor of an observer moves. It never moves back.
    ObserverAdvanced {
        /// The observer.
        observer: PeerId,
        /// Last message and event that the observer has processed.
        seen: ObserverCursor,
    },
    /// The cursors of all other observers are removed.
    Observers {
        /// Names of the observers that remain.
        only: Vec<PeerName>,
    },
    /// An event of a peer is stored, for the observers.
    Event(PeerEvent),
    /// A value of a plugin is stored or removed.
    Value {
        /// Peer of the plugin.
        peer: PeerId,
        /// Key of the value.
        key: String,
        /// JSON; `None` removes the value.
        value: Option<String>,
    },
    /// Old messages are removed, as the store proposed: all in these ranges, except those that wait for a recipient.
    Remove {
        /// Ranges in the order of `seq`, which do not overlap.
        ranges: Vec<SeqRange>,
    },
}

impl Entry {
    /// Whether the entry must be synced before its turn is reported as committed, if `durability` is `"power-loss"`. A power cut may
    /// lose the others: without the newest cursors a few messages are delivered again, and none is lost.
    pub fn is_durable(&self) -> bool {
        match self {
            Entry::Message { .. } | Entry::Room { .. } | Entry::Join { .. } | Entry::Leave { .. } => true,
            Entry::Topic { .. } => true,
            // An observer must miss nothing from here on; a plugin relies on its stored values.
            Entry::Observe { .. } | Entry::Value { .. } => true,
            Entry::Peer(_) | Entry::Posted(_) | Entry::Unposted { .. } => false,
            Entry::ObserverAdvanced { .. } | Entry::Observers { .. } | Entry::Event(_) => false,
            // Messages that a power cut brings back are removed again.
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

/// Id that a client gave a message, and a hash of the message's text and destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendId {
    /// The id, unique among the messages of one sender.
    pub id: RequestId,
    /// Hash, equal for equal text and destinations, in this version and in all later ones.
    pub fingerprint: i64,
}

/// Row of the table `outbox` as it was inserted: unchecked bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Rowid of the row.
    pub row: i64,
    /// Name of the sender.
    pub sender: Option<Vec<u8>>,
    /// Recipients, separated by commas.
    pub recipients: Option<Vec<u8>>,
    /// Text of the message.
    pub text: Option<Vec<u8>>,
}

impl Post {
    /// Returns the number of bytes in the columns.
    pub fn bytes(&self) -> usize {
        [&self.sender, &self.recipients, &self.text].into_iter().flatten().map(Vec::len).sum()
    }

    /// Whether these are as many rows as one turn takes, so that there may be more.
    pub fn is_a_turns_worth(posts: &[Post]) -> bool {
        posts.len() >= POSTS_MAX || posts.iter().map(Post::bytes).sum::<usize>() >= POSTS_BYTES_MAX
    }
}

/// Stored data of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRecord {
    /// Id of the peer; the broker gives each id once.
    pub id: PeerId,
    /// Name of the peer.
    pub name: PeerName,
    /// Whether the name was ever used: by a client that logged in, by a plugin, or by a row of the table `outbox` that it sent.
    pub seen: bool,
    /// Cursor: every message for the peer up to this one is delivered.
    pub cursor: Seq,
}
