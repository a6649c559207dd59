//! Checks whether the write-ahead log is there: that of a running server, and that of one that did not stop cleanly. Never opens the
//! database while a server has it open.

use std::fs::File;
use std::path::Path;

use super::Finding;
use crate::database::at_rest::{LogLoss, beside, log_loss};
use crate::database::directory::{database_in, lock_of, possible_loss};
use crate::database::locks::{OpenBy, open_by};
use crate::database::words::counted;
use crate::trust::for_shell;

/// Reports a missing write-ahead log.
pub(super) fn check(data: &Path) -> Option<Finding> {
    let database = database_in(data).canonicalize().ok().filter(|path| path.is_file())?;
    let wal = beside(&database, "-wal");
    match open_by(&database).ok()? {
        OpenBy::None => check_at_rest(&database, &wal),
        OpenBy::Process(_) if !is_deleted(&wal, &beside(&database, "-shm")) => None,
        OpenBy::Process(_) => {
            let what =
                format!("a process has the database open, and its write-ahead log {} was deleted", wal.display());
            let advice =
                "stop the server with SIGTERM, do not kill it: it copies what it has accepted into the database";
            Some(Finding::problem(what).advise(advice))
        }
    }
}

/// Whether the log of an open database was deleted. A process that starts creates it before its index, and one that ends removes it after that.
fn is_deleted(wal: &Path, index: &Path) -> bool {
    !wal.exists() && index.exists() && !wal.exists()
}

fn check_at_rest(database: &Path, wal: &Path) -> Option<Finding> {
    let lock_path = lock_of(database);
    let lock = File::open(&lock_path).ok();
    // The examination of the database reports what cannot be read.
    match log_loss(database, wal, lock.as_ref()).ok()?? {
        LogLoss::Messages { found, stored } => {
            let missing = counted(stored.get().abs_diff(found.get()), "message");
            let what = format!(
                "{} lacks {missing}: the newest that was stored has seq {stored}, and the newest in it seq {found}",
                database.display()
            );
            let advice = format!(
                "put back {}, which was deleted or not copied; this goes on without the messages",
                wal.display()
            );
            Some(Finding::problem(what).advise(advice).with_command(format!("rm {}", for_shell(&lock_path))))
        }
        LogLoss::Possible { found } => {
            let what = possible_loss(database, wal, found);
            Some(Finding::warning(what).advise("if another program has opened the database since, nothing is lost"))
        }
    }
}
