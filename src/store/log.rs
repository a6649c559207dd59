//! The log: a turn is applied in one transaction, then its reads are answered. Owns how entries become rows; never which of them
//! are made when.

use std::fs::File;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Statement, Transaction, TransactionBehavior, params};

use super::events::Events;
use super::feed;
use super::insert::Insert;
use super::observers::{ObserverQuery, ObserverTable};
use super::past::Past;
use super::posts::Posts;
use super::sent_ids::SentIds;
use super::values::PluginValues;
use super::wal::{Wal, WalPages};
use super::{
    CommitError, Entry, FoundId, FoundPeer, FoundPosts, LookedUp, Lookup, ObservedPage, ObservedQuery, ObserverCursor,
    PastPage, PeerRecord, Read, ReadFailure, ReadSender, SearchQuery, SearchResult, SendId, StoreOptions, TurnOutcome,
    TurnRequest,
};
use crate::config::Durability;
use crate::database::inboxes::Sources;
use crate::database::index::{Index, UnindexedTail};
use crate::database::members::Members;
use crate::database::messages::Messages;
use crate::database::names::Names;
use crate::database::search::{LazySearchIndex, Question, ScanEnd};
use crate::database::visibility::Viewer;
use crate::database::{array, schema};
use crate::limits::{DATABASE_BUSY_MS_MAX, SEARCH_TURN_MS, TURN_PAGES_BYTES_MAX};
use crate::message::{PeerId, PeerName, Recipient, RequestId, Seq, Text, Timestamp};

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
    members: Members<'c>,
    sent_ids: SentIds<'c>,
    posts: Posts<'c>,
    names: Names<'c>,
    messages: Messages<'c>,
    past: Past<'c>,
    events: Events<'c>,
    observers: ObserverTable<'c>,
    values: PluginValues<'c>,
    search: LazySearchIndex<'c>,
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
}

/// A message among a turn's entries.
struct Logged<'e> {
    at: Timestamp,
    sender: PeerId,
    recipients: &'e [Recipient],
    text: &'e Text,
    id: Option<&'e SendId>,
}

impl<'c> Log<'c> {
    pub(super) fn new(
        connection: &'c Connection,
        (pages, wal): (WalPages, File),
        StoreOptions { durability, limits, .. }: StoreOptions,
        newest: Seq,
        tail: UnindexedTail,
    ) -> rusqlite::Result<Self> {
        Ok(Log {
            connection,
            wal: Wal::new(connection, pages, wal)?,
            durability,
            synchronous: None,
            newest,
            index: Index::new(connection, tail, limits.index)?,
            members: Members::new(connection)?,
            sent_ids: SentIds::new(connection, limits.sent_ids_max)?,
            posts: Posts::new(connection)?,
            names: Names::new(connection)?,
            messages: Messages::new(connection)?,
            past: Past::new(connection)?,
            events: Events::new(connection, limits.events)?,
            observers: ObserverTable::new(connection, limits.observed_skipped_max)?,
            values: PluginValues::new(connection)?,
            search: LazySearchIndex::new(connection, limits.search),
            put_message: Insert::prepare(
                connection,
                "insert into message (seq, at, sender, previous, recipients, text)",
                6,
            )?,
            statements: Statements::prepare(connection)?,
        })
    }

    /// What is kept of these names and ids.
    pub(super) fn lookup(&mut self, lookup: &Lookup) -> rusqlite::Result<LookedUp> {
        Ok(LookedUp {
            peers: lookup.peers.iter().map(|name| self.find_peer(name)).collect::<rusqlite::Result<_>>()?,
            rooms: lookup.rooms.iter().map(|name| self.members.find_room(name)).collect::<rusqlite::Result<_>>()?,
            ids: lookup.ids.iter().map(|(sender, id)| self.find_id(sender, id)).collect::<rusqlite::Result<_>>()?,
        })
    }

    fn find_peer(&mut self, name: &PeerName) -> rusqlite::Result<Option<FoundPeer>> {
        let found = self.statements.find_peer.query_row([name.as_str()], |row| peer_record(name, row)).optional()?;
        let Some(record) = found else { return Ok(None) };
        let waiting = self.index.first_after(record.id.into(), record.cursor, usize::MAX)?.len() as u64;
        let rooms = self.members.rooms_of(record.id)?;
        Ok(Some(FoundPeer { record, waiting, rooms }))
    }

