//! Headroom: the bytes that messages may still take while the database is full of messages that wait. Owns the number, which the store's
//! thread sets and the broker reads; never refuses a message.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Value for a database that is not full, or from which messages can be removed.
const UNLIMITED: u64 = u64::MAX;

/// Bytes up to `max_size`, as of the last step of the retention. Clones share them.
#[derive(Clone, Debug)]
pub struct Headroom(Arc<AtomicU64>);

impl Default for Headroom {
    fn default() -> Self {
        Headroom(Arc::new(AtomicU64::new(UNLIMITED)))
    }
}

impl Headroom {
    /// Returns the bytes that messages may still take; `None` if there is no limit now.
    pub fn bytes(&self) -> Option<u64> {
        // One value by itself: no other memory depends on it.
        Some(self.0.load(Ordering::Relaxed)).filter(|bytes| *bytes != UNLIMITED)
    }

    /// Sets the bytes that messages may still take; `None` for no limit.
    pub(crate) fn set(&self, bytes: Option<u64>) {
        self.0.store(bytes.unwrap_or(UNLIMITED), Ordering::Relaxed);
    }
}
