//! The oldest messages as rows: read, removed, and their pages given back to the file system. Owns the SQL of the
//! retention; never which message goes.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, Statement, Transaction, params};

use crate::database::array;
use crate::database::visibility::MEMBER_POSITION;
use crate::limits::{RETENTION_CHUNK_ROWS, RETENTION_RETURNED_PAGES};
use crate::message::{PeerId, Recipient, RoomId, Seq, Timestamp};
use crate::store::log::begin_unless_busy;

/// The log from its other end.
pub(super) struct Oldest<'c> {
    connection: &'c Connection,
    page_bytes: u64,
    /// Cursors that were read in this transaction.
    cursors: HashMap<PeerId, Option<Seq>>,
    /// How far those got who lag behind most in a room, as read in this transaction.
    laggards: HashMap<RoomId, Vec<(PeerId, Seq)>>,
    page_count: Statement<'c>,
    freelist_count: Statement<'c>,
    after: Statement<'c>,
    cursor: Statement<'c>,
    laggards_of: Statement<'c>,
    remove_messages: Statement<'c>,
    ends_in: Statement<'c>,
    remove_row: Statement<'c>,
    shorten_row: Statement<'c>,
    is_kept: Statement<'c>,
    give_back: Statement<'c>,
}

/// What is to be known of a message to remove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OldMessage {
    /// Its place in the log.
    pub(super) seq: Seq,
    /// When it was accepted.
    pub(super) at: Timestamp,
    /// Who sent it.
    pub(super) sender: PeerId,
    /// Whom it is for.
    pub(super) recipients: Vec<Recipient>,
    /// Bytes of its text, which is not read for it.
    pub(super) text_bytes: u64,
}

/// Messages that go, with all that is left between the first and the last of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The oldest.
    pub(super) first: Seq,
    /// The newest.
    pub(super) last: Seq,
    /// How many.
    pub(super) messages: usize,
    /// Whom they were for.
    pub(super) recipients: Vec<Recipient>,
}

/// How the file is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pages {
    /// Pages that hold something.
    pub(super) used: u64,
    /// Pages that hold nothing: the next messages go there, and what is too much is given back.
    pub(super) free: u64,
    /// Bytes of each.
    page_bytes: u64,
}

