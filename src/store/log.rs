//! The log: commits the entries of each turn in one transaction, then answers the reads of the turn. Owns the connection, transactions
//! and how they are synced; never decides when a turn is taken, and never what an entry changes.

mod reads;

use std::fs::File;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Statement, Transaction, TransactionBehavior};

use super::apply::Tables;
use super::budget::{ReadBudget, ReadLimits};
use super::floors::{FloorSources, Floors};
use super::found;
use super::interrupt::Interrupt;
use super::locking::{begin_unless_busy, without_waiting};
use super::sent::SentMessages;
use super::wal::{Wal, WalPages};
use super::{
    CommitError, Entry, FoundId, FoundPeer, FoundPosts, LookedUp, Lookup, PeerRecord, StoreOptions, TurnOutcome,
    TurnRequest,
};
use crate::config::Durability;
use crate::database::column::seq;
use crate::database::index::UnindexedTail;
use crate::database::messages::Messages;
use crate::database::names::Names;
use crate::database::reach::{DatabasePart, OpenFiles, Unreachable};
use crate::database::record::RecordFile;
use crate::database::schema::{self, WalEnd};
use crate::limits::MAILBOX_SAMPLE_MESSAGES;
use crate::message::{PeerId, PeerName, RequestId, RoomId, Seq};
use crate::shares::Holder;
use crate::source::Source;

/// Log of messages, as the thread of the store uses it.
pub(super) struct Log<'c> {
    connection: &'c Connection,
    /// Write-ahead log, which holds what was committed until it is copied into the database file.
    wal: Wal<'c>,
    durability: Durability,
    /// Last value that was set with `pragma synchronous`.
    synchronous: Option<Synchronous>,
    /// Newest committed message.
    newest: Seq,
    tables: Tables<'c>,
    names: Names<'c>,
    messages: Messages<'c>,
    sent: SentMessages<'c>,
    read_limits: ReadLimits,
    interrupt: Interrupt,
    floors: Floors,
    statements: Statements<'c>,
    /// Time that the last commit took.
    commit_time: Duration,
    files: OpenFiles,
    /// Record of the newest message; `None` in tests.
    record: Option<&'c RecordFile>,
    /// File that went away while a turn was stored: what was stored then is not known to the broker, so nothing more is.
    lost: Option<Unreachable>,
}

/// Value of `pragma synchronous`, for a database in WAL mode.
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
    find_sender: Statement<'c>,
}

impl<'c> Log<'c> {
    pub(super) fn new(
        connection: &'c Connection,
        (pages, wal, files): (WalPages, File, OpenFiles),
        StoreOptions { durability, retention, limits }: StoreOptions,
        newest: Seq,
        tail: UnindexedTail,
    ) -> rusqlite::Result<Self> {
        Ok(Log {
            connection,
            wal: Wal::new(connection, pages, wal)?,
            durability,
            synchronous: None,
            newest,
            tables: Tables::new(connection, limits, tail)?,
            names: Names::new(connection)?,
            messages: Messages::new(connection)?,
            sent: SentMessages::new(connection)?,
            read_limits: limits.reads,
            interrupt: Interrupt::of(connection),
            floors: Floors::new(limits.room_waiting_max, retention),
            statements: Statements::prepare(connection)?,
            commit_time: Duration::ZERO,
            files,
            record: None,
            lost: None,
        })
    }

    /// Looks up peers, rooms and ids of messages.
    pub(super) fn lookup(&mut self, lookup: &Lookup) -> rusqlite::Result<LookedUp> {
        let Lookup { peers, peers_min, rooms, ids, unused_rooms, sampled_above } = lookup;
        let mut found = LookedUp::default();
        let budget = ReadBudget::of(self.read_limits.lookup);
        for name in peers {
            if found.peers.len() >= (*peers_min).max(1) && budget.is_used_up() {
                break;
            }
            let peer = self.find_peer(name, *sampled_above)?;
            found.note_id(name.as_str(), peer.as_ref().map(|peer| peer.record.id.get()));
            found.peers.push(peer);
        }
        for name in rooms {
            let room = self.tables.members.find_room(name)?;
            found.note_id(name.as_str(), room.as_ref().map(|room| room.id.get()));
            found.rooms.push(room);
        }
        found.ids = ids.iter().map(|(sender, id)| self.find_id(sender, id)).collect::<rusqlite::Result<_>>()?;
        for room in unused_rooms {
            if self.is_unused(*room)? {
                found.unused_rooms.push(*room);
            }
        }
        Ok(found)
    }

