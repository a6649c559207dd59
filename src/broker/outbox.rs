//! Outbox of one session: output on its way from the broker to the connection's writer, or to a plugin. Lines carry marks that say where
//! messages end in them. Owns the bounds of the outbox; never decides what goes into it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Mutex, MutexGuard};
use smol::future;

use super::budget::OutboxBudget;
use crate::limits::{MARK_BYTES_MAX, OUTBOX_BYTES_MIN, PAGE_BYTES_MAX, SESSION_VALUE_BYTES_MIN};
use crate::message::{Message, RequestId, Seq};
use crate::protocol::Reply;

/// Messages that a client has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// Last message: all messages of the feed up to here are delivered.
    pub(crate) seq: Seq,
    /// Number of them that were addressed to the peer directly: only those count for the limit of a mailbox.
    pub(crate) messages: u64,
}

/// Bytes for one client, as they are written to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Bytes of whole lines.
    pub(crate) bytes: Vec<u8>,
    /// Ends of the messages in `bytes`, in order.
    pub(crate) marks: Vec<Mark>,
}

/// End of one or more messages in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Number of bytes of the chunk up to the end of the last message.
    pub(crate) end: usize,
    /// The messages.
    pub(crate) delivered: Delivered,
}

/// Output that an outbox can carry.
pub(crate) trait OutboxContents: Default {
    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool;

    /// Appends later output.
    fn append(&mut self, next: Self);
}

/// Message or reply for a plugin, which reads values in place of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SessionValue {
    /// A message to the plugin, or in one of its rooms.
    Message(Message),
    /// A reply, or an announcement.
    Reply {
        /// Id of the request; `None` for an announcement.
        id: Option<RequestId>,
        /// The reply.
        reply: Reply,
    },
}

/// Values for a plugin, each with the bytes that it counts for in the outbox.
pub(crate) type ValueBatch = Vec<(SessionValue, usize)>;

/// Makes both ends of an outbox: the broker's, and the receiver's. Dropping either closes the outbox.
pub(crate) fn outbox<O: OutboxContents>() -> (OutboxSender<O>, OutboxReceiver<O>) {
    let shared = Arc::new(Mutex::new(OutboxState::default()));
    (OutboxSender { shared: shared.clone() }, OutboxReceiver { shared })
}

/// State that both ends share. An empty outbox, which is the most common, holds no memory.
#[derive(Debug, Default)]
struct OutboxState<O> {
    /// Output that the broker has flushed and the receiver has not taken yet.
    waiting: O,
    /// Receiver that waits for output.
    writer: Option<Waker>,
    /// Whether one of the ends was dropped.
    is_closed: bool,
}

/// Broker's end.
#[derive(Debug)]
pub(crate) struct OutboxSender<O: OutboxContents = Chunk> {
    shared: Arc<Mutex<OutboxState<O>>>,
}

/// Receiver's end.
#[derive(Debug)]
pub(crate) struct OutboxReceiver<O: OutboxContents = Chunk> {
    shared: Arc<Mutex<OutboxState<O>>>,
}

/// Broker's side of the outbox of one session. Collects the output of a turn, and passes it to the receiver when it is flushed.
#[derive(Debug)]
pub(in crate::broker) struct Outbox<O: OutboxContents = Chunk> {
    /// Sending end; `None` once there is no more output, so that the receiver finishes.
    sender: Option<OutboxSender<O>>,
    /// Output of the turn that is being delivered.
    collected: O,
    /// Number of bytes that were appended since the session began.
    appended_bytes: u64,
    /// Number of bytes that the receiver has not reported as written, those in `collected` included.
    unwritten_bytes: usize,
}

impl<O: OutboxContents> Outbox<O> {
    pub(in crate::broker) fn new(sender: OutboxSender<O>) -> Self {
        Outbox { sender: Some(sender), collected: O::default(), appended_bytes: 0, unwritten_bytes: 0 }
    }

    /// Whether nothing more can be written.
    pub(in crate::broker) fn is_closed(&self) -> bool {
        self.sender.is_none()
    }

    /// Whether output of this size may be added. An empty outbox takes any message, so that every client makes progress.
    pub(in crate::broker) fn has_room(&self, bytes: usize, budget: &OutboxBudget) -> bool {
        let is_within = || self.unwritten_bytes + bytes <= budget.outbox_bytes_max();
        !self.is_closed() && (self.unwritten_bytes == 0 || is_within())
    }

