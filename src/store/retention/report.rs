//! Log lines about retention: removed messages, rarely enough to be read, messages that cannot be removed, and a database that cannot become
//! small enough. Owns their words and times; never decides what is removed.

use std::time::{Duration, Instant};

use super::oldest::OldMessage;
use crate::database::words::{counted, size};
use crate::limits::{RETENTION_HELD_S_MIN, RETENTION_REPORT_S_MIN};
use crate::message::{Seq, Timestamp};

/// Reason to remove a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Age,
    Size,
}

/// Summary of removed messages, of a step or since the last log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Removed {
    /// Messages that were too old.
    for_age: u64,
    /// Messages for which the database was too large.
    for_size: u64,
    /// Newest of them.
    last: Seq,
    /// Time at which that one was accepted.
    last_at: Timestamp,
    /// Bytes returned to the file system.
    given_back_bytes: u64,
}

impl Default for Removed {
    fn default() -> Self {
        Removed { for_age: 0, for_size: 0, last: Seq::ZERO, last_at: Timestamp::from_millis(0), given_back_bytes: 0 }
    }
}

impl Removed {
    /// Adds a message.
    pub(super) fn add(&mut self, message: &OldMessage, reason: Reason) {
        match reason {
            Reason::Age => self.for_age += 1,
            Reason::Size => self.for_size += 1,
        }
        self.reached(message.seq, message.at);
    }

    fn append(&mut self, later: Removed) {
        self.for_age += later.for_age;
        self.for_size += later.for_size;
        self.given_back_bytes += later.given_back_bytes;
        self.reached(later.last, later.last_at);
    }

    fn reached(&mut self, seq: Seq, at: Timestamp) {
        // A message that had waited is older than those removed before it.
        if seq > self.last {
            (self.last, self.last_at) = (seq, at);
        }
    }

    /// Adds bytes that were given back.
    pub(super) fn with_given_back(self, given_back_bytes: u64) -> Self {
        Removed { given_back_bytes, ..self }
    }

    /// Number of messages.
    pub(super) fn messages(&self) -> u64 {
        self.for_age + self.for_size
    }
}

/// Facts that are not logged yet.
#[derive(Debug)]
pub(super) struct Report {
    /// Messages removed since the last log line.
    removed: Removed,
    /// Bytes of the database in use, after the last step.
    used_bytes: u64,
    /// Messages that the last pass stepped over.
    waiting: u64,
    /// Names of the peers that hold back the most of them, with their numbers.
    holders: Vec<(String, u64)>,
    /// Time of the last log line about removed messages.
    logged_at: Option<Instant>,
    /// All messages that are left wait, and are too many.
    full: Episode,
    /// Messages that should be removed wait.
    held: Episode,
}

/// State that is logged once each time, if it lasts for a while.
#[derive(Debug, Default)]
struct Episode {
    since: Option<Instant>,
    /// Time of the log line; forgotten a while after the episode has ended.
    logged_at: Option<Instant>,
}

impl Episode {
    /// Notes whether the state holds. Returns whether the log will say so.
    fn note(&mut self, is_so: bool, now: Instant) -> bool {
        if is_so {
            self.since.get_or_insert(now);
        } else {
            self.since = None;
            self.logged_at = self.logged_at.filter(|logged| now < *logged + REPORT_MIN);
        }
        self.due_at().is_some()
    }

    fn due_at(&self) -> Option<Instant> {
        self.since.filter(|_| self.logged_at.is_none()).map(|since| since + EPISODE_MIN)
    }

    /// Whether the log line is due. Then it is logged now.
    fn take_due(&mut self, now: Instant) -> bool {
        let is_due = self.due_at().is_some_and(|due| due <= now);
        if is_due {
            self.logged_at = Some(now);
        }
        is_due
    }
}

