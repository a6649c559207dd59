//! What the broker asks of the store and what it is answered: lookups, a turn's entries and reads, and what became of them. Owns
//! these types; never a statement.

use std::sync::Arc;

use super::entry::Entry;
use super::observed::{EventFilter, ObservedPage, ObserverCursor};
use crate::database::members::{FoundRoom, Membership};
use crate::limits::{POSTS_BYTES_MAX, POSTS_MAX};
use crate::message::{Message, PeerId, PeerName, Recipient, RequestId, Room, Seq, Text, Timestamp};
use crate::protocol::PastMessage;

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

/// What stands in the table `outbox`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPosts {
    /// The first rows, as many as one turn takes.
    pub posts: Vec<Post>,
    /// Whether nobody was writing meanwhile. A commit of another process may be seen long after its bytes came into the
    /// write-ahead log, and tells nobody when it is.
    pub is_settled: bool,
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

/// What a turn reads, once its entries are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The next messages for a peer and for its rooms, in order.
    Page {
        /// For whom.
        peer: PeerId,
        /// They come after this one.
        after: Seq,
        /// Whether it is wanted whom they were addressed to.
        is_addressed: bool,
    },
    /// How many messages wait for a peer, those of its rooms too.
    Waiting {
        /// For whom.
        peer: PeerId,
        /// They come after this one.
        after: Seq,
    },
    /// The newest messages that a peer was part of.
    History {
        /// Whose.
        peer: PeerId,
        /// Only those exchanged with this one, or sent in this room.
        with: Option<Recipient>,
        /// Only those before this one.
        before: Seq,
        /// How many at most.
        count: usize,
    },
    /// The newest messages that a peer was part of and that hold all of these words.
    Search {
        /// Whose.
        peer: PeerId,
        /// As they were written.
        words: Text,
        /// The newest message that must have been looked at; `None`: the newest there is.
        until: Option<Seq>,
        /// How many at most.
        count: usize,
    },
    /// The next things for an observer: at most [`OBSERVED_MAX`](crate::limits::OBSERVED_MAX).
    Observed {
        /// Whose.
        observer: PeerId,
        /// They come after what it has seen; `None`: as far as that is kept.
        after: Option<ObserverCursor>,
        /// What it wants.
        wants: EventFilter,
        /// Everyone who is here, in order.
        here: Arc<[PeerId]>,
    },
    /// All values that a peer keeps.
    Values {
        /// Whose.
        peer: PeerId,
    },
}

/// What one [`Read`] gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// For [`Read::Page`].
    Page(Page),
    /// For [`Read::Waiting`].
    Waiting(u64),
    /// For [`Read::History`]: oldest first.
    History(PastPage),
    /// For [`Read::Search`]: newest first.
    Found(PastPage),
    /// For [`Read::Search`]: the index has come nearer to the log, and is not there yet. Ask again.
    Indexing,
    /// For [`Read::Search`]: what is searched is no word.
    NoWords,
    /// For [`Read::Observed`]; `None`: nothing is kept of this observer.
    Observed(Option<ObservedPage>),
    /// For [`Read::Values`]: keys and values, in the order of the keys.
    Values(Vec<(String, String)>),
    /// It could not be read; the reason is for people.
    Failed(String),
}

impl Answer {
    /// Why it could not be read, if so.
    pub fn error(&self) -> Option<&String> {
        match self {
            Answer::Failed(error) => Some(error),
            _ => None,
        }
    }
}

/// A piece of the log, for one feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of `seq`.
    pub messages: Vec<Fed>,
    /// Whether it reaches the newest commit: nothing for this peer comes after it.
    pub complete: bool,
}

/// A message of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fed {
    /// What is delivered.
    pub message: Message,
    /// Whether it was addressed to the peer itself: only those count for the limit of its mailbox.
    pub is_direct: bool,
}

/// A piece of the past, for one who was part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PastPage {
    /// The messages.
    pub messages: Vec<PastMessage>,
    /// Whether there are older ones.
    pub more: bool,
    /// Bytes of their texts.
    pub(crate) bytes: usize,
}

/// A turn's entries and reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TurnRequest {
    /// Applied in order, all or none.
    pub entries: Vec<Entry>,
    /// Answered in order, after the commit.
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
    /// One for each read, in order.
    pub answers: Vec<Answer>,
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
