//! The write-ahead log: when it is copied into the database file, and what becomes of it after a failed sync, which is the
//! one thing that SQLite leaves open. Owns the file beside SQLite, which alone knows what is in it.
//!
//! Where a sync has failed, the system forgets what it could not write, and no later sync brings it to the medium; fsync(2).
//! SQLite writes a commit again that it was to sync, but not those before it that it was not to. Whatever is committed
//! behind them would be lost with them, synced or not, and if they are copied into the database file, it may be left with
//! pages of two times. So they are written again first, as they still can be read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::{Connection, Statement, Transaction, TransactionBehavior, ffi, hooks};

use crate::limits::{CHECKPOINT_WAL_PAGES, WAL_CHUNK_BYTES};
use crate::outage_log::OutageLog;

/// How many pages the write-ahead log had after the last commit: SQLite tells, as to ask would cost more than a commit.
#[derive(Debug, Default)]
pub(super) struct WalPages(Arc<AtomicU32>);

impl WalPages {
    /// From the next commit on.
    pub(super) fn watch(connection: &mut Connection) -> rusqlite::Result<Self> {
        let count = Arc::new(AtomicU32::new(0));
        let told = count.clone();
        let tell = move |_: &mut hooks::Wal, pages: i32| {
            told.store(pages.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        };
        connection.wal_hook(Some(tell))?;
        Ok(WalPages(count))
    }
}

/// The write-ahead log of an open database.
pub(super) struct Wal<'c> {
    connection: &'c Connection,
    pages: WalPages,
    file: File,
    /// Something in it may not be on the medium, and not be on its way there.
    may_be_unsynced: bool,
    /// Whether it can be copied.
    copies: OutageLog,
    checkpoint: Statement<'c>,
}

impl<'c> Wal<'c> {
    pub(super) fn new(connection: &'c Connection, pages: WalPages, file: File) -> rusqlite::Result<Self> {
        Ok(Wal {
            connection,
            pages,
            file,
            // The server before us may have met a failed sync.
            may_be_unsynced: true,
            copies: OutageLog::new(
                "the write-ahead log cannot be copied into the database file, and grows",
                "the write-ahead log is copied into the database file again",
            ),
            checkpoint: connection.prepare("pragma wal_checkpoint(passive)")?,
        })
    }

    /// Notes that a commit or a copy has failed; says whether that was a failed sync.
    pub(super) fn note_failure(&mut self, error: &rusqlite::Error) -> bool {
        let is_failed_sync = error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_FSYNC);
        self.may_be_unsynced |= is_failed_sync;
        is_failed_sync
    }

    /// Makes sure that all of it is on its way to the medium.
    pub(super) fn rewrite(&mut self) -> rusqlite::Result<()> {
        if !self.may_be_unsynced {
            return Ok(());
        }
        // Nobody else writes to it meanwhile.
        let _transaction = Transaction::new_unchecked(self.connection, TransactionBehavior::Immediate)?;
        self.settle_in_transaction()
    }

    /// The same in a transaction that was begun to write.
    pub(super) fn settle_in_transaction(&mut self) -> rusqlite::Result<()> {
        if self.may_be_unsynced {
            write_again(&self.file).map_err(in_words_of_sqlite)?;
            self.may_be_unsynced = false;
        }
        Ok(())
    }

    /// Copies it into the database file when it has become long. SQLite would do that too, and tell nobody when it fails.
    pub(super) fn checkpoint_if_long(&mut self) {
        if self.pages.0.swap(0, Ordering::Relaxed) >= CHECKPOINT_WAL_PAGES {
            self.checkpoint();
        }
    }

    /// Copies it into the database file, as far as nobody reads it, and cuts that off where it ends.
    pub(super) fn checkpoint(&mut self) {
        let copied = self.rewrite().and_then(|()| self.checkpoint.query_row([], |_| Ok(())));
        if let Err(error) = &copied {
            self.note_failure(error);
        }
        self.copies.note(copied.err().as_ref());
    }
}

fn write_again(file: &File) -> io::Result<()> {
    // A failed sync is told once to each who has the file open, and to us perhaps not yet.
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

fn in_words_of_sqlite(error: io::Error) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR), Some(error.to_string()))
}
