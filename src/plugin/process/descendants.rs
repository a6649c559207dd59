//! Processes that a program has started, and those that they have started. Owns how they are found and ended, even if they have left the
//! program's group and lost their parents; never ends any other process.
//!
//! Each run of a program has a mark, as a value of RLIMIT_LOCKS: a limit without effect since Linux 2.4. Every descendant inherits it,
//! whatever becomes of its session, its parents and its environment.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::procfs;
use crate::backoff::Backoff;
use crate::limits::{PROCESS_SEARCH_MS_MAX, PROCESS_SEARCH_MS_MIN};
use crate::timeout::sleep;

/// Smallest mark: larger than a limit that somebody sets.
const MARK_MIN: u32 = 1 << 30;

/// Mark of the processes of one run of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunMark(u32);

impl RunMark {
    /// Returns a new mark. Other servers of the machine have others, because the first one is random.
    pub(super) fn new() -> Self {
        static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| {
            let random = RandomState::new().hash_one(()) as u32;
            AtomicU32::new(MARK_MIN + random % MARK_MIN)
        });
        RunMark(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Value of the limit.
    pub(super) fn limit(self) -> u64 {
        u64::from(self.0)
    }
}

/// Kills all processes with a mark, and those that they start meanwhile. Returns false if some are left after `patience`.
pub(super) async fn end(mark: RunMark, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    let millis = Duration::from_millis;
    let mut pauses = Backoff::new(millis(PROCESS_SEARCH_MS_MIN), millis(PROCESS_SEARCH_MS_MAX));
    loop {
        // A look at each process of the machine takes milliseconds.
        if smol::unblock(move || kill_marked(mark)).await == 0 {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(pauses.next_delay()).await;
    }
}

/// Kills all processes with a mark. Returns their number; processes that have ended are not counted.
pub(super) fn kill_marked(mark: RunMark) -> usize {
    let is_marked = |id: &i32| procfs::locks_max(*id) == Some(mark.limit()) && procfs::is_alive(*id);
    // The system uses all other ids before it reuses one.
    let marked = procfs::processes().filter(is_marked).filter_map(Pid::from_raw);
    marked.filter(|pid| kill_process(*pid, Signal::KILL).is_ok()).count()
}
