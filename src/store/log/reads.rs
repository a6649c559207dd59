//! Reads of a turn, answered after its commit. Owns the transaction in which they are read, their share of the turn's time, and when the
//! search index is brought up to date for them; never changes anything else.

use std::time::{Duration, Instant};

use rusqlite::{Transaction, TransactionBehavior};

use super::{Log, Synchronous};
use crate::database::inboxes::Sources;
use crate::limits::{SEARCH_QUERY_US_MAX, SEARCH_TURN_US, TURN_PAGES_BYTES_MAX};
use crate::message::Seq;
use crate::store::apply::Tables;
use crate::store::budget::{ReadBudget, ReadLimits};
use crate::store::feed;
use crate::store::interrupt::is_interrupted;
use crate::store::observers::ObserverQuery;
use crate::store::read::ScanTask;
use crate::store::sent::SentMessages;
use crate::store::{
    ObservedPage, ObservedQuery, ObserverCursor, Page, PageQuery, Read, ReadFailure, ReadSender, Scan, ScanOutcome,
    ScanResult,
};

/// Share of the turn that is left for its reads.
struct TurnReads {
    limits: ReadLimits,
    all: ReadBudget,
    pages: ReadBudget,
    page_bytes_left: usize,
    /// Whether the turn has read a page, a page for an observer, and a slice of a scan: one of each is read however little time is left.
    has_page: bool,
    has_observed: bool,
    has_slice: bool,
}

