//! Retention: finds the oldest messages that are too old, or for which there is too little room, and proposes to the broker to remove
//! them; gives free pages back to the file system. Owns which messages are proposed, and when; never removes a message itself, and never
//! proposes one that waits for a peer.
//!
//! A pass scans the log from the oldest message on, in the order of `seq`, in short steps. It stops at the first message that may stay:
//! a time only says how old a message is, and a message that a wrong clock dated into the future holds back the rest. A message that
//! waits is stepped over, and scanned again in the next pass, which begins at the oldest message once a cursor has moved.
//!
//! One proposal is in flight at a time. The broker makes it a turn of its own with `Entry::Remove`; the scan continues after that turn.

mod age_clock;
mod holders;
mod oldest;
mod report;
mod scan;

use std::fmt::Display;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use self::age_clock::AgeClock;
pub(super) use self::age_clock::Clocks;
use self::holders::Holders;
use self::oldest::{Oldest, Pages};
use self::report::{Removed, Report};
use self::scan::{Proposal, ScanBounds, Stop, Walk};
use super::log::{Log, Synchronous};
use super::{Entry, Headroom, SeqRange, TurnOutcome};
use crate::config::Retention;
use crate::limits::{
    FREE_PAGES_MAX, FREE_PAGES_MIN, HEADROOM_PARTS, RETENTION_CHECK_S_MAX, RETENTION_CHECK_S_MIN, RETENTION_CHUNK_ROWS,
    RETENTION_MESSAGES_PER_MESSAGE, RETENTION_PASS_MS_MIN, RETENTION_PASS_US_PER_WAITING, RETENTION_PAUSE_MS,
    RETENTION_RETRY_S, RETENTION_STEP_MESSAGES_MAX, RETENTION_STEP_MS,
};
use crate::message::Timestamp;

/// Retention of a running server.
pub(super) struct Sweep<'c> {
    retention: Retention,
    headroom: Headroom,
    /// Peers for whom the messages wait that this pass stepped over.
    holders: Holders,
    oldest: Oldest<'c>,
    age_clock: AgeClock<'c>,
    walk: Walk,
    /// Time at which this pass began.
    began: Instant,
    /// Whether a cursor has moved since a message was stepped over, so that the message may no longer wait.
    is_stale: bool,
    /// Whether free pages are given back until half of the spare pages are left.
    is_giving_back: bool,
    /// Messages appended since the last step.
    appended: usize,
    /// Proposal that is not applied yet.
    proposed: Option<Proposal>,
    /// Messages of one proposal; adapted so that their removal takes about [`RETENTION_STEP_MS`].
    proposed_max: usize,
    /// Time of the next step, as the last one left something to do. A turn may come first.
    continues_at: Option<Instant>,
    /// Time at which the next message may be too old.
    scans_at: Option<Instant>,
    /// Time of the next attempt after a failure.
    retries_at: Option<Instant>,
    /// Whether a failure was logged, and nothing has succeeded since.
    is_failing: bool,
    report: Report,
}

/// Summary of a turn, for retention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TurnSummary {
    /// Messages that the turn appended.
    messages: usize,
    /// Whether messages may no longer wait: a record with a cursor was stored, a peer left a room or was removed, or a floor was raised.
    may_end_waits: bool,
    /// Outcome of the removal in the turn, if there was one.
    removal: Option<Result<(), String>>,
}

impl From<&TurnOutcome> for TurnSummary {
    fn from(outcome: &TurnOutcome) -> Self {
        let may_end_waits = |entry: &Entry| {
            matches!(entry, Entry::Peer(_) | Entry::Leave { .. } | Entry::Floor { .. } | Entry::BeginPurge { .. })
        };
        let is_removal = |entry: &Entry| matches!(entry, Entry::Remove { .. });
        let result = || outcome.commit.as_ref().copied().map_err(ToString::to_string);
        TurnSummary {
            messages: (outcome.newest.get() - outcome.before.get()) as usize,
            may_end_waits: outcome.commit.is_ok() && outcome.entries.iter().any(may_end_waits),
            removal: outcome.entries.iter().any(is_removal).then(result),
        }
    }
}

/// Reason for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trigger {
    /// A turn ended, and the next one may be waiting.
    Turn,
    /// A step was due, and no turn is waiting.
    Time,
}