    fn find_peer(&mut self, name: &PeerName, sampled_above: u64) -> rusqlite::Result<Option<FoundPeer>> {
        let found = self
            .statements
            .find_peer
            .query_row([name.as_str()], |row| peer_record(name, self.newest, row))
            .optional()?;
        let Some((record, source)) = found else { return Ok(None) };
        let seqs = self.tables.index.first_after(record.id.into(), record.cursor, usize::MAX)?;
        let waiting = seqs.len() as u64;
        let senders = if waiting > sampled_above { self.sample_senders(&seqs)? } else { Vec::new() };
        let rooms = self.tables.members.rooms_of(record.id)?;
        let password = self.tables.accounts.find(record.id)?;
        Ok(Some(FoundPeer { record, waiting, senders, source, rooms, password }))
    }

    /// Reads the senders of some of these messages, as many before each as after it.
    fn sample_senders(&mut self, seqs: &[Seq]) -> rusqlite::Result<Vec<Option<Holder>>> {
        let mut senders = Vec::new();
        for seq in seqs.iter().rev().step_by(seqs.len().div_ceil(MAILBOX_SAMPLE_MESSAGES)) {
            let sender = self.statements.find_sender.query_row([seq.get()], |row| found::holder(row, 0, 1));
            // A message that was removed by hand has no sender.
            senders.extend(sender.optional()?);
        }
        Ok(senders)
    }

    /// Whether a room has neither members nor messages.
    fn is_unused(&mut self, room: RoomId) -> rusqlite::Result<bool> {
        let Tables { members, index, .. } = &mut self.tables;
        Ok(members.is_empty(room)? && index.first_after(room.into(), Seq::ZERO, 1)?.is_empty())
    }

    fn find_id(&mut self, sender: &PeerName, id: &RequestId) -> rusqlite::Result<Option<FoundId>> {
        let found = self.statements.find_peer.query_row([sender.as_str()], |row| row.get(0).map(PeerId::new));
        // A peer that is not stored has sent nothing.
        found.optional()?.map_or(Ok(None), |sender| self.tables.sent_ids.find(sender, id))
    }

    /// Reads the first rows of the table `outbox`, and the next request of the table `purge`.
    pub(super) fn posts(&mut self) -> rusqlite::Result<FoundPosts> {
        // While the transaction is open, no other process writes.
        let is_settled = match begin_unless_busy(self.connection) {
            Ok(_transaction) => return self.found_posts(true),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => false,
            Err(error) => return Err(error),
        };
        self.found_posts(is_settled)
    }

    fn found_posts(&mut self, is_settled: bool) -> rusqlite::Result<FoundPosts> {
        Ok(FoundPosts { posts: self.tables.posts.oldest()?, purge: self.tables.purges.next()?, is_settled })
    }

    /// Applies the entries of a turn in one transaction, then answers its reads.
    pub(super) fn turn(&mut self, turn: TurnRequest) -> TurnOutcome {
        let TurnRequest { entries, reads } = turn;
        let before = self.newest;
        let committed = if entries.is_empty() { Ok(Vec::new()) } else { self.commit(&entries) };
        let (commit, floors) = match committed {
            Ok(floors) => (Ok(()), floors),
            Err(error) => (Err(error), Vec::new()),
        };
        let reads = if reads.is_empty() { None } else { Some(self.read_all(reads, !entries.is_empty())) };
        let purged = self.tables.purged.take().filter(|_| commit.is_ok());
        TurnOutcome { entries, commit, before, newest: self.newest, floors, purged, reads }
    }

    /// Returns an entry for each room of which too many messages may wait. If they cannot be counted now, they are with a later message.
    fn floors_to_raise(&mut self, entries: &[Entry]) -> Vec<Entry> {
        let Log { tables: Tables { index, members, .. }, messages, floors, .. } = self;
        floors.note_committed(entries, &mut FloorSources { index, members, messages }).unwrap_or_default()
    }

