//! Reads the log for people at a shell, beside a running server or without one. Owns which messages are read, and in which
//! pieces; never writes, holds no lock while they are printed, and leaves no file behind.

mod search;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use super::read_only::{self, ReadOnlyDatabase, ReadOnlyError};
use crate::database::inboxes::Inboxes;
use crate::database::index::{self, Index, IndexLimits};
use crate::database::members::Members;
use crate::database::messages::text;
use crate::database::schema;
use crate::database::search::Question;
use crate::database::visibility::Viewer;
use crate::limits::PRINTED_MESSAGES_MAX;
use crate::message::{Destination, PeerId, RoomId, Seq, quoted};

/// A database that is only read.
#[derive(Debug)]
pub struct LogReader {
    data: PathBuf,
}

/// Which messages of the log.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Those that were sent into this room; or those that this peer sent, was sent, or could read in its rooms. None: all.
    pub with: Option<Destination>,
    /// Only those before this one.
    pub before: Seq,
    /// How many at most: the newest.
    pub count: usize,
}

/// A message of the log, as the view `history` shows it, with its text as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Its place in the log.
    pub seq: Seq,
    /// ISO-8601, UTC, with milliseconds.
    pub at: String,
    /// The sender's name.
    pub sender: String,
    /// The names of peers and rooms, as addressed.
    pub recipients: Vec<String>,
    /// With its newlines.
    pub text: String,
    /// Those who have not got it yet.
    pub waiting_for: Vec<String>,
}

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database.
    #[error(transparent)]
    Look(#[from] ReadOnlyError),
    /// What is in it.
    #[error("the log cannot be read ({0}); holdline doctor examines it")]
    Unreadable(#[from] rusqlite::Error),
    /// What is searched for.
    #[error("{0} holds no word, of letters or digits, to search for; name one")]
    NoWords(String),
}

impl LogReader {
    /// Reads in the database of a data directory; it must be there, be ours, and be up to date.
    pub fn open(data: &Path) -> Result<LogReader, ReadError> {
        let reader = LogReader { data: data.to_owned() };
        reader.look(|_| Ok(()))?;
        Ok(reader)
    }

    /// Hands over the messages of a selection, oldest first, one by one. Says how many they were.
    pub fn history<E: From<ReadError>>(
        &self,
        selection: &Selection,
        each: impl FnMut(LogLine) -> Result<(), E>,
    ) -> Result<usize, E> {
        let Selection { with, before, count } = selection;
        match with {
            None => self.span(self.look(|connection| Ok(span(connection, *before, *count)?))?, each),
            Some(with) => {
                self.each_of(&self.look(|connection| Ok(seqs_with(connection, with, *before, *count)?))?, each)
            }
        }
    }

    /// Hands over the messages of a selection that hold all of these words, newest first, one by one. Says how many they were.
    pub fn search<E: From<ReadError>>(
        &self,
        words: &str,
        selection: &Selection,
        each: impl FnMut(LogLine) -> Result<(), E>,
    ) -> Result<usize, E> {
        let question = Question::parse(words).ok_or_else(|| ReadError::NoWords(quoted(words)))?;
        self.each_of(&self.look(|connection| Ok(search::seqs(connection, &question, selection)?))?, each)
    }

    /// Hands over these messages, in this order, as far as they are still there. Says how many they were.
    fn each_of<E: From<ReadError>>(
        &self,
        seqs: &[Seq],
        mut each: impl FnMut(LogLine) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut count = 0;
        for piece in seqs.chunks(PRINTED_MESSAGES_MAX) {
            let lines = self.look(|connection| {
                let mut line = connection.prepare(ONE)?;
                let lines = piece.iter().map(|seq| line.query_row([seq.get()], log_line).optional());
                Ok(lines.filter_map(Result::transpose).collect::<rusqlite::Result<Vec<_>>>()?)
            })?;
            count += lines.len();
            lines.into_iter().try_for_each(&mut each)?;
        }
        Ok(count)
    }

    /// Hands over all messages between these two, both excluded.
    fn span<E: From<ReadError>>(
        &self,
        (mut after, before): (Seq, Seq),
        mut each: impl FnMut(LogLine) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut count = 0;
        loop {
            let lines = self.look(|connection| {
                let piece = params![after.get(), before.get(), PRINTED_MESSAGES_MAX as i64];
                Ok(connection.prepare(SPAN)?.query_map(piece, log_line)?.collect::<rusqlite::Result<Vec<_>>>()?)
            })?;
            let Some(last) = lines.last() else { return Ok(count) };
            after = last.seq;
            count += lines.len();
            lines.into_iter().try_for_each(&mut each)?;
        }
    }

    /// A short look: between two of them the server may start, stop, and do as it pleases.
    fn look<T>(&self, mut look: impl FnMut(&Connection) -> Result<T, ReadError>) -> Result<T, ReadError> {
        read_only::read(&self.data, |database: &ReadOnlyDatabase| {
            schema::check_newest(database.connection(), database.path()).map_err(ReadOnlyError::from)?;
            look(database.connection())
        })
    }
}

/// One message as the view shows it, with the text of the table.
const ONE: &str = "
    select history.seq, history.at, history.sender, history.recipients, message.text, history.waiting_for
    from history join message using (seq) where message.seq = ?1";

/// The first ?3 messages between two.
const SPAN: &str = "
    select history.seq, history.at, history.sender, history.recipients, message.text, history.waiting_for
    from history join message using (seq) where message.seq > ?1 and message.seq < ?2 order by message.seq limit ?3";

fn log_line(row: &Row<'_>) -> rusqlite::Result<LogLine> {
    Ok(LogLine {
        seq: Seq::new(row.get(0)?),
        at: row.get(1)?,
        sender: row.get(2)?,
        recipients: names(row, 3)?,
        text: text(row, 4)?,
        waiting_for: names(row, 5)?,
    })
}

/// No name holds a comma.
fn names(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<String>> {
    let joined = row.get_ref(column)?.as_str()?;
    Ok(joined.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// Between which two messages the newest before this one are, both excluded.
fn span(connection: &Connection, before: Seq, count: usize) -> rusqlite::Result<(Seq, Seq)> {
    let sql = "select min(seq), max(seq) from (select seq from message where seq < ?1 order by seq desc limit ?2)";
    let ends = connection.query_row(sql, params![before.get(), number(count)], |row| {
        Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
    })?;
    Ok(match ends {
        // What comes meanwhile is not among them.
        (Some(first), Some(last)) => (Seq::new(first.saturating_sub(1)), Seq::new(last.saturating_add(1))),
        _ => (before, before),
    })
}

/// The newest messages before this one that a peer was part of or that a room holds, the oldest first.
fn seqs_with(connection: &Connection, with: &Destination, before: Seq, count: usize) -> rusqlite::Result<Vec<Seq>> {
    let mut index = Index::new(connection, index::whole_tail(connection)?, IndexLimits::default())?;
    let mut members = Members::new(connection)?;
    let is_kept = connection.prepare("select 1 from message where seq = ?1")?;
    let mut newest = Newest { is_kept, seqs: Vec::new(), count };
    match with {
        Destination::Peer(name) => {
            if let Some(peer) = find(connection, "select id from peer where name = ?1", name.as_str())? {
                let peer = PeerId::new(peer);
                let sent = sent(connection, peer, index.newest_sent(peer)?, before, count)?;
                let viewer = Viewer::of(peer, &mut members)?;
                let inboxes = Inboxes::before(&viewer, before, &mut index)?;
                newest.take(sent, inboxes, &mut index)?;
            }
        }
        Destination::Room(room) => {
            if let Some(room) = find(connection, "select id from room where name = ?1", room.as_str())? {
                let inbox = Inboxes::of_room(RoomId::new(room), Seq::ZERO, before, &mut index)?;
                newest.take(Vec::new(), inbox, &mut index)?;
            }
        }
    }
    newest.seqs.reverse();
    Ok(newest.seqs)
}

/// The newest messages of several kinds.
struct Newest<'c> {
    is_kept: Statement<'c>,
    seqs: Vec<Seq>,
    count: usize,
}

impl Newest<'_> {
    /// Takes what was sent and what stands in inboxes, each message once, as far as it was not removed.
    fn take(&mut self, sent: Vec<Seq>, mut inboxes: Inboxes, index: &mut Index<'_>) -> rusqlite::Result<()> {
        let mut sent = sent.into_iter().peekable();
        while self.seqs.len() < self.count
            && let Some(seq) = sent.peek().copied().max(inboxes.peek())
        {
            sent.next_if_eq(&seq);
            if inboxes.peek() == Some(seq) {
                inboxes.next(index)?;
            }
            if self.is_kept.exists([seq.get()])? {
                self.seqs.push(seq);
            }
        }
        Ok(())
    }
}

/// The newest messages that a peer sent before this one, the newest first. Where a removed message breaks the chain, what is
/// left of it below still waited for someone.
fn sent(connection: &Connection, peer: PeerId, newest: Seq, before: Seq, count: usize) -> rusqlite::Result<Vec<Seq>> {
    let mut previous = connection.prepare("select previous from message where seq = ?1")?;
    let mut seqs = Vec::new();
    let mut seq = newest;
    while seq > Seq::ZERO && seqs.len() < count {
        let Some(found) = previous.query_row([seq.get()], |row| row.get(0)).optional()? else {
            seqs.extend(sent_below(connection, peer, seq.min(before), count - seqs.len())?);
            break;
        };
        if seq < before {
            seqs.push(seq);
        }
        // A damaged chain ends as well.
        seq = Seq::new(found).min(Seq::new(seq.get() - 1));
    }
    Ok(seqs)
}

/// The same without the chain: it takes a look at every message.
fn sent_below(connection: &Connection, peer: PeerId, before: Seq, count: usize) -> rusqlite::Result<Vec<Seq>> {
    let sql = "select seq from message where seq < ?1 and sender = ?2 order by seq desc limit ?3";
    let below = params![before.get(), peer.get(), number(count)];
    connection.prepare(sql)?.query_map(below, |row| row.get(0).map(Seq::new))?.collect()
}

fn find(connection: &Connection, sql: &str, name: &str) -> rusqlite::Result<Option<i64>> {
    connection.query_row(sql, [name], |row| row.get(0)).optional()
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
