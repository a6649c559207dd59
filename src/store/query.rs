//! Queries of the reads of a turn, and the pages that answer them. Owns these types; never runs SQL.

use std::sync::Arc;

use super::observed::{EventFilter, ObserverCursor};
use crate::message::{Message, PeerId, Recipient, RoomId, Seq};
use crate::protocol::PastMessage;

/// Query for one page of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageQuery {
    /// Peer whose feed it is.
    pub peer: PeerId,
    /// Message before the first one of the page.
    pub after: Seq,
    /// Whether the destinations of each message must be read, too.
    pub is_addressed: bool,
    /// Bytes that the messages may count for; the last one may exceed them.
    pub bytes_max: usize,
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
    /// Whether the destinations of messages to the peer must be read, too.
    pub is_addressed: bool,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Messages in the order of `seq`.
    pub messages: Vec<Fed>,
    /// Message up to which nothing for this peer is missing in the page, or was fed before it.
    pub reached: Seq,
    /// Messages that the peer has not got and that are no longer replayed, by room, in the order of the first of each: they were skipped.
    pub missed: Vec<Missed>,
    /// Whether no such messages follow the page, as far as the store knows.
    pub is_past_floors: bool,
    /// Whether the page reaches the newest commit, so that nothing for this peer comes after it.
    pub complete: bool,
}

impl Page {
    /// Returns a page without messages after this one.
    pub(crate) fn empty(after: Seq) -> Self {
        Page { messages: Vec::new(), reached: after, missed: Vec::new(), is_past_floors: false, complete: false }
    }
}

/// Messages of a room that a feed skipped because they are no longer replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The room.
    pub room: RoomId,
    /// Number of messages.
    pub count: u64,
}

impl Missed {
    /// Adds messages of a room to a list.
    pub(crate) fn add(room: RoomId, count: u64, all: &mut Vec<Missed>) {
        match all.iter_mut().find(|missed| missed.room == room) {
            Some(missed) => missed.count += count,
            None => all.push(Missed { room, count }),
        }
    }
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
    /// Bytes that the messages count for.
    pub(crate) bytes: usize,
}
