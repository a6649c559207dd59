//! Hands out what arrives, each message once, and acknowledges it when it was taken. Owns when to connect again and what was
//! handed out already; never knows how a message looks.

use std::io;
use std::mem;
use std::time::{Duration, Instant};

use super::account::Account;
use super::connection::{Connection, Event};
use super::ended::{ANSWER, Ended, Lost, RECONNECT, Refused};
use super::wire::{Answer, Message, Request};
use crate::backoff::Backoff;
use crate::limits::{TAIL_ACK_MESSAGES_MAX, TAIL_SILENCE_S_MAX};
use crate::timeout::sleep;

/// After how long without a word the server is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(TAIL_SILENCE_S_MAX);

/// The ping that asks whether the server is there.
const ARE_YOU_THERE: &str = "there";

/// The ping behind the last acknowledgement.
const IS_IT_KEPT: &str = "kept";

/// Which messages are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Those behind this place in the log; up to there all is known already.
    pub after: i64,
    /// This many; all that ever come, without it.
    pub count: Option<u64>,
}

/// Where messages go.
pub trait Sink {
    /// Takes a message, which may stay in a buffer; `line` is how it came.
    fn message(&mut self, message: &Message, line: &str) -> io::Result<()>;

    /// Hands on all that is in the buffer. What was taken so is acknowledged, and does not come again.
    fn flush(&mut self) -> io::Result<()>;

    /// Hears, once, that there is no connection and why.
    fn lost(&mut self, why: &str);

    /// Hears that there is a connection again.
    fn back(&mut self);
}

/// Why it ends.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The server does not want us.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A message was not taken, and is not acknowledged.
    #[error("the messages cannot be written")]
    Write(#[source] io::Error),
}

/// Hands out messages until there were as many as wanted, or the sink takes no more.
pub async fn tail(account: Account, range: Range, sink: impl Sink) -> Result<(), TailError> {
    let taken = range.after;
    Tail { account, sink, taken, left: range.count, backoff: RECONNECT }.run().await
}

struct Tail<S> {
    account: Account,
    sink: S,
    /// The last message that the sink took, in this run or before it.
    taken: i64,
    /// How many are wanted more.
    left: Option<u64>,
    backoff: Backoff,
}

/// How a session ends before there were as many as wanted.
enum Stopped {
    Lost(Lost),
    Error(TailError),
}

impl From<Ended> for Stopped {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Lost(lost) => Stopped::Lost(lost),
            Ended::Refused(refused) => Stopped::Error(refused.into()),
        }
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Stopped::Error(TailError::Write(error))
    }
}

impl<S: Sink> Tail<S> {
    async fn run(mut self) -> Result<(), TailError> {
        let mut is_lost = false;
        loop {
            match self.session(&mut is_lost).await {
                Ok(()) => return Ok(()),
                Err(Stopped::Error(error)) => return Err(error),
                Err(Stopped::Lost(lost)) => {
                    if !is_lost {
                        is_lost = true;
                        self.sink.lost(&lost.to_string());
                    }
                    sleep(self.backoff.next_delay()).await;
                }
            }
        }
    }

    /// Uses a connection until all is done, or it ends.
    async fn session(&mut self, is_lost: &mut bool) -> Result<(), Stopped> {
        let (connection, waiting) = Connection::open(&self.account).await?;
        if mem::take(is_lost) {
            self.sink.back();
        }
        if self.is_done() && waiting == 0 {
            return Ok(());
        }
        let mut session = Session { connection, due: None, is_asked: false };
        loop {
            session.acknowledge(self.is_done());
            let patience = if session.is_asked { ANSWER } else { SILENCE };
            match session.connection.next(Some(Instant::now() + patience)).await? {
                Event::Line(line) => {
                    if self.hear(line, &mut session)? {
                        return Ok(());
                    }
                }
                Event::Drained => {}
                Event::TimedOut if session.is_asked => return Err(session.connection.silent().into()),
                Event::TimedOut => session.ask(ARE_YOU_THERE),
            }
        }
    }

    /// Deals with a line and those that came with it: what they bring is written together, and then acknowledged. Whether the
    /// last acknowledgement is kept, and all is done.
    fn hear(&mut self, line: String, session: &mut Session) -> Result<bool, Stopped> {
        session.is_asked = false;
        let mut is_kept = false;
        let mut reached = None;
        let mut lines = 1;
        let mut next = Some(line);
        while let Some(line) = next {
            match session.connection.understand(&line).map_err(Ended::Refused)? {
                Answer::Message(message) => {
                    self.take(&message, &line)?;
                    reached = Some(message.seq.min(self.taken));
                }
                Answer::Pong { id } => {
                    self.backoff.reset();
                    is_kept |= id.as_deref() == Some(IS_IT_KEPT);
                }
                Answer::Error { refusal, .. } => return Err(session.connection.refused(refusal).into()),
                Answer::Welcome { .. } | Answer::Accepted { .. } | Answer::Unknown => {}
            }
            next = if lines < TAIL_ACK_MESSAGES_MAX { session.connection.take_line()? } else { None };
            lines += 1;
        }
        if reached.is_some() {
            self.sink.flush()?;
            self.backoff.reset();
            session.due = reached;
        }
        Ok(is_kept)
    }

    /// Hands on a message that was not before, and is still wanted.
    fn take(&mut self, message: &Message, line: &str) -> io::Result<()> {
        if message.seq <= self.taken || self.is_done() {
            return Ok(());
        }
        self.sink.message(message, line)?;
        self.taken = message.seq;
        self.left = self.left.map(|left| left - 1);
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.left == Some(0)
    }
}

/// One connection and what is still to be said on it.
struct Session {
    connection: Connection,
    /// Up to here everything was taken, and that is not said yet.
    due: Option<i64>,
    /// Whether an answer is waited for.
    is_asked: bool,
}

impl Session {
    /// Says up to where all was taken. While the system has not taken what was said before, nothing is added: the next
    /// acknowledgement is for all.
    fn acknowledge(&mut self, is_last: bool) {
        if !self.connection.is_drained() {
            return;
        }
        let Some(seq) = self.due.take() else { return };
        self.connection.queue(&Request::Ack { seq }.encode());
        if is_last {
            self.ask(IS_IT_KEPT);
        }
    }

    fn ask(&mut self, id: &str) {
        self.connection.queue(&Request::Ping { id }.encode());
        self.is_asked = true;
    }
}

#[cfg(test)]
mod tests;
