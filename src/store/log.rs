//! The log: every statement that a running server makes, prepared once. Owns how entries become rows and rows become
//! pages; never which of them are made when.

use std::fs::File;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Statement, Transaction, TransactionBehavior, params};

use super::index::{Index, Tail};
use super::insert::Insert;
use super::wal::{Wal, WalPages};
use super::{Answer, CommitError, Entry, FoundPeer, Page, PeerRecord, Read, TurnOutcome, TurnRequest, array, schema};
use crate::config::Durability;
use crate::limits::{
    HISTORY_BYTES_MAX, HISTORY_SCAN_MESSAGES_MAX, PAGE_BYTES_MAX, PAGE_MESSAGES_MAX, TURN_PAGES_BYTES_MAX,
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
    index: Index<'c>,
    put_message: Insert<'c>,
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
    begin_to_read: Statement<'c>,
    commit: Statement<'c>,
    rollback: Statement<'c>,
    find_peer: Statement<'c>,
    put_peer: Statement<'c>,
    message: Statement<'c>,
    sender: Statement<'c>,
    past_message: Statement<'c>,
    names: Statement<'c>,
    sent: Statement<'c>,
}

impl<'c> Log<'c> {
    pub(super) fn new(
        connection: &'c Connection,
        (pages, wal): (WalPages, File),
        durability: Durability,
        newest: Seq,
        tail: Tail,
    ) -> rusqlite::Result<Self> {
        Ok(Log {
            connection,
            wal: Wal::new(connection, pages, wal)?,
            durability,
            synchronous: None,
            newest,
            index: Index::new(connection, tail)?,
            put_message: Insert::prepare(
                connection,
                "insert into message (seq, at, sender, previous, recipients, text)",
                6,
            )?,
            statements: Statements::prepare(connection)?,
        })
    }

    /// What is kept of each of these names.
    pub(super) fn lookup(&mut self, names: &[PeerName]) -> rusqlite::Result<Vec<Option<FoundPeer>>> {
        names.iter().map(|name| self.find_peer(name)).collect()
    }

    fn find_peer(&mut self, name: &PeerName) -> rusqlite::Result<Option<FoundPeer>> {
        let found = self.statements.find_peer.query_row([name.as_str()], |row| peer_record(name, row)).optional()?;
        let Some(record) = found else { return Ok(None) };
        let waiting = self.index.first_after(record.id, record.cursor, usize::MAX)?.len() as u64;
        Ok(Some(FoundPeer { record, waiting }))
    }

    /// Applies a turn's entries in one transaction, then answers its reads.
    pub(super) fn turn(&mut self, turn: TurnRequest) -> TurnOutcome {
        let TurnRequest { entries, reads } = turn;
        let before = self.newest;
        let commit = if entries.is_empty() { Ok(()) } else { self.commit(&entries) };
        let answers = if reads.is_empty() { Vec::new() } else { self.answers(&reads) };
        TurnOutcome { entries, commit, before, newest: self.newest, answers }
    }

    /// The index holds every message up to here.
    pub(super) fn indexed(&self) -> Seq {
        self.index.indexed()
    }

