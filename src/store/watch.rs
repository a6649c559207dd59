//! Detects writes to the database by any process, so that new rows in the table `outbox` are found. Watches the write-ahead
//! log; never reads it.

use std::path::Path;
use std::time::Duration;

use crate::timeout::sleep;

/// Watch on the write-ahead log: every process that changes the database writes to it first.
#[derive(Debug)]
pub struct DatabaseWatch {
    /// inotify descriptor; `None` if the system offers none.
    #[cfg(target_os = "linux")]
    writes: Option<smol::Async<std::os::fd::OwnedFd>>,
}

impl DatabaseWatch {
    /// Starts to watch. If that fails, logs a warning; the caller then polls.
    #[cfg(target_os = "linux")]
    pub(super) fn on(wal: &Path) -> Self {
        let writes = inotify_on(wal);
        if let Err(error) = &writes {
            log::warn!("cannot watch the database ({error}); polling the table outbox instead");
        }
        DatabaseWatch { writes: writes.ok() }
    }

    /// Watches nothing: other systems have no inotify, so the caller polls.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn on(_wal: &Path) -> Self {
        DatabaseWatch {}
    }

    /// Waits until a process has written, and then for `pause_ms` more, so that further writes are reported together. Does not
    /// wake while nothing is written, unless it has to poll: then it only waits for `pause_ms`.
    pub(crate) async fn touched(&mut self, pause_ms: u64) {
        #[cfg(target_os = "linux")]
        if let Some(writes) = &self.writes {
            if writes.readable().await.is_ok() {
                discard_events(writes);
            } else {
                self.writes = None;
            }
        }
        sleep(Duration::from_millis(pause_ms)).await;
    }
}

/// Opens an inotify(7) descriptor that reports writes to a file.
#[cfg(target_os = "linux")]
fn inotify_on(wal: &Path) -> std::io::Result<smol::Async<std::os::fd::OwnedFd>> {
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

    let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    inotify::add_watch(&inotify, wal, WatchFlags::MODIFY)?;
    smol::Async::new(inotify)
}

/// Reads and drops all events, so that the descriptor becomes readable again only with the next write.
#[cfg(target_os = "linux")]
fn discard_events(writes: &smol::Async<std::os::fd::OwnedFd>) {
    let mut events = [0; 1024];
    while rustix::io::read(writes, &mut events).is_ok_and(|bytes| bytes > 0) {}
}
