//! Sends lines so that the server accepts each exactly once. Many are in flight at a time; after a lost connection, those without a
//! reply are sent again, in order, with the same ids. Owns when to connect, to repeat and to give up; never prints.

mod window;

use std::fmt;
use std::time::{Duration, Instant};

use smol::future;

use super::account::Account;
use super::connection::{Connection, ConnectionEvent, ReplyWait, Welcome};
use super::error::{ConnectionError, ConnectionLost, PermanentError, RECONNECT};
use super::input::{InputLine, LineSource};
use super::outgoing::IdPrefix;
use crate::message::DatabaseId;
use crate::timeout::{Elapsed, sleep, timeout_at};
use crate::wire::{ErrorFrame, ServerFrame};

use self::window::Window;

/// Lines to send, and how.
pub struct SendJob {
    /// Time without a reply to any line after which the job is given up; `None`: never.
    pub give_up_after: Option<Duration>,
    /// Way to send the rest of a job that was given up.
    pub resumption: Resumption,
    /// Source of the lines.
    pub input: LineSource,
}

/// Way to send the rest of a job that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// The same input, with the same prefix.
    Ids(IdPrefix),
    /// Same queue, in which the rest stays.
    Queue,
}

/// Outcome of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineOutcome<'a> {
    /// The message of the line is on the server's disk.
    Accepted,
    /// The line cannot be sent, or the server refused it.
    Failed(&'a ErrorFrame),
}

/// Reason why the outcome of a line could not be noted.
pub type ReportError = Box<dyn std::error::Error + Send + Sync>;

/// Receiver of what happens to the lines of a job.
pub trait SendReport {
    /// Takes the outcome of the line with this number. An error ends the job.
    fn outcome(&mut self, number: u64, outcome: LineOutcome<'_>) -> Result<(), ReportError>;

    /// Learns that the server is slow, in words for a person. Called once for each wait.
    fn waiting(&mut self, _reason: &str) {}

    /// Learns that the server cannot be reached, and why. Called once until there is a connection again.
    fn disconnected(&mut self, _reason: &str) {}

    /// Learns that there is a connection again.
    fn reconnected(&mut self) {}

    /// Learns that the server has another database now, which may lack this number of lines that were accepted.
    fn database_replaced(&mut self, _accepted: u64) {}
}

impl<F: FnMut(u64, LineOutcome<'_>) -> Result<(), ReportError>> SendReport for F {
    fn outcome(&mut self, number: u64, outcome: LineOutcome<'_>) -> Result<(), ReportError> {
        self(number, outcome)
    }
}

/// Counts of a job that was not given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Accepted lines.
    pub accepted: u64,
    /// Lines that failed. Each was reported.
    pub failed: u64,
    /// Accepted lines that the server may lack, because it has another database now.
    pub uncertain: u64,
}

/// Reason why a job was given up, and what is left of it. Errors of single lines are reported line by line instead.
#[derive(Debug, thiserror::Error)]
#[error("{reason}; {remaining}")]
pub struct SendError {
    reason: GiveUpReason,
    remaining: Box<Remaining>,
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
    /// The outcome of a line could not be noted.
    #[error(transparent)]
    Report(#[from] ReportError),
}

/// Rest of a job that was given up.
#[derive(Debug)]
struct Remaining {
    accepted: u64,
    /// Numbers of the first and the last line without a reply.
    lines: Option<(u64, u64)>,
    /// Whether lines may follow that were not read.
    has_more: bool,
    resumption: Resumption,
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
        match &self.resumption {
            Resumption::Ids(ids) => {
                write!(f, "; run it again with --id={ids} and the same input: no line is sent twice")
            }
            Resumption::Queue => f.write_str("; the rest stays in the queue: run it again"),
        }
    }
}

