//! A backup: one file that a server can start with, of one moment, written beside a running server and checked before it has
//! its name. Owns how it comes to be whole or not at all; never changes the database that it is of.
//!
//! It is made by `VACUUM INTO`, which reads one snapshot: a server that writes meanwhile is neither waited for nor held up.
//! SQLite's backup interface would begin anew whenever somebody has written, and copies what is free or removed too.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::read_only::{self, LookError, ReadOnlyDatabase, beside, open_at_rest};
use crate::database::directory::{FILE_MODE, LOCK, database_in};
use crate::database::schema::{self, NEWEST};
use crate::database::words::{at_most_counted, counted, size};
use crate::limits::WAITING_COUNTED_MAX;
use crate::message::Seq;

/// Stands between the name of a backup and the number of the process that is writing it.
const UNFINISHED: &str = ".unfinished-";

/// Why there is no backup. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database cannot be read.
    #[error(transparent)]
    Look(#[from] LookError),
    /// There is nothing to keep yet.
    #[error("{} is empty, there is nothing to back up yet", path.display())]
    Empty {
        /// The database.
        path: PathBuf,
    },
    /// Something has the name already.
    #[error("{} is there already, and is not overwritten; name a file that does not exist, or move that one away", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The name is none, or one that is needed for something else.
    #[error("{} {problem}; name a file for the backup, such as holdline-backup.db", path.display())]
    Unnameable {
        /// What was given.
        path: PathBuf,
        /// Why it cannot be one.
        problem: &'static str,
    },
    /// The file cannot be written.
    #[error("cannot {what} {}: {source}; name a file in a directory that you may write to, on a disk with room", path.display())]
    Unwritable {
        /// What was tried.
        what: &'static str,
        /// With which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// SQLite could not read the one or write the other.
    #[error("cannot copy the database into {} ({source}); make room, or name a file on another disk", path.display())]
    Uncopied {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The database is damaged, or what was written is not what should have been.
    #[error("no backup was made: {problem}; holdline doctor tells more")]
    Damaged {
        /// What is wrong.
        problem: String,
    },
}

/// A backup that is about to be made.
#[derive(Debug)]
pub struct Backup {
    data: PathBuf,
    file: PathBuf,
    unfinished: Unfinished,
    /// What earlier backups to this file left that did not end.
    pub removed: Vec<PathBuf>,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSummary {
    /// All messages.
    pub messages: u64,
    /// How many of them are still to be delivered, counted once for each recipient; one more than
    /// [`WAITING_COUNTED_MAX`] where they are more than that.
    pub waiting: u64,
    /// The newest message.
    pub newest: Seq,
    /// How large the file is.
    pub bytes: u64,
}

/// `12 messages up to seq 12, 3 still to be delivered, 56.0 KiB`
impl fmt::Display for BackupSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BackupSummary { messages, waiting, newest, bytes } = self;
        let (messages, waiting) = (counted(*messages, "message"), at_most_counted(*waiting));
        write!(f, "{messages} up to seq {newest}, {waiting} still to be delivered, {}", size(*bytes))
    }
}

/// A file that is being written, under a name that says so.
#[derive(Clone, Debug)]
pub struct Unfinished(PathBuf);

impl Backup {
    /// Refuses what cannot be the name of a backup, and removes what earlier ones to this name left that were killed.
    pub fn prepare(data: &Path, file: &Path) -> Result<Backup, BackupError> {
        check_name(data, file)?;
        let removed = remove_leftovers(file);
        Ok(Backup { data: data.to_owned(), file: file.to_owned(), unfinished: Unfinished::of(file)?, removed })
    }

    /// What is to be removed if this process has to end at once.
    pub fn unfinished(&self) -> &Unfinished {
        &self.unfinished
    }

    /// Writes it, checks it, and gives it its name. Whatever fails, nothing is left under either name.
    pub fn make(self) -> Result<BackupSummary, BackupError> {
        let made = read_only::look(&self.data, |database| self.write(database))
            .and_then(|summary| self.give_name().map(|()| summary));
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
        self.unfinished.create().map_err(unwritable("make", self.unfinished.path()))?;
        self.copy(connection).map_err(|error| self.failed(error))?;
        let summary = self.check(version, newest)?;
        let synced = File::open(self.unfinished.path()).and_then(|file| file.sync_all());
        synced.map_err(unwritable("sync", self.unfinished.path()))?;
        Ok(summary)
    }

    fn copy(&self, database: &Connection) -> rusqlite::Result<()> {
        // Bytes as they are: a path need not be UTF-8.
        let path = ToSqlOutput::Borrowed(ValueRef::Text(self.unfinished.path().as_os_str().as_bytes()));
        database.execute("vacuum into ?1", [path])?;
        Ok(())
    }

    /// Reads what was written, as whoever restores it will.
    fn check(&self, version: i64, newest_before: Seq) -> Result<BackupSummary, BackupError> {
        let path = self.unfinished.path();
        let bytes = path.metadata().map_err(unwritable("look at", path))?.len();
        let backup = open_at_rest(path).map_err(|error| self.failed(error))?;
        schema::check(&backup, path).map_err(LookError::from)?;
        let faults: String =
            backup.query_row("pragma integrity_check(1)", [], |row| row.get(0)).map_err(|error| self.failed(error))?;
        let (messages, waiting) = counts(&backup).map_err(|error| self.failed(error))?;
        let newest = newest(&backup).map_err(|error| self.failed(error))?;
        let found = schema::version(&backup).map_err(|error| self.failed(error))?;
        let problem = if faults != "ok" {
            faults
        } else if found != version {
            format!("its schema version became {found} from {version}")
        } else if newest < newest_before {
            format!("it ends with seq {newest} instead of {newest_before}")
        } else {
            return Ok(BackupSummary { messages, waiting, newest, bytes });
        };
        Err(BackupError::Damaged { problem })
    }

    fn give_name(&self) -> Result<(), BackupError> {
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
            _ => BackupError::Uncopied { path: self.file.clone(), source },
        }
    }
}

