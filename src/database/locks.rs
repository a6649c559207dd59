//! Locks on the database file: those of SQLite, which tell who has it open, and one of the server, which keeps a second server away, also
//! from another directory with a hard link to the file. Never waits for a lock.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Flock, FlockOffsetType, FlockType, Pid, fcntl_getlk};

/// Offset of SQLite's locks in a database file: <https://www.sqlite.org/fileformat2.html>, "The Lock-Byte Page".
const LOCK_BYTES_START: u64 = 0x4000_0000;

/// Number of bytes that SQLite locks there.
const LOCK_BYTES: u64 = 512;

/// Other process that has the database open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenBy {
    /// No other process.
    None,
    /// At least one process, with its id if the system reports it.
    Process(Option<i32>),
}

/// Finds out whether another process has the database open: in WAL mode each such process holds a lock all the time. Takes no
/// lock itself, so it never keeps a server from starting. Must not be called while this process has the database open: closing a file
/// releases all locks that the process holds on it; fcntl(2).
pub(crate) fn open_by(database: &Path) -> io::Result<OpenBy> {
    let any_lock = Flock {
        start: LOCK_BYTES_START,
        length: LOCK_BYTES,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    let held = fcntl_getlk(File::open(database)?, &any_lock)?;
    Ok(held.map_or(OpenBy::None, |lock| OpenBy::Process(lock.pid.map(|pid| pid.as_raw_pid()))))
}

/// Locks the database for a server, with a lock that SQLite does not see: flock(2).
pub(super) fn lock_for_server(database: &File) -> Result<(), TryLockError> {
    if would_lock_out_sqlite(database).map_err(TryLockError::Error)? { Ok(()) } else { database.try_lock() }
}

/// Marks the lock file of a server with a lock whose holder the system reports, so that [`server_of`] finds the process: fcntl(2). The lock of
/// flock(2) stays what keeps a second server away, so a file system without this one is no error.
pub(super) fn mark_for_server(lock: &File) {
    let _ = fcntl_lock(lock, FlockOperation::NonBlockingLockExclusive);
}

/// Returns the server that holds this lock file. `None`: no server does.
pub(crate) fn server_of(lock: &File) -> io::Result<Option<Pid>> {
    let whole_file =
        Flock { start: 0, length: 0, pid: None, typ: FlockType::WriteLock, offset_type: FlockOffsetType::Set };
    match fcntl_getlk(lock, &whole_file)? {
        None => Ok(None),
        Some(Flock { pid: Some(pid), .. }) => Ok(Some(pid)),
        Some(_) => {
            Err(io::Error::other("the system does not say which process it is, or it is outside of this container"))
        }
    }
}

/// Whether flock(2) would keep SQLite from locking the same file: network file systems make it a lock of fcntl(2) on the whole file.
#[cfg(target_os = "linux")]
fn would_lock_out_sqlite(database: &File) -> io::Result<bool> {
    // Of NFS, SMB (of two versions), CIFS and 9P; statfs(2).
    const ON_NETWORKS: [u32; 5] = [0x6969, 0x517b, 0xfe53_4d42, 0xff53_4d42, 0x0102_1997];
    let found = rustix::fs::fstatfs(database)?;
    #[allow(clippy::cast_possible_truncation, reason = "the type has 32 bits, and its field more on some systems")]
    Ok(ON_NETWORKS.contains(&(found.f_type as u32)))
}

/// Whether flock(2) would keep SQLite from locking the same file: elsewhere both are one kind of lock.
#[cfg(not(target_os = "linux"))]
fn would_lock_out_sqlite(_: &File) -> io::Result<bool> {
    Ok(true)
}
