//! Acknowledgements of a client that acknowledges explicitly: a message is delivered once it is written to the client and acknowledged by
//! it. Owns the messages that are not delivered yet; never moves a cursor.

use std::collections::VecDeque;

use crate::broker::outbox::Delivered;
use crate::limits::UNACKNOWLEDGED_MARKS_MAX;
use crate::message::Seq;

/// Messages of one session that are not acknowledged.
#[derive(Debug)]
pub(super) struct Acks {
    /// Messages in the outbox that are not written yet, each with the position in the stream where it ends.
    unwritten: VecDeque<(u64, Delivered)>,
    /// Messages that are written and not acknowledged. If there are too many, each two neighbours share an item.
    unacknowledged: VecDeque<Delivered>,
    /// Last message that was written.
    written: Seq,
    /// Last message that the client has acknowledged, written or not.
    acknowledged: Seq,
    /// Last message that was reported as delivered.
    reported: Seq,
    /// Number of messages in both lists that were addressed to the peer directly.
    outstanding: u64,
    /// Whether messages have shared an item: then the number of those that are delivered may be a little low.
    has_merged: bool,
}

impl Acks {
    /// Makes the state of a new session: everything up to `fed` was delivered before.
    pub(super) fn new(fed: Seq) -> Self {
        Acks {
            unwritten: VecDeque::new(),
            unacknowledged: VecDeque::new(),
            written: fed,
            acknowledged: fed,
            reported: fed,
            outstanding: 0,
            has_merged: false,
        }
    }

    /// Adds a message that was put into the outbox, and that ends at this position in the stream.
    pub(super) fn feed(&mut self, end_bytes: u64, message: Delivered) {
        self.unwritten.push_back((end_bytes, message));
        self.outstanding += message.messages;
    }

    /// Whether few messages are outstanding. If there are many, the client does not acknowledge, and they count as waiting in its mailbox.
    pub(super) fn keeps_up(&self) -> bool {
        self.outstanding <= UNACKNOWLEDGED_MARKS_MAX as u64
    }

    /// Whether the numbers of delivered messages are exact.
    pub(super) fn counts_exactly(&self) -> bool {
        !self.has_merged
    }

    /// Records that the client acknowledges all messages up to `seq`. A `seq` beyond `fed`, which the client cannot have got, is lowered to it.
    pub(super) fn acknowledge(&mut self, seq: Seq, fed: Seq) {
        self.acknowledged = self.acknowledged.max(seq.min(fed));
    }

    /// Notes that this many bytes of the stream are written.
    pub(super) fn write(&mut self, written_bytes: u64) {
        while let Some((end, message)) = self.unwritten.front()
            && *end <= written_bytes
        {
            self.written = message.seq;
            self.unacknowledged.push_back(*message);
            self.unwritten.pop_front();
        }
        if self.unacknowledged.len() > UNACKNOWLEDGED_MARKS_MAX {
            self.has_merged = true;
            self.unacknowledged = self.unacknowledged.drain(..).collect::<Vec<_>>().chunks(2).map(merged).collect();
        }
    }

    /// Returns the messages that are delivered and were not reported before.
    pub(super) fn take_delivered(&mut self) -> Option<Delivered> {
        let seq = self.acknowledged.min(self.written);
        if seq <= self.reported {
            return None;
        }
        self.reported = seq;
        let mut messages = 0;
        while let Some(message) = self.unacknowledged.front()
            && message.seq <= seq
        {
            messages += message.messages;
            self.unacknowledged.pop_front();
        }
        self.outstanding -= messages;
        // A client that keeps up holds no memory.
        if self.unacknowledged.is_empty() && self.unwritten.is_empty() {
            (self.unacknowledged, self.unwritten) = (VecDeque::new(), VecDeque::new());
        }
        Some(Delivered { seq, messages })
    }
}

fn merged(neighbours: &[Delivered]) -> Delivered {
    let last = neighbours.last().expect("a chunk is not empty");
    Delivered { seq: last.seq, messages: neighbours.iter().map(|message| message.messages).sum() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: i64) -> Delivered {
        Delivered { seq: Seq::new(seq), messages: 1 }
    }

    /// Ten messages of ten bytes each, from seq 1 on.
    fn ten() -> Acks {
        let mut acks = Acks::new(Seq::ZERO);
        for seq in 1..=10 {
            acks.feed(10 * seq as u64, message(seq));
        }
        acks
    }

    fn delivered(seq: i64, messages: u64) -> Option<Delivered> {
        Some(Delivered { seq: Seq::new(seq), messages })
    }

    #[test]
    fn written_and_acknowledged_messages_are_delivered() {
        let mut acks = ten();
        acks.write(55);
        assert_eq!(acks.take_delivered(), None);
        acks.acknowledge(Seq::new(3), Seq::new(10));
        assert_eq!(acks.take_delivered(), delivered(3, 3));
        assert_eq!(acks.take_delivered(), None);
    }

    #[test]
    fn messages_that_are_not_written_are_not_delivered() {
        let mut acks = ten();
        acks.write(55);
        acks.acknowledge(Seq::new(1000), Seq::new(10));
        assert_eq!(acks.take_delivered(), delivered(5, 5));
        acks.feed(110, message(11));
        acks.write(110);
        assert_eq!(acks.take_delivered(), delivered(10, 5), "it was acknowledged before it was fed");
    }

    #[test]
    fn acknowledgement_before_the_report_of_the_write_counts_with_the_report() {
        let mut acks = ten();
        acks.acknowledge(Seq::new(2), Seq::new(10));
        assert_eq!(acks.take_delivered(), None);
        acks.write(100);
        assert_eq!(acks.take_delivered(), delivered(2, 2));
    }

    #[test]
    fn unacknowledged_messages_cost_little_and_are_counted_exactly() {
        let mut acks = Acks::new(Seq::ZERO);
        let messages = 20 * UNACKNOWLEDGED_MARKS_MAX as i64;
        for seq in 1..=messages {
            acks.feed(seq as u64, message(seq));
            acks.write(seq as u64);
        }
        assert!(acks.unacknowledged.len() <= UNACKNOWLEDGED_MARKS_MAX);
        assert!(!acks.keeps_up(), "the client reads and acknowledges nothing");
        acks.acknowledge(Seq::new(12_345), Seq::new(messages));
        let first = acks.take_delivered().unwrap();
        assert_eq!(first.seq, Seq::new(12_345));
        acks.acknowledge(Seq::new(messages), Seq::new(messages));
        let rest = acks.take_delivered().unwrap();
        assert_eq!(first.messages + rest.messages, messages as u64);
        assert!(acks.keeps_up());
    }
}
