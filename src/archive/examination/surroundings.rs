//! Checks around the database: permissions of the data directory and its files, the process that has them open, and the disk.
//! Never opens the database.

use std::fs::{Metadata, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, StatVfs, StatVfsMountFlags, statvfs};

use super::Finding;
use crate::database::at_rest::beside;
use crate::database::directory::{self, DIRECTORY_MODE, FILE_MODE, database_in, holder, lock_of};
use crate::database::locks::{OpenBy, open_by};
use crate::database::words::size;
use crate::limits::FREE_DISK_BYTES_LOW;
use crate::trust::{Trust, TrustError, for_shell};

/// Checks the permissions of the files, and which process has them open. Returns nothing if there is no database: opening it
/// reports that, and the directory may be a home directory.
pub(super) fn check_files(data: &Path) -> Vec<Finding> {
    let (Ok(directory), Ok(database)) = (data.metadata(), database_in(data).canonicalize()) else { return Vec::new() };
    if !database.is_file() {
        return Vec::new();
    }
    let mut findings = check_permissions(data, &directory, &database);
    findings.extend(check_link(data, &database));
    if let Ok(open_by) = open_by(&database) {
        findings.push(check_server(&database, open_by));
        findings.extend(check_wal(&database, open_by));
    }
    findings
}

/// Checks the free space of the disk, and whether it can be written.
pub(super) fn check_disk(data: &Path) -> Vec<Finding> {
    let Ok(disk) = statvfs(data) else { return Vec::new() };
    let mut findings = vec![check_free_space(&disk)];
    if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
        findings.push(Finding::warning("the disk is mounted read-only: no server can use the database there"));
    }
    findings
}

fn check_permissions(data: &Path, directory: &Metadata, database: &Path) -> Vec<Finding> {
    let untrusted = directory::check(data, Trust::of(directory.uid(), directory.gid())).err();
    let is_reported = |path: &Path| untrusted.as_ref().is_some_and(|error| path == error.path());
    let mut faults = Vec::from_iter(untrusted.as_ref().and_then(untrusted_file));
    if !data.canonicalize().is_ok_and(|data| is_reported(&data)) {
        faults.extend(faults_of(data, directory, DIRECTORY_MODE, directory.uid()));
    }
    for path in files(database).into_iter().filter(|path| !is_reported(path)) {
        if let Ok(metadata) = path.symlink_metadata() {
            faults.extend(faults_of(&path, &metadata, FILE_MODE, directory.uid()));
        }
    }
    if faults.is_empty() {
        let what = format!("{} and its files are private to user {}", data.display(), directory.uid());
        faults.push(Finding::ok(what));
    }
    faults
}

/// Reports a file for which a server refuses to start.
fn untrusted_file(error: &TrustError) -> Option<Finding> {
    match (error, error.mending()) {
        (_, Some((fault, command))) => Some(Finding::problem(fault).with_command(command.to_owned())),
        (TrustError::NotAFile { .. }, None) => Some(Finding::problem(error.to_string())),
        // The examination of the database reports what cannot be read.
        _ => None,
    }
}

/// Reports a database that is elsewhere.
fn check_link(data: &Path, database: &Path) -> Option<Finding> {
    let link = database_in(data);
    let is_link = link.symlink_metadata().is_ok_and(|found| found.is_symlink());
    is_link.then(|| {
        let what = format!("{} is a link to {}", link.display(), database.display());
        Finding::ok(format!("{what}; the -wal and the lock are beside that file"))
    })
}

fn files(database: &Path) -> [PathBuf; 5] {
    let beside = |suffix| beside(database, suffix);
    [database.to_owned(), beside("-wal"), beside("-shm"), beside("-journal"), lock_of(database)]
}

fn faults_of(path: &Path, metadata: &Metadata, expected: u32, owner: u32) -> Vec<Finding> {
    let mut faults = Vec::new();
    let mode = metadata.mode() & 0o777;
    let chmod = |fault: Finding| fault.with_command(format!("chmod {expected:o} {}", for_shell(path)));
    if mode & !expected != 0 {
        faults.push(chmod(Finding::problem(format!("{} is open to other users (mode {mode:o})", path.display()))));
    } else if mode != expected {
        faults.push(chmod(Finding::problem(format!("{} is closed to its own user (mode {mode:o})", path.display()))));
    }
    if metadata.uid() != owner {
        let what = format!(
            "{} belongs to user {}, but the directory to user {owner}: a server of that user cannot use it",
            path.display(),
            metadata.uid()
        );
        faults.push(Finding::problem(what).with_command(format!("chown {owner} {}", for_shell(path))));
    }
    faults
}

fn check_server(database: &Path, open_by: OpenBy) -> Finding {
    match (open_by, lock_holder(database, open_by)) {
        (_, Some(holder)) => Finding::ok(format!("a server is running, {holder}")),
        (OpenBy::None, None) => Finding::ok("no server is running"),
        (OpenBy::Process(Some(process)), None) => {
            Finding::note(format!("no server is running, but process {process} has the database open"))
        }
        (OpenBy::Process(None), None) => Finding::note("no server is running, but a process has the database open"),
    }
}

/// Returns the process that holds the lock of the directory. Tests the lock only if a process has the database open: testing
/// takes the lock for a moment, during which no server could start.
fn lock_holder(database: &Path, open_by: OpenBy) -> Option<String> {
    if open_by == OpenBy::None {
        return None;
    }
    // Neither a link nor a pipe that somebody put there is followed or waited for.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let mut lock = OpenOptions::new().read(true).custom_flags(flags as i32).open(lock_of(database)).ok()?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(holder(&mut lock)),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

/// Reports the write-ahead log of a server that was killed.
fn check_wal(database: &Path, open_by: OpenBy) -> Option<Finding> {
    let wal = beside(database, "-wal");
    let bytes = wal.metadata().ok()?.len();
    let is_left = open_by == OpenBy::None && bytes > 0;
    is_left.then(|| {
        let what = format!("the last server did not shut down cleanly: {} contains {}", wal.display(), size(bytes));
        Finding::note(what).advise("the next start copies it into the database; until then, do not delete it")
    })
}

fn check_free_space(disk: &StatVfs) -> Finding {
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < FREE_DISK_BYTES_LOW {
        Finding::warning(format!("only {} are free on the disk", size(free)))
            .advise("free some space: while the disk is full, the server accepts no messages")
    } else {
        Finding::ok(format!("{} are free on the disk", size(free)))
    }
}
