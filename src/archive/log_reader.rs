//! Reads the log for `holdline history` and `holdline search`, beside a running server or without one. Selects the messages and
//! reads them in pieces; never writes, holds no lock while messages are printed, and leaves no file behind.

mod search;
mod selection;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Statement, params};

pub use self::selection::Selection;
use self::selection::find_id;
use super::read_only::{self, ReadOnlyDatabase, ReadOnlyError};
use crate::database::column::{name, seq as seq_at, text};
use crate::database::inboxes::Inboxes;
use crate::database::index::{self, Index, IndexLimits};
use crate::database::members::Members;
use crate::database::schema;
use crate::database::search::WordQuery;
use crate::database::visibility::Viewer;
use crate::limits::PRINTED_MESSAGES_MAX;
use crate::message::{Destination, PeerId, RoomId, Seq, quoted};

/// Reader of the log in a data directory.
#[derive(Debug)]
pub struct LogReader {
    data: PathBuf,
}

/// Message of the log, as the view `history` shows it, but with the text as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Place in the log.
    pub seq: Seq,
    /// Time in ISO 8601, UTC, with milliseconds.
    pub at: String,
    /// Name of the sender.
    pub sender: String,
    /// Names of peers and rooms, as addressed.
    pub recipients: Vec<String>,
    /// Text, with its newlines.
    pub text: String,
    /// Names of the peers that have not received the message yet.
    pub waiting_for: Vec<String>,
}