    /// Returns the bytes that a page may have. `None`: more than half of the outbox is full, so no page may be read.
    pub(in crate::broker) fn room_for_page(&self, budget: &OutboxBudget) -> Option<usize> {
        let bytes_max = budget.outbox_bytes_max();
        let room = bytes_max.saturating_sub(self.unwritten_bytes);
        (!self.is_closed() && room >= bytes_max / 2).then(|| room.min(PAGE_BYTES_MAX))
    }

    /// Returns the bytes that one large answer may have.
    pub(in crate::broker) fn answer_bytes_max(&self, budget: &OutboxBudget) -> usize {
        budget.outbox_bytes_max().saturating_sub(self.unwritten_bytes).max(OUTBOX_BYTES_MIN)
    }

    fn count(&mut self, bytes: usize, budget: &mut OutboxBudget) {
        budget.take(bytes);
        self.unwritten_bytes += bytes;
        self.appended_bytes += bytes as u64;
    }

    /// Returns the number of bytes that were appended since the session began.
    pub(in crate::broker) fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    /// Returns the number of appended bytes that the receiver has reported as written.
    pub(in crate::broker) fn written_bytes(&self) -> u64 {
        self.appended_bytes - self.unwritten_bytes as u64
    }

    /// Passes the collected output to the receiver.
    pub(in crate::broker) fn flush(&mut self) {
        let output = std::mem::take(&mut self.collected);
        if let Some(sender) = &self.sender
            && !output.is_empty()
            && !sender.put(output)
        {
            // The connection has failed and will leave; the messages that it did not get stay in the log.
            self.close();
        }
    }

    /// Takes the receiver's report that it has written this many bytes.
    pub(in crate::broker) fn written(&mut self, bytes: usize, budget: &mut OutboxBudget) {
        let left = self.unwritten_bytes.checked_sub(bytes);
        self.unwritten_bytes = left.expect("a writer reports each byte once, after it was flushed");
        budget.give_back(bytes);
    }

    /// Gives back what was not reported as written, because no report follows.
    pub(in crate::broker) fn release(&mut self, budget: &mut OutboxBudget) {
        budget.give_back(std::mem::take(&mut self.unwritten_bytes));
    }

    /// Closes the outbox: the receiver finishes with the output that it has.
    pub(in crate::broker) fn close(&mut self) {
        self.sender = None;
    }
}

impl Outbox {
    /// Appends the bytes that `encode` writes. With `message`, it counts as delivered once its bytes are acknowledged.
    pub(in crate::broker) fn append(
        &mut self,
        message: Option<Delivered>,
        budget: &mut OutboxBudget,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let before = self.collected.bytes.len();
        encode(&mut self.collected.bytes);
        self.count(self.collected.bytes.len() - before, budget);
        if let Some(delivered) = message {
            self.collected.add_mark(Mark { end: self.collected.bytes.len(), delivered });
        }
    }
}

impl Outbox<ValueBatch> {
    /// Appends a value.
    pub(in crate::broker) fn push(&mut self, value: SessionValue, budget: &mut OutboxBudget) {
        let bytes = value.bytes();
        self.count(bytes, budget);
        self.collected.push((value, bytes));
    }
}

impl<O: OutboxContents> OutboxSender<O> {
    /// Appends output to what waits. Returns false if the receiver is gone.
    fn put(&self, output: O) -> bool {
        let mut shared = self.shared.lock();
        if shared.is_closed {
            return false;
        }
        shared.waiting.append(output);
        wake(shared);
        true
    }
}

impl<O: OutboxContents> Drop for OutboxSender<O> {
    fn drop(&mut self) {
        let mut shared = self.shared.lock();
        shared.is_closed = true;
        wake(shared);
    }
}

impl<O: OutboxContents> OutboxReceiver<O> {
    /// Takes all waiting output, as soon as there is some. `None`: the outbox is closed and empty.
    pub(crate) async fn take(&self) -> Option<O> {
        future::poll_fn(|context| self.poll_take(context)).await
    }

