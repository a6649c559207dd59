//! A sender that numbers its messages, and repeats those without a pong. Owns what is sent; the number of the attempt in
//! each message distinguishes repetitions by the sender from repetitions by the server.

use std::io::{self, ErrorKind};

use fastrand::Rng;

use super::connection::{Connection, Reach};

/// Maximum number of lines before a `/ping`.
const LINES_MAX: u32 = 60;

/// Pings in flight at a time.
const PINGS_MAX: usize = 4;

/// Messages of a run, which follow from the seed.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Possible recipients.
    pub(crate) receivers: [&'static str; 3],
}

/// Message, as it was sent, is stored, and was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Message {
    pub(crate) sender: &'static str,
    /// Number of the sender's connection.
    pub(crate) attempt: u32,
    /// Number of the sender's message; the same at each attempt.
    pub(crate) number: u32,
}

impl Plan {
    /// Recipients, as indices of the receivers.
    pub(crate) fn recipients(&self, message: Message) -> Vec<usize> {
        let chosen = self.rng(message).u32(1..8);
        (0..self.receivers.len()).filter(|receiver| chosen & (1 << receiver) != 0).collect()
    }

    /// Length of its text, including number and attempt. Some are much longer than the others.
    pub(crate) fn text_bytes(&self, message: Message) -> usize {
        let mut rng = self.rng(message);
        let most = if rng.u32(..50) == 0 { 8000 } else { 300 };
        24 + rng.usize(..most)
    }

    fn line(&self, message: Message) -> String {
        let to = Vec::from_iter(self.recipients(message).iter().map(|receiver| self.receivers[*receiver])).join(", ");
        let numbers = format!("{} {} ", message.number, message.attempt);
        let padding = "x".repeat(self.text_bytes(message) - numbers.len());
        format!("{to}: {numbers}{padding}\n")
    }

    /// Independent of the attempt: a repeated message is the same.
    fn rng(&self, message: Message) -> Rng {
        let sender = message.sender.bytes().fold(0, |name: u64, byte| name << 8 | u64::from(byte));
        Rng::with_seed(self.seed ^ sender.rotate_left(32) ^ u64::from(message.number))
    }
}

/// Connection of a sender: it began with the messages that had no pong before.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) sender: &'static str,
    /// Number of its first message.
    pub(crate) first: u32,
    /// Number before which messages had a pong.
    pub(crate) ponged: u32,
    /// Number before which messages may have been sent.
    pub(crate) sent: u32,
}

pub(crate) struct Sender<'t> {
    name: &'static str,
    plan: &'t Plan,
    reach: &'t Reach,
    rng: Rng,
    attempts: Vec<Attempt>,
}

impl<'t> Sender<'t> {
    pub(crate) fn new(name: &'static str, plan: &'t Plan, reach: &'t Reach, rng: Rng) -> Self {
        Sender { name, plan, reach, rng, attempts: Vec::new() }
    }

    /// Sends until it must stop and everything has a pong.
    pub(crate) fn run(mut self) -> Vec<Attempt> {
        while let Some((_, mut connection)) = self.reach.log_in(self.name, None) {
            let first = self.attempts.last().map_or(0, |attempt| attempt.ponged);
            self.attempts.push(Attempt { sender: self.name, first, ponged: first, sent: first });
            if self.talk(&mut connection).is_ok() {
                break;
            }
            if self.rng.bool() {
                connection.break_off();
            }
        }
        self.attempts
    }

    /// Sends and waits for pongs. Fails when the connection has ended, or must end.
    fn talk(&mut self, connection: &mut Connection) -> io::Result<()> {
        while !self.reach.is_writing_over() {
            let mut lines = String::new();
            let barriers = Vec::from_iter((0..self.rng.usize(1..=PINGS_MAX)).map(|_| self.write_lines(&mut lines)));
            connection.write(lines.as_bytes())?;
            if self.rng.u32(..60) == 0 {
                return Err(ErrorKind::Interrupted.into());
            }
            for barrier in barriers {
                wait_for_pong(connection, barrier)?;
                self.attempt().ponged = barrier;
            }
        }
        Ok(())
    }

    /// Appends the next messages, and a ping with the number that follows them.
    fn write_lines(&mut self, lines: &mut String) -> u32 {
        let attempt = self.attempts.len() as u32 - 1;
        let end = self.attempt().sent + self.rng.u32(1..=LINES_MAX);
        for number in self.attempt().sent..end {
            lines.push_str(&self.plan.line(Message { sender: self.name, attempt, number }));
        }
        lines.push_str(&format!("/ping {end}\n"));
        self.attempt().sent = end;
        end
    }

    fn attempt(&mut self) -> &mut Attempt {
        self.attempts.last_mut().expect("an attempt has begun")
    }
}

fn wait_for_pong(connection: &mut Connection, barrier: u32) -> io::Result<()> {
    let pong = format!("* pong {barrier}");
    loop {
        let line = connection.next_line()?;
        if line == pong {
            return Ok(());
        }
        let is_known = line.ends_with("kept for later") || line.contains("shutting down");
        assert!(is_known, "`{line}` came before the pong");
    }
}
