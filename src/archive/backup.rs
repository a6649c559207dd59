//! Backups: one file with a consistent snapshot of the database, which a server can start with. The file is written under a
//! temporary name, checked and synced, and only then renamed; after a failure nothing of it is left. Never changes the database.
//!
//! `VACUUM INTO` reads one snapshot, so a running server is not delayed and does not delay the backup. SQLite's backup interface
//! would start again after every write of another process, and would copy free pages and removed rows, too.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::read_only::{self, ReadOnlyDatabase, ReadOnlyError, open_own};
use crate::database::at_rest::{beside, open_at_rest};
use crate::database::column::integer;
use crate::database::directory::{FILE_MODE, database_in, lock_of};
use crate::database::identity;
use crate::database::schema::{self, NEWEST};
use crate::database::words::{at_most_counted, counted, size};
use crate::limits::WAITING_COUNTED_MAX;
use crate::message::Seq;

/// Part of the temporary name of a backup: it stands between the final name and the id of the process that writes the file.
const UNFINISHED: &str = ".unfinished-";

/// Reason why no backup was made. No file is left.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database cannot be read.
    #[error(transparent)]
    Read(#[from] ReadOnlyError),
    /// The database is empty.
    #[error("{} is empty, there is nothing to back up yet", path.display())]
    Empty {
        /// Database file.
        path: PathBuf,
    },
    /// The file exists.
    #[error("{} exists already, and is not overwritten; choose a file that does not exist, or move that one away", path.display())]
    Exists {
        /// File of the backup.
        path: PathBuf,
    },
    /// The path cannot be used for a backup.
    #[error("{} {problem}; choose a file for the backup, such as holdline-backup.db", path.display())]
    InvalidName {
        /// Path that was given.
        path: PathBuf,
        /// Reason, to follow the path in a sentence.
        problem: &'static str,
    },
    /// The file cannot be written.
    #[error("cannot {what} {}: {source}; choose a file in a directory that you may write to, on a disk with free space", path.display())]
    Unwritable {
        /// Failed operation.
        what: &'static str,
        /// Path that the operation failed for.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// SQLite could not read the database or write the backup.
    #[error("cannot copy the database into {} ({source}); free some space, or choose a file on another disk", path.display())]
    CopyFailed {
        /// File of the backup.
        path: PathBuf,
        /// Error of SQLite.
        source: rusqlite::Error,
    },
    /// The database is damaged, or the check of the backup failed.
    #[error("no backup was made: {problem}; run holdline doctor for details")]
    Damaged {
        /// Damage or difference that was found.
        problem: String,
    },
}

/// Backup that is about to be made.
#[derive(Debug)]
pub struct Backup {
    data: PathBuf,
    file: PathBuf,
    unfinished: Unfinished,
    /// Files that were removed: they were left by earlier backups to the same file that were killed.
    pub removed: Vec<PathBuf>,
}

/// Content of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSummary {
    /// Number of messages.
    pub messages: u64,
    /// Number of undelivered messages, each counted once per recipient; [`WAITING_COUNTED_MAX`] + 1 if there are more than
    /// [`WAITING_COUNTED_MAX`]. `None` if a row cannot be read.
    pub waiting: Option<u64>,
    /// Newest message.
    pub newest: Seq,
    /// Size of the file.
    pub bytes: u64,
}

/// Formats as `12 messages up to seq 12, 3 still to be delivered, 56.0 KiB`.
impl fmt::Display for BackupSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BackupSummary { messages, waiting, newest, bytes } = self;
        let messages = counted(*messages, "message");
        let waiting = match waiting {
            Some(waiting) => format!("{} still to be delivered", at_most_counted(*waiting)),
            None => "some with values that no server writes (run holdline doctor)".to_owned(),
        };
        write!(f, "{messages} up to seq {newest}, {waiting}, {}", size(*bytes))
    }
}

/// File that is being written, under its temporary name.
#[derive(Clone, Debug)]
pub struct Unfinished(PathBuf);

