//! Scan of the oldest messages: which may be removed now. Owns the rule; never removes a message.

use std::time::{Duration, Instant};

use super::holders::Holders;
use super::oldest::{OldMessage, Oldest};
use super::report::{Reason, Removed};
use crate::config::Retention;
use crate::limits::RETENTION_STEP_MS;
use crate::message::{Seq, Timestamp};
use crate::store::SeqRange;

/// Approximate bytes of the database that a message takes besides its text. The size is measured again once these have added up.
const MESSAGE_BYTES: u64 = 24;

/// Approximate bytes that a message takes for each recipient.
const RECIPIENT_BYTES: u64 = 16;

/// Position of a pass in the log. It is in memory only: after a start, the pass begins at the oldest message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    /// Every message up to here is removed or was stepped over.
    pub(super) position: Seq,
    /// Messages that were stepped over, as they waited.
    pub(super) stepped_over: u64,
}

impl Walk {
    pub(super) const BEGIN: Walk = Walk { position: Seq::ZERO, stepped_over: 0 };
}

/// Bounds of a scan.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScanBounds {
    pub(super) retention: Retention,
    /// Bytes by which the database is too large.
    pub(super) over_bytes: u64,
    /// Wall clock.
    pub(super) clock: Timestamp,
    /// Messages to scan at least, however long that takes.
    pub(super) messages_min: usize,
    /// Messages to remove at most, unless `messages_min` is more.
    pub(super) removed_max: usize,
}

impl ScanBounds {
    /// Whether a scan has taken long enough, or has found enough.
    fn are_reached(&self, started: Instant, proposal: &Proposal) -> bool {
        started.elapsed() >= Duration::from_millis(RETENTION_STEP_MS)
            || proposal.removed.messages() >= self.removed_max as u64
    }
}

/// Messages that a scan proposes to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    /// Messages to remove, in order; none if there are none.
    pub(super) ranges: Vec<SeqRange>,
    /// Position once they are removed.
    pub(super) walk: Walk,
    /// Summary of the messages to remove.
    pub(super) removed: Removed,
    /// Reason why the scan ended.
    pub(super) stop: Stop,
}

/// Reason for the end of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The next message may stay; it was accepted at this time.
    Young(Timestamp),
    /// There is no other message.
    End,
    /// About as many bytes are to be removed as are too many: the size must be measured again.
    Remeasure,
    /// The scan was long enough.
    Pause,
}

/// Scans on from a position.
pub(super) fn run(
    bounds: ScanBounds,
    walk: Walk,
    oldest: &mut Oldest<'_>,
    holders: &mut Holders,
) -> rusqlite::Result<Proposal> {
    let started = Instant::now();
    let mut proposal = Proposal { ranges: Vec::new(), walk, removed: Removed::default(), stop: Stop::Pause };
    let mut over_bytes = bounds.over_bytes;
    let mut scanned = 0;
    // Whether the next message follows the last range: no message that stays is between them.
    let mut follows = false;
    loop {
        let messages = oldest.after(proposal.walk.position)?;
        if messages.is_empty() {
            return Ok(Proposal { stop: Stop::End, ..proposal });
        }
        for message in messages {
            let Some(reason) = reason(bounds.retention, &message, over_bytes, bounds.clock) else {
                let stop = if over_bytes == bounds.over_bytes { Stop::Young(message.at) } else { Stop::Remeasure };
                return Ok(Proposal { stop, ..proposal });
            };
            proposal.walk.position = message.seq;
            scanned += 1;
            let holder = oldest.holder(&message)?;
            if let Some(peer) = holder {
                proposal.walk.stepped_over += 1;
                holders.add(peer);
            } else {
                over_bytes = over_bytes.saturating_sub(bytes(&message));
                proposal.removed.add(&message, reason);
                proposal.add(message.seq, follows);
            }
            follows = holder.is_none();
        }
        if scanned >= bounds.messages_min && bounds.are_reached(started, &proposal) {
            return Ok(proposal);
        }
    }
}

impl Proposal {
    fn add(&mut self, seq: Seq, follows: bool) {
        match self.ranges.last_mut().filter(|_| follows) {
            Some(range) => range.last = seq,
            None => self.ranges.push(SeqRange { first: seq, last: seq }),
        }
    }
}

/// Reason to remove a message, if there is one.
pub(super) fn reason(retention: Retention, message: &OldMessage, over_bytes: u64, clock: Timestamp) -> Option<Reason> {
    let age_ms = clock.millis().saturating_sub(message.at.millis());
    let is_too_old = retention.max_age.is_some_and(|max_age| age_ms >= millis(max_age));
    match (is_too_old, over_bytes) {
        (true, _) => Some(Reason::Age),
        (false, 1..) => Some(Reason::Size),
        (false, 0) => None,
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Approximate bytes that a message takes of the database.
fn bytes(message: &OldMessage) -> u64 {
    MESSAGE_BYTES + message.text_bytes + RECIPIENT_BYTES * message.recipients.len() as u64
}
