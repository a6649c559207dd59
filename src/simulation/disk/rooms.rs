//! Tables of rooms and members. Owns their rows; never a message.

use std::collections::BTreeMap;

use crate::limits::PAST_MEMBERSHIPS_MAX;
use crate::message::{PeerId, Room, RoomId, Seq, Text};
use crate::store::{Entry, FoundRoom, Membership};

/// All rooms.
#[derive(Clone, Default)]
pub(super) struct Rooms {
    rows: BTreeMap<RoomId, Row>,
    /// Highest id that was ever given.
    last: RoomId,
    /// Memberships that ended, in the order in which they did.
    ended: Vec<EndedMembership>,
}

/// Membership of a peer that left the room.
#[derive(Clone)]
struct EndedMembership {
    room: RoomId,
    peer: PeerId,
    /// Newest messages when it joined, and when it left.
    joined: Seq,
    left: Seq,
}

#[derive(Clone)]
struct Row {
    name: Room,
    /// Members, each with the newest message when it joined.
    members: BTreeMap<PeerId, Seq>,
    topic: Option<Text>,
    /// Newest message that is no longer replayed.
    floor: Seq,
    creator: Option<PeerId>,
}

impl Row {
    fn found(&self, id: RoomId) -> FoundRoom {
        FoundRoom { id, members: self.members.len() as u64, topic: self.topic.clone() }
    }
}

impl Rooms {
    /// Highest id that was ever given.
    pub(super) fn last(&self) -> RoomId {
        self.last
    }

    /// Applies an entry; `newest` is the newest message at that place.
    pub(super) fn apply(&mut self, entry: &Entry, newest: Seq) {
        match entry {
            Entry::Room { id, name, creator } => {
                assert!(self.find(name).is_none(), "{name} is created once");
                let row = Row {
                    name: name.clone(),
                    members: BTreeMap::new(),
                    topic: None,
                    floor: Seq::ZERO,
                    creator: *creator,
                };
                let before = self.rows.insert(*id, row);
                assert!(before.is_none() && *id > self.last, "room {id} is created once");
                self.last = *id;
            }
            Entry::RemoveRoom { room } => {
                let row = self.rows.remove(room).expect("a room that is removed exists");
                assert!(row.members.is_empty(), "{} is removed, and has members", row.name);
            }
            Entry::Join { room, peer } => {
                let before = self.row_mut(*room).members.insert(*peer, newest);
                assert_eq!(before, None, "{peer} was not a member of {room} before it joined");
            }
            Entry::Leave { room, peer } => {
                let joined = self.row_mut(*room).members.remove(peer);
                let joined = joined.unwrap_or_else(|| panic!("{peer} leaves {room}, and is not a member"));
                self.ended.push(EndedMembership { room: *room, peer: *peer, joined, left: newest });
            }
            Entry::Topic { room, topic } => self.row_mut(*room).topic.clone_from(topic),
            Entry::Floor { room, floor } => {
                // The room may have been removed since the floor was proposed.
                if let Some(row) = self.rows.get_mut(room) {
                    row.floor = row.floor.max(*floor);
                }
            }
            _ => unreachable!("the entry is for these tables"),
        }
    }

    pub(super) fn find(&self, name: &Room) -> Option<FoundRoom> {
        let (id, row) = self.rows.iter().find(|(_, row)| row.name == *name)?;
        Some(row.found(*id))
    }

    /// Rooms without members.
    pub(super) fn empty(&self) -> impl Iterator<Item = RoomId> {
        self.rows.iter().filter(|(_, row)| row.members.is_empty()).map(|(id, _)| *id)
    }

    /// Rooms with their creators.
    pub(super) fn creators(&self) -> impl Iterator<Item = (RoomId, Option<PeerId>)> {
        self.rows.iter().map(|(id, row)| (*id, row.creator))
    }

    pub(super) fn name(&self, id: RoomId) -> &Room {
        &self.rows[&id].name
    }

    /// Rooms of which a peer is a member.
    pub(super) fn of(&self, peer: PeerId) -> Vec<Membership> {
        let membership = |(id, row): (&RoomId, &Row)| {
            Some(Membership { room: row.found(*id), name: row.name.clone(), joined: *row.members.get(&peer)? })
        };
        self.rows.iter().filter_map(membership).collect()
    }

    /// Newest message when a peer joined a room. `None` if it is not a member.
    pub(super) fn joined(&self, room: RoomId, peer: PeerId) -> Option<Seq> {
        self.rows[&room].members.get(&peer).copied()
    }

    /// Whether a member may see a message of a room: it came while the peer was a member.
    pub(super) fn sees(&self, room: RoomId, peer: PeerId, seq: Seq) -> bool {
        let saw = |ended: &&EndedMembership| ended.room == room && ended.joined < seq && seq <= ended.left;
        let ended = self.ended.iter().rev().filter(|ended| ended.peer == peer && ended.joined < ended.left);
        self.joined(room, peer)
            .is_some_and(|joined| joined < seq || ended.take(PAST_MEMBERSHIPS_MAX).any(|ended| saw(&ended)))
    }

    /// Members of a room to whom this message is replayed until they have it: those that had joined before it, if it is above the floor.
    pub(super) fn reached(&self, room: RoomId, seq: Seq) -> impl Iterator<Item = PeerId> {
        let Row { members, floor, .. } = &self.rows[&room];
        let is_replayed = *floor < seq;
        members.iter().filter(move |(_, joined)| is_replayed && **joined < seq).map(|(peer, _)| *peer)
    }

    /// Newest message of a room that is no longer replayed.
    pub(super) fn floor(&self, room: RoomId) -> Seq {
        self.rows[&room].floor
    }

    pub(super) fn members(&self, name: &Room) -> impl Iterator<Item = (PeerId, Seq)> {
        let row = self.rows.values().find(|row| row.name == *name);
        row.into_iter().flat_map(|row| row.members.iter().map(|(peer, joined)| (*peer, *joined)))
    }

    fn row_mut(&mut self, id: RoomId) -> &mut Row {
        self.rows.get_mut(&id).expect("a room is created before a peer joins it")
    }
}
