//! Locks of the database: how the store behaves while another process writes. Owns how long it waits; never what it does then.

use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::limits::DATABASE_BUSY_MS_MAX;

/// Begins a transaction that writes; fails at once if another process writes.
pub(super) fn begin_unless_busy(connection: &Connection) -> rusqlite::Result<Transaction<'_>> {
    without_waiting(connection, || Transaction::new_unchecked(connection, TransactionBehavior::Immediate))
}

/// Runs something that fails at once if another process writes.
pub(super) fn without_waiting<T>(
    connection: &Connection,
    run: impl FnOnce() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.busy_timeout(Duration::ZERO)?;
    let result = run();
    connection.busy_timeout(Duration::from_millis(DATABASE_BUSY_MS_MAX))?;
    result
}
