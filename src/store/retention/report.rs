//! Log lines about retention: removed messages, rarely enough to be read, and a database that cannot become small enough. Owns their words
//! and times; never decides what is removed.

use std::time::{Duration, Instant};

use super::oldest::OldMessage;
use crate::database::words::{counted, size};
use crate::limits::{RETENTION_FULL_S_MIN, RETENTION_REPORT_S_MIN};
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
    /// Time since which all messages that are left wait, and are too many.
    full_since: Option<Instant>,
    /// Time at which that was logged; forgotten a while after there is room again.
    logged_full_at: Option<Instant>,
}

impl Report {
    pub(super) fn new() -> Self {
        Report {
            removed: Removed::default(),
            used_bytes: 0,
            waiting: 0,
            holders: Vec::new(),
            logged_at: None,
            full_since: None,
            logged_full_at: None,
        }
    }

    /// Adds the messages that a step removed, and the state that it left.
    pub(super) fn add(&mut self, removed: Removed, used_bytes: u64, waiting: u64) {
        self.removed.append(removed);
        self.used_bytes = used_bytes;
        self.waiting = waiting;
    }

    /// Notes whether all messages that are left wait, and are too many. Returns whether the log will say so, so that it needs the names of
    /// those who hold them back.
    pub(super) fn full(&mut self, is_full: bool, now: Instant) -> bool {
        if is_full {
            self.full_since.get_or_insert(now);
        } else {
            self.full_since = None;
            self.logged_full_at = self.logged_full_at.filter(|logged| now < *logged + REPORT_MIN);
        }
        self.full_due_at().is_some()
    }

    /// Sets the names of the peers that hold back the most messages, with their numbers.
    pub(super) fn set_holders(&mut self, holders: Vec<(String, u64)>) {
        self.holders = holders;
    }

    /// Time of the next log line, if one is due.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let removed = self.logged_at.map(|logged| logged + REPORT_MIN).filter(|_| self.removed.messages() > 0);
        removed.into_iter().chain(self.full_due_at()).min()
    }

    fn full_due_at(&self) -> Option<Instant> {
        self.full_since.filter(|_| self.logged_full_at.is_none()).map(|since| since + FULL_MIN)
    }

    /// Logs what is due; removed messages only once no more are to be removed.
    pub(super) fn log_due(&mut self, is_done: bool, now: Instant) {
        if is_done && self.logged_at.is_none_or(|logged| logged + REPORT_MIN <= now) {
            self.log_removed(Some(now));
        }
        if self.full_due_at().is_some_and(|due| due <= now) {
            log::warn!("{}", self.full_message());
            self.logged_full_at = Some(now);
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
        let holders = self.holders.iter().map(|(name, messages)| format!("{messages} for {name}"));
        let holders = match &*holders.collect::<Vec<_>>() {
            [] => String::new(),
            holders => format!(" ({})", holders.join(", ")),
        };
        format!(
            "the database uses {}, nearly max_size or more, and cannot shrink: {} wait for a recipient{holders}; senders are refused, \
             the loudest first, until these peers log in, you raise max_size, or you lower room_waiting_max",
            size(self.used_bytes),
            counted(self.waiting, "message")
        )
    }
}

const REPORT_MIN: Duration = Duration::from_secs(RETENTION_REPORT_S_MIN);
const FULL_MIN: Duration = Duration::from_secs(RETENTION_FULL_S_MIN);
