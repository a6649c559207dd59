//! Membership in rooms: which rooms a peer is a member of, and the changes that a turn makes. Owns how a change is applied or reverted once
//! the outcome of its turn is known; never handles messages.

use super::rooms::{Member, MembershipChange, RoomState};
use super::state::Chat;
use super::turn::{Turn, TurnBuilder};
use crate::limits::EMPTIED_ROOMS_MAX;
use crate::message::{PeerId, Room, RoomId};
use crate::protocol::{Code, Refusal};
use crate::store::{Entry, TurnOutcome};

impl Chat {
    /// Returns a room that the peer is a member of. Fails if it is not; `outcome` says what that means for the request.
    pub(super) fn membership(&self, peer: PeerId, room: &Room, outcome: &str) -> Result<RoomId, Refusal> {
        let found = self.find_room(room, outcome)?.filter(|found| self.is_member(peer, *found));
        found.ok_or_else(|| Refusal::new(Code::NotAMember, format!("you are not in {room}; {outcome}")))
    }

    /// Returns a room that has members. Fails if it has none; `outcome` says what that means for the request.
    pub(super) fn populated_room(&self, room: &Room, outcome: &str) -> Result<RoomId, Refusal> {
        let found = self.find_room(room, outcome)?.filter(|found| self.rooms[found].members > 0);
        found.ok_or_else(|| Refusal::new(Code::NotAMember, format!("{room} has no members; {outcome}")))
    }

    /// Whether a peer is a member of a room, including turns in flight.
    pub(super) fn is_member(&self, peer: PeerId, room: RoomId) -> bool {
        self.peers[&peer].rooms.get(&room).is_some_and(|member| member.is_in)
    }

    /// Whether a peer is a member of a room, without turns in flight.
    pub(super) fn is_committed_member(&self, peer: PeerId, room: RoomId) -> bool {
        self.peers[&peer].rooms.get(&room).is_some_and(|member| member.joined.is_some())
    }

    /// Returns the rooms that a peer is a member of, without turns in flight, in the order of their names.
    pub(super) fn rooms_of(&self, peer: PeerId) -> Vec<RoomId> {
        let rooms = self.peers[&peer].rooms.keys().copied();
        let mut rooms: Vec<_> = rooms.filter(|room| self.is_committed_member(peer, *room)).collect();
        rooms.sort_unstable_by(|one, other| self.rooms[one].name.cmp(&self.rooms[other].name));
        rooms
    }

    /// Makes a peer a member of a room, or ends its membership, with this turn.
    pub(super) fn change_membership(&mut self, peer: PeerId, room: RoomId, is_in: bool, turn: &mut TurnBuilder) {
        turn.write(if is_in { Entry::Join { room, peer } } else { Entry::Leave { room, peer } });
        self.set_membership(peer, room, is_in);
        turn.change_membership(MembershipChange { peer, room });
    }

    /// Applies the memberships that a turn committed: a new member gets the messages after its join in the log, a former member
    /// gets no more. Must be called before the next turn is decided.
    pub(in crate::broker) fn apply_room_changes(&mut self, turn: &mut Turn, outcome: &TurnOutcome) {
        if !turn.is_awaited() {
            return;
        }
        let mut newest = outcome.before;
        for entry in &outcome.entries {
            match entry {
                Entry::Message { .. } => newest = newest.next(),
                Entry::Join { room, peer } => self.member(*peer, *room).joined = Some(newest),
                Entry::Leave { room, peer } => self.member(*peer, *room).joined = None,
                Entry::RemoveRoom { room } => drop(self.remove_room(*room)),
                Entry::Account { peer, password, .. } => self.apply_account(*peer, password.clone()),
                _ => {}
            }
        }
        self.settle_membership_changes(turn);
        let left = outcome.entries.iter().filter_map(|entry| match entry {
            Entry::Leave { room, .. } => Some(*room),
            _ => None,
        });
        self.emptied_rooms.extend(left.filter(|room| self.rooms[room].members == 0));
    }

    /// Sets the memberships that a turn changed to their committed values, so that a change that could not be committed is reverted.
    pub(super) fn settle_membership_changes(&mut self, turn: &mut Turn) {
        for MembershipChange { peer, room } in std::mem::take(&mut turn.membership_changes) {
            let is_in = self.member(peer, room).joined.is_some();
            self.set_membership(peer, room, is_in);
            if !is_in {
                self.peers.get_mut(&peer).expect("a member in flight is in memory").rooms.remove(&room);
                self.rooms.get_mut(&room).expect("a room in flight is in memory").online.remove(&peer);
            }
        }
    }

    /// Whether the last member of a room has left since the last call of [`take_emptied_rooms`](Self::take_emptied_rooms).
    pub(in crate::broker) fn has_emptied_rooms(&self) -> bool {
        !self.emptied_rooms.is_empty()
    }

    /// Returns some of the rooms whose last member has left, and that no peer has joined since.
    pub(in crate::broker) fn take_emptied_rooms(&mut self) -> Vec<RoomId> {
        let count = self.emptied_rooms.len().min(EMPTIED_ROOMS_MAX);
        let is_empty = |id: &RoomId| self.rooms.get(id).is_none_or(|room| room.members == 0);
        let mut rooms: Vec<RoomId> = self.emptied_rooms.drain(..count).filter(is_empty).collect();
        rooms.sort_unstable();
        rooms.dedup();
        rooms
    }

    /// Removes a room that was removed from the store. Returns what was known of it.
    pub(super) fn remove_room(&mut self, id: RoomId) -> Option<RoomState> {
        self.room_creators.release(&id);
        self.forget_floor(id);
        let state = self.rooms.remove(&id)?;
        self.room_ids.remove(&state.name);
        Some(state)
    }

    /// Removes a room whose creation could not be committed.
    pub(super) fn undo_room(&mut self, id: RoomId, name: &Room) {
        self.rooms.remove(&id);
        self.room_ids.remove(name);
        self.room_creators.release(&id);
        self.last_room = RoomId::new(self.last_room.get().min(id.get() - 1));
    }

    fn set_membership(&mut self, id: PeerId, room: RoomId, is_in: bool) {
        let was_in = std::mem::replace(&mut self.member(id, room).is_in, is_in);
        let state = self.rooms.get_mut(&room).expect("a room in flight is in memory");
        // The stored number may be wrong.
        state.members = (state.members + u64::from(is_in)).saturating_sub(u64::from(was_in));
        if self.peers[&id].is_online() {
            state.online.insert(id);
        }
    }

    fn member(&mut self, peer: PeerId, room: RoomId) -> &mut Member {
        self.peers.get_mut(&peer).expect("a member in flight is in memory").rooms.entry(room).or_default()
    }
}
