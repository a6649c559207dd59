//! The tail of the log that the index lags behind by, in memory. Owns what follows from it; never the log, of which it is
//! read at the start, nor the tables.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use crate::limits::{INDEX_LAG_ROWS_MAX, SENDERS_REMEMBERED_MAX};
use crate::message::{PeerId, Seq};

/// Every message that the tables do not hold, as they would.
#[derive(Debug)]
pub(in crate::store) struct Tail {
    /// The tables hold every message up to here.
    indexed: Seq,
    /// Behind that: of each recipient, in the order of the log.
    inboxes: BTreeMap<PeerId, Vec<Addressed>>,
    /// Rows in `inboxes`.
    rows: usize,
    /// The newest message of everyone who sent one of them, and of some who sent one before.
    sent: HashMap<PeerId, Seq>,
}

/// A message as it stands in an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addressed {
    /// Its place in the log.
    pub(super) seq: Seq,
    /// Who sent it.
    pub(super) sender: PeerId,
}

impl Tail {
    /// Reads it from the log. Where it is too long, as when the index was lost, only its begin, and says where that ends.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<(Self, Option<Seq>)> {
        let indexed = connection.query_row("select coalesce(max(seq), 0) from indexed", [], |row| row.get(0))?;
        let mut tail = Tail { indexed: Seq::new(indexed), inboxes: BTreeMap::new(), rows: 0, sent: HashMap::new() };
        let mut unindexed = connection.prepare("select recipient, seq, sender from unindexed order by seq")?;
        let mut rows = unindexed.query([])?;
        let mut last = tail.indexed;
        let mut end = None;
        while let Some(row) = rows.next()? {
            let (recipient, seq, sender) = (row.get(0)?, Seq::new(row.get(1)?), row.get(2)?);
            if seq != last && tail.rows >= 2 * INDEX_LAG_ROWS_MAX {
                end = Some(last);
                break;
            }
            tail.add(seq, PeerId::new(sender), &[PeerId::new(recipient)]);
            last = seq;
        }
        tail.undo_sends();
        Ok((tail, end))
    }

    /// The tables hold every message up to here.
    pub(super) fn indexed(&self) -> Seq {
        self.indexed
    }

    /// How many rows of the inboxes it stands for.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a message, in the order of the log.
    pub(super) fn add(&mut self, seq: Seq, sender: PeerId, recipients: &[PeerId]) {
        for recipient in recipients {
            self.inboxes.entry(*recipient).or_default().push(Addressed { seq, sender });
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

    /// All of it, sorted by recipient, and by `seq` within.
    pub(super) fn sorted(&self) -> impl Iterator<Item = (PeerId, Addressed)> {
        self.inboxes.iter().flat_map(|(recipient, inbox)| inbox.iter().map(|addressed| (*recipient, *addressed)))
    }

    /// What a peer was sent after this message.
    pub(super) fn after(&self, recipient: PeerId, seq: Seq) -> &[Addressed] {
        let inbox = self.inboxes.get(&recipient).map_or(&[][..], Vec::as_slice);
        &inbox[inbox.partition_point(|addressed| addressed.seq <= seq)..]
    }

    /// The newest message of a sender, as far as it is known here.
    pub(super) fn sent(&self, sender: PeerId) -> Option<Seq> {
        self.sent.get(&sender).copied()
    }

    /// Notes that a sender sends this message; it counts once that is added.
    pub(super) fn send(&mut self, sender: PeerId, seq: Seq) {
        self.sent.insert(sender, seq);
    }

    /// Forgets what was sent and not added.
    pub(super) fn undo_sends(&mut self) {
        self.sent.clear();
        for Addressed { seq, sender } in self.inboxes.values().flatten() {
            let newest = self.sent.entry(*sender).or_insert(*seq);
            *newest = (*seq).max(*newest);
        }
    }

    /// Everyone who sent something of it, and the newest message of each.
    pub(super) fn senders(&self) -> impl Iterator<Item = (PeerId, Seq)> {
        self.sent.iter().map(|(sender, seq)| (*sender, *seq)).filter(|(_, seq)| *seq > self.indexed)
    }
}
