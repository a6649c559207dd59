//! State of a database that the broker needs at its start. Owns these queries; never changes anything.

use rusqlite::{Connection, OptionalExtension, Row, Statement};

use crate::database::index::UnindexedTail;
use crate::database::schema;
use crate::database::{array, column};
use crate::message::{PeerId, RoomId, Seq};
use crate::shares::Holder;
use crate::source::Source;

/// State of a database that the broker needs at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Newest message ever logged, even if it was removed since.
    pub newest: Seq,
    /// Highest id that was ever given to a peer, even if it was removed since.
    pub last_peer: PeerId,
    /// Highest id that was ever given to a room, even if it was removed since.
    pub last_room: RoomId,
    /// Names that were never used, each with the first sender of the messages that wait for it, as far as it is known.
    pub unknown_names: Vec<(PeerId, Option<Holder>)>,
    /// Rooms, each with its creator, as far as it is known.
    pub rooms: Vec<(RoomId, Option<Holder>)>,
    /// Rooms without members.
    pub empty_rooms: Vec<RoomId>,
    /// Seconds for which servers have run with this database.
    pub ran_s: u64,
}

/// Reads the state. `tail` is what the inbox index does not contain yet.
pub(super) fn found(connection: &Connection, tail: &UnindexedTail) -> rusqlite::Result<Found> {
    let newest = schema::NEWEST;
    // A row of `removed_id` that was written by hand may contain anything.
    let sql = format!(
        "select {newest},
                max(coalesce((select max(id) from peer where id <= 1e18), 0),
                    coalesce((select max(peer) from removed_id where typeof(peer) = 'integer' and peer <= 1e18), 0)),
                max(coalesce((select max(id) from room where id <= 1e18), 0),
                    coalesce((select max(room) from removed_id where typeof(room) = 'integer' and room <= 1e18), 0)),
                (select seconds from running where rowid = 1)"
    );
    let (newest, last_peer, [last_room, ran_s]) = connection.query_row(&sql, [], |row| {
        Ok((column::seq(row, 0)?, column::peer(row, 1)?, [column::number(row, 2)?, column::number(row, 3)?]))
    })?;
    Ok(Found {
        newest,
        last_peer,
        last_room: RoomId::new(last_room),
        unknown_names: unknown_names(connection, tail)?,
        rooms: rooms(connection)?,
        empty_rooms: empty_rooms(connection)?,
        ran_s: ran_s.cast_unsigned(),
    })
}

fn rooms(connection: &Connection) -> rusqlite::Result<Vec<(RoomId, Option<Holder>)>> {
    let mut rooms = connection.prepare(
        "select room.id, room.creator, peer.source from room left join peer on peer.id = room.creator order by room.id",
    )?;
    let rooms = rooms.query_map([], |row| Ok((RoomId::new(row.get(0)?), holder(row, 1, 2)?)))?;
    rooms.collect()
}

fn empty_rooms(connection: &Connection) -> rusqlite::Result<Vec<RoomId>> {
    let mut rooms = connection.prepare("select id from room where members = 0 order by id")?;
    rooms.query_map([], |row| row.get(0).map(RoomId::new))?.collect()
}

fn unknown_names(connection: &Connection, tail: &UnindexedTail) -> rusqlite::Result<Vec<(PeerId, Option<Holder>)>> {
    let mut names = connection.prepare("select id from peer where seen = 0 order by id")?;
    let names = names.query_map([], |row| row.get(0).map(PeerId::new))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut first_row = connection.prepare("select seqs from inbox where recipient = ?1 order by last limit 1")?;
    let mut sender = connection.prepare(
        "select message.sender, peer.source from message left join peer on peer.id = message.sender where seq = ?1",
    )?;
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let indexed = first_row.query_row([name.get()], |row| column::text(row, 0)).optional()?;
        let indexed = indexed.as_deref().map(array::read);
        let waiting =
            indexed.into_iter().flatten().chain(tail.after(name.into(), Seq::ZERO).iter().map(|seq| seq.get()));
        found.push((name, first_sender(waiting, &mut sender)?));
    }
    Ok(found)
}

/// Returns the sender of the first of these messages that is stored.
fn first_sender(seqs: impl Iterator<Item = i64>, sender: &mut Statement<'_>) -> rusqlite::Result<Option<Holder>> {
    for seq in seqs {
        if let Some(found) = sender.query_row([seq], |row| holder(row, 0, 1)).optional()? {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Reads a holder from the columns of its sender and its source. `None`: one of them is not known.
pub(super) fn holder(row: &Row<'_>, sender: usize, source: usize) -> rusqlite::Result<Option<Holder>> {
    let (sender, source) = (column::peer(row, sender)?, self::source(row, source)?);
    Ok(source.filter(|_| sender > PeerId::new(0)).map(|source| Holder { sender, source }))
}

/// Reads a source. `None`: it is not known, or was written by hand.
pub(super) fn source(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Source>> {
    Ok(row.get_ref(column)?.as_str().ok().and_then(|source| source.parse().ok()))
}
