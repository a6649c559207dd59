//! Reads of a turn: each is a query, and the sender for its result. Owns these types; never runs SQL.
//!
//! A read that may take long is a [`Scan`]: it owns its progress, does a slice of its work in a turn, and is returned to the broker until it
//! is done.

use std::fmt;

use super::feed::WaitingScan;
use super::observed::ObservedPage;
use super::past::HistoryScan;
use super::query::{ObservedQuery, Page, PageQuery, PastPage, ValuesQuery};
use super::search::SearchScan;
use crate::limits::HISTORY_BYTES_MAX;

/// A read of a turn, made after the turn's entries are committed.
#[derive(Debug)]
pub enum Read {
    /// Next messages for a peer and for its rooms, in the order of `seq`.
    Page(PageQuery, ReadSender<Page>),
    /// Slice of a scan.
    Scan(Box<Scan>, ReadSender<ScanOutcome>),
    /// Next messages and events for an observer; `None` if the observer is not stored.
    Observed(ObservedQuery, ReadSender<Option<ObservedPage>>),
    /// All values that a plugin stores: keys and JSON, in the order of the keys.
    Values(ValuesQuery, ReadSender<Vec<(String, String)>>),
}

impl Read {
    /// Reports that the read failed, whatever it reads.
    pub(crate) fn fail(self, failure: ReadFailure) {
        // The broker may have been dropped.
        match self {
            Read::Page(_, reply) => drop(reply.send(Err(failure))),
            Read::Scan(_, reply) => drop(reply.send(Err(failure))),
            Read::Observed(_, reply) => drop(reply.send(Err(failure))),
            Read::Values(_, reply) => drop(reply.send(Err(failure))),
        }
    }
}

/// Read that may take several turns. Between them it is with the broker, and holds nothing of the store.
#[derive(Debug)]
pub struct Scan {
    /// Number of turns in which it did some of its work.
    pub slices: u64,
    /// Bytes that the messages of a history or a search may count for; the last one may exceed them.
    pub bytes_max: usize,
    pub(crate) task: ScanTask,
}

impl Scan {
    fn new(task: ScanTask) -> Self {
        Scan { slices: 0, bytes_max: HISTORY_BYTES_MAX, task }
    }

    /// Drops the progress, so that the scan begins again.
    pub(crate) fn restart(&mut self) {
        match &mut self.task {
            ScanTask::Waiting(scan) => scan.restart(),
            ScanTask::History(scan) => scan.restart(),
            ScanTask::Search(scan) => scan.restart(),
        }
    }

    /// Returns the bytes that the messages count for that were read.
    pub(crate) fn held_bytes(&self) -> usize {
        match &self.task {
            ScanTask::Waiting(_) => 0,
            ScanTask::History(scan) => scan.held_bytes(),
            ScanTask::Search(scan) => scan.held_bytes(),
        }
    }
}

/// Task of a [`Scan`], with its progress.
#[derive(Debug)]
pub(crate) enum ScanTask {
    /// Counts the messages that wait for a peer, those of its rooms included.
    Waiting(WaitingScan),
    /// Finds the newest messages that a peer sent or received, oldest first.
    History(HistoryScan),
    /// Finds the newest messages that a peer sent or received and that contain all of some words, newest first.
    Search(SearchScan),
}

impl From<WaitingScan> for Scan {
    fn from(scan: WaitingScan) -> Self {
        Scan::new(ScanTask::Waiting(scan))
    }
}

impl From<HistoryScan> for Scan {
    fn from(scan: HistoryScan) -> Self {
        Scan::new(ScanTask::History(scan))
    }
}

impl From<SearchScan> for Scan {
    fn from(scan: SearchScan) -> Self {
        Scan::new(ScanTask::Search(scan))
    }
}

/// Outcome of a slice of a [`Scan`].
#[derive(Debug)]
pub enum ScanOutcome {
    /// The scan is done.
    Done(ScanResult),
    /// The scan needs another slice.
    Paused(Box<Scan>),
}

/// Result of a [`Scan`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanResult {
    /// Number of messages that wait.
    Waiting(u64),
    /// Messages of a history or a search.
    Messages(PastPage),
}

/// Store's end of a read: takes its result, before the store reports the outcome of the turn.
pub type ReadSender<T> = oneshot::Sender<Result<T, ReadFailure>>;

/// Broker's end of a read.
#[derive(Debug)]
pub struct ReadReceiver<T>(oneshot::Receiver<Result<T, ReadFailure>>);

impl<T> ReadReceiver<T> {
    /// Makes both ends of a read.
    pub fn channel() -> (ReadSender<T>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, ReadReceiver(receiver))
    }

    /// Returns the result of the read. Call it only once the outcome of the turn is known.
    pub fn result(self) -> Result<T, ReadFailure> {
        self.0.try_recv().expect("the store answers every read of a turn before it reports the outcome")
    }
}

/// Reason why a read failed, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReadFailure(String);

impl ReadFailure {
    /// A failure for this reason.
    pub fn new(reason: impl fmt::Display) -> Self {
        ReadFailure(reason.to_string())
    }
}

impl From<rusqlite::Error> for ReadFailure {
    fn from(error: rusqlite::Error) -> Self {
        ReadFailure::new(error)
    }
}
