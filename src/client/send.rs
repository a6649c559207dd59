//! Sends lines so that the server accepts each exactly once. Many are in flight at a time; after a lost connection, those without a
//! reply are sent again, in order, with the same ids. Owns when to connect, to repeat and to give up; never prints.

mod window;

use std::fmt;
use std::time::{Duration, Instant};

use smol::future;

use super::account::Account;
use super::connection::{Connection, ConnectionEvent};
use super::error::{ConnectionError, ConnectionLost, PermanentError, RECONNECT, REPLY};
use super::input::{InputLine, LineSource};
use super::outgoing::IdPrefix;
use crate::timeout::{Elapsed, sleep, timeout_at};
use crate::wire::{ErrorFrame, ServerFrame};

use self::window::Window;

/// Lines to send, and how.
pub struct SendJob {
    /// Beginning of the lines' ids.
    pub ids: IdPrefix,
    /// Time without a reply to any line after which the job is given up.
    pub give_up_after: Duration,
    /// Source of the lines.
    pub input: LineSource,
}

/// Counts of a job that was not given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Accepted lines.
    pub accepted: u64,
    /// Lines that failed. Each was reported.
    pub failed: u64,
}

/// Reason why a job was given up, and what is left of it. Errors of single lines are reported line by line instead.
#[derive(Debug, thiserror::Error)]
#[error("{reason}; {remaining}")]
pub struct SendError {
    reason: GiveUpReason,
    remaining: Remaining,
}

/// Reason why a job was given up.
#[derive(Debug, thiserror::Error)]
enum GiveUpReason {
    #[error(transparent)]
    Permanent(Box<PermanentError>),
    /// No line got a reply for too long.
    #[error("gave up after {seconds} s: {cause}")]
    Timeout {
        /// Time without a reply.
        seconds: u64,
        /// End of the last connection.
        cause: String,
    },
}

/// Rest of a job that was given up.
#[derive(Debug)]
struct Remaining {
    accepted: u64,
    /// Numbers of the first and the last line without a reply.
    lines: Option<(u64, u64)>,
    /// Whether lines may follow that were not read.
    has_more: bool,
    ids: IdPrefix,
}

impl fmt::Display for Remaining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.accepted {
            1 => write!(f, "1 line was accepted")?,
            lines => write!(f, "{lines} lines were accepted")?,
        }
        match self.lines {
            Some((first, last)) if first == last => write!(f, ", line {first} got no reply")?,
            Some((first, last)) => write!(f, ", lines {first} to {last} got no reply")?,
            None => {}
        }
        if self.has_more {
            f.write_str(", the rest of the input was not sent")?;
        }
        write!(f, "; run it again with --id={} and the same input: no line is sent twice", self.ids)
    }
}

/// Sends all lines of a job. Calls `report` with the number and the error of each line that the server does not accept.
pub async fn send(account: Account, job: SendJob, report: impl FnMut(u64, &ErrorFrame)) -> Result<Summary, SendError> {
    let SendJob { ids, give_up_after, input } = job;
    let mut run = SendRun {
        account,
        ids,
        give_up_after,
        input,
        is_input_ended: false,
        window: Window::new(),
        last_progress: Instant::now(),
        summary: Summary::default(),
        report,
    };
    match run.run().await {
        Ok(()) => Ok(run.summary),
        Err(reason) => Err(SendError { reason, remaining: run.remaining() }),
    }
}

/// State of a job.
struct SendRun<R> {
    account: Account,
    ids: IdPrefix,
    give_up_after: Duration,
    input: LineSource,
    /// Whether the input has no further line.
    is_input_ended: bool,
    window: Window,
    /// Time of the last reply to a line, or of the first line of the window.
    last_progress: Instant,
    summary: Summary,
    report: R,
}

impl<R: FnMut(u64, &ErrorFrame)> SendRun<R> {
    /// Uses one connection after another, and connects only when there is a line to send.
    async fn run(&mut self) -> Result<(), GiveUpReason> {
        let mut backoff = RECONNECT;
        while self.wait_for_line().await {
            let last_progress = self.last_progress;
            let lost = match self.use_connection().await {
                Ok(()) => return Ok(()),
                Err(ConnectionError::Permanent(error)) => return Err(GiveUpReason::Permanent(error.into())),
                Err(ConnectionError::Lost(lost)) => lost,
            };
            self.window.rewind();
            if self.last_progress > last_progress {
                backoff.reset();
            }
            if !self.window.is_empty() {
                self.wait_to_reconnect(backoff.next_delay(), &lost).await?;
            }
        }
        Ok(())
    }

    /// Waits until a line is in the window. Returns `false` at the end of the input.
    async fn wait_for_line(&mut self) -> bool {
        while self.window.is_empty() && !self.is_input_ended {
            let line = self.input.0.recv().await.ok();
            self.add_line(line);
        }
        !self.window.is_empty()
    }

