//! Sends lines and sees to it that each is accepted exactly once: many are on their way at once, and after a lost connection
//! those without an answer go out again, in order, with the same ids. Owns when to connect, to repeat and to give up; never
//! prints.

mod compose;
mod window;

use std::fmt;
use std::time::{Duration, Instant};

use smol::future;

use super::account::Account;
use super::connection::{Connection, Event};
use super::ended::{ANSWER, Ended, Lost, RECONNECT, Refused};
use super::input::{Input, Line};
use super::wire::{Answer, Refusal};
use crate::timeout::{Elapsed, sleep, timeout_at};

use self::window::Window;

pub use self::compose::{Addressing, IdPrefix, NoPrefix};

/// What is to be sent.
pub struct SendJob {
    /// To whom.
    pub addressing: Addressing,
    /// How the ids of the lines begin.
    pub ids: IdPrefix,
    /// How long no line may get an answer before it is given up.
    pub patience: Duration,
    /// The lines.
    pub input: Input,
}

/// What became of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lines that are accepted.
    pub accepted: u64,
    /// Lines that are not; each was told.
    pub failed: u64,
}

/// Why not all was sent, besides what was told of single lines.
#[derive(Debug, thiserror::Error)]
#[error("{why}; {open}")]
pub struct SendError {
    /// What ended it.
    why: Why,
    /// What was left.
    open: Open,
}

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error(transparent)]
    Refused(Box<Refused>),
    #[error(transparent)]
    GaveUp(GaveUp),
}

/// No line got an answer for too long.
#[derive(Debug, thiserror::Error)]
#[error("given up after {seconds} s: {trouble}")]
pub struct GaveUp {
    /// For how long.
    seconds: u64,
    /// The last of what stood in the way.
    trouble: String,
}

/// What is left when it is given up.
#[derive(Debug)]
struct Open {
    accepted: u64,
    /// The first and the last line that have no answer.
    lines: Option<(u64, u64)>,
    /// Whether there may be lines that were not looked at.
    is_more: bool,
    ids: IdPrefix,
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.accepted {
            1 => write!(f, "1 line was accepted")?,
            lines => write!(f, "{lines} lines were accepted")?,
        }
        match self.lines {
            Some((first, last)) if first == last => write!(f, ", without an answer is line {first}")?,
            Some((first, last)) => write!(f, ", without an answer are lines {first} to {last}")?,
            None => {}
        }
        if self.is_more {
            f.write_str(", what follows was not sent")?;
        }
        write!(f, "; the same once more with --id={} sends nothing twice", self.ids)
    }
}

/// Sends all of it; `tell` hears of each line that was not accepted, by its number.
pub async fn send(account: Account, job: SendJob, tell: impl FnMut(u64, &Refusal)) -> Result<Summary, SendError> {
    let SendJob { addressing, ids, patience, input } = job;
    let window = Window::new();
    let progress = Instant::now();
    let summary = Summary::default();
    let mut sender =
        Sender { account, addressing, ids, patience, input, is_ended: false, window, progress, summary, tell };
    match sender.run().await {
        Ok(()) => Ok(sender.summary),
        Err(why) => Err(SendError { why, open: sender.open() }),
    }
}

struct Sender<T> {
    account: Account,
    addressing: Addressing,
    ids: IdPrefix,
    patience: Duration,
    input: Input,
    /// Whether the input has no line more.
    is_ended: bool,
    window: Window,
    /// When a line last got an answer, or the first of those in the window came.
    progress: Instant,
    summary: Summary,
    tell: T,
}

impl<T: FnMut(u64, &Refusal)> Sender<T> {
    /// One connection after another, each made when there is something to say.
    async fn run(&mut self) -> Result<(), Why> {
        let mut backoff = RECONNECT;
        while self.has_work().await {
            let progress = self.progress;
            let lost = match self.session().await {
                Ok(()) => return Ok(()),
                Err(Ended::Refused(refused)) => return Err(Why::Refused(refused.into())),
                Err(Ended::Lost(lost)) => lost,
            };
            self.window.rewind();
            if self.progress > progress {
                backoff.reset();
            }
            if !self.window.is_empty() {
                self.rest(backoff.next_delay(), &lost).await?;
            }
        }
        Ok(())
    }

