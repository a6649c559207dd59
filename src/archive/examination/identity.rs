//! Check of the identity of the database: which one it has, and whether the next start gives it another one. Never compares `seq`.

use super::Finding;
use crate::archive::read_only::ReadOnlyDatabase;
use crate::database::identity;

/// Shows the identity.
pub(super) fn check(database: &ReadOnlyDatabase) -> rusqlite::Result<Vec<Finding>> {
    let finding = match identity::stored(database.connection())? {
        Some(identity) if identity.is_of(database.path()) => {
            Finding::ok(format!("the identity of the database is {}", identity.database))
        }
        Some(identity) => Finding::ok(format!(
            "the database is a copy of {}; the next start gives it an identity of its own",
            identity.database
        )),
        None => Finding::note("the database has no identity, like a backup").advise("the next start gives it one"),
    };
    Ok(vec![finding])
}