impl Backup {
    /// Checks the path, and removes the files that earlier backups to it left when they were killed. Fails if the path cannot
    /// be used.
    pub fn prepare(data: &Path, file: &Path) -> Result<Backup, BackupError> {
        check_name(data, file)?;
        let removed = remove_leftovers(file);
        Ok(Backup { data: data.to_owned(), file: file.to_owned(), unfinished: Unfinished::of(file)?, removed })
    }

    /// Returns the file to remove if this process has to end at once.
    pub fn unfinished(&self) -> &Unfinished {
        &self.unfinished
    }

    /// Writes the file, checks it, and renames it. After a failure no file is left under either name.
    pub fn make(self) -> Result<BackupSummary, BackupError> {
        let made = read_only::read(&self.data, |database| self.write(database))
            .and_then(|summary| self.publish().map(|()| summary));
        if made.is_err() {
            self.unfinished.remove();
        }
        made
    }

    fn write(&self, database: &ReadOnlyDatabase) -> Result<BackupSummary, BackupError> {
        let connection = database.connection();
        let version = schema::version(connection).map_err(|error| self.failed(error))?;
        if version == 0 {
            return Err(BackupError::Empty { path: database.path().to_owned() });
        }
        let newest = newest(connection).map_err(|error| self.failed(error))?;
        let file = self.unfinished.create().map_err(unwritable("create", self.unfinished.path()))?;
        self.copy(connection).map_err(|error| self.failed(error))?;
        self.unfinished.check_is(&file).map_err(unwritable("write", self.unfinished.path()))?;
        let summary = self.check(version, newest)?;
        file.sync_all().map_err(unwritable("sync", self.unfinished.path()))?;
        Ok(summary)
    }

    fn copy(&self, database: &Connection) -> rusqlite::Result<()> {
        // Bound as bytes, because a path need not be UTF-8.
        let path = ToSqlOutput::Borrowed(ValueRef::Text(self.unfinished.path().as_os_str().as_bytes()));
        database.execute("vacuum into ?1", [path])?;
        let copy = open_own(self.unfinished.path())?;
        identity::forget(&copy)?;
        copy.close().map_err(|(_, error)| error)
    }

    /// Reads the written file like a server that is started with it, and compares it with the database.
    fn check(&self, version: i64, newest_before: Seq) -> Result<BackupSummary, BackupError> {
        let path = self.unfinished.path();
        let bytes = path.metadata().map_err(unwritable("read the size of", path))?.len();
        let backup = open_at_rest(path).map_err(|error| self.failed(error))?;
        schema::check(&backup, path).map_err(ReadOnlyError::from)?;
        let faults: String =
            backup.query_row("pragma integrity_check(1)", [], |row| row.get(0)).map_err(|error| self.failed(error))?;
        let (messages, waiting) = counts(&backup).map_err(|error| self.failed(error))?;
        let newest = newest(&backup).map_err(|error| self.failed(error))?;
        let found = schema::version(&backup).map_err(|error| self.failed(error))?;
        let problem = if faults != "ok" {
            faults
        } else if found != version {
            format!("the copy has schema version {found} instead of {version}")
        } else if newest < newest_before {
            format!("the copy ends with seq {newest} instead of {newest_before}")
        } else {
            return Ok(BackupSummary { messages, waiting, newest, bytes });
        };
        Err(BackupError::Damaged { problem })
    }

    /// Renames the file to its final name and syncs the directory.
    fn publish(&self) -> Result<(), BackupError> {
        rename_to_new(self.unfinished.path(), &self.file).map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => BackupError::Exists { path: self.file.clone() },
            _ => unwritable("write", &self.file)(source),
        })?;
        // Some file systems cannot sync a directory; the file itself is synced.
        let _ = File::open(directory_of(&self.file)).and_then(|directory| directory.sync_all());
        Ok(())
    }

    fn failed(&self, source: rusqlite::Error) -> BackupError {
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                BackupError::Damaged { problem: source.to_string() }
            }
            _ => BackupError::CopyFailed { path: self.file.clone(), source },
        }
    }
}

