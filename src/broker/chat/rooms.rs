//! Rooms: who is in them, and who of those is here. Owns what joining and leaving change, and how it is taken back; never what
//! is sent in a room.

use foldhash::HashSet as IdSet;

use super::{Chat, Completion, Requester, Turn, TurnBuilder};
use crate::config::Limits;
use crate::limits::ROOMS_PER_PEER_MAX;
use crate::message::{PeerId, PeerName, Room, RoomId, Seq};
use crate::protocol::{self, Code, Refusal, Reply};
use crate::store::{Entry, FoundRoom, TurnOutcome};

/// A room that somebody who is remembered is in, or that was named lately.
#[derive(Debug)]
pub(super) struct RoomHere {
    pub(super) name: Room,
    /// How many are in it, here or not.
    pub(super) members: u64,
    /// Those who are here, by what is committed or by what is decided.
    pub(super) here: IdSet<PeerId>,
}

/// A peer in a room. What is decided is not known to be committed until the next turn is decided; and what was committed
/// before is delivered after that.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Member {
    /// The newest message when it joined, if it is in the room by what is committed.
    joined: Option<Seq>,
    /// Whether it is in the room by what is decided.
    is_in: bool,
}

impl Member {
    /// One who joined behind this message.
    pub(super) fn kept(joined: Seq) -> Self {
        Member { joined: Some(joined), is_in: true }
    }

    /// Whether a message that was committed into the room is for it.
    pub(super) fn is_reached_by(self, seq: Seq) -> bool {
        self.joined.is_some_and(|joined| joined < seq)
    }
}

