//! Identity of the database: which one it has, and when it gets another one. A database that may lack messages which clients have seen gives
//! their `seq` to new ones. So a copy gets another identity at its first start, because its original may have gone on. An identity that
//! changes without need costs little: a client gets those messages again whose acknowledgement was not stored.
//!
//! Owns the table `identity`; never tells a client.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior};

use super::column;
use crate::config::Durability;
use crate::message::DatabaseId;

/// Id of the current boot. On other systems than Linux the file does not exist.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Identity as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredIdentity {
    /// Id of the database.
    pub(crate) database: DatabaseId,
    /// Words for the file for which the id was made.
    file: String,
}

impl StoredIdentity {
    /// Whether the identity was made for the file at this path.
    pub(crate) fn is_of(&self, path: &Path) -> bool {
        self.file.starts_with(&words_for(path, Durability::PowerLoss))
    }
}

/// Returns the id of a database. Makes another one first if it has none, or has it from another file.
pub(crate) fn renew_if_copied(
    connection: &mut Connection,
    path: &Path,
    durability: Durability,
) -> rusqlite::Result<DatabaseId> {
    let file = words_for(path, durability);
    match stored(connection)? {
        Some(identity) if identity.file == file => Ok(identity.database),
        earlier => {
            let database = random(connection)?;
            if let Err(error) = store(connection, database, &file) {
                // As on a full disk, where the server still starts.
                log::warn!(
                    "cannot store the new identity of the database ({error}); the next start gives it another one"
                );
            }
            if let Some(earlier) = earlier {
                log::info!(
                    "the database has the new identity {database} instead of {}: it was copied, or with durability = \"crash\" \
                     the system was restarted",
                    earlier.database
                );
            }
            Ok(database)
        }
    }
}

/// Reads the identity. `None`: there is none, or somebody wrote it by hand.
pub(crate) fn stored(connection: &Connection) -> rusqlite::Result<Option<StoredIdentity>> {
    let read = |row: &Row<'_>| Ok((column::text(row, 0)?, column::text(row, 1)?));
    let found = connection.query_row("select database, file from identity", [], read).optional()?;
    Ok(found.and_then(|(database, file)| Some(StoredIdentity { database: DatabaseId::parse(&database)?, file })))
}

/// Removes the identity, so that the first server that uses the database next makes another one. An older schema has none.
pub(crate) fn forget(connection: &Connection) -> rusqlite::Result<()> {
    let has_table = connection.query_row("select 1 from sqlite_schema where name = 'identity'", [], |_| Ok(()));
    if has_table.optional()?.is_some() {
        connection.execute("delete from identity", [])?;
    }
    Ok(())
}

fn random(connection: &Connection) -> rusqlite::Result<DatabaseId> {
    let random: [u8; 16] = connection.query_row("select randomblob(16)", [], |row| row.get(0))?;
    Ok(DatabaseId::from(random))
}

fn store(connection: &mut Connection, database: DatabaseId, file: &str) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute("delete from identity", [])?;
    transaction.execute("insert into identity values (?1, ?2)", (database.to_string(), file))?;
    transaction.commit()
}

/// Returns words that change when the database is copied: the number of the file, and the time at which it was created, where the file system
/// knows that. If a power cut may take commits, they change with each start of the system, too.
fn words_for(path: &Path, durability: Durability) -> String {
    let file = fs::metadata(path).map_or_else(
        |_| String::new(),
        |metadata| {
            let created = metadata.created().and_then(|time| time.duration_since(UNIX_EPOCH).map_err(io::Error::other));
            let created = created.map_or_else(
                |_| "an unknown time".to_owned(),
                |time| format!("{}.{:09}", time.as_secs(), time.subsec_nanos()),
            );
            format!("file {} of {created}", metadata.ino())
        },
    );
    match durability {
        Durability::PowerLoss => file,
        Durability::Crash => format!("{file}, boot {}", fs::read_to_string(BOOT_ID).unwrap_or_default().trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::schema;

    #[test]
    fn identity_that_cannot_be_stored_is_used_once() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("holdline.db");
        let mut connection = schema::open(&path).unwrap();
        let mut id = || renew_if_copied(&mut connection, &path, Durability::PowerLoss).unwrap();
        let before = id();
        assert_eq!(id(), before);
        connection.execute_batch("delete from identity; pragma query_only = on").unwrap();
        let mut id = || renew_if_copied(&mut connection, &path, Durability::PowerLoss).unwrap();
        let unstored = [before, id(), id()];
        assert!(unstored[0] != unstored[1] && unstored[1] != unstored[2], "{unstored:?}");
    }
}
