//! What is on its way to one client: chunks of bytes, with marks that say where in them which messages end. Owns the outbox's
//! bounds, and the way from the broker to the writer; never decides what goes into it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::{Mutex, MutexGuard};
use smol::future;

use crate::limits::{MARK_BYTES_MAX, OUTBOX_BYTES_MAX, PAGE_BYTES_MAX};
use crate::message::Seq;

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
    /// Whole lines.
    pub(crate) bytes: Vec<u8>,
    /// Where the messages in them end, in order.
    pub(crate) marks: Vec<Mark>,
}

/// Messages that stand together in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Bytes of the chunk up to the end of the last of them.
    pub(crate) end: usize,
    /// Which they are.
    pub(crate) delivered: Delivered,
}

/// The two ends of an outbox: the broker's, and that of the connection which writes it. Each closes it when it is dropped.
pub(crate) fn outbox() -> (OutboxSender, OutboxReceiver) {
    let shared = Arc::new(Mutex::new(Shared::default()));
    (OutboxSender { shared: shared.clone() }, OutboxReceiver { shared })
}

/// What both ends share. Nobody has memory in it while nothing is on the way: that is most of the time.
#[derive(Debug, Default)]
struct Shared {
    /// Handed over, and not yet taken.
    waiting: Chunk,
    /// Woken when there is something to take.
    writer: Option<Waker>,
    /// One of the ends is gone.
    is_closed: bool,
}

/// The broker's end.
#[derive(Debug)]
pub(crate) struct OutboxSender {
    shared: Arc<Mutex<Shared>>,
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct OutboxReceiver {
    shared: Arc<Mutex<Shared>>,
}

/// The broker's side of one session's outbox. A turn's output is gathered in one chunk, which leaves when it is flushed.
#[derive(Debug)]
pub(in crate::broker) struct Outbox {
    /// `None` once nothing more is to come: that is the writer's signal to finish.
    sender: Option<OutboxSender>,
    gathered: Chunk,
    /// Bytes that were appended since the session began.
    appended_bytes: u64,
    /// Bytes that the writer has not reported as written, those in `gathered` too.
    unwritten_bytes: usize,
}

impl Outbox {
    pub(in crate::broker) fn new(sender: OutboxSender) -> Self {
        Outbox { sender: Some(sender), gathered: Chunk::default(), appended_bytes: 0, unwritten_bytes: 0 }
    }

    /// Whether nothing more can be written.
    pub(in crate::broker) fn is_closed(&self) -> bool {
        self.sender.is_none()
    }

    /// Whether a message of this size may be added.
    pub(in crate::broker) fn has_room(&self, bytes: usize) -> bool {
        !self.is_closed() && self.unwritten_bytes + bytes <= OUTBOX_BYTES_MAX
    }

    /// Whether a page may be asked for: it and the largest message after it fit.
    pub(in crate::broker) fn has_room_for_page(&self) -> bool {
        self.has_room(PAGE_BYTES_MAX)
    }

    /// Adds the bytes that `encode` appends; with a message, they are delivered with it.
    pub(in crate::broker) fn append(&mut self, message: Option<Delivered>, encode: impl FnOnce(&mut Vec<u8>)) {
        let before = self.gathered.bytes.len();
        encode(&mut self.gathered.bytes);
        let bytes = self.gathered.bytes.len() - before;
        self.unwritten_bytes += bytes;
        self.appended_bytes += bytes as u64;
        if let Some(delivered) = message {
            self.gathered.add_mark(Mark { end: self.gathered.bytes.len(), delivered });
        }
    }

    /// Bytes that were appended since the session began.
    pub(in crate::broker) fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    /// Bytes of those that the writer has reported as written.
    pub(in crate::broker) fn written_bytes(&self) -> u64 {
        self.appended_bytes - self.unwritten_bytes as u64
    }

    /// Hands over what was gathered.
    pub(in crate::broker) fn flush(&mut self) {
        let chunk = std::mem::take(&mut self.gathered);
        if let Some(sender) = &self.sender
            && !chunk.bytes.is_empty()
            && !sender.put(chunk)
        {
            // The connection has failed and will leave; what it did not get stays in the log.
            self.close();
        }
    }

    /// The writer has written so many bytes.
    pub(in crate::broker) fn written(&mut self, bytes: usize) {
        let left = self.unwritten_bytes.checked_sub(bytes);
        self.unwritten_bytes = left.expect("a writer reports what it was handed, once");
    }

