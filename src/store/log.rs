//! The log: every statement that a running server makes, prepared once. Owns how entries become rows and rows become
//! pages; never which of them are made when.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs::File;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Statement, params};

use super::wal::Wal;
use super::{Answer, CommitError, Entry, FoundPeer, Page, PeerRecord, Read, TurnOutcome, TurnRequest, schema};
use crate::config::Durability;
use crate::limits::{
    HISTORY_BYTES_MAX, HISTORY_SCAN_ROWS_MAX, PAGE_BYTES_MAX, PAGE_MESSAGES_MAX, SENDERS_REMEMBERED_MAX,
    TURN_PAGES_BYTES_MAX,
};
use crate::message::{Message, PeerId, PeerName, Seq, Text, Timestamp};
use crate::protocol::PastMessage;

/// The log as the store's thread uses it.
pub(super) struct Log<'c> {
    connection: &'c Connection,
    /// Holds what was committed, until it is copied into the database file.
    wal: Wal<'c>,
    durability: Durability,
    /// What `pragma synchronous` was last set to.
    synchronous: Option<Synchronous>,
    /// The newest committed message.
    newest: Seq,
    /// The newest message of those who sent something lately: each message points to the one before it.
    sent: HashMap<PeerId, Seq>,
    /// The text of one message's `recipients`, kept for its memory.
    recipients: String,
    statements: Statements<'c>,
}

/// `pragma synchronous`, for a database in WAL mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synchronous {
    /// A commit is written, and synced by the next one that is `Full` or by the next checkpoint.
    Normal,
    /// A commit is synced before it returns.
    Full,
}

struct Statements<'c> {
    begin: Statement<'c>,
    commit: Statement<'c>,
    rollback: Statement<'c>,
    find_peer: Statement<'c>,
    put_peer: Statement<'c>,
    find_sent: Statement<'c>,
    put_sent: Statement<'c>,
    put_message: Statement<'c>,
    put_inbox: Statement<'c>,
    page: Statement<'c>,
    names: Statement<'c>,
    history: Statement<'c>,
    history_with: Statement<'c>,
}

impl<'c> Log<'c> {
    pub(super) fn new(connection: &'c Connection, wal: File, durability: Durability, newest: Seq) -> Self {
        let statements = Statements::prepare(connection).expect("statements fit the schema that was just checked");
        let wal = Wal::new(connection, wal).expect("these statements fit every schema");
        Log {
            connection,
            wal,
            durability,
            synchronous: None,
            newest,
            sent: HashMap::new(),
            recipients: String::new(),
            statements,
        }
    }

    /// What is kept of each of these names.
    pub(super) fn lookup(&mut self, names: &[PeerName]) -> rusqlite::Result<Vec<Option<FoundPeer>>> {
        names
            .iter()
            .map(|name| self.statements.find_peer.query_row([name.as_str()], |row| found_peer(name, row)).optional())
            .collect()
    }

    /// Applies a turn's entries in one transaction, then answers its reads.
    pub(super) fn turn(&mut self, turn: TurnRequest) -> TurnOutcome {
        let TurnRequest { entries, reads } = turn;
        let before = self.newest;
        let commit = if entries.is_empty() { Ok(()) } else { self.commit(&entries) };
        let mut page_bytes_left = TURN_PAGES_BYTES_MAX;
        let answers = reads.iter().map(|read| self.read(read, &mut page_bytes_left)).collect();
        TurnOutcome { entries, commit, before, newest: self.newest, answers }
    }

