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
use std::time::{Duration, Instant};

use rusqlite::{Connection, Row, Statement, Transaction, TransactionBehavior, ffi, hooks};
use rustix::fs::fstatvfs;
use rustix::process::{Resource, getrlimit};

use super::locking::without_waiting;
use crate::database::words::size;
use crate::limits::{
    CHECKPOINT_WAL_PAGES, CHECKPOINT_WAL_PAGES_MIN, DISK_RESERVE_BYTES, FREE_DISK_BYTES_LOW, IDLE_CHECKPOINT_S_MIN,
    WAL_CHUNK_BYTES, WAL_FREE_PARTS,
};
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
    /// Bytes of the log that may not be in the database file yet.
    pending_bytes: u64,
    /// Bytes that a file may have at most, if the system limits them for this process.
    file_bytes_max: Option<u64>,
    /// Bytes that are free on the disk, as of the last query; `None` if the system does not tell.
    free_bytes: Option<u64>,
    /// Time of the last checkpoint that was made because there was nothing to do.
    idle_checkpoint: Option<Instant>,
    /// Whether there was a checkpoint since [`take_checkpointed`](Self::take_checkpointed).
    has_checkpointed: bool,
    checkpoint_outage: OutageLog,
    checkpoint: Statement<'c>,
    checkpoint_and_truncate: Statement<'c>,
}