    /// Nothing more comes: the writer finishes what it has.
    pub(in crate::broker) fn close(&mut self) {
        self.sender = None;
    }
}

impl OutboxSender {
    /// Puts a chunk behind what waits already. Says whether there still is someone to take it.
    fn put(&self, chunk: Chunk) -> bool {
        let mut shared = self.shared.lock();
        if shared.is_closed {
            return false;
        }
        shared.waiting.append(chunk);
        wake(shared);
        true
    }
}

impl Drop for OutboxSender {
    fn drop(&mut self) {
        let mut shared = self.shared.lock();
        shared.is_closed = true;
        wake(shared);
    }
}

impl OutboxReceiver {
    /// Takes all that waits, as soon as there is something. `None`: nothing more comes.
    pub(crate) async fn take(&self) -> Option<Chunk> {
        future::poll_fn(|context| self.poll_take(context)).await
    }

    /// The same, without waiting.
    pub(crate) fn poll_take(&self, context: &Context<'_>) -> Poll<Option<Chunk>> {
        let mut shared = self.shared.lock();
        if !shared.waiting.bytes.is_empty() {
            return Poll::Ready(Some(std::mem::take(&mut shared.waiting)));
        }
        if shared.is_closed {
            return Poll::Ready(None);
        }
        shared.writer = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for OutboxReceiver {
    fn drop(&mut self) {
        *self.shared.lock() = Shared { is_closed: true, ..Shared::default() };
    }
}

impl Chunk {
    /// Puts another one behind it.
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

    /// Small messages share a mark: what a broken connection has taken of them is known a little less exactly, and a client
    /// that reads nothing costs few marks.
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

/// Lets go of the way first: who is woken wants it.
fn wake(mut shared: MutexGuard<'_, Shared>) {
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

    /// Puts out a message of so many bytes.
    fn append(outbox: &mut Outbox, seq: i64, bytes: usize) {
        let message = Delivered { seq: Seq::new(seq), messages: 1 };
        outbox.append(Some(message), |out| out.resize(out.len() + bytes, b'x'));
    }

    fn open() -> (Outbox, OutboxReceiver) {
        let (sender, receiver) = outbox();
        (Outbox::new(sender), receiver)
    }

    fn poll(receiver: &OutboxReceiver) -> Poll<Option<Chunk>> {
        receiver.poll_take(&Context::from_waker(Waker::noop()))
    }

    /// What waits: how many bytes, and of each mark its end, its `seq` and its messages.
    fn taken(receiver: &OutboxReceiver) -> (usize, Vec<(usize, i64, u64)>) {
        let Poll::Ready(Some(Chunk { bytes, marks })) = poll(receiver) else { panic!("nothing waits") };
        let marks = marks.iter().map(|mark| (mark.end, mark.delivered.seq.get(), mark.delivered.messages));
        (bytes.len(), marks.collect())
    }

    #[test]
    fn all_that_was_handed_over_is_taken_at_once() {
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
    fn small_messages_share_a_mark_over_many_turns_too() {
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
    fn there_is_room_again_for_what_was_written() {
        let (mut outbox, receiver) = open();
        append(&mut outbox, 1, OUTBOX_BYTES_MAX);
        outbox.flush();
        let (bytes, _) = taken(&receiver);
        assert!(outbox.has_room(0) && !outbox.has_room(1), "what was taken is not written yet");
        outbox.written(bytes);
        assert!(outbox.has_room(OUTBOX_BYTES_MAX));
    }

    #[test]
    fn what_waits_is_taken_before_the_end() {
        let (mut outbox, receiver) = open();
        append(&mut outbox, 1, 10);
        outbox.flush();
        outbox.close();
        assert_eq!(taken(&receiver), (10, vec![(10, 1, 1)]));
        assert_eq!(poll(&receiver), Poll::Ready(None));
    }

    #[test]
    fn an_outbox_that_nobody_empties_closes() {
        let (mut outbox, receiver) = open();
        drop(receiver);
        append(&mut outbox, 1, 10);
        outbox.flush();
        assert!(outbox.is_closed() && !outbox.has_room(0));
    }

    #[test]
    fn a_writer_that_waits_is_woken_by_what_is_handed_over_and_by_the_end() {
        let (mut outbox, receiver) = open();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let context = Context::from_waker(&waker);
        assert_eq!(receiver.poll_take(&context), Poll::Pending);
        append(&mut outbox, 1, 10);
        assert!(!woken.take(), "it may be more yet");
        outbox.flush();
        assert!(woken.take());
        assert_eq!(taken(&receiver).0, 10);
        assert_eq!(receiver.poll_take(&context), Poll::Pending);
        drop(outbox);
        assert!(woken.take());
        assert_eq!(receiver.poll_take(&context), Poll::Ready(None));
    }

    /// Whether somebody was woken.
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