impl Unfinished {
    fn of(file: &Path) -> Result<Self, BackupError> {
        // SQLite must not follow a link that somebody puts there meanwhile, so it gets a path without any.
        let directory = directory_of(file).canonicalize().map_err(unwritable("create", file))?;
        let mut path = directory.join(file.file_name().unwrap_or_default()).into_os_string();
        path.push(UNFINISHED);
        path.push(std::process::id().to_string());
        Ok(Unfinished(path.into()))
    }

    /// Removes the file, and the journal that SQLite may have put beside it.
    pub fn remove(&self) {
        for path in [self.path(), &beside(self.path(), "-journal")] {
            // The file may not exist.
            let _ = fs::remove_file(path);
        }
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// Creates the file: empty, and private from the first byte. Replaces an old one.
    fn create(&self) -> io::Result<File> {
        self.remove();
        OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(self.path())
    }

    /// Checks that the path still leads to the file that was created: the directory may be somebody else's.
    fn check_is(&self, created: &File) -> io::Result<()> {
        let (created, found) = (created.metadata()?, self.path().symlink_metadata()?);
        if (created.dev(), created.ino()) == (found.dev(), found.ino()) {
            Ok(())
        } else {
            Err(io::Error::other("somebody replaced the file meanwhile"))
        }
    }
}

fn check_name(data: &Path, file: &Path) -> Result<(), BackupError> {
    let invalid = |problem| Err(BackupError::InvalidName { path: file.to_owned(), problem });
    let Some(name) = file.file_name() else { return invalid("is not a file") };
    if file.is_dir() || file.as_os_str().as_bytes().ends_with(b"/") {
        return invalid("is a directory");
    }
    if file.symlink_metadata().is_ok() {
        return Err(BackupError::Exists { path: file.to_owned() });
    }
    let database = database_in(data);
    // The database may be a link; its other files are beside the real one.
    for database in [&database, &database.canonicalize().unwrap_or_default()] {
        let is_beside = database.parent().is_some_and(|directory| is_same_directory(directory_of(file), directory));
        if is_beside && reserved_names(database).iter().any(|path| path.ends_with(name)) {
            return invalid("is a name that the database uses itself");
        }
    }
    Ok(())
}

fn is_same_directory(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// Returns the paths that the server and SQLite use for a database.
fn reserved_names(database: &Path) -> [PathBuf; 5] {
    let beside = |suffix| beside(database, suffix);
    [database.to_owned(), beside("-wal"), beside("-shm"), beside("-journal"), lock_of(database)]
}

/// Removes the files that backups to this file left when they were killed, and returns their paths. Keeps the file of a backup
/// that is running.
fn remove_leftovers(file: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory_of(file)) else { return Vec::new() };
    let of_file = |path: &PathBuf| {
        path.file_name().zip(file.file_name()).is_some_and(|(leftover, file)| is_leftover(leftover, file))
    };
    let leftovers = entries.flatten().map(|entry| entry.path()).filter(of_file);
    leftovers.filter(|path| fs::remove_file(path).is_ok()).collect()
}

/// Whether `name` is the temporary name of a backup to `file`, or of its journal, and the process that wrote it has ended.
fn is_leftover(name: &OsStr, file: &OsStr) -> bool {
    let rest = name.as_bytes().strip_prefix(file.as_bytes()).and_then(|rest| rest.strip_prefix(UNFINISHED.as_bytes()));
    let number = rest.map(|rest| rest.strip_suffix(b"-journal").unwrap_or(rest));
    let process = number.and_then(|number| str::from_utf8(number).ok()?.parse::<u32>().ok());
    process.is_some_and(|process| process == std::process::id() || !is_running(process))
}

fn is_running(process: u32) -> bool {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    // A process of another user counts as running, although this one may not send it a signal.
    process.is_some_and(|process| test_kill_process(process) != Err(Errno::SRCH))
}

/// Reads the newest `seq` that was ever given.
fn newest(database: &Connection) -> rusqlite::Result<Seq> {
    database.query_row(&format!("select {NEWEST}"), [], |row| row.get(0).map(Seq::new))
}

/// Counts all messages, and the undelivered ones up to [`WAITING_COUNTED_MAX`] + 1, if all rows can be read for that.
fn counts(backup: &Connection) -> rusqlite::Result<(u64, Option<u64>)> {
    let messages = backup.query_row("select count(*) from message", [], |row| integer(row, 0))?;
    let sql = "select count(*) from (select 1 from waiting limit ?1)";
    let waiting = match backup.query_row(sql, [WAITING_COUNTED_MAX as i64 + 1], |row| integer(row, 0)) {
        // The view fails if a column that should be JSON is not. The pages of the backup were checked before.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => None,
        waiting => Some(waiting?.cast_unsigned()),
    };
    Ok((messages.cast_unsigned(), waiting))
}

/// Renames a file. Fails if the new name exists.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match rename_no_replace(from, to) {
        Err(error) if error.kind() == ErrorKind::Unsupported || error.kind() == ErrorKind::InvalidInput => {
            claim_and_rename(from, to)
        }
        renamed => renamed,
    }
}

