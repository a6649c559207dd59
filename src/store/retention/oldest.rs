//! Oldest messages as rows: reads them for retention, and gives free pages back to the file system. Owns this SQL; never removes a
//! message.

use rusqlite::{Connection, OptionalExtension, Row, Statement, Transaction, params};

use crate::database::column::{integer, peer, text};
use crate::database::messages::numbered;
use crate::limits::{RETENTION_CHUNK_ROWS, RETENTION_RETURNED_PAGES};
use crate::message::{PeerId, Recipient, Seq, Timestamp};
use crate::store::locking::begin_unless_busy;
use crate::store::waiting::Waiting;

/// Prepared statements on the oldest messages and on the pages of the file.
pub(super) struct Oldest<'c> {
    connection: &'c Connection,
    page_bytes: u64,
    waiting: Waiting<'c>,
    page_count: Statement<'c>,
    freelist_count: Statement<'c>,
    after: Statement<'c>,
    give_back: Statement<'c>,
    name: Statement<'c>,
}

/// Message with what retention must know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OldMessage {
    /// Place in the log.
    pub(super) seq: Seq,
    /// Time at which it was accepted.
    pub(super) at: Timestamp,
    /// Peer that sent it.
    pub(super) sender: PeerId,
    /// Peers and rooms that it is for.
    pub(super) recipients: Vec<Recipient>,
    /// Bytes of its text, which is not read.
    pub(super) text_bytes: u64,
}

/// Pages of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pages {
    /// Pages in use.
    pub(super) used: u64,
    /// Free pages: the next messages use them, and the surplus is given back.
    pub(super) free: u64,
    /// Bytes of each page.
    page_bytes: u64,
}

impl Pages {
    /// Bytes in use.
    pub(super) fn used_bytes(self) -> u64 {
        self.used * self.page_bytes
    }

    /// Bytes of the file.
    pub(super) fn total_bytes(self) -> u64 {
        (self.used + self.free) * self.page_bytes
    }
}

impl<'c> Oldest<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Oldest {
            connection,
            page_bytes: connection.query_row("pragma page_size", [], |row| number(row, 0))?,
            waiting: Waiting::new(connection)?,
            page_count: connection.prepare("pragma page_count")?,
            freelist_count: connection.prepare("pragma freelist_count")?,
            after: connection.prepare(
                "select seq, at, recipients, octet_length(text), sender from message where seq > ?1 and seq <= 1e18
                 order by seq limit ?2",
            )?,
            name: connection.prepare("select name from peer where id = ?1")?,
            give_back: connection.prepare(&format!("pragma incremental_vacuum({RETENTION_RETURNED_PAGES})"))?,
        })
    }

    /// Begins a transaction, which is rolled back unless it is committed. Fails at once if another process writes: there is time, and
    /// a client must not wait twice.
    pub(super) fn begin(&mut self) -> rusqlite::Result<Transaction<'c>> {
        self.waiting.clear();
        begin_unless_busy(self.connection)
    }

    pub(super) fn pages(&mut self) -> rusqlite::Result<Pages> {
        let total: u64 = self.page_count.query_row([], |row| number(row, 0))?;
        let free = self.freelist_count.query_row([], |row| number(row, 0))?;
        Ok(Pages { used: total.saturating_sub(free), free, page_bytes: self.page_bytes })
    }

    /// Reads a chunk of the next messages after this one; none if there are none.
    pub(super) fn after(&mut self, seq: Seq) -> rusqlite::Result<Vec<OldMessage>> {
        let mut rows = self.after.query(params![seq.get(), RETENTION_CHUNK_ROWS as i64])?;
        let mut messages = Vec::new();
        let mut rows_left = RETENTION_CHUNK_ROWS;
        while rows_left > 0
            && let Some(row) = rows.next()?
        {
            let message = old_message(row)?;
            rows_left = rows_left.saturating_sub(1 + message.recipients.len());
            messages.push(message);
        }
        Ok(messages)
    }

    /// Returns a peer to which a message has not been delivered; `None` if it was delivered to all that it is for.
    pub(super) fn holder(&mut self, message: &OldMessage) -> rusqlite::Result<Option<PeerId>> {
        self.waiting.holder(message.seq, message.sender, &message.recipients)
    }

    /// Returns the name of a peer.
    pub(super) fn name(&mut self, peer: PeerId) -> rusqlite::Result<Option<String>> {
        let name = self.name.query_row([peer.get()], |row| text(row, 0));
        name.optional()
    }

    /// Gives a few free pages back to the file system. The file shrinks with the next checkpoint.
    pub(super) fn give_back(&mut self) -> rusqlite::Result<()> {
        // Each row that is read frees a page.
        let mut rows = self.give_back.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    }
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column).map(i64::cast_unsigned)
}

fn old_message(row: &Row<'_>) -> rusqlite::Result<OldMessage> {
    Ok(OldMessage {
        seq: Seq::new(row.get(0)?),
        at: Timestamp::from_millis(integer(row, 1)?),
        sender: peer(row, 4)?,
        recipients: numbered(&text(row, 2)?).collect(),
        text_bytes: integer(row, 3)?.cast_unsigned(),
    })
}
