//! A connection and the client at its other end: what the reader and the writer of `connection.rs` tell the broker, and
//! what becomes of the bytes between them and a client that reads, stalls, acknowledges late, or is gone. Owns bytes and
//! permits; never looks at what the bytes say.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use smol::lock::{Semaphore, SemaphoreGuardArc};

use super::client_model::Asked;
use crate::broker::{Chunk, Delivered, Event, OutboxReceiver};
use crate::limits::{OUTBOX_BYTES_MAX, PAGE_MESSAGES_MAX, TEXT_BYTES_MAX};
use crate::message::SessionId;

/// Bytes by which a page may be larger than its texts and names: "from ", ": " and a newline for each message.
const PAGE_FRAME_BYTES_MAX: usize = 8 * PAGE_MESSAGES_MAX;

/// A chunk that takes room in the outbox.
#[derive(Default)]
struct Unreported {
    bytes: usize,
    /// Those of them that are messages.
    messages_bytes: usize,
}

/// What the inbox had no room for.
pub(super) struct QueuedEvent {
    pub(super) event: Event,
    /// Where these are requests: what they ask.
    pub(super) asked: Vec<Asked>,
}

/// One connection.
pub(super) struct Client {
    pub(super) session: SessionId,
    receiver: OutboxReceiver,
    permits: Arc<Semaphore>,
    /// Taken out of the outlet as soon as it is there, and held to the outbox's bounds here.
    handed: VecDeque<Chunk>,
    /// All chunks that were not reported as written, the oldest first.
    unreported: VecDeque<Unreported>,
    /// Bytes of all of them.
    unreported_bytes: usize,
    /// Bytes reported as written since the broker last read its inbox. It may deliver before it reads these reports.
    unread_report_bytes: usize,
    /// The chunks of the write under way.
    writing_chunks: usize,
    /// What the socket did not take of it yet.
    writing_bytes: u64,
    /// Messages written and not reported as delivered, by where in the stream they end.
    marks: VecDeque<(u64, Delivered)>,
    /// Bytes that the socket took.
    written: u64,
    /// Those that the client's system has.
    arrived: u64,
    /// Those of which we know that.
    acknowledged: u64,
    /// What the inbox had no room for.
    pub(super) queued_events: VecDeque<QueuedEvent>,
    /// The client reads nothing for now.
    pub(super) is_stalled: bool,
    /// The socket has failed: what comes is dropped, and what had come in is still read.
    pub(super) is_broken: bool,
    /// No more requests come.
    pub(super) is_ending: bool,
    /// The broker lets it go.
    pub(super) is_let_go: bool,
    /// It has left, or will have when it has told so.
    pub(super) is_gone: bool,
}

impl Client {
    pub(super) fn new(session: SessionId, receiver: OutboxReceiver) -> Self {
        Client {
            session,
            receiver,
            permits: Arc::new(Semaphore::new(1)),
            handed: VecDeque::new(),
            unreported: VecDeque::new(),
            unreported_bytes: 0,
            unread_report_bytes: 0,
            writing_chunks: 0,
            writing_bytes: 0,
            marks: VecDeque::new(),
            written: 0,
            arrived: 0,
            acknowledged: 0,
            queued_events: VecDeque::new(),
            is_stalled: false,
            is_broken: false,
            is_ending: false,
            is_let_go: false,
            is_gone: false,
        }
    }

    /// Its place in the order of all connections.
    pub(super) fn number(&self) -> usize {
        self.session.get() as usize - 1
    }

    /// The right to hand in a batch, if there is none under way.
    pub(super) fn permit(&self) -> Option<SemaphoreGuardArc> {
        self.permits.try_acquire_arc()
    }

    /// Bytes that the client's system has.
    pub(super) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// Takes what the broker has put out since it was last asked, to be looked at.
    pub(super) fn next_chunk(&mut self) -> Option<&Chunk> {
        let taken = self.receiver.poll_take(&Context::from_waker(Waker::noop()));
        self.is_let_go = taken == Poll::Ready(None);
        let Poll::Ready(Some(chunk)) = taken else { return None };
        self.handed.push_back(chunk);
        self.handed.back()
    }

