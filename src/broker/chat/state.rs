//! State of the chat: peers, sessions, rooms, and which changes are not stored yet. Owns these types, and how sessions are attached to
//! peers; never waits, never reads a clock.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use foldhash::{HashMap as IdMap, HashSet as IdSet};
use smol::lock::SemaphoreGuardArc;

use super::acks::Acks;
use super::lists::PeerList;
use super::loudness::Loudness;
use super::observers::Observers;
use super::presence::RecentPresence;
use super::rooms::{Member, RoomState};
use super::scans::Scans;
use super::session_outbox::SessionOutbox;
use crate::broker::budget::OutboxBudget;
use crate::broker::outbox::Delivered;
use crate::config::Limits;
use crate::limits::OFFLINE_PEERS_CACHED_MAX;
use crate::message::{
    BadName, DatabaseId, Message, PeerId, PeerName, Recipient, RequestId, Room, RoomId, Seq, SessionId,
};
use crate::password::PasswordHash;
use crate::protocol::Reply;
use crate::shares::{Ledger, Shares};
use crate::source::Source;
use crate::store::{Entry, Found, FoundId, Headroom, Missed, Page, PeerRecord, Store};

/// State of the chat.
#[derive(Debug)]
pub(in crate::broker) struct Chat {
    /// Limits for clients.
    pub(super) limits: Limits,
    /// Names that were never used and for which messages wait, each with the first sender of these.
    pub(super) unknown_names: Ledger<PeerId>,
    /// Rooms, each with its creator.
    pub(super) room_creators: Ledger<RoomId>,
    /// Identity of the database.
    pub(super) database: DatabaseId,
    /// Newest committed message.
    pub(super) newest: Seq,
    /// Highest id given to a peer.
    pub(super) last_peer: PeerId,
    /// Highest id given to a room.
    pub(super) last_room: RoomId,
    /// Ids of `peers` by name. Clients choose names, so they are hashed with a secret key; the server chooses ids.
    pub(super) ids: HashMap<PeerName, PeerId>,
    /// Peers in memory: all that are online, and offline ones that were named lately. Boxed, as the sessions are.
    pub(super) peers: IdMap<PeerId, Box<Peer>>,
    /// Ids of `rooms` by name.
    pub(super) room_ids: HashMap<Room, RoomId>,
    /// Rooms of all `peers`, and those that were named lately.
    pub(super) rooms: IdMap<RoomId, RoomState>,
    /// Rooms that are named in the turn that is being decided, and do not exist.
    pub(super) absent_rooms: HashSet<Room>,
    /// Names in that turn that nobody uses, and that may not be new.
    pub(super) refused_names: HashMap<PeerName, BadName>,
    /// Message ids in the turn that is being decided, each with its sender.
    pub(super) known_ids: HashMap<(PeerId, RequestId), KnownId>,
    /// Sessions that have logged in and not left. Boxed, because half of the places in a table may be free.
    pub(super) sessions: IdMap<SessionId, Box<Session>>,
    /// Sessions that were welcomed and get announcements of presence or copies.
    pub(super) subscribers: IdSet<SessionId>,
    /// Peers whose presence was announced lately.
    pub(super) presence: RecentPresence,
    /// Peers whose records must be stored before the next message.
    pub(super) dirty_peers: IdSet<PeerId>,
    /// Rooms whose last member has left. Those without messages are removed.
    pub(super) emptied_rooms: VecDeque<RoomId>,
    /// Peers that logged in from another source than the stored one.
    pub(super) dirty_sources: IdSet<PeerId>,
    /// Peers whose cursors moved. No reply waits for that, so the cursors are stored later, together.
    pub(super) dirty_cursors: IdSet<PeerId>,
    /// Bytes that messages may still take, if the database is full of messages that wait.
    pub(super) headroom: Headroom,
    /// Bytes that senders have sent lately.
    pub(super) loudness: Loudness,
    /// Floors of rooms that the store proposed and that are not stored yet.
    pub(super) floors: Vec<Entry>,
    /// Replaying sessions that get the next pages, in this order. A session that has left may still be in it.
    pub(super) page_queue: VecDeque<SessionId>,
    /// Replaying sessions whose page could not be read: it is read again with the next event, or after a while.
    pub(super) failed_reads: Vec<SessionId>,
    /// Scans that are not done.
    pub(super) scans: Scans,
    /// Lists that sessions get part by part and that are not complete.
    pub(super) lists: IdMap<SessionId, PeerList>,
    /// Names of the peers that are online, in order; `None` until they are needed again.
    pub(super) online: Option<Arc<[PeerName]>>,
    /// Memory that all outboxes share.
    pub(super) budget: OutboxBudget,
    /// Plugins that observe.
    pub(super) observers: Observers,
}

