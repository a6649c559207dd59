//! Selection of the messages that a command prints. Owns the conditions, and finding the ids of the names in them.

use rusqlite::{Connection, OptionalExtension};

use crate::message::{Destination, Seq};

/// Messages to read.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Messages of this room, or messages that this peer may read. `None`: all messages.
    pub with: Option<Destination>,
    /// Only messages before this one.
    pub before: Seq,
    /// Maximum number; the newest are read.
    pub count: usize,
}

/// Returns the id that a query finds for a name.
pub(super) fn find_id(connection: &Connection, sql: &str, name: &str) -> rusqlite::Result<Option<i64>> {
    connection.query_row(sql, [name], |row| row.get(0)).optional()
}