impl<'c> Sweep<'c> {
    pub(super) fn new(connection: &'c Connection, retention: Retention, headroom: Headroom, now: Clocks) -> Self {
        let fits = "statements fit the schema that was just checked";
        Sweep {
            retention,
            headroom,
            holders: Holders::default(),
            oldest: Oldest::new(connection).expect(fits),
            age_clock: AgeClock::new(connection, now).expect(fits),
            walk: Walk::BEGIN,
            began: now.instant,
            is_stale: false,
            is_giving_back: false,
            appended: 0,
            proposed: None,
            proposed_max: RETENTION_CHUNK_ROWS,
            continues_at: (!keeps_everything(retention)).then_some(now.instant),
            scans_at: None,
            retries_at: None,
            is_failing: false,
            report: Report::new(),
        }
    }

    /// Time of the next step if no turn comes; `None` if there is nothing to wait for.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        if self.proposed.is_some() {
            return None;
        }
        let next_pass = self.is_stale.then(|| self.next_pass_at());
        let report = if self.continues_at.is_none() { self.report.due_at() } else { None };
        let due = [self.continues_at, self.scans_at, next_pass, report];
        self.retries_at.or_else(|| due.into_iter().flatten().min())
    }

    /// Takes the step that a turn calls for. Returns messages to remove, if there are any. The more messages were appended, the longer is
    /// the step, so that a flood does not outrun it.
    pub(super) fn after_turn(&mut self, log: &mut Log<'_>, turn: TurnSummary, now: Clocks) -> Option<Vec<SeqRange>> {
        if keeps_everything(self.retention) {
            return None;
        }
        let TurnSummary { messages, may_end_waits, removal } = turn;
        let stepped_over = self.proposed.as_ref().map_or(self.walk, |proposal| proposal.walk).stepped_over;
        self.is_stale |= may_end_waits && stepped_over > 0;
        self.appended += messages;
        let was_removal = removal.is_some();
        match removal {
            Some(Ok(())) => self.removed(log, now),
            Some(Err(reason)) => {
                self.proposed = None;
                self.retry_later(&reason, now);
            }
            None => {}
        }
        if self.appended > 0 && self.scans_at.is_none() {
            // A new message is the next one.
            self.scans_at = self.scan_time(now.clock, now);
        }
        // After a removal there is a pause, unless messages were appended meanwhile.
        let continues = self.continues_at.is_some_and(|time| !was_removal || time <= now.instant);
        if self.appended > 0 || continues { self.step(log, Trigger::Turn, now) } else { None }
    }

    /// Takes the step that is due. Returns messages to remove, if there are any.
    pub(super) fn on_time(&mut self, log: &mut Log<'_>, now: Clocks) -> Option<Vec<SeqRange>> {
        let ranges = self.step(log, Trigger::Time, now);
        self.report.log_due(self.continues_at.is_none() && self.proposed.is_none(), now.instant);
        ranges
    }

    /// Logs what was removed and not logged yet, and stores the evidence about the clock.
    pub(super) fn close(mut self) {
        self.report.log_rest();
        // Without it, messages stay longer.
        let _ = self.age_clock.save(Instant::now());
    }

    fn step(&mut self, log: &mut Log<'_>, trigger: Trigger, now: Clocks) -> Option<Vec<SeqRange>> {
        if self.proposed.is_some() {
            return None;
        }
        let appended = std::mem::take(&mut self.appended);
        if self.retries_at.is_some_and(|retry| now.instant < retry) {
            return None;
        }
        self.retries_at = None;
        match self.try_step(log, trigger, appended, now) {
            Ok(None) => {
                self.is_failing = false;
                None
            }
            Ok(ranges) => ranges,
            Err(error) => {
                self.failed(log, &error, now);
                None
            }
        }
    }

    fn try_step(
        &mut self,
        log: &mut Log<'_>,
        trigger: Trigger,
        appended: usize,
        now: Clocks,
    ) -> rusqlite::Result<Option<Vec<SeqRange>>> {
        let now = self.believe(log, now)?;
        let is_new_pass = self.begin_pass_if_due(now);
        let pages = self.oldest.pages()?;
        if !is_new_pass && !self.has_work(pages, now) {
            return Ok(None);
        }
        let mut proposal = self.scan(appended, now.clock)?;
        if !proposal.ranges.is_empty() {
            let ranges = std::mem::take(&mut proposal.ranges);
            self.proposed = Some(proposal);
            return Ok(Some(ranges));
        }
        self.walk = proposal.walk;
        let given_back_bytes = if proposal.stop == Stop::Pause { 0 } else { self.give_back(log)? };
        self.note_step(proposal.removed.with_given_back(given_back_bytes))?;
        self.end_step(log, proposal.stop, trigger, now)?;
        Ok(None)
    }

    /// Replaces the wall clock by the time by which messages are too old, and stores the evidence for it if that is due.
    fn believe(&mut self, log: &mut Log<'_>, now: Clocks) -> rusqlite::Result<Clocks> {
        if self.retention.max_age.is_none() {
            return Ok(now);
        }
        let clock = self.age_clock.advance(now)?;
        if self.age_clock.is_save_due(now.instant) {
            log.set_synchronous(Synchronous::Normal)?;
            self.age_clock.save(now.instant)?;
        }
        Ok(Clocks { clock, ..now })
    }

    /// Scans for messages to remove. Fails if another process writes: then they could not be removed either.
    fn scan(&mut self, appended: usize, clock: Timestamp) -> rusqlite::Result<Proposal> {
        let _transaction = self.oldest.begin()?;
        let pages = self.oldest.pages()?;
        let bounds = ScanBounds {
            retention: self.retention,
            over_bytes: self.over_bytes(pages),
            clock,
            messages_min: RETENTION_MESSAGES_PER_MESSAGE * appended,
            removed_max: self.proposed_max,
        };
        scan::run(bounds, self.walk, &mut self.oldest, &mut self.holders)
    }

    /// Continues after the turn that removed what was proposed.
    fn removed(&mut self, log: &mut Log<'_>, now: Clocks) {
        let Some(proposal) = self.proposed.take() else { return };
        self.is_failing = false;
        self.walk = proposal.walk;
        self.adapt(log.commit_time(), proposal.removed.messages());
        if let Err(error) = self.after_removal(log, proposal, now) {
            self.failed(log, &error, now);
        }
    }

    fn after_removal(&mut self, log: &mut Log<'_>, proposal: Proposal, now: Clocks) -> rusqlite::Result<()> {
        let now = self.believe(log, now)?;
        let pages = self.oldest.pages()?;
        self.is_giving_back |= pages.free > spare_pages(pages);
        // While no messages are appended, the next step does it, and makes the file smaller.
        let gives_back = self.appended > 0 && proposal.stop != Stop::Pause;
        let given_back_bytes = if gives_back { self.give_back(log)? } else { 0 };
        self.note_step(proposal.removed.with_given_back(given_back_bytes))?;
        self.end_step(log, proposal.stop, Trigger::Turn, now)
    }

    /// Adapts the number of messages in a proposal to the time that the last removal took.
    fn adapt(&mut self, took: Duration, messages: u64) {
        let step = Duration::from_millis(RETENTION_STEP_MS);
        if took > step {
            self.proposed_max = (self.proposed_max / 2).max(RETENTION_CHUNK_ROWS);
        } else if took < step / 2 && messages >= self.proposed_max as u64 {
            self.proposed_max = (2 * self.proposed_max).min(RETENTION_STEP_MESSAGES_MAX);
        }
    }

    fn failed(&mut self, log: &mut Log<'_>, error: &rusqlite::Error, now: Clocks) {
        // Even a commit that is not synced begins a new write-ahead log with a sync.
        log.wal().note_failure(error);
        self.retry_later(error, now);
    }

    fn retry_later(&mut self, reason: &dyn Display, now: Clocks) {
        if !std::mem::replace(&mut self.is_failing, true) {
            log::warn!("cannot remove old messages; trying again every {RETENTION_RETRY_S} s: {reason}");
        }
        self.retries_at = Some(now.instant + Duration::from_secs(RETENTION_RETRY_S));
    }

    fn has_work(&self, pages: Pages, now: Clocks) -> bool {
        self.continues_at.is_some()
            || self.scans_at.is_some_and(|time| time <= now.instant)
            || self.over_bytes(pages) > 0
            || pages.free > spare_pages(pages)
    }

    /// Begins the next pass, if there is a reason and it is time.
    fn begin_pass_if_due(&mut self, now: Clocks) -> bool {
        let is_due = self.is_stale && self.next_pass_at() <= now.instant;
        if is_due {
            self.walk = Walk::BEGIN;
            self.holders = Holders::default();
            self.began = now.instant;
            self.is_stale = false;
        }
        is_due
    }

    /// The more messages were stepped over, the later the next pass begins.
    fn next_pass_at(&self) -> Instant {
        let rest = Duration::from_micros(self.walk.stepped_over.saturating_mul(RETENTION_PASS_US_PER_WAITING));
        self.began + rest.max(Duration::from_millis(RETENTION_PASS_MS_MIN))
    }

    /// Bytes by which the database is too large for more history: the last part of `max_size` is for messages that wait.
    fn over_bytes(&self, pages: Pages) -> u64 {
        let history_max = |max_size_bytes: u64| max_size_bytes - max_size_bytes / HEADROOM_PARTS;
        self.retention.max_size_bytes.map_or(0, |max_size| pages.used_bytes().saturating_sub(history_max(max_size)))
    }

    /// Limits what is sent while the database is full of messages that wait.
    fn set_headroom(&mut self, is_full: bool, pages: Pages) {
        let left = |max_size_bytes: u64| max_size_bytes.saturating_sub(pages.used_bytes());
        if is_full {
            self.headroom.set(self.retention.max_size_bytes.map(left));
        } else if self.over_bytes(pages) == 0 {
            self.headroom.set(None);
        }
    }

    /// Names the peers that hold back the most messages.
    fn name_holders(&mut self) -> Vec<(String, u64)> {
        let largest = self.holders.largest().into_iter();
        // If the names cannot be read, the log shows only the number of messages.
        largest.filter_map(|(peer, messages)| Some((self.oldest.name(peer).ok()??, messages))).collect()
    }

    /// Gives back a few pages, in a transaction of its own, if more are free than the file may keep. Returns the number of bytes.
    fn give_back(&mut self, log: &mut Log<'_>) -> rusqlite::Result<u64> {
        let before = self.oldest.pages()?;
        self.is_giving_back |= before.free > spare_pages(before);
        if !self.is_giving_back {
            return Ok(0);
        }
        // After a power cut it is done again.
        log.set_synchronous(Synchronous::Normal)?;
        let transaction = self.oldest.begin()?;
        self.oldest.give_back()?;
        transaction.commit()?;
        Ok(before.total_bytes() - self.oldest.pages()?.total_bytes())
    }

    /// Notes what a step did.
    fn note_step(&mut self, removed: Removed) -> rusqlite::Result<()> {
        let used_bytes = self.oldest.pages()?.used_bytes();
        self.report.add(removed, used_bytes, self.walk.stepped_over);
        Ok(())
    }

    /// Ends a step, and plans the next one.
    fn end_step(&mut self, log: &mut Log<'_>, stop: Stop, trigger: Trigger, now: Clocks) -> rusqlite::Result<()> {
        let pages = self.oldest.pages()?;
        self.finish_giving_back(log, pages, trigger);
        self.plan(stop, pages, now);
        Ok(())
    }

    /// Stops giving back once half of the spare pages are left, so that a few more do not start it again. The file itself shrinks with
    /// the next checkpoint; a turn may make one too, and no turn should wait for two.
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
        let pause = Duration::from_millis(RETENTION_PAUSE_MS);
        self.continues_at = match stop {
            Stop::Remeasure => Some(now.instant),
            Stop::Pause => Some(Instant::now() + pause),
            Stop::Young(_) | Stop::End => self.is_giving_back.then(|| Instant::now() + pause),
        };
        self.scans_at = match stop {
            Stop::Young(at) => self.scan_time(at, now),
            Stop::End | Stop::Pause | Stop::Remeasure => None,
        };
        let is_full = stop == Stop::End && self.over_bytes(pages) > 0;
        let is_full = is_full && self.walk.stepped_over > 0;
        self.set_headroom(is_full, pages);
        self.report_waiting(stop, is_full, now);
        self.report.log_due(self.continues_at.is_none(), now.instant);
    }

    /// Notes at the end of a pass whether it stepped over messages, so that the log names those who hold them back.
    fn report_waiting(&mut self, stop: Stop, is_full: bool, now: Clocks) {
        if matches!(stop, Stop::Pause | Stop::Remeasure) {
            return;
        }
        let is_held = !is_full && self.retention.max_age.is_some() && self.walk.stepped_over > 0;
        if self.report.note_waiting(is_full, is_held, now.instant) {
            let holders = self.name_holders();
            self.report.set_holders(holders);
        }
    }

    /// Time at which a message that was accepted at `at` is scanned again.
    fn scan_time(&self, at: Timestamp, now: Clocks) -> Option<Instant> {
        self.retention.max_age.map(|max_age| now.instant + scan_delay(max_age, at, now.clock))
    }
}

fn keeps_everything(retention: Retention) -> bool {
    retention == Retention::default()
}

/// Time until a message that was accepted at `at` is too old, within bounds.
fn scan_delay(max_age: Duration, at: Timestamp, clock: Timestamp) -> Duration {
    let left_ms = at.millis().saturating_add(scan::millis(max_age)).saturating_sub(clock.millis());
    let (min, max) = (Duration::from_secs(RETENTION_CHECK_S_MIN), Duration::from_secs(RETENTION_CHECK_S_MAX));
    Duration::from_millis(left_ms.max(0).cast_unsigned()).clamp(min, max)
}

/// Free pages that the file may keep.
fn spare_pages(pages: Pages) -> u64 {
    (pages.used / 8).clamp(FREE_PAGES_MIN, FREE_PAGES_MAX)
}

#[cfg(test)]
mod tests;
