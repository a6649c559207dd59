//! Which messages hold some words, for who owns the file: what the index knows, and what it does not know yet, read one by one. Owns
//! how both become one answer; never writes the index.

use rusqlite::{Connection, params};

use super::{Selection, find};
use crate::database::members::Members;
use crate::database::messages::{numbered, text};
use crate::database::search::{Question, ScanEnd, SearchLimits, SearchReader};
use crate::database::visibility::Viewer;
use crate::message::{Destination, PeerId, RoomId, Seq};

/// The newest messages of a selection that hold all of a question, the newest first.
pub(super) fn seqs(connection: &Connection, question: &Question, selection: &Selection) -> rusqlite::Result<Vec<Seq>> {
    let Selection { with, before, count } = selection;
    let viewer = match with {
        None => None,
        Some(with) => match viewer(connection, with)? {
            Some(viewer) => Some(viewer),
            None => return Ok(Vec::new()),
        },
    };
    let mut asking = SearchReader::new(connection, SearchLimits::default())?;
    let mut seqs = unindexed(connection, question, viewer.as_ref(), asking.searched()?, *before, *count)?;
    let mut before = *before;
    while seqs.len() < *count {
        let wants_more_after = |seq| {
            seqs.push(seq);
            Ok(seqs.len() < *count)
        };
        let looked = match &viewer {
            Some(viewer) => asking.newest_first(question, viewer, Some(before), wants_more_after)?,
            None => asking.everything(question, Some(before), wants_more_after)?,
        };
        // There is time.
        let ScanEnd::DownTo(seq) = looked else { break };
        before = seq;
    }
    Ok(seqs)
}

/// Returns the viewer that sees the selected messages: the peer, or all of the room.
fn viewer(connection: &Connection, with: &Destination) -> rusqlite::Result<Option<Viewer>> {
    Ok(match with {
        Destination::Peer(name) => match find(connection, "select id from peer where name = ?1", name.as_str())? {
            Some(peer) => Some(Viewer::of(PeerId::new(peer), &mut Members::new(connection)?)?),
            None => None,
        },
        Destination::Room(room) => find(connection, "select id from room where name = ?1", room.as_str())?
            .map(|room| Viewer::of_whole_room(RoomId::new(room))),
    })
}

/// What the index does not hold yet.
fn unindexed(
    connection: &Connection,
    question: &Question,
    viewer: Option<&Viewer>,
    searched: Seq,
    before: Seq,
    count: usize,
) -> rusqlite::Result<Vec<Seq>> {
    let sql = "select seq, sender, recipients, text from message where seq > ?1 and seq < ?2 order by seq desc";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query(params![searched.get(), before.get()])?;
    let mut seqs = Vec::new();
    while seqs.len() < count
        && let Some(row) = rows.next()?
    {
        let (seq, sender) = (Seq::new(row.get(0)?), PeerId::new(row.get(1)?));
        let is_visible = match viewer {
            Some(viewer) => viewer.route(seq, sender, numbered(&text(row, 2)?)).is_some(),
            None => true,
        };
        if is_visible && question.matches(&text(row, 3)?) {
            seqs.push(seq);
        }
    }
    Ok(seqs)
}
