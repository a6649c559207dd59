//! Hands out the messages that arrive, each once, and acknowledges those that were taken. Owns when to reconnect and which
//! messages were handed out already; never knows how a message is printed.

use std::io;
use std::mem;
use std::time::{Duration, Instant};

use smol::future;

use super::account::Account;
use super::connection::{Connection, ConnectionEvent, Welcome};
use super::error::{ConnectionError, ConnectionLost, PermanentError, RECONNECT, REPLY};
use crate::backoff::Backoff;
use crate::limits::{TAIL_ACK_MESSAGES_MAX, TAIL_SILENCE_S_MAX};
use crate::message::DatabaseId;
use crate::timeout::sleep;
use crate::wire::{MessageFrame, RequestFrame, ServerFrame};

/// Time without a line from the server after which the client sends a ping.
const SILENCE: Duration = Duration::from_secs(TAIL_SILENCE_S_MAX);

/// Id of the ping that checks whether the server still replies.
const LIVENESS_PING: &str = "alive";

/// Id of the ping after the last acknowledgement.
const FINAL_PING: &str = "final";

/// Messages that the caller wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TailRange {
    /// Last message that the caller has already. Only messages after it are handed out.
    pub after: TailPosition,
    /// Number of messages; `None` is no limit.
    pub count: Option<u64>,
}

/// Place in the log of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TailPosition {
    /// Database that gave out `seq`; `None` is whichever the server has at the first connection.
    pub database: Option<DatabaseId>,
    /// Sequence number of a message; 0 is the beginning.
    pub seq: i64,
}

/// Reason why the numbers of the messages that were taken mean nothing to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NewStart {
    #[error("the server has another database than before: it was restored, copied or started anew")]
    OtherDatabase,
    #[error(
        "seq {seq} is beyond the newest message of the server, {newest}: its database was restored or started anew"
    )]
    BeyondNewest { seq: i64, newest: i64 },
}

/// Receiver of messages.
pub trait MessageSink {
    /// Takes a message. It may stay in a buffer until [`flush`](Self::flush). `line` is the line that the server sent. Fails with
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) if nobody will read the message: then it is not acknowledged, but those before it are.
    fn message(&mut self, message: &MessageFrame<'_>, line: &str) -> io::Result<()>;

    /// Writes out the buffer. The messages taken so far are acknowledged afterwards, and do not come again.
    fn flush(&mut self) -> io::Result<()>;

    /// Waits until nobody reads what the sink takes.
    fn closed(&mut self) -> impl Future<Output = ()>;

    /// Learns that this many messages of a room are no longer replayed, and were not taken.
    fn missed(&mut self, room: &str, count: u64);

    /// Learns from which database the messages come that follow; `None`: the server is too old to say it.
    fn entered(&mut self, database: Option<DatabaseId>);

    /// Learns that all that waits is handed out, whatever its sequence numbers, and why.
    fn started_anew(&mut self, reason: &str);

    /// Learns that the server is slow, in words for a person.
    fn waiting(&mut self, reason: &str);

    /// Learns that the connection is lost, and why. Called once until there is a connection again.
    fn disconnected(&mut self, reason: &str);

    /// Learns that there is a connection again.
    fn reconnected(&mut self);
}

/// Error that ends [`tail`].
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// Reconnecting does not help.
    #[error(transparent)]
    Permanent(#[from] PermanentError),
    /// The sink did not take a message, which is not acknowledged then.
    #[error("cannot print the messages")]
    Write(#[source] io::Error),
}

/// Hands the messages of `range` to `sink`. Ends when all are handed out, or when nobody reads them any more.
pub async fn tail(account: Account, range: TailRange, sink: impl MessageSink) -> Result<(), TailError> {
    let TailRange { after: TailPosition { database, seq: taken }, count: remaining } = range;
    Tail { account, sink, database, taken, remaining, is_closed: false, backoff: RECONNECT }.run().await
}

/// State over all connections.
struct Tail<S> {
    account: Account,
    sink: S,
    /// Database of the messages that the sink took; `None`: it is not known.
    database: Option<DatabaseId>,
    /// Last message that the sink took, in this run or before it.
    taken: i64,
    /// Number of messages that are still wanted.
    remaining: Option<u64>,
    /// Whether nobody reads the messages any more.
    is_closed: bool,
    backoff: Backoff,
}

/// End of a connection before all messages were handed out.
enum TailStop {
    Lost(ConnectionLost),
    Error(TailError),
}

impl From<ConnectionError> for TailStop {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Lost(lost) => TailStop::Lost(lost),
            ConnectionError::Permanent(error) => TailStop::Error(error.into()),
        }
    }
}