/// Reason why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database cannot be opened.
    #[error(transparent)]
    Database(#[from] ReadOnlyError),
    /// A query failed.
    #[error("cannot read the log ({0}); run holdline doctor to examine the database")]
    Unreadable(#[from] rusqlite::Error),
    /// The search query contains no word.
    #[error("{0} contains no word to search for; give at least one with letters or digits")]
    NoWords(String),
}

impl LogReader {
    /// Opens the log. Fails if the database is missing, belongs to another program, or has another schema version.
    pub fn open(data: &Path) -> Result<LogReader, ReadError> {
        let reader = LogReader { data: data.to_owned() };
        reader.read(|_| Ok(()))?;
        Ok(reader)
    }

    /// Passes the messages of a selection to `each`, oldest first. Returns their number.
    pub fn history<E: From<ReadError>>(
        &self,
        selection: &Selection,
        each: impl FnMut(LogLine) -> Result<(), E>,
    ) -> Result<usize, E> {
        let Selection { with, before, count } = selection;
        match with {
            None => self.span(self.read(|connection| Ok(span(connection, *before, *count)?))?, each),
            Some(with) => {
                self.each_of(&self.read(|connection| Ok(seqs_with(connection, with, *before, *count)?))?, each)
            }
        }
    }

    /// Passes the messages of a selection that contain all words to `each`, newest first. Returns their number.
    pub fn search<E: From<ReadError>>(
        &self,
        words: &str,
        selection: &Selection,
        each: impl FnMut(LogLine) -> Result<(), E>,
    ) -> Result<usize, E> {
        let query = WordQuery::parse(words).ok_or_else(|| ReadError::NoWords(quoted(words)))?;
        self.each_of(&self.read(|connection| Ok(search::seqs(connection, &query, selection)?))?, each)
    }

    /// Passes these messages to `each`, in this order, without those that were removed meanwhile. Returns their number.
    fn each_of<E: From<ReadError>>(
        &self,
        seqs: &[Seq],
        mut each: impl FnMut(LogLine) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut count = 0;
        for piece in seqs.chunks(PRINTED_MESSAGES_MAX) {
            let lines = self.read(|connection| Ok(lines_of(connection, piece)?))?;
            count += lines.len();
            lines.into_iter().try_for_each(&mut each)?;
        }
        Ok(count)
    }

    /// Passes all messages between `after` and `before`, both excluded, to `each`. Returns their number.
    fn span<E: From<ReadError>>(
        &self,
        (mut after, before): (Seq, Seq),
        mut each: impl FnMut(LogLine) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut count = 0;
        loop {
            let lines = self.read(|connection| Ok(lines_between(connection, after, before)?))?;
            let Some(last) = lines.last() else { return Ok(count) };
            after = last.seq;
            count += lines.len();
            lines.into_iter().try_for_each(&mut each)?;
        }
    }

    /// Opens the database for one short read. Between two reads the server may start, stop, and write.
    fn read<T>(&self, mut read: impl FnMut(&Connection) -> Result<T, ReadError>) -> Result<T, ReadError> {
        read_only::read(&self.data, |database: &ReadOnlyDatabase| {
            schema::check_newest(database.connection(), database.path()).map_err(ReadOnlyError::from)?;
            read(database.connection())
        })
    }
}

/// SQL for one message as the view `history` shows it, with the text of the table.
const ONE: &str = "
    select history.seq, history.at, history.sender, history.recipients, message.text, history.waiting_for
    from history join message using (seq) where message.seq = ?1";

/// SQL for the first ?3 messages between two others.
const SPAN: &str = "
    select history.seq, history.at, history.sender, history.recipients, message.text, history.waiting_for
    from history join message using (seq) where message.seq > ?1 and message.seq < ?2 order by message.seq limit ?3";

/// SQL for one message whose recipients are no JSON: the view fails then.
const DAMAGED: &str = "
    select message.seq, strftime('%Y-%m-%dT%H:%M:%fZ', message.at / 1000.0, 'unixepoch'), sender.name, '', message.text, ''
    from message join peer as sender on sender.id = message.sender where message.seq = ?1";

/// SQL for the numbers of the messages of [`SPAN`].
const SPAN_SEQS: &str = "select seq from message where seq > ?1 and seq < ?2 order by seq limit ?3";

/// Reads the first messages between two others, as many as are printed at once.
fn lines_between(connection: &Connection, after: Seq, before: Seq) -> rusqlite::Result<Vec<LogLine>> {
    let piece = params![after.get(), before.get(), PRINTED_MESSAGES_MAX as i64];
    let lines = connection.prepare(SPAN)?.query_map(piece, log_line)?.collect();
    match lines {
        Err(error) if is_of_row(&error) => {
            let mut seqs = connection.prepare(SPAN_SEQS)?;
            let seqs = seqs.query_map(piece, |row| row.get(0).map(Seq::new))?.collect::<rusqlite::Result<Vec<_>>>()?;
            lines_of(connection, &seqs)
        }
        lines => lines,
    }
}

/// Reads these messages, without those that were removed.
fn lines_of(connection: &Connection, seqs: &[Seq]) -> rusqlite::Result<Vec<LogLine>> {
    let mut line = connection.prepare(ONE)?;
    let lines = seqs.iter().map(|seq| match line.query_row([seq.get()], log_line).optional() {
        Err(error) if is_of_row(&error) => connection.query_row(DAMAGED, [seq.get()], log_line).optional(),
        line => line,
    });
    lines.filter_map(Result::transpose).collect()
}

/// Whether an error comes from the values of a row, and not from the file.
fn is_of_row(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), None | Some(ErrorCode::Unknown))
}

fn log_line(row: &Row<'_>) -> rusqlite::Result<LogLine> {
    Ok(LogLine {
        seq: Seq::new(row.get(0)?),
        at: text(row, 1)?,
        sender: name(row, 2)?.as_str().to_owned(),
        recipients: names(row, 3)?,
        text: text(row, 4)?,
        waiting_for: names(row, 5)?,
    })
}

