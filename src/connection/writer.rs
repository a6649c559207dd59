//! The writing half of a session: writes everything in the outbox at once, and reports to the broker what the client's system has
//! acknowledged. Owns the bytes in flight; never knows what they mean.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use smol::future;

use crate::backoff::Backoff;
use crate::broker::{Chunk, Delivered, Event, Handle, Mark, OutboxReceiver};
use crate::limits::{ACK_POLL_MS_MAX, ACK_POLL_MS_MIN};
use crate::message::SessionId;
use crate::timeout::{Elapsed, timeout};
use crate::transport::{self, Transport};

/// Writes one session's outbox, and polls which bytes the client's system has acknowledged.
pub(super) struct OutboxWriter<'a, T> {
    transport: &'a T,
    session: SessionId,
    broker: &'a Handle,
    receiver: OutboxReceiver,
    progress: &'a Progress,
    /// Time that the client's system may be silent while it owes an acknowledgement; `None`: no limit.
    dead_after: Option<Duration>,
    /// Bytes that were not acknowledged at the last poll.
    outstanding_bytes: u64,
    /// Time since which every poll has found outstanding bytes.
    outstanding_since: Option<Instant>,
    /// Messages that are not acknowledged, each with the position in the stream where it ends.
    marks: VecDeque<(u64, Delivered)>,
}

/// State of the writing half that the reading half needs.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Counter that grows when the client takes or acknowledges bytes.
    taken: AtomicU64,
    /// Whether the stream has failed. Output is dropped then, and its messages stay in the log: the outbox keeps its room, so that the
    /// requests that the client sent before are still read and handled.
    is_broken: AtomicBool,
}

impl Progress {
    /// Returns a counter that grows while the client takes or acknowledges bytes.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether the stream has failed, so that the client gets nothing more.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    fn advance(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    fn mark_broken(&self) {
        self.is_broken.store(true, Ordering::Relaxed);
    }
}

/// Next step of a writer.
enum WriterStep {
    Write(Chunk),
    Poll,
    Finish,
}

/// Delays between two polls of the acknowledged bytes: they double while none are acknowledged.
const POLL: Backoff = Backoff::new(Duration::from_millis(ACK_POLL_MS_MIN), Duration::from_millis(ACK_POLL_MS_MAX));

impl<'a, T: Transport> OutboxWriter<'a, T> {
    /// Makes a writer that reports to the broker about this session.
    pub(super) fn new(
        transport: &'a T,
        session: SessionId,
        broker: &'a Handle,
        receiver: OutboxReceiver,
        progress: &'a Progress,
    ) -> Self {
        OutboxWriter {
            transport,
            session,
            broker,
            receiver,
            progress,
            dead_after: None,
            outstanding_bytes: 0,
            outstanding_since: None,
            marks: VecDeque::new(),
        }
    }

    /// Limits the time that the client's system may be silent while it owes an acknowledgement.
    pub(super) fn set_dead_after(&mut self, dead_after: Option<Duration>) {
        self.dead_after = dead_after;
    }

    /// Runs until the broker closes the outbox, and all of it is written and acknowledged; or until the client is dead.
    pub(super) async fn run(&mut self) {
        let mut poll = POLL;
        while !self.is_dead() {
            match self.next(&poll).await {
                WriterStep::Write(Chunk { bytes, marks }) => {
                    self.mark(marks);
                    self.write(&bytes).await;
                    self.report(bytes.len()).await;
                    poll.reset();
                }
                WriterStep::Poll => {
                    let moved = self.report(0).await;
                    schedule(&mut poll, moved);
                }
                WriterStep::Finish => return,
            }
        }
    }

    /// Reports to the broker how many bytes of the outbox were written, and which messages are acknowledged by now. Returns whether any were.
    pub(super) async fn report(&mut self, bytes: usize) -> bool {
        let delivered = self.take_acknowledged();
        if bytes > 0 || delivered.is_some() {
            self.broker.send(Event::DeliveryReport { session: self.session, bytes, delivered }).await;
        }
        delivered.is_some()
    }

    /// Whether the client's system has been silent for too long, as after a cable was pulled. A system whose client lives and does not read
    /// still acknowledges the probes of its closed window. TCP_USER_TIMEOUT would end that connection, too.
    pub(super) fn is_dead(&self) -> bool {
        let (Some(dead_after), Some(since)) = (self.dead_after, self.outstanding_since) else { return false };
        // Silence before there was something to acknowledge does not count.
        since.elapsed() >= dead_after && self.transport.silence().is_some_and(|silence| silence >= dead_after)
    }

    /// Waits for something to write; while bytes are in flight, also for the next poll.
    async fn next(&self, poll: &Backoff) -> WriterStep {
        let is_settled = self.outstanding_bytes == 0 || self.progress.is_broken();
        let chunk = async move {
            match self.receiver.take().await {
                Some(chunk) => WriterStep::Write(chunk),
                None if is_settled => WriterStep::Finish,
                None => future::pending().await,
            }
        };
        timeout((!is_settled).then(|| poll.delay()), chunk).await.unwrap_or(WriterStep::Poll)
    }

    /// Writes all bytes, unless the stream fails. While a slow client delays this, reports what that client acknowledges.
    async fn write(&mut self, mut bytes: &[u8]) {
        let mut poll = POLL;
        while !self.progress.is_broken() && !self.is_dead() {
            let bytes_before = bytes.len();
            let written = timeout(poll.delay(), transport::write_from(self.transport, &mut bytes)).await;
            if bytes.len() < bytes_before {
                self.progress.advance();
            }
            match written {
                Ok(Ok(())) => return,
                Ok(Err(_)) => self.progress.mark_broken(),
                Err(Elapsed) => {
                    let moved = self.report(0).await;
                    schedule(&mut poll, moved);
                }
            }
        }
    }

    fn mark(&mut self, marks: Vec<Mark>) {
        if self.progress.is_broken() {
            return;
        }
        let start = self.transport.written_bytes();
        self.marks.extend(marks.into_iter().map(|mark| (start + mark.end as u64, mark.delivered)));
    }

    /// Returns the messages that were acknowledged since the last report.
    fn take_acknowledged(&mut self) -> Option<Delivered> {
        let acknowledged_bytes = self.transport.acknowledged_bytes();
        self.outstanding_bytes = self.transport.written_bytes().saturating_sub(acknowledged_bytes);
        // After a reset the bytes stay outstanding forever.
        if self.outstanding_bytes > 0 && self.transport.is_broken() {
            self.progress.mark_broken();
        }
        if self.outstanding_bytes == 0 {
            self.outstanding_since = None;
        } else if self.outstanding_since.is_none() {
            self.outstanding_since = Some(Instant::now());
        }
        let mut acknowledged: Option<Delivered> = None;
        while let Some((end, delivered)) = self.marks.front()
            && *end <= acknowledged_bytes
        {
            let messages = acknowledged.map_or(0, |before| before.messages) + delivered.messages;
            acknowledged = Some(Delivered { seq: delivered.seq, messages });
            self.marks.pop_front();
        }
        if acknowledged.is_some() {
            self.progress.advance();
        }
        // An idle connection holds no memory for marks.
        if self.marks.is_empty() {
            self.marks = VecDeque::new();
        }
        acknowledged
    }
}

/// Sets the delay of the next poll, after one that found whether anything was acknowledged.
fn schedule(poll: &mut Backoff, moved: bool) {
    if moved {
        poll.reset();
    } else {
        poll.next_delay();
    }
}
