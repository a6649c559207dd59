//! Read-only access to the database: beside a running server, after a crash, or on a read-only medium. Opens it so that no file
//! is created, changed or left behind; never runs a query of its own.

use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::database::at_rest::{READ_ONLY, beside, is_in_wal_mode, open_at_rest};
use crate::database::directory::database_in;
use crate::database::locks::{OpenBy, open_by};
use crate::database::schema::{self, SchemaError};
use crate::limits::{DATABASE_BUSY_MS_MAX, READ_ATTEMPTS_MAX};

/// Reason why the database cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadOnlyError {
    /// The database is missing, belongs to another program, has the wrong version, or is damaged.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A directory, a pipe or a device is where the database should be.
    #[error("{} is not a file; move it away, or choose another directory with --data DIR", path.display())]
    NotAFile {
        /// Path of the database.
        path: PathBuf,
    },
    /// The system denies access.
    #[error("cannot read {}: {source}; run this as the user of the server, or as root", path.display())]
    Unreadable {
        /// File that cannot be read.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// Another process opened or changed the database during each attempt.
    #[error("another process opened or changed {} each time it was read; run this again", path.display())]
    Disturbed {
        /// Database file.
        path: PathBuf,
    },
    /// A write was interrupted, and only a process that may write can roll it back.
    #[error("{} was left by an interrupted write; start the server once to roll that back", journal.display())]
    Interrupted {
        /// Journal with the pages from before the write.
        journal: PathBuf,
    },
}

/// Opens the database of a data directory and passes it to `read`. Repeats both, at most [`READ_ATTEMPTS_MAX`] times, if another
/// process wrote meanwhile and SQLite's locks did not protect the read. Fails if the database is missing, belongs to another
/// program, or is newer than this program.
pub(super) fn read<T, E: From<ReadOnlyError>>(
    data: &Path,
    mut read: impl FnMut(&ReadOnlyDatabase) -> Result<T, E>,
) -> Result<T, E> {
    let mut failed = ReadOnlyError::Disturbed { path: database_in(data) };
    for _ in 0..READ_ATTEMPTS_MAX {
        match ReadOnlyDatabase::open(data) {
            Ok(database) => {
                let result = read(&database);
                if database.was_undisturbed() {
                    return result;
                }
            }
            // Another process may have been in the middle of a write.
            Err(error) => failed = error,
        }
    }
    Err(failed.into())
}

/// Read-only connection to the database.
#[derive(Debug)]
pub(super) struct ReadOnlyDatabase {
    connection: Connection,
    /// Path with links resolved, as SQLite's other files are beside the real file.
    path: PathBuf,
    /// State of the files when no process had them open; `None`: SQLite's locks protect the reads.
    at_rest: Option<FileStates>,
    /// Whether the header of the file says WAL mode. SQLite does not report it for a database opened as immutable.
    in_wal_mode: bool,
}

impl ReadOnlyDatabase {
    fn open(data: &Path) -> Result<Self, ReadOnlyError> {
        let path = resolved(data)?;
        let unreadable = |source| ReadOnlyError::Unreadable { path: path.clone(), source };
        let states = FileStates::of(&path).map_err(unreadable)?;
        // Must precede the connection: closing a file releases all locks that this process holds on it; fcntl(2).
        let is_unused = open_by(&path).map_err(unreadable)? == OpenBy::None;
        let in_wal_mode = is_in_wal_mode(&path).map_err(unreadable)?;
        let at_rest = is_unused.then_some(states);
        let opened = match &at_rest {
            None => open_beside_others(&path),
            Some(states) if states.journal.is_some() => {
                return Err(ReadOnlyError::Interrupted { journal: beside(&path, "-journal") });
            }
            Some(states) if states.wal.is_some() => open_with_wal(&path),
            Some(_) => open_at_rest(&path),
        };
        let connection = opened.map_err(schema::explain(&path))?;
        schema::check(&connection, &path)?;
        Ok(ReadOnlyDatabase { connection, path, at_rest, in_wal_mode })
    }

    /// Returns the connection for queries.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Returns the path of the database file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the database is in WAL mode.
    pub(super) fn is_in_wal_mode(&self) -> bool {
        self.in_wal_mode
    }

