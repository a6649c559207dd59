//! Rooms and their members. Owns the SQL on the tables `room`, `member` and `past_member`, and reads how far a member got; never reads a message.

use rusqlite::{Connection, OptionalExtension, Statement, params};

use super::column::{number, optional_text, seq, text};
use crate::limits::PAST_MEMBERSHIPS_MAX;
use crate::message::{PeerId, Room, RoomId, Seq, Text};

/// Prepared statements on the tables.
pub(crate) struct Members<'c> {
    put_room: Statement<'c>,
    remove_room: Statement<'c>,
    is_empty: Statement<'c>,
    set_topic: Statement<'c>,
    put_member: Statement<'c>,
    remove_member: Statement<'c>,
    end_membership: Statement<'c>,
    forget_memberships: Statement<'c>,
    ended: Statement<'c>,
    count: Statement<'c>,
    find_room: Statement<'c>,
    rooms_of: Statement<'c>,
    joined: Statement<'c>,
    raise_floor: Statement<'c>,
    replayed: Statement<'c>,
    floors: Statement<'c>,
    floor: Statement<'c>,
    cursor: Statement<'c>,
}

/// Membership of a peer in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Room that the peer is in.
    pub room: FoundRoom,
    /// Name of the room.
    pub name: Room,
    /// Newest message when the peer joined the room.
    pub joined: Seq,
}

/// Stored data of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRoom {
    /// Number of the room.
    pub id: RoomId,
    /// Number of members.
    pub members: u64,
    /// Topic, if one is set.
    pub topic: Option<Text>,
}

/// Messages that were sent into a room during one membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RoomRange {
    pub(crate) room: RoomId,
    /// Newest message when the peer joined.
    pub(crate) after: Seq,
    /// Newest message when the peer left; [`Seq::MAX`] if it is still a member.
    pub(crate) until: Seq,
}

impl RoomRange {
    /// Returns the range of a peer that joined a room after this message, and has not left it.
    pub(crate) fn since((room, after): (RoomId, Seq)) -> Self {
        RoomRange { room, after, until: Seq::MAX }
    }
}

const END_MEMBERSHIP: &str = "
    insert or replace into past_member (peer, left, room, joined)
    select peer, ?3, room, joined from member where room = ?1 and peer = ?2 and joined < ?3";

const FORGET_MEMBERSHIPS: &str = "
    delete from past_member where peer = ?1 and left < (
        select left from past_member where peer = ?1 order by left desc limit 1 offset ?2)";

/// Earlier memberships in rooms of which the peer is a member again.
const ENDED: &str = "
    select past.room, past.joined, past.left
    from past_member as past
    join member on member.room = past.room and member.peer = past.peer join room on room.id = past.room
    where past.peer = ?1 and past.room between 1 and 1e18";