/// Sends all lines of a job, and reports the outcome of each.
pub async fn send(account: Account, job: SendJob, report: impl SendReport) -> Result<Summary, SendError> {
    let SendJob { give_up_after, resumption, input } = job;
    let mut run = SendRun {
        account,
        give_up_after,
        resumption,
        input,
        is_input_ended: false,
        is_disconnected: false,
        database: None,
        window: Window::new(),
        last_progress: Instant::now(),
        summary: Summary::default(),
        report,
    };
    match run.run().await {
        Ok(()) => Ok(run.summary),
        Err(reason) => Err(SendError { reason, remaining: run.remaining().into() }),
    }
}

/// State of a job.
struct SendRun<R> {
    account: Account,
    give_up_after: Option<Duration>,
    resumption: Resumption,
    input: LineSource,
    /// Whether the input has no further line.
    is_input_ended: bool,
    /// Whether the last connection was lost, or could not be made.
    is_disconnected: bool,
    /// Database of the server, once it is known.
    database: Option<DatabaseId>,
    window: Window,
    /// Time of the last reply to a line, or of the first line of the window.
    last_progress: Instant,
    summary: Summary,
    report: R,
}

impl<R: SendReport> SendRun<R> {
    /// Uses one connection after another, and connects only when there is a line to send.
    async fn run(&mut self) -> Result<(), GiveUpReason> {
        let mut backoff = RECONNECT;
        while self.wait_for_line().await? {
            let last_progress = self.last_progress;
            let lost = match self.use_connection().await {
                Ok(()) => return Ok(()),
                Err(SendStop::Connection(ConnectionError::Lost(lost))) => lost,
                Err(SendStop::Connection(ConnectionError::Permanent(error))) => {
                    return Err(GiveUpReason::Permanent(error.into()));
                }
                Err(SendStop::Report(error)) => return Err(error.into()),
            };
            self.window.rewind();
            if self.last_progress > last_progress {
                backoff.reset();
            }
            if !std::mem::replace(&mut self.is_disconnected, true) {
                self.report.disconnected(&lost.to_string());
            }
            if !self.window.is_empty() {
                self.wait_to_reconnect(backoff.next_delay(), &lost).await?;
            }
        }
        Ok(())
    }

    /// Waits until a line is in the window. Returns `false` at the end of the input.
    async fn wait_for_line(&mut self) -> Result<bool, ReportError> {
        while self.window.is_empty() && !self.is_input_ended {
            let line = self.input.0.recv().await.ok();
            self.add_line(line)?;
        }
        Ok(!self.window.is_empty())
    }

    /// Sends lines over a new connection until all are accepted. Fails if the connection ends before.
    async fn use_connection(&mut self) -> Result<(), SendStop> {
        let (mut connection, welcome) = self.connect().await?;
        if std::mem::take(&mut self.is_disconnected) {
            self.report.reconnected();
        }
        self.compare_database(welcome.database);
        let mut wait = ReplyWait::new();
        loop {
            while let Some(request) = self.window.next_to_write() {
                connection.queue(request);
            }
            if self.window.is_empty() && self.is_input_ended {
                return Ok(());
            }
            match self.next_event(&mut connection, &wait).await? {
                SendEvent::Connection(ConnectionEvent::Line(line)) => {
                    wait = ReplyWait::new();
                    let frame = connection.parse(&line).map_err(ConnectionError::from)?;
                    self.handle_frame(frame, &connection)?;
                }
                SendEvent::Connection(ConnectionEvent::Drained) => {}
                SendEvent::Connection(ConnectionEvent::TimedOut) if self.must_give_up() => {
                    return Err(connection.silent().into());
                }
                SendEvent::Connection(ConnectionEvent::TimedOut) => {
                    wait.continue_if_alive(&connection, |reason| self.report.waiting(reason))?;
                }
                SendEvent::Input(line) => {
                    if self.window.is_empty() {
                        wait = ReplyWait::new();
                    }
                    self.add_line(line)?;
                }
            }
        }
    }

    async fn connect(&mut self) -> Result<(Connection, Welcome), ConnectionError> {
        let give_up_at = self.give_up_at();
        let opened = Connection::open(&self.account, |reason| self.report.waiting(reason));
        match timeout_at(give_up_at, opened).await {
            Ok(opened) => opened,
            Err(Elapsed) => Err(ConnectionLost::Silent(self.account.server.clone()).into()),
        }
    }

