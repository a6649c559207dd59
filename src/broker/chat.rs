//! Who is here, what each feed does next, and what a turn appends: plain functions of state and event, in two halves.
//! [`decide`] takes a turn's events and says what the store is to do; [`deliver`] takes what became of it. The next turn
//! may be decided before one is delivered. Owns the state of the chat; never waits, never reads a clock.

mod acks;
mod decide;
mod deliver;
mod encoded;
mod observers;
mod requests;
mod rooms;
mod searches;
mod send;
mod turn;

use std::collections::{HashMap, HashSet, VecDeque};

use foldhash::{HashMap as IdMap, HashSet as IdSet};
use smol::lock::SemaphoreGuardArc;

use self::acks::Acks;
use self::observers::Observers;
use self::rooms::{Member, RoomHere};
use self::searches::Searches;
use self::send::KnownId;
use self::turn::{Greeting, Requester};
pub(super) use self::turn::{Turn, TurnBuilder};
use super::outbox::Outbox;
use super::post::ReadPost;
use super::{EndReason, Event};
use crate::config::Limits;
use crate::limits::ABSENT_PEERS_MAX;
use crate::message::{Destination, PeerId, PeerName, RequestId, Room, RoomId, Seq, SessionId};
use crate::protocol::{Code, Refusal, Reply, Request, SessionEncoder};
use crate::store::{Found, FoundPeer, LookedUp, Lookup, PastPage, PeerRecord, ReadReceiver};

/// The state of the chat.
#[derive(Debug)]
pub(super) struct Chat {
    /// What others may take up.
    limits: Limits,
    /// How many names there are that nobody ever logged in by, and for which messages wait.
    unknown_names: u64,
    /// The newest committed message.
    newest: Seq,
    /// The highest id given to a peer.
    last_peer: PeerId,
    /// The highest id given to a room.
    last_room: RoomId,
    /// The peers in `peers`, by name. Clients choose names, so these are hashed with a secret key; ids are ours.
    ids: HashMap<PeerName, PeerId>,
    /// Everyone who is here, and those absent ones who were named lately.
    peers: IdMap<PeerId, Peer>,
    /// The rooms in `rooms`, by name.
    room_ids: HashMap<Room, RoomId>,
    /// The rooms of everyone in `peers`, and those that were named lately.
    rooms: IdMap<RoomId, RoomHere>,
    /// Rooms that are named in the turn that is being decided, and do not exist.
    absent_rooms: HashSet<Room>,
    /// Ids of messages in the turn that is being decided.
    known_ids: HashMap<(PeerId, RequestId), KnownId>,
    /// Every connection that has logged in and not left.
    sessions: IdMap<SessionId, Session>,
    /// Those of them that were welcomed and want announcements.
    subscribers: IdSet<SessionId>,
    /// Peers of which something is to be kept before the next message is.
    dirty_peers: IdSet<PeerId>,
    /// Peers whose cursor moved; that is no promise, and can wait.
    dirty_cursors: IdSet<PeerId>,
    /// Replaying sessions that are to have a page, in this order. One that has left may still stand here.
    page_queue: VecDeque<SessionId>,
    /// Replaying sessions whose page could not be read: tried again when something happens, or after a while.
    failed_reads: Vec<SessionId>,
    /// Searches that are not answered yet.
    searches: Searches,
    /// Those who observe from inside.
    observers: Observers,
}

/// A peer, here or absent.
#[derive(Debug)]
struct Peer {
    record: PeerRecord,
    /// Whether the store knows it, or will with the next turn.
    is_kept: bool,
    /// Its open sessions, in the order of their logins; it is here while there is one.
    sessions: Vec<SessionId>,
    /// The rooms that it is in, by what is committed or by what is decided.
    rooms: IdMap<RoomId, Member>,
    /// Messages addressed to it directly, counted from when it was looked up: those that waited then come first.
    addressed: u64,
    /// How many of those are delivered.
    delivered: u64,
    /// Whether it lives inside: nobody observes what happens to it.
    is_plugin: bool,
}

