//! Whom a message was addressed to, by name. Owns how the numbers in `message.recipients` become names; never whose they are.

use rusqlite::{Connection, Statement};

use crate::message::{Destination, PeerName, Room, RoomId};

/// The names of peers and rooms, through a statement that is prepared once.
pub(crate) struct Names<'c> {
    all: Statement<'c>,
    room: Statement<'c>,
}

impl<'c> Names<'c> {
    pub(crate) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Names {
            all: connection.prepare(
                "select coalesce(peer.name, room.name) from json_each(?1) as addressed
                 left join peer on peer.id = addressed.value
                 left join room on room.id = -addressed.value
                 where peer.id is not null or room.id is not null
                 order by addressed.key",
            )?,
            room: connection.prepare("select name from room where id = ?1")?,
        })
    }

    /// The names of all whom a message was addressed to, in that order; those that are kept no more are left out.
    pub(crate) fn of(&mut self, recipients: &str) -> rusqlite::Result<Vec<Destination>> {
        self.all.query_map([recipients], |row| Ok(destination(row.get_ref(0)?.as_str()?)))?.collect()
    }

    /// The name of a room.
    pub(crate) fn room(&mut self, id: RoomId) -> rusqlite::Result<Room> {
        self.room.query_row([id.get()], |row| Ok(Room::stored(row.get_ref(0)?.as_str()?)))
    }
}

fn destination(name: &str) -> Destination {
    if name.starts_with('#') {
        Destination::Room(Room::stored(name))
    } else {
        Destination::Peer(PeerName::stored(name))
    }
}
