//! Scans of clients: reads that may take several turns (histories, searches, counts for a welcome). Owns the order in which they are
//! continued; never what they find. The session of a scan submits nothing else meanwhile.
//!
//! A scan in its first turn goes ahead of most others, because most scans are done in one turn: a short one does not wait behind long ones,
//! however many there are.

use std::collections::VecDeque;

use super::completion::Requester;
use crate::limits::FRESH_SCANS_AHEAD;
use crate::store::{ReadFailure, ReadReceiver, Scan, ScanOutcome, ScanResult};

/// Scan that is not done.
#[derive(Debug)]
pub(super) struct PendingScan {
    /// Client that waits for it.
    pub(super) requester: Requester,
    pub(super) purpose: ScanPurpose,
    pub(super) scan: Box<Scan>,
    /// Bytes of the budget that it holds.
    pub(super) held_bytes: usize,
}

/// Use of the result of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanPurpose {
    /// Welcome, with the number of messages that wait.
    Welcome,
    /// Reply to `/history`.
    History,
    /// Reply to `/search`.
    Search,
}

/// Scan of which a turn does a slice.
#[derive(Debug)]
pub(super) struct ScanInTurn {
    pub(super) requester: Requester,
    pub(super) purpose: ScanPurpose,
    /// Number of slices before the turn.
    pub(super) slices: u64,
    /// Bytes of the budget that it holds.
    pub(super) held_bytes: usize,
    pub(super) outcome: ReadReceiver<ScanOutcome>,
}

/// Scan that is done, or has failed.
#[derive(Debug)]
pub(super) struct FinishedScan {
    pub(super) requester: Requester,
    pub(super) purpose: ScanPurpose,
    pub(super) result: Result<ScanResult, ReadFailure>,
}

/// Scans in the order in which they are continued. The session of a scan may have left.
#[derive(Debug, Default)]
pub(super) struct Scans {
    /// Scans that have done nothing yet.
    fresh: VecDeque<PendingScan>,
    /// Scans that have done a part of their work.
    begun: VecDeque<PendingScan>,
}

impl Scans {
    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.begun.is_empty()
    }

    /// Makes all scans begin again.
    pub(super) fn restart(&mut self) {
        self.begun.iter_mut().chain(&mut self.fresh).for_each(|pending| pending.scan.restart());
    }

    /// Adds a scan that has done nothing yet.
    pub(super) fn begin(&mut self, scan: PendingScan) {
        self.fresh.push_back(scan);
    }

    /// Takes the scan that the turn continues as its `nth`.
    pub(super) fn take(&mut self, nth: usize) -> Option<PendingScan> {
        if nth % (FRESH_SCANS_AHEAD + 1) < FRESH_SCANS_AHEAD {
            self.fresh.pop_front().or_else(|| self.begun.pop_front())
        } else {
            self.begun.pop_front().or_else(|| self.fresh.pop_front())
        }
    }

    /// Puts a scan back for another turn: behind the others if it has done something, else before them.
    pub(super) fn put_back(&mut self, scan: PendingScan, has_moved: bool) {
        match (has_moved, scan.scan.slices) {
            (true, _) => self.begun.push_back(scan),
            (false, 0) => self.fresh.push_front(scan),
            (false, _) => self.begun.push_front(scan),
        }
    }
}