    /// Waits until a line is to be sent; whether there is one.
    async fn has_work(&mut self) -> bool {
        while self.window.is_empty() && !self.is_ended {
            let line = self.input.0.recv().await.ok();
            self.take(line);
        }
        !self.window.is_empty()
    }

    /// Uses a connection until all is accepted, or the connection ends.
    async fn session(&mut self) -> Result<(), Ended> {
        let (mut connection, _) = match timeout_at(self.give_up_at(), Connection::open(&self.account)).await {
            Ok(opened) => opened?,
            Err(Elapsed) => return Err(Lost::Silent(self.account.server.clone()).into()),
        };
        let mut heard = Instant::now();
        loop {
            while let Some(request) = self.window.next_to_write() {
                connection.queue(request);
            }
            if self.window.is_empty() && self.is_ended {
                return Ok(());
            }
            let until = (!self.window.is_empty()).then(|| self.give_up_at().min(heard + ANSWER));
            let input = async { Happened::Line(self.next_line().await) };
            let happened = future::or(async { Happened::Event(connection.next(until).await) }, input).await;
            match happened {
                Happened::Event(event) => match event? {
                    Event::Line(line) => {
                        heard = Instant::now();
                        let answer = connection.understand(&line)?;
                        self.hear(answer, &connection)?;
                    }
                    Event::Drained => {}
                    Event::TimedOut => return Err(connection.silent()),
                },
                Happened::Line(line) => {
                    if self.window.is_empty() {
                        heard = Instant::now();
                    }
                    self.take(line);
                }
            }
        }
    }

    /// The next line of the input, once there is room for it; none at its end.
    async fn next_line(&self) -> Option<Line> {
        if self.is_ended || !self.window.has_room() { future::pending().await } else { self.input.0.recv().await.ok() }
    }

    fn take(&mut self, line: Option<Line>) {
        let Some(Line { number, text }) = line else {
            self.is_ended = true;
            return;
        };
        match text.and_then(|text| self.addressing.compose(&self.ids.id(number), &text)) {
            Ok(request) => {
                if self.window.is_empty() {
                    self.progress = Instant::now();
                }
                self.window.push(number, request);
            }
            Err(refusal) => self.fail(number, &refusal),
        }
    }

    fn hear(&mut self, answer: Answer, connection: &Connection) -> Result<(), Ended> {
        match answer {
            Answer::Accepted { id } => {
                if self.answered(&id).is_some() {
                    self.summary.accepted += 1;
                }
            }
            Answer::Error { id: Some(id), refusal } if !refusal.is_passing() => {
                if let Some(number) = self.answered(&id) {
                    self.fail(number, &refusal);
                }
            }
            Answer::Error { refusal, .. } => return Err(connection.refused(refusal)),
            // What waits for the name is for whoever reads it: it is not acknowledged, and stays.
            Answer::Message(_) | Answer::Welcome { .. } | Answer::Pong { .. } | Answer::Unknown => {}
        }
        Ok(())
    }

    /// The line of this id, which has its answer now.
    fn answered(&mut self, id: &str) -> Option<u64> {
        let number = self.ids.number(id).filter(|number| self.window.remove(*number))?;
        self.progress = Instant::now();
        Some(number)
    }

    fn fail(&mut self, number: u64, refusal: &Refusal) {
        self.summary.failed += 1;
        (self.tell)(number, refusal);
    }

    /// Waits before the next connection, unless there is no time left for it.
    async fn rest(&self, delay: Duration, lost: &Lost) -> Result<(), Why> {
        if timeout_at(self.give_up_at(), sleep(delay)).await.is_ok() {
            return Ok(());
        }
        Err(Why::GaveUp(GaveUp { seconds: self.patience.as_secs(), trouble: lost.to_string() }))
    }

    fn give_up_at(&self) -> Instant {
        self.progress + self.patience
    }

    fn open(&self) -> Open {
        Open {
            accepted: self.summary.accepted,
            lines: self.window.span(),
            is_more: !(self.is_ended || self.input.0.is_closed() && self.input.0.is_empty()),
            ids: self.ids.clone(),
        }
    }
}

/// What a session waits for.
enum Happened {
    /// Something on the connection.
    Event(Result<Event, Ended>),
    /// A line of the input, or its end.
    Line(Option<Line>),
}

#[cfg(test)]
mod tests;
