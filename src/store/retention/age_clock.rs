//! Clock that tells the age of messages: the wall clock, as far as there is evidence for it. Owns the rule and the table `wall_clock`;
//! never removes a message.
//!
//! A start with a clock that is years ahead must not remove the history. So the believed time follows the time for which the server runs,
//! and jumps only to a time with which the server has run for [`CLOCK_PROOF_S`]. Ages are measured by the believed time or by the wall
//! clock, whichever is earlier.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use crate::database::column::integer;
use crate::limits::{CLOCK_LEAD_S_LOGGED, CLOCK_PROOF_S, CLOCK_SAVE_S, CLOCK_STEP_S_MAX, RETENTION_CHECK_S_MAX};
use crate::message::Timestamp;
use crate::store::locking::begin_unless_busy;

/// Time by both clocks.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Clocks {
    /// Wall clock, for the age of messages.
    pub(in crate::store) clock: Timestamp,
    /// Monotonic clock, for the times of steps.
    pub(in crate::store) instant: Instant,
}

impl Clocks {
    pub(in crate::store) fn now() -> Self {
        Clocks { clock: Timestamp::now(), instant: Instant::now() }
    }
}

/// Clock that tells the age of messages.
pub(super) struct AgeClock<'c> {
    connection: &'c Connection,
    /// Evidence; `None` until it is needed.
    evidence: Option<Evidence>,
    /// Time at which the evidence was collected last.
    advanced_at: Instant,
    /// Time from which on the evidence is stored again.
    saves_at: Instant,
    /// Whether the log says that the wall clock is ahead.
    is_ahead: bool,
    save: Statement<'c>,
}

/// Evidence about the wall clock; times in milliseconds since the start of 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Evidence {
    /// Believed time.
    believed: i64,
    /// Time that is believed next: the wall clock when `support` was 0, plus the time for which the server has run since.
    candidate: i64,
    /// Running time with a wall clock at or after `candidate`, minus the running time with an earlier one.
    support: i64,
}

impl<'c> AgeClock<'c> {
    pub(super) fn new(connection: &'c Connection, now: Clocks) -> rusqlite::Result<Self> {
        Ok(AgeClock {
            connection,
            evidence: None,
            advanced_at: now.instant,
            saves_at: now.instant,
            is_ahead: false,
            save: connection.prepare(
                "insert or replace into wall_clock (rowid, believed, candidate, support) values (1, ?1, ?2, ?3)",
            )?,
        })
    }

    /// Collects evidence, and returns the time by which messages are too old.
    pub(super) fn advance(&mut self, now: Clocks) -> rusqlite::Result<Timestamp> {
        let mut evidence = match self.evidence {
            Some(evidence) => evidence,
            None => read(self.connection, now.clock)?,
        };
        let elapsed = now.instant.saturating_duration_since(self.advanced_at);
        let time = evidence.advance(elapsed, now.clock.millis());
        (self.evidence, self.advanced_at) = (Some(evidence), now.instant);
        self.log_lead(now.clock, time);
        Ok(Timestamp::from_millis(time))
    }

    /// Whether it is time to store the evidence.
    pub(super) fn is_save_due(&self, now: Instant) -> bool {
        self.saves_at <= now
    }

    /// Stores the evidence. Fails at once if another process writes.
    pub(super) fn save(&mut self, now: Instant) -> rusqlite::Result<()> {
        let Some(Evidence { believed, candidate, support }) = self.evidence else { return Ok(()) };
        let transaction = begin_unless_busy(self.connection)?;
        self.save.execute(params![believed, candidate, support])?;
        transaction.commit()?;
        self.saves_at = now + Duration::from_secs(CLOCK_SAVE_S);
        Ok(())
    }

    /// Logs once that the wall clock is ahead of the believed time.
    fn log_lead(&mut self, clock: Timestamp, time: i64) {
        let lead_s = clock.millis().saturating_sub(time) / 1000;
        let is_ahead = lead_s >= CLOCK_LEAD_S_LOGGED;
        if is_ahead && !self.is_ahead {
            log::warn!(
                "the clock shows {clock}, {} days later than this server can tell; max_age removes no message by this time until the \
                 server has run for {} hours with it; if the clock is wrong, set it",
                lead_s / (24 * 60 * 60),
                CLOCK_PROOF_S / (60 * 60)
            );
        }
        self.is_ahead = is_ahead;
    }
}

impl Evidence {
    /// Advances by the time for which the server has run, after which the wall clock shows this time. Returns the time by which messages
    /// are too old.
    fn advance(&mut self, elapsed: Duration, clock: i64) -> i64 {
        let elapsed = elapsed.as_millis() as i64;
        self.believed = self.believed.saturating_add(elapsed);
        self.candidate = self.candidate.saturating_add(elapsed);
        // Nothing tells what the clock showed in between.
        let counted = elapsed.min(RETENTION_CHECK_S_MAX as i64 * 1000);
        let is_supported = clock.saturating_add(CLOCK_STEP_S_MAX * 1000) >= self.candidate;
        self.support += if is_supported { counted } else { -counted };
        if self.support < 0 {
            (self.candidate, self.support) = (clock, 0);
        }
        if self.support >= CLOCK_PROOF_S * 1000 {
            *self = Evidence { believed: self.candidate, candidate: clock, support: 0 };
        }
        self.believed.min(clock)
    }
}

/// Reads the evidence of earlier runs. Without any, believes the time of the newest message, and in an empty log the wall clock.
fn read(connection: &Connection, clock: Timestamp) -> rusqlite::Result<Evidence> {
    let sql = "select believed, candidate, support from wall_clock where rowid = 1";
    if let Some(stored) = connection.query_row(sql, [], evidence).optional()? {
        return Ok(stored);
    }
    let sql = "select at from message where seq <= 1e18 order by seq desc limit 1";
    let newest = connection.query_row(sql, [], |row| integer(row, 0)).optional()?;
    Ok(Evidence { believed: newest.unwrap_or(clock.millis()), candidate: clock.millis(), support: 0 })
}

fn evidence(row: &Row<'_>) -> rusqlite::Result<Evidence> {
    Ok(Evidence {
        believed: integer(row, 0)?,
        candidate: integer(row, 1)?,
        support: integer(row, 2)?.clamp(0, CLOCK_PROOF_S * 1000),
    })
}
