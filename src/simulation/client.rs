//! Model of a connection and its socket: what the reader and the writer of `connection.rs` tell the broker, and what
//! becomes of the bytes on their way to a client that reads, stalls, acknowledges late, or is gone. Owns bytes and
//! permits; never looks at what the bytes say.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use smol::lock::{Semaphore, SemaphoreGuardArc};

use super::client_model::ModelRequest;
use crate::broker::{Chunk, Delivered, Event, OutboxReceiver};
use crate::limits::{OUTBOX_BYTES_MAX, PAGE_BYTES_MAX, TEXT_BYTES_MAX};
use crate::message::SessionId;

/// Chunk whose bytes still count as unwritten in the outbox.
#[derive(Default)]
struct UnreportedChunk {
    bytes: usize,
    /// Bytes of messages among `bytes`.
    messages_bytes: usize,
}

/// Event for which the inbox had no room.
pub(super) struct QueuedEvent {
    pub(super) event: Event,
    /// Requests of the event, as the client model knows them.
    pub(super) asked: Vec<ModelRequest>,
}

/// One connection.
pub(super) struct Client {
    pub(super) session: SessionId,
    receiver: OutboxReceiver,
    permits: Arc<Semaphore>,
    /// Chunks taken from the outbox as soon as they are there, and not yet written.
    flushed: VecDeque<Chunk>,
    /// Chunks that were not reported as written, the oldest first.
    unreported: VecDeque<UnreportedChunk>,
    /// Sum of the bytes of `unreported`.
    unreported_bytes: usize,
    /// Bytes reported as written since the broker last read its inbox. It may deliver before it reads these reports.
    unread_report_bytes: usize,
    /// Chunks of the write in progress.
    writing_chunks: usize,
    /// Bytes of the write in progress that the socket did not take yet.
    writing_bytes: u64,
    /// Messages written and not reported as delivered, by the position in the stream at which they end.
    marks: VecDeque<(u64, Delivered)>,
    /// Bytes that the socket took.
    written: u64,
    /// Bytes that arrived at the client's system.
    arrived: u64,
    /// Bytes whose arrival the server knows.
    acknowledged: u64,
    /// Events for which the inbox had no room, the oldest first.
    pub(super) queued_events: VecDeque<QueuedEvent>,
    /// Whether the client has stopped reading.
    pub(super) is_stalled: bool,
    /// Whether the socket has failed: output is dropped, and input that had arrived is still read.
    pub(super) is_broken: bool,
    /// Whether the client sends no more requests.
    pub(super) is_ending: bool,
    /// Whether the broker has dropped the outbox.
    pub(super) is_released: bool,
    /// Whether the client has left, or will have once its events are sent.
    pub(super) is_gone: bool,
}

impl Client {
    pub(super) fn new(session: SessionId, receiver: OutboxReceiver) -> Self {
        Client {
            session,
            receiver,
            permits: Arc::new(Semaphore::new(1)),
            flushed: VecDeque::new(),
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
            is_released: false,
            is_gone: false,
        }
    }

    /// Index in the order of all connections.
    pub(super) fn number(&self) -> usize {
        self.session.get() as usize - 1
    }

    /// The right to submit a batch, if none is in flight.
    pub(super) fn permit(&self) -> Option<SemaphoreGuardArc> {
        self.permits.try_acquire_arc()
    }

    /// Bytes that arrived at the client's system.
    pub(super) fn arrived(&self) -> u64 {
        self.arrived
    }

    /// Takes the next chunk that the broker put into the outbox.
    pub(super) fn next_chunk(&mut self) -> Option<&Chunk> {
        let taken = self.receiver.poll_take(&Context::from_waker(Waker::noop()));
        self.is_released = taken == Poll::Ready(None);
        let Poll::Ready(Some(chunk)) = taken else { return None };
        self.flushed.push_back(chunk);
        self.flushed.back()
    }

    /// Promise 6: output for a client that does not read is bounded. Messages are bounded by the room in the outbox;
    /// replies by the permit, which is held back while there is no room.
    pub(super) fn is_handed(&mut self, bytes: usize, messages_bytes: usize) {
        self.unreported_bytes += bytes;
        self.unreported.push_back(UnreportedChunk { bytes, messages_bytes });
        let messages_bytes: usize = self.unreported.iter().map(|chunk| chunk.messages_bytes).sum();
        let bound = OUTBOX_BYTES_MAX + TEXT_BYTES_MAX;
        assert!(messages_bytes <= bound, "{messages_bytes} bytes of messages wait for {}, of {bound}", self.session);
    }

    /// Whether the broker may have found too little room in the outbox for a live feed when it last ran.
    pub(super) fn may_be_full(&self) -> bool {
        self.unwritten_bytes() + TEXT_BYTES_MAX > OUTBOX_BYTES_MAX
    }

    /// Whether the broker has certainly found room in the outbox for announcements when it last ran.
    pub(super) fn has_room_for_announcements(&self) -> bool {
        self.unwritten_bytes() + PAGE_BYTES_MAX <= OUTBOX_BYTES_MAX
    }

    fn unwritten_bytes(&self) -> usize {
        self.unreported_bytes + self.unread_report_bytes
    }

    /// Notes that the broker has read its whole inbox.
    pub(super) fn reports_are_read(&mut self) {
        if self.queued_events.is_empty() {
            self.unread_report_bytes = 0;
        }
    }

    pub(super) fn can_write(&self, socket_bytes: u64) -> bool {
        let has_room = self.is_broken || self.written - self.arrived < socket_bytes;
        has_room && (self.writing_chunks > 0 || !self.flushed.is_empty())
    }

    /// Writes all that is there, as far as the socket takes it. Returns the report for the broker, if any.
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
        for chunk in self.flushed.drain(..) {
            self.writing_chunks += 1;
            if self.is_broken {
                continue;
            }
            let start = self.written + self.writing_bytes;
            self.marks.extend(chunk.marks.iter().map(|mark| (start + mark.end as u64, mark.delivered)));
            self.writing_bytes += chunk.bytes.len() as u64;
        }
    }

    /// Reports written chunks, and messages that are acknowledged by now.
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

    /// Lets bytes arrive at the client's system.
    pub(super) fn read(&mut self, bytes: u64) {
        self.arrived = self.written.min(self.arrived + bytes);
    }

    pub(super) fn unread_bytes(&self) -> u64 {
        self.written - self.arrived
    }

    pub(super) fn can_acknowledge(&self) -> bool {
        self.acknowledged < self.arrived
    }

    /// Lets the server learn of bytes that have arrived. Returns the report for the broker, if any.
    pub(super) fn acknowledge(&mut self, bytes: u64) -> Option<Event> {
        self.acknowledged = self.arrived.min(self.acknowledged + bytes);
        self.report(0)
    }

    pub(super) fn unacknowledged_bytes(&self) -> u64 {
        self.arrived - self.acknowledged
    }

    /// Whether everything is written and acknowledged, and nothing more comes.
    pub(super) fn is_finished(&self) -> bool {
        let may_skip = self.acknowledged == self.written || self.is_broken;
        self.is_released && self.flushed.is_empty() && self.writing_chunks == 0 && may_skip
    }
}