/// Peer, online or offline.
#[derive(Debug)]
pub(super) struct Peer {
    /// Record of the peer, as it is stored or will be.
    pub(super) record: PeerRecord,
    /// Whether the store has the record, or gets it with the next turn.
    pub(super) is_stored: bool,
    /// Open sessions, in the order of their logins: the peer is online while there is one.
    pub(super) sessions: Vec<SessionId>,
    /// Rooms of the peer: committed memberships, and those that a turn in flight begins or ends.
    pub(super) rooms: IdMap<RoomId, Member>,
    /// Number of messages addressed to the peer directly since it was looked up, including those that waited then.
    pub(super) addressed: u64,
    /// Number of these that are delivered.
    pub(super) delivered: u64,
    /// Senders of the messages that wait, while the mailbox is more than half full.
    pub(super) senders: Option<Box<Shares>>,
    /// Source of the latest login, if it is known.
    pub(super) source: Option<Source>,
    /// Password, if the name is an account.
    pub(super) password: Option<PasswordHash>,
    /// Whether the peer is a plugin. Its events are not stored for observers.
    pub(super) is_plugin: bool,
    /// Whether `delivered` may be a little low, because a client acknowledged some of very many messages, or because messages were purged.
    pub(super) is_estimated: bool,
}

impl Peer {
    pub(super) fn is_online(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// Number of messages that were addressed to the peer directly and are not delivered.
    pub(super) fn waiting(&self) -> u64 {
        // An operator may add and remove rows with sqlite3: then the count is wrong until the peer is looked up again.
        self.addressed.saturating_sub(self.delivered)
    }
}

/// Session of a peer, for a client or for a plugin.
#[derive(Debug)]
pub(super) struct Session {
    /// Peer that the client logged in as.
    pub(super) peer: PeerId,
    /// Source of the client.
    pub(super) source: Source,
    pub(super) outbox: SessionOutbox,
    /// Whether the session was welcomed. It gets no announcements before that.
    pub(super) is_welcomed: bool,
    pub(super) feed: Feed,
    /// Last message of the feed: every message for the peer up to here was put into the outbox, or had been delivered before.
    pub(super) fed: Seq,
    /// Messages that the feed skipped and the client is not notified of yet.
    pub(super) missed: Vec<Missed>,
    /// Of the peer's `addressed` messages, the number that were put into the outbox or had been delivered before.
    pub(super) counted: u64,
    /// Of the peer's `addressed` messages, the number that are delivered, as far as this session knows.
    pub(super) delivered: u64,
    /// Messages that the client has not acknowledged, if it acknowledges explicitly.
    pub(super) acks: Option<Box<Acks>>,
    /// Last message that the session gets before it is closed; set when no more requests come.
    pub(super) ends_at: Option<Seq>,
    /// Message up to which the session was fed everything, although it got no more since; set when it is detached from its peer while live.
    pub(super) live_to: Option<Seq>,
    /// Permit of the session, held back while the client does not read its replies, or waits for the rest of an answer.
    pub(super) permit: Option<SemaphoreGuardArc>,
    /// Number of answers that the client waits for and that are not complete: scans, a list that it gets part by part, and the first page
    /// of its messages.
    pub(super) unfinished: usize,
    /// Whether the session's requests wait until it has the first page of the messages that waited at its login.
    pub(super) awaits_first_page: bool,
    /// Whether the session is in `page_queue`, in `failed_reads`, or in a turn that is in flight.
    pub(super) awaits_page: bool,
    /// Whether the delivery of this turn has listed the session as one with output to flush.
    pub(super) is_in_batch: bool,
}

/// Way in which a session gets its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feed {
    /// From the log, page by page.
    Replaying,
    /// From each turn, as it commits.
    Live,
}

/// Result of the lookup of a message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KnownId {
    /// The id is new.
    New,
    /// A message with this id was accepted before this turn.
    Before(FoundId),
    /// A message with this id is in the turn that is being decided, at index `nth`.
    InTurn { nth: usize, fingerprint: i64 },
}

impl Session {
    /// Puts a reply into the outbox.
    pub(super) fn reply(&mut self, id: Option<&RequestId>, reply: &Reply, budget: &mut OutboxBudget) {
        self.outbox.reply(id, reply, budget);
    }

