//! Trouble that lasts: the log says when it begins and when it is over, and not each time that it shows. Owns what was said
//! last; never what is done about it.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::limits::OUTAGE_OVER_MS_MIN;

/// Something that may fail for a while.
#[derive(Debug)]
pub(crate) struct OutageLog {
    /// What does not work, and what that means.
    begins: &'static str,
    /// What works again.
    ends: &'static str,
    /// When it failed last; `None` when its end has been said.
    failed: Option<Instant>,
}

impl OutageLog {
    pub(crate) const fn new(begins: &'static str, ends: &'static str) -> Self {
        OutageLog { begins, ends, failed: None }
    }

    /// Notes that it was tried, and why it failed if it did. What comes and goes is one trouble until it has stayed away for
    /// a while.
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
