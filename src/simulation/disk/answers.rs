//! Results of the model for the reads of a turn. Owns sending them to the broker, and comparing them with the results of
//! the real store; never reads.

use std::fmt::Debug;

use crate::store::{Read, ReadFailure, ReadReceiver, ReadSender};

/// Results of a turn's reads, sent to the broker and compared with the results of the real store.
pub(in crate::simulation) struct Answers {
    /// Whether all reads of the broker fail.
    is_unreadable: bool,
    /// Whether there is a real store to compare with.
    is_checked: bool,
    /// The same reads, for the real store.
    pub(in crate::simulation) reads: Vec<Read>,
    /// Comparisons, to be made once the real store has answered.
    pub(in crate::simulation) checks: Vec<Box<dyn FnOnce()>>,
}

impl Answers {
    pub(in crate::simulation) fn new(is_unreadable: bool, is_checked: bool) -> Self {
        Answers { is_unreadable, is_checked, reads: Vec::new(), checks: Vec::new() }
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
            self.checks.push(Box::new(move || {
                assert_eq!(actual.result(), Ok(expected), "the store and the model read the same");
            }));
        }
        // A broker that was killed takes no result.
        drop(reply.send(if self.is_unreadable { Err(injected()) } else { Ok(found) }));
    }
}

/// Failure of a read on an unreadable disk.
pub(in crate::simulation) fn injected() -> ReadFailure {
    ReadFailure::new("injected")
}