/// What a turn changes about one peer in one room.
#[derive(Debug)]
pub(super) struct MembershipChange {
    peer: PeerId,
    room: RoomId,
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
        requester: &Requester,
        room: Room,
        turn: &mut TurnBuilder,
    ) -> Result<(), Refusal> {
        let peer = requester.peer;
        let found = self.find_room(&room).ok_or_else(|| unreachable_room(&room, "not joined"))?;
        if let Some(room) = found.filter(|found| self.is_in(peer, *found)) {
            self.join_again(requester.clone(), room, turn);
            return Ok(());
        }
        let rooms = self.peers[&peer].rooms.values().filter(|member| member.is_in).count();
        if rooms >= ROOMS_PER_PEER_MAX {
            let words = format!("you are in {rooms} rooms, and more than {ROOMS_PER_PEER_MAX} nobody may be in");
            return Err(Refusal::new(Code::BadRequest, words).with_outcome("leave one first; not joined"));
        }
        let found = match found {
            Some(found) => found,
            None => self.make_room(room, turn)?,
        };
        turn.write(Entry::Join { room: found, peer });
        self.change_membership(peer, found, true);
        turn.change_membership(MembershipChange { peer, room: found });
        turn.complete(Completion::Join { requester: requester.clone(), room: found });
        Ok(())
    }

    /// Where it joined in this very turn, that is not committed yet.
    fn join_again(&self, requester: Requester, room: RoomId, turn: &mut TurnBuilder) {
        if self.peers[&requester.peer].rooms[&room].joined.is_none() {
            turn.complete(Completion::Join { requester, room });
        } else {
            turn.reply(requester, Reply::Joined { room: self.rooms[&room].name.clone() });
        }
    }

    /// Ends that a peer is in a room.
    pub(super) fn leave_room(
        &mut self,
        requester: &Requester,
        room: &Room,
        turn: &mut TurnBuilder,
    ) -> Result<(), Refusal> {
        let peer = requester.peer;
        let found = self.membership(peer, room, "nothing was done")?;
        turn.write(Entry::Leave { room: found, peer });
        self.change_membership(peer, found, false);
        turn.change_membership(MembershipChange { peer, room: found });
        turn.complete(Completion::Leave { requester: requester.clone(), room: found });
        Ok(())
    }

    /// The room, if this peer is in it.
    pub(super) fn membership(&self, peer: PeerId, room: &Room, outcome: &str) -> Result<RoomId, Refusal> {
        let found = self.find_room(room).ok_or_else(|| unreachable_room(room, outcome))?;
        match found.filter(|found| self.is_in(peer, *found)) {
            Some(found) => Ok(found),
            None => Err(self.not_a_member(room, found, outcome)),
        }
    }

    /// Whether a peer is in a room, by what is decided.
    pub(super) fn is_in(&self, peer: PeerId, room: RoomId) -> bool {
        self.peers[&peer].rooms.get(&room).is_some_and(|member| member.is_in)
    }

    /// A room that somebody is in, whoever asks.
    pub(super) fn populated_room(&self, room: &Room, outcome: &str) -> Result<RoomId, Refusal> {
        let found = self.find_room(room).ok_or_else(|| unreachable_room(room, outcome))?;
        found.filter(|found| self.rooms[found].members > 0).ok_or_else(|| self.not_a_member(room, None, outcome))
    }

    fn not_a_member(&self, room: &Room, found: Option<RoomId>, outcome: &str) -> Refusal {
        let is_empty = found.is_none_or(|found| self.rooms[&found].members == 0);
        let words = if is_empty { format!("nobody is in {room}") } else { format!("you are not in {room}") };
        Refusal::new(Code::NotAMember, words).with_outcome(outcome)
    }

    /// The rooms that a peer is in, with who of their members is here.
    pub(super) fn rooms_of(&self, peer: PeerId) -> Vec<protocol::RoomHere> {
        let rooms = self.peers[&peer].rooms.iter().filter(|(_, member)| member.is_in);
        let mut rooms: Vec<_> = rooms
            .map(|(id, _)| (id, &self.rooms[id]))
            .map(|(id, RoomHere { name, here, .. })| {
                let here = self.names(here.iter().filter(|peer| self.is_in(**peer, *id)));
                protocol::RoomHere { room: name.clone(), here }
            })
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

    /// What a turn changed is committed: who joined gets what is behind that in the log, and who left gets nothing more. It must
    /// be known before the next turn is decided.
    pub(in crate::broker) fn keep_membership_changes(&mut self, turn: &mut Turn, outcome: &TurnOutcome) {
        if turn.membership_changes.is_empty() {
            return;
        }
        let mut newest = outcome.before;
        for entry in &outcome.entries {
            match entry {
                Entry::Message { .. } => newest = newest.next(),
                Entry::Join { room, peer } => self.member(*peer, *room).joined = Some(newest),
                Entry::Leave { room, peer } => self.member(*peer, *room).joined = None,
                _ => {}
            }
        }
        self.settle_membership_changes(turn);
    }

    /// Who is in a room is who is by what is committed: what a turn changed and could not keep is taken back.
    pub(super) fn settle_membership_changes(&mut self, turn: &mut Turn) {
        for MembershipChange { peer, room } in std::mem::take(&mut turn.membership_changes) {
            let is_in = self.member(peer, room).joined.is_some();
            self.change_membership(peer, room, is_in);
            if !is_in {
                self.peers.get_mut(&peer).expect("a member is remembered while it changes").rooms.remove(&room);
                self.rooms.get_mut(&room).expect("a room is remembered while it changes").here.remove(&peer);
            }
        }
    }

    /// Forgets a room that was not kept.
    pub(super) fn undo_room(&mut self, id: RoomId, name: &Room) {
        self.rooms.remove(&id);
        self.room_ids.remove(name);
        self.last_room = RoomId::new(self.last_room.get().min(id.get() - 1));
    }

    fn change_membership(&mut self, id: PeerId, room: RoomId, is_in: bool) {
        let was_in = std::mem::replace(&mut self.member(id, room).is_in, is_in);
        let of_room = self.rooms.get_mut(&room).expect("a room is remembered while it changes");
        of_room.members = of_room.members + u64::from(is_in) - u64::from(was_in);
        if self.peers[&id].is_here() {
            of_room.here.insert(id);
        }
    }

    fn member(&mut self, peer: PeerId, room: RoomId) -> &mut Member {
        self.peers.get_mut(&peer).expect("a member is remembered while it changes").rooms.entry(room).or_default()
    }

    /// `None`: it could not be looked up. `Some(None)`: there is no such room.
    fn find_room(&self, room: &Room) -> Option<Option<RoomId>> {
        match self.room_ids.get(room) {
            Some(id) => Some(Some(*id)),
            None => self.absent_rooms.contains(room).then_some(None),
        }
    }

    fn make_room(&mut self, name: Room, turn: &mut TurnBuilder) -> Result<RoomId, Refusal> {
        let rooms_max = Limits::or_none(self.limits.rooms_max);
        if self.last_room.get().cast_unsigned() >= rooms_max {
            let words = format!("there are {} rooms, and rooms_max is {rooms_max}; not joined", self.last_room);
            return Err(Refusal::new(Code::StorageFull, words));
        }
        self.last_room = self.last_room.next();
        turn.write(Entry::Room { id: self.last_room, name: name.clone() });
        self.meet_room(name, FoundRoom { id: self.last_room, members: 0 });
        Ok(self.last_room)
    }
}

fn unreachable_room(room: &Room, outcome: &str) -> Refusal {
    Refusal::new(Code::Internal, format!("{room} cannot be looked up now, the log says why; {outcome}"))
}
