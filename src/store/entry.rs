//! Entries: changes of the state of the chat, as values. Owns their types and their serialised form; never writes a row.

mod encoding;

pub use self::encoding::DecodeError;
use super::observed::{EventFilter, ObserverCursor, PeerEvent};
use crate::limits::{POSTS_BYTES_MAX, POSTS_MAX, SENT_MESSAGE_BYTES};
use crate::message::{PeerId, PeerName, Recipient, RequestId, Room, RoomId, Seq, Text, Timestamp};
use crate::password::PasswordHash;
use crate::source::Source;

/// Change of the state of the chat. The entries of a turn are applied in order, all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Stores a peer that is new, that logged in for the first time, or whose cursor moved. A cursor never moves back.
    Peer(PeerRecord),
    /// Creates a room.
    Room {
        /// Id of the room, given once by the broker.
        id: RoomId,
        /// Name of the room.
        name: Room,
        /// Peer that creates it; `None` in entries of earlier versions.
        creator: Option<PeerId>,
    },
    /// Stores where the latest login of a peer came from.
    Source {
        /// Peer that logged in.
        peer: PeerId,
        /// Source of the login.
        source: Source,
    },
    /// Makes a name an account, or changes its password.
    Account {
        /// Peer whose name it is.
        peer: PeerId,
        /// Hash of the password; `None` makes the name free.
        password: Option<PasswordHash>,
        /// Time of the change.
        at: Timestamp,
    },
    /// Adds a peer to a room. Messages to the room after this entry are for the peer, too.
    Join {
        /// Room that the peer joins.
        room: RoomId,
        /// Peer that joins.
        peer: PeerId,
    },
    /// Removes a peer from a room.
    Leave {
        /// Room that the peer leaves.
        room: RoomId,
        /// Peer that leaves.
        peer: PeerId,
    },
    /// Sets or clears the topic of a room.
    Topic {
        /// Room that the topic is about.
        room: RoomId,
        /// New topic; `None` clears it.
        topic: Option<Text>,
    },
    /// Appends a message, which gets the next `seq`.
    Message {
        /// Time at which the message was accepted.
        at: Timestamp,
        /// Peer that sent it.
        sender: PeerId,
        /// Peers and rooms that it is addressed to, each once, in the order of the client.
        recipients: Vec<Recipient>,
        /// Text of the message.
        text: Text,
        /// Id by which the message is recognised when its sender sends it again.
        id: Option<Box<SendId>>,
    },
    /// Removes a row of the table `outbox`, as its message is in this turn.
    OutboxSent(Box<Post>),
    /// Moves a row of the table `outbox` to `outbox_refused`, as it cannot be sent.
    OutboxRefused {
        /// Row that is moved.
        post: Box<Post>,
        /// Time at which it was refused.
        at: Timestamp,
        /// Reason, for people.
        reason: String,
    },
    /// Registers an observer. One that is registered keeps its cursor.
    Observe {
        /// Peer that observes.
        observer: PeerId,
        /// Messages and events that it wants.
        wants: EventFilter,
    },
    /// Advances the cursor of an observer.
    ObserverAdvanced {
        /// Peer that observes.
        observer: PeerId,
        /// New cursor.
        seen: ObserverCursor,
    },
    /// Removes all other observers, with their cursors.
    RetainObservers {
        /// Names of the observers that stay.
        only: Vec<PeerName>,
    },
    /// Records an event for observers.
    Event(PeerEvent),
    /// Stores or removes a value of a plugin.
    Value {
        /// Peer of the plugin.
        peer: PeerId,
        /// Key of the value.
        key: String,
        /// Value in JSON; `None` removes it.
        value: Option<String>,
    },
    /// Raises the floor of a room: its messages up to there are no longer replayed. A floor never moves back.
    Floor {
        /// The room.
        room: RoomId,
        /// Newest message that is no longer replayed.
        floor: Seq,
    },
    /// Removes a room that has neither members nor messages.
    RemoveRoom {
        /// Room that is removed. Its id is never given again.
        room: RoomId,
    },
    /// Notes how long servers have run with this database. The running time never decreases.
    Ran {
        /// Seconds in all runs together.
        seconds: u64,
    },
    /// Removes old messages, except those that wait for a peer.
    Remove {
        /// Ranges in the order of `seq`, which do not overlap.
        ranges: Vec<SeqRange>,
    },
    /// Begins to remove a peer or a room as the operator wants: removes its row.
    BeginPurge {
        /// Number of the operator's request.
        request: i64,
        /// Name of the peer, or of the room with its `#`, for people.
        name: String,
        /// Peer or room.
        target: Recipient,
    },
    /// Removes the next part of what a peer or a room leaves behind in other tables.
    ContinuePurge,
    /// Refuses to remove a peer or a room.
    RefusePurge {
        /// Number of the operator's request.
        request: i64,
        /// Reason, for people.
        reason: String,
    },
}

