//! Types of the requests from the broker to the store and of their results: lookups, rows of the tables `outbox` and `purge`, and turns. Never
//! runs SQL.

use std::collections::HashSet;

use super::entry::{Entry, PeerRecord, Post};
use super::read::{Read, ReadFailure};
use crate::database::members::{FoundRoom, Membership};
use crate::database::reach::Unreachable;
use crate::limits::STORED_NUMBER_MAX;
use crate::message::{Destination, PeerId, PeerName, Recipient, RequestId, Room, RoomId, Seq, Timestamp};
use crate::password::PasswordHash;
use crate::shares::Holder;
use crate::source::Source;

/// Rows of the tables `outbox` and `purge`, into which other processes write, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPosts {
    /// First rows, as many as one turn sends.
    pub posts: Vec<Post>,
    /// Request to remove a peer or a room: the one that has begun, or the oldest one.
    pub purge: Option<PurgeRequest>,
    /// Whether no other process was writing meanwhile. If one was, read again later: a commit of another process may become
    /// visible long after its bytes are in the write-ahead log, and no event reports that.
    pub is_settled: bool,
}

/// Request of the operator to remove a peer or a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeRequest {
    /// Number of the request.
    pub id: i64,
    /// Name of the peer, or of the room with its `#`.
    pub name: String,
    /// Peer or room, if its removal has begun.
    pub target: Option<Recipient>,
}

/// Result of one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeStep {
    /// Whether nothing is left.
    pub is_done: bool,
    /// Messages that were removed, by this step and those before it.
    pub messages: u64,
    /// Messages that this step removed, each with the peers that it was addressed to.
    pub removed: Vec<(Seq, Vec<PeerId>)>,
}

/// Names and ids to look up before a turn can be decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// Names of peers.
    pub peers: Vec<PeerName>,
    /// Number of the first peers that are looked up however long that takes.
    pub peers_min: usize,
    /// Names of rooms.
    pub rooms: Vec<Room>,
    /// Ids of messages, each with the name of its sender.
    pub ids: Vec<(PeerName, RequestId)>,
    /// Rooms that may have neither members nor messages.
    pub unused_rooms: Vec<RoomId>,
    /// Waiting messages of a peer above which a sample of their senders is read, too.
    pub sampled_above: u64,
}

impl Lookup {
    /// Makes the lookup of a peer or a room that is to be removed.
    pub(crate) fn purged(name: &Destination) -> Self {
        let mut lookup = Lookup { sampled_above: u64::MAX, ..Lookup::default() };
        match name {
            Destination::Peer(name) => lookup.peers.push(name.clone()),
            Destination::Room(room) => lookup.rooms.push(room.clone()),
        }
        lookup
    }

    /// Whether there is nothing to look up.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty() && self.rooms.is_empty() && self.ids.is_empty() && self.unused_rooms.is_empty()
    }
}

/// Result of a [`Lookup`], each list in the order of the request; `None` for what is not stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookedUp {
    /// Peers; the last ones of the request may be missing, because the time was over.
    pub peers: Vec<Option<FoundPeer>>,
    /// Rooms.
    pub rooms: Vec<Option<FoundRoom>>,
    /// Messages.
    pub ids: Vec<Option<FoundId>>,
    /// Rooms of the lookup that are unused.
    pub unused_rooms: Vec<RoomId>,
    /// Names of peers and rooms whose rows have an id that no server gives: they are neither found nor absent.
    pub unreadable: HashSet<String>,
}

impl LookedUp {
    /// Returns the result of [`Lookup::purged`]; `None` if there is no such peer or room.
    pub(crate) fn purged(self) -> Option<Recipient> {
        if !self.unreadable.is_empty() {
            return None;
        }
        let peer = self.peers.into_iter().flatten().map(|peer| Recipient::Peer(peer.record.id)).next();
        peer.or_else(|| self.rooms.into_iter().flatten().map(|room| Recipient::Room(room.id)).next())
    }

    /// Notes the id of a peer or a room, which may be one that no server gives.
    pub(super) fn note_id(&mut self, name: &str, id: Option<i64>) {
        if id.is_some_and(|id| !(1..=STORED_NUMBER_MAX).contains(&id)) {
            log::warn!(
                "the row of {name} has an id that no server gives, so {name} cannot be used; run holdline doctor"
            );
            self.unreadable.insert(name.to_owned());
        }
    }
}

/// Peer that a lookup found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPeer {
    /// Stored data of the peer.
    pub record: PeerRecord,
    /// Number of messages that wait for the peer and are addressed to it directly.
    pub waiting: u64,
    /// Senders of a sample of these messages, as far as they are known; empty if few wait.
    pub senders: Vec<Option<Holder>>,
    /// Source of the peer's latest login, if it is known.
    pub source: Option<Source>,
    /// Rooms of the peer.
    pub rooms: Vec<Membership>,
    /// Password, if the name is an account.
    pub password: Option<PasswordHash>,
}

/// Message that a lookup found by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundId {
    /// Place of the message in the log.
    pub seq: Seq,
    /// Time at which the message was accepted.
    pub at: Timestamp,
    /// [`SendId::fingerprint`](super::SendId::fingerprint).
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
    /// Whether the turn has neither entries nor reads.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.reads.is_empty()
    }
}

/// Outcome of a turn.
#[derive(Debug)]
pub struct TurnOutcome {
    /// Entries of the turn, returned to the broker.
    pub entries: Vec<Entry>,
    /// Result of the commit: all entries are committed, or none is.
    pub commit: Result<(), CommitError>,
    /// Newest `seq` before the turn's first message.
    pub before: Seq,
    /// Newest committed `seq`.
    pub newest: Seq,
    /// Floors of rooms that must be raised after this turn: entries for a later one.
    pub floors: Vec<Entry>,
    /// Result of the step of a purge, if the turn committed one.
    pub purged: Option<PurgeStep>,
    /// Whether all reads succeeded, or why the first that failed did; `None` if the turn had no reads.
    pub reads: Option<Result<(), ReadFailure>>,
}

impl TurnOutcome {
    /// Returns the outcome of a turn that had nothing for the store.
    pub(crate) fn empty(newest: Seq) -> Self {
        TurnOutcome {
            entries: Vec::new(),
            commit: Ok(()),
            before: newest,
            newest,
            floors: Vec::new(),
            purged: None,
            reads: None,
        }
    }
}

/// Reason why a turn could not be committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The disk is full, or cannot be written.
    #[error("the disk is full or cannot be written ({0})")]
    Storage(String),
    /// Another process kept the database locked.
    #[error("another process is writing to the database ({0})")]
    Busy(String),
    /// Anything else that SQLite reports.
    #[error("the database failed ({0})")]
    Database(String),
    /// A file of the database is not where it was, so nothing was stored.
    #[error("{0}; {advice}", advice = .0.advice())]
    Unreachable(Unreachable),
    /// A file of the database went away while the turn was stored: it may be found later, or not. Nothing is stored until a restart.
    #[error("{0}; {advice}, and restart the server", advice = .0.advice())]
    Uncertain(Unreachable),
}
