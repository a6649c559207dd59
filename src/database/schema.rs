//! The schema: created and upgraded by the numbered files in `migrations/`, its only source. Opens and closes the database, and
//! refuses files of other programs or of a newer holdline. Never writes to a table.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use crate::limits::{DATABASE_BUSY_MS_MAX, WAL_FILE_BYTES_MAX};

/// Migrations; the one at index N upgrades a database from schema version N to N + 1. Append-only: a released migration is
/// never edited.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/0001-log.sql"),
    include_str!("../../migrations/0002-lagging-index.sql"),
    include_str!("../../migrations/0003-rooms-and-programs.sql"),
    include_str!("../../migrations/0004-search.sql"),
    include_str!("../../migrations/0005-plugins.sql"),
    include_str!("../../migrations/0006-topics.sql"),
    include_str!("../../migrations/0007-room-floor.sql"),
    include_str!("../../migrations/0008-shares.sql"),
    include_str!("../../migrations/0009-identity.sql"),
    include_str!("../../migrations/0010-clocks.sql"),
    include_str!("../../migrations/0011-running-time.sql"),
    include_str!("../../migrations/0012-past-members.sql"),
    include_str!("../../migrations/0013-purge.sql"),
    include_str!("../../migrations/0014-accounts.sql"),
];

/// Application id in the header of the file, "hold" in ASCII: marks the file as a holdline database, for `file(1)` too.
/// <https://www.sqlite.org/pragma.html#pragma_application_id>
pub(crate) const APPLICATION_ID: i64 = 0x686f_6c64;

/// Reason why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The database was written by a newer holdline.
    #[error(
        "{} has schema version {found}, but this holdline supports versions up to {known}; start the newer holdline that wrote it",
        path.display()
    )]
    Newer {
        /// Database file.
        path: PathBuf,
        /// Schema version of the file.
        found: i64,
        /// Newest version that this program supports.
        known: i64,
    },
    /// The database was written by an older holdline, and the command may not upgrade it.
    #[error(
        "{} has schema version {found}, but this command needs version {known}; start the server once to upgrade the database",
        path.display()
    )]
    Older {
        /// Database file.
        path: PathBuf,
        /// Schema version of the file.
        found: i64,
        /// Version that the command needs.
        known: i64,
    },
    /// The file is an SQLite database of another program.
    #[error("{} is a database of another program; choose another directory with --data DIR, or move that file away", path.display())]
    Foreign {
        /// Database file.
        path: PathBuf,
    },
    /// The file is damaged or not an SQLite database.
    #[error(
        "{} is damaged or not an SQLite database ({source}); restore a backup, or move the file away to start with an empty database",
        path.display()
    )]
    Damaged {
        /// Database file.
        path: PathBuf,
        /// Error of SQLite.
        source: rusqlite::Error,
    },
    /// The file does not exist, and the command may not create it.
    #[error("there is no database {}; start the server once to create it, or choose its directory with --data DIR", path.display())]
    Missing {
        /// Database file.
        path: PathBuf,
    },
    /// Any other failure.
    #[error("cannot open {} ({source}); check that the server may read and write it, that the disk has free space, and that its files may grow (ulimit -f)", path.display())]
    Unusable {
        /// Database file.
        path: PathBuf,
        /// Error of SQLite.
        source: rusqlite::Error,
    },
}

/// Opens a database for writing. Creates it if it is missing, and upgrades its schema.
pub(crate) fn open(path: &Path) -> Result<Connection, SchemaError> {
    let mut connection = Connection::open(path).map_err(explain(path))?;
    connection.busy_timeout(Duration::from_millis(DATABASE_BUSY_MS_MAX)).map_err(explain(path))?;
    check(&connection, path)?;
    prepare_file(&connection).map_err(explain(path))?;
    migrate(&mut connection).map_err(explain(path))?;
    Ok(connection)
}

/// Fails if the file belongs to another program or to a newer holdline.
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

/// Fails if the schema is older than this program's.
pub(crate) fn check_newest(connection: &Connection, path: &Path) -> Result<(), SchemaError> {
    let found = version(connection).map_err(explain(path))?;
    let known = MIGRATIONS.len() as i64;
    if found < known {
        return Err(SchemaError::Older { path: path.to_owned(), found, known });
    }
    Ok(())
}

/// SQL expression for the newest `seq` that was ever given. The message itself may have been removed: then a cursor or `sent`
/// still has its number. A message to a room without other members moves no cursor, so `sent` is needed, too. If its sender was removed,
/// `removed_id` has the number.
pub(crate) const NEWEST: &str = "
    max(coalesce((select max(seq) from message where seq <= 1e18), 0),
        coalesce((select max(seq) from removed_id where typeof(seq) = 'integer' and seq <= 1e18), 0),
        coalesce((select max(max(iif(typeof(cursor) = 'integer' and cursor <= 1e18, cursor, 0),
                                 iif(typeof(sent) = 'integer' and sent <= 1e18, sent, 0))) from peer), 0))";

/// End of the write-ahead log when the database is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WalEnd {
    /// Copied into the database file, and removed.
    Copied,
    /// Left as it is, because it could not be synced.
    Unsynced,
    /// Left as it is, because its path does not lead to it: nothing is removed, as the file there may belong to another process.
    Abandoned,
}

/// Closes the database, and with it the write-ahead log. After a failure nothing is lost; only the next start takes longer.
pub(crate) fn close(connection: Connection, wal: WalEnd) {
    let checkpointed = if wal == WalEnd::Copied {
        connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))
    } else {
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
    };
    match checkpointed.and(connection.close().map_err(|(_, error)| error)) {
        Ok(()) if wal != WalEnd::Unsynced => {}
        Ok(()) => log::warn!("cannot sync the write-ahead log; it stays beside the database, do not delete it"),
        Err(error) => log::warn!(
            "cannot copy the write-ahead log into the database ({error}); it stays beside it and nothing is lost, \
             do not delete it"
        ),
    }
}

/// Writes a page with its old content, to test whether a commit succeeds.
pub(crate) fn write_unchanged_page(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)
}

fn prepare_file(connection: &Connection) -> rusqlite::Result<()> {
    // Must be set before the first table exists. Lets the server return free pages to the file system a few at a time.
    connection.execute_batch("pragma auto_vacuum = incremental")?;
    connection.query_row("pragma journal_mode = wal", [], |_| Ok(()))?;
    // The store checkpoints by itself, to notice failures.
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
    fn failed_migration_changes_nothing() {
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
