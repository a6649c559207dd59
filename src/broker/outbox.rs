//! What is on its way to one client: chunks of bytes, with marks that say where in them which messages end. Owns the
//! outbox's bounds; never decides what goes into it.

use std::collections::VecDeque;

use async_channel::{Receiver, Sender, TrySendError};

use super::Delivered;
use crate::limits::{MARK_BYTES_MAX, OUTBOX_BYTES_MAX, OUTBOX_CHUNKS_MAX, PAGE_BYTES_MAX};
use crate::message::Seq;

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

impl Chunk {
    /// Notes that the bytes end with a message. Small ones share a mark: what a broken connection has taken of them is
    /// known a little less exactly, and a client that reads nothing costs few marks.
    fn mark(&mut self, seq: Seq) {
        let end = self.bytes.len();
        let before = self.marks.len().checked_sub(2).map_or(0, |place| self.marks[place].end);
        match self.marks.last_mut() {
            Some(last) if end - before <= MARK_BYTES_MAX => {
                *last = Mark { end, delivered: Delivered { seq, messages: last.delivered.messages + 1 } };
            }
            _ => self.marks.push(Mark { end, delivered: Delivered { seq, messages: 1 } }),
        }
    }
}

/// The two ends of an outbox: the broker's, and that of the connection which writes it.
pub(crate) fn outbox() -> (Sender<Chunk>, Receiver<Chunk>) {
    // One more for last words: a session that ends gets them whatever is queued.
    async_channel::bounded(OUTBOX_CHUNKS_MAX + 1)
}

/// The broker's side of one session's outbox. A turn's output is gathered in one chunk, which leaves when it is flushed.
#[derive(Debug)]
pub(in crate::broker) struct Outbox {
    /// `None` once nothing more is to come: that is the writer's signal to finish.
    sender: Option<Sender<Chunk>>,
    gathered: Chunk,
    /// Sizes of the chunks that the writer has not reported as written, the oldest first.
    unwritten: VecDeque<usize>,
    /// Bytes in `gathered` and `unwritten`.
    bytes: usize,
}

impl Outbox {
    pub(in crate::broker) fn new(sender: Sender<Chunk>) -> Self {
        Outbox { sender: Some(sender), gathered: Chunk::default(), unwritten: VecDeque::new(), bytes: 0 }
    }

    /// Whether nothing more can be written.
    pub(in crate::broker) fn is_closed(&self) -> bool {
        self.sender.is_none()
    }

    /// Whether a message of this size may be added. One chunk stays free for replies, of which one batch at a time is
    /// under way.
    pub(in crate::broker) fn has_room(&self, bytes: usize) -> bool {
        !self.is_closed() && self.unwritten.len() < OUTBOX_CHUNKS_MAX - 1 && self.bytes + bytes <= OUTBOX_BYTES_MAX
    }

    /// Whether a page may be asked for: it and the largest message after it fit.
    pub(in crate::broker) fn has_room_for_page(&self) -> bool {
        self.has_room(PAGE_BYTES_MAX)
    }

    /// Adds the bytes that `encode` appends; with a `seq`, they are that message.
    pub(in crate::broker) fn append(&mut self, seq: Option<Seq>, encode: impl FnOnce(&mut Vec<u8>)) {
        let before = self.gathered.bytes.len();
        encode(&mut self.gathered.bytes);
        self.bytes += self.gathered.bytes.len() - before;
        if let Some(seq) = seq {
            self.gathered.mark(seq);
        }
    }

    /// Hands over what was gathered.
    pub(in crate::broker) fn flush(&mut self) {
        let chunk = std::mem::take(&mut self.gathered);
        if chunk.bytes.is_empty() {
            return;
        }
        let Some(sender) = &self.sender else {
            self.bytes -= chunk.bytes.len();
            return;
        };
        self.unwritten.push_back(chunk.bytes.len());
        match sender.try_send(chunk) {
            Ok(()) => {}
            // The connection has failed and will leave; what it did not get stays in the log.
            Err(TrySendError::Closed(_)) => self.close(),
            Err(TrySendError::Full(_)) => {
                unreachable!("the outbox counts its chunks: {} are unwritten", self.unwritten.len())
            }
        }
    }

    /// The writer has written its oldest chunks.
    pub(in crate::broker) fn written(&mut self, chunks: usize) {
        for size in self.unwritten.drain(..chunks) {
            self.bytes -= size;
        }
    }

    /// Nothing more comes: the writer finishes what it has.
    pub(in crate::broker) fn close(&mut self) {
        self.sender = None;
    }
}
