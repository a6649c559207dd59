//! The database as a bystander sees it: beside a running server, after a crash, or on a medium that cannot be written.
//! Owns how it is opened so that no file is made, changed or left behind; never what is asked of it.

use std::fmt::Write as _;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};

use crate::database::directory::database_in;
use crate::database::schema::{self, SchemaError};
use crate::limits::{DATABASE_BUSY_MS_MAX, LOOKS_MAX};

/// Where SQLite keeps its locks in a database file: <https://www.sqlite.org/fileformat2.html>, "The Lock-Byte Page".
const LOCK_BYTES_START: u64 = 0x4000_0000;

/// How many bytes that are.
const LOCK_BYTES: u64 = 512;

/// Why the database cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// It is not there, not ours, or damaged.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The system does not let us.
    #[error("cannot read {}: {source}; run this as the user of the server, or as root", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else was there each time.
    #[error("{} was opened or changed by somebody each time it was read; run this again", path.display())]
    Disturbed {
        /// The database.
        path: PathBuf,
    },
    /// Whoever changed it was interrupted, and only one who may write can take that back.
    #[error("{} was left by a change that did not end; start the server once, which takes that back", journal.display())]
    HalfChanged {
        /// What is needed to take it back.
        journal: PathBuf,
    },
}

/// Opens the database of a data directory, which must be there, be ours and not be newer than we are, and looks at it; again
/// where somebody wrote to it meanwhile and no lock of SQLite kept us apart.
pub(super) fn look<T, E: From<LookError>>(
    data: &Path,
    mut look: impl FnMut(&ReadOnlyDatabase) -> Result<T, E>,
) -> Result<T, E> {
    let mut failed = LookError::Disturbed { path: database_in(data) };
    for _ in 0..LOOKS_MAX {
        match ReadOnlyDatabase::open(data) {
            Ok(database) => {
                let seen = look(&database);
                if database.was_undisturbed() {
                    return seen;
                }
            }
            // It may have been half written.
            Err(error) => failed = error,
        }
    }
    Err(failed.into())
}

/// A connection that only reads.
#[derive(Debug)]
pub(super) struct ReadOnlyDatabase {
    connection: Connection,
    /// Without links: SQLite's other files are beside it.
    path: PathBuf,
    /// What the files were like when nobody had them open; none: SQLite's locks keep us and the others apart.
    at_rest: Option<Traces>,
    /// Whether the file says that it is in WAL mode. Of a database at rest SQLite would not tell.
    in_wal_mode: bool,
}

impl ReadOnlyDatabase {
    fn open(data: &Path) -> Result<Self, LookError> {
        let path = resolved(data)?;
        let unreadable = |source| LookError::Unreadable { path: path.clone(), source };
        let traces = Traces::of(&path).map_err(unreadable)?;
        // Before there is a connection: to close a file gives up all the locks that we hold on it; fcntl(2).
        let is_ours_alone = open_by(&path).map_err(unreadable)? == OpenBy::Nobody;
        let in_wal_mode = is_in_wal_mode(&path).map_err(unreadable)?;
        let at_rest = is_ours_alone.then_some(traces);
        let opened = match &at_rest {
            None => open_beside_others(&path),
            Some(traces) if traces.journal.is_some() => {
                return Err(LookError::HalfChanged { journal: beside(&path, "-journal") });
            }
            Some(traces) if traces.wal.is_some() => open_with_wal(&path),
            Some(_) => open_at_rest(&path),
        };
        let connection = opened.map_err(schema::explain(&path))?;
        schema::check(&connection, &path)?;
        Ok(ReadOnlyDatabase { connection, path, at_rest, in_wal_mode })
    }

    /// Where to ask.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The database file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the database is in WAL mode.
    pub(super) fn is_in_wal_mode(&self) -> bool {
        self.in_wal_mode
    }

    /// Whether nobody had the database open.
    pub(super) fn is_at_rest(&self) -> bool {
        self.at_rest.is_some()
    }

    /// Whether all answers so far were of a database that nobody wrote to behind our back. If not, they mean nothing.
    fn was_undisturbed(&self) -> bool {
        let Some(at_rest) = &self.at_rest else { return true };
        // A connection to a database at rest holds no lock that could be given up.
        let is_same = Traces::of(&self.path).is_ok_and(|traces| traces == *at_rest);
        is_same && open_by(&self.path).is_ok_and(|open_by| open_by == OpenBy::Nobody)
    }
}

/// Which other processes have the database open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenBy {
    /// None.
    Nobody,
    /// At least this one, where the system tells its number.
    Somebody(Option<i32>),
}

