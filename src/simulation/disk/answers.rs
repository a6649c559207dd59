//! Results of the model for the reads of a turn. Owns sending them to the broker, and comparing them with the results of
//! the real store; never reads.

use std::fmt::Debug;

use fastrand::Rng;

use crate::store::{Read, ReadFailure, ReadReceiver, ReadSender, Scan, ScanOutcome, ScanResult, Store, TurnRequest};

/// Comparison of a result with that of the real store.
type Check = Box<dyn FnOnce(&Store)>;

/// Results of a turn's reads, sent to the broker and compared with the results of the real store.
pub(in crate::simulation) struct Answers<'r> {
    /// Whether all reads of the broker fail.
    is_unreadable: bool,
    /// Whether there is a real store to compare with.
    is_checked: bool,
    /// The same reads, for the real store.
    pub(in crate::simulation) reads: Vec<Read>,
    /// Comparisons, to be made once the real store has answered.
    pub(in crate::simulation) checks: Vec<Check>,
    /// Decides which scans are paused.
    pauses: &'r mut Rng,
}

impl<'r> Answers<'r> {
    pub(in crate::simulation) fn new(is_unreadable: bool, is_checked: bool, pauses: &'r mut Rng) -> Self {
        Answers { is_unreadable, is_checked, reads: Vec::new(), checks: Vec::new(), pauses }
    }

    /// Sends what the model found for a query.
    pub(super) fn send<Q, T: Clone + PartialEq + Debug + 'static>(
        &mut self,
        read: impl FnOnce(Q, ReadSender<T>) -> Read,
        query: Q,
        reply: ReadSender<T>,
        found: T,
    ) {
        if self.is_checked {
            let (sender, actual) = ReadReceiver::channel();
            self.reads.push(read(query, sender));
            let expected = found.clone();
            self.checks.push(Box::new(move |_| {
                assert_eq!(actual.result(), Ok(expected), "the store and the model read the same");
            }));
        }
        // A broker that was killed takes no result.
        drop(reply.send(if self.is_unreadable { Err(injected()) } else { Ok(found) }));
    }

    /// Sends what the model found by a scan, or pauses the scan: for want of time, or after a slice. `again` is the same scan from its begin.
    pub(super) fn send_scan(
        &mut self,
        mut scan: Box<Scan>,
        again: impl Into<Scan>,
        reply: ReadSender<ScanOutcome>,
        found: ScanResult,
    ) {
        if !self.is_unreadable && self.pauses.u32(..3) == 0 {
            scan.slices += self.pauses.u64(..2);
            return drop(reply.send(Ok(ScanOutcome::Paused(scan))));
        }
        if self.is_checked {
            let (sender, actual) = ReadReceiver::channel();
            let again = Scan { bytes_max: scan.bytes_max, ..again.into() };
            self.reads.push(Read::Scan(Box::new(again), sender));
            let expected = found.clone();
            self.checks.push(Box::new(move |store| {
                assert_eq!(done(actual, store), expected, "the store and the model find the same");
            }));
        }
        drop(reply.send(if self.is_unreadable { Err(injected()) } else { Ok(ScanOutcome::Done(found)) }));
    }
}

/// Continues a scan of the real store until it is done, and returns its result.
fn done(mut outcome: ReadReceiver<ScanOutcome>, store: &Store) -> ScanResult {
    loop {
        match outcome.result().expect("the store can be read") {
            ScanOutcome::Done(result) => return result,
            ScanOutcome::Paused(scan) => {
                let (sender, next) = ReadReceiver::channel();
                let request = TurnRequest { entries: Vec::new(), reads: vec![Read::Scan(scan, sender)] };
                drop(smol::block_on(store.begin(request).outcome()));
                outcome = next;
            }
        }
    }
}

/// Failure of a read on an unreadable disk.
pub(in crate::simulation) fn injected() -> ReadFailure {
    ReadFailure::new("injected")
}