    /// Takes all waiting output, without waiting.
    pub(crate) fn poll_take(&self, context: &Context<'_>) -> Poll<Option<O>> {
        let mut shared = self.shared.lock();
        if !shared.waiting.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut shared.waiting)));
        }
        if shared.is_closed {
            return Poll::Ready(None);
        }
        shared.writer = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<O: OutboxContents> Drop for OutboxReceiver<O> {
    fn drop(&mut self) {
        *self.shared.lock() = OutboxState { is_closed: true, ..OutboxState::default() };
    }
}

impl OutboxContents for Chunk {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn append(&mut self, mut next: Chunk) {
        let before = self.bytes.len();
        if before == 0 {
            *self = next;
            return;
        }
        self.bytes.append(&mut next.bytes);
        for Mark { end, delivered } in next.marks {
            self.add_mark(Mark { end: before + end, delivered });
        }
    }
}

impl Chunk {
    /// Adds a mark. Small messages share one, so that a client that does not read costs few marks; in exchange, it is known a little less
    /// exactly what a broken connection has taken.
    fn add_mark(&mut self, mark: Mark) {
        let before = self.marks.len().checked_sub(2).map_or(0, |place| self.marks[place].end);
        match self.marks.last_mut() {
            Some(last) if mark.end - before <= MARK_BYTES_MAX => {
                let messages = last.delivered.messages + mark.delivered.messages;
                *last = Mark { end: mark.end, delivered: Delivered { messages, ..mark.delivered } };
            }
            _ => self.marks.push(mark),
        }
    }
}

impl OutboxContents for ValueBatch {
    fn is_empty(&self) -> bool {
        Vec::is_empty(self)
    }

    fn append(&mut self, mut next: Self) {
        Vec::append(self, &mut next);
    }
}

impl SessionValue {
    /// Returns the bytes that the value counts for in the outbox: about its memory, and never less than
    /// [`SESSION_VALUE_BYTES_MIN`].
    pub(in crate::broker) fn bytes(&self) -> usize {
        let bytes = match self {
            SessionValue::Message(message) => message.counted_bytes(),
            SessionValue::Reply { reply, .. } => reply.string_bytes(),
        };
        SESSION_VALUE_BYTES_MIN + bytes
    }
}

