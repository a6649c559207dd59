//! The write-ahead log: checkpoints it when it has become long, and rewrites it after a failed sync, which SQLite does not do.
//! Never interprets the content of the file; only SQLite knows it.
//!
//! After a failed sync the system forgets the pages that it could not write, and no later sync brings them to the medium;
//! fsync(2). SQLite writes the commit again whose sync failed, but not the unsynced commits before it. If these were missing on
//! the medium, every later commit would be lost with them, synced or not, and a checkpoint could leave the database file with
//! a mix of old and new pages. Therefore the whole file is written and synced again first; its content can still be read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::{Connection, Statement, Transaction, TransactionBehavior, ffi, hooks};

use crate::limits::{CHECKPOINT_WAL_PAGES, WAL_CHUNK_BYTES};
use crate::outage_log::OutageLog;

/// Pages in the write-ahead log after the last commit, as reported by SQLite's hook: a query would cost more than a commit.
#[derive(Debug, Default)]
pub(super) struct WalPages(Arc<AtomicU32>);

impl WalPages {
    /// Installs the hook; it counts from the next commit on.
    pub(super) fn watch(connection: &mut Connection) -> rusqlite::Result<Self> {
        let count = Arc::new(AtomicU32::new(0));
        let reported = count.clone();
        let report = move |_: &mut hooks::Wal, pages: i32| {
            reported.store(pages.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        };
        connection.wal_hook(Some(report))?;
        Ok(WalPages(count))
    }
}

/// The write-ahead log of an open database.
pub(super) struct Wal<'c> {
    connection: &'c Connection,
    pages: WalPages,
    file: File,
    /// Whether a failed sync may have left parts of the file that no later sync brings to the medium.
    may_be_unsynced: bool,
    checkpoint_outage: OutageLog,
    checkpoint: Statement<'c>,
}

impl<'c> Wal<'c> {
    pub(super) fn new(connection: &'c Connection, pages: WalPages, file: File) -> rusqlite::Result<Self> {
        Ok(Wal {
            connection,
            pages,
            file,
            // A sync may have failed in the previous server.
            may_be_unsynced: true,
            checkpoint_outage: OutageLog::new(
                "cannot copy the write-ahead log into the database file, so it grows",
                "copying the write-ahead log into the database file works again",
            ),
            checkpoint: connection.prepare("pragma wal_checkpoint(passive)")?,
        })
    }

    /// Notes that a commit or a checkpoint failed. Returns whether the reason was a failed sync.
    pub(super) fn note_failure(&mut self, error: &rusqlite::Error) -> bool {
        let is_failed_sync = error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_FSYNC);
        self.may_be_unsynced |= is_failed_sync;
        is_failed_sync
    }

    /// Writes and syncs the file again, if a sync may have failed.
    pub(super) fn rewrite(&mut self) -> rusqlite::Result<()> {
        if !self.may_be_unsynced {
            return Ok(());
        }
        // Keeps other processes from writing to the file meanwhile.
        let _transaction = Transaction::new_unchecked(self.connection, TransactionBehavior::Immediate)?;
        self.rewrite_in_transaction()
    }

    /// Like [`rewrite`](Self::rewrite), in a write transaction of the caller.
    pub(super) fn rewrite_in_transaction(&mut self) -> rusqlite::Result<()> {
        if self.may_be_unsynced {
            write_again(&self.file).map_err(to_sqlite_error)?;
            self.may_be_unsynced = false;
        }
        Ok(())
    }

    /// Checkpoints the log once it has become long. SQLite's own automatic checkpoint would not report a failure.
    pub(super) fn checkpoint_if_long(&mut self) {
        if self.pages.0.swap(0, Ordering::Relaxed) >= CHECKPOINT_WAL_PAGES {
            self.checkpoint();
        }
    }

    /// Copies the log into the database file, as far as no reader still needs the old pages, and truncates the database file
    /// if it has become shorter.
    pub(super) fn checkpoint(&mut self) {
        let done = self.rewrite().and_then(|()| self.checkpoint.query_row([], |_| Ok(())));
        if let Err(error) = &done {
            self.note_failure(error);
        }
        self.checkpoint_outage.note(done.err().as_ref());
    }
}

fn write_again(file: &File) -> io::Result<()> {
    // The system reports a failed sync once per open file; this one may not have received the report yet.
    let _ = file.sync_data();
    let mut chunk = vec![0; WAL_CHUNK_BYTES];
    let mut offset = 0;
    loop {
        let bytes = file.read_at(&mut chunk, offset)?;
        if bytes == 0 {
            return file.sync_data();
        }
        file.write_all_at(&chunk[..bytes], offset)?;
        offset += bytes as u64;
    }
}

fn to_sqlite_error(error: io::Error) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR), Some(error.to_string()))
}