    /// Compares the server's database with the one that accepted lines before. Ids of another database mean nothing: lines without a reply are
    /// sent in any case, and those with a reply may be missing.
    fn compare_database(&mut self, database: Option<DatabaseId>) {
        let is_other = self.database.is_some_and(|known| Some(known) != database);
        let Summary { accepted, uncertain, .. } = self.summary;
        if is_other && accepted > uncertain {
            self.summary.uncertain = accepted;
            self.report.database_replaced(accepted);
        }
        self.database = database;
    }

    /// Waits for the connection or the input. While replies are due, the connection has a deadline.
    async fn next_event(&self, connection: &mut Connection, wait: &ReplyWait) -> Result<SendEvent, ConnectionError> {
        let reply = wait.deadline();
        let deadline = (!self.window.is_empty()).then(|| self.give_up_at().map_or(reply, |give_up| give_up.min(reply)));
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
    fn add_line(&mut self, line: Option<InputLine>) -> Result<(), ReportError> {
        let Some(InputLine { number, id, message }) = line else {
            self.is_input_ended = true;
            return Ok(());
        };
        match message {
            Ok(message) => {
                if self.window.is_empty() {
                    self.last_progress = Instant::now();
                }
                let request = message.encode(&id);
                self.window.push(number, id, request);
                Ok(())
            }
            Err(error) => self.fail(number, &error),
        }
    }

    fn handle_frame(&mut self, frame: ServerFrame<'_>, connection: &Connection) -> Result<(), SendStop> {
        match frame {
            ServerFrame::Accepted { id, .. } => {
                if let Some(number) = id.and_then(|id| self.finish_line(&id)) {
                    self.summary.accepted += 1;
                    self.report.outcome(number, LineOutcome::Accepted)?;
                }
            }
            ServerFrame::Error { id: Some(id), error } if !error.is_passing() => {
                if let Some(number) = self.finish_line(&id) {
                    self.fail(number, &error)?;
                }
            }
            ServerFrame::Error { error, .. } => return Err(connection.failed(error).into()),
            // Messages to the name are for another client: they are not acknowledged, and stay in the log.
            _ => {}
        }
        Ok(())
    }

    /// Removes the line with this id, which has its reply, and returns its number.
    fn finish_line(&mut self, id: &str) -> Option<u64> {
        let number = self.window.remove(id)?;
        self.last_progress = Instant::now();
        Some(number)
    }

    fn fail(&mut self, number: u64, error: &ErrorFrame) -> Result<(), ReportError> {
        self.summary.failed += 1;
        self.report.outcome(number, LineOutcome::Failed(error))
    }

    /// Waits before the next connection. Fails if the job is given up before.
    async fn wait_to_reconnect(&self, delay: Duration, lost: &ConnectionLost) -> Result<(), GiveUpReason> {
        if timeout_at(self.give_up_at(), sleep(delay)).await.is_ok() {
            return Ok(());
        }
        let seconds = self.give_up_after.map_or(0, |after| after.as_secs());
        Err(GiveUpReason::Timeout { seconds, cause: lost.to_string() })
    }

    fn must_give_up(&self) -> bool {
        self.give_up_at().is_some_and(|give_up| give_up <= Instant::now())
    }

    fn give_up_at(&self) -> Option<Instant> {
        self.give_up_after.map(|after| self.last_progress + after)
    }

    fn remaining(&self) -> Remaining {
        Remaining {
            accepted: self.summary.accepted,
            lines: self.window.span(),
            has_more: !(self.is_input_ended || self.input.0.is_closed() && self.input.0.is_empty()),
            resumption: self.resumption.clone(),
        }
    }
}

/// End of a connection before all lines had their reply.
enum SendStop {
    Connection(ConnectionError),
    /// The outcome of a line could not be noted.
    Report(ReportError),
}

impl From<ConnectionError> for SendStop {
    fn from(error: ConnectionError) -> Self {
        SendStop::Connection(error)
    }
}

impl From<ReportError> for SendStop {
    fn from(error: ReportError) -> Self {
        SendStop::Report(error)
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
