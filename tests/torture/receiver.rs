//! A receiver that connects and disconnects, and records what it read in each visit. Owns its habits; never judges what
//! it read.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use fastrand::Rng;

use super::SENDERS;
use super::connection::{Connection, Reach};
use super::sender::Message;

/// Bytes that the system should hold for a rude receiver; Linux takes twice as many, and as many for its own books.
const HELD_BYTES: usize = 16 * 1024;

/// Way in which a receiver leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habits {
    /// Reads everything that was written to it.
    Polite,
    /// Breaks off in the middle: bytes that its system holds then are not read.
    Rude,
}

/// Connection of a receiver.
#[derive(Debug, Default)]
pub(crate) struct Visit {
    /// Number of the server's life that it connected to.
    pub(crate) life: u32,
    /// Messages read, with the lengths of their texts.
    pub(crate) read: Vec<(Message, usize)>,
    /// Whether its system had received more than was read.
    pub(crate) broke_off: bool,
}

pub(crate) struct Receiver<'t> {
    name: &'static str,
    habits: Habits,
    reach: &'t Reach,
    rng: Rng,
}

impl<'t> Receiver<'t> {
    pub(crate) fn new(name: &'static str, habits: Habits, reach: &'t Reach, rng: Rng) -> Self {
        Receiver { name, habits, reach, rng }
    }

    /// Connects and disconnects until it must stop.
    pub(crate) fn run(mut self) -> Vec<Visit> {
        let held_bytes = (self.habits == Habits::Rude).then_some(HELD_BYTES);
        let mut visits = Vec::new();
        while let Some((life, connection)) = self.reach.log_in(self.name, held_bytes) {
            let mut visit = Visit { life, ..Visit::default() };
            self.visit(connection, &mut visit);
            visits.push(visit);
        }
        visits
    }

    fn visit(&mut self, mut connection: Connection, visit: &mut Visit) {
        let leaves_at = self.rng.usize(..2000);
        let stalls_at = self.rng.usize(..2000);
        let pace = Duration::from_micros(self.rng.choice([0, 0, 100]).expect("there are several paces"));
        while visit.read.len() < leaves_at && !self.reach.is_reading_over() {
            match connection.line_within_a_tick() {
                Ok(Some(line)) => visit.read.extend(message(&line)),
                Ok(None) => {}
                Err(_) => return,
            }
            // A receiver that stalls or reads slowly is the subject.
            if visit.read.len() == stalls_at {
                thread::sleep(Duration::from_millis(self.rng.u64(..60)));
            }
            thread::sleep(pace);
        }
        self.leave(connection, visit);
    }

    fn leave(&mut self, mut connection: Connection, visit: &mut Visit) {
        if self.habits == Habits::Rude && self.rng.u32(..3) > 0 {
            visit.broke_off = true;
            connection.break_off();
        } else if self.rng.bool() {
            connection.end_input();
            read_to_the_end(&mut connection, visit);
        } else if connection.write(b"/quit\n").is_ok() {
            read_to_the_end(&mut connection, visit);
        }
    }
}

/// Reads everything that is left.
pub(crate) fn last_visit(name: &str, address: SocketAddr, life: u32) -> Visit {
    let mut visit = Visit { life, ..Visit::default() };
    let mut connection = Connection::log_in(name, address, None).expect("the server lives");
    connection.end_input();
    read_to_the_end(&mut connection, &mut visit);
    visit
}

fn read_to_the_end(connection: &mut Connection, visit: &mut Visit) {
    while let Ok(line) = connection.next_line() {
        visit.read.extend(message(&line));
    }
}

/// Message in a delivered line. `None` for a notice.
fn message(line: &str) -> Option<(Message, usize)> {
    if line.starts_with("* ") {
        return None;
    }
    let parts = line.strip_prefix("from ").and_then(|line| line.split_once(": "));
    let (sender, text) = parts.unwrap_or_else(|| panic!("a receiver read `{line}`"));
    Some((parse(sender, text), text.len()))
}

/// Parses the message that a text names.
pub(crate) fn parse(sender: &str, text: &str) -> Message {
    let mut words = text.split(' ');
    let mut number = || words.next()?.parse().ok();
    let parsed = SENDERS.into_iter().find(|name| *name == sender).zip(number()).zip(number());
    let ((sender, number), attempt) = parsed.unwrap_or_else(|| panic!("no message of ours: `{sender}: {text}`"));
    Message { sender, attempt, number }
}