    /// Returns the newest message up to which the inbox index is complete.
    fn indexed(&self) -> Seq {
        self.tables.index.indexed()
    }

    /// Brings the inbox index up to date in a transaction of its own. The commit is not synced: after a power cut the unindexed tail is
    /// longer.
    pub(super) fn catch_up(&mut self) -> rusqlite::Result<()> {
        if self.indexed() == self.newest {
            return Ok(());
        }
        self.set_synchronous(Synchronous::Normal)?;
        let transaction = Transaction::new_unchecked(self.connection, TransactionBehavior::Immediate)?;
        self.wal.rewrite_in_transaction()?;
        self.tables.index.write(self.newest)?;
        transaction.commit()?;
        self.tables.index.written(self.newest);
        Ok(())
    }

    /// Closes the log: brings the inbox index up to date, so that the next start has no tail to read. Returns what becomes of the
    /// write-ahead log, or an error if its content may not be found again.
    pub(super) fn close(mut self) -> Result<WalEnd, Unreachable> {
        match self.check_files() {
            Ok(()) => {}
            Err(gone) if gone.part == DatabasePart::Log && self.wal.is_copied() => return Ok(WalEnd::Abandoned),
            Err(gone) => return Err(gone),
        }
        if let Err(error) = self.catch_up() {
            self.wal.note_failure(&error);
        }
        Ok(if self.wal.rewrite().is_ok() { WalEnd::Copied } else { WalEnd::Unsynced })
    }

    /// Checks that what is committed now will be found later. If the write-ahead log will not, copies its content into the database.
    fn check_files(&mut self) -> Result<(), Unreachable> {
        let checked = self.lost.clone().map_or_else(|| self.files.check(), Err);
        if checked.as_ref().is_err_and(|gone| gone.part == DatabasePart::Log) && !self.wal.is_copied() {
            self.wal.checkpoint();
        }
        checked
    }

    /// Checks that what was committed is where it will be found.
    fn check_committed(&mut self) -> Result<(), CommitError> {
        let Err(gone) = self.files.check() else { return Ok(()) };
        if gone.part == DatabasePart::Log {
            self.wal.checkpoint();
            if self.wal.is_copied() {
                return Ok(());
            }
        }
        self.lost = Some(gone.clone());
        Err(CommitError::Uncertain(gone))
    }

    /// Begins to record the newest message that is stored.
    pub(super) fn record_in(&mut self, record: &'c RecordFile) {
        self.record = Some(record);
    }

    /// Records the newest message again after a checkpoint, which has changed the database file.
    pub(super) fn note_checkpoint(&mut self) {
        if self.wal.take_checkpointed() {
            self.record_newest();
        }
    }

    fn record_newest(&self) {
        if let Some(record) = self.record {
            record.write(self.newest);
        }
    }

