//! Who is in which room, by what was committed, and what was asked of it. Owns the promises that concern memberships; never a
//! message.

use std::collections::{BTreeMap, HashMap};

use crate::message::{PeerName, Room, RoomId, Seq};
use crate::simulation::disk::Disk;

/// All rooms that are ever named.
pub(in crate::simulation) struct Rooms {
    rooms: Vec<RoomTruth>,
    by_id: HashMap<RoomId, usize>,
    /// No power cut takes anything of what is committed of memberships.
    pub(in crate::simulation) are_kept: bool,
}

struct RoomTruth {
    name: Room,
    /// When it was made.
    made_at: Option<u64>,
    /// The members, each with the newest message when it joined.
    members: BTreeMap<usize, Seq>,
    /// What was asked and done by each peer.
    changes: HashMap<usize, Changes>,
    /// When anything was asked or done about its members last.
    touched_at: u64,
    /// When it last lost a member.
    left_at: u64,
}

#[derive(Default)]
struct Changes {
    /// When it last joined.
    joined_at: u64,
    /// When it last left.
    left_at: u64,
    /// How often it asked to join, and is not answered.
    joins_open: u64,
    /// How often it asked to leave, and is not answered.
    leaves_open: u64,
}

impl Rooms {
    pub(in crate::simulation) fn new(names: impl Iterator<Item = Room>) -> Self {
        let room = |name| RoomTruth {
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

    /// Which room has this name, as it stands in what a client reads.
    pub(in crate::simulation) fn named(&self, name: &str) -> usize {
        let place = self.rooms.iter().position(|room| room.name.as_str() == name);
        place.unwrap_or_else(|| panic!("{name:?} is the name of no room"))
    }

    /// Which room has this number.
    pub(in crate::simulation) fn place(&self, id: RoomId) -> usize {
        *self.by_id.get(&id).unwrap_or_else(|| panic!("room {id} was never made"))
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

    /// Whether a peer is in no room, and was in none since then.
    pub(in crate::simulation) fn is_in_none_since(&self, peer: usize, step: u64) -> bool {
        self.rooms.iter().all(|room| {
            let is_calm = |changes: &Changes| changes.left_at < step && changes.joins_open == 0;
            !room.members.contains_key(&peer) && room.changes.get(&peer).is_none_or(is_calm)
        })
    }

    /// Whether a peer may have been no member at some time since then, seen from the broker.
    pub(in crate::simulation) fn may_have_been_out(
        &self,
        room: usize,
        peer: usize,
        step: u64,
        commit_failed_at: u64,
    ) -> bool {
        let changes = self.rooms[room].changes.get(&peer);
        // One who leaves counts as out at once, and is in again if that cannot be kept.
        let failed_to_leave = commit_failed_at >= step;
        !self.is_member(room, peer) || failed_to_leave || changes.is_some_and(|changes| changes.joined_at >= step)
    }

    /// Whether a peer may have been a member at some time since then.
    pub(in crate::simulation) fn may_have_been_in(&self, room: usize, peer: usize, step: u64) -> bool {
        let changes = self.rooms[room].changes.get(&peer);
        self.is_member(room, peer) || changes.is_some_and(|changes| changes.left_at >= step)
    }

    /// Whether nobody may have been in a room at some time since then.
    pub(in crate::simulation) fn may_have_been_empty(&self, room: usize, step: u64, commit_failed_at: u64) -> bool {
        let room = &self.rooms[room];
        room.members.is_empty() || room.left_at >= step || commit_failed_at >= step || room.touched_at >= step
    }

    /// Whether it is certain who was in a room all the time since then.
    pub(in crate::simulation) fn is_calm_since(&self, room: usize, step: u64) -> bool {
        let room = &self.rooms[room];
        let is_open = |changes: &Changes| changes.joins_open + changes.leaves_open > 0;
        room.touched_at < step && !room.changes.values().any(is_open)
    }

    /// Whether a peer is alone in a room, or not even in it and nobody is.
    pub(in crate::simulation) fn is_alone(&self, room: usize, peer: usize) -> bool {
        self.members(room).all(|member| member == peer)
    }

    /// Whether there was a room all the time since then.
    pub(in crate::simulation) fn is_made_since(&self, room: usize, step: u64) -> bool {
        self.rooms[room].made_at.is_some_and(|made_at| made_at < step)
    }

    /// The broker is asked to let a peer join.
    pub(in crate::simulation) fn asked_to_join(&mut self, room: usize, peer: usize, step: u64) {
        self.changes(room, peer, step).joins_open += 1;
    }

    /// The broker is asked to let a peer leave.
    pub(in crate::simulation) fn asked_to_leave(&mut self, room: usize, peer: usize, step: u64) {
        self.changes(room, peer, step).leaves_open += 1;
    }

    /// It is answered.
    pub(in crate::simulation) fn answered_join(&mut self, room: usize, peer: usize, step: u64) {
        self.changes(room, peer, step).joins_open -= 1;
    }

    /// It is answered.
    pub(in crate::simulation) fn answered_leave(&mut self, room: usize, peer: usize, step: u64) {
        self.changes(room, peer, step).leaves_open -= 1;
    }

    /// There is a room with this number now.
    pub(in crate::simulation) fn made(&mut self, id: RoomId, name: &Room, step: u64) {
        let place = self.named(name.as_str());
        let before = self.rooms[place].made_at.replace(step);
        assert_eq!(before, None, "{name} is made once");
        let before = self.by_id.insert(id, place);
        assert_eq!(before, None, "the number of {name} is given once");
    }

    /// A peer is in a room, from behind this message on.
    pub(in crate::simulation) fn joined(&mut self, id: RoomId, peer: usize, newest: Seq, step: u64) {
        let room = self.place(id);
        let changes = self.changes(room, peer, step);
        assert!(changes.joins_open > 0, "p{peer} joins, and did not ask for it");
        changes.joined_at = step;
        let before = self.rooms[room].members.insert(peer, newest);
        assert_eq!(before, None, "p{peer} joins once");
    }

    /// A peer has left a room. Says which was the newest message when it joined.
    pub(in crate::simulation) fn left(&mut self, room: usize, peer: usize, step: u64) -> Seq {
        let changes = self.changes(room, peer, step);
        assert!(changes.leaves_open > 0, "p{peer} leaves, and did not ask for it");
        changes.left_at = step;
        self.rooms[room].left_at = step;
        self.rooms[room].members.remove(&peer).expect("who leaves is in it")
    }

    /// The process has died: what was asked and not answered is nobody's business any more, and what was done is on the disk.
    pub(in crate::simulation) fn died(&mut self, disk: &Disk, peers: &HashMap<PeerName, usize>) {
        self.forget_asked();
        for room in &self.rooms {
            let kept: BTreeMap<usize, Seq> =
                disk.members(&room.name).map(|(name, joined)| (peers[name], joined)).collect();
            assert_eq!(kept, room.members, "who is in {} is kept", room.name);
        }
    }

    /// Nothing is under way.
    pub(in crate::simulation) fn forget_asked(&mut self) {
        for changes in self.rooms.iter_mut().flat_map(|room| room.changes.values_mut()) {
            (changes.joins_open, changes.leaves_open) = (0, 0);
        }
    }

    fn changes(&mut self, room: usize, peer: usize, step: u64) -> &mut Changes {
        self.rooms[room].touched_at = step;
        self.rooms[room].changes.entry(peer).or_default()
    }
}