    fn find_id(&mut self, sender: &PeerName, id: &RequestId) -> rusqlite::Result<Option<FoundId>> {
        let found = self.statements.find_peer.query_row([sender.as_str()], |row| row.get(0).map(PeerId::new));
        // One of whom nothing is kept has sent nothing.
        found.optional()?.map_or(Ok(None), |sender| self.sent_ids.find(sender, id))
    }

    /// The first rows of the table `outbox`.
    pub(super) fn posts(&mut self) -> rusqlite::Result<FoundPosts> {
        match begin_unless_busy(self.connection) {
            Ok(_nobody_else_writes) => Ok(FoundPosts { posts: self.posts.oldest()?, is_settled: true }),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                Ok(FoundPosts { posts: self.posts.oldest()?, is_settled: false })
            }
            Err(error) => Err(error),
        }
    }

    /// Applies a turn's entries in one transaction, then answers its reads.
    pub(super) fn turn(&mut self, turn: TurnRequest) -> TurnOutcome {
        let TurnRequest { entries, reads } = turn;
        let before = self.newest;
        let commit = if entries.is_empty() { Ok(()) } else { self.commit(&entries) };
        let reads = if reads.is_empty() { None } else { Some(self.read_all(reads)) };
        TurnOutcome { entries, commit, before, newest: self.newest, reads }
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
        self.wal.rewrite_in_transaction()?;
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
        self.wal.rewrite().is_ok()
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
                self.events.undo();
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
        self.wal.rewrite_in_transaction()?;
        let is_indexed = self.index.is_due();
        if is_indexed {
            self.index.write(self.newest)?;
        }
        self.put_peers(entries)?;
        self.put_others(entries)?;
        let newest = self.put_messages(entries)?;
        self.put_ids(entries)?;
        self.take_posts(entries)?;
        self.events.remove_oldest()?;
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
        let _ = self.set_synchronous(Synchronous::Normal).and_then(|()| schema::write_unchanged_page(self.connection));
    }

    fn put_peers(&mut self, entries: &[Entry]) -> rusqlite::Result<()> {
        for entry in entries {
            let Entry::Peer(PeerRecord { id, name, seen, cursor }) = entry else { continue };
            let row = params![id.get(), name.as_str(), seen, cursor.get()];
            assert_eq!(self.statements.put_peer.execute(row)?, 1, "one peer is one row");
        }
        Ok(())
    }

    /// Who joins a room gets what is behind that in the turn, and who observes is told of it.
    fn put_others(&mut self, entries: &[Entry]) -> rusqlite::Result<()> {
        let mut newest = self.newest;
        for entry in entries {
            match entry {
                Entry::Message { .. } => newest = newest.next(),
                Entry::Room { id, name } => self.members.put_room(*id, name)?,
                Entry::Join { room, peer } => self.members.join(*room, *peer, newest)?,
                Entry::Leave { room, peer } => self.members.leave(*room, *peer)?,
                Entry::Event(event) => self.events.insert(event, newest)?,
                Entry::Observe { observer, wants } => {
                    let newest = ObserverCursor { seq: newest, event: self.events.newest()? };
                    self.observers.register(*observer, *wants, newest)?;
                    self.events.note_seen();
                }
                Entry::ObserverAdvanced { observer, seen } => {
                    self.observers.advance(*observer, *seen)?;
                    self.events.note_seen();
                }
                Entry::Observers { only } => {
                    self.observers.remove_others(only)?;
                    self.events.note_seen();
                }
                Entry::Value { peer, key, value } => self.values.set(*peer, key, value.as_deref())?,
                Entry::Peer(_) | Entry::Posted(_) | Entry::Unposted { .. } => {}
            }
        }
        Ok(())
    }

    /// Says which is the newest.
    fn put_messages(&mut self, entries: &[Entry]) -> rusqlite::Result<Seq> {
        let mut newest = self.newest;
        let mut json = String::new();
        self.put_message.insert(messages(entries), |message, row| {
            newest = newest.next();
            json.clear();
            array::write(&mut json, message.recipients.iter().map(|recipient| recipient.number()));
            row.add(newest.get())?;
            row.add(message.at.millis())?;
            row.add(message.sender.get())?;
            row.add(self.index.send(message.sender, newest)?.get())?;
            row.add(&json)?;
            row.add(message.text.as_str())
        })?;
        Ok(newest)
    }

    fn put_ids(&mut self, entries: &[Entry]) -> rusqlite::Result<()> {
        let (mut seq, mut added, mut now) = (self.newest, 0, None);
        for message in messages(entries) {
            seq = seq.next();
            if let Some(id) = message.id {
                self.sent_ids.insert(message.sender, id, seq, message.at)?;
                (added, now) = (added + 1, Some(message.at));
            }
        }
        now.map_or(Ok(()), |now| self.sent_ids.remove_oldest(added, now))
    }

    fn take_posts(&mut self, entries: &[Entry]) -> rusqlite::Result<()> {
        for entry in entries {
            match entry {
                Entry::Posted(post) => self.posts.remove(post)?,
                Entry::Unposted { post, at, reason } => self.posts.refuse(post, *at, reason)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn add_to_index(&mut self, entries: &[Entry]) {
        let mut seq = self.newest;
        for Logged { recipients, .. } in messages(entries) {
            seq = seq.next();
            self.index.add(seq, recipients);
        }
        self.index.keep_sends();
    }

    /// Answers all reads in one transaction: a lock for each message that is read would cost more than the reading. Returns the
    /// first failure.
    fn read_all(&mut self, reads: Vec<Read>) -> Result<(), ReadFailure> {
        let is_searchable = self.prepare_search(&reads);
        let begun = self.statements.begin_to_read.execute([]).map_err(ReadFailure::from);
        self.observers.begin_turn();
        let mut page_bytes_left = TURN_PAGES_BYTES_MAX;
        let mut result = Ok(());
        for read in reads {
            let is_readable = match (&begun, &is_searchable, &read) {
                (Err(failure), ..) | (_, Err(failure), Read::Search(..)) => Err(failure.clone()),
                _ => Ok(()),
            };
            let answered = match is_readable {
                Ok(()) => self.read(read, &mut page_bytes_left),
                Err(failure) => {
                    read.fail(failure.clone());
                    Err(failure)
                }
            };
            result = result.and(answered);
        }
        // After some errors SQLite has ended it by itself; there is nothing in it to keep.
        if !self.connection.is_autocommit() {
            let _ = self.statements.rollback.execute([]);
        }
        result
    }

    fn read(&mut self, read: Read, page_bytes_left: &mut usize) -> Result<(), ReadFailure> {
        let (past, mut sources) = self.sources();
        match read {
            Read::Page(query, reply) => answer(reply, feed::page(query, page_bytes_left, &mut sources)),
            Read::Waiting(query, reply) => answer(reply, feed::waiting(query, &mut sources)),
            Read::History(query, reply) => answer(reply, past.history(query, &mut sources)),
            Read::Search(query, reply) => answer(reply, self.search(&query)),
            Read::Observed(query, reply) => answer(reply, self.observed(&query)),
            Read::Values(query, reply) => answer(reply, self.values.all(query.peer)),
        }
    }

    fn observed(&mut self, query: &ObservedQuery) -> rusqlite::Result<Option<ObservedPage>> {
        let Log { newest, index, members, names, messages, events, observers, .. } = self;
        let newest = ObserverCursor { seq: *newest, event: events.newest()? };
        let observer = ObserverQuery { peer: query.observer, wants: query.wants, online: &query.here };
        let after = match query.after {
            Some(after) => Some(after),
            None => observers.find(observer.peer, newest)?,
        };
        let Some(after) = after else { return Ok(None) };
        let mut sources = Sources { index, members, names, messages };
        observers.page(observer, after, newest, events, &mut sources).map(Some)
    }

    /// Brings the index of the search nearer to the log, if anybody searches.
    fn prepare_search(&mut self, reads: &[Read]) -> Result<(), ReadFailure> {
        let newest = self.newest;
        let wanted = reads.iter().filter_map(|read| match read {
            Read::Search(query, _) => Some(query.until.unwrap_or(newest)),
            _ => None,
        });
        match wanted.max() {
            Some(until) => self.bring_search_to(until).map_err(ReadFailure::from),
            None => Ok(()),
        }
    }

    fn bring_search_to(&mut self, until: Seq) -> rusqlite::Result<()> {
        if self.search.open()?.is_behind(until) { self.step_search() } else { Ok(()) }
    }

    /// In a transaction of its own, that is no promise: what the power takes of it is made again.
    fn step_search(&mut self) -> rusqlite::Result<()> {
        let stepped = self.try_step_search();
        let search = self.search.open()?;
        match &stepped {
            Ok(()) => search.committed(),
            Err(error) => {
                search.rolled_back();
                self.wal.note_failure(error);
            }
        }
        stepped
    }

    fn try_step_search(&mut self) -> rusqlite::Result<()> {
        self.set_synchronous(Synchronous::Normal)?;
        let transaction = Transaction::new_unchecked(self.connection, TransactionBehavior::Immediate)?;
        self.wal.rewrite_in_transaction()?;
        let search = self.search.open()?;
        let began = Instant::now();
        while !search.step(self.newest)? && began.elapsed() < Duration::from_millis(SEARCH_TURN_MS) {}
        transaction.commit()
    }

    /// The newest messages that hold all words and that a peer was part of, once the index holds what it must.
    fn search(&mut self, query: &SearchQuery) -> rusqlite::Result<SearchResult> {
        let SearchQuery { peer, ref words, until, count } = *query;
        let Some(question) = Question::parse(words.as_str()) else { return Ok(SearchResult::NoWords) };
        let search = self.search.open()?;
        if search.is_behind(until.unwrap_or(self.newest)) {
            return Ok(SearchResult::Indexing);
        }
        let viewer = Viewer::of(peer, &mut self.members)?;
        let Log { past, index, members, names, messages, .. } = self;
        let mut sources = Sources { index, members, names, messages };
        let mut page = PastPage::default();
        let looked = search.reader().newest_first(&question, &viewer, None, |seq| {
            past.add(&viewer, None, seq, count, &mut page, &mut sources)?;
            Ok(!page.is_full(count))
        })?;
        page.more |= matches!(looked, ScanEnd::DownTo(_));
        Ok(SearchResult::Found(page))
    }

    /// Words of messages that are removed are found no more. In the transaction that removes them.
    pub(super) fn forget_words(&mut self, first: Seq, last: Seq) -> rusqlite::Result<()> {
        // What is behind that was never learnt.
        let search = self.search.open()?;
        let last = last.min(search.searched());
        if first > last { Ok(()) } else { search.remove(first, last) }
    }

    fn sources(&mut self) -> (&mut Past<'c>, Sources<'_, 'c>) {
        let Log { index, members, names, messages, past, .. } = self;
        (past, Sources { index, members, names, messages })
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
        })
    }
}