impl<'c> Log<'c> {
    /// Answers all reads in one transaction: a lock for each message that is read would cost more than the reading. Reads for which no time
    /// is left are answered with nothing, so that the broker repeats them. Returns the first failure.
    pub(super) fn read_all(&mut self, mut reads: Vec<Read>, has_committed: bool) -> Result<(), ReadFailure> {
        let mut turn = TurnReads::begin(self.read_limits, has_committed.then_some(self.commit_time));
        let is_searchable = self.prepare_search(&mut reads);
        let begun = self.statements.begin_to_read.execute([]).map_err(ReadFailure::from);
        self.tables.observers.begin_turn();
        let mut result = Ok(());
        for read in reads {
            let is_readable = match (&begun, &is_searchable) {
                (Err(failure), _) => Err(failure.clone()),
                (_, Err(failure)) if is_search(&read) => Err(failure.clone()),
                _ => Ok(()),
            };
            let answered = match is_readable {
                Ok(()) => self.read(read, &mut turn),
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

    fn read(&mut self, read: Read, turn: &mut TurnReads) -> Result<(), ReadFailure> {
        match read {
            Read::Page(query, reply) => answer(reply, self.page(query, turn)),
            Read::Scan(scan, reply) => answer(reply, self.scan(scan, turn)),
            Read::Observed(query, reply) => answer(reply, self.observed(&query, turn)),
            Read::Values(query, reply) => answer(reply, self.tables.values.all(query.peer)),
        }
    }

    fn page(&mut self, query: PageQuery, turn: &mut TurnReads) -> rusqlite::Result<Page> {
        if std::mem::replace(&mut turn.has_page, true) && turn.pages.is_used_up() {
            return Ok(Page::empty(query.after));
        }
        let (_, mut sources) = self.sources();
        feed::page(query, &mut turn.page_bytes_left, turn.pages, &mut sources)
    }

    /// Does a slice of a scan.
    fn scan(&mut self, mut scan: Box<Scan>, turn: &mut TurnReads) -> rusqlite::Result<ScanOutcome> {
        let Some(budget) = turn.slice(&scan) else { return Ok(ScanOutcome::Paused(scan)) };
        scan.slices += 1;
        if self.waits_for_index(&mut scan.task)? {
            return Ok(ScanOutcome::Paused(scan));
        }
        loop {
            if let Some(result) = self.step(&mut scan, budget)? {
                return Ok(ScanOutcome::Done(result));
            }
            if budget.is_used_up() {
                return Ok(ScanOutcome::Paused(scan));
            }
        }
    }

    /// Does the next piece of a scan's work. Returns the result once the scan is done.
    fn step(&mut self, scan: &mut Scan, budget: ReadBudget) -> rusqlite::Result<Option<ScanResult>> {
        let (newest, bytes_max) = (self.newest, scan.bytes_max);
        match &mut scan.task {
            ScanTask::Waiting(scan) => {
                let (_, mut sources) = self.sources();
                Ok(scan.step(newest, &mut sources)?.map(ScanResult::Waiting))
            }
            ScanTask::History(scan) => {
                let (sent, mut sources) = self.sources();
                Ok(scan.step((newest, bytes_max), sent, &mut sources)?.map(ScanResult::Messages))
            }
            ScanTask::Search(scan) => {
                let Log { tables: Tables { index, members, search, .. }, names, messages, interrupt, .. } = self;
                let mut sources = Sources { index, members, names, messages };
                let (reader, time) = (search.open()?.reader(), Duration::from_micros(SEARCH_QUERY_US_MAX));
                if !scan.queries_index() {
                    return Ok(scan.step((budget, bytes_max), reader, &mut sources)?.map(ScanResult::Messages));
                }
                match interrupt.after(time, || scan.step((budget, bytes_max), reader, &mut sources)) {
                    Err(error) if is_interrupted(&error) => {
                        scan.interrupted();
                        Ok(None)
                    }
                    step => Ok(step?.map(ScanResult::Messages)),
                }
            }
        }
    }

    /// Whether a scan is a search and the search index does not cover the log yet: the next turn continues with the index.
    fn waits_for_index(&mut self, task: &mut ScanTask) -> rusqlite::Result<bool> {
        let ScanTask::Search(scan) = task else { return Ok(false) };
        Ok(self.tables.search.open()?.is_behind(scan.until(self.newest)))
    }

    fn observed(&mut self, query: &ObservedQuery, turn: &mut TurnReads) -> rusqlite::Result<Option<ObservedPage>> {
        let Log { newest, tables: Tables { index, members, events, observers, .. }, names, messages, .. } = self;
        let newest = ObserverCursor { seq: *newest, event: events.newest()? };
        let after = match query.after {
            Some(after) => Some(after),
            None => observers.find(query.observer, newest)?,
        };
        let Some(after) = after else { return Ok(None) };
        if std::mem::replace(&mut turn.has_observed, true) && turn.pages.is_used_up() {
            return Ok(Some(ObservedPage::empty(after)));
        }
        let ObservedQuery { observer: peer, wants, ref online, .. } = *query;
        let observer = ObserverQuery { peer, wants, online, budget: turn.pages };
        let mut sources = Sources { index, members, names, messages };
        observers.page(observer, after, newest, events, &mut sources).map(Some)
    }

    /// Brings the search index nearer to the log, if the turn searches.
    fn prepare_search(&mut self, reads: &mut [Read]) -> Result<(), ReadFailure> {
        let newest = self.newest;
        let untils = reads.iter_mut().filter_map(|read| match read {
            Read::Scan(scan, _) => match &mut scan.task {
                ScanTask::Search(search) => Some(search.until(newest)),
                _ => None,
            },
            _ => None,
        });
        match untils.max() {
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
        while !search.step(self.newest)? && began.elapsed() < Duration::from_micros(SEARCH_TURN_US) {}
        transaction.commit()
    }

    fn sources(&mut self) -> (&mut SentMessages<'c>, Sources<'_, 'c>) {
        let Log { tables: Tables { index, members, .. }, names, messages, sent, .. } = self;
        (sent, Sources { index, members, names, messages })
    }
}

impl TurnReads {
    fn begin(limits: ReadLimits, commit: Option<Duration>) -> Self {
        let time = limits.turn(commit);
        let all = ReadBudget::of(time);
        TurnReads {
            limits,
            all,
            // Scans have a part of the time, however many pages there are.
            pages: all.part(time * 2 / 3),
            page_bytes_left: TURN_PAGES_BYTES_MAX,
            has_page: false,
            has_observed: false,
            has_slice: false,
        }
    }

    /// Returns the time for the next slice of a scan; `None` if none is left.
    fn slice(&mut self, scan: &Scan) -> Option<ReadBudget> {
        if std::mem::replace(&mut self.has_slice, true) && self.all.is_used_up() {
            return None;
        }
        Some(self.all.part(if scan.slices == 0 { self.limits.first_slice } else { self.limits.slice }))
    }
}

fn is_search(read: &Read) -> bool {
    matches!(read, Read::Scan(scan, _) if matches!(scan.task, ScanTask::Search(_)))
}

/// Sends the result of a read to the broker, which may have been dropped. Returns why the read failed, if it did.
fn answer<T>(reply: ReadSender<T>, result: rusqlite::Result<T>) -> Result<(), ReadFailure> {
    let result = result.map_err(ReadFailure::from);
    let failure = result.as_ref().err().cloned();
    drop(reply.send(result));
    failure.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;
