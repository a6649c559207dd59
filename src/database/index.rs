//! The inbox index: which messages each recipient has, and the newest message of each sender. Owns `inbox`, `peer.sent` and
//! `indexed`; never stores a message.
//!
//! The tables are written in large batches, sorted by recipient, with many messages in a row: one row for each message and
//! recipient, written with every turn, would cost as much as all the rest of a turn. The tail, the messages that the tables do
//! not contain yet, is in memory; it can always be read again from the log.

mod tail;

use rusqlite::{Connection, OptionalExtension, Statement, Transaction, TransactionBehavior, params};

pub(crate) use self::tail::UnindexedTail;
use super::column::{seq, text};
use super::{array, schema};
use crate::limits::{INBOX_ROW_MESSAGES_MAX, INDEX_LAG_ROWS_MAX, STORED_NUMBER_MAX};
use crate::message::{PeerId, Recipient, Seq};

/// Limits of the inbox index; the defaults are those of the server, tests lower them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexLimits {
    /// Messages in the tail, each counted once per recipient, from which on the next turn writes the tail into the tables.
    pub(crate) lag_rows_max: usize,
    /// Messages in one row of an inbox.
    pub(crate) row_messages_max: usize,
}

impl Default for IndexLimits {
    fn default() -> Self {
        IndexLimits { lag_rows_max: INDEX_LAG_ROWS_MAX, row_messages_max: INBOX_ROW_MESSAGES_MAX }
    }
}

/// The tables of the inbox index and the tail that they do not contain yet.
pub(crate) struct Index<'c> {
    limits: IndexLimits,
    tail: UnindexedTail,
    put_inbox: Statement<'c>,
    set_sent: Statement<'c>,
    set_indexed: Statement<'c>,
    find_sent: Statement<'c>,
    first_after: Statement<'c>,
    last_before: Statement<'c>,
}

/// Reads the tail from the log. If it is longer than a running server allows, writes it into the tables first, piece by piece.
pub(crate) fn tail(connection: &Connection, limits: IndexLimits) -> rusqlite::Result<UnindexedTail> {
    discard_if_wrong(connection)?;
    loop {
        let (tail, end) = UnindexedTail::read(connection, 2 * limits.lag_rows_max)?;
        let Some(end) = end else { return Ok(tail) };
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        Index::new(connection, tail, limits)?.write(end)?;
        transaction.commit()?;
    }
}

/// Empties the tables of the index, which are then written anew from the log, if `indexed` says what cannot be.
fn discard_if_wrong(connection: &Connection) -> rusqlite::Result<()> {
    let newest = schema::NEWEST;
    let valid = format!("select count(*) from indexed where typeof(seq) = 'integer' and seq between 0 and {newest}");
    let rows = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    if (rows(&valid)?, rows("select count(*) from indexed")?) == (1, 1) {
        return Ok(());
    }
    log::warn!("the table indexed has wrong rows; the inboxes are made anew from the log");
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    transaction
        .execute_batch("delete from inbox; delete from indexed; insert into indexed (rowid, seq) values (1, 0)")?;
    transaction.commit()
}

/// Returns the messages in a row of an inbox.
fn entries(seqs: &str) -> impl DoubleEndedIterator<Item = Seq> {
    array::read(seqs).filter(|seq| (1..=STORED_NUMBER_MAX).contains(seq)).map(Seq::new)
}

/// Reads the whole tail, however long it is, over a connection that cannot write.
pub(crate) fn whole_tail(connection: &Connection) -> rusqlite::Result<UnindexedTail> {
    UnindexedTail::read(connection, usize::MAX).map(|(tail, _)| tail)
}

impl<'c> Index<'c> {
    pub(crate) fn new(connection: &'c Connection, tail: UnindexedTail, limits: IndexLimits) -> rusqlite::Result<Self> {
        Ok(Index {
            limits,
            tail,
            // The row may exist: an operator may have repaired the tables by hand.
            put_inbox: connection
                .prepare("insert or replace into inbox (recipient, last, seqs) values (?1, ?2, ?3)")?,
            set_sent: connection.prepare("update peer set sent = ?2 where id = ?1")?,
            set_indexed: connection.prepare("insert or replace into indexed (rowid, seq) values (1, ?1)")?,
            find_sent: connection.prepare("select sent from peer where id = ?1")?,
            first_after: connection
                .prepare("select seqs from inbox where recipient = ?1 and last > ?2 order by last")?,
            // The newest row that may contain a message before ?2 is the first row whose last message is ?2 or later.
            last_before: connection.prepare(
                "select seqs from inbox
                 where recipient = ?1 and last <= coalesce(
                     (select last from inbox where recipient = ?1 and last >= ?2 order by last limit 1), ?2)
                 order by last desc",
            )?,
        })
    }