    /// The write-ahead log.
    pub(super) fn wal(&mut self) -> &mut Wal<'c> {
        &mut self.wal
    }

    /// Chooses how the next commits are synced.
    pub(super) fn set_synchronous(&mut self, wanted: Synchronous) -> rusqlite::Result<()> {
        if self.synchronous != Some(wanted) {
            let value = match wanted {
                Synchronous::Normal => "pragma synchronous = normal",
                Synchronous::Full => "pragma synchronous = full",
            };
            self.connection.execute_batch(value)?;
            self.synchronous = Some(wanted);
        }
        Ok(())
    }

    fn wanted(&self, entries: &[Entry]) -> Synchronous {
        let promised = self.durability == Durability::PowerLoss && entries.iter().any(Entry::is_promise);
        if promised { Synchronous::Full } else { Synchronous::Normal }
    }

    fn commit(&mut self, entries: &[Entry]) -> Result<(), CommitError> {
        let committed = self.try_commit(entries);
        match committed {
            Ok(newest) => {
                self.newest = newest;
                Ok(())
            }
            Err(error) => {
                // After some errors SQLite has rolled back by itself.
                if !self.connection.is_autocommit() {
                    let _ = self.statements.rollback.execute([]);
                }
                // It holds what was rolled back.
                self.sent.clear();
                if self.wal.note_failure(&error) {
                    self.take_back();
                }
                Err(explain(&error))
            }
        }
    }

    fn try_commit(&mut self, entries: &[Entry]) -> rusqlite::Result<Seq> {
        self.set_synchronous(self.wanted(entries))?;
        self.statements.begin.execute([])?;
        self.wal.settle_in_transaction()?;
        let mut newest = self.newest;
        for entry in entries {
            match entry {
                Entry::Peer(record) => self.put_peer(record)?,
                Entry::Message { at, sender, recipients, text } => {
                    newest = newest.next();
                    self.put_message(newest, *at, *sender, recipients, text)?;
                }
            }
        }
        self.put_sent()?;
        self.statements.commit.execute([])?;
        Ok(newest)
    }

    /// A commit that could not be synced was written all the same, and would be found after a crash, though its senders were
    /// told otherwise. One that changes nothing, and is not synced, takes its place.
    fn take_back(&mut self) {
        let _ = self.set_synchronous(Synchronous::Normal).and_then(|()| schema::write_nothing_new(self.connection));
    }

    fn put_peer(&mut self, record: &PeerRecord) -> rusqlite::Result<()> {
        let PeerRecord { id, name, seen, cursor } = record;
        let rows = self.statements.put_peer.execute(params![id.get(), name.as_str(), seen, cursor.get()])?;
        assert_eq!(rows, 1, "one peer is one row");
        Ok(())
    }

    fn put_message(
        &mut self,
        seq: Seq,
        at: Timestamp,
        sender: PeerId,
        recipients: &[PeerId],
        text: &Text,
    ) -> rusqlite::Result<()> {
        self.recipients.clear();
        for (place, recipient) in recipients.iter().enumerate() {
            let before = if place == 0 { '[' } else { ',' };
            write!(self.recipients, "{before}{}", recipient.get()).expect("a string takes all");
        }
        self.recipients.push(']');
        let previous = self.previous(sender, seq)?;
        let row = params![seq.get(), at.millis(), sender.get(), previous.get(), self.recipients, text.as_str()];
        self.statements.put_message.execute(row)?;
        for recipient in recipients {
            self.statements.put_inbox.execute(params![recipient.get(), seq.get(), sender.get()])?;
        }
        Ok(())
    }

    /// What a sender sent before this message, which is from now on its newest.
    fn previous(&mut self, sender: PeerId, seq: Seq) -> rusqlite::Result<Seq> {
        if let Some(sent) = self.sent.get_mut(&sender) {
            return Ok(std::mem::replace(sent, seq));
        }
        // A peer that was never kept has sent nothing.
        let found = self.statements.find_sent.query_row([sender.get()], |row| row.get(0)).optional()?;
        self.sent.insert(sender, seq);
        Ok(Seq::new(found.unwrap_or(0)))
    }

    /// Keeps the newest message of each who sent one in this turn.
    fn put_sent(&mut self) -> rusqlite::Result<()> {
        for (sender, seq) in &self.sent {
            if *seq > self.newest {
                let rows = self.statements.put_sent.execute([sender.get(), seq.get()])?;
                assert_eq!(rows, 1, "whoever sends has been kept");
            }
        }
        if self.sent.len() > SENDERS_REMEMBERED_MAX {
            self.sent.clear();
        }
        Ok(())
    }

    fn read(&mut self, read: &Read, page_bytes_left: &mut usize) -> Answer {
        let answer = match read {
            Read::Page { peer, after } => self.page(*peer, *after, page_bytes_left).map(Answer::Page),
            Read::History { peer, with, count } => self.history(*peer, *with, *count).map(Answer::History),
        };
        answer.unwrap_or_else(|error| Answer::Failed(error.to_string()))
    }

    fn page(&mut self, peer: PeerId, after: Seq, page_bytes_left: &mut usize) -> rusqlite::Result<Page> {
        let mut page = Page::default();
        let mut bytes_left = PAGE_BYTES_MAX.min(*page_bytes_left);
        let mut rows = self.statements.page.query(params![peer.get(), after.get(), PAGE_MESSAGES_MAX as i64])?;
        while bytes_left > 0 {
            let Some(row) = rows.next()? else {
                page.complete = page.messages.len() < PAGE_MESSAGES_MAX;
                break;
            };
            let message = message(row)?;
            // The last message may go over: a page with room for anything holds at least one.
            let bytes = message.text.len() + message.sender.as_str().len();
            bytes_left = bytes_left.saturating_sub(bytes);
            *page_bytes_left = page_bytes_left.saturating_sub(bytes);
            page.messages.push(message);
        }
        Ok(page)
    }

    fn history(&mut self, peer: PeerId, with: Option<PeerId>, count: usize) -> rusqlite::Result<Vec<PastMessage>> {
        let Statements { history, history_with, names, .. } = &mut self.statements;
        let mut rows = match with {
            None => history.query(params![peer.get(), count as i64, HISTORY_SCAN_ROWS_MAX as i64])?,
            Some(with) => {
                history_with.query(params![peer.get(), with.get(), HISTORY_SCAN_ROWS_MAX as i64, count as i64])?
            }
        };
        let mut messages = Vec::new();
        let mut bytes = 0;
        while let Some(row) = rows.next()?
            && bytes < HISTORY_BYTES_MAX
        {
            let message = past_message(peer, row, names)?;
            bytes += message.text.len();
            messages.push(message);
        }
        messages.reverse();
        Ok(messages)
    }
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Statements {
            begin: connection.prepare("begin immediate")?,
            commit: connection.prepare("commit")?,
            rollback: connection.prepare("rollback")?,
            find_peer: connection.prepare(
                "select id, seen, cursor, (select count(*) from inbox where recipient = peer.id and seq > peer.cursor)
                 from peer where name = ?1",
            )?,
            put_peer: connection.prepare(
                "insert into peer (id, name, seen, cursor) values (?1, ?2, ?3, ?4)
                 on conflict (id) do update
                 set seen = max(seen, excluded.seen), cursor = max(cursor, excluded.cursor)",
            )?,
            find_sent: connection.prepare("select sent from peer where id = ?1")?,
            put_sent: connection.prepare("update peer set sent = ?2 where id = ?1")?,
            put_message: connection.prepare(
                "insert into message (seq, at, sender, previous, recipients, text) values (?1, ?2, ?3, ?4, ?5, ?6)",
            )?,
            put_inbox: connection.prepare("insert into inbox (recipient, seq, sender) values (?1, ?2, ?3)")?,
            page: connection.prepare(
                "select message.seq, message.at, sender.name, message.text
                 from inbox
                 join message on message.seq = inbox.seq
                 join peer as sender on sender.id = inbox.sender
                 where inbox.recipient = ?1 and inbox.seq > ?2
                 order by inbox.seq limit ?3",
            )?,
            names: connection.prepare(
                "select peer.name from json_each(?1) as addressed join peer on peer.id = addressed.value
                 order by addressed.key",
            )?,
            history: connection.prepare(
                "with recursive sent (seq) as (
                     select sent from peer where id = ?1
                     union all
                     select previous from sent join message using (seq)
                     limit ?2 + 1
                 ),
                 -- Where a removed message breaks the chain, what is left of it still waited for someone.
                 left (seq) as (
                     select seq from (
                         select seq, sender from message
                         where seq < (select min(seq) from sent having count(*) <= ?2)
                         order by seq desc limit ?3
                     )
                     where sender = ?1 limit ?2
                 )
                 select message.at, message.sender, sender.name, message.recipients, message.text
                 from (
                     select seq from sent
                     union
                     select seq from left
                     union
                     select seq from (select seq from inbox where recipient = ?1 order by seq desc limit ?2)
                 ) as part
                 join message on message.seq = part.seq
                 join peer as sender on sender.id = message.sender
                 order by part.seq desc limit ?2",
            )?,
            history_with: connection.prepare(
                "select message.at, message.sender, sender.name, message.recipients, message.text
                 from (
                     select seq from (
                         select seq from (select seq, sender from inbox where recipient = ?1 order by seq desc limit ?3)
                         where sender = ?2 limit ?4
                     )
                     union
                     select seq from (
                         select seq from (select seq, sender from inbox where recipient = ?2 order by seq desc limit ?3)
                         where sender = ?1 limit ?4
                     )
                     order by seq desc limit ?4
                 ) as part
                 join message on message.seq = part.seq
                 join peer as sender on sender.id = message.sender
                 order by part.seq desc",
            )?,
        })
    }
}