impl<'c> Members<'c> {
    pub(crate) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Members {
            put_room: connection.prepare("insert into room (id, name, creator) values (?1, ?2, ?3)")?,
            remove_room: connection.prepare("delete from room where id = ?1 and members = 0")?,
            is_empty: connection.prepare("select 1 from room where id = ?1 and members = 0")?,
            set_topic: connection.prepare("update room set topic = ?2 where id = ?1")?,
            put_member: connection.prepare("insert or replace into member (room, peer, joined) values (?1, ?2, ?3)")?,
            remove_member: connection.prepare("delete from member where room = ?1 and peer = ?2")?,
            end_membership: connection.prepare(END_MEMBERSHIP)?,
            forget_memberships: connection.prepare(FORGET_MEMBERSHIPS)?,
            ended: connection.prepare(ENDED)?,
            count: connection.prepare("update room set members = members + ?2 where id = ?1")?,
            find_room: connection.prepare("select id, members, topic from room where name = ?1")?,
            rooms_of: connection.prepare(
                "select room.id, room.name, room.members, member.joined, room.topic
                 from member join room on room.id = member.room
                 where member.peer = ?1 and room.id between 1 and 1e18 order by room.id",
            )?,
            joined: connection.prepare(
                "select room.id, member.joined from member join room on room.id = member.room
                 where member.peer = ?1 and room.id between 1 and 1e18 order by room.id",
            )?,
            raise_floor: connection.prepare("update room set floor = ?2 where id = ?1 and floor < ?2")?,
            replayed: connection.prepare(
                "select room.id, max(member.joined, room.floor) from member join room on room.id = member.room
                 where member.peer = ?1 and room.id between 1 and 1e18 order by room.id",
            )?,
            floors: connection.prepare(
                "select room.id, room.floor from member join room on room.id = member.room
                 where member.peer = ?1 and room.id between 1 and 1e18 and room.floor > max(member.joined, ?2)",
            )?,
            floor: connection.prepare("select floor from room where id = ?1")?,
            cursor: connection.prepare("select cursor from peer where id = ?1")?,
        })
    }

    /// Inserts a new room.
    pub(crate) fn put_room(&mut self, id: RoomId, name: &Room, creator: Option<PeerId>) -> rusqlite::Result<()> {
        let rows = self.put_room.execute(params![id.get(), name.as_str(), creator.map(PeerId::get)])?;
        assert_eq!(rows, 1, "an insert adds one row");
        Ok(())
    }

    /// Removes a room without members. Its row may be gone, as an operator may have removed it by hand.
    pub(crate) fn remove_room(&mut self, id: RoomId) -> rusqlite::Result<()> {
        self.remove_room.execute([id.get()]).map(drop)
    }

    /// Whether a room exists and has no members.
    pub(crate) fn is_empty(&mut self, id: RoomId) -> rusqlite::Result<bool> {
        self.is_empty.exists([id.get()])
    }

    /// Sets the topic of a room, or clears it.
    pub(crate) fn set_topic(&mut self, room: RoomId, topic: Option<&Text>) -> rusqlite::Result<()> {
        let rows = self.set_topic.execute(params![room.get(), topic.map(Text::as_str)])?;
        assert_eq!(rows, 1, "a room with members has a row");
        Ok(())
    }

    /// Adds a peer to a room. `joined` is the newest message before the join. A row that is left of a peer whose row was removed by hand
    /// is replaced.
    pub(crate) fn join(&mut self, room: RoomId, peer: PeerId, joined: Seq) -> rusqlite::Result<()> {
        self.put_member.execute([room.get(), peer.get(), joined.get()])?;
        self.count(room, 1)
    }

    /// Removes a peer from a room. `left` is the newest message before that. The row may be missing, as an operator may have removed it by
    /// hand.
    pub(crate) fn leave(&mut self, room: RoomId, peer: PeerId, left: Seq) -> rusqlite::Result<()> {
        if self.end_membership.execute([room.get(), peer.get(), left.get()])? > 0 {
            self.forget_memberships.execute([peer.get(), PAST_MEMBERSHIPS_MAX as i64 - 1])?;
        }
        let rows = self.remove_member.execute([room.get(), peer.get()])?;
        self.count(room, -(rows as i64))
    }

    fn count(&mut self, room: RoomId, more: i64) -> rusqlite::Result<()> {
        let rows = self.count.execute([room.get(), more])?;
        assert_eq!(rows, 1, "a room with members has a row");
        Ok(())
    }

    /// Finds a room by its name.
    pub(crate) fn find_room(&mut self, name: &Room) -> rusqlite::Result<Option<FoundRoom>> {
        let found = self.find_room.query_row([name.as_str()], |row| {
            let (id, members) = (RoomId::new(row.get(0)?), number(row, 1)?.cast_unsigned());
            Ok(FoundRoom { id, members, topic: optional_text(row, 2)? })
        });
        found.optional()
    }

    /// Returns the rooms of a peer.
    pub(crate) fn rooms_of(&mut self, peer: PeerId) -> rusqlite::Result<Vec<Membership>> {
        let rooms = self.rooms_of.query_map([peer.get()], |row| {
            let (id, members) = (RoomId::new(row.get(0)?), number(row, 2)?.cast_unsigned());
            let (name, topic) = (Room::stored(&text(row, 1)?), optional_text(row, 4)?);
            Ok(Membership { room: FoundRoom { id, members, topic }, name, joined: seq(row, 3)? })
        })?;
        rooms.collect()
    }

    /// Returns the ids of a peer's rooms, each with the newest message when the peer joined.
    pub(crate) fn joined(&mut self, peer: PeerId) -> rusqlite::Result<Vec<(RoomId, Seq)>> {
        self.joined.query_map([peer.get()], |row| Ok((RoomId::new(row.get(0)?), seq(row, 1)?)))?.collect()
    }

    /// Returns what a peer may see of its rooms: what came since it joined, and what came during earlier memberships.
    pub(crate) fn seen(&mut self, peer: PeerId) -> rusqlite::Result<Vec<RoomRange>> {
        let mut ranges: Vec<_> = self.joined(peer)?.into_iter().map(RoomRange::since).collect();
        let mut ended = self.ended.query([peer.get()])?;
        while let Some(row) = ended.next()? {
            ranges.push(RoomRange { room: RoomId::new(row.get(0)?), after: seq(row, 1)?, until: seq(row, 2)? });
        }
        Ok(ranges)
    }

    /// Raises the floor of a room, unless it is higher. The row may be missing, as an operator may have removed the room.
    pub(crate) fn raise_floor(&mut self, room: RoomId, floor: Seq) -> rusqlite::Result<()> {
        self.raise_floor.execute([room.get(), floor.get()]).map(drop)
    }

    /// Returns the floor of a room: the newest of its messages that is no longer replayed; [`Seq::ZERO`] if all are.
    pub(crate) fn floor(&mut self, room: RoomId) -> rusqlite::Result<Seq> {
        Ok(self.floor.query_row([room.get()], |row| seq(row, 0)).optional()?.unwrap_or(Seq::ZERO))
    }

    /// Returns the ids of a peer's rooms, each with the newest message that the peer does not get: that of its join, or the floor of the room.
    pub(crate) fn replayed(&mut self, peer: PeerId) -> rusqlite::Result<Vec<(RoomId, Seq)>> {
        self.replayed.query_map([peer.get()], |row| Ok((RoomId::new(row.get(0)?), seq(row, 1)?)))?.collect()
    }

    /// Returns the rooms of a peer of which it has messages after `after` that are no longer replayed, each with its floor.
    pub(crate) fn floors(&mut self, peer: PeerId, after: Seq) -> rusqlite::Result<Vec<(RoomId, Seq)>> {
        let floors =
            self.floors.query_map([peer.get(), after.get()], |row| Ok((RoomId::new(row.get(0)?), seq(row, 1)?)))?;
        floors.collect()
    }

    /// Returns the stored cursor of a peer: the message up to which everything for it is delivered.
    pub(crate) fn cursor(&mut self, peer: PeerId) -> rusqlite::Result<Seq> {
        Ok(self.cursor.query_row([peer.get()], |row| seq(row, 0)).optional()?.unwrap_or(Seq::ZERO))
    }
}
