//! The schema: made and brought up to date by the numbered files in `migrations/`, its only source, and refused in words
//! where it is not ours or is newer than we are. Owns opening and closing the database; never what is in its tables.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use crate::limits::{DATABASE_BUSY_MS_MAX, WAL_FILE_BYTES_MAX};

/// Migration N of this list brings a database of schema version N to N + 1. Append-only: what has landed is never edited.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001-log.sql"),
    include_str!("../../migrations/0002-lagging-index.sql"),
    include_str!("../../migrations/0003-rooms-and-programs.sql"),
    include_str!("../../migrations/0004-search.sql"),
    include_str!("../../migrations/0005-plugins.sql"),
];

/// Marks the file as ours, for `file(1)` and for ourselves: "hold". <https://www.sqlite.org/pragma.html#pragma_application_id>
pub(crate) const APPLICATION_ID: i64 = 0x686f_6c64;

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A later version of holdline wrote it.
    #[error(
        "{} has schema version {found}, and this holdline knows versions up to {known}; start the newer holdline that wrote it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// An earlier version of holdline wrote it, and nobody may bring it up to date but a server.
    #[error(
        "{} has schema version {found}, and is read from version {known} on; start holdline once, which brings it up to date",
        path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// SQLite's, but of another program.
    #[error("{} is a database of another program; name another directory with --data DIR, or move that file away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Not SQLite's, or damaged.
    #[error("{} is no SQLite database, or is damaged ({source}); restore it from a backup, or move it away to start anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// Not there, for one who only reads.
    #[error("there is no database {}; start holdline once to make it, or name its directory with --data DIR", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Anything else.
    #[error("cannot open {} ({source}); check that the server may read and write it, and that its disk has room", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// Opens a database for writing, as ours and with the newest schema.
pub(crate) fn open(path: &Path) -> Result<Connection, SchemaError> {
    let mut connection = Connection::open(path).map_err(explain(path))?;
    connection.busy_timeout(Duration::from_millis(DATABASE_BUSY_MS_MAX)).map_err(explain(path))?;
    check(&connection, path)?;
    prepare_file(&connection).map_err(explain(path))?;
    migrate(&mut connection).map_err(explain(path))?;
    Ok(connection)
}

/// Refuses what is not ours or is newer than we are.
pub(crate) fn check(connection: &Connection, path: &Path) -> Result<(), SchemaError> {
    let found = version(connection).map_err(explain(path))?;
    let application = pragma_number(connection, "application_id").map_err(explain(path))?;
    let tables: i64 =
        connection.query_row("select count(*) from sqlite_schema", [], |row| row.get(0)).map_err(explain(path))?;
    let is_new = tables == 0 && found == 0 && application == 0;
    if application != APPLICATION_ID && !is_new {
        return Err(SchemaError::Foreign { path: path.to_owned() });
    }
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(SchemaError::Newer { path: path.to_owned(), found, known });
    }
    Ok(())
}

/// Refuses what a server has not brought up to date.
pub(crate) fn check_newest(connection: &Connection, path: &Path) -> Result<(), SchemaError> {
    let found = version(connection).map_err(explain(path))?;
    let known = MIGRATIONS.len() as i64;
    if found < known {
        return Err(SchemaError::Older { path: path.to_owned(), found, known });
    }
    Ok(())
}

/// The newest `seq` that was ever given: what a cursor points at may have been removed, or what somebody sent last; what goes into a
/// room that nobody else is in moves no cursor.
pub(crate) const NEWEST: &str =
    "max(coalesce((select max(seq) from message), 0), coalesce((select max(max(cursor, sent)) from peer), 0))";

/// Copies the write-ahead log into the database file and closes it; one that is not settled is only left where it is. A
/// failure costs nothing but time at the next start.
pub(crate) fn close(connection: Connection, is_settled: bool) {
    let copied = if is_settled {
        connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))
    } else {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
    };
    match copied.and(connection.close().map_err(|(_, error)| error)) {
        Ok(()) if is_settled => {}
        Ok(()) => log::warn!("the write-ahead log stays beside the database, as it cannot be synced"),
        Err(error) => log::warn!("the write-ahead log stays beside the database, nothing in it is lost: {error}"),
    }
}

/// Commits a page that is what it was before.
pub(crate) fn write_nothing_new(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)
}

fn prepare_file(connection: &Connection) -> rusqlite::Result<()> {
    // Both must be chosen before the first table: pages that are freed can then be given back a few at a time.
    connection.execute_batch("pragma auto_vacuum = incremental")?;
    connection.query_row("pragma journal_mode = wal", [], |_| Ok(()))?;
    // The store does it, and sees whether it works.
    connection.query_row("pragma wal_autocheckpoint = 0", [], |_| Ok(()))?;
    connection.query_row(&format!("pragma journal_size_limit = {WAL_FILE_BYTES_MAX}"), [], |_| Ok(()))
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    for number in version(connection)?..MIGRATIONS.len() as i64 {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(MIGRATIONS[number as usize])?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", number + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

pub(crate) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    pragma_number(connection, "user_version")
}

pub(crate) fn pragma_number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("pragma {pragma}"), [], |row| row.get(0))
}

pub(crate) fn explain(path: &Path) -> impl FnOnce(rusqlite::Error) -> SchemaError {
    let path = path.to_owned();
    move |source| match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => SchemaError::Damaged { path, source },
        _ => SchemaError::Unusable { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_that_fails_leaves_nothing_behind() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("create table inbox (in_the_way)").unwrap();
        migrate(&mut connection).unwrap_err();
        let tables: Vec<String> = connection
            .prepare("select name from sqlite_schema")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(tables, ["inbox"]);
        assert_eq!(version(&connection).unwrap(), 0);
    }
}
