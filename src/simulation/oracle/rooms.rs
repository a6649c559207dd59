//! Members of each room, from committed entries and pending requests. Owns the promises that concern memberships; never
//! a message.

use std::collections::{BTreeMap, HashMap};

use crate::message::{PeerName, Room, RoomId, Seq};
use crate::simulation::disk::Disk;

/// All rooms that are ever named.
pub(in crate::simulation) struct Rooms {
    rooms: Vec<RoomState>,
    by_id: HashMap<RoomId, usize>,
    /// Whether no power cut would undo a change of members or of a topic.
    pub(in crate::simulation) are_kept: bool,
}

struct RoomState {
    name: Room,
    /// Step in which it was created.
    made_at: Option<u64>,
    /// Members, each with the newest message when it joined.
    members: BTreeMap<usize, Seq>,
    /// Requests and changes of each peer.
    changes: HashMap<usize, MembershipHistory>,
    /// Step of the last request or change.
    touched_at: u64,
    /// Step in which it last lost a member.
    left_at: u64,
}

#[derive(Default)]
struct MembershipHistory {
    /// Step in which it last joined.
    joined_at: u64,
    /// Step in which it last left.
    left_at: u64,
    /// Requests to join that are not answered.
    joins_open: u64,
    /// Requests to leave that are not answered.
    leaves_open: u64,
}

impl Rooms {
    pub(in crate::simulation) fn new(names: impl Iterator<Item = Room>) -> Self {
        let room = |name| RoomState {
            name,
            made_at: None,
            members: BTreeMap::new(),
            changes: HashMap::new(),
            touched_at: 0,
            left_at: 0,
        };
        Rooms { rooms: names.map(room).collect(), by_id: HashMap::new(), are_kept: true }
    }

    pub(in crate::simulation) fn name(&self, room: usize) -> &Room {
        &self.rooms[room].name
    }

    /// Finds the room with this name, as a client reads it.
    pub(in crate::simulation) fn named(&self, name: &str) -> usize {
        let place = self.rooms.iter().position(|room| room.name.as_str() == name);
        place.unwrap_or_else(|| panic!("{name:?} is not the name of a room"))
    }

    /// Finds the room with this id.
    pub(in crate::simulation) fn place(&self, id: RoomId) -> usize {
        *self.by_id.get(&id).unwrap_or_else(|| panic!("room {id} was never created"))
    }

    pub(in crate::simulation) fn names(&self) -> impl Iterator<Item = &Room> {
        self.rooms.iter().map(|room| &room.name)
    }

    pub(in crate::simulation) fn count(&self) -> usize {
        self.rooms.len()
    }

    pub(in crate::simulation) fn members(&self, room: usize) -> impl Iterator<Item = usize> {
        self.rooms[room].members.keys().copied()
    }

    pub(in crate::simulation) fn is_member(&self, room: usize, peer: usize) -> bool {
        self.rooms[room].members.contains_key(&peer)
    }

    pub(in crate::simulation) fn is_populated(&self, room: usize) -> bool {
        !self.rooms[room].members.is_empty()
    }

    /// Whether a peer was in no room at any time since this step.
    pub(in crate::simulation) fn is_in_none_since(&self, peer: usize, step: u64) -> bool {
        self.rooms.iter().all(|room| {
            let is_calm = |changes: &MembershipHistory| changes.left_at < step && changes.joins_open == 0;
            !room.members.contains_key(&peer) && room.changes.get(&peer).is_none_or(is_calm)
        })
    }

    /// Whether the broker may have seen a peer outside of a room at some time since this step.
    pub(in crate::simulation) fn may_have_been_out(
        &self,
        room: usize,
        peer: usize,
        step: u64,
        commit_failed_at: u64,
    ) -> bool {
        let changes = self.rooms[room].changes.get(&peer);
        // A peer that leaves counts as outside at once, and as a member again if the turn fails.
        let failed_to_leave = commit_failed_at >= step;
        !self.is_member(room, peer) || failed_to_leave || changes.is_some_and(|changes| changes.joined_at >= step)
    }

    /// Whether a peer may have been a member at some time since this step.
    pub(in crate::simulation) fn may_have_been_in(&self, room: usize, peer: usize, step: u64) -> bool {
        let changes = self.rooms[room].changes.get(&peer);
        self.is_member(room, peer) || changes.is_some_and(|changes| changes.left_at >= step)
    }