/// Splits a list of names at its commas; no name contains one.
fn names(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<String>> {
    let joined = text(row, column)?;
    Ok(joined.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// Returns the messages between which the newest `count` messages before `before` are; both are excluded.
fn span(connection: &Connection, before: Seq, count: usize) -> rusqlite::Result<(Seq, Seq)> {
    let sql = "select min(seq), max(seq) from (select seq from message where seq < ?1 order by seq desc limit ?2)";
    let ends = connection.query_row(sql, params![before.get(), number(count)], |row| {
        Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
    })?;
    Ok(match ends {
        // A message that arrives from now on is outside.
        (Some(first), Some(last)) => (Seq::new(first.saturating_sub(1)), Seq::new(last.saturating_add(1))),
        _ => (before, before),
    })
}

/// Returns the newest messages before `before` of a room or that a peer may read, oldest first.
fn seqs_with(connection: &Connection, with: &Destination, before: Seq, count: usize) -> rusqlite::Result<Vec<Seq>> {
    let mut index = Index::new(connection, index::whole_tail(connection)?, IndexLimits::default())?;
    let mut members = Members::new(connection)?;
    let find = connection.prepare("select 1 from message where seq = ?1")?;
    let mut newest = NewestMessages { find, seqs: Vec::new(), count };
    match with {
        Destination::Peer(name) => {
            if let Some(peer) = find_id(connection, "select id from peer where name = ?1", name.as_str())? {
                let peer = PeerId::new(peer);
                let sent = sent(connection, peer, index.newest_sent(peer)?, before, count)?;
                let viewer = Viewer::of(peer, &mut members)?;
                let inboxes = Inboxes::before(&viewer, before).opened(&mut index)?;
                newest.merge(sent, inboxes, &mut index)?;
            }
        }
        Destination::Room(room) => {
            if let Some(room) = find_id(connection, "select id from room where name = ?1", room.as_str())? {
                let room = RoomId::new(room);
                let inbox = Inboxes::of_room(&Viewer::of_whole_room(room), room, before).opened(&mut index)?;
                newest.merge(Vec::new(), inbox, &mut index)?;
            }
        }
    }
    newest.seqs.reverse();
    Ok(newest.seqs)
}

/// Newest messages that are collected, newest first.
struct NewestMessages<'c> {
    find: Statement<'c>,
    seqs: Vec<Seq>,
    count: usize,
}

impl NewestMessages<'_> {
    /// Merges sent messages, newest first, with those of inboxes. Adds each message once, and none that was removed.
    fn merge(&mut self, sent: Vec<Seq>, mut inboxes: Inboxes, index: &mut Index<'_>) -> rusqlite::Result<()> {
        let mut sent = sent.into_iter().peekable();
        while self.seqs.len() < self.count
            && let Some(seq) = sent.peek().copied().max(inboxes.peek())
        {
            sent.next_if_eq(&seq);
            if inboxes.peek() == Some(seq) {
                inboxes.next(index)?;
            }
            if self.find.exists([seq.get()])? {
                self.seqs.push(seq);
            }
        }
        Ok(())
    }
}

/// Returns the newest messages before `before` that a peer sent, newest first. Follows the chain of `previous`. Where a removed
/// message breaks the chain, scans the rest of the log: older messages may remain, as they still wait for a recipient.
fn sent(connection: &Connection, peer: PeerId, newest: Seq, before: Seq, count: usize) -> rusqlite::Result<Vec<Seq>> {
    let mut previous = connection.prepare("select previous from message where seq = ?1")?;
    let mut seqs = Vec::new();
    let mut seq = newest;
    while seq > Seq::ZERO && seqs.len() < count {
        let Some(found) = previous.query_row([seq.get()], |row| seq_at(row, 0)).optional()? else {
            seqs.extend(sent_below(connection, peer, seq.min(before), count - seqs.len())?);
            break;
        };
        if seq < before {
            seqs.push(seq);
        }
        // The second bound makes a damaged chain end, too.
        seq = found.min(Seq::new(seq.get() - 1));
    }
    Ok(seqs)
}

/// Like [`sent`], without the chain: scans all messages before `before`.
fn sent_below(connection: &Connection, peer: PeerId, before: Seq, count: usize) -> rusqlite::Result<Vec<Seq>> {
    let sql = "select seq from message where seq < ?1 and sender = ?2 order by seq desc limit ?3";
    let below = params![before.get(), peer.get(), number(count)];
    connection.prepare(sql)?.query_map(below, |row| row.get(0).map(Seq::new))?.collect()
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
