//! The tail of the log that the index lags behind by, in memory. Owns what follows from it; never the log, of which it is
//! read at the start, nor the tables.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use crate::limits::SENDERS_REMEMBERED_MAX;
use crate::message::{PeerId, Recipient, Seq};

/// Every message that the tables do not hold, as they would.
#[derive(Debug)]
pub(crate) struct Tail {
    /// The tables hold every message up to here.
    indexed: Seq,
    /// Behind that: the messages for each recipient, in order.
    inboxes: BTreeMap<Recipient, Vec<Seq>>,
    /// Messages in `inboxes`, each as often as it has recipients.
    rows: usize,
    /// The newest message of everyone who sent one of them, and of some who sent one before.
    sent: HashMap<PeerId, Seq>,
    /// What stood in `sent` before what is not in the log yet.
    sent_before: Vec<(PeerId, Seq)>,
}

impl Tail {
    /// Reads it from the log. Where it has more rows than these, as when the index was lost, only its begin, and says where
    /// that ends.
    pub(super) fn read(connection: &Connection, rows_max: usize) -> rusqlite::Result<(Self, Option<Seq>)> {
        let indexed = connection.query_row("select coalesce(max(seq), 0) from indexed", [], |row| row.get(0))?;
        let mut tail = Tail {
            indexed: Seq::new(indexed),
            inboxes: BTreeMap::new(),
            rows: 0,
            sent: HashMap::new(),
            sent_before: Vec::new(),
        };
        let mut unindexed = connection.prepare("select recipient, seq, sender from unindexed order by seq")?;
        let mut rows = unindexed.query([])?;
        let mut last = tail.indexed;
        while let Some(row) = rows.next()? {
            let (recipient, seq, sender) = (row.get(0)?, Seq::new(row.get(1)?), row.get(2)?);
            if seq != last && tail.rows >= rows_max {
                return Ok((tail, Some(last)));
            }
            tail.add(seq, &[Recipient::numbered(recipient)]);
            tail.sent.insert(PeerId::new(sender), seq);
            last = seq;
        }
        Ok((tail, None))
    }

    /// The tables hold every message up to here.
    pub(super) fn indexed(&self) -> Seq {
        self.indexed
    }

    /// How many messages it holds, each as often as it has recipients.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a message, in the order of the log.
    pub(super) fn add(&mut self, seq: Seq, recipients: &[Recipient]) {
        for recipient in recipients {
            self.inboxes.entry(*recipient).or_default().push(seq);
        }
        self.rows += recipients.len();
    }

    /// Empties it, as the tables hold all of it now.
    pub(super) fn clear(&mut self, indexed: Seq) {
        self.indexed = indexed;
        self.inboxes.clear();
        self.rows = 0;
        if self.sent.len() > SENDERS_REMEMBERED_MAX {
            self.sent.retain(|_, seq| *seq > indexed);
        }
    }

    /// The messages for each recipient, in order.
    pub(super) fn inboxes(&self) -> impl Iterator<Item = (Recipient, &[Seq])> {
        self.inboxes.iter().map(|(recipient, inbox)| (*recipient, &**inbox))
    }

    /// The messages for one recipient after this one, in order.
    pub(super) fn after(&self, recipient: Recipient, seq: Seq) -> &[Seq] {
        let inbox = self.inboxes.get(&recipient).map_or(&[][..], Vec::as_slice);
        &inbox[inbox.partition_point(|one| *one <= seq)..]
    }

    /// Everyone who sent something of it, and the newest message of each.
    pub(super) fn senders(&self) -> impl Iterator<Item = (PeerId, Seq)> {
        self.sent.iter().map(|(sender, seq)| (*sender, *seq)).filter(|(_, seq)| *seq > self.indexed)
    }

    /// The newest message of a sender, as far as it is known here.
    pub(super) fn sent(&self, sender: PeerId) -> Option<Seq> {
        self.sent.get(&sender).copied()
    }

    /// Notes that a sender sends this message after that one.
    pub(super) fn send(&mut self, sender: PeerId, before: Seq, seq: Seq) {
        self.sent.insert(sender, seq);
        self.sent_before.push((sender, before));
    }

    /// What was sent is in the log.
    pub(super) fn keep_sends(&mut self) {
        self.sent_before.clear();
    }

    /// What was sent and not kept never was.
    pub(super) fn undo_sends(&mut self) {
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
    fn what_was_sent_and_not_kept_never_was() {
        let home = tempfile::tempdir().unwrap();
        let connection = schema::open(&home.path().join("holdline.db")).unwrap();
        let (mut tail, _) = Tail::read(&connection, usize::MAX).unwrap();
        let (alice, bob) = (PeerId::new(1), PeerId::new(2));
        tail.send(alice, Seq::ZERO, Seq::new(1));
        tail.keep_sends();
        for (sender, before, seq) in [(alice, 1, 2), (bob, 0, 3), (alice, 2, 4)] {
            tail.send(sender, Seq::new(before), Seq::new(seq));
        }
        tail.undo_sends();
        assert_eq!((tail.sent(alice), tail.sent(bob)), (Some(Seq::new(1)), Some(Seq::ZERO)));
        tail.undo_sends();
        assert_eq!(tail.sent(alice), Some(Seq::new(1)), "once");
    }
}
