//! Retention: messages that are too old, or for which there is too little room, are removed from the oldest on, a short
//! step at a time, and their pages are given back. Owns which messages go, and when; never removes one that waits for
//! anyone, and never reads a text.
//!
//! The sweep walks up the log in the order of `seq`. It stops at the first message that may stay: so a time only says how
//! old a message is, and one that a wrong clock put into the future holds back the rest rather than being passed. A
//! message that waits is stepped over. It is looked at again in the next pass, which begins at the oldest message once a
//! cursor has moved.

mod oldest;
mod report;

use std::time::{Duration, Instant};

use rusqlite::Connection;

use self::oldest::{OldMessage, Oldest, Pages, Run};
use self::report::{Reason, Removed, Report};
use super::TurnOutcome;
use super::log::{Log, Synchronous};
use crate::config::Retention;
use crate::limits::{
    FREE_PAGES_MAX, FREE_PAGES_MIN, RETENTION_CHECK_S_MAX, RETENTION_CHECK_S_MIN, RETENTION_MESSAGES_PER_MESSAGE,
    RETENTION_PASS_MS_MIN, RETENTION_PASS_US_PER_WAITING, RETENTION_PAUSE_MS, RETENTION_RETRY_S, RETENTION_STEP_MS,
};
use crate::message::{Seq, Timestamp};
use crate::store::Entry;

/// Bytes of the database that a message takes besides its text, about; its size is measured as soon as these have added up.
const MESSAGE_BYTES: u64 = 24;

/// Bytes that it takes for each recipient, about.
const RECIPIENT_BYTES: u64 = 16;

/// The retention of a running server.
pub(super) struct Sweep<'c> {
    retention: Retention,
    oldest: Oldest<'c>,
    walk: Walk,
    /// When this pass began.
    began: Instant,
    /// A cursor has moved since a message was stepped over: it may wait no more.
    is_stale: bool,
    /// There are more free pages than the file is to keep.
    is_giving_back: bool,
    /// The last step has left something to do: the next is due then, or after the next turn.
    goes_on_at: Option<Instant>,
    /// The next message may be too old then.
    looks_at: Option<Instant>,
    /// The last step has failed: the next is due then.
    retries_at: Option<Instant>,
    report: Report,
}

/// How far up the log a pass got. This is in memory only: after a start it begins at the oldest message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Walk {
    /// Everything up to here is removed or was stepped over.
    position: Seq,
    /// How many were stepped over, as they waited.
    stepped_over: u64,
}

impl Walk {
    const BEGIN: Walk = Walk { position: Seq::ZERO, stepped_over: 0 };
}

/// What a turn means to the retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TurnDone {
    /// Messages that it appended.
    messages: usize,
    /// Whether something may wait no more: it kept a cursor, which may have moved, or somebody left a room.
    may_end_waits: bool,
}

impl From<&TurnOutcome> for TurnDone {
    fn from(outcome: &TurnOutcome) -> Self {
        let may_end_waits = |entry: &Entry| matches!(entry, Entry::Peer(_) | Entry::Leave { .. });
        TurnDone {
            messages: (outcome.newest.get() - outcome.before.get()) as usize,
            may_end_waits: outcome.commit.is_ok() && outcome.entries.iter().any(may_end_waits),
        }
    }
}

/// What the clocks say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    /// How old messages are.
    pub(super) clock: Timestamp,
    /// When steps are due.
    pub(super) instant: Instant,
}

impl Clocks {
    pub(super) fn now() -> Self {
        Clocks { clock: Timestamp::now(), instant: Instant::now() }
    }
}

/// Why there is a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trigger {
    /// A turn has appended so many messages, and the next one may be waiting.
    Turn(usize),
    /// It is time, and no turn is waiting.
    Time,
}

/// Why a walk stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The next message may stay; it is as old as this.
    Young(Timestamp),
    /// There is no other message.
    End,
    /// The next message is to go, and the index does not hold it yet.
    Unindexed,
    /// The step was long enough.
    Pause,
}