/// Renames a file on a file system that cannot check and rename in one step: creates the new name first, which fails if it exists.
fn claim_and_rename(from: &Path, to: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(to)?;
    fs::rename(from, to).inspect_err(|_| drop(fs::remove_file(to)))
}

/// Calls renameat2(2) with RENAME_NOREPLACE.
#[cfg(target_os = "linux")]
fn rename_no_replace(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};

    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

#[cfg(not(target_os = "linux"))]
fn rename_no_replace(_: &Path, _: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn unwritable(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Unwritable { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rename_overwrites_no_file() {
        for rename in [rename_to_new, claim_and_rename] {
            let home = tempfile::tempdir().unwrap();
            let (from, to) = (home.path().join("from"), home.path().join("to"));
            fs::write(&to, "old").unwrap();
            fs::write(&from, "new").unwrap();
            assert_eq!(rename(&from, &to).unwrap_err().kind(), ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&to).unwrap(), b"old");
            fs::remove_file(&to).unwrap();
            rename(&from, &to).unwrap();
            assert_eq!(fs::read(&to).unwrap(), b"new");
        }
    }

    #[test]
    fn failed_rename_leaves_no_file() {
        let home = tempfile::tempdir().unwrap();
        let to = home.path().join("to");
        claim_and_rename(&home.path().join("missing"), &to).unwrap_err();
        assert!(!to.exists());
    }

    #[test]
    fn link_that_somebody_puts_in_the_place_of_the_file_is_not_followed() {
        let (data, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        drop(schema::open(&database_in(data.path())).unwrap());
        let (precious, file) = (home.path().join("precious"), home.path().join("copy.db"));
        let backup = Backup::prepare(data.path(), &file).unwrap();
        let copied = || {
            let copied = |database: &ReadOnlyDatabase| Ok::<_, ReadOnlyError>(backup.copy(database.connection()));
            read_only::read(data.path(), copied).unwrap()
        };
        let created = backup.unfinished.create().unwrap();
        fs::remove_file(backup.unfinished.path()).unwrap();
        std::os::unix::fs::symlink(&precious, backup.unfinished.path()).unwrap();
        copied().unwrap_err();
        assert!(!precious.exists(), "the link was followed");
        fs::remove_file(backup.unfinished.path()).unwrap();
        copied().unwrap();
        backup.unfinished.check_is(&created).unwrap_err();
    }

    #[test]
    fn leftovers_are_only_files_of_ended_backups_to_the_same_file() {
        let gone = i32::MAX;
        for (name, expected) in [
            (format!("copy.db.unfinished-{gone}"), true),
            (format!("copy.db.unfinished-{gone}-journal"), true),
            (format!("copy.db.unfinished-{}", std::process::id()), true),
            ("copy.db.unfinished-1".to_owned(), false),
            (format!("a-copy.db.unfinished-{gone}"), false),
            (format!("copy.db-{gone}"), false),
            ("copy.db.unfinished-".to_owned(), false),
            ("copy.db.unfinished--1".to_owned(), false),
            ("copy.db".to_owned(), false),
        ] {
            assert_eq!(is_leftover(name.as_ref(), "copy.db".as_ref()), expected, "{name}");
        }
    }
}