impl Entry {
    /// Whether the entry must be synced before the turn is reported as committed. A cursor need not be: if a power cut takes its last
    /// moves, a few messages are delivered twice, and none is lost.
    pub fn is_durable(&self) -> bool {
        match self {
            Entry::Message { .. } | Entry::Room { .. } | Entry::Join { .. } | Entry::Leave { .. } => true,
            // What is reported as removed must not come back.
            Entry::RemoveRoom { .. } | Entry::BeginPurge { .. } => true,
            // A password that was changed must not be valid again.
            Entry::Account { .. } => true,
            // An observer must not miss what follows its registration.
            Entry::Topic { .. } | Entry::Observe { .. } | Entry::Value { .. } => true,
            Entry::Peer(_) | Entry::Source { .. } | Entry::OutboxSent(_) | Entry::OutboxRefused { .. } => false,
            Entry::ObserverAdvanced { .. } | Entry::RetainObservers { .. } | Entry::Event(_) => false,
            // What a power cut brings back is removed again, and a floor that it lowers is raised again.
            Entry::Remove { .. } | Entry::Floor { .. } => false,
            // If a power cut takes it, ids are remembered for longer.
            Entry::Ran { .. } => false,
            Entry::ContinuePurge | Entry::RefusePurge { .. } => false,
        }
    }
}

impl Entry {
    /// Approximate bytes that the message of the entry takes in the database; 0 if it is not a message.
    pub(super) fn message_bytes(&self) -> usize {
        match self {
            Entry::Message { recipients, text, .. } => SENT_MESSAGE_BYTES * (1 + recipients.len()) + text.len(),
            _ => 0,
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

/// Id that a client gave a message, and a hash of its destinations and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendId {
    /// Id, unique among the messages of one sender.
    pub id: RequestId,
    /// Hash: the same for the same destinations and text, in this and in any later version.
    pub fingerprint: i64,
}

/// Row of the table `outbox` as an operator wrote it: unchecked bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Rowid of the row.
    pub row: i64,
    /// Name of the peer that sends it.
    pub sender: Option<Vec<u8>>,
    /// Names of peers and rooms, joined by commas.
    pub recipients: Option<Vec<u8>>,
    /// Text of the message.
    pub text: Option<Vec<u8>>,
}

impl Post {
    /// Bytes of its columns.
    pub fn bytes(&self) -> usize {
        [&self.sender, &self.recipients, &self.text].into_iter().flatten().map(Vec::len).sum()
    }

    /// Whether these rows fill a turn, so that there may be more.
    pub fn fill_a_turn(posts: &[Post]) -> bool {
        posts.len() >= POSTS_MAX || posts.iter().map(Post::bytes).sum::<usize>() >= POSTS_BYTES_MAX
    }
}

/// Stored data of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRecord {
    /// Id, given once by the broker.
    pub id: PeerId,
    /// Name by which it logs in.
    pub name: PeerName,
    /// Whether it has ever logged in.
    pub seen: bool,
    /// Cursor: every message for the peer up to here is delivered.
    pub cursor: Seq,
}
