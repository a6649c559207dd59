//! The write-ahead log as a file, for the one thing that SQLite does not do. Owns no SQL.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rusqlite::ffi;

use crate::limits::WAL_CHUNK_BYTES;

/// Writes the write-ahead log again as it can be read, and syncs it. Nobody else may write to it meanwhile.
///
/// Where a sync has failed, the system forgets what it could not write, and the next sync knows nothing of it; fsync(2). SQLite
/// writes a commit again that it was to sync, but not those before it that it was not: what is written behind them would be
/// lost with them. Only writing them again brings them to the medium.
pub(super) fn write_again(wal: &File) -> rusqlite::Result<()> {
    copy_onto_itself(wal).map_err(in_words_of_sqlite)
}

fn copy_onto_itself(file: &File) -> io::Result<()> {
    // The system tells of a failed sync once by each way the file is open: by this one it may not have told yet.
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
