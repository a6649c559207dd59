//! Rooms: who is in them, and who of those is here. Owns what joining and leaving change, and how it is taken back; never what
//! is sent in a room.

use foldhash::HashSet as IdSet;

use super::{Act, Chat, Turn};
use crate::config::Limits;
use crate::limits::ROOMS_PER_PEER_MAX;
use crate::message::{PeerId, PeerName, RequestId, Room, RoomId, Seq, SessionId};
use crate::protocol::{self, Code, Refusal, Reply};
use crate::store::{Entry, FoundRoom, TurnRequest};

/// A room that somebody who is remembered is in, or that was named lately.
#[derive(Debug)]
pub(super) struct RoomHere {
    pub(super) name: Room,
    /// How many are in it, here or not.
    pub(super) members: u64,
    /// Those who are here.
    pub(super) here: IdSet<PeerId>,
}

/// What a turn changes about one peer in one room.
#[derive(Debug)]
pub(super) struct MembershipChange {
    peer: PeerId,
    room: RoomId,
    /// What stood in the peer's `rooms`; `None`: it was not in the room.
    before: Option<Option<Seq>>,
}

impl Chat {
    /// Gets to know a room.
    pub(super) fn meet_room(&mut self, name: Room, found: FoundRoom) {
        self.room_ids.insert(name.clone(), found.id);
        // One that is known already is known better here.
        self.rooms.entry(found.id).or_insert(RoomHere { name, members: found.members, here: IdSet::default() });
    }

    /// Makes a peer a member of a room, which is made if there is none.
    pub(super) fn join_room(
        &mut self,
        session: SessionId,
        id: Option<RequestId>,
        peer: PeerId,
        room: Room,
        turn: &mut Turn,
        request: &mut TurnRequest,
    ) -> Result<Act, Refusal> {
        let found = self.find_room(&room).ok_or_else(|| unreachable_room(&room, "not joined"))?;
        let rooms = &self.peers[&peer].rooms;
        if found.is_some_and(|found| rooms.contains_key(&found)) {
            return Ok(Act::Reply { session, id, reply: Reply::Joined { room } });
        }
        if rooms.len() >= ROOMS_PER_PEER_MAX {
            let words =
                format!("you are in {} rooms, and more than {ROOMS_PER_PEER_MAX} nobody may be in", rooms.len());
            return Err(Refusal::new(Code::BadRequest, words).but("leave one first; not joined"));
        }
        let found = match found {
            Some(found) => found,
            None => self.make_room(room, request)?,
        };
        request.entries.push(Entry::Join { room: found, peer });
        let before = self.change_membership(peer, found, Some(None));
        turn.membership_changes.push(MembershipChange { peer, room: found, before });
        Ok(Act::Join { session, id, peer, room: found })
    }

    /// Ends that a peer is in a room.
    pub(super) fn leave_room(
        &mut self,
        session: SessionId,
        id: Option<RequestId>,
        peer: PeerId,
        room: &Room,
        turn: &mut Turn,
        request: &mut TurnRequest,
    ) -> Result<Act, Refusal> {
        let found = self.membership(peer, room, "nothing was done")?;
        request.entries.push(Entry::Leave { room: found, peer });
        let before = self.change_membership(peer, found, None);
        turn.membership_changes.push(MembershipChange { peer, room: found, before });
        Ok(Act::Leave { session, id, room: found })
    }

    /// The room, if this peer is in it.
    pub(super) fn membership(&self, peer: PeerId, room: &Room, became: &str) -> Result<RoomId, Refusal> {
        let found = self.find_room(room).ok_or_else(|| unreachable_room(room, became))?;
        match found.filter(|found| self.peers[&peer].rooms.contains_key(found)) {
            Some(found) => Ok(found),
            None => Err(self.not_a_member(room, found, became)),
        }
    }

    /// A room that somebody is in, whoever asks.
    pub(super) fn populated_room(&self, room: &Room, became: &str) -> Result<RoomId, Refusal> {
        let found = self.find_room(room).ok_or_else(|| unreachable_room(room, became))?;
        found.filter(|found| self.rooms[found].members > 0).ok_or_else(|| self.not_a_member(room, None, became))
    }