impl Unfinished {
    fn of(file: &Path) -> Result<Self, BackupError> {
        let mut path = std::path::absolute(file).map_err(unwritable("find", file))?.into_os_string();
        path.push(UNFINISHED);
        path.push(std::process::id().to_string());
        Ok(Unfinished(path.into()))
    }

    /// Removes it, and what SQLite may have put beside it.
    pub fn remove(&self) {
        for path in [self.path(), &beside(self.path(), "-journal")] {
            // It may never have been made.
            let _ = fs::remove_file(path);
        }
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it anew, empty, and private from the first byte.
    fn create(&self) -> io::Result<()> {
        self.remove();
        OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(self.path())?;
        Ok(())
    }
}

fn check_name(data: &Path, file: &Path) -> Result<(), BackupError> {
    let unnameable = |problem| Err(BackupError::Unnameable { path: file.to_owned(), problem });
    let Some(name) = file.file_name() else { return unnameable("is no file") };
    if file.is_dir() || file.as_os_str().as_bytes().ends_with(b"/") {
        return unnameable("is a directory");
    }
    if file.symlink_metadata().is_ok() {
        return Err(BackupError::Exists { path: file.to_owned() });
    }
    if is_same_directory(directory_of(file), data)
        && needed_beside_database(data).iter().any(|path| path.ends_with(name))
    {
        return unnameable("is what the database calls a file of its own");
    }
    Ok(())
}

fn is_same_directory(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

fn needed_beside_database(data: &Path) -> [PathBuf; 5] {
    let database = database_in(data);
    let beside = |suffix| beside(&database, suffix);
    [database.clone(), beside("-wal"), beside("-shm"), beside("-journal"), data.join(LOCK)]
}

/// Removes what backups to this file left that were killed, and says what that was. Another one that is being written stays.
fn remove_leftovers(file: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory_of(file)) else { return Vec::new() };
    let of_file = |path: &PathBuf| {
        path.file_name().zip(file.file_name()).is_some_and(|(leftover, file)| is_leftover(leftover, file))
    };
    let leftovers = entries.flatten().map(|entry| entry.path()).filter(of_file);
    leftovers.filter(|path| fs::remove_file(path).is_ok()).collect()
}

/// Whether a name is that of an unfinished backup to a file, or of its journal, whose process has ended.
fn is_leftover(name: &OsStr, file: &OsStr) -> bool {
    let rest = name.as_bytes().strip_prefix(file.as_bytes()).and_then(|rest| rest.strip_prefix(UNFINISHED.as_bytes()));
    let number = rest.map(|rest| rest.strip_suffix(b"-journal").unwrap_or(rest));
    let process = number.and_then(|number| str::from_utf8(number).ok()?.parse::<u32>().ok());
    process.is_some_and(|process| process == std::process::id() || !is_running(process))
}

fn is_running(process: u32) -> bool {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    // One of another user is running too, though we may send it no signal.
    process.is_some_and(|process| test_kill_process(process) != Err(Errno::SRCH))
}

/// The newest `seq` that was ever given.
fn newest(database: &Connection) -> rusqlite::Result<Seq> {
    database.query_row(&format!("select {NEWEST}"), [], |row| row.get(0).map(Seq::new))
}

/// How many messages there are, and how many are still to be delivered, if those are not very many.
fn counts(backup: &Connection) -> rusqlite::Result<(u64, u64)> {
    let sql = "select (select count(*) from message), (select count(*) from (select 1 from waiting limit ?1))";
    backup.query_row(sql, [WAITING_COUNTED_MAX as i64 + 1], |row| {
        Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64))
    })
}

/// Renames a file and overwrites none.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match rename_unless_taken(from, to) {
        // Not every file system can do both in one step.
        Err(error) if error.kind() == ErrorKind::Unsupported || error.kind() == ErrorKind::InvalidInput => {
            if to.symlink_metadata().is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        renamed => renamed,
    }
}

/// rename(2), RENAME_NOREPLACE.
#[cfg(target_os = "linux")]
fn rename_unless_taken(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};

    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

#[cfg(not(target_os = "linux"))]
fn rename_unless_taken(_: &Path, _: &Path) -> io::Result<()> {
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
    fn a_name_that_was_taken_meanwhile_stays_what_it_is() {
        let home = tempfile::tempdir().unwrap();
        let (from, to) = (home.path().join("from"), home.path().join("to"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        assert_eq!(rename_to_new(&from, &to).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&to).unwrap(), b"old");
        fs::remove_file(&to).unwrap();
        rename_to_new(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"new");
    }

    #[test]
    fn only_what_a_backup_to_this_file_left_is_a_leftover() {
        let gone = i32::MAX;
        for (name, is_one) in [
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
            assert_eq!(is_leftover(name.as_ref(), "copy.db".as_ref()), is_one, "{name}");
        }
    }
}