impl Pages {
    /// Bytes that hold something.
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
            cursors: HashMap::new(),
            laggards: HashMap::new(),
            page_count: connection.prepare("pragma page_count")?,
            freelist_count: connection.prepare("pragma freelist_count")?,
            after: connection.prepare(
                "select seq, at, recipients, octet_length(text), sender from message where seq > ?1 order by seq limit ?2",
            )?,
            cursor: connection.prepare("select cursor from peer where id = ?1")?,
            laggards_of: connection.prepare(&format!(
                "select peer.id, {MEMBER_POSITION} as position
                 from member join peer on peer.id = member.peer where member.room = ?1
                 order by position limit 2"
            ))?,
            remove_messages: connection.prepare("delete from message where seq between ?1 and ?2")?,
            ends_in: connection
                .prepare("select last, seqs from inbox where recipient = ?1 and last between ?2 and ?3")?,
            remove_row: connection.prepare("delete from inbox where recipient = ?1 and last = ?2")?,
            shorten_row: connection
                .prepare("update inbox set last = ?3, seqs = ?4 where recipient = ?1 and last = ?2")?,
            is_kept: connection.prepare("select 1 from message where seq = ?1")?,
            give_back: connection.prepare(&format!("pragma incremental_vacuum({RETENTION_RETURNED_PAGES})"))?,
        })
    }

    /// Begins a transaction; what is not committed is rolled back. It does not wait for another process that writes: there
    /// is time, and whoever sends something must not wait twice.
    pub(super) fn begin(&mut self) -> rusqlite::Result<Transaction<'c>> {
        self.cursors.clear();
        self.laggards.clear();
        begin_unless_busy(self.connection)
    }

    pub(super) fn pages(&mut self) -> rusqlite::Result<Pages> {
        let total: u64 = self.page_count.query_row([], |row| number(row, 0))?;
        let free = self.freelist_count.query_row([], |row| number(row, 0))?;
        Ok(Pages { used: total.saturating_sub(free), free, page_bytes: self.page_bytes })
    }

    /// The next messages after this one: a chunk of them, none if there are none.
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

    /// Whether a message has not been delivered to everyone it is for. One who is not kept gets nothing more.
    pub(super) fn waits(&mut self, message: &OldMessage) -> rusqlite::Result<bool> {
        for recipient in &message.recipients {
            let waits = match *recipient {
                Recipient::Peer(peer) => self.cursor(peer)?.is_some_and(|cursor| cursor < message.seq),
                Recipient::Room(room) => self.waits_in(room, message)?,
            };
            if waits {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a member of a room has not got a message that somebody else has sent there since it joined. Of those who lag
    /// behind most, one may be the sender; what holds for the other then holds for all.
    fn waits_in(&mut self, room: RoomId, message: &OldMessage) -> rusqlite::Result<bool> {
        if !self.laggards.contains_key(&room) {
            let laggards = self
                .laggards_of
                .query_map([room.get()], |row| Ok((PeerId::new(row.get(0)?), Seq::new(row.get(1)?))))?
                .collect::<rusqlite::Result<_>>()?;
            self.laggards.insert(room, laggards);
        }
        let mut laggards = self.laggards[&room].iter();
        Ok(laggards.any(|(peer, position)| *peer != message.sender && *position < message.seq))
    }

    fn cursor(&mut self, peer: PeerId) -> rusqlite::Result<Option<Seq>> {
        if let Some(cursor) = self.cursors.get(&peer) {
            return Ok(*cursor);
        }
        let cursor = self.cursor.query_row([peer.get()], |row| row.get(0).map(Seq::new)).optional()?;
        self.cursors.insert(peer, cursor);
        Ok(cursor)
    }

    /// Removes messages, and the rows of their recipients' inboxes that end with one of them.
    pub(super) fn remove(&mut self, mut run: Run) -> rusqlite::Result<()> {
        let rows = self.remove_messages.execute([run.first.get(), run.last.get()])?;
        assert_eq!(rows, run.messages, "all that is removed was looked at");
        run.recipients.sort_unstable();
        run.recipients.dedup();
        for recipient in run.recipients {
            for (last, seqs) in self.ends_in(recipient, run.first, run.last)? {
                self.shorten(recipient, last, &seqs)?;
            }
        }
        Ok(())
    }

    fn ends_in(&mut self, recipient: Recipient, first: Seq, last: Seq) -> rusqlite::Result<Vec<(i64, String)>> {
        let range = [recipient.number(), first.get(), last.get()];
        self.ends_in.query_map(range, |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    }

    /// Leaves in a row of an inbox what is still in the log, as it waits for somebody else.
    fn shorten(&mut self, recipient: Recipient, last: i64, seqs: &str) -> rusqlite::Result<()> {
        let mut kept = Vec::new();
        for seq in array::read(seqs) {
            if self.is_kept.exists([seq])? {
                kept.push(seq);
            }
        }
        let rows = match kept.last() {
            None => self.remove_row.execute([recipient.number(), last])?,
            Some(end) => {
                let mut seqs = String::new();
                array::write(&mut seqs, kept.iter().copied());
                self.shorten_row.execute(params![recipient.number(), last, end, seqs])?
            }
        };
        assert_eq!(rows, 1, "a row of an inbox has an end of its own");
        Ok(())
    }

    /// Gives a few free pages back to the file system: the file gets smaller with the next checkpoint.
    pub(super) fn give_back(&mut self) -> rusqlite::Result<()> {
        // It frees a page with each row that is asked for.
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
        at: Timestamp::from_millis(row.get(1)?),
        sender: PeerId::new(row.get(4)?),
        recipients: array::read(row.get_ref(2)?.as_str()?).map(Recipient::numbered).collect(),
        text_bytes: number(row, 3)?,
    })
}