impl<'c> Wal<'c> {
    pub(super) fn new(connection: &'c Connection, pages: WalPages, file: File) -> rusqlite::Result<Self> {
        Ok(Wal {
            connection,
            pages,
            // A sync may have failed in the previous server.
            may_be_unsynced: true,
            pending_bytes: file.metadata().map_or(0, |metadata| metadata.len()),
            file_bytes_max: getrlimit(Resource::Fsize).current,
            free_bytes: free_bytes(&file),
            file,
            idle_checkpoint: None,
            has_checkpointed: false,
            checkpoint_outage: OutageLog::new(
                "cannot copy the write-ahead log into the database file, so it grows",
                "copying the write-ahead log into the database file works again",
            ),
            checkpoint: connection.prepare("pragma wal_checkpoint(passive)")?,
            checkpoint_and_truncate: connection.prepare("pragma wal_checkpoint(truncate)")?,
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

    /// Checkpoints the log once it has become long for the free space of the disk. SQLite's own automatic checkpoint would not report a
    /// failure.
    pub(super) fn checkpoint_if_long(&mut self) {
        let pages = self.pages.0.swap(0, Ordering::Relaxed);
        if pages < CHECKPOINT_WAL_PAGES_MIN {
            self.pending_bytes = self.pending_bytes.max(u64::from(pages) * FRAME_BYTES);
            return;
        }
        self.pending_bytes = u64::from(pages) * FRAME_BYTES;
        self.free_bytes = free_bytes(&self.file);
        // Of a file that is limited, the log takes half: a checkpoint adds its pages to the database file, which has the same limit.
        let limits = [self.free_bytes.map(|bytes| bytes / WAL_FREE_PARTS), self.file_bytes_max.map(|bytes| bytes / 2)];
        let pages_max = limits.into_iter().flatten().min().map_or(CHECKPOINT_WAL_PAGES, checkpoint_pages);
        if pages >= pages_max {
            self.checkpoint();
        }
    }

    /// Checkpoints and truncates what the last server left in the log, or a new schema.
    pub(super) fn checkpoint_at_start(&mut self) {
        if !self.is_copied() {
            self.copy_into_database(true);
        }
    }

    /// Returns when to checkpoint the log if nothing is stored until then: whoever copies only the database file has at least that.
    pub(super) fn idle_checkpoint_at(&self) -> Option<Instant> {
        let now = Instant::now();
        let earliest =
            self.idle_checkpoint.map_or(now, |time| now.max(time + Duration::from_secs(IDLE_CHECKPOINT_S_MIN)));
        (!self.is_copied()).then_some(earliest)
    }

    /// Checkpoints the log of a server that has nothing to do.
    pub(super) fn checkpoint_when_idle(&mut self) {
        self.idle_checkpoint = Some(Instant::now());
        if !self.is_copied() {
            self.checkpoint();
        }
    }

    /// Whether there was a checkpoint since the last call.
    pub(super) fn take_checkpointed(&mut self) -> bool {
        std::mem::take(&mut self.has_checkpointed)
    }

    /// Copies the log into the database file, as far as no reader still needs the old pages, and truncates the database file
    /// if it has become shorter. If little space is free, truncates the log, too.
    pub(super) fn checkpoint(&mut self) {
        self.copy_into_database(self.is_space_low());
    }

    fn copy_into_database(&mut self, truncates: bool) {
        let done = self.rewrite().and_then(|()| if truncates { self.truncate() } else { self.copy() });
        match &done {
            Ok(pages) => {
                self.pending_bytes = pages * FRAME_BYTES;
            }
            Err(error) => drop(self.note_failure(error)),
        }
        self.has_checkpointed = true;
        self.checkpoint_outage.note(done.err().as_ref());
    }

    /// Adds what limits the size of files to the reason of a failed write.
    pub(super) fn explain(&self, words: String) -> String {
        match self.file_bytes_max {
            Some(bytes) => format!("{words}; a file may have {} here, see ulimit -f", size(bytes)),
            None => words,
        }
    }

    /// Whether the database file has everything that the log has, as of the last checkpoint.
    pub(super) fn is_copied(&self) -> bool {
        self.pending_bytes == 0
    }

    /// Returns the number of pages that could not be copied, because a reader needs the old ones.
    fn copy(&mut self) -> rusqlite::Result<u64> {
        self.checkpoint.query_row([], pages_left)
    }

    /// Like [`copy`](Self::copy), and truncates the log unless a reader needs it.
    fn truncate(&mut self) -> rusqlite::Result<u64> {
        without_waiting(self.connection, || self.checkpoint_and_truncate.query_row([], pages_left))
    }

    fn is_space_low(&self) -> bool {
        self.free_bytes.is_some_and(|free_bytes| free_bytes < FREE_DISK_BYTES_LOW)
    }

    /// Checks that messages of this many bytes leave enough space to copy the log into the database file: a full disk with a log that cannot be
    /// copied would stay full, whatever is removed. Returns the bytes that are missing as a reason, for people.
    pub(super) fn check_space(&mut self, message_bytes: u64) -> Result<(), String> {
        if !self.is_space_low() {
            return Ok(());
        }
        if self.missing_bytes(message_bytes) > 0 && self.pending_bytes > 0 {
            self.checkpoint();
        }
        match self.missing_bytes(message_bytes) {
            0 => Ok(()),
            missing => Err(format!("{} more must be free to store this safely", size(missing))),
        }
    }

    /// Bytes that are missing to store messages of this many bytes. They are written to the log, and again to the database file, where they
    /// may take twice as much with their indexes.
    fn missing_bytes(&mut self, message_bytes: u64) -> u64 {
        self.free_bytes = free_bytes(&self.file);
        let needed = self.pending_bytes + 3 * message_bytes + DISK_RESERVE_BYTES;
        self.free_bytes.map_or(0, |free_bytes| needed.saturating_sub(free_bytes))
    }
}

/// Reads the result of a checkpoint: pages in the log, less those that were copied.
fn pages_left(row: &Row<'_>) -> rusqlite::Result<u64> {
    let [pages, copied]: [i64; 2] = [row.get(1)?, row.get(2)?];
    Ok((pages - copied).max(0).cast_unsigned())
}

/// Bytes of a page in the log, with its header.
const FRAME_BYTES: u64 = 24 + 4096;

/// Bytes that are free on the disk of a file; `None` if the system does not tell.
fn free_bytes(file: &File) -> Option<u64> {
    // Some file systems have no size.
    let disk = fstatvfs(file).ok().filter(|disk| disk.f_blocks > 0)?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Pages of the log at which it is checkpointed, if it may take this many bytes.
fn checkpoint_pages(bytes: u64) -> u32 {
    let pages = u32::try_from(bytes / FRAME_BYTES).unwrap_or(u32::MAX);
    pages.clamp(CHECKPOINT_WAL_PAGES_MIN, CHECKPOINT_WAL_PAGES)
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
