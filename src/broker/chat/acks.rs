//! What a client has taken, where it says so itself: of what was written to it, all up to what it has acknowledged. Owns the
//! messages between both; never a cursor.

use std::collections::VecDeque;

use crate::broker::outbox::Delivered;
use crate::limits::UNACKNOWLEDGED_MARKS_MAX;
use crate::message::Seq;

/// The messages of one session that are not acknowledged.
#[derive(Debug)]
pub(super) struct Acks {
    /// Put into the outbox and not written yet: where in the stream each ends.
    unwritten: VecDeque<(u64, Delivered)>,
    /// Written and not acknowledged. Where these are very many, neighbours are known together.
    unacknowledged: VecDeque<Delivered>,
    /// The last message that was written.
    written: Seq,
    /// The client has acknowledged all up to here, as far as it was written.
    acknowledged: Seq,
    /// What is delivered was told up to here.
    told: Seq,
    /// Messages in both lists that were addressed to the peer directly.
    outstanding: u64,
}

impl Acks {
    /// Everything up to `fed` had been delivered before.
    pub(super) fn new(fed: Seq) -> Self {
        Acks {
            unwritten: VecDeque::new(),
            unacknowledged: VecDeque::new(),
            written: fed,
            acknowledged: fed,
            told: fed,
            outstanding: 0,
        }
    }

    /// A message was put into the outbox, and ends there in the stream.
    pub(super) fn feed(&mut self, end_bytes: u64, message: Delivered) {
        self.unwritten.push_back((end_bytes, message));
        self.outstanding += message.messages;
    }

    /// Whether the client acknowledges what it is sent: what it does not is no longer on its way to it.
    pub(super) fn keeps_up(&self) -> bool {
        self.outstanding <= UNACKNOWLEDGED_MARKS_MAX as u64
    }

    /// The client has acknowledged all up to this one. It cannot have got more than `fed`, whatever it says.
    pub(super) fn acknowledge(&mut self, seq: Seq, fed: Seq) {
        self.acknowledged = self.acknowledged.max(seq.min(fed));
    }

    /// So many bytes of the stream are written.
    pub(super) fn write(&mut self, written_bytes: u64) {
        while let Some((end, message)) = self.unwritten.front()
            && *end <= written_bytes
        {
            self.written = message.seq;
            self.unacknowledged.push_back(*message);
            self.unwritten.pop_front();
        }
        if self.unacknowledged.len() > UNACKNOWLEDGED_MARKS_MAX {
            self.unacknowledged = self.unacknowledged.drain(..).collect::<Vec<_>>().chunks(2).map(together).collect();
        }
    }

    /// What is delivered and was not told before.
    pub(super) fn take_delivered(&mut self) -> Option<Delivered> {
        let seq = self.acknowledged.min(self.written);
        if seq <= self.told {
            return None;
        }
        self.told = seq;
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

fn together(neighbours: &[Delivered]) -> Delivered {
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
    fn what_was_written_and_acknowledged_is_delivered() {
        let mut acks = ten();
        acks.write(55);
        assert_eq!(acks.take_delivered(), None);
        acks.acknowledge(Seq::new(3), Seq::new(10));
        assert_eq!(acks.take_delivered(), delivered(3, 3));
        assert_eq!(acks.take_delivered(), None);
    }

    #[test]
    fn nothing_counts_past_what_was_written() {
        let mut acks = ten();
        acks.write(55);
        acks.acknowledge(Seq::new(1000), Seq::new(10));
        assert_eq!(acks.take_delivered(), delivered(5, 5));
        acks.feed(110, message(11));
        acks.write(110);
        assert_eq!(acks.take_delivered(), delivered(10, 5), "it was acknowledged before it was fed");
    }

    #[test]
    fn an_acknowledgement_that_comes_before_the_report_of_the_write_counts_with_it() {
        let mut acks = ten();
        acks.acknowledge(Seq::new(2), Seq::new(10));
        assert_eq!(acks.take_delivered(), None);
        acks.write(100);
        assert_eq!(acks.take_delivered(), delivered(2, 2));
    }

    #[test]
    fn what_is_never_acknowledged_costs_little_and_what_is_counts_exactly() {
        let mut acks = Acks::new(Seq::ZERO);
        let messages = 20 * UNACKNOWLEDGED_MARKS_MAX as i64;
        for seq in 1..=messages {
            acks.feed(seq as u64, message(seq));
            acks.write(seq as u64);
        }
        assert!(acks.unacknowledged.len() <= UNACKNOWLEDGED_MARKS_MAX);
        assert!(!acks.keeps_up(), "it reads, and acknowledges nothing");
        acks.acknowledge(Seq::new(12_345), Seq::new(messages));
        let first = acks.take_delivered().unwrap();
        assert_eq!(first.seq, Seq::new(12_345));
        acks.acknowledge(Seq::new(messages), Seq::new(messages));
        let rest = acks.take_delivered().unwrap();
        assert_eq!(first.messages + rest.messages, messages as u64);
        assert!(acks.keeps_up());
    }
}
