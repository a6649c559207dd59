//! What the log says of the retention: what was removed, seldom enough to be read, and when it can do no more. Owns these
//! words and when they are said; never what is removed.

use std::time::{Duration, Instant};

use super::oldest::OldMessage;
use crate::database::words::{counted, size};
use crate::limits::{RETENTION_FULL_S_MIN, RETENTION_REPORT_S_MIN};
use crate::message::{Seq, Timestamp};

/// Why a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Age,
    Size,
}

/// What was removed, in a step or since it was last said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Removed {
    /// Messages that were too old.
    for_age: u64,
    /// Messages for which there was no room.
    for_size: u64,
    /// The newest of them.
    last: Seq,
    /// When that was accepted.
    last_at: Timestamp,
    /// Bytes given back to the file system.
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

/// What is to be said.
#[derive(Debug)]
pub(super) struct Report {
    /// Since it was last said.
    removed: Removed,
    /// Bytes of the database in use, after the last step.
    used_bytes: u64,
    /// Messages that the last pass stepped over.
    waiting: u64,
    /// When it was last said what was removed.
    said_at: Option<Instant>,
    /// Since when all that is left waits, and is too much.
    full_since: Option<Instant>,
    /// When that was said; forgotten a while after there is room again.
    said_full_at: Option<Instant>,
}

impl Report {
    pub(super) fn new() -> Self {
        Report {
            removed: Removed::default(),
            used_bytes: 0,
            waiting: 0,
            said_at: None,
            full_since: None,
            said_full_at: None,
        }
    }

    /// Adds what a step removed, and what it left.
    pub(super) fn add(&mut self, removed: Removed, used_bytes: u64, waiting: u64) {
        self.removed.append(removed);
        self.used_bytes = used_bytes;
        self.waiting = waiting;
    }

    /// Notes whether all that is left waits, and is too much.
    pub(super) fn full(&mut self, is_full: bool, now: Instant) {
        if is_full {
            self.full_since.get_or_insert(now);
        } else {
            self.full_since = None;
            self.said_full_at = self.said_full_at.filter(|said| now < *said + REPORT_MIN);
        }
    }

    /// When something is to be said that is not said yet.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let removed = self.said_at.map(|said| said + REPORT_MIN).filter(|_| self.removed.messages() > 0);
        removed.into_iter().chain(self.full_due_at()).min()
    }

    fn full_due_at(&self) -> Option<Instant> {
        self.full_since.filter(|_| self.said_full_at.is_none()).map(|since| since + FULL_MIN)
    }

    /// Says what is due: what was removed only once nothing more is to be removed.
    pub(super) fn say(&mut self, is_done: bool, now: Instant) {
        if is_done && self.said_at.is_none_or(|said| said + REPORT_MIN <= now) {
            self.say_removed(Some(now));
        }
        if self.full_due_at().is_some_and(|due| due <= now) {
            log::warn!("{}", self.full_words());
            self.said_full_at = Some(now);
        }
    }

    /// Says what was removed and not said yet.
    pub(super) fn say_rest(&mut self) {
        self.say_removed(None);
    }

    fn say_removed(&mut self, now: Option<Instant>) {
        if self.removed.messages() > 0 {
            log::info!("{}", self.removed_words());
            self.removed = Removed::default();
            self.said_at = now;
        }
    }

    fn removed_words(&self) -> String {
        let Removed { for_age, for_size, last, last_at, given_back_bytes } = self.removed;
        let waiting = match self.waiting {
            0 => String::new(),
            1 => "; 1 waits for someone and is kept".to_owned(),
            waiting => format!("; {waiting} wait for someone and are kept"),
        };
        let given_back = match given_back_bytes {
            0 => String::new(),
            bytes => format!(", {} were given back to the file system", size(bytes)),
        };
        format!(
            "removed {}, up to seq {last} of {last_at}: {for_age} for max_age, {for_size} for max_size{waiting}; the database \
             uses {}{given_back}",
            counted(self.removed.messages(), "message"),
            size(self.used_bytes),
        )
    }

    fn full_words(&self) -> String {
        format!(
            "the database uses {}, which is more than max_size, and cannot be smaller: {} wait for someone and are kept; it \
             grows until they are taken",
            size(self.used_bytes),
            counted(self.waiting, "message")
        )
    }
}

const REPORT_MIN: Duration = Duration::from_secs(RETENTION_REPORT_S_MIN);
const FULL_MIN: Duration = Duration::from_secs(RETENTION_FULL_S_MIN);
