//! Tables of rooms and members. Owns their rows; never a message.

use std::collections::BTreeMap;

use crate::message::{PeerId, Room, RoomId, Seq, Text};
use crate::store::{Entry, FoundRoom, Membership};

/// All rooms.
#[derive(Clone, Default)]
pub(super) struct Rooms(BTreeMap<RoomId, Row>);

#[derive(Clone)]
struct Row {
    name: Room,
    /// Members, each with the newest message when it joined.
    members: BTreeMap<PeerId, Seq>,
    topic: Option<Text>,
    /// Newest message that is no longer replayed.
    floor: Seq,
}

impl Row {
    fn found(&self, id: RoomId) -> FoundRoom {
        FoundRoom { id, members: self.members.len() as u64, topic: self.topic.clone() }
    }
}

impl Rooms {
    /// Highest id that was ever given.
    pub(super) fn last(&self) -> RoomId {
        self.0.keys().next_back().copied().unwrap_or(RoomId::new(0))
    }

    /// Applies an entry; `newest` is the newest message at that place.
    pub(super) fn apply(&mut self, entry: &Entry, newest: Seq) {
        match entry {
            Entry::Room { id, name } => {
                assert!(self.find(name).is_none(), "{name} is created once");
                let before = self
                    .0
                    .insert(*id, Row { name: name.clone(), members: BTreeMap::new(), topic: None, floor: Seq::ZERO });
                assert!(before.is_none(), "room {id} is created once");
            }
            Entry::Join { room, peer } => {
                let before = self.row_mut(*room).members.insert(*peer, newest);
                assert_eq!(before, None, "{peer} was not a member of {room} before it joined");
            }
            Entry::Leave { room, peer } => {
                let before = self.row_mut(*room).members.remove(peer);
                assert!(before.is_some(), "{peer} leaves {room}, and is not a member");
            }
            Entry::Topic { room, topic } => self.row_mut(*room).topic.clone_from(topic),
            Entry::Floor { room, floor } => {
                let row = self.row_mut(*room);
                row.floor = row.floor.max(*floor);
            }
            _ => unreachable!("the entry is for these tables"),
        }
    }

    pub(super) fn find(&self, name: &Room) -> Option<FoundRoom> {
        let (id, row) = self.0.iter().find(|(_, row)| row.name == *name)?;
        Some(row.found(*id))
    }

    pub(super) fn name(&self, id: RoomId) -> &Room {
        &self.0[&id].name
    }

    /// Rooms of which a peer is a member.
    pub(super) fn of(&self, peer: PeerId) -> Vec<Membership> {
        let membership = |(id, row): (&RoomId, &Row)| {
            Some(Membership { room: row.found(*id), name: row.name.clone(), joined: *row.members.get(&peer)? })
        };
        self.0.iter().filter_map(membership).collect()
    }

    /// Newest message when a peer joined a room. `None` if it is not a member.
    pub(super) fn joined(&self, room: RoomId, peer: PeerId) -> Option<Seq> {
        self.0[&room].members.get(&peer).copied()
    }

    /// Members of a room to whom this message is replayed until they have it: those that had joined before it, if it is above the floor.
    pub(super) fn reached(&self, room: RoomId, seq: Seq) -> impl Iterator<Item = PeerId> {
        let Row { members, floor, .. } = &self.0[&room];
        let is_replayed = *floor < seq;
        members.iter().filter(move |(_, joined)| is_replayed && **joined < seq).map(|(peer, _)| *peer)
    }

    /// Newest message of a room that is no longer replayed.
    pub(super) fn floor(&self, room: RoomId) -> Seq {
        self.0[&room].floor
    }

    pub(super) fn members(&self, name: &Room) -> impl Iterator<Item = (PeerId, Seq)> {
        let row = self.0.values().find(|row| row.name == *name);
        row.into_iter().flat_map(|row| row.members.iter().map(|(peer, joined)| (*peer, *joined)))
    }

    fn row_mut(&mut self, id: RoomId) -> &mut Row {
        self.0.get_mut(&id).expect("a room is created before a peer joins it")
    }
}