    /// Puts a message of a page into the outbox.
    pub(super) fn feed(&mut self, message: Message, is_direct: bool, budget: &mut OutboxBudget) {
        let delivered = Delivered { seq: message.seq, messages: u64::from(is_direct) };
        self.outbox.feed(self.mark(delivered), message, budget);
        self.note_fed(delivered);
    }

    /// Notes the messages that a page skips because they are no longer replayed. Notifies the client before it gets a later message.
    pub(super) fn note_missed(&mut self, page: &Page, rooms: &IdMap<RoomId, RoomState>, budget: &mut OutboxBudget) {
        for Missed { room, count } in &page.missed {
            Missed::add(*room, *count, &mut self.missed);
        }
        if page.is_past_floors || !page.messages.is_empty() {
            for Missed { room, count } in std::mem::take(&mut self.missed) {
                // A room that nobody in memory is in any more is evicted.
                if let Some(RoomState { name, .. }) = rooms.get(&room) {
                    self.reply(None, &Reply::Missed { room: name.clone(), count }, budget);
                }
            }
        }
    }

    /// Returns the mark of a message; `None` for a client that acknowledges explicitly, because its TCP acknowledgements do not count.
    pub(super) fn mark(&self, delivered: Delivered) -> Option<Delivered> {
        self.acks.is_none().then_some(delivered)
    }

    /// Notes that a message was put into the outbox.
    pub(super) fn note_fed(&mut self, delivered: Delivered) {
        if let Some(acks) = &mut self.acks {
            acks.feed(self.outbox.appended_bytes(), delivered);
        }
        self.fed = delivered.seq;
        self.counted += delivered.messages;
    }
}

impl Chat {
    /// Makes the chat with the state that the store found when it was opened.
    pub(in crate::broker) fn new(limits: &Limits, store: &mut Store) -> Self {
        let Found { newest, last_peer, last_room, unknown_names, rooms, empty_rooms, ran_s: _ } =
            std::mem::take(&mut store.found);
        Chat {
            limits: *limits,
            unknown_names: unknown_names.into_iter().collect(),
            room_creators: rooms.into_iter().collect(),
            emptied_rooms: empty_rooms.into(),
            database: store.database,
            newest,
            last_peer,
            last_room,
            ids: HashMap::new(),
            peers: IdMap::default(),
            room_ids: HashMap::new(),
            rooms: IdMap::default(),
            absent_rooms: HashSet::new(),
            refused_names: HashMap::new(),
            known_ids: HashMap::new(),
            sessions: IdMap::default(),
            subscribers: IdSet::default(),
            presence: RecentPresence::default(),
            dirty_peers: IdSet::default(),
            dirty_sources: IdSet::default(),
            dirty_cursors: IdSet::default(),
            floors: Vec::new(),
            headroom: store.headroom.clone(),
            loudness: Loudness::new(store.max_size_bytes),
            page_queue: VecDeque::new(),
            failed_reads: Vec::new(),
            scans: Scans::default(),
            lists: IdMap::default(),
            online: None,
            budget: OutboxBudget::default(),
            observers: Observers::default(),
        }
    }

    /// Whether a turn must read something: a page of a session, a slice of a scan, or a page of an observer.
    pub(in crate::broker) fn has_pending_reads(&self) -> bool {
        !self.page_queue.is_empty() || !self.scans.is_empty() || self.observers.have_pending_reads()
    }

    /// Whether an announcement of presence is held back.
    pub(in crate::broker) fn holds_presence(&self) -> bool {
        self.presence.holds_any()
    }

    /// Returns the bytes that one outbox may hold, for the connections.
    pub(in crate::broker) fn published_outbox_bytes_max(&self) -> Arc<AtomicUsize> {
        self.budget.published()
    }

    /// Whether there is something to store.
    pub(in crate::broker) fn is_dirty(&self) -> bool {
        let is_dirty = |peers: &IdSet<PeerId>| !peers.is_empty();
        [&self.dirty_peers, &self.dirty_sources, &self.dirty_cursors].into_iter().any(is_dirty)
            || !self.floors.is_empty()
            || self.observers.are_dirty()
    }

    /// Whether a session or an observer waits for something that could not be read.
    pub(in crate::broker) fn has_failed_reads(&self) -> bool {
        !self.failed_reads.is_empty() || self.observers.have_failed_reads()
    }

    /// Queues the reads that failed, again.
    pub(in crate::broker) fn retry_failed_reads(&mut self) {
        self.page_queue.extend(self.failed_reads.drain(..));
        self.observers.retry_failed_reads();
    }

