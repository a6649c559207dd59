//! Outages in the log: one line when an outage begins and one when it ends, instead of one for each failure. Owns what was logged last;
//! never decides what an outage leads to.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::limits::OUTAGE_OVER_MS_MIN;

/// Log of something that may fail for a while.
#[derive(Debug)]
pub(crate) struct OutageLog {
    /// Line at the start: what fails, and what that means.
    begins: &'static str,
    /// Line at the end: what works again.
    ends: &'static str,
    /// Time of the last failure; `None` if its end is logged.
    failed: Option<Instant>,
}

impl OutageLog {
    pub(crate) const fn new(begins: &'static str, ends: &'static str) -> Self {
        OutageLog { begins, ends, failed: None }
    }

    /// Notes an attempt, and its error if it failed. Failures that come and go are one outage, which ends when there was none for
    /// [`OUTAGE_OVER_MS_MIN`].
    pub(crate) fn note(&mut self, error: Option<&impl Display>) {
        match (error, self.failed) {
            (Some(error), failed) => {
                if failed.is_none() {
                    log::error!("{}: {error}", self.begins);
                }
                self.failed = Some(Instant::now());
            }
            (None, Some(failed)) if failed.elapsed() >= Duration::from_millis(OUTAGE_OVER_MS_MIN) => {
                log::info!("{}", self.ends);
                self.failed = None;
            }
            (None, _) => {}
        }
    }
}
