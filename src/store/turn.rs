//! What the broker asks of the store and what it is answered: lookups, a turn's entries and reads, and what became of them. Owns
//! these types; never a statement.

use super::entry::{Entry, PeerRecord, Post};
use super::read::{Read, ReadFailure};
use crate::database::members::{FoundRoom, Membership};
use crate::message::{PeerName, RequestId, Room, Seq, Timestamp};

/// What stands in the table `outbox`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPosts {
    /// The first rows, as many as one turn takes.
    pub posts: Vec<Post>,
    /// Whether nobody was writing meanwhile. A commit of another process may be seen long after its bytes came into the
    /// write-ahead log, and tells nobody when it is.
    pub is_settled: bool,
}

/// What is to be looked up before a turn can be decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// Peers.
    pub peers: Vec<PeerName>,
    /// Rooms.
    pub rooms: Vec<Room>,
    /// Messages, by their senders and ids.
    pub ids: Vec<(PeerName, RequestId)>,
}

impl Lookup {
    /// Whether nothing is to be looked up.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty() && self.rooms.is_empty() && self.ids.is_empty()
    }
}

/// What a [`Lookup`] found, each list in its order; `None` for what is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookedUp {
    /// Peers.
    pub peers: Vec<Option<FoundPeer>>,
    /// Rooms.
    pub rooms: Vec<Option<FoundRoom>>,
    /// Messages.
    pub ids: Vec<Option<FoundId>>,
}

/// What is found of a peer when it is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPeer {
    /// What is kept of it.
    pub record: PeerRecord,
    /// How many messages that were addressed to it directly wait for it.
    pub waiting: u64,
    /// The rooms that it is in.
    pub rooms: Vec<Membership>,
}

/// What is found of a message by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundId {
    /// Its place in the log.
    pub seq: Seq,
    /// When it was accepted.
    pub at: Timestamp,
    /// [`SendId::fingerprint`].
    pub fingerprint: i64,
}

/// Entries and reads of a turn.
#[derive(Debug, Default)]
pub struct TurnRequest {
    /// Entries, applied in order, all or none.
    pub entries: Vec<Entry>,
    /// Reads, answered in order, after the commit.
    pub reads: Vec<Read>,
}

impl TurnRequest {
    /// Whether the store has nothing to do for it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.reads.is_empty()
    }
}

/// What became of a turn.
#[derive(Debug)]
pub struct TurnOutcome {
    /// The turn's entries, handed back.
    pub entries: Vec<Entry>,
    /// Whether they are committed: all are, or none is.
    pub commit: Result<(), CommitError>,
    /// The `seq` before that of the turn's first message.
    pub before: Seq,
    /// The newest committed `seq`.
    pub newest: Seq,
    /// Whether all reads succeeded, or why the first that failed did; `None` if the turn had no reads.
    pub reads: Option<Result<(), ReadFailure>>,
}

/// Why a turn could not be committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The disk is full, or cannot be written.
    #[error("the storage is full or cannot be written ({0})")]
    Storage(String),
    /// Another process kept the database locked.
    #[error("another process is writing to the database ({0})")]
    Busy(String),
    /// Anything else that SQLite reports.
    #[error("the database failed ({0})")]
    Database(String),
}