    /// Whether a room may have been empty at some time since this step.
    pub(in crate::simulation) fn may_have_been_empty(&self, room: usize, step: u64, commit_failed_at: u64) -> bool {
        let room = &self.rooms[room];
        room.members.is_empty() || room.left_at >= step || commit_failed_at >= step || room.touched_at >= step
    }

    /// Whether the members of a room certainly did not change since this step.
    pub(in crate::simulation) fn is_calm_since(&self, room: usize, step: u64) -> bool {
        let room = &self.rooms[room];
        let is_open = |changes: &MembershipHistory| changes.joins_open + changes.leaves_open > 0;
        room.touched_at < step && !room.changes.values().any(is_open)
    }

    /// Whether a room has no members other than this peer.
    pub(in crate::simulation) fn is_empty_without(&self, room: usize, peer: usize) -> bool {
        self.members(room).all(|member| member == peer)
    }

    /// Whether a room existed at all times since this step.
    pub(in crate::simulation) fn is_made_since(&self, room: usize, step: u64) -> bool {
        self.rooms[room].made_at.is_some_and(|made_at| made_at < step)
    }

    /// Notes a request to join.
    pub(in crate::simulation) fn asked_to_join(&mut self, room: usize, peer: usize, step: u64) {
        self.changes(room, peer, step).joins_open += 1;
    }

    /// Notes a request to leave.
    pub(in crate::simulation) fn asked_to_leave(&mut self, room: usize, peer: usize, step: u64) {
        self.changes(room, peer, step).leaves_open += 1;
    }

    /// Notes the reply to a request to join.
    pub(in crate::simulation) fn answered_join(&mut self, room: usize, peer: usize, step: u64) {
        self.changes(room, peer, step).joins_open -= 1;
    }

    /// Notes the reply to a request to leave.
    pub(in crate::simulation) fn answered_leave(&mut self, room: usize, peer: usize, step: u64) {
        self.changes(room, peer, step).leaves_open -= 1;
    }

    /// Notes that a room was created with this id.
    pub(in crate::simulation) fn made(&mut self, id: RoomId, name: &Room, step: u64) {
        let place = self.named(name.as_str());
        let before = self.rooms[place].made_at.replace(step);
        assert_eq!(before, None, "{name} is created once");
        let before = self.by_id.insert(id, place);
        assert_eq!(before, None, "the id of {name} is given once");
    }

    /// Notes that a room was removed.
    pub(in crate::simulation) fn removed(&mut self, id: RoomId) {
        let place = self.place(id);
        let room = &mut self.rooms[place];
        assert!(room.members.is_empty(), "{} is removed, and has members", room.name);
        assert!(room.made_at.take().is_some(), "{} is removed once", room.name);
    }

    /// Notes that a peer has joined a room after this message.
    pub(in crate::simulation) fn joined(&mut self, id: RoomId, peer: usize, newest: Seq, step: u64) {
        let room = self.place(id);
        let changes = self.changes(room, peer, step);
        assert!(changes.joins_open > 0, "p{peer} joins without a request");
        changes.joined_at = step;
        let before = self.rooms[room].members.insert(peer, newest);
        assert_eq!(before, None, "p{peer} was not a member before it joined");
    }

    /// Notes that a peer has left a room. Returns the newest message when it had joined.
    pub(in crate::simulation) fn left(&mut self, room: usize, peer: usize, step: u64) -> Seq {
        let changes = self.changes(room, peer, step);
        assert!(changes.leaves_open > 0, "p{peer} leaves without a request");
        changes.left_at = step;
        self.rooms[room].left_at = step;
        self.rooms[room].members.remove(&peer).expect("a peer that leaves is a member")
    }

    /// Forgets pending requests after a restart, and checks that the disk holds every membership.
    pub(in crate::simulation) fn restarted(&mut self, disk: &Disk, peers: &HashMap<PeerName, usize>) {
        self.forget_asked();
        for room in &self.rooms {
            let kept: BTreeMap<usize, Seq> =
                disk.members(&room.name).map(|(name, joined)| (peers[name], joined)).collect();
            assert_eq!(kept, room.members, "the members of {} are stored", room.name);
        }
    }

    /// Forgets pending requests.
    pub(in crate::simulation) fn forget_asked(&mut self) {
        for changes in self.rooms.iter_mut().flat_map(|room| room.changes.values_mut()) {
            (changes.joins_open, changes.leaves_open) = (0, 0);
        }
    }

    fn changes(&mut self, room: usize, peer: usize, step: u64) -> &mut MembershipHistory {
        self.rooms[room].touched_at = step;
        self.rooms[room].changes.entry(peer).or_default()
    }
}