impl Peer {
    fn is_here(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// Messages that were addressed to it directly and are not delivered.
    fn waiting(&self) -> u64 {
        // People may add and remove rows with sqlite3: what was counted may be off until the peer is looked up again.
        self.addressed.saturating_sub(self.delivered)
    }
}

/// One connection of a peer.
#[derive(Debug)]
struct Session {
    peer: PeerId,
    /// Encodes what is put into the outbox; with what the client declared.
    encoder: SessionEncoder,
    outbox: Outbox,
    feed: Feed,
    /// Every message for the peer up to here was put into the outbox, or had been delivered before.
    fed: Seq,
    /// How many of the peer's `addressed` were put into the outbox, or had been delivered before.
    counted: u64,
    /// How many of the peer's `addressed` are delivered, seen from this session.
    delivered: u64,
    /// What it has not acknowledged, where the client itself says what it has.
    acks: Option<Box<Acks>>,
    /// Set when no more requests come: the session is closed once it is fed up to here.
    ends_at: Option<Seq>,
    /// Held back while the client does not take what it is answered, or while it waits for what it searches.
    permit: Option<SemaphoreGuardArc>,
    /// Waits for the answer of a search.
    is_searching: bool,
    /// Is to have a page: stands in `page_queue` or `failed_reads`, or in a turn that is under way.
    awaits_page: bool,
    /// Something was appended to its outbox in this turn.
    is_in_batch: bool,
}

/// How a session gets its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feed {
    /// From the log, page by page.
    Replaying,
    /// From each turn, as it commits.
    Live,
}

/// Step that completes a request, or announces something, when a turn is delivered.
#[derive(Debug)]
enum Completion {
    /// Feed the next message of the turn to its recipients, and notify its sender, if it has a session.
    Send { requester: Option<Requester>, notes: Vec<Note> },
    /// Acknowledge the message at index `nth` of this turn again.
    Repeat { requester: Requester, nth: usize },
    /// Reply.
    Reply { requester: Requester, reply: Reply },
    /// Reply with the messages that were read.
    History { requester: Requester, page: ReadReceiver<PastPage> },
    /// Reply that the peer is in a room.
    Join { requester: Requester, room: RoomId },
    /// Reply that the peer has left a room.
    Leave { requester: Requester, room: RoomId },
    /// Reply that a value is stored.
    SetValue { requester: Requester, key: String },
    /// Reply with the values that were read.
    Values { requester: Requester, values: ReadReceiver<Vec<(String, String)>> },
    /// Announce that a peer came online or went offline.
    Presence { name: PeerName, here: bool },
    /// End a session once it has got all messages that wait for it.
    End { session: SessionId, reason: EndReason },
}

/// What people are told about a message that they sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Note {
    /// It is kept for one who is away.
    Kept(PeerId),
    /// Nobody else is in a room.
    Alone(RoomId),
}

impl Chat {
    pub(super) fn new(limits: &Limits, found: Found) -> Self {
        let Found { newest, last_peer, last_room, unknown_names } = found;
        Chat {
            limits: *limits,
            unknown_names,
            newest,
            last_peer,
            last_room,
            ids: HashMap::new(),
            peers: IdMap::default(),
            room_ids: HashMap::new(),
            rooms: IdMap::default(),
            absent_rooms: HashSet::new(),
            known_ids: HashMap::new(),
            sessions: IdMap::default(),
            subscribers: IdSet::default(),
            dirty_peers: IdSet::default(),
            dirty_cursors: IdSet::default(),
            page_queue: VecDeque::new(),
            failed_reads: Vec::new(),
            searches: Searches::default(),
            observers: Observers::default(),
        }
    }

    /// Whether somebody waits for something that is to be read: a page, what was searched, or what is observed.
    pub(super) fn wants_reads(&self) -> bool {
        !self.page_queue.is_empty() || !self.searches.is_empty() || self.observers.want_reads()
    }

    /// Whether something of a peer is to be kept.
    pub(super) fn has_changed(&self) -> bool {
        !self.dirty_peers.is_empty() || !self.dirty_cursors.is_empty() || self.observers.have_changed()
    }

