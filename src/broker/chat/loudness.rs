//! Loudness: how many bytes each sender has sent lately. While the database is full of messages that wait, a sender may send if it has sent
//! less than what is still free: the loudest are refused first. Owns the counts and the refusal; never knows what is removed.

use foldhash::HashMap as IdMap;

use crate::limits::{LOUD_SENDERS_MAX, SENT_MESSAGE_BYTES};
use crate::message::{PeerId, Recipient, Text};
use crate::protocol::{Code, Refusal};

/// Bytes that senders have sent lately. Counts are halved now and then, so that old ones fade.
#[derive(Debug)]
pub(super) struct Loudness {
    /// Bytes of the database, `max_size`; `None`: nothing is counted, as nothing is refused.
    size_max_bytes: Option<u64>,
    senders: IdMap<PeerId, u64>,
    /// Sum of the counts.
    total_bytes: u64,
}

impl Loudness {
    pub(super) fn new(size_max_bytes: Option<u64>) -> Self {
        Loudness { size_max_bytes, senders: IdMap::default(), total_bytes: 0 }
    }

    /// Refuses a message if its sender has sent as much as is free, or more.
    pub(super) fn admit(&self, sender: PeerId, bytes: u64, free_bytes: Option<u64>) -> Result<(), Refusal> {
        let Some(free_bytes) = free_bytes else { return Ok(()) };
        let sent = self.senders.get(&sender).copied().unwrap_or(0);
        if sent.saturating_add(bytes) <= free_bytes {
            return Ok(());
        }
        let words = if bytes > free_bytes {
            "the database has its max_size, and all its messages wait for a recipient; not sent"
        } else {
            "the database is near its max_size, all its messages wait for a recipient, and you sent more of them than others; not sent"
        };
        Err(Refusal::new(Code::StorageFull, words))
    }

    /// Counts a message.
    pub(super) fn add(&mut self, sender: PeerId, bytes: u64) {
        let Some(size_max_bytes) = self.size_max_bytes else { return };
        *self.senders.entry(sender).or_default() += bytes;
        self.total_bytes += bytes;
        if self.total_bytes > 2 * size_max_bytes || self.senders.len() > LOUD_SENDERS_MAX {
            self.fade();
        }
    }

    /// Halves all counts, and forgets those of senders who sent little.
    fn fade(&mut self) {
        self.senders.values_mut().for_each(|bytes| *bytes /= 2);
        if self.senders.len() > LOUD_SENDERS_MAX / 2 {
            let mean = self.senders.values().sum::<u64>() / self.senders.len() as u64;
            self.senders.retain(|_, bytes| *bytes > mean);
        }
        self.total_bytes = self.senders.values().sum();
    }
}

/// Approximate bytes of the database that a message takes.
pub(super) fn bytes(recipients: &[Recipient], text: &Text) -> u64 {
    (SENT_MESSAGE_BYTES * (1 + recipients.len()) + text.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    fn loudness(sent: &[(i64, u64)]) -> Loudness {
        let mut loudness = Loudness::new(Some(10 * MB));
        sent.iter().for_each(|(sender, bytes)| loudness.add(PeerId::new(*sender), *bytes));
        loudness
    }

    #[test]
    fn loudest_sender_is_refused_first_and_everybody_at_the_ceiling() {
        let loudness = loudness(&[(1, 5 * MB), (2, 1000)]);
        let is_admitted = |sender, free| loudness.admit(PeerId::new(sender), 100, free).is_ok();
        for (free, admitted) in [(None, [true; 3]), (Some(MB), [false, true, true]), (Some(500), [false, false, true])]
        {
            assert_eq!([1, 2, 3].map(|sender| is_admitted(sender, free)), admitted, "{free:?}");
        }
        assert_eq!([1, 2, 3].map(|sender| is_admitted(sender, Some(0))), [false; 3]);
    }

    #[test]
    fn counts_fade_while_others_send() {
        let mut loudness = loudness(&[(1, 5 * MB)]);
        for _ in 0..200 {
            loudness.add(PeerId::new(2), MB);
        }
        assert!(loudness.admit(PeerId::new(1), 100, Some(MB / 1000)).is_ok());
        assert!(loudness.admit(PeerId::new(2), 100, Some(MB)).is_err());
    }

    #[test]
    fn crowd_of_senders_costs_a_fixed_amount_of_memory_and_hides_nobody() {
        let mut loudness = loudness(&[(0, 5 * MB)]);
        for sender in 1..10 * LOUD_SENDERS_MAX as i64 {
            loudness.add(PeerId::new(sender), 100);
        }
        assert!(loudness.senders.len() <= LOUD_SENDERS_MAX);
        assert!(loudness.admit(PeerId::new(0), 100, Some(1000)).is_err());
    }
}