impl<'c> Sweep<'c> {
    pub(super) fn new(connection: &'c Connection, retention: Retention, now: Clocks) -> Self {
        let oldest = Oldest::new(connection).expect("statements fit the schema that was just checked");
        Sweep {
            retention,
            oldest,
            walk: Walk::BEGIN,
            began: now.instant,
            is_stale: false,
            is_giving_back: false,
            goes_on_at: (!keeps_everything(retention)).then_some(now.instant),
            looks_at: None,
            retries_at: None,
            report: Report::new(),
        }
    }

    /// When the next step is due though no turn comes; not at all if there is nothing to wait for.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let next_pass = self.is_stale.then(|| self.next_pass_at());
        let report = if self.goes_on_at.is_none() { self.report.due_at() } else { None };
        let due = [self.goes_on_at, self.looks_at, next_pass, report];
        self.retries_at.or_else(|| due.into_iter().flatten().min())
    }

    /// Takes the step that a turn calls for: the more it appended, the longer, so that a flood does not outrun it.
    pub(super) fn after_turn(&mut self, log: &mut Log<'_>, turn: TurnDone, now: Clocks) {
        if keeps_everything(self.retention) {
            return;
        }
        self.is_stale |= turn.may_end_waits && self.walk.stepped_over > 0;
        if turn.messages > 0 && self.looks_at.is_none() {
            // The next message there is.
            self.looks_at = self.look_at(now.clock, now);
        }
        if turn.messages > 0 || self.goes_on_at.is_some() {
            self.step(log, Trigger::Turn(turn.messages), now);
        }
    }

    /// Takes the step that is due.
    pub(super) fn on_time(&mut self, log: &mut Log<'_>, now: Clocks) {
        self.step(log, Trigger::Time, now);
        self.report.say(self.goes_on_at.is_none(), now.instant);
    }

    /// Says what is not said yet.
    pub(super) fn close(mut self) {
        self.report.say_rest();
    }

    fn step(&mut self, log: &mut Log<'_>, trigger: Trigger, now: Clocks) {
        if self.retries_at.is_some_and(|retry| now.instant < retry) {
            return;
        }
        match self.try_step(log, trigger, now) {
            Ok(()) => self.retries_at = None,
            Err(error) => self.put_off(log, &error, now),
        }
    }

    fn put_off(&mut self, log: &mut Log<'_>, error: &rusqlite::Error, now: Clocks) {
        // Even a commit that is not synced begins a new write-ahead log with a sync.
        log.wal().note_failure(error);
        if self.retries_at.is_none() {
            log::warn!("old messages cannot be removed now, which is tried again until it works: {error}");
        }
        self.retries_at = Some(now.instant + Duration::from_secs(RETENTION_RETRY_S));
    }

    fn try_step(&mut self, log: &mut Log<'_>, trigger: Trigger, now: Clocks) -> rusqlite::Result<()> {
        let is_new_pass = self.begin_anew(now);
        let pages = self.oldest.pages()?;
        if !is_new_pass && !self.has_to_do(pages, now) {
            return Ok(());
        }
        let (mut stop, mut pages) = self.remove(log, trigger, now.clock)?;
        if stop == Stop::Unindexed {
            log.catch_up(|| self.oldest.begin())?;
            (stop, pages) = self.remove(log, trigger, now.clock)?;
        }
        self.finish_giving_back(log, pages, trigger);
        self.plan(stop, pages, now);
        Ok(())
    }

    /// Removes what is to go, in one transaction. Says why it stopped, and how the file is filled then.
    fn remove(&mut self, log: &mut Log<'_>, trigger: Trigger, clock: Timestamp) -> rusqlite::Result<(Stop, Pages)> {
        // If the power takes it, it is done again.
        log.set_synchronous(Synchronous::Normal)?;
        let transaction = self.oldest.begin()?;
        let mut walk = self.walk;
        let mut removed = Removed::default();
        let stop = self.walk_up(&mut walk, &mut removed, trigger, clock, log)?;
        if stop != Stop::Pause {
            removed.given_back_bytes = self.give_back()?;
        }
        let pages = self.oldest.pages()?;
        transaction.commit()?;
        self.walk = walk;
        self.report.add(removed, pages.used_bytes(), walk.stepped_over);
        Ok((stop, pages))
    }

    fn has_to_do(&self, pages: Pages, now: Clocks) -> bool {
        self.goes_on_at.is_some()
            || self.looks_at.is_some_and(|look| look <= now.instant)
            || self.over_bytes(pages) > 0
            || pages.free > spare_pages(pages)
    }

    /// Begins the next pass, if there is a reason and it is time.
    fn begin_anew(&mut self, now: Clocks) -> bool {
        let is_due = self.is_stale && self.next_pass_at() <= now.instant;
        if is_due {
            self.walk = Walk::BEGIN;
            self.began = now.instant;
            self.is_stale = false;
        }
        is_due
    }

    /// The more messages were stepped over, the longer they are left alone.
    fn next_pass_at(&self) -> Instant {
        let rest = Duration::from_micros(self.walk.stepped_over.saturating_mul(RETENTION_PASS_US_PER_WAITING));
        self.began + rest.max(Duration::from_millis(RETENTION_PASS_MS_MIN))
    }

    fn walk_up(
        &mut self,
        walk: &mut Walk,
        removed: &mut Removed,
        trigger: Trigger,
        clock: Timestamp,
        log: &mut Log<'_>,
    ) -> rusqlite::Result<Stop> {
        let started = Instant::now();
        let mut left = match trigger {
            Trigger::Turn(messages) => RETENTION_MESSAGES_PER_MESSAGE * messages,
            Trigger::Time => 0,
        };
        loop {
            let (looked_at, stop) = self.walk_chunk(walk, removed, clock, log)?;
            if let Some(stop) = stop {
                return Ok(stop);
            }
            left = left.saturating_sub(looked_at);
            if left == 0 && started.elapsed() >= Duration::from_millis(RETENTION_STEP_MS) {
                return Ok(Stop::Pause);
            }
        }
    }

    /// Walks as far as one look at the size carries. Says how many messages that were, and why it goes no further, if so.
    fn walk_chunk(
        &mut self,
        walk: &mut Walk,
        removed: &mut Removed,
        clock: Timestamp,
        log: &mut Log<'_>,
    ) -> rusqlite::Result<(usize, Option<Stop>)> {
        let pages = self.oldest.pages()?;
        let over_bytes = self.over_bytes(pages);
        let mut over_bytes_left = over_bytes;
        let messages = self.oldest.after(walk.position)?;
        let mut stop = messages.is_empty().then_some(Stop::End);
        let mut looked_at = 0;
        let mut runs = Runs::default();
        for message in messages {
            let Some(reason) = reason(self.retention, &message, over_bytes_left, clock) else {
                // Where the size was the reason, it is measured again first.
                stop = (over_bytes_left == over_bytes).then_some(Stop::Young(message.at));
                break;
            };
            if message.seq > log.indexed() {
                stop = Some(Stop::Unindexed);
                break;
            }
            walk.position = message.seq;
            looked_at += 1;
            if self.oldest.waits(&message)? {
                walk.stepped_over += 1;
                runs.end();
            } else {
                over_bytes_left = over_bytes_left.saturating_sub(bytes(&message));
                removed.add(&message, reason);
                runs.add(message);
            }
        }
        for run in runs.runs {
            log.forget_words(run.first, run.last)?;
            self.oldest.remove(run)?;
        }
        Ok((looked_at, stop))
    }

    fn over_bytes(&self, pages: Pages) -> u64 {
        self.retention.max_size_bytes.map_or(0, |max_size_bytes| pages.used_bytes().saturating_sub(max_size_bytes))
    }

    /// Gives back a few pages, if there are more free ones than the file is to keep. Says how many bytes that were.
    fn give_back(&mut self) -> rusqlite::Result<u64> {
        let before = self.oldest.pages()?;
        self.is_giving_back |= before.free > spare_pages(before);
        if self.is_giving_back {
            self.oldest.give_back()?;
        }
        Ok(before.total_bytes() - self.oldest.pages()?.total_bytes())
    }

    /// It ends with half of the spare pages, so that a few more do not make it begin again. The file itself gets smaller
    /// with the next checkpoint; a turn may make one too, and no turn is to wait for two.
    fn finish_giving_back(&mut self, log: &mut Log<'_>, pages: Pages, trigger: Trigger) {
        if !self.is_giving_back || pages.free > spare_pages(pages) / 2 {
            return;
        }
        self.is_giving_back = false;
        if trigger == Trigger::Time {
            log.wal().checkpoint();
        }
    }

    fn plan(&mut self, stop: Stop, pages: Pages, now: Clocks) {
        let goes_on = stop == Stop::Pause || self.is_giving_back;
        self.goes_on_at = goes_on.then(|| Instant::now() + Duration::from_millis(RETENTION_PAUSE_MS));
        self.looks_at = match stop {
            Stop::Young(at) => self.look_at(at, now),
            Stop::End | Stop::Pause | Stop::Unindexed => None,
        };
        let is_full = stop == Stop::End && self.over_bytes(pages) > 0;
        self.report.full(is_full && self.walk.stepped_over > 0, now.instant);
        self.report.say(!goes_on, now.instant);
    }

    /// When a message that was accepted at a time is looked at again.
    fn look_at(&self, at: Timestamp, now: Clocks) -> Option<Instant> {
        self.retention.max_age.map(|max_age| now.instant + look_in(max_age, at, now.clock))
    }
}

