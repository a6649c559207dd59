//! Loudness: how many bytes each sender and each source has sent lately. While the database is full of messages that wait, the bytes that are
//! left are shared out by that: the loudest are refused first. Owns the counts and the refusal; never knows what is removed.

use crate::limits::{HEADROOM_PARTS, LOUD_SENDERS_MAX, SENT_MESSAGE_BYTES};
use crate::message::{Recipient, Text};
use crate::protocol::{Code, Refusal};
use crate::shares::{Holder, Shares};

/// Bytes that were sent lately. Counts are halved now and then, so that old ones fade.
#[derive(Debug)]
pub(super) struct Loudness {
    /// Bytes of the database, `max_size`; `None`: nothing is counted, as nothing is refused.
    size_max_bytes: Option<u64>,
    sent: Shares,
    /// Bytes that were sent in this turn, which the store has not measured yet.
    turn_bytes: u64,
}

impl Loudness {
    pub(super) fn new(size_max_bytes: Option<u64>) -> Self {
        Loudness { size_max_bytes, sent: Shares::default(), turn_bytes: 0 }
    }

    /// Notes that the next messages are in another turn.
    pub(super) fn begin_turn(&mut self) {
        self.turn_bytes = 0;
    }

    /// Refuses a message if the holder's share of the last part of the database is used up. What is taken of that part counts for senders
    /// and sources in proportion to what they sent lately.
    pub(super) fn admit(&self, holder: Holder, bytes: u64, free_bytes: Option<u64>) -> Result<(), Refusal> {
        let (Some(size_max_bytes), Some(free_bytes)) = (self.size_max_bytes, free_bytes) else { return Ok(()) };
        let free_bytes = free_bytes.saturating_sub(self.turn_bytes);
        let all_bytes = size_max_bytes / HEADROOM_PARTS;
        let taken_bytes = all_bytes.saturating_sub(free_bytes);
        let words = if bytes > free_bytes {
            "the database has its max_size, and all its messages wait for a recipient; not sent"
        } else if self.sent.usage(holder).scaled_to(taken_bytes).admits(all_bytes / 4, bytes) {
            return Ok(());
        } else {
            "the database is near its max_size, all its messages wait for a recipient, and your share of what is left is used up; not sent"
        };
        Err(Refusal::new(Code::StorageFull, words))
    }

    /// Counts a message.
    pub(super) fn add(&mut self, holder: Holder, bytes: u64) {
        let Some(size_max_bytes) = self.size_max_bytes else { return };
        self.turn_bytes += bytes;
        self.sent.add(Some(holder), bytes);
        self.sent.forget_small(LOUD_SENDERS_MAX);
        if self.sent.all() > 2 * size_max_bytes {
            self.sent.halve();
        }
    }
}

/// Approximate bytes of the database that a message takes.
pub(super) fn bytes(recipients: &[Recipient], text: &Text) -> u64 {
    (SENT_MESSAGE_BYTES * (1 + recipients.len()) + text.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::PeerId;
    use crate::source::Source;

    const MB: u64 = 1_000_000;

    /// Database of which the last part is 8 MB.
    const SIZE_MAX_BYTES: u64 = 64 * MB;

    fn holder(sender: i64, source: u8) -> Holder {
        Holder { sender: PeerId::new(sender), source: Source::of([192, 0, 2, source].into()) }
    }

    fn loudness(sent: &[(Holder, u64)]) -> Loudness {
        let mut loudness = Loudness::new(Some(SIZE_MAX_BYTES));
        sent.iter().for_each(|(holder, bytes)| loudness.add(*holder, *bytes));
        loudness.begin_turn();
        loudness
    }

    /// Whether each holder may send while this much is free.
    fn admitted<const N: usize>(loudness: &Loudness, holders: [Holder; N], free: u64) -> [bool; N] {
        holders.map(|holder| loudness.admit(holder, 100, Some(free)).is_ok())
    }

    #[test]
    fn loudest_sender_is_refused_first_then_its_source_and_everybody_at_the_ceiling() {
        let (loud, neighbour, other) = (holder(1, 1), holder(2, 1), holder(3, 2));
        let loudness = loudness(&[(loud, 50 * MB), (neighbour, 1000)]);
        for (free, expected) in [
            (7 * MB, [true; 3]),
            (6 * MB - MB / 10, [false, true, true]),
            (4 * MB - MB / 10, [false, false, true]),
            (300, [false, false, true]),
            (99, [false; 3]),
        ] {
            assert_eq!(admitted(&loudness, [loud, neighbour, other], free), expected, "{free} bytes are free");
        }
        assert!(loudness.admit(loud, 100, None).is_ok());
    }

    #[test]
    fn many_names_of_one_source_share_what_it_may_send() {
        let names = Vec::from_iter((0..50).map(|name| (holder(name, 1), MB)));
        let loudness = loudness(&names);
        let quiet = holder(100, 2);
        assert_eq!(admitted(&loudness, [holder(0, 1), holder(99, 1), quiet], 5 * MB), [true; 3]);
        assert_eq!(admitted(&loudness, [holder(0, 1), holder(99, 1), quiet], 4 * MB - MB / 10), [false, false, true]);
    }

    #[test]
    fn messages_of_one_turn_count_before_the_store_has_measured_them() {
        let mut loudness = loudness(&[]);
        let loud = holder(1, 1);
        let mut sent = 0;
        while loudness.admit(loud, 1000, Some(8 * MB)).is_ok() {
            loudness.add(loud, 1000);
            sent += 1000;
        }
        assert_eq!(sent, 2 * MB, "a sender alone gets a quarter");
        loudness.begin_turn();
        assert!(loudness.admit(loud, 1000, Some(8 * MB)).is_ok(), "what the sender sent was removed");
    }

    #[test]
    fn counts_fade_while_others_send() {
        let (first, second) = (holder(1, 1), holder(2, 2));
        let mut loudness = loudness(&[(first, 50 * MB)]);
        for _ in 0..500 {
            loudness.add(second, MB);
        }
        loudness.begin_turn();
        assert_eq!(admitted(&loudness, [first, second], MB), [true, false]);
    }

    #[test]
    fn crowd_of_senders_costs_a_fixed_amount_of_memory_and_hides_nobody() {
        let (loud, many) = (holder(0, 1), 10 * LOUD_SENDERS_MAX as i64);
        let mut loudness = loudness(&[(loud, 25 * MB)]);
        for sender in 1..many {
            loudness.add(holder(sender, 2), 600);
        }
        loudness.begin_turn();
        assert_eq!(loudness.sent.usage(holder(many - 1, 2)).sender, 600);
        assert_eq!(loudness.sent.usage(holder(1, 2)).sender, 0, "it was forgotten");
        assert_eq!(admitted(&loudness, [loud, holder(many, 2), holder(1, 3)], MB), [false, false, true]);
    }
}
