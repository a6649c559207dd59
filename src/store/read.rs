//! Reads of a turn: each is a query, and the sender for its result. Owns these types; never runs SQL.

use std::fmt;
use std::sync::Arc;

use super::observed::{EventFilter, ObservedPage, ObserverCursor};
use crate::message::{Message, PeerId, Recipient, Seq, Text};
use crate::protocol::PastMessage;

/// A read of a turn, made after the turn's entries are committed.
#[derive(Debug)]
pub enum Read {
    /// Next messages for a peer and for its rooms, in the order of `seq`.
    Page(PageQuery, ReadSender<Page>),
    /// Number of messages that wait for a peer, those of its rooms included.
    Waiting(WaitingQuery, ReadSender<u64>),
    /// Newest messages that a peer sent or received, oldest first.
    History(HistoryQuery, ReadSender<PastPage>),
    /// Newest messages that a peer sent or received and that contain all of some words.
    Search(SearchQuery, ReadSender<SearchResult>),
    /// Next messages and events for an observer; `None` if the observer is not stored.
    Observed(ObservedQuery, ReadSender<Option<ObservedPage>>),
    /// All values that a plugin stores: keys and JSON, in the order of the keys.
    Values(ValuesQuery, ReadSender<Vec<(String, String)>>),
}

impl Read {
    /// Reports that the read failed, whatever it reads.
    pub(crate) fn fail(self, failure: ReadFailure) {
        // The broker may have been dropped.
        match self {
            Read::Page(_, reply) => drop(reply.send(Err(failure))),
            Read::Waiting(_, reply) => drop(reply.send(Err(failure))),
            Read::History(_, reply) => drop(reply.send(Err(failure))),
            Read::Search(_, reply) => drop(reply.send(Err(failure))),
            Read::Observed(_, reply) => drop(reply.send(Err(failure))),
            Read::Values(_, reply) => drop(reply.send(Err(failure))),
        }
    }
}

/// Store's end of a read: takes its result, before the store reports the outcome of the turn.
pub type ReadSender<T> = oneshot::Sender<Result<T, ReadFailure>>;

/// Broker's end of a read.
#[derive(Debug)]
pub struct ReadReceiver<T>(oneshot::Receiver<Result<T, ReadFailure>>);

impl<T> ReadReceiver<T> {
    /// Makes both ends of a read.
    pub fn channel() -> (ReadSender<T>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, ReadReceiver(receiver))
    }

    /// Returns the result of the read. Call it only once the outcome of the turn is known.
    pub fn result(self) -> Result<T, ReadFailure> {
        self.0.try_recv().expect("the store answers every read of a turn before it reports the outcome")
    }
}

/// Reason why a read failed, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReadFailure(String);

impl ReadFailure {
    /// A failure for this reason.
    pub fn new(reason: impl fmt::Display) -> Self {
        ReadFailure(reason.to_string())
    }
}

impl From<rusqlite::Error> for ReadFailure {
    fn from(error: rusqlite::Error) -> Self {
        ReadFailure::new(error)
    }
}

/// Query for one page of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageQuery {
    /// Peer whose feed it is.
    pub peer: PeerId,
    /// Message before the first one of the page.
    pub after: Seq,
    /// Whether the destinations of each message must be read, too.
    pub is_addressed: bool,
}

/// Query for the number of messages that wait for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingQuery {
    /// The peer.
    pub peer: PeerId,
    /// Message before the first one that is counted.
    pub after: Seq,
}

/// Query for the newest messages that a peer sent or received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// The peer.
    pub peer: PeerId,
    /// Only messages exchanged with this peer, or sent in this room.
    pub with: Option<Recipient>,
    /// Only messages before this one.
    pub before: Seq,
    /// Number of messages at most.
    pub count: usize,
}

/// Query for the newest messages that contain all of some words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchQuery {
    /// Peer that sent or received the messages.
    pub peer: PeerId,
    /// Words as the client wrote them.
    pub words: Text,
    /// Newest message that the index must cover; `None`: the newest message of the log.
    pub until: Option<Seq>,
    /// Number of messages at most.
    pub count: usize,
}

/// Query for at most [`OBSERVATIONS_MAX`](crate::limits::OBSERVATIONS_MAX) messages and events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedQuery {
    /// Peer that observes.
    pub observer: PeerId,
    /// Cursor after which the page begins; `None`: the stored cursor of the observer.
    pub after: Option<ObserverCursor>,
    /// Messages and events that the observer wants.
    pub wants: EventFilter,
    /// All peers that are online, in the order of their ids.
    pub online: Arc<[PeerId]>,
}

/// Query for all values that a plugin stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValuesQuery {
    /// Peer of the plugin.
    pub peer: PeerId,
}

/// Page of one feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Messages in the order of `seq`.
    pub messages: Vec<Fed>,
    /// Whether the page reaches the newest commit, so that nothing for this peer comes after it.
    pub complete: bool,
}

/// Message of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fed {
    /// The message.
    pub message: Message,
    /// Whether the message was addressed to the peer itself: only those count for the limit of its mailbox.
    pub is_direct: bool,
}

/// Page of a history or a search, with messages that its peer sent or received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PastPage {
    /// The messages.
    pub messages: Vec<PastMessage>,
    /// Whether there are older ones.
    pub more: bool,
    /// Bytes of the texts of the messages.
    pub(crate) bytes: usize,
}

/// Result of one step of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchResult {
    /// Messages that contain all words, newest first.
    Found(PastPage),
    /// The search index has caught up a little and does not cover the log yet: the broker repeats the read.
    Indexing,
    /// The query contains no word.
    NoWords,
}
