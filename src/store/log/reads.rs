//! Reads of a turn, answered after its commit. Owns the transaction in which they are read, and when the search index is brought up to
//! date for them; never changes anything else.

use std::time::{Duration, Instant};

use rusqlite::{Transaction, TransactionBehavior};

use super::{Log, Synchronous};
use crate::database::inboxes::Sources;
use crate::database::search::{ScanEnd, WordQuery};
use crate::database::visibility::Viewer;
use crate::limits::{SEARCH_TURN_MS, TURN_PAGES_BYTES_MAX};
use crate::message::Seq;
use crate::store::apply::Tables;
use crate::store::feed;
use crate::store::observers::ObserverQuery;
use crate::store::past::{Past, PastPageBuilder};
use crate::store::{
    ObservedPage, ObservedQuery, ObserverCursor, Read, ReadFailure, ReadSender, SearchQuery, SearchResult,
};

impl<'c> Log<'c> {
    /// Answers all reads in one transaction: a lock for each message that is read would cost more than the reading. Returns the
    /// first failure.
    pub(super) fn read_all(&mut self, reads: Vec<Read>) -> Result<(), ReadFailure> {
        let is_searchable = self.prepare_search(&reads);
        let begun = self.statements.begin_to_read.execute([]).map_err(ReadFailure::from);
        self.tables.observers.begin_turn();
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
        self.roll_back();
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
            Read::Values(query, reply) => answer(reply, self.tables.values.all(query.peer)),
        }
    }

    fn observed(&mut self, query: &ObservedQuery) -> rusqlite::Result<Option<ObservedPage>> {
        let Log { newest, tables: Tables { index, members, events, observers, .. }, names, messages, .. } = self;
        let newest = ObserverCursor { seq: *newest, event: events.newest()? };
        let observer = ObserverQuery { peer: query.observer, wants: query.wants, online: &query.online };
        let after = match query.after {
            Some(after) => Some(after),
            None => observers.find(observer.peer, newest)?,
        };
        let Some(after) = after else { return Ok(None) };
        let mut sources = Sources { index, members, names, messages };
        observers.page(observer, after, newest, events, &mut sources).map(Some)
    }

    /// Brings the search index nearer to the log, if the turn searches.
    fn prepare_search(&mut self, reads: &[Read]) -> Result<(), ReadFailure> {
        let newest = self.newest;
        let wanted = reads.iter().filter_map(|read| match read {
            Read::Search(query, _) => Some(query.until.unwrap_or(newest)),
            _ => None,
        });
        match wanted.max() {
            Some(until) => self.advance_search_to(until).map_err(ReadFailure::from),
            None => Ok(()),
        }
    }

    fn advance_search_to(&mut self, until: Seq) -> rusqlite::Result<()> {
        if self.tables.search.open()?.is_behind(until) { self.step_search() } else { Ok(()) }
    }

    /// Adds messages to the search index in a transaction of its own. It is not durable: after a power cut they are added again.
    fn step_search(&mut self) -> rusqlite::Result<()> {
        let stepped = self.try_step_search();
        let search = self.tables.search.open()?;
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
        let search = self.tables.search.open()?;
        let began = Instant::now();
        while !search.step(self.newest)? && began.elapsed() < Duration::from_millis(SEARCH_TURN_MS) {}
        transaction.commit()
    }

    /// Finds the newest messages that contain all words and that the peer may see, if the search index is far enough.
    fn search(&mut self, query: &SearchQuery) -> rusqlite::Result<SearchResult> {
        let SearchQuery { peer, ref words, until, count } = *query;
        let Some(query) = WordQuery::parse(words.as_str()) else { return Ok(SearchResult::NoWords) };
        let search = self.tables.search.open()?;
        if search.is_behind(until.unwrap_or(self.newest)) {
            return Ok(SearchResult::Indexing);
        }
        let viewer = Viewer::of(peer, &mut self.tables.members)?;
        let Log { tables: Tables { index, members, .. }, names, messages, .. } = self;
        let mut sources = Sources { index, members, names, messages };
        let mut found = PastPageBuilder::new(&viewer, None, count);
        let end = search.reader().newest_first(&query, &viewer, None, |seq| {
            found.add(seq, &mut sources)?;
            Ok(!found.is_full())
        })?;
        let mut page = found.finish();
        page.more |= matches!(end, ScanEnd::DownTo(_));
        Ok(SearchResult::Found(page))
    }

    fn sources(&mut self) -> (&mut Past<'c>, Sources<'_, 'c>) {
        let Log { tables: Tables { index, members, .. }, names, messages, past, .. } = self;
        (past, Sources { index, members, names, messages })
    }
}

/// Sends the result of a read to the broker, which may have been dropped. Returns why the read failed, if it did.
fn answer<T>(reply: ReadSender<T>, result: rusqlite::Result<T>) -> Result<(), ReadFailure> {
    let result = result.map_err(ReadFailure::from);
    let failure = result.as_ref().err().cloned();
    drop(reply.send(result));
    failure.map_or(Ok(()), Err)
}
