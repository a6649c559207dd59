//! The index of the log: whom each message is for, and what each peer sent last. Owns `inbox`, `peer.sent` and `indexed`;
//! never a message itself.
//!
//! It follows the log in large batches, sorted by recipient, with many messages in a row: a row for each message and recipient,
//! kept up with every turn, costs as much as all else together. The log is the truth, and the tail of it that the tables do
//! not hold yet is known in memory.

mod tail;

use rusqlite::{Connection, OptionalExtension, Statement, Transaction, TransactionBehavior, params};

pub(crate) use self::tail::Tail;
use super::array;
use crate::limits::{INBOX_ROW_MESSAGES_MAX, INDEX_LAG_ROWS_MAX};
use crate::message::{PeerId, Recipient, Seq};

/// The tables, and the tail that they lag behind by.
pub(crate) struct Index<'c> {
    tail: Tail,
    put_inbox: Statement<'c>,
    put_sent: Statement<'c>,
    put_indexed: Statement<'c>,
    find_sent: Statement<'c>,
    first_after: Statement<'c>,
    last_before: Statement<'c>,
}

/// Reads the tail from the log. The tables are brought up to date where they lag behind by more than a running server lets
/// them.
pub(crate) fn tail(connection: &Connection) -> rusqlite::Result<Tail> {
    loop {
        let (tail, end) = Tail::read(connection, 2 * INDEX_LAG_ROWS_MAX)?;
        let Some(end) = end else { return Ok(tail) };
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        Index::new(connection, tail)?.write(end)?;
        transaction.commit()?;
    }
}

/// The same for one who only reads: all of the tail, however long it is.
pub(crate) fn whole_tail(connection: &Connection) -> rusqlite::Result<Tail> {
    Tail::read(connection, usize::MAX).map(|(tail, _)| tail)
}

impl<'c> Index<'c> {
    pub(crate) fn new(connection: &'c Connection, tail: Tail) -> rusqlite::Result<Self> {
        Ok(Index {
            tail,
            // It may stand there: somebody may have mended the tables by hand.
            put_inbox: connection
                .prepare("insert or replace into inbox (recipient, last, seqs) values (?1, ?2, ?3)")?,
            put_sent: connection.prepare("update peer set sent = ?2 where id = ?1")?,
            put_indexed: connection.prepare("insert or replace into indexed (rowid, seq) values (1, ?1)")?,
            find_sent: connection.prepare("select sent from peer where id = ?1")?,
            first_after: connection
                .prepare("select seqs from inbox where recipient = ?1 and last > ?2 order by last")?,
            // The row in which the message before ?2 may stand is the first that ends with it or later.
            last_before: connection.prepare(
                "select seqs from inbox
                 where recipient = ?1 and last <= coalesce(
                     (select last from inbox where recipient = ?1 and last >= ?2 order by last limit 1), ?2)
                 order by last desc",
            )?,
        })
    }

    /// The tables hold every message up to here.
    pub(crate) fn indexed(&self) -> Seq {
        self.tail.indexed()
    }

    /// Whether the tail has become so long that the next turn is to write it.
    pub(crate) fn is_due(&self) -> bool {
        self.tail.rows() >= INDEX_LAG_ROWS_MAX
    }

    /// Writes the tail into the tables, in a transaction in which nothing was sent yet. `newest` is the last of it.
    pub(crate) fn write(&mut self, newest: Seq) -> rusqlite::Result<()> {
        let mut array = String::new();
        for (recipient, inbox) in self.tail.inboxes() {
            for seqs in inbox.chunks(INBOX_ROW_MESSAGES_MAX) {
                array.clear();
                array::write(&mut array, seqs.iter().map(|seq| seq.get()));
                let last = seqs.last().expect("a chunk is not empty");
                self.put_inbox.execute(params![recipient.number(), last.get(), array])?;
            }
        }
        for (sender, seq) in self.tail.senders() {
            let rows = self.put_sent.execute([sender.get(), seq.get()])?;
            assert_eq!(rows, 1, "whoever sends has been kept");
        }
        self.put_indexed.execute([newest.get()]).map(drop)
    }

    /// That transaction is committed.
    pub(crate) fn written(&mut self, newest: Seq) {
        self.tail.clear(newest);
    }

    /// Notes that a sender sends this message, and says which one it sent before.
    pub(crate) fn send(&mut self, sender: PeerId, seq: Seq) -> rusqlite::Result<Seq> {
        let before = self.newest_sent(sender)?;
        self.tail.send(sender, before, seq);
        Ok(before)
    }

    /// What was sent since the last commit is not in the log.
    pub(crate) fn undo_sends(&mut self) {
        self.tail.undo_sends();
    }

    /// What was sent is in the log.
    pub(crate) fn add(&mut self, seq: Seq, recipients: &[Recipient]) {
        self.tail.add(seq, recipients);
    }

    /// That was all of it.
    pub(crate) fn keep_sends(&mut self) {
        self.tail.keep_sends();
    }

    /// The newest message of a sender.
    pub(crate) fn newest_sent(&mut self, sender: PeerId) -> rusqlite::Result<Seq> {
        match self.tail.sent(sender) {
            Some(seq) => Ok(seq),
            // A peer that was never kept has sent nothing.
            None => Ok(Seq::new(self.find_sent.query_row([sender.get()], |row| row.get(0)).optional()?.unwrap_or(0))),
        }
    }

    /// The first messages for a recipient after this one, in order, so many at most; some may have been removed.
    pub(crate) fn first_after(&mut self, recipient: Recipient, after: Seq, count: usize) -> rusqlite::Result<Vec<Seq>> {
        let mut seqs = Vec::new();
        let mut rows = self.first_after.query([recipient.number(), after.get()])?;
        while seqs.len() < count
            && let Some(row) = rows.next()?
        {
            seqs.extend(array::read(row.get_ref(0)?.as_str()?).map(Seq::new).filter(|seq| *seq > after));
        }
        seqs.extend(self.tail.after(recipient, after));
        seqs.truncate(count);
        Ok(seqs)
    }

    /// The last messages for a recipient before this one, the newest first, so many at most; some may have been removed.
    pub(crate) fn last_before(
        &mut self,
        recipient: Recipient,
        before: Seq,
        count: usize,
    ) -> rusqlite::Result<Vec<Seq>> {
        let tail = self.tail.after(recipient, Seq::ZERO);
        let mut seqs: Vec<Seq> = tail.iter().rev().copied().filter(|seq| *seq < before).take(count).collect();
        let mut rows = self.last_before.query([recipient.number(), before.get()])?;
        while seqs.len() < count
            && let Some(row) = rows.next()?
        {
            seqs.extend(array::read(row.get_ref(0)?.as_str()?).rev().map(Seq::new).filter(|seq| *seq < before));
        }
        seqs.truncate(count);
        Ok(seqs)
    }
}
