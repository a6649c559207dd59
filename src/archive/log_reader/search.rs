//! Which messages hold some words, for who owns the file: what the index knows, and what it does not know yet, read one by one. Owns
//! how both become one answer; never writes the index.

use rusqlite::{Connection, params};

use super::{Selection, find};
use crate::database::members::Members;
use crate::database::messages::{numbered, text};
use crate::database::search::{Question, Reader, ScanEnd, SearchReader};
use crate::message::{Destination, PeerId, Recipient, RoomId, Seq};

/// The newest messages of a selection that hold all of a question, the newest first.
pub(super) fn seqs(connection: &Connection, question: &Question, selection: &Selection) -> rusqlite::Result<Vec<Seq>> {
    let Selection { with, before, count } = selection;
    let reader = match with {
        None => None,
        Some(with) => match reader(connection, with)? {
            Some(reader) => Some(reader),
            None => return Ok(Vec::new()),
        },
    };
    let mut asking = SearchReader::new(connection)?;
    let mut seqs = unindexed(connection, question, reader.as_ref(), asking.searched()?, *before, *count)?;
    let mut before = *before;
    while seqs.len() < *count {
        let wants_more_after = |seq| {
            seqs.push(seq);
            Ok(seqs.len() < *count)
        };
        let looked = match &reader {
            Some(reader) => asking.newest_first(question, reader, Some(before), wants_more_after)?,
            None => asking.everything(question, Some(before), wants_more_after)?,
        };
        // There is time.
        let ScanEnd::DownTo(seq) = looked else { break };
        before = seq;
    }
    Ok(seqs)
}

/// Who could read what is looked for. A room is read by one who is in it from the first message on, and is nobody else.
fn reader(connection: &Connection, with: &Destination) -> rusqlite::Result<Option<Reader>> {
    Ok(match with {
        Destination::Peer(name) => match find(connection, "select id from peer where name = ?1", name.as_str())? {
            Some(peer) => {
                let peer = PeerId::new(peer);
                Some(Reader { peer, rooms: Members::new(connection)?.joined(peer)? })
            }
            None => None,
        },
        Destination::Room(room) => find(connection, "select id from room where name = ?1", room.as_str())?
            .map(|room| Reader { peer: PeerId::new(0), rooms: vec![(RoomId::new(room), Seq::ZERO)] }),
    })
}

/// What the index does not hold yet.
fn unindexed(
    connection: &Connection,
    question: &Question,
    reader: Option<&Reader>,
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
        let is_for_reader = match reader {
            Some(reader) => reader.is_part_of(seq, sender, numbered(&text(row, 2)?)),
            None => true,
        };
        if is_for_reader && question.matches(&text(row, 3)?) {
            seqs.push(seq);
        }
    }
    Ok(seqs)
}

impl Reader {
    fn is_part_of(&self, seq: Seq, sender: PeerId, mut recipients: impl Iterator<Item = Recipient>) -> bool {
        let reaches = |recipient| match recipient {
            Recipient::Peer(peer) => peer == self.peer,
            Recipient::Room(room) => self.rooms.iter().any(|(other, joined)| *other == room && *joined < seq),
        };
        sender == self.peer || recipients.any(reaches)
    }
}