    /// Returns the message up to which the tables are complete.
    pub(crate) fn indexed(&self) -> Seq {
        self.tail.indexed()
    }

    /// Whether the tail is so long that the next turn must write it into the tables.
    pub(crate) fn is_due(&self) -> bool {
        self.tail.rows() >= self.limits.lag_rows_max
    }

    /// Writes the tail into the tables, in a transaction that has not added messages yet. `newest` is the last message of the
    /// tail.
    pub(crate) fn write(&mut self, newest: Seq) -> rusqlite::Result<()> {
        let mut array = String::new();
        for (recipient, inbox) in self.tail.inboxes() {
            for seqs in inbox.chunks(self.limits.row_messages_max) {
                array.clear();
                array::write(&mut array, seqs.iter().map(|seq| seq.get()));
                let last = seqs.last().expect("a chunk is not empty");
                self.put_inbox.execute(params![recipient.number(), last.get(), array])?;
            }
        }
        for (sender, seq) in self.tail.senders() {
            // A message that somebody wrote by hand may have a sender without a row.
            self.set_sent.execute([sender.get(), seq.get()])?;
        }
        self.set_indexed.execute([newest.get()]).map(drop)
    }

    /// Empties the tail, after the transaction of [`write`](Self::write) was committed.
    pub(crate) fn written(&mut self, newest: Seq) {
        self.tail.clear(newest);
    }

    /// Notes that a sender sends message `seq`. Returns the one it sent before.
    pub(crate) fn send(&mut self, sender: PeerId, seq: Seq) -> rusqlite::Result<Seq> {
        let before = self.newest_sent(sender)?;
        self.tail.send(sender, before, seq);
        Ok(before)
    }

    /// Takes back every [`send`](Self::send) since the last commit, as its transaction failed.
    pub(crate) fn undo_sends(&mut self) {
        self.tail.undo_sends();
    }

    /// Adds a committed message to the tail.
    pub(crate) fn add(&mut self, seq: Seq, recipients: &[Recipient]) {
        self.tail.add(seq, recipients);
    }

    /// Notes that every [`send`](Self::send) so far was committed.
    pub(crate) fn commit_sends(&mut self) {
        self.tail.commit_sends();
    }

    /// Returns the newest message of a sender; [`Seq::ZERO`] if it has sent none.
    pub(crate) fn newest_sent(&mut self, sender: PeerId) -> rusqlite::Result<Seq> {
        match self.tail.sent(sender) {
            Some(seq) => Ok(seq),
            // A peer without a row has sent nothing.
            None => Ok(self.find_sent.query_row([sender.get()], |row| seq(row, 0)).optional()?.unwrap_or(Seq::ZERO)),
        }
    }

    /// Returns the first messages for a recipient after `after`, oldest first, at most `count`. Some of them may have been
    /// removed from the log.
    pub(crate) fn first_after(&mut self, recipient: Recipient, after: Seq, count: usize) -> rusqlite::Result<Vec<Seq>> {
        let mut seqs = Vec::new();
        let mut rows = self.first_after.query([recipient.number(), after.get()])?;
        while seqs.len() < count
            && let Some(row) = rows.next()?
        {
            let left = count - seqs.len();
            seqs.extend(entries(&text(row, 0)?).filter(|seq| *seq > after).take(left));
        }
        let left = count - seqs.len();
        seqs.extend(self.tail.after(recipient, after).iter().take(left));
        Ok(seqs)
    }

    /// Returns the last messages for a recipient before `before`, newest first, at most `count`. Some of them may have been
    /// removed from the log.
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
            let left = count - seqs.len();
            seqs.extend(entries(&text(row, 0)?).rev().filter(|seq| *seq < before).take(left));
        }
        Ok(seqs)
    }
}
