//! What a session was handed, and how much of it its client has acknowledged itself. Owns the counting; never when it changes.

use crate::message::Seq;

/// Messages that it was handed, and how much of them it has got.
pub(super) struct Acks {
    /// Where in the stream each ends, its place in the log, and its number.
    pub(super) handed: Vec<(u64, usize, Seq)>,
    /// Bytes that have arrived.
    pub(super) arrived_bytes: u64,
    /// Bytes of which the broker knows that they are written.
    pub(super) written_bytes: u64,
    /// What is acknowledged counts up to here for certain.
    pub(super) at_least: Seq,
    /// And up to here once the batch that is under way is dealt with.
    pub(super) soon_at_least: Seq,
    /// It counts up to here at most.
    pub(super) at_most: Seq,
    /// What it said in the batch that is under way: more may be fed before the broker knows.
    pub(super) said: Seq,
    /// Messages before this place in `handed` may count as delivered.
    pub(super) delivered: usize,
}

impl Acks {
    pub(super) fn new() -> Self {
        Acks {
            handed: Vec::new(),
            arrived_bytes: 0,
            written_bytes: 0,
            at_least: Seq::ZERO,
            soon_at_least: Seq::ZERO,
            at_most: Seq::ZERO,
            said: Seq::ZERO,
            delivered: 0,
        }
    }

    pub(super) fn handed(&mut self, end: u64, place: usize, seq: Seq) {
        self.handed.push((end, place, seq));
    }

    pub(super) fn arrived(&mut self, bytes: u64) {
        self.arrived_bytes = self.arrived_bytes.max(bytes);
    }

    pub(super) fn last_handed(&self) -> Seq {
        self.handed.last().map_or(Seq::ZERO, |(_, _, seq)| *seq)
    }

    /// The last of them that counts as delivered where all up to here are acknowledged.
    pub(super) fn delivered_up_to(&self, acknowledged: Seq) -> Seq {
        let counts = |(end, _, seq): &(u64, usize, Seq)| *end <= self.written_bytes && *seq <= acknowledged;
        let count = self.handed.partition_point(counts);
        count.checked_sub(1).map_or(Seq::ZERO, |place| self.handed[place].2)
    }
}
