//! Time for which servers have run with the database, by the monotonic clock: ids of messages expire by it. Owns when it is noted; never
//! writes it.

use std::time::Instant;

use crate::limits::{RUNNING_LAST_S_MIN, RUNNING_SAVE_S};
use crate::store::Entry;

/// Time for which servers have run with the database.
#[derive(Debug)]
pub(super) struct RunningTime {
    started: Instant,
    /// Seconds of the earlier runs.
    before_s: u64,
    /// Seconds of this run that are noted.
    noted_s: u64,
}

impl RunningTime {
    /// Begins a run after runs of this many seconds.
    pub(super) fn new(before_s: u64) -> Self {
        RunningTime { started: Instant::now(), before_s, noted_s: 0 }
    }

    /// Returns the entry that notes the running time, if enough has passed since it was noted.
    pub(super) fn due(&mut self) -> Option<Entry> {
        self.entry_after(RUNNING_SAVE_S)
    }

    /// Returns the entry that notes the running time at the end of the run, unless next to nothing has passed.
    pub(super) fn last(&mut self) -> Option<Entry> {
        self.entry_after(RUNNING_LAST_S_MIN)
    }

    /// Reverts an entry whose turn failed.
    pub(super) fn undo(&mut self, entries: &[Entry]) {
        if entries.iter().any(|entry| matches!(entry, Entry::Ran { .. })) {
            self.noted_s = 0;
        }
    }

    fn entry_after(&mut self, seconds: u64) -> Option<Entry> {
        let run_s = self.started.elapsed().as_secs();
        if run_s - self.noted_s < seconds {
            return None;
        }
        self.noted_s = run_s;
        Some(Entry::Ran { seconds: self.before_s.saturating_add(run_s) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Seconds in which a test is done.
    const SLACK_S: u64 = 50;

    fn seconds(entry: Option<Entry>) -> Option<u64> {
        entry.map(|entry| match entry {
            Entry::Ran { seconds } => seconds - seconds % SLACK_S,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn running_time_is_noted_once_an_hour_and_at_the_end_and_again_after_a_failure() {
        let mut running = RunningTime::new(1000);
        assert_eq!((running.due(), running.last()), (None, None));
        let run = |passed_s: u64, running: &mut RunningTime| {
            running.started = running.started.checked_sub(Duration::from_secs(passed_s)).expect("the machine has run");
        };
        run(RUNNING_SAVE_S, &mut running);
        assert_eq!(seconds(running.due()), Some(1000 + RUNNING_SAVE_S));
        assert_eq!(running.due(), None);
        running.undo(&[Entry::Ran { seconds: 1 }]);
        assert_eq!(seconds(running.due()), Some(1000 + RUNNING_SAVE_S));
        run(100, &mut running);
        assert_eq!(running.due(), None);
        assert_eq!(seconds(running.last()), Some(1000 + RUNNING_SAVE_S + 100));
    }
}