    /// Promise 6: what is put out for one who does not read is bounded, messages by the room for them, and answers by the
    /// permit, which is held back while there is no room.
    pub(super) fn is_handed(&mut self, bytes: usize, messages_bytes: usize) {
        self.unreported_bytes += bytes;
        self.unreported.push_back(Unreported { bytes, messages_bytes });
        let messages_bytes: usize = self.unreported.iter().map(|chunk| chunk.messages_bytes).sum();
        let bound = OUTBOX_BYTES_MAX + PAGE_FRAME_BYTES_MAX + TEXT_BYTES_MAX;
        assert!(messages_bytes <= bound, "{messages_bytes} bytes are put out for {}, of {bound}", self.session);
    }

    /// Whether the broker may have found too little room in the outbox for a live feed when it last ran.
    pub(super) fn may_be_full(&self) -> bool {
        let unwritten_bytes = self.unreported_bytes + self.unread_report_bytes;
        unwritten_bytes + PAGE_FRAME_BYTES_MAX + TEXT_BYTES_MAX > OUTBOX_BYTES_MAX
    }

    /// The broker has read all of its inbox.
    pub(super) fn reports_are_read(&mut self) {
        if self.queued_events.is_empty() {
            self.unread_report_bytes = 0;
        }
    }

    pub(super) fn can_write(&self, socket_bytes: u64) -> bool {
        let has_room = self.is_broken || self.written - self.arrived < socket_bytes;
        has_room && (self.writing_chunks > 0 || !self.handed.is_empty())
    }

    /// Writes all that is there, as far as the socket takes it, and says what there is to tell.
    pub(super) fn write(&mut self, socket_bytes: u64) -> Option<Event> {
        if self.writing_chunks == 0 {
            self.take_handed();
        }
        if self.is_broken {
            self.writing_bytes = 0;
        }
        let room = socket_bytes.saturating_sub(self.written - self.arrived);
        let bytes = room.min(self.writing_bytes);
        self.written += bytes;
        self.writing_bytes -= bytes;
        let chunks = if self.writing_bytes == 0 { std::mem::take(&mut self.writing_chunks) } else { 0 };
        self.report(chunks)
    }

    fn take_handed(&mut self) {
        for chunk in self.handed.drain(..) {
            self.writing_chunks += 1;
            if self.is_broken {
                continue;
            }
            let start = self.written + self.writing_bytes;
            self.marks.extend(chunk.marks.iter().map(|mark| (start + mark.end as u64, mark.delivered)));
            self.writing_bytes += chunk.bytes.len() as u64;
        }
    }

    /// Tells what was written, and what is acknowledged by now.
    pub(super) fn report(&mut self, chunks: usize) -> Option<Event> {
        let bytes = self.unreported.drain(..chunks).map(|chunk| chunk.bytes).sum();
        self.unreported_bytes -= bytes;
        self.unread_report_bytes += bytes;
        let mut delivered: Option<Delivered> = None;
        while let Some((end, Delivered { seq, messages })) = self.marks.front().copied()
            && end <= self.acknowledged
        {
            let before = delivered.map_or(0, |delivered| delivered.messages);
            delivered = Some(Delivered { seq, messages: before + messages });
            self.marks.pop_front();
        }
        (bytes > 0 || delivered.is_some()).then_some(Event::DeliveryReport { session: self.session, bytes, delivered })
    }

    pub(super) fn can_read(&self) -> bool {
        self.arrived < self.written
    }

    /// So many bytes arrive at the client's system.
    pub(super) fn read(&mut self, bytes: u64) {
        self.arrived = self.written.min(self.arrived + bytes);
    }

    pub(super) fn unread_bytes(&self) -> u64 {
        self.written - self.arrived
    }

    pub(super) fn can_acknowledge(&self) -> bool {
        self.acknowledged < self.arrived
    }

    /// We learn of bytes that have arrived, and say what there is to tell.
    pub(super) fn acknowledge(&mut self, bytes: u64) -> Option<Event> {
        self.acknowledged = self.arrived.min(self.acknowledged + bytes);
        self.report(0)
    }

    pub(super) fn unacknowledged_bytes(&self) -> u64 {
        self.arrived - self.acknowledged
    }

    /// Everything that was put out is written and acknowledged, and nothing more comes.
    pub(super) fn is_finished(&self) -> bool {
        let is_settled = self.acknowledged == self.written || self.is_broken;
        self.is_let_go && self.handed.is_empty() && self.writing_chunks == 0 && is_settled
    }
}