fn found_peer(name: &PeerName, row: &Row<'_>) -> rusqlite::Result<FoundPeer> {
    let record = PeerRecord {
        id: PeerId::new(row.get(0)?),
        name: name.clone(),
        seen: row.get(1)?,
        cursor: Seq::new(row.get(2)?),
    };
    Ok(FoundPeer { record, waiting: row.get::<_, i64>(3)? as u64 })
}

fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        seq: Seq::new(row.get(0)?),
        at: Timestamp::from_millis(row.get(1)?),
        sender: PeerName::stored(row.get_ref(2)?.as_str()?),
        text: Text::stored(text(row, 3)?),
    })
}

fn past_message(asker: PeerId, row: &Row<'_>, names: &mut Statement<'_>) -> rusqlite::Result<PastMessage> {
    let recipients: String = row.get(3)?;
    let recipients = names
        .query_map([recipients], |row| Ok(PeerName::stored(row.get_ref(0)?.as_str()?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(PastMessage {
        at: Timestamp::from_millis(row.get(0)?),
        sent: row.get::<_, i64>(1)? == asker.get(),
        sender: PeerName::stored(row.get_ref(2)?.as_str()?),
        recipients,
        text: text(row, 4)?,
    })
}

/// A text as far as it can be read: one damaged letter must not hold back all that is behind it.
pub(super) fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(String::from_utf8_lossy(row.get_ref(column)?.as_bytes()?).into_owned())
}

fn explain(error: &rusqlite::Error) -> CommitError {
    let words = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
            CommitError::Storage(words)
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => CommitError::Busy(words),
        _ => CommitError::Database(words),
    }
}