    /// Whether somebody waits for a page that could not be read.
    pub(super) fn has_failed_reads(&self) -> bool {
        !self.failed_reads.is_empty() || self.observers.have_failed_reads()
    }

    /// Pages that could not be read are asked for again.
    pub(super) fn retry_failed_reads(&mut self) {
        self.page_queue.extend(self.failed_reads.drain(..));
        self.observers.retry_failed_reads();
    }

    /// Who and what is named in these events and not known here, each once.
    pub(super) fn lookup(&self, events: &[Event], posts: &[ReadPost]) -> Lookup {
        let mut lookup =
            LookupBuilder { chat: self, joining: HashMap::new(), listed: HashSet::new(), lookup: Lookup::default() };
        for event in events {
            lookup.add_event(event);
        }
        for post in posts {
            lookup.add_post(post);
        }
        lookup.lookup
    }

    /// Gets to know strangers, by what the store found of each.
    pub(super) fn meet(&mut self, lookup: Lookup, found: LookedUp) {
        for (name, found) in lookup.peers.into_iter().zip(found.peers) {
            self.meet_peer(name, found);
        }
        for (name, found) in lookup.rooms.into_iter().zip(found.rooms) {
            match found {
                Some(found) => self.meet_room(name, found),
                None => drop(self.absent_rooms.insert(name)),
            }
        }
        for ((sender, id), found) in lookup.ids.into_iter().zip(found.ids) {
            let sender = self.ids[&sender];
            self.known_ids.insert((sender, id), found.map_or(KnownId::New, KnownId::Before));
        }
    }

    fn meet_peer(&mut self, name: PeerName, found: Option<FoundPeer>) {
        let is_kept = found.is_some();
        let FoundPeer { record, waiting, rooms } = found.unwrap_or_else(|| self.new_peer(name));
        assert!(record.id <= self.last_peer, "the store knows no id that was not given");
        self.ids.insert(record.name.clone(), record.id);
        let mut peer = Peer {
            record,
            is_kept,
            sessions: Vec::new(),
            rooms: IdMap::default(),
            addressed: waiting,
            delivered: 0,
            is_plugin: false,
        };
        for membership in rooms {
            peer.rooms.insert(membership.room.id, Member::kept(membership.joined));
            self.meet_room(membership.name, membership.room);
        }
        self.peers.insert(peer.record.id, peer);
    }

    fn new_peer(&mut self, name: PeerName) -> FoundPeer {
        self.last_peer = PeerId::new(self.last_peer.get() + 1);
        let record = PeerRecord { id: self.last_peer, name, seen: false, cursor: Seq::ZERO };
        FoundPeer { record, waiting: 0, rooms: Vec::new() }
    }

    /// Lets a replaying session have its next page, if it has room for one.
    fn feed_again(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.feed == Feed::Replaying && !session.awaits_page && session.outbox.has_room_for_page() {
            session.awaits_page = true;
            self.page_queue.push_back(id);
        }
    }

    /// A session is there for its peer. Says whether the peer was absent before.
    fn attach(&mut self, session: SessionId, id: PeerId) -> bool {
        let peer = self.peers.get_mut(&id).expect("a session's peer is remembered");
        let was_absent = !peer.is_here();
        peer.sessions.push(session);
        if was_absent {
            self.observers.forget_who_is_here();
            for room in peer.rooms.keys() {
                self.rooms.get_mut(room).expect("a peer's rooms are remembered").here.insert(id);
            }
        }
        was_absent
    }

    /// A session that gets no more messages makes its peer absent, unless there is another. Says whether it did.
    fn detach(&mut self, session: SessionId, id: PeerId) -> bool {
        self.subscribers.remove(&session);
        let peer = self.peers.get_mut(&id).expect("a session's peer is remembered");
        let was_here = peer.is_here();
        peer.sessions.retain(|other| *other != session);
        if !was_here || peer.is_here() {
            return false;
        }
        self.observers.forget_who_is_here();
        for room in peer.rooms.keys() {
            self.rooms.get_mut(room).expect("a peer's rooms are remembered").here.remove(&id);
        }
        true
    }