    /// Sends lines over a new connection until all are accepted. Fails if the connection ends before.
    async fn use_connection(&mut self) -> Result<(), ConnectionError> {
        let (mut connection, _) = match timeout_at(self.give_up_at(), Connection::open(&self.account)).await {
            Ok(opened) => opened?,
            Err(Elapsed) => return Err(ConnectionLost::Silent(self.account.server.clone()).into()),
        };
        let mut last_read = Instant::now();
        loop {
            while let Some(request) = self.window.next_to_write() {
                connection.queue(request);
            }
            if self.window.is_empty() && self.is_input_ended {
                return Ok(());
            }
            match self.next_event(&mut connection, last_read).await? {
                SendEvent::Connection(ConnectionEvent::Line(line)) => {
                    last_read = Instant::now();
                    let frame = connection.parse(&line)?;
                    self.handle_frame(frame, &connection)?;
                }
                SendEvent::Connection(ConnectionEvent::Drained) => {}
                SendEvent::Connection(ConnectionEvent::TimedOut) => return Err(connection.silent()),
                SendEvent::Input(line) => {
                    if self.window.is_empty() {
                        last_read = Instant::now();
                    }
                    self.add_line(line);
                }
            }
        }
    }

    /// Waits for the connection or the input. While replies are due, the connection has a deadline.
    async fn next_event(&self, connection: &mut Connection, last_read: Instant) -> Result<SendEvent, ConnectionError> {
        let deadline = (!self.window.is_empty()).then(|| self.give_up_at().min(last_read + REPLY));
        let input = async { Ok(SendEvent::Input(self.next_line().await)) };
        future::or(async { connection.next(deadline).await.map(SendEvent::Connection) }, input).await
    }

    /// Waits for the next line of the input while the window has room. Returns `None` at the end of the input.
    async fn next_line(&self) -> Option<InputLine> {
        if self.is_input_ended || !self.window.has_room() {
            future::pending().await
        } else {
            self.input.0.recv().await.ok()
        }
    }

    /// Adds a line of the input to the window; `None` is the end of the input.
    fn add_line(&mut self, line: Option<InputLine>) {
        let Some(InputLine { number, message }) = line else {
            self.is_input_ended = true;
            return;
        };
        match message {
            Ok(message) => {
                if self.window.is_empty() {
                    self.last_progress = Instant::now();
                }
                self.window.push(number, message.encode(&self.ids.id(number)));
            }
            Err(error) => self.fail(number, &error),
        }
    }

    fn handle_frame(&mut self, frame: ServerFrame<'_>, connection: &Connection) -> Result<(), ConnectionError> {
        match frame {
            ServerFrame::Accepted { id, .. } => {
                let finished = id.and_then(|id| self.finish_line(&id));
                self.summary.accepted += u64::from(finished.is_some());
            }
            ServerFrame::Error { id: Some(id), error } if !error.is_passing() => {
                if let Some(number) = self.finish_line(&id) {
                    self.fail(number, &error);
                }
            }
            ServerFrame::Error { error, .. } => return Err(connection.failed(error)),
            // Messages to the name are for another client: they are not acknowledged, and stay in the log.
            _ => {}
        }
        Ok(())
    }

    /// Removes the line with this id, which has its reply, and returns its number.
    fn finish_line(&mut self, id: &str) -> Option<u64> {
        let number = self.ids.number(id).filter(|number| self.window.remove(*number))?;
        self.last_progress = Instant::now();
        Some(number)
    }

    fn fail(&mut self, number: u64, error: &ErrorFrame) {
        self.summary.failed += 1;
        (self.report)(number, error);
    }

    /// Waits before the next connection. Fails if the job is given up before.
    async fn wait_to_reconnect(&self, delay: Duration, lost: &ConnectionLost) -> Result<(), GiveUpReason> {
        if timeout_at(self.give_up_at(), sleep(delay)).await.is_ok() {
            return Ok(());
        }
        Err(GiveUpReason::Timeout { seconds: self.give_up_after.as_secs(), cause: lost.to_string() })
    }

    fn give_up_at(&self) -> Instant {
        self.last_progress + self.give_up_after
    }

    fn remaining(&self) -> Remaining {
        Remaining {
            accepted: self.summary.accepted,
            lines: self.window.span(),
            has_more: !(self.is_input_ended || self.input.0.is_closed() && self.input.0.is_empty()),
            ids: self.ids.clone(),
        }
    }
}

/// Event that [`SendRun`] waits for.
enum SendEvent {
    Connection(ConnectionEvent),
    /// A line of the input, or its end.
    Input(Option<InputLine>),
}

#[cfg(test)]
mod tests;
