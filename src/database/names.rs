//! Names of recipients: maps the numbers in the column `message.recipients` to names. Never writes a name.

use rusqlite::{Connection, OptionalExtension, Statement};

use super::column::text;
use crate::message::{Destination, Room, RoomId};

/// Prepared statements that read names of peers and rooms.
pub(crate) struct Names<'c> {
    all: Statement<'c>,
    room: Statement<'c>,
}

impl<'c> Names<'c> {
    pub(crate) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Names {
            all: connection.prepare(
                "select coalesce(peer.name, room.name)
                 from json_each(iif(json_valid(?1), ?1, '[]')) as addressed
                 left join peer on peer.id = addressed.value
                 left join room on room.id = -addressed.value
                 where peer.id is not null or room.id is not null
                 order by addressed.key",
            )?,
            room: connection.prepare("select name from room where id = ?1")?,
        })
    }

    /// Reads the names of a message's recipients, in their order. Leaves out those whose row no longer exists.
    pub(crate) fn of(&mut self, recipients: &str) -> rusqlite::Result<Vec<Destination>> {
        self.all.query_map([recipients], |row| Ok(Destination::stored(&text(row, 0)?)))?.collect()
    }

    /// Reads the name of a room, whose row may be missing.
    pub(crate) fn room(&mut self, id: RoomId) -> rusqlite::Result<Room> {
        let found = self.room.query_row([id.get()], |row| text(row, 0)).optional()?;
        Ok(Room::stored(&found.unwrap_or_default()))
    }
}
