//! Messages flushed to a session, and how many of them its client has acknowledged explicitly. Owns the counting; never
//! decides when it changes.

use crate::message::Seq;

/// Messages of a session that acknowledges explicitly.
pub(super) struct Acks {
    /// Messages flushed to the session: where each ends in the stream, its index in the log, and its sequence number.
    pub(super) flushed: Vec<(u64, usize, Seq)>,
    /// Bytes that have arrived.
    pub(super) arrived_bytes: u64,
    /// Bytes that the broker knows written.
    pub(super) written_bytes: u64,
    /// Newest acknowledgement that certainly counts.
    pub(super) at_least: Seq,
    /// Newest acknowledgement that certainly counts once the batch in flight is processed.
    pub(super) soon_at_least: Seq,
    /// Newest acknowledgement that may count.
    pub(super) at_most: Seq,
    /// Newest acknowledgement in the batch in flight: more messages may be fed before the broker reads it.
    pub(super) said: Seq,
    /// Index in `flushed` before which messages may count as delivered.
    pub(super) delivered: usize,
}

impl Acks {
    pub(super) fn new() -> Self {
        Acks {
            flushed: Vec::new(),
            arrived_bytes: 0,
            written_bytes: 0,
            at_least: Seq::ZERO,
            soon_at_least: Seq::ZERO,
            at_most: Seq::ZERO,
            said: Seq::ZERO,
            delivered: 0,
        }
    }

    pub(super) fn flushed(&mut self, end: u64, place: usize, seq: Seq) {
        self.flushed.push((end, place, seq));
    }

    pub(super) fn arrived(&mut self, bytes: u64) {
        self.arrived_bytes = self.arrived_bytes.max(bytes);
    }

    pub(super) fn last_handed(&self) -> Seq {
        self.flushed.last().map_or(Seq::ZERO, |(_, _, seq)| *seq)
    }

    /// Newest message that counts as delivered if everything up to `acknowledged` is acknowledged.
    pub(super) fn delivered_up_to(&self, acknowledged: Seq) -> Seq {
        let counts = |(end, _, seq): &(u64, usize, Seq)| *end <= self.written_bytes && *seq <= acknowledged;
        let count = self.flushed.partition_point(counts);
        count.checked_sub(1).map_or(Seq::ZERO, |place| self.flushed[place].2)
    }
}