    /// Write-ahead log.
    pub(super) fn wal(&mut self) -> &mut Wal<'c> {
        &mut self.wal
    }

    /// Sets how the next commits are synced.
    pub(super) fn set_synchronous(&mut self, synchronous: Synchronous) -> rusqlite::Result<()> {
        if self.synchronous != Some(synchronous) {
            let pragma = match synchronous {
                Synchronous::Normal => "pragma synchronous = normal",
                Synchronous::Full => "pragma synchronous = full",
            };
            self.connection.execute_batch(pragma)?;
            self.synchronous = Some(synchronous);
        }
        Ok(())
    }

    /// Returns how a commit of these entries must be synced.
    fn synchronous_for(&self, entries: &[Entry]) -> Synchronous {
        let must_sync = self.durability == Durability::PowerLoss && entries.iter().any(Entry::is_durable);
        if must_sync { Synchronous::Full } else { Synchronous::Normal }
    }

    /// Time that the last commit took.
    pub(super) fn commit_time(&self) -> Duration {
        self.commit_time
    }

    /// Applies entries in one transaction. Returns an entry for each room of which too many messages may wait now.
    fn commit(&mut self, entries: &[Entry]) -> Result<Vec<Entry>, CommitError> {
        self.check_files().map_err(CommitError::Unreachable)?;
        let message_bytes: usize = entries.iter().map(Entry::message_bytes).sum();
        if message_bytes > 0 {
            self.wal.check_space(message_bytes as u64).map_err(CommitError::Storage)?;
        }
        let began = Instant::now();
        let committed = self.try_commit(entries);
        self.commit_time = began.elapsed();
        match committed {
            Ok((newest, has_rooms)) => {
                if entries.iter().any(Entry::is_durable) {
                    self.check_committed()?;
                }
                if std::mem::replace(&mut self.newest, newest) != newest {
                    self.record_newest();
                }
                Ok(if has_rooms { self.floors_to_raise(entries) } else { Vec::new() })
            }
            Err(error) => {
                self.roll_back();
                self.tables.rolled_back();
                if self.wal.note_failure(&error) {
                    self.replace_unsynced_commit();
                }
                Err(match explain(&error) {
                    CommitError::Storage(words) => CommitError::Storage(self.wal.explain(words)),
                    other => other,
                })
            }
        }
    }

    /// Returns the newest message then, and whether one of the new messages is for a room.
    fn try_commit(&mut self, entries: &[Entry]) -> rusqlite::Result<(Seq, bool)> {
        self.set_synchronous(self.synchronous_for(entries))?;
        if entries.iter().all(is_removal) {
            // There is time, and a message behind it must not wait for the other process twice.
            without_waiting(self.connection, || self.statements.begin.execute([]))?;
        } else {
            self.statements.begin.execute([])?;
        }
        self.wal.rewrite_in_transaction()?;
        // A message that is removed must be in the index, so that it is removed there, too.
        let indexed = self.indexed();
        let writes_index = self.tables.index.is_due() || entries.iter().any(|entry| removes_after(indexed, entry));
        if writes_index {
            self.tables.index.write(self.newest)?;
        }
        let newest = self.tables.apply(entries, self.newest)?;
        self.statements.commit.execute([])?;
        if writes_index {
            self.tables.index.written(self.newest);
        }
        let has_rooms = self.tables.committed(entries, self.newest);
        Ok((newest, has_rooms))
    }

    /// Ends a transaction without committing it. After some errors SQLite has done so by itself.
    fn roll_back(&mut self) {
        if !self.connection.is_autocommit() {
            let _ = self.statements.rollback.execute([]);
        }
    }

    /// Writes another commit in place of one that could not be synced: it was written all the same, and would be found after a crash,
    /// though its senders got an error. The new one changes nothing and is not synced.
    fn replace_unsynced_commit(&mut self) {
        let _ = self.set_synchronous(Synchronous::Normal).and_then(|()| schema::write_unchanged_page(self.connection));
    }
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Statements {
            begin: connection.prepare("begin immediate")?,
            begin_to_read: connection.prepare("begin")?,
            commit: connection.prepare("commit")?,
            rollback: connection.prepare("rollback")?,
            find_peer: connection.prepare("select id, seen, cursor, source from peer where name = ?1")?,
            find_sender: connection.prepare(
                "select message.sender, peer.source
                 from message join peer on peer.id = message.sender where message.seq = ?1",
            )?,
        })
    }
}

fn peer_record(name: &PeerName, newest: Seq, row: &Row<'_>) -> rusqlite::Result<(PeerRecord, Option<Source>)> {
    let record = PeerRecord {
        id: PeerId::new(row.get(0)?),
        name: name.clone(),
        seen: row.get_ref(1)?.as_i64() != Ok(0),
        // A cursor beyond the log would keep the next messages from the peer.
        cursor: seq(row, 2)?.min(newest),
    };
    Ok((record, found::source(row, 3)?))
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

fn is_removal(entry: &Entry) -> bool {
    matches!(entry, Entry::Remove { .. } | Entry::BeginPurge { .. } | Entry::ContinuePurge | Entry::RefusePurge { .. })
}

/// Whether an entry removes messages after this one, or begins to.
fn removes_after(seq: Seq, entry: &Entry) -> bool {
    match entry {
        Entry::Remove { ranges } => ranges.iter().any(|range| range.last > seq),
        Entry::BeginPurge { .. } => true,
        _ => false,
    }
}
