//! The writing half of a connection: everything that waits in the outbox leaves in one write, and the broker is told what
//! the client's system has acknowledged of it. Owns the bytes on their way; never what they say.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use smol::future;
use smol::io::AsyncWriteExt;

use super::{Socket, acknowledged};
use crate::backoff::Backoff;
use crate::broker::{Chunk, Delivered, Event, Handle, Mark, OutboxReceiver};
use crate::limits::{LOOK_MS_MAX, LOOK_MS_MIN};
use crate::message::SessionId;
use crate::timeout::{Elapsed, timeout};

/// Writes one session's outbox, and follows what becomes of it.
pub(super) struct Writer<'a> {
    socket: &'a Socket,
    session: SessionId,
    receiver: OutboxReceiver,
    broker: &'a Handle,
    /// How long the client's system may be silent while it owes us an acknowledgement; `None`: as long as it likes.
    dead_after: Option<Duration>,
    /// Bytes written to the stream since the session began.
    written_bytes: u64,
    /// Those of them that were not acknowledged when it was last asked.
    outstanding_bytes: u64,
    /// Since when there were some, without a break.
    outstanding_since: Option<Instant>,
    /// Messages written and not yet acknowledged, by where in the stream they end.
    marks: VecDeque<(u64, Delivered)>,
    progress: &'a Progress,
}

/// What the reading half is to know of the writing one.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Grows with what the client takes.
    taken: AtomicU64,
    /// The socket has failed. What comes now is dropped, and stays in the log: so nobody waits for room in the outbox while
    /// what the client sent before is still read.
    is_broken: AtomicBool,
}

impl Progress {
    /// A number that changes while the client takes what is written.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether nothing reaches the client any more.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    fn take(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    fn break_off(&self) {
        self.is_broken.store(true, Ordering::Relaxed);
    }
}

/// What is to be done next.
enum Next {
    Write(Chunk),
    Poll,
    Finish,
}

/// Delays between two polls of what is acknowledged: they double while nothing is.
const POLL: Backoff = Backoff::new(Duration::from_millis(LOOK_MS_MIN), Duration::from_millis(LOOK_MS_MAX));

impl<'a> Writer<'a> {
    pub(super) fn new(
        socket: &'a Socket,
        session: SessionId,
        receiver: OutboxReceiver,
        broker: &'a Handle,
        progress: &'a Progress,
        dead_after: Option<Duration>,
    ) -> Self {
        Writer {
            socket,
            session,
            receiver,
            broker,
            dead_after,
            written_bytes: 0,
            outstanding_bytes: 0,
            outstanding_since: None,
            marks: VecDeque::new(),
            progress,
        }
    }

    /// Runs until the broker lets go of the outbox, and all of it is written and acknowledged; or the client is dead.
    pub(super) async fn run(&mut self) {
        let mut poll = POLL;
        while !self.is_dead() {
            match self.next(&poll).await {
                Next::Write(Chunk { bytes, marks }) => {
                    self.mark(marks);
                    self.write(&bytes).await;
                    self.report(bytes.len()).await;
                    poll.reset();
                }
                Next::Poll => {
                    let moved = self.report(0).await;
                    schedule(&mut poll, moved);
                }
                Next::Finish => return,
            }
        }
    }

    /// Tells the broker what was written, and what is acknowledged by now. Says whether anything was.
    pub(super) async fn report(&mut self, bytes: usize) -> bool {
        let delivered = self.take_acknowledged();
        if bytes > 0 || delivered.is_some() {
            self.broker.tell(Event::DeliveryReport { session: self.session, bytes, delivered }).await;
        }
        delivered.is_some()
    }

    /// Whether the client's system has been silent for too long. A cable that was pulled tells nothing else; whoever lives
    /// and does not read still acknowledges the probes of its closed window. TCP_USER_TIMEOUT knows no such difference.
    pub(super) fn is_dead(&self) -> bool {
        let (Some(dead_after), Some(since)) = (self.dead_after, self.outstanding_since) else { return false };
        // What was silent before there was something to acknowledge does not count.
        since.elapsed() >= dead_after
            && acknowledged::silence(self.socket.get_ref()).is_some_and(|silence| silence >= dead_after)
    }

    /// While something is under way, it is looked after too; otherwise nothing wakes us but the outbox.
    async fn next(&self, poll: &Backoff) -> Next {
        let is_settled = self.outstanding_bytes == 0 || self.progress.is_broken();
        let chunk = async move {
            match self.receiver.take().await {
                Some(chunk) => Next::Write(chunk),
                None if is_settled => Next::Finish,
                None => future::pending().await,
            }
        };
        timeout((!is_settled).then(|| poll.delay()), chunk).await.unwrap_or(Next::Poll)
    }

    /// Writes until all is written or the socket fails. While a slow client holds it up, what that one acknowledges is
    /// reported.
    async fn write(&mut self, mut bytes: &[u8]) {
        let mut poll = POLL;
        while !bytes.is_empty() && !self.progress.is_broken() && !self.is_dead() {
            let mut socket = self.socket;
            match timeout(poll.delay(), socket.write(bytes)).await {
                Ok(Ok(0) | Err(_)) => self.progress.break_off(),
                Ok(Ok(written)) => {
                    bytes = &bytes[written..];
                    self.written_bytes += written as u64;
                    self.progress.take();
                }
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
        let start = self.written_bytes;
        self.marks.extend(marks.into_iter().map(|mark| (start + mark.end as u64, mark.delivered)));
    }

    /// The messages that are acknowledged and have not been reported.
    fn take_acknowledged(&mut self) -> Option<Delivered> {
        // What was written counts where the system tells nothing else.
        self.outstanding_bytes = acknowledged::outstanding_bytes(self.socket.get_ref()).unwrap_or(0);
        // After a reset it stays so: there is nothing to wait for.
        if self.outstanding_bytes > 0 && super::is_broken(self.socket) {
            self.progress.break_off();
        }
        if self.outstanding_bytes == 0 {
            self.outstanding_since = None;
        } else if self.outstanding_since.is_none() {
            self.outstanding_since = Some(Instant::now());
        }
        let acknowledged_bytes = self.written_bytes.saturating_sub(self.outstanding_bytes);
        let mut taken: Option<Delivered> = None;
        while let Some((end, delivered)) = self.marks.front()
            && *end <= acknowledged_bytes
        {
            let messages = taken.map_or(0, |taken| taken.messages) + delivered.messages;
            taken = Some(Delivered { seq: delivered.seq, messages });
            self.marks.pop_front();
        }
        if taken.is_some() {
            self.progress.take();
        }
        // An idle connection holds no room for marks.
        if self.marks.is_empty() {
            self.marks = VecDeque::new();
        }
        taken
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
