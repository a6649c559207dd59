//! Notices that the database is written to, by whoever it is. Owns the watch on its write-ahead log; never reads it.

use std::path::Path;
use std::time::Duration;

use smol::Timer;

/// A watch on the write-ahead log, to which everyone writes first who changes the database.
#[derive(Debug)]
pub struct Watch {
    /// `None`: the system does not tell.
    #[cfg(target_os = "linux")]
    writes: Option<smol::Async<std::os::fd::OwnedFd>>,
}

impl Watch {
    /// Begins to watch. Where that cannot be, the log says so, and the database is looked at every now and then.
    #[cfg(target_os = "linux")]
    pub(super) fn on(wal: &Path) -> Self {
        let writes = writes(wal);
        if let Err(error) = &writes {
            log::warn!("writes to the database are not noticed at once, but looked for: {error}");
        }
        Watch { writes: writes.ok() }
    }

    /// Other systems do not tell.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn on(_wal: &Path) -> Self {
        Watch {}
    }

    /// Waits until somebody has written, and then for `pause_ms` more: whatever is written meanwhile is noticed with it. Nobody
    /// wakes while nobody writes.
    pub(crate) async fn touched(&mut self, pause_ms: u64) {
        #[cfg(target_os = "linux")]
        if let Some(writes) = &self.writes {
            if writes.readable().await.is_ok() {
                take_away(writes);
            } else {
                self.writes = None;
            }
        }
        Timer::after(Duration::from_millis(pause_ms)).await;
    }
}

/// inotify(7).
#[cfg(target_os = "linux")]
fn writes(wal: &Path) -> std::io::Result<smol::Async<std::os::fd::OwnedFd>> {
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

    let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    inotify::add_watch(&inotify, wal, WatchFlags::MODIFY)?;
    smol::Async::new(inotify)
}

/// What was noticed does not matter, but that the next write is noticed anew.
#[cfg(target_os = "linux")]
fn take_away(writes: &smol::Async<std::os::fd::OwnedFd>) {
    let mut events = [0; 1024];
    while rustix::io::read(writes, &mut events).is_ok_and(|bytes| bytes > 0) {}
}