    /// Whether it is time to forget some absent peers.
    pub(super) fn remembers_too_many(&self) -> bool {
        self.peers.len() > self.sessions.len() + ABSENT_PEERS_MAX
    }

    /// Forgets who is absent; they are looked up again when they are named. No turn may be under way: it names them.
    pub(super) fn forget_absent(&mut self) {
        let spoken_for: IdSet<PeerId> = self.sessions.values().map(|session| session.peer).collect();
        let is_to_be_kept = |id: &PeerId| self.dirty_peers.contains(id) || self.dirty_cursors.contains(id);
        self.peers.retain(|id, _| spoken_for.contains(id) || is_to_be_kept(id) || self.observers.include(*id));
        self.ids.retain(|_, id| self.peers.contains_key(id));
        let rooms: IdSet<RoomId> = self.peers.values().flat_map(|peer| peer.rooms.keys().copied()).collect();
        self.rooms.retain(|id, _| rooms.contains(id));
        self.room_ids.retain(|_, id| rooms.contains(id));
    }
}

/// What is to be looked up for a turn.
struct LookupBuilder<'a> {
    chat: &'a Chat,
    /// The names of sessions that log in with this turn.
    joining: HashMap<SessionId, &'a PeerName>,
    /// Peers and rooms in `lookup`.
    listed: HashSet<&'a str>,
    lookup: Lookup,
}

impl<'a> LookupBuilder<'a> {
    fn add_event(&mut self, event: &'a Event) {
        match event {
            Event::Join { session, name, .. } => {
                self.joining.insert(*session, name);
                self.peer(name);
            }
            Event::Requests { session, requests, .. } => {
                for asked in requests {
                    match &asked.request {
                        Request::Send { to, .. } => to.iter().for_each(|destination| self.destination(destination)),
                        Request::Filtered { outcome: Ok(draft), .. } => {
                            draft.to.iter().for_each(|destination| self.destination(destination));
                        }
                        Request::History { with: Some(with), .. } => self.destination(with),
                        Request::Join { room } | Request::Leave { room } => self.room(room),
                        _ => {}
                    }
                    if let (Request::Send { .. } | Request::Filtered { .. }, Some(id)) = (&asked.request, &asked.id) {
                        self.id(*session, id);
                    }
                }
            }
            Event::Observe { observer, .. } => self.peer(observer),
            Event::DeliveryReport { .. } | Event::End { .. } | Event::Leave { .. } => {}
            Event::OutboxTouched | Event::ObserverAdvanced { .. } | Event::Observers { .. } => {}
        }
    }

    fn add_post(&mut self, post: &'a ReadPost) {
        if let Ok(message) = &post.message {
            self.peer(&message.sender);
            message.to.iter().for_each(|destination| self.destination(destination));
        }
    }

    fn destination(&mut self, destination: &'a Destination) {
        match destination {
            Destination::Peer(name) => self.peer(name),
            Destination::Room(room) => self.room(room),
        }
    }

    fn peer(&mut self, name: &'a PeerName) {
        if !self.chat.ids.contains_key(name) && self.listed.insert(name.as_str()) {
            self.lookup.peers.push(name.clone());
        }
    }

    fn room(&mut self, room: &'a Room) {
        if !self.chat.room_ids.contains_key(room) && self.listed.insert(room.as_str()) {
            self.lookup.rooms.push(room.clone());
        }
    }

    /// An id that stands in a turn twice is looked up twice, and found the same.
    fn id(&mut self, session: SessionId, id: &RequestId) {
        let known = self.chat.sessions.get(&session).map(|session| &self.chat.peers[&session.peer].record.name);
        if let Some(name) = known.or(self.joining.get(&session).copied()) {
            self.lookup.ids.push((name.clone(), id.clone()));
        }
    }
}

fn unreachable_peer(name: &PeerName, outcome: &str) -> Refusal {
    Refusal::new(Code::Internal, format!("{name} cannot be looked up now, the log says why; {outcome}"))
}
