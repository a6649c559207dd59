//! A database that no process has open: whether its write-ahead log is missing, and a connection that creates no file. Never changes a file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::record::Record;
use super::schema::{self, MIGRATIONS};
use crate::message::Seq;

/// Bytes of the header of a write-ahead log. A shorter one holds nothing: <https://www.sqlite.org/fileformat2.html>, "WAL Header Format".
const WAL_HEADER_BYTES: u64 = 32;

/// Flags for reading. The path of the database has no links. A backup is written with the same flags, so it follows none either.
pub(crate) const READ_ONLY: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX).union(OpenFlags::SQLITE_OPEN_NOFOLLOW);

/// Opens a database that consists of a single file and that no process writes to, such as a backup.
pub(crate) fn open_at_rest(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(immutable(path), READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
}

/// Whether both file format versions in the header are 2: <https://www.sqlite.org/fileformat2.html>, "File format version
/// numbers".
pub(crate) fn is_in_wal_mode(path: &Path) -> io::Result<bool> {
    let mut header = Vec::new();
    File::open(path)?.take(20).read_to_end(&mut header)?;
    Ok(header.get(18..20) == Some(&[2, 2]))
}

/// Evidence that a write-ahead log with messages was deleted, or not copied with its database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLoss {
    /// The lock file says that more messages were stored than the database has.
    Messages {
        /// Newest message of the database.
        found: Seq,
        /// Newest message that was stored.
        stored: Seq,
    },
    /// The database was used by a server that did not close it, and there is no log.
    Possible {
        /// Newest message of the database.
        found: Seq,
    },
}

/// Looks for evidence that the write-ahead log of a database is missing. Must not be called while this process has the database open.
pub(crate) fn log_loss(database: &Path, wal: &Path, lock: Option<&File>) -> rusqlite::Result<Option<LogLoss>> {
    let wal_bytes = wal.metadata().map(|found| found.len());
    let is_used = is_in_wal_mode(database).unwrap_or(false);
    if !is_used || wal_bytes.as_ref().is_ok_and(|bytes| *bytes >= WAL_HEADER_BYTES) {
        return Ok(None);
    }
    let connection = open_at_rest(database)?;
    if schema::version(&connection)? != MIGRATIONS.len() as i64 {
        return Ok(None);
    }
    let sql = format!("select {}, (select coalesce(max(seq), 0) from indexed)", schema::NEWEST);
    let (found, indexed) = connection.query_row(&sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
    // A server that closes the database completes its index, and removes the record. A copy may have no lock file.
    let record = lock.map(Record::read);
    let is_closed = indexed >= found || record == Some(None);
    let found = Seq::new(found.max(0));
    let evidence =
        record.flatten().filter(|record| record.is_synced && record.newest > found && record.is_of(database));
    Ok(match evidence {
        Some(record) => Some(LogLoss::Messages { found, stored: record.newest }),
        None if !is_closed && wal_bytes.is_err() => Some(LogLoss::Possible { found }),
        None => None,
    })
}

/// Returns the path of a file that SQLite puts beside a database, such as its `-wal`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Returns an SQLite URI that promises that the file does not change: <https://www.sqlite.org/uri.html>
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_escaped_in_a_uri() {
        assert_eq!(immutable(Path::new("/a/b-c_d.db")), "file:/a/b-c_d.db?immutable=1");
        assert_eq!(immutable(Path::new("/a b?c#d%/é")), "file:/a%20b%3fc%23d%25/%c3%a9?immutable=1");
    }
}