    /// Queues a replaying session for its next page, if it was welcomed and its outbox has room for one.
    pub(super) fn queue_page(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.is_welcomed
            && session.feed == Feed::Replaying
            && !session.awaits_page
            && session.outbox.room_for_page(&self.budget).is_some()
        {
            session.awaits_page = true;
            self.page_queue.push_back(id);
        }
    }

    /// Notes that the name of a peer is used: by a client, a plugin, or a row of the table `outbox`.
    pub(super) fn use_name(&mut self, id: PeerId) {
        let peer = self.peers.get_mut(&id).expect("a peer whose name is used was looked up");
        if !peer.record.seen {
            peer.is_stored = true;
            self.unknown_names.release(&id);
            peer.record.seen = true;
            self.dirty_peers.insert(id);
        }
    }

    /// Adds a session to its peer. Returns whether the peer was offline before.
    pub(super) fn attach(&mut self, session: SessionId, id: PeerId) -> bool {
        let peer = self.peers.get_mut(&id).expect("the peer of a session is in memory");
        let was_offline = !peer.is_online();
        peer.sessions.push(session);
        if was_offline {
            self.online = None;
            self.observers.discard_online();
            for room in peer.rooms.keys() {
                self.rooms.get_mut(room).expect("the rooms of a peer are in memory").online.insert(id);
            }
        }
        was_offline
    }

    /// Removes a session that gets no more messages from its peer. Returns whether the peer is offline now and was online before.
    pub(super) fn detach(&mut self, session: SessionId, id: PeerId) -> bool {
        self.subscribers.remove(&session);
        let peer = self.peers.get_mut(&id).expect("the peer of a session is in memory");
        let was_online = peer.is_online();
        peer.sessions.retain(|other| *other != session);
        if !was_online || peer.is_online() {
            return false;
        }
        self.online = None;
        self.observers.discard_online();
        for room in peer.rooms.keys() {
            self.rooms.get_mut(room).expect("the rooms of a peer are in memory").online.remove(&id);
        }
        true
    }

    /// Returns the number of open sessions of a peer, or of the members of a room.
    pub(super) fn sessions_of(&self, recipient: Recipient) -> usize {
        match recipient {
            Recipient::Peer(peer) => self.peers[&peer].sessions.len(),
            Recipient::Room(room) => self.rooms[&room].online.iter().map(|peer| self.peers[peer].sessions.len()).sum(),
        }
    }

    /// Returns the names of peers that are online, in order.
    pub(super) fn online(&mut self) -> Arc<[PeerName]> {
        if let Some(online) = &self.online {
            return online.clone();
        }
        let online = self.peers.iter().filter(|(_, peer)| peer.is_online()).map(|(id, _)| id);
        self.online.insert(self.names_of(online).into()).clone()
    }

    /// Returns the names of peers, in order.
    pub(super) fn names_of<'a>(&self, peers: impl Iterator<Item = &'a PeerId>) -> Vec<PeerName> {
        let mut names: Vec<_> = peers.map(|peer| self.peers[peer].record.name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// Whether so many offline peers are in memory that some must be evicted.
    pub(in crate::broker) fn has_too_many_peers(&self) -> bool {
        self.peers.len() > self.sessions.len() + OFFLINE_PEERS_CACHED_MAX
    }

    /// Drops the floor of a room that is not stored yet.
    pub(super) fn forget_floor(&mut self, id: RoomId) {
        self.floors.retain(|entry| !matches!(entry, Entry::Floor { room, .. } if *room == id));
    }

    /// Removes offline peers from memory; they are looked up again when they are named. No turn may be in flight, because it may name them.
    pub(in crate::broker) fn evict_offline_peers(&mut self) {
        let with_sessions: IdSet<PeerId> = self.sessions.values().map(|session| session.peer).collect();
        let dirty = [&self.dirty_peers, &self.dirty_sources, &self.dirty_cursors];
        let is_dirty = |id: &PeerId| dirty.iter().any(|peers| peers.contains(id));
        let is_held = |id: &PeerId| self.presence.holds(*id);
        self.peers
            .retain(|id, _| with_sessions.contains(id) || is_dirty(id) || is_held(id) || self.observers.include(*id));
        self.ids.retain(|_, id| self.peers.contains_key(id));
        let rooms: IdSet<RoomId> = self.peers.values().flat_map(|peer| peer.rooms.keys().copied()).collect();
        self.rooms.retain(|id, _| rooms.contains(id));
        self.room_ids.retain(|_, id| rooms.contains(id));
    }
}
