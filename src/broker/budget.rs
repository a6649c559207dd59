//! Memory that all outboxes share, and the histories that are being read for them: each may grow while it holds less than what is free. Owns
//! the count; never what an outbox holds.
//!
//! So a few clients that do not read get a full outbox each, and a crowd of them gets small ones. Each keeps a minimum, so that every client
//! makes progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::{HISTORY_BYTES_MAX, OUTBOX_BYTES_MAX, OUTBOX_BYTES_MIN, OUTBOXES_BYTES_MAX};

/// Count of the bytes in all outboxes.
#[derive(Debug)]
pub(super) struct OutboxBudget {
    used_bytes: usize,
    /// Bytes that one outbox may hold, for the connections: they submit fewer requests at a time while it is small.
    published: Arc<AtomicUsize>,
}

impl Default for OutboxBudget {
    fn default() -> Self {
        OutboxBudget { used_bytes: 0, published: Arc::new(AtomicUsize::new(OUTBOX_BYTES_MAX)) }
    }
}

impl OutboxBudget {
    /// Returns the bytes that one outbox may hold, as they are published.
    pub(super) fn published(&self) -> Arc<AtomicUsize> {
        self.published.clone()
    }

    /// Publishes the bytes that one outbox may hold.
    pub(super) fn publish(&self) {
        self.published.store(self.outbox_bytes_max(), Ordering::Relaxed);
    }

    /// Returns the bytes that one outbox may hold now.
    pub(super) fn outbox_bytes_max(&self) -> usize {
        self.free_bytes().clamp(OUTBOX_BYTES_MIN, OUTBOX_BYTES_MAX)
    }

    /// Returns the bytes that one history or search may take now; it holds this many already.
    pub(super) fn history_bytes_max(&self, held_bytes: usize) -> usize {
        (self.free_bytes() + held_bytes).clamp(OUTBOX_BYTES_MIN, HISTORY_BYTES_MAX)
    }

    /// Counts bytes that are held from now on.
    pub(super) fn take(&mut self, bytes: usize) {
        self.used_bytes += bytes;
    }

    /// Counts bytes that are held no longer.
    pub(super) fn give_back(&mut self, bytes: usize) {
        let left = self.used_bytes.checked_sub(bytes);
        self.used_bytes = left.expect("bytes are given back once, after they were taken");
    }

    /// Returns the number of bytes that are held.
    #[cfg(test)]
    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    fn free_bytes(&self) -> usize {
        OUTBOXES_BYTES_MAX.saturating_sub(self.used_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_outboxes_are_large_and_many_are_small() {
        let held = |outboxes| {
            let mut budget = OutboxBudget::default();
            let mut held = vec![0; outboxes];
            for outbox in &mut held {
                // Each grows as long as it may, a kilobyte at a time.
                while *outbox + 1024 <= budget.outbox_bytes_max() {
                    *outbox += 1024;
                    budget.take(1024);
                }
            }
            assert_eq!(budget.used_bytes(), held.iter().sum::<usize>());
            (held.iter().copied().min().unwrap(), budget.used_bytes())
        };
        assert_eq!(held(10), (OUTBOX_BYTES_MAX, 10 * OUTBOX_BYTES_MAX));
        let (least, used) = held(4096);
        assert_eq!(least, OUTBOX_BYTES_MIN);
        assert!(used <= OUTBOXES_BYTES_MAX + 4096 * OUTBOX_BYTES_MIN, "{used}");
    }

    #[test]
    fn bytes_that_are_given_back_make_room() {
        let mut budget = OutboxBudget::default();
        budget.take(2 * OUTBOXES_BYTES_MAX);
        assert_eq!((budget.outbox_bytes_max(), budget.history_bytes_max(0)), (OUTBOX_BYTES_MIN, OUTBOX_BYTES_MIN));
        budget.give_back(2 * OUTBOXES_BYTES_MAX);
        assert_eq!((budget.outbox_bytes_max(), budget.history_bytes_max(0)), (OUTBOX_BYTES_MAX, HISTORY_BYTES_MAX));
    }
}
