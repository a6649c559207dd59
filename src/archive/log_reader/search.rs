//! Search for the owner of the file: the results of the full-text index, and a scan of the messages that the index does not
//! contain yet. Never writes the index.

use rusqlite::{Connection, params};

use super::{Selection, find_id};
use crate::database::column::{peer, text};
use crate::database::members::Members;
use crate::database::messages::numbered;
use crate::database::search::{ScanEnd, SearchLimits, SearchReader, WordQuery};
use crate::database::visibility::Viewer;
use crate::message::{Destination, PeerId, RoomId, Seq};

/// Returns the newest messages of a selection that match, newest first.
pub(super) fn seqs(connection: &Connection, query: &WordQuery, selection: &Selection) -> rusqlite::Result<Vec<Seq>> {
    let Selection { with, before, count } = selection;
    let viewer = match with {
        None => None,
        Some(with) => match viewer(connection, with)? {
            Some(viewer) => Some(viewer),
            None => return Ok(Vec::new()),
        },
    };
    let mut reader = SearchReader::new(connection, SearchLimits::default())?;
    let mut seqs = unindexed(connection, query, viewer.as_ref(), reader.searched()?, selection)?;
    let mut before = *before;
    while seqs.len() < *count {
        let wants_more_after = |seq| {
            seqs.push(seq);
            Ok(seqs.len() < *count)
        };
        let end = reader.newest_first(query, viewer.as_ref(), Some(before), wants_more_after)?;
        // A command may take its time: it continues where the scan limit of a session ends.
        let ScanEnd::DownTo(seq) = end else { break };
        before = seq;
    }
    Ok(seqs)
}

/// Returns the viewer that sees the selected messages: the peer, or all of the room.
fn viewer(connection: &Connection, with: &Destination) -> rusqlite::Result<Option<Viewer>> {
    Ok(match with {
        Destination::Peer(name) => match find_id(connection, "select id from peer where name = ?1", name.as_str())? {
            Some(peer) => Some(Viewer::of(PeerId::new(peer), &mut Members::new(connection)?)?),
            None => None,
        },
        Destination::Room(room) => find_id(connection, "select id from room where name = ?1", room.as_str())?
            .map(|room| Viewer::of_whole_room(RoomId::new(room))),
    })
}

/// Scans the messages that the index does not contain yet. Returns those that match, newest first.
fn unindexed(
    connection: &Connection,
    query: &WordQuery,
    viewer: Option<&Viewer>,
    searched: Seq,
    selection: &Selection,
) -> rusqlite::Result<Vec<Seq>> {
    let sql = "select seq, sender, recipients, text from message where seq > ?1 and seq < ?2 order by seq desc";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(params![searched.get(), selection.before.get()])?;
    let mut seqs = Vec::new();
    while seqs.len() < selection.count
        && let Some(row) = rows.next()?
    {
        let (seq, sender) = (Seq::new(row.get(0)?), peer(row, 1)?);
        let is_visible = match viewer {
            Some(viewer) => viewer.route(seq, sender, numbered(&text(row, 2)?)).is_some(),
            None => true,
        };
        if is_visible && query.matches(&text(row, 3)?) {
            seqs.push(seq);
        }
    }
    Ok(seqs)
}