/// Asks who has the database open: in WAL mode each who does keeps a lock on it all the time. Takes no lock itself, and so
/// is never in the way of a server that starts just now.
pub(super) fn open_by(database: &Path) -> io::Result<OpenBy> {
    let any_lock = Flock {
        start: LOCK_BYTES_START,
        length: LOCK_BYTES,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    let held = fcntl_getlk(File::open(database)?, &any_lock)?;
    Ok(held.map_or(OpenBy::Nobody, |lock| OpenBy::Somebody(lock.pid.map(|pid| pid.as_raw_pid()))))
}

/// Opens a database that is a single file and that nobody writes to, such as a backup.
pub(super) fn open_at_rest(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(immutable(path), READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
}

/// The file that SQLite keeps beside a database, such as its `-wal`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Both versions of the file format are 2: <https://www.sqlite.org/fileformat2.html>, "File format version numbers".
fn is_in_wal_mode(path: &Path) -> io::Result<bool> {
    let mut header = Vec::new();
    File::open(path)?.take(20).read_to_end(&mut header)?;
    Ok(header.get(18..20) == Some(&[2, 2]))
}

/// The path without links, where the database is there.
fn resolved(data: &Path) -> Result<PathBuf, LookError> {
    let path = database_in(data);
    path.canonicalize().map_err(|source| match source.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => SchemaError::Missing { path }.into(),
        _ => LookError::Unreadable { path, source },
    })
}

const READ_ONLY: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Others have its `-wal` and `-shm` open: they are used, and stay theirs.
fn open_beside_others(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, READ_ONLY)?;
    connection.busy_timeout(Duration::from_millis(DATABASE_BUSY_MS_MAX))?;
    Ok(connection)
}

/// What a crash left in the `-wal` is read as well, with its index in our own memory: SQLite would write a `-shm` for it,
/// and copy the `-wal` into the database at the end.
fn open_with_wal(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags_and_vfs(path, READ_ONLY, c"unix-none")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.query_row("pragma locking_mode = exclusive", [], |_| Ok(()))?;
    Ok(connection)
}

/// As a URI that says that nobody changes the file: <https://www.sqlite.org/uri.html>
fn immutable(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte) {
            uri.push(byte.into());
        } else {
            write!(uri, "%{byte:02x}").expect("writing to a string cannot fail");
        }
    }
    uri + "?immutable=1"
}

/// What tells whether somebody wrote.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    database: Trace,
    /// None while it is empty.
    wal: Option<Trace>,
    /// None while it is empty.
    journal: Option<Trace>,
}

#[derive(Debug, PartialEq, Eq)]
struct Trace {
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
}

impl Traces {
    fn of(path: &Path) -> io::Result<Traces> {
        Ok(Traces {
            database: Trace::of(&path.metadata()?),
            wal: Trace::of_content(&beside(path, "-wal"))?,
            journal: Trace::of_content(&beside(path, "-journal"))?,
        })
    }
}

impl Trace {
    fn of(metadata: &Metadata) -> Trace {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Trace { inode: metadata.ino(), bytes: metadata.len(), modified }
    }

    fn of_content(path: &Path) -> io::Result<Option<Trace>> {
        match path.metadata() {
            Ok(metadata) => Ok(Some(Trace::of(&metadata)).filter(|trace| trace.bytes > 0)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_during_which_somebody_wrote_is_taken_again() {
        let data = tempfile::tempdir().unwrap();
        drop(schema::open(&database_in(data.path())).unwrap());
        let count_after_writes = |mut writes: usize| {
            let mut looks = 0;
            let counted = look(data.path(), |database| {
                looks += 1;
                if writes > 0 {
                    writes -= 1;
                    let writer = schema::open(database.path()).unwrap();
                    writer.execute("insert into inbox select 1, count(*), 1 from inbox", []).unwrap();
                }
                let count = database.connection().query_row("select count(*) from inbox", [], |row| row.get(0));
                Ok::<i64, LookError>(count.unwrap_or(0))
            });
            (counted.map_err(|error| error.to_string().contains("run this again")), looks)
        };
        assert_eq!(count_after_writes(0), (Ok(0), 1));
        assert_eq!(count_after_writes(1), (Ok(1), 2));
        assert_eq!(count_after_writes(LOOKS_MAX), (Err(true), LOOKS_MAX));
    }

    #[test]
    fn a_path_means_itself_in_a_uri() {
        assert_eq!(immutable(Path::new("/a/b-c_d.db")), "file:/a/b-c_d.db?immutable=1");
        assert_eq!(immutable(Path::new("/a b?c#d%/é")), "file:/a%20b%3fc%23d%25/%c3%a9?immutable=1");
    }
}