    /// Whether no other process had the database open.
    pub(super) fn is_at_rest(&self) -> bool {
        self.at_rest.is_some()
    }

    /// Whether no process wrote to the database unprotected since it was opened. If one did, all results so far are invalid.
    fn was_undisturbed(&self) -> bool {
        let Some(at_rest) = &self.at_rest else { return true };
        // This connection holds no lock that opening and closing the file could release.
        let is_same = FileStates::of(&self.path).is_ok_and(|states| states == *at_rest);
        is_same && open_by(&self.path).is_ok_and(|open_by| open_by == OpenBy::None)
    }
}

/// Opens a database that this process has just written and that no other one knows, to complete it. A failure leaves it useless.
pub(super) fn open_own(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.query_row("pragma journal_mode = off", [], |_| Ok(()))?;
    Ok(connection)
}

/// Returns the path of the database with links resolved. Fails if the database does not exist.
fn resolved(data: &Path) -> Result<PathBuf, ReadOnlyError> {
    let path = database_in(data);
    let resolved = path.canonicalize().and_then(|resolved| Ok((resolved.metadata()?, resolved)));
    match resolved {
        Ok((found, resolved)) if found.is_file() => Ok(resolved),
        Ok((_, path)) => Err(ReadOnlyError::NotAFile { path }),
        Err(source) => Err(match source.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => SchemaError::Missing { path }.into(),
            _ => ReadOnlyError::Unreadable { path, source },
        }),
    }
}

/// Opens a database that another process has open, through the `-wal` and `-shm` files of that process.
fn open_beside_others(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, READ_ONLY)?;
    connection.busy_timeout(Duration::from_millis(DATABASE_BUSY_MS_MAX))?;
    Ok(connection)
}

/// Opens a database with a `-wal` that a crash left. Keeps the index of the `-wal` in memory, as SQLite would otherwise create a
/// `-shm` file, and prevents the checkpoint at the end.
fn open_with_wal(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags_and_vfs(path, READ_ONLY, c"unix-none")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.query_row("pragma locking_mode = exclusive", [], |_| Ok(()))?;
    Ok(connection)
}

/// State of the database's files; it changes with every write.
#[derive(Debug, PartialEq, Eq)]
struct FileStates {
    database: FileState,
    /// `None` if the file is missing or empty.
    wal: Option<FileState>,
    /// `None` if the file is missing or empty.
    journal: Option<FileState>,
}

#[derive(Debug, PartialEq, Eq)]
struct FileState {
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
}

impl FileStates {
    fn of(path: &Path) -> io::Result<FileStates> {
        Ok(FileStates {
            database: FileState::of(&path.metadata()?),
            wal: FileState::of_content(&beside(path, "-wal"))?,
            journal: FileState::of_content(&beside(path, "-journal"))?,
        })
    }
}

impl FileState {
    fn of(metadata: &Metadata) -> FileState {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        FileState { inode: metadata.ino(), bytes: metadata.len(), modified }
    }

    fn of_content(path: &Path) -> io::Result<Option<FileState>> {
        match path.metadata() {
            Ok(metadata) => Ok(Some(FileState::of(&metadata)).filter(|state| state.bytes > 0)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_is_repeated_if_another_process_wrote_meanwhile() {
        let data = tempfile::tempdir().unwrap();
        drop(schema::open(&database_in(data.path())).unwrap());
        let count_after_writes = |mut writes: usize| {
            let mut attempts = 0;
            let counted = read(data.path(), |database| {
                attempts += 1;
                if writes > 0 {
                    writes -= 1;
                    let writer = schema::open(database.path()).unwrap();
                    writer.execute("insert into inbox select 1, count(*), 1 from inbox", []).unwrap();
                }
                let count = database.connection().query_row("select count(*) from inbox", [], |row| row.get(0));
                Ok::<i64, ReadOnlyError>(count.unwrap_or(0))
            });
            (counted.map_err(|error| error.to_string().contains("run this again")), attempts)
        };
        assert_eq!(count_after_writes(0), (Ok(0), 1));
        assert_eq!(count_after_writes(1), (Ok(1), 2));
        assert_eq!(count_after_writes(READ_ATTEMPTS_MAX), (Err(true), READ_ATTEMPTS_MAX));
    }
}
