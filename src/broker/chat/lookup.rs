//! Lookup of the names and ids that a turn needs: collects those that are not in memory, and adds the store's answer to the memory. Owns
//! this cache's growth; never uses a name or id itself.

use std::collections::{HashMap, HashSet};

use foldhash::{HashMap as IdMap, HashSet as IdSet};

use super::mailbox;
use super::rooms::{Member, RoomState};
use super::state::{Chat, KnownId, Peer};
use crate::message::{Destination, PeerId, PeerName, RequestId, Room, RoomId, Seq, SessionId};
use crate::protocol::{Code, Refusal};
use crate::store::{FoundPeer, FoundRoom, LookedUp, Lookup, PeerRecord};

/// Collects what must be looked up for a turn.
pub(super) struct LookupBuilder<'a> {
    chat: &'a Chat,
    /// Names of sessions that log in with this turn.
    joining: HashMap<SessionId, &'a PeerName>,
    /// Names of peers and rooms in `lookup`.
    listed: HashSet<&'a str>,
    /// Number of names after which no more are added.
    names_max: usize,
    lookup: Lookup,
}

impl<'a> LookupBuilder<'a> {
    pub(super) fn new(chat: &'a Chat) -> Self {
        let lookup = Lookup { sampled_above: chat.half_a_mailbox(), ..Lookup::default() };
        LookupBuilder { chat, joining: HashMap::new(), listed: HashSet::new(), names_max: usize::MAX, lookup }
    }

    /// Returns a builder that only counts names, up to this number.
    pub(super) fn counting(chat: &'a Chat, names_max: usize) -> Self {
        LookupBuilder { names_max, ..LookupBuilder::new(chat) }
    }

    /// Adds a client that logs in.
    pub(super) fn login(&mut self, session: SessionId, name: &'a PeerName) {
        self.joining.insert(session, name);
        self.peer(name);
    }

    /// Adds the destinations of a message.
    pub(super) fn destinations(&mut self, to: &'a [Destination]) {
        to.iter().for_each(|destination| self.destination(destination));
    }

    /// Adds a peer or a room.
    pub(super) fn destination(&mut self, destination: &'a Destination) {
        match destination {
            Destination::Peer(name) => self.peer(name),
            Destination::Room(room) => self.room(room),
        }
    }

    /// Adds a peer, unless it is in memory.
    pub(super) fn peer(&mut self, name: &'a PeerName) {
        if self.names() < self.names_max && !self.chat.ids.contains_key(name) && self.listed.insert(name.as_str()) {
            self.lookup.peers.push(name.clone());
        }
    }

    /// Adds a room, unless it is in memory.
    pub(super) fn room(&mut self, room: &'a Room) {
        if self.names() < self.names_max && !self.chat.room_ids.contains_key(room) && self.listed.insert(room.as_str())
        {
            self.lookup.rooms.push(room.clone());
        }
    }

    /// Adds the id of a message. An id that occurs twice in a turn is looked up twice, with the same result.
    pub(super) fn sent_id(&mut self, session: SessionId, id: &RequestId) {
        let known = self.chat.sessions.get(&session).map(|session| &self.chat.peers[&session.peer].record.name);
        if let Some(name) = known.or(self.joining.get(&session).copied()) {
            self.lookup.ids.push((name.clone(), id.clone()));
        }
    }

    /// Number of names of peers and rooms.
    pub(super) fn names(&self) -> usize {
        self.lookup.peers.len() + self.lookup.rooms.len()
    }

    /// Requires that the peers added so far are looked up, however long that takes.
    pub(super) fn require_all(&mut self) {
        self.lookup.peers_min = self.lookup.peers.len();
    }

    /// Returns the names of peers.
    pub(super) fn into_peers(self) -> Vec<PeerName> {
        self.lookup.peers
    }

    pub(super) fn finish(self) -> Lookup {
        self.lookup
    }
}

