//! The index of the log: whom each message is for, and what each peer sent last. Owns `inbox`, `peer.sent` and `indexed`;
//! never a message itself.
//!
//! It follows the log in large batches, sorted by recipient: to keep it up with every turn costs as much as all else together,
//! as each touches a page for every recipient. The log is the truth, and the tail of it that the tables do not hold yet is
//! known in memory.

mod tail;

use std::fmt::{Display, Write};

use rusqlite::{Connection, OptionalExtension, Statement, Transaction, TransactionBehavior};

use self::tail::Addressed;
pub(super) use self::tail::Tail;
use super::insert::Insert;
use crate::limits::INDEX_LAG_ROWS_MAX;
use crate::message::{PeerId, Seq};

/// The tables, and the tail that they lag behind by.
pub(super) struct Index<'c> {
    tail: Tail,
    put_inbox: Insert<'c>,
    put_sent: Statement<'c>,
    put_indexed: Statement<'c>,
    find_sent: Statement<'c>,
}

/// Reads the tail from the log. The tables are brought up to date where they lag behind by more than a running server lets
/// them.
pub(super) fn tail(connection: &Connection) -> rusqlite::Result<Tail> {
    loop {
        let (tail, end) = Tail::read(connection)?;
        let Some(end) = end else { return Ok(tail) };
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        Index::new(connection, tail)?.write(end)?;
        transaction.commit()?;
    }
}

impl<'c> Index<'c> {
    pub(super) fn new(connection: &'c Connection, tail: Tail) -> rusqlite::Result<Self> {
        Ok(Index {
            tail,
            // It may stand there: somebody may have mended the tables by hand.
            put_inbox: Insert::prepare(connection, "insert or ignore into inbox (recipient, seq, sender)", 3)?,
            put_sent: connection.prepare("update peer set sent = ?2 where id = ?1")?,
            put_indexed: connection.prepare("insert or replace into indexed (rowid, seq) values (1, ?1)")?,
            find_sent: connection.prepare("select sent from peer where id = ?1")?,
        })
    }

    /// The tables hold every message up to here.
    pub(super) fn indexed(&self) -> Seq {
        self.tail.indexed()
    }

    /// Whether the tail has become so long that the next turn is to write it.
    pub(super) fn is_due(&self) -> bool {
        self.tail.rows() >= INDEX_LAG_ROWS_MAX
    }

    /// Writes the tail into the tables, in a transaction in which nothing was sent yet. `newest` is the last of it.
    pub(super) fn write(&mut self, newest: Seq) -> rusqlite::Result<()> {
        self.put_inbox.insert(self.tail.sorted(), |(recipient, Addressed { seq, sender }), row| {
            row.add(recipient.get())?;
            row.add(seq.get())?;
            row.add(sender.get())
        })?;
        for (sender, seq) in self.tail.senders() {
            let rows = self.put_sent.execute([sender.get(), seq.get()])?;
            assert_eq!(rows, 1, "whoever sends has been kept");
        }
        self.put_indexed.execute([newest.get()]).map(drop)
    }

    /// That transaction is committed.
    pub(super) fn written(&mut self, newest: Seq) {
        self.tail.clear(newest);
    }

    /// Notes that a sender sends this message, and says which one it sent before.
    pub(super) fn send(&mut self, sender: PeerId, seq: Seq) -> rusqlite::Result<Seq> {
        let before = match self.tail.sent(sender) {
            Some(before) => before,
            // A peer that was never kept has sent nothing.
            None => Seq::new(self.find_sent.query_row([sender.get()], |row| row.get(0)).optional()?.unwrap_or(0)),
        };
        self.tail.send(sender, seq);
        Ok(before)
    }

    /// What was sent since the last commit is not in the log.
    pub(super) fn undo_sends(&mut self) {
        self.tail.undo_sends();
    }

    /// What was sent is in the log.
    pub(super) fn add(&mut self, seq: Seq, sender: PeerId, recipients: &[PeerId]) {
        self.tail.add(seq, sender, recipients);
    }

    /// How many messages the tail holds for a peer after this one.
    pub(super) fn count_after(&self, recipient: PeerId, seq: Seq) -> u64 {
        self.tail.after(recipient, seq).len() as u64
    }

    /// The first messages that the tail holds for a peer after this one, as a JSON array.
    pub(super) fn next_after(&self, recipient: PeerId, seq: Seq, count: usize) -> String {
        json(self.tail.after(recipient, seq).iter().take(count).map(|addressed| addressed.seq))
    }

    /// The newest messages that the tail holds for a peer, as a JSON array; only those of one sender, where there is one.
    pub(super) fn newest(&self, recipient: PeerId, sender: Option<PeerId>, count: usize) -> String {
        let inbox = self.tail.after(recipient, Seq::ZERO).iter().rev();
        let inbox = inbox.filter(|addressed| sender.is_none_or(|sender| addressed.sender == sender));
        json(inbox.take(count).map(|addressed| addressed.seq))
    }

    /// The newest message of a sender, if the tail holds it.
    pub(super) fn newest_sent(&self, sender: PeerId) -> Option<Seq> {
        self.tail.sent(sender)
    }
}

fn json(seqs: impl Iterator<Item = Seq>) -> String {
    let mut array = String::new();
    write_json(&mut array, seqs);
    array
}

/// Appends numbers as a JSON array.
pub(super) fn write_json(array: &mut String, numbers: impl Iterator<Item = impl Display>) {
    array.push('[');
    for (place, number) in numbers.enumerate() {
        let comma = if place == 0 { "" } else { "," };
        write!(array, "{comma}{number}").expect("a string takes all");
    }
    array.push(']');
}