fn keeps_everything(retention: Retention) -> bool {
    retention == Retention::default()
}

/// Why a message is to go, if it is.
fn reason(retention: Retention, message: &OldMessage, over_bytes: u64, clock: Timestamp) -> Option<Reason> {
    let age_ms = clock.millis().saturating_sub(message.at.millis());
    let is_too_old = retention.max_age.is_some_and(|max_age| age_ms >= millis(max_age));
    match (is_too_old, over_bytes) {
        (true, _) => Some(Reason::Age),
        (false, 1..) => Some(Reason::Size),
        (false, 0) => None,
    }
}

/// How long to wait until a message that was accepted at this time is too old.
fn look_in(max_age: Duration, at: Timestamp, clock: Timestamp) -> Duration {
    let left_ms = at.millis().saturating_add(millis(max_age)).saturating_sub(clock.millis());
    let (min, max) = (Duration::from_secs(RETENTION_CHECK_S_MIN), Duration::from_secs(RETENTION_CHECK_S_MAX));
    Duration::from_millis(left_ms.max(0).cast_unsigned()).clamp(min, max)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What a message takes of the database, about.
fn bytes(message: &OldMessage) -> u64 {
    MESSAGE_BYTES + message.text_bytes + RECIPIENT_BYTES * message.recipients.len() as u64
}

/// Free pages that the file may keep.
fn spare_pages(pages: Pages) -> u64 {
    (pages.used / 8).clamp(FREE_PAGES_MIN, FREE_PAGES_MAX)
}

/// Messages to remove, those that stand together in one run.
#[derive(Debug, Default)]
struct Runs {
    runs: Vec<Run>,
    /// The next message belongs to the last run: none between them stays.
    goes_on: bool,
}

impl Runs {
    fn add(&mut self, message: OldMessage) {
        let OldMessage { seq, recipients, .. } = message;
        match self.runs.last_mut().filter(|_| self.goes_on) {
            Some(run) => {
                run.last = seq;
                run.messages += 1;
                run.recipients.extend(recipients);
            }
            None => self.runs.push(Run { first: seq, last: seq, messages: 1, recipients }),
        }
        self.goes_on = true;
    }

    /// A message stays: what comes after it is another run.
    fn end(&mut self) {
        self.goes_on = false;
    }
}

#[cfg(test)]
mod tests;
