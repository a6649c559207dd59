//! Medium alone: the bytes that SQLite writes for one message, and the sync after them, without SQLite. Owns a file like
//! a write-ahead log that has been written once; never reads it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Bytes of a page in the log, with its header.
const FRAME_BYTES: usize = 24 + 4096;

/// Frames of one commit: a page of messages. Cursors are not committed with each message.
const FRAMES_OF_COMMIT: usize = 1;

/// Commits until the log is written from its beginning again: 16 MiB.
const COMMITS: u64 = 2000;

/// File that is overwritten from beginning to end, repeatedly.
pub(crate) struct Medium {
    file: File,
    frame: [u8; FRAME_BYTES],
    /// Commits written so far.
    written: u64,
}

impl Medium {
    /// Creates the file, on the disk that is measured.
    pub(crate) fn open(directory: &Path) -> Result<Medium> {
        let file = File::create_new(directory.join("medium"))?;
        let mut medium = Medium { file, frame: [0; FRAME_BYTES], written: 0 };
        for _ in 0..COMMITS {
            medium.write()?;
        }
        medium.file.sync_all()?;
        Ok(medium)
    }

    /// Writes a commit and syncs it.
    pub(crate) fn write_one(&mut self) -> Result<Duration> {
        let started = Instant::now();
        self.write()?;
        self.file.sync_data()?;
        Ok(started.elapsed())
    }

    fn write(&mut self) -> Result<()> {
        // Different each time: unchanged bytes might not have to be written.
        self.frame[..8].copy_from_slice(&self.written.to_le_bytes());
        let place = (self.written % COMMITS) as usize * FRAMES_OF_COMMIT;
        for frame in place..place + FRAMES_OF_COMMIT {
            self.file.write_all_at(&self.frame, (frame * FRAME_BYTES) as u64)?;
        }
        self.written += 1;
        Ok(())
    }
}
