//! The running server of a data directory, found by the lock that it holds. Owns the signal to it; never trusts what a file says about
//! the process.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::database::directory::{database_in, lock_of};
use crate::database::locks::server_of;

/// Reason why the server was not signalled.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// No server holds the lock.
    #[error("no server runs on {}; start one, or name its directory with --data", .0.display())]
    NoServer(PathBuf),
    /// The system does not allow it, or cannot say which process holds the lock.
    #[error("cannot signal the server of {}", .0.display())]
    System(PathBuf, #[source] io::Error),
}

/// Makes the running server of a data directory reload its plugins. Returns its process id.
pub fn signal_reload(data: &Path) -> Result<i32, SignalError> {
    let failed = |error| SignalError::System(data.to_owned(), error);
    let no_server = || SignalError::NoServer(data.to_owned());
    let Ok(database) = fs::canonicalize(database_in(data)) else { return Err(no_server()) };
    let Ok(lock) = File::open(lock_of(&database)) else { return Err(no_server()) };
    let server = server_of(&lock).map_err(failed)?.ok_or_else(no_server)?;
    signal(server, &lock).map_err(failed)?.ok_or_else(no_server)?;
    Ok(server.as_raw_pid())
}

/// Signals a process. Returns `None` if it does not hold the lock any more: then its id may be that of another process.
#[cfg(target_os = "linux")]
fn signal(server: Pid, lock: &File) -> io::Result<Option<()>> {
    use rustix::io::Errno;
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

    // The descriptor stands for this process alone, also after its end.
    let process = match pidfd_open(server, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(Errno::NOSYS) => return kill(server, lock),
        Err(Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if server_of(lock)? != Some(server) {
        return Ok(None);
    }
    pidfd_send_signal(process, Signal::HUP)?;
    Ok(Some(()))
}

#[cfg(not(target_os = "linux"))]
use self::kill as signal;

/// Signals a process by its id, right after a look at the lock.
fn kill(server: Pid, lock: &File) -> io::Result<Option<()>> {
    if server_of(lock)? != Some(server) {
        return Ok(None);
    }
    kill_process(server, Signal::HUP)?;
    Ok(Some(()))
}
