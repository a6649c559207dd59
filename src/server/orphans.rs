//! Orphans: processes whose parents have ended. As the first process of a container, and as the one that adopts what its plugins leave
//! behind, the server must wait for them, or they stay as zombies. Owns when that happens; never ends a process.

use std::io;
use std::time::Duration;

use async_signal::{Signal, Signals};
use smol::stream::StreamExt;

use crate::limits::REAP_RETRY_MS;
use crate::plugin;
use crate::timeout::sleep;

/// Adopts the processes whose parents have ended. Returns the signals that announce their ends.
pub(super) fn adopt() -> io::Result<Signals> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Signals::new([Signal::Child])
}

/// Waits for adopted processes as they end.
pub(super) async fn reap(mut signals: Signals) {
    loop {
        while !plugin::reap_orphans() {
            sleep(Duration::from_millis(REAP_RETRY_MS)).await;
        }
        signals.next().await;
    }
}
