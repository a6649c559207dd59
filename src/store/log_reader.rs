//! Reads the log for people at a shell, beside a running server or without one. Owns one read-only connection; never
//! writes.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Params, Row, params};

use super::directory::database_in;
use super::log::text;
use super::{SchemaError, StoreError, schema};
use crate::limits::DATABASE_BUSY_MS_MAX;
use crate::message::PeerName;

/// A database that is only read.
#[derive(Debug)]
pub struct LogReader {
    connection: Connection,
}

/// One row of the view `history`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// ISO-8601, UTC, with milliseconds.
    pub at: String,
    /// The sender's name.
    pub sender: String,
    /// As addressed, joined by commas.
    pub recipients: String,
    /// On one line.
    pub text: String,
    /// Those who have not got it yet, joined by commas; may be empty.
    pub waiting_for: String,
}

impl LogReader {
    /// Opens the database of a data directory; it must be there, and be ours.
    pub fn open(data: &Path) -> Result<LogReader, StoreError> {
        let path = database_in(data);
        if !path.exists() {
            return Err(SchemaError::Missing { path }.into());
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(schema::explain(&path))?;
        connection.busy_timeout(Duration::from_millis(DATABASE_BUSY_MS_MAX)).map_err(schema::explain(&path))?;
        schema::check(&connection, &path)?;
        schema::check_newest(&connection, &path)?;
        Ok(LogReader { connection })
    }

    /// Hands over the newest messages, oldest first, one by one: all, or those that this peer sent or was sent. Says how
    /// many they were.
    pub fn newest<E: From<StoreError>>(
        &self,
        with: Option<&PeerName>,
        count: usize,
        each: impl FnMut(LogLine) -> Result<(), E>,
    ) -> Result<usize, E> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        match with {
            None => self.read(OF_ALL, params![count], each),
            Some(name) => self.read(OF_ONE_PEER, params![count, name.as_str()], each),
        }
    }

    fn read<E: From<StoreError>>(
        &self,
        sql: &str,
        params: impl Params,
        mut each: impl FnMut(LogLine) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut statement = self.connection.prepare(sql).map_err(StoreError::from)?;
        let lines = statement.query_map(params, log_line).map_err(StoreError::from)?;
        let mut count = 0;
        for line in lines {
            each(line.map_err(StoreError::from)?)?;
            count += 1;
        }
        Ok(count)
    }
}

/// The newest ?1 messages.
const OF_ALL: &str = "
    select * from history
    where seq >= (select coalesce(min(seq), 0) from (select seq from message order by seq desc limit ?1))
    order by seq";

/// The newest ?1 messages that ?2 sent or was sent.
const OF_ONE_PEER: &str = "
    with recursive
        one (id, sent) as (
            select id, max(sent, coalesce((select max(seq) from unindexed where sender = peer.id), 0))
            from peer where name = ?2
        ),
        sent (seq) as (
            select sent from one
            union all
            select previous from sent join message using (seq)
            limit ?1 + 1
        ),
        -- Where a removed message breaks the chain, what is left of it still waited for someone.
        left (seq) as (
            select seq from message
            where seq < (select min(seq) from sent having count(*) <= ?1) and sender = (select id from one)
            order by seq desc limit ?1
        ),
        got (seq) as (
            select entry.value from inbox join json_each(inbox.seqs) as entry
            where inbox.recipient = (select id from one)
            order by inbox.last desc, entry.key desc limit ?1
        ),
        got_last (seq) as (select seq from unindexed where recipient = (select id from one)),
        part (seq) as (
            select seq from sent union select seq from left union select seq from got union select seq from got_last
            order by seq desc limit ?1
        )
    select * from history where seq in (select seq from part)
    order by seq";

fn log_line(row: &Row<'_>) -> rusqlite::Result<LogLine> {
    Ok(LogLine {
        at: row.get(1)?,
        sender: row.get(2)?,
        recipients: row.get(3)?,
        text: text(row, 4)?,
        waiting_for: row.get(5)?,
    })
}