/// The messages among a turn's entries, in order.
fn messages(entries: &[Entry]) -> impl Iterator<Item = Logged<'_>> {
    entries.iter().filter_map(|entry| match entry {
        Entry::Message { at, sender, recipients, text, id } => {
            Some(Logged { at: *at, sender: *sender, recipients, text, id: id.as_deref() })
        }
        _ => None,
    })
}

/// Sends the result of a read to the broker, which may have been dropped. Returns why the read failed, if it did.
fn answer<T>(reply: ReadSender<T>, result: rusqlite::Result<T>) -> Result<(), ReadFailure> {
    let result = result.map_err(ReadFailure::from);
    let failure = result.as_ref().err().cloned();
    drop(reply.send(result));
    failure.map_or(Ok(()), Err)
}

fn peer_record(name: &PeerName, row: &Row<'_>) -> rusqlite::Result<PeerRecord> {
    Ok(PeerRecord {
        id: PeerId::new(row.get(0)?),
        name: name.clone(),
        seen: row.get(1)?,
        cursor: Seq::new(row.get(2)?),
    })
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

/// Begins a transaction that writes, unless another process does: it is not waited for.
pub(super) fn begin_unless_busy(connection: &Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.busy_timeout(Duration::ZERO)?;
    let begun = Transaction::new_unchecked(connection, TransactionBehavior::Immediate);
    connection.busy_timeout(Duration::from_millis(DATABASE_BUSY_MS_MAX))?;
    begun
}