impl From<io::Error> for TailStop {
    fn from(error: io::Error) -> Self {
        TailStop::Error(TailError::Write(error))
    }
}

impl<S: MessageSink> Tail<S> {
    async fn run(mut self) -> Result<(), TailError> {
        let mut is_disconnected = false;
        loop {
            match self.use_connection(&mut is_disconnected).await {
                Ok(()) => return Ok(()),
                Err(TailStop::Error(error)) => return Err(error),
                Err(TailStop::Lost(lost)) => {
                    if self.is_closed {
                        return Ok(());
                    }
                    if !mem::replace(&mut is_disconnected, true) {
                        self.sink.disconnected(&lost.to_string());
                    }
                    let Tail { backoff, sink, .. } = &mut self;
                    let delay = async {
                        sleep(backoff.next_delay()).await;
                        false
                    };
                    let closed = async {
                        sink.closed().await;
                        true
                    };
                    if future::or(delay, closed).await {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Uses a new connection until all messages are handed out. Fails if the connection ends before.
    async fn use_connection(&mut self, is_disconnected: &mut bool) -> Result<(), TailStop> {
        let (connection, welcome) = Connection::open(&self.account, |reason| self.sink.waiting(reason)).await?;
        if mem::take(is_disconnected) {
            self.sink.reconnected();
        }
        // Another database knows nothing of what was taken, so there is nothing left to acknowledge.
        let is_new_start = self.enter(welcome);
        if self.is_complete() && (is_new_start || welcome.waiting == 0) {
            return Ok(());
        }
        let mut session = TailSession { connection, to_acknowledge: None, awaits_pong: false, is_ending: false };
        loop {
            session.acknowledge(self.is_complete());
            if self.is_closed {
                session.end();
            }
            let limit = if session.awaits_pong { REPLY } else { SILENCE };
            let Some(event) = self.next_event(&mut session.connection, Instant::now() + limit).await? else {
                self.is_closed = true;
                continue;
            };
            match event {
                ConnectionEvent::Line(line) => {
                    if self.handle_lines(line, &mut session).await? {
                        return Ok(());
                    }
                }
                ConnectionEvent::Drained => {}
                ConnectionEvent::TimedOut if session.awaits_pong => return Err(session.connection.silent().into()),
                ConnectionEvent::TimedOut => session.ping(LIVENESS_PING),
            }
        }
    }

    /// Compares the server's database with that of the messages that were taken. Returns `true` if their numbers mean nothing in it: then all
    /// that waits is handed out.
    fn enter(&mut self, welcome: Welcome) -> bool {
        let Welcome { database, newest, .. } = welcome;
        let is_other = self.database.is_some_and(|known| Some(known) != database);
        let new_start = match self.taken {
            _ if is_other => Some(NewStart::OtherDatabase),
            seq if seq > newest => Some(NewStart::BeyondNewest { seq, newest }),
            _ => None,
        };
        if let Some(reason) = new_start {
            self.taken = 0;
            if !self.is_complete() {
                self.sink.started_anew(&reason.to_string());
            }
        }
        self.database = database;
        self.sink.entered(database);
        new_start.is_some()
    }

    /// Waits for the connection. Returns `None` once nobody reads the messages, the first time that this is so.
    async fn next_event(
        &mut self,
        connection: &mut Connection,
        deadline: Instant,
    ) -> Result<Option<ConnectionEvent>, ConnectionError> {
        if self.is_closed {
            return connection.next(Some(deadline)).await.map(Some);
        }
        let closed = async {
            self.sink.closed().await;
            Ok(None)
        };
        future::or(closed, async { connection.next(Some(deadline)).await.map(Some) }).await
    }

    /// Handles a line, and those that arrived with it: their messages are written together, and then acknowledged. Returns `true`
    /// once the server has stored the last acknowledgement.
    async fn handle_lines(&mut self, line: String, session: &mut TailSession) -> Result<bool, TailStop> {
        session.awaits_pong = false;
        let mut is_finished = false;
        let mut acknowledged = None;
        let mut lines = 1;
        let mut next = Some(line);
        while let Some(line) = next {
            match session.connection.parse(&line).map_err(ConnectionError::Permanent)? {
                ServerFrame::Message(message) => {
                    let is_taken = self.take(&message, &line)?;
                    acknowledged = if is_taken { Some(message.seq.min(self.taken)) } else { acknowledged };
                }
                ServerFrame::Pong { id } => {
                    self.backoff.reset();
                    is_finished |= id.as_deref() == Some(FINAL_PING);
                }
                ServerFrame::Error { error, .. } => return Err(session.connection.failed(error).into()),
                ServerFrame::Missed { room, count } => self.sink.missed(&room, count),
                // Announcements, and replies to requests that this client does not make.
                _ => {}
            }
            next = if lines < TAIL_ACK_MESSAGES_MAX { session.connection.buffered_line().await? } else { None };
            lines += 1;
        }
        if acknowledged.is_some() && self.unless_closed(|sink| sink.flush())? {
            self.backoff.reset();
            session.to_acknowledge = acknowledged;
        }
        Ok(is_finished)
    }

    /// Hands a message to the sink, unless the sink has it already or wants no more. Returns `false` if nobody will read it.
    fn take(&mut self, message: &MessageFrame<'_>, line: &str) -> io::Result<bool> {
        if message.seq <= self.taken || self.is_complete() {
            return Ok(!self.is_closed);
        }
        if self.is_closed || !self.unless_closed(|sink| sink.message(message, line))? {
            return Ok(false);
        }
        self.taken = message.seq;
        self.remaining = self.remaining.map(|remaining| remaining - 1);
        Ok(true)
    }

    /// Uses the sink. Returns `false` if nobody reads what it takes.
    fn unless_closed(&mut self, write: impl FnOnce(&mut S) -> io::Result<()>) -> io::Result<bool> {
        match write(&mut self.sink) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(false)
            }
            other => other.map(|()| true),
        }
    }

    fn is_complete(&self) -> bool {
        self.remaining == Some(0)
    }
}

/// A connection, and what must still be sent on it.
struct TailSession {
    connection: Connection,
    /// Last message that the sink took and that is not acknowledged yet.
    to_acknowledge: Option<i64>,
    /// Whether a ping has no reply yet.
    awaits_pong: bool,
    /// Whether the ping after the last acknowledgement was sent.
    is_ending: bool,
}

impl TailSession {
    /// Acknowledges what was taken. It waits until the system has taken the requests before: the next acknowledgement covers
    /// everything.
    fn acknowledge(&mut self, is_last: bool) {
        if !self.connection.is_drained() {
            return;
        }
        let Some(seq) = self.to_acknowledge.take() else { return };
        self.connection.queue(&RequestFrame::Ack { seq }.encode());
        if is_last {
            self.ping(FINAL_PING);
        }
    }

    /// Ends the session once the server has stored what was acknowledged.
    fn end(&mut self) {
        if self.to_acknowledge.is_none() && !mem::replace(&mut self.is_ending, true) {
            self.ping(FINAL_PING);
        }
    }

    fn ping(&mut self, id: &str) {
        self.connection.queue(&RequestFrame::Ping { id }.encode());
        self.awaits_pong = true;
    }
}

#[cfg(test)]
mod tests;