    fn not_a_member(&self, room: &Room, found: Option<RoomId>, became: &str) -> Refusal {
        let is_empty = found.is_none_or(|found| self.rooms[&found].members == 0);
        let words = if is_empty { format!("nobody is in {room}") } else { format!("you are not in {room}") };
        Refusal::new(Code::NotAMember, words).but(became)
    }

    /// The rooms that a peer is in, with who of their members is here.
    pub(super) fn rooms_of(&self, peer: PeerId) -> Vec<protocol::RoomHere> {
        let rooms = self.peers[&peer].rooms.keys().map(|room| &self.rooms[room]);
        let mut rooms: Vec<_> = rooms
            .map(|room| protocol::RoomHere { room: room.name.clone(), here: self.names(room.here.iter()) })
            .collect();
        rooms.sort_unstable_by(|one, other| one.room.cmp(&other.room));
        rooms
    }

    /// The names of these, in order.
    fn names<'a>(&self, peers: impl Iterator<Item = &'a PeerId>) -> Vec<PeerName> {
        let mut names: Vec<_> = peers.map(|peer| self.peers[peer].record.name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// Messages that come from here on are for a new member, unless it has left again.
    pub(super) fn begin_membership(&mut self, peer: PeerId, room: RoomId, joined: Seq) {
        let membership = self.peers.get_mut(&peer).and_then(|peer| peer.rooms.get_mut(&room));
        if let Some(membership) = membership.filter(|membership| membership.is_none()) {
            *membership = Some(joined);
        }
    }

    /// Takes back what a turn changed that was not kept.
    pub(super) fn undo_membership_changes(&mut self, turn: &mut Turn) {
        while let Some(MembershipChange { peer, room, before }) = turn.membership_changes.pop() {
            self.change_membership(peer, room, before);
        }
    }

    /// Forgets a room that was not kept.
    pub(super) fn undo_room(&mut self, id: RoomId, name: &Room) {
        self.rooms.remove(&id);
        self.room_ids.remove(name);
        self.last_room = RoomId::new(self.last_room.get().min(id.get() - 1));
    }

    /// Says what there was before.
    fn change_membership(&mut self, id: PeerId, room: RoomId, now: Option<Option<Seq>>) -> Option<Option<Seq>> {
        let peer = self.peers.get_mut(&id).expect("a member is remembered while it changes");
        let of_room = self.rooms.get_mut(&room).expect("a room is remembered while it changes");
        let before = match now {
            Some(joined) => peer.rooms.insert(room, joined),
            None => peer.rooms.remove(&room),
        };
        of_room.members = of_room.members + u64::from(now.is_some()) - u64::from(before.is_some());
        if now.is_some() && peer.is_here() {
            of_room.here.insert(id);
        } else {
            of_room.here.remove(&id);
        }
        before
    }

    /// `None`: it could not be looked up. `Some(None)`: there is no such room.
    fn find_room(&self, room: &Room) -> Option<Option<RoomId>> {
        match self.room_ids.get(room) {
            Some(id) => Some(Some(*id)),
            None => self.absent_rooms.contains(room).then_some(None),
        }
    }

    fn make_room(&mut self, name: Room, request: &mut TurnRequest) -> Result<RoomId, Refusal> {
        let rooms_max = Limits::or_none(self.limits.rooms_max);
        if self.last_room.get().cast_unsigned() >= rooms_max {
            let words = format!("there are {} rooms, and rooms_max is {rooms_max}; not joined", self.last_room);
            return Err(Refusal::new(Code::StorageFull, words));
        }
        self.last_room = self.last_room.next();
        request.entries.push(Entry::Room { id: self.last_room, name: name.clone() });
        self.meet_room(name, FoundRoom { id: self.last_room, members: 0 });
        Ok(self.last_room)
    }
}

fn unreachable_room(room: &Room, became: &str) -> Refusal {
    Refusal::new(Code::Internal, format!("{room} cannot be looked up now, the log says why; {became}"))
}
