//! Around the database: the data directory and its files, who may read them, who has them open, and the disk. Owns these
//! checks; never opens the database.

use std::fs::{File, Metadata, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfs, StatVfsMountFlags, statvfs};

use super::{Finding, for_shell};
use crate::archive::read_only::{OpenBy, beside, open_by};
use crate::database::directory::{DIRECTORY_MODE, FILE_MODE, LOCK, database_in, holder};
use crate::database::words::size;
use crate::limits::FREE_DISK_BYTES_LOW;

/// Who may read the files, and who has them open. Where there is no database that is for whoever opens it to say: the
/// directory may be somebody's home.
pub(super) fn look_at_files(data: &Path) -> Vec<Finding> {
    let (Ok(directory), Ok(database)) = (data.metadata(), database_in(data).canonicalize()) else { return Vec::new() };
    let mut findings = look_at_permissions(data, &directory, &database);
    if let Ok(open_by) = open_by(&database) {
        findings.push(server(data, open_by));
        findings.extend(look_at_wal(&database, open_by));
    }
    findings
}

/// How much room is left.
pub(super) fn look_at_disk(data: &Path) -> Vec<Finding> {
    let Ok(disk) = statvfs(data) else { return Vec::new() };
    let mut findings = vec![room(&disk)];
    if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
        findings.push(Finding::warning("its disk is mounted for reading only: no server can use it there"));
    }
    findings
}

fn look_at_permissions(data: &Path, directory: &Metadata, database: &Path) -> Vec<Finding> {
    let mut faults = faults_of(data, directory, DIRECTORY_MODE, directory.uid());
    for path in files(data, database) {
        if let Ok(metadata) = path.metadata() {
            faults.extend(faults_of(&path, &metadata, FILE_MODE, directory.uid()));
        }
    }
    if faults.is_empty() {
        let what = format!("{} and its files are private to user {}", data.display(), directory.uid());
        faults.push(Finding::fine(what));
    }
    faults
}

fn files(data: &Path, database: &Path) -> [PathBuf; 5] {
    let beside = |suffix| beside(database, suffix);
    [database.to_owned(), beside("-wal"), beside("-shm"), beside("-journal"), data.join(LOCK)]
}

fn faults_of(path: &Path, metadata: &Metadata, wanted: u32, owner: u32) -> Vec<Finding> {
    let mut faults = Vec::new();
    let mode = metadata.mode() & 0o777;
    let mended = |fault: Finding| fault.mended_by(format!("chmod {wanted:o} {}", for_shell(path)));
    if mode & !wanted != 0 {
        faults.push(mended(Finding::problem(format!("{} is open to other users (mode {mode:o})", path.display()))));
    } else if mode != wanted {
        faults.push(mended(Finding::problem(format!("{} is closed to its own user (mode {mode:o})", path.display()))));
    }
    if metadata.uid() != owner {
        let what = format!(
            "{} belongs to user {}, and the directory to user {owner}: a server of that user cannot use it",
            path.display(),
            metadata.uid()
        );
        faults.push(Finding::problem(what).mended_by(format!("chown {owner} {}", for_shell(path))));
    }
    faults
}

fn server(data: &Path, open_by: OpenBy) -> Finding {
    match (open_by, lock_holder(data, open_by)) {
        (_, Some(holder)) => Finding::fine(format!("a server is running, {holder}")),
        (OpenBy::Nobody, None) => Finding::fine("no server is running"),
        (OpenBy::Somebody(Some(process)), None) => {
            Finding::note(format!("no server is running, but process {process} has the database open"))
        }
        (OpenBy::Somebody(None), None) => Finding::note("no server is running, but a process has the database open"),
    }
}

/// Who has the directory. Asked only where somebody has the database: to try a lock is to hold it for a moment, in which no
/// server could start.
fn lock_holder(data: &Path, open_by: OpenBy) -> Option<String> {
    if open_by == OpenBy::Nobody {
        return None;
    }
    let mut lock = File::open(data.join(LOCK)).ok()?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(holder(&mut lock)),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

/// What a server leaves that was killed.
fn look_at_wal(database: &Path, open_by: OpenBy) -> Option<Finding> {
    let wal = beside(database, "-wal");
    let bytes = wal.metadata().ok()?.len();
    let is_left = open_by == OpenBy::Nobody && bytes > 0;
    is_left.then(|| {
        let what = format!("the last server did not end in good order: {} holds {}", wal.display(), size(bytes));
        Finding::note(what).advise("the next start copies it into the database; until then, do not delete it")
    })
}

fn room(disk: &StatVfs) -> Finding {
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < FREE_DISK_BYTES_LOW {
        Finding::warning(format!("only {} are free on its disk", size(free)))
            .advise("make room: while the disk is full, nothing that is sent can be accepted")
    } else {
        Finding::fine(format!("{} are free on its disk", size(free)))
    }
}