impl Report {
    pub(super) fn new() -> Self {
        Report {
            removed: Removed::default(),
            used_bytes: 0,
            waiting: 0,
            holders: Vec::new(),
            logged_at: None,
            full: Episode::default(),
            held: Episode::default(),
        }
    }

    /// Adds the messages that a step removed, and the state that it left.
    pub(super) fn add(&mut self, removed: Removed, used_bytes: u64, waiting: u64) {
        self.removed.append(removed);
        self.used_bytes = used_bytes;
        self.waiting = waiting;
    }

    /// Notes whether all messages that are left wait, and are too many, and whether messages that should be removed wait. Returns whether the
    /// log will say so, so that it needs the names of those who hold them back.
    pub(super) fn note_waiting(&mut self, is_full: bool, is_held: bool, now: Instant) -> bool {
        self.full.note(is_full, now) | self.held.note(is_held, now)
    }

    /// Sets the names of the peers that hold back the most messages, with their numbers.
    pub(super) fn set_holders(&mut self, holders: Vec<(String, u64)>) {
        self.holders = holders;
    }

    /// Time of the next log line, if one is due.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let removed = self.logged_at.map(|logged| logged + REPORT_MIN).filter(|_| self.removed.messages() > 0);
        [removed, self.full.due_at(), self.held.due_at()].into_iter().flatten().min()
    }

    /// Logs what is due; removed messages only once no more are to be removed.
    pub(super) fn log_due(&mut self, is_done: bool, now: Instant) {
        if is_done && self.logged_at.is_none_or(|logged| logged + REPORT_MIN <= now) {
            self.log_removed(Some(now));
        }
        if self.full.take_due(now) {
            log::warn!("{}", self.full_message());
        }
        if self.held.take_due(now) {
            log::info!("{}", self.held_message());
        }
    }

    /// Logs the removed messages that are not logged yet.
    pub(super) fn log_rest(&mut self) {
        self.log_removed(None);
    }

    fn log_removed(&mut self, now: Option<Instant>) {
        if self.removed.messages() > 0 {
            log::info!("{}", self.removed_message());
            self.removed = Removed::default();
            self.logged_at = now;
        }
    }

    fn removed_message(&self) -> String {
        let Removed { for_age, for_size, last, last_at, given_back_bytes } = self.removed;
        let waiting = match self.waiting {
            0 => String::new(),
            1 => "; 1 waits for a recipient and stays".to_owned(),
            waiting => format!("; {waiting} wait for a recipient and stay"),
        };
        let given_back = match given_back_bytes {
            0 => String::new(),
            bytes => format!(", {} were returned to the file system", size(bytes)),
        };
        format!(
            "removed {}, up to seq {last} of {last_at}: {for_age} for max_age, {for_size} for max_size{waiting}; the database \
             uses {}{given_back}",
            counted(self.removed.messages(), "message"),
            size(self.used_bytes),
        )
    }

    fn full_message(&self) -> String {
        format!(
            "the database uses {}, nearly max_size or more, and cannot shrink: {} wait for a recipient{}; senders are refused, \
             the loudest first, until these peers log in, you raise max_size, or you lower room_waiting_max",
            size(self.used_bytes),
            counted(self.waiting, "message"),
            self.holders_in_words()
        )
    }

    fn held_message(&self) -> String {
        format!(
            "{} cannot be removed before delivery{}: let these peers log in, or, for messages of rooms, lower room_waiting_max",
            counted(self.waiting, "message"),
            self.holders_in_words()
        )
    }

    fn holders_in_words(&self) -> String {
        let holders = Vec::from_iter(self.holders.iter().map(|(name, messages)| format!("{messages} for {name}")));
        if holders.is_empty() { String::new() } else { format!(" ({})", holders.join(", ")) }
    }
}

const REPORT_MIN: Duration = Duration::from_secs(RETENTION_REPORT_S_MIN);
const EPISODE_MIN: Duration = Duration::from_secs(RETENTION_HELD_S_MIN);