/// Wakes the receiver. Unlocks first, because the receiver locks as soon as it runs.
fn wake<O>(mut shared: MutexGuard<'_, OutboxState<O>>) {
    let writer = shared.writer.take();
    drop(shared);
    if let Some(writer) = writer {
        writer.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake, Waker};

    use super::*;
    use crate::limits::{OUTBOX_BYTES_MAX, OUTBOXES_BYTES_MAX};

    /// Appends a message of this many bytes.
    fn append(outbox: &mut Outbox, seq: i64, bytes: usize) {
        append_within(&mut OutboxBudget::default(), outbox, seq, bytes);
    }

    fn append_within(budget: &mut OutboxBudget, outbox: &mut Outbox, seq: i64, bytes: usize) {
        let message = Delivered { seq: Seq::new(seq), messages: 1 };
        outbox.append(Some(message), budget, |out| out.resize(out.len() + bytes, b'x'));
    }

    fn open() -> (Outbox, OutboxReceiver) {
        let (sender, receiver) = outbox();
        (Outbox::new(sender), receiver)
    }

    fn poll(receiver: &OutboxReceiver) -> Poll<Option<Chunk>> {
        receiver.poll_take(&Context::from_waker(Waker::noop()))
    }

    /// Takes the waiting bytes: their number, and of each mark the end, the `seq` and the number of messages.
    fn taken(receiver: &OutboxReceiver) -> (usize, Vec<(usize, i64, u64)>) {
        let Poll::Ready(Some(Chunk { bytes, marks })) = poll(receiver) else { panic!("nothing waits") };
        let marks = marks.iter().map(|mark| (mark.end, mark.delivered.seq.get(), mark.delivered.messages));
        (bytes.len(), marks.collect())
    }

    #[test]
    fn writer_takes_everything_that_was_flushed_at_once() {
        let (mut outbox, receiver) = open();
        assert_eq!(poll(&receiver), Poll::Pending);
        append(&mut outbox, 1, 2000);
        append(&mut outbox, 2, 2000);
        assert_eq!(poll(&receiver), Poll::Pending);
        outbox.flush();
        append(&mut outbox, 5, 3000);
        outbox.flush();
        assert_eq!(taken(&receiver), (7000, vec![(2000, 1, 1), (4000, 2, 1), (7000, 5, 1)]));
        assert_eq!(poll(&receiver), Poll::Pending);
    }

    #[test]
    fn small_messages_of_many_turns_share_marks() {
        let (mut outbox, receiver) = open();
        for seq in 1..=1000 {
            append(&mut outbox, seq, 64);
            outbox.flush();
        }
        let (bytes, marks) = taken(&receiver);
        assert_eq!(bytes, 64_000);
        assert!(marks.len() <= 2 * 64_000 / MARK_BYTES_MAX, "{} marks", marks.len());
        assert_eq!(marks.iter().map(|(_, _, messages)| messages).sum::<u64>(), 1000);
        assert!(marks.iter().all(|(end, seq, _)| *end == 64 * *seq as usize), "{marks:?}");
        assert_eq!(marks.last().map(|mark| mark.1), Some(1000));
    }

    #[test]
    fn written_bytes_make_room_in_the_outbox() {
        let (mut outbox, receiver) = open();
        let budget = &mut OutboxBudget::default();
        append_within(budget, &mut outbox, 1, OUTBOX_BYTES_MAX);
        outbox.flush();
        let (bytes, _) = taken(&receiver);
        assert!(outbox.has_room(0, budget) && !outbox.has_room(1, budget), "taken bytes are not written yet");
        assert_eq!(outbox.room_for_page(budget), None);
        outbox.written(bytes, budget);
        assert!(outbox.has_room(OUTBOX_BYTES_MAX, budget));
        assert_eq!((outbox.room_for_page(budget), budget.used_bytes()), (Some(PAGE_BYTES_MAX), 0));
    }

    #[test]
    fn outbox_gets_small_while_the_others_hold_much_and_an_empty_one_takes_any_message() {
        let (mut outbox, _receiver) = open();
        let budget = &mut OutboxBudget::default();
        budget.take(OUTBOXES_BYTES_MAX);
        assert_eq!(outbox.room_for_page(budget), Some(OUTBOX_BYTES_MIN));
        assert!(outbox.has_room(2 * OUTBOX_BYTES_MIN, budget));
        append_within(budget, &mut outbox, 1, 1);
        assert!(outbox.has_room(OUTBOX_BYTES_MIN - 1, budget) && !outbox.has_room(OUTBOX_BYTES_MIN, budget));
        append_within(budget, &mut outbox, 2, OUTBOX_BYTES_MIN);
        assert_eq!(outbox.room_for_page(budget), None);
        outbox.release(budget);
        assert_eq!(budget.used_bytes(), OUTBOXES_BYTES_MAX);
    }

    #[test]
    fn writer_takes_waiting_bytes_before_the_end() {
        let (mut outbox, receiver) = open();
        append(&mut outbox, 1, 10);
        outbox.flush();
        outbox.close();
        assert_eq!(taken(&receiver), (10, vec![(10, 1, 1)]));
        assert_eq!(poll(&receiver), Poll::Ready(None));
    }

    #[test]
    fn outbox_closes_when_its_writer_is_dropped() {
        let (mut outbox, receiver) = open();
        drop(receiver);
        append(&mut outbox, 1, 10);
        outbox.flush();
        assert!(outbox.is_closed() && !outbox.has_room(0, &OutboxBudget::default()));
    }

    #[test]
    fn flush_and_drop_wake_a_waiting_writer() {
        let (mut outbox, receiver) = open();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let context = Context::from_waker(&waker);
        assert_eq!(receiver.poll_take(&context), Poll::Pending);
        append(&mut outbox, 1, 10);
        assert!(!woken.take(), "nothing is flushed yet");
        outbox.flush();
        assert!(woken.take());
        assert_eq!(taken(&receiver).0, 10);
        assert_eq!(receiver.poll_take(&context), Poll::Pending);
        drop(outbox);
        assert!(woken.take());
        assert_eq!(receiver.poll_take(&context), Poll::Ready(None));
    }

    /// Waker that notes whether it was woken.
    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Woken {
        fn take(&self) -> bool {
            self.0.swap(false, Ordering::Relaxed)
        }
    }

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
