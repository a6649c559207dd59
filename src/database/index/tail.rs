//! The tail of the log: the messages that the tables of the inbox index do not contain yet, in memory. Never writes the log or
//! the tables; the log is read once, at the start.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use crate::database::column::{peer, seq};
use crate::limits::SENDERS_CACHED_MAX;
use crate::message::{PeerId, Recipient, Seq};

/// Messages that the tables do not contain yet, arranged like the tables.
#[derive(Debug)]
pub(crate) struct UnindexedTail {
    /// Message up to which the tables are complete.
    indexed: Seq,
    /// Later messages of each recipient, in order.
    inboxes: BTreeMap<Recipient, Vec<Seq>>,
    /// Messages in `inboxes`, each counted once per recipient.
    rows: usize,
    /// Newest message of every sender in the tail, and of some other senders.
    sent: HashMap<PeerId, Seq>,
    /// Values that were in `sent` before the messages that are not committed yet, to undo these.
    sent_before: Vec<(PeerId, Seq)>,
}

impl UnindexedTail {
    /// Reads the tail from the log. If it has more than `rows_max` rows, as when the index was lost, reads only its start and
    /// returns the last message of that.
    pub(crate) fn read(connection: &Connection, rows_max: usize) -> rusqlite::Result<(Self, Option<Seq>)> {
        let indexed = connection.query_row("select max(seq) from indexed", [], |row| seq(row, 0))?;
        let mut tail =
            UnindexedTail { indexed, inboxes: BTreeMap::new(), rows: 0, sent: HashMap::new(), sent_before: Vec::new() };
        let sql = "select recipient, seq, sender from unindexed
                   where typeof(recipient) = 'integer' and seq <= 1e18 order by seq";
        let mut unindexed = connection.prepare(sql)?;
        let mut rows = unindexed.query([])?;
        let mut last = tail.indexed;
        while let Some(row) = rows.next()? {
            let (recipient, seq, sender) = (row.get(0)?, seq(row, 1)?, peer(row, 2)?);
            if seq != last && tail.rows >= rows_max {
                return Ok((tail, Some(last)));
            }
            tail.add(seq, &[Recipient::numbered(recipient)]);
            tail.sent.insert(sender, seq);
            last = seq;
        }
        Ok((tail, None))
    }

    /// Returns the message up to which the tables are complete.
    pub(crate) fn indexed(&self) -> Seq {
        self.indexed
    }

    /// Returns the number of messages, each counted once per recipient.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a message; messages must be added in the order of the log.
    pub(crate) fn add(&mut self, seq: Seq, recipients: &[Recipient]) {
        for recipient in recipients {
            self.inboxes.entry(*recipient).or_default().push(seq);
        }
        self.rows += recipients.len();
    }

    /// Empties the tail, as the tables now contain every message up to `indexed`.
    pub(crate) fn clear(&mut self, indexed: Seq) {
        self.indexed = indexed;
        self.inboxes.clear();
        self.rows = 0;
        if self.sent.len() > SENDERS_CACHED_MAX {
            self.sent.retain(|_, seq| *seq > indexed);
        }
    }

    /// Iterates over the recipients in order, each with its messages in order.
    pub(crate) fn inboxes(&self) -> impl Iterator<Item = (Recipient, &[Seq])> {
        self.inboxes.iter().map(|(recipient, inbox)| (*recipient, &**inbox))
    }

    /// Returns the messages for a recipient after `seq`, in order.
    pub(crate) fn after(&self, recipient: Recipient, seq: Seq) -> &[Seq] {
        let inbox = self.inboxes.get(&recipient).map_or(&[][..], Vec::as_slice);
        &inbox[inbox.partition_point(|one| *one <= seq)..]
    }

    /// Iterates over the senders of messages in the tail, each with its newest message.
    pub(crate) fn senders(&self) -> impl Iterator<Item = (PeerId, Seq)> {
        self.sent.iter().map(|(sender, seq)| (*sender, *seq)).filter(|(_, seq)| *seq > self.indexed)
    }

    /// Returns the newest message of a sender; `None` if only the tables may know it.
    pub(crate) fn sent(&self, sender: PeerId) -> Option<Seq> {
        self.sent.get(&sender).copied()
    }

    /// Notes that a sender sends message `seq`, and sent `before` before it.
    pub(crate) fn send(&mut self, sender: PeerId, before: Seq, seq: Seq) {
        self.sent.insert(sender, seq);
        self.sent_before.push((sender, before));
    }

    /// Notes that every [`send`](Self::send) so far was committed.
    pub(crate) fn commit_sends(&mut self) {
        self.sent_before.clear();
    }

    /// Takes back every [`send`](Self::send) since the last [`commit_sends`](Self::commit_sends).
    pub(crate) fn undo_sends(&mut self) {
        for (sender, before) in self.sent_before.drain(..).rev() {
            self.sent.insert(sender, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::schema;

    #[test]
    fn undo_takes_back_sends_that_were_not_kept() {
        let home = tempfile::tempdir().unwrap();
        let connection = schema::open(&home.path().join("holdline.db")).unwrap();
        let (mut tail, _) = UnindexedTail::read(&connection, usize::MAX).unwrap();
        let (alice, bob) = (PeerId::new(1), PeerId::new(2));
        tail.send(alice, Seq::ZERO, Seq::new(1));
        tail.commit_sends();
        for (sender, before, seq) in [(alice, 1, 2), (bob, 0, 3), (alice, 2, 4)] {
            tail.send(sender, Seq::new(before), Seq::new(seq));
        }
        tail.undo_sends();
        assert_eq!((tail.sent(alice), tail.sent(bob)), (Some(Seq::new(1)), Some(Seq::ZERO)));
        tail.undo_sends();
        assert_eq!(tail.sent(alice), Some(Seq::new(1)), "a second undo changes nothing");
    }
}