    /// Brings the index up to date, in a transaction of its own. It is no promise: if the power takes it, the tail is longer.
    pub(super) fn catch_up<'t>(
        &mut self,
        begin: impl FnOnce() -> rusqlite::Result<Transaction<'t>>,
    ) -> rusqlite::Result<()> {
        if self.index.indexed() == self.newest {
            return Ok(());
        }
        self.set_synchronous(Synchronous::Normal)?;
        let transaction = begin()?;
        self.wal.settle_in_transaction()?;
        self.index.write(self.newest)?;
        transaction.commit()?;
        self.index.written(self.newest);
        Ok(())
    }

    /// The server stops: the next one begins with an index that is up to date, or else with the tail. Says whether the
    /// write-ahead log may be copied.
    pub(super) fn close(mut self) -> bool {
        let connection = self.connection;
        let begin = || Transaction::new_unchecked(connection, TransactionBehavior::Immediate);
        if let Err(error) = self.catch_up(begin) {
            self.wal.note_failure(&error);
        }
        self.wal.settle().is_ok()
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
                self.index.undo_sends();
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
        let is_indexed = self.index.is_due();
        if is_indexed {
            self.index.write(self.newest)?;
        }
        self.put_peers(entries)?;
        let newest = self.put_messages(entries)?;
        self.statements.commit.execute([])?;
        if is_indexed {
            self.index.written(self.newest);
        }
        self.add_to_index(entries);
        Ok(newest)
    }

    /// A commit that could not be synced was written all the same, and would be found after a crash, though its senders were
    /// told otherwise. One that changes nothing, and is not synced, takes its place.
    fn take_back(&mut self) {
        let _ = self.set_synchronous(Synchronous::Normal).and_then(|()| schema::write_nothing_new(self.connection));
    }

    fn put_peers(&mut self, entries: &[Entry]) -> rusqlite::Result<()> {
        for entry in entries {
            let Entry::Peer(PeerRecord { id, name, seen, cursor }) = entry else { continue };
            let row = params![id.get(), name.as_str(), seen, cursor.get()];
            assert_eq!(self.statements.put_peer.execute(row)?, 1, "one peer is one row");
        }
        Ok(())
    }

    /// Says which is the newest.
    fn put_messages(&mut self, entries: &[Entry]) -> rusqlite::Result<Seq> {
        let mut newest = self.newest;
        let mut json = String::new();
        self.put_message.insert(messages(entries), |&(at, sender, recipients, text), row| {
            newest = newest.next();
            json.clear();
            array::write(&mut json, recipients.iter().map(|recipient| recipient.get()));
            row.add(newest.get())?;
            row.add(at.millis())?;
            row.add(sender.get())?;
            row.add(self.index.send(sender, newest)?.get())?;
            row.add(&json)?;
            row.add(text.as_str())
        })?;
        Ok(newest)
    }

    fn add_to_index(&mut self, entries: &[Entry]) {
        let mut seq = self.newest;
        for (_, _, recipients, _) in messages(entries) {
            seq = seq.next();
            self.index.add(seq, recipients);
        }
        self.index.keep_sends();
    }

    /// In one transaction: a lock for each message that is read would cost more than the reading.
    fn answers(&mut self, reads: &[Read]) -> Vec<Answer> {
        let begun = self.statements.begin_to_read.execute([]).map_err(|error| error.to_string());
        let mut page_bytes_left = TURN_PAGES_BYTES_MAX;
        let answer = |read| match &begun {
            Ok(_) => self.read(read, &mut page_bytes_left),
            Err(error) => Answer::Failed(error.clone()),
        };
        let answers = reads.iter().map(answer).collect();
        // After some errors SQLite has ended it by itself; there is nothing in it to keep.
        if !self.connection.is_autocommit() {
            let _ = self.statements.rollback.execute([]);
        }
        answers
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
        let mut after = after;
        // What was removed may still stand in an inbox: where there is nothing else, it is passed over.
        while page.messages.is_empty() && !page.complete {
            let seqs = self.index.first_after(peer, after, PAGE_MESSAGES_MAX)?;
            page.complete = seqs.len() < PAGE_MESSAGES_MAX;
            for seq in seqs {
                if bytes_left == 0 {
                    page.complete = false;
                    return Ok(page);
                }
                after = seq;
                let Some(message) = self.statements.message.query_row([seq.get()], message).optional()? else {
                    continue;
                };
                // The last message may go over: a page with room for anything holds at least one.
                let bytes = message.text.len() + message.sender.as_str().len();
                bytes_left = bytes_left.saturating_sub(bytes);
                *page_bytes_left = page_bytes_left.saturating_sub(bytes);
                page.messages.push(message);
            }
        }
        Ok(page)
    }

    fn history(&mut self, peer: PeerId, with: Option<PeerId>, count: usize) -> rusqlite::Result<Vec<PastMessage>> {
        let mut seqs = match with {
            None => [self.sent(peer, count)?, self.got(peer, None, count)?],
            Some(with) => [self.got(with, Some(peer), count)?, self.got(peer, Some(with), count)?],
        }
        .concat();
        seqs.sort_unstable_by(|one, other| other.cmp(one));
        seqs.dedup();
        let mut messages = Vec::new();
        let mut bytes = 0;
        for seq in seqs {
            if messages.len() == count || bytes >= HISTORY_BYTES_MAX {
                break;
            }
            let Some(message) = self.past_message(peer, seq)? else { continue };
            bytes += message.text.len();
            messages.push(message);
        }
        messages.reverse();
        Ok(messages)
    }

    /// The newest messages that a peer sent.
    fn sent(&mut self, peer: PeerId, count: usize) -> rusqlite::Result<Vec<Seq>> {
        let newest = self.index.newest_sent(peer)?;
        let scan = HISTORY_SCAN_MESSAGES_MAX as i64;
        let sent = params![peer.get(), newest.get(), count as i64, scan];
        self.statements.sent.query_map(sent, |row| row.get(0).map(Seq::new))?.collect()
    }

    /// The newest messages for a peer; only those of one sender, where there is one.
    fn got(&mut self, peer: PeerId, from: Option<PeerId>, count: usize) -> rusqlite::Result<Vec<Seq>> {
        let Log { index, statements: Statements { sender, .. }, .. } = self;
        let (mut seqs, mut scanned) = (Vec::new(), 0);
        index.newest_first(peer, |seq| {
            // None: it was removed.
            let found = sender.query_row([seq.get()], |row| row.get(0).map(PeerId::new)).optional()?;
            if found.is_some_and(|found| from.is_none_or(|from| from == found)) {
                seqs.push(seq);
            }
            scanned += 1;
            Ok(seqs.len() < count && scanned < HISTORY_SCAN_MESSAGES_MAX)
        })?;
        Ok(seqs)
    }

    fn past_message(&mut self, asker: PeerId, seq: Seq) -> rusqlite::Result<Option<PastMessage>> {
        let Statements { past_message, names, .. } = &mut self.statements;
        let mut rows = past_message.query([seq.get()])?;
        rows.next()?.map(|row| past_message_of(asker, row, names)).transpose()
    }
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Statements {
            begin: connection.prepare("begin immediate")?,
            begin_to_read: connection.prepare("begin")?,
            commit: connection.prepare("commit")?,
            rollback: connection.prepare("rollback")?,
            find_peer: connection.prepare("select id, seen, cursor from peer where name = ?1")?,
            put_peer: connection.prepare(
                "insert into peer (id, name, seen, cursor) values (?1, ?2, ?3, ?4)
                 on conflict (id) do update
                 set seen = max(seen, excluded.seen), cursor = max(cursor, excluded.cursor)",
            )?,
            message: connection.prepare(
                "select message.seq, message.at, sender.name, message.text
                 from message join peer as sender on sender.id = message.sender where message.seq = ?1",
            )?,
            sender: connection.prepare("select sender from message where seq = ?1")?,
            past_message: connection.prepare(
                "select message.at, message.sender, sender.name, message.recipients, message.text
                 from message join peer as sender on sender.id = message.sender where message.seq = ?1",
            )?,
            names: connection.prepare(
                "select peer.name from json_each(?1) as addressed join peer on peer.id = addressed.value
                 order by addressed.key",
            )?,
            sent: connection.prepare(
                "with recursive sent (seq) as (
                     select ?2
                     union all
                     select previous from sent join message using (seq)
                     limit ?3 + 1
                 ),
                 -- Where a removed message breaks the chain, what is left of it still waited for someone.
                 left (seq) as (
                     select seq from (
                         select seq, sender from message
                         where seq < (select min(seq) from sent having count(*) <= ?3)
                         order by seq desc limit ?4
                     )
                     where sender = ?1 limit ?3
                 )
                 select seq from sent union select seq from left order by seq desc limit ?3 + 1",
            )?,
        })
    }
}

/// The messages among a turn's entries, in order.
fn messages(entries: &[Entry]) -> impl Iterator<Item = (Timestamp, PeerId, &[PeerId], &Text)> {
    entries.iter().filter_map(|entry| match entry {
        Entry::Message { at, sender, recipients, text } => Some((*at, *sender, &**recipients, text)),
        Entry::Peer(_) => None,
    })
}

fn peer_record(name: &PeerName, row: &Row<'_>) -> rusqlite::Result<PeerRecord> {
    Ok(PeerRecord {
        id: PeerId::new(row.get(0)?),
        name: name.clone(),
        seen: row.get(1)?,
        cursor: Seq::new(row.get(2)?),
    })
}

fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        seq: Seq::new(row.get(0)?),
        at: Timestamp::from_millis(row.get(1)?),
        sender: PeerName::stored(row.get_ref(2)?.as_str()?),
        text: Text::stored(text(row, 3)?),
    })
}

fn past_message_of(asker: PeerId, row: &Row<'_>, names: &mut Statement<'_>) -> rusqlite::Result<PastMessage> {
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