impl Chat {
    /// Adds the result of a lookup to the memory. Returns the peers that the store did not look up, because that would have taken too long.
    pub(in crate::broker) fn add_looked_up(&mut self, mut lookup: Lookup, found: LookedUp) -> HashSet<PeerName> {
        let LookedUp { peers, rooms, ids, unreadable, .. } = found;
        let unresolved = lookup.peers.split_off(peers.len()).into_iter().collect();
        // What cannot be read stays unknown, so that requests that name it are refused.
        let is_readable = |name: &str| !unreadable.contains(name);
        for (name, found) in lookup.peers.into_iter().zip(peers).filter(|(name, _)| is_readable(name.as_str())) {
            match name.check_new() {
                Err(bad) if found.is_none() => drop(self.refused_names.insert(name, bad)),
                _ => self.add_peer(name, found),
            }
        }
        for (name, found) in lookup.rooms.into_iter().zip(rooms).filter(|(name, _)| is_readable(name.as_str())) {
            match found {
                Some(found) => self.add_room(name, found),
                None => drop(self.absent_rooms.insert(name)),
            }
        }
        for ((sender, id), found) in lookup.ids.into_iter().zip(ids) {
            // A name that may not be new has no id.
            let Some(sender) = self.ids.get(&sender).copied() else { continue };
            self.known_ids.insert((sender, id), found.map_or(KnownId::New, KnownId::Before));
        }
        unresolved
    }

    fn add_peer(&mut self, name: PeerName, found: Option<FoundPeer>) {
        let is_stored = found.is_some();
        let FoundPeer { record, waiting, senders, source, rooms, password } =
            found.unwrap_or_else(|| self.new_peer(name));
        assert!(record.id <= self.last_peer, "the store has no peer with an id that was not given");
        self.ids.insert(record.name.clone(), record.id);
        let mut peer = Peer {
            record,
            is_stored,
            sessions: Vec::new(),
            rooms: IdMap::default(),
            addressed: waiting,
            delivered: 0,
            senders: mailbox::sampled(&senders, waiting),
            source,
            password,
            is_plugin: false,
            is_estimated: false,
        };
        for membership in rooms {
            peer.rooms.insert(membership.room.id, Member::stored(membership.joined));
            self.add_room(membership.name, membership.room);
        }
        self.peers.insert(peer.record.id, Box::new(peer));
    }

    fn new_peer(&mut self, name: PeerName) -> FoundPeer {
        self.last_peer = PeerId::new(self.last_peer.get() + 1);
        let record = PeerRecord { id: self.last_peer, name, seen: false, cursor: Seq::ZERO };
        FoundPeer { record, waiting: 0, senders: Vec::new(), source: None, rooms: Vec::new(), password: None }
    }

    /// Adds a room to the memory, unless it is there.
    pub(super) fn add_room(&mut self, name: Room, found: FoundRoom) {
        self.room_ids.insert(name.clone(), found.id);
        // A room that is in memory already may hold uncommitted changes.
        let FoundRoom { id, members, topic } = found;
        self.rooms.entry(id).or_insert(RoomState { name, members, online: IdSet::default(), topic });
    }

    /// Returns the id of a peer that was looked up. Fails if the lookup failed, or if the name is new and may not be; `outcome` says what that means for the request.
    pub(super) fn find_peer(&self, name: &PeerName, outcome: &str) -> Result<PeerId, Refusal> {
        self.ids.get(name).copied().ok_or_else(|| match self.refused_names.get(name) {
            Some(bad) => Refusal::new(Code::BadName, bad.to_string()).with_outcome(outcome),
            None => not_looked_up(name.as_str(), outcome),
        })
    }

    /// Returns the id of a room that was looked up, if it exists. Fails if the lookup failed; `outcome` says what that means for the
    /// request.
    pub(super) fn find_room(&self, room: &Room, outcome: &str) -> Result<Option<RoomId>, Refusal> {
        match self.room_ids.get(room) {
            Some(id) => Ok(Some(*id)),
            None if self.absent_rooms.contains(room) => Ok(None),
            None => Err(not_looked_up(room.as_str(), outcome)),
        }
    }
}

fn not_looked_up(name: &str, outcome: &str) -> Refusal {
    Refusal::new(Code::Internal, format!("{name} cannot be looked up now, the server's log says why; {outcome}"))
}
