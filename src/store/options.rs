//! Options of the store: what the operator configures, and the limits that tests lower. Owns these types; never reads a file.

use super::budget::ReadLimits;
use super::events::EventLimits;
use super::purge::PurgeLimits;
use crate::config::{Durability, Retention};
use crate::database::index::IndexLimits;
use crate::database::search::SearchLimits;
use crate::limits::{OBSERVED_SKIPPED_MAX, ROOM_WAITING_MESSAGES_DEFAULT, SENT_IDS_MAX};

/// Options with which the store is opened.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Failures that a commit survives.
    pub durability: Durability,
    /// Age and size from which on old messages are removed.
    pub retention: Retention,
    /// Limits of the tables.
    pub limits: StoreLimits,
}

/// Limits of the tables; the defaults are those of the server.
#[derive(Clone, Copy, Debug)]
pub struct StoreLimits {
    pub(crate) index: IndexLimits,
    pub(crate) search: SearchLimits,
    pub(crate) events: EventLimits,
    /// Ids of messages of one sender alone that are remembered.
    pub(crate) sent_ids_max: usize,
    /// Messages of an observer's own that one page skips.
    pub(crate) observed_skipped_max: usize,
    /// Messages of a room that may wait for one of its members; 0: no limit.
    pub(crate) room_waiting_max: u64,
    pub(crate) reads: ReadLimits,
    pub(crate) purge: PurgeLimits,
}

impl StoreOptions {
    /// Returns options with the limits of the server.
    pub fn new(durability: Durability, retention: Retention) -> Self {
        StoreOptions { durability, retention, limits: StoreLimits::default() }
    }

    /// Sets the messages of a room that may wait for one of its members; 0: no limit.
    pub fn with_room_waiting_max(mut self, room_waiting_max: u64) -> Self {
        self.limits.room_waiting_max = room_waiting_max;
        self
    }

    /// Returns options with [`StoreLimits::SMALL`].
    #[cfg(test)]
    pub(crate) fn small(durability: Durability, retention: Retention) -> Self {
        StoreOptions { durability, retention, limits: StoreLimits::SMALL }
    }
}

impl Default for StoreLimits {
    fn default() -> Self {
        StoreLimits {
            index: IndexLimits::default(),
            search: SearchLimits::default(),
            events: EventLimits::default(),
            sent_ids_max: SENT_IDS_MAX,
            observed_skipped_max: OBSERVED_SKIPPED_MAX,
            room_waiting_max: ROOM_WAITING_MESSAGES_DEFAULT,
            reads: ReadLimits::default(),
            purge: PurgeLimits::default(),
        }
    }
}

#[cfg(test)]
impl StoreLimits {
    /// Limits that a short test reaches.
    pub(crate) const SMALL: StoreLimits = StoreLimits {
        index: IndexLimits { lag_rows_max: 100, row_messages_max: 10 },
        search: SearchLimits {
            step_messages_max: 10,
            step_bytes_max: 500,
            scan_messages_max: 100,
            refused_messages_min: 4,
        },
        events: EventLimits { stored_max: 5000, removed_per_turn_max: 4 },
        sent_ids_max: 100,
        observed_skipped_max: 4,
        room_waiting_max: 100,
        reads: ReadLimits::SINGLE_STEPS,
        purge: PurgeLimits { rows_max: 3, scanned_max: 7, weight_max: 5 },
    };
}
