//! The record of what was stored, in the lock file: without it, a database whose write-ahead log was deleted looks like an older one, and
//! nobody learns that messages are missing. Owns its form, and when it applies to a database; never what a server does then.
//!
//! The record is written after a commit, and not synced itself. So if the commits are synced, it never names more than the database and its
//! log contain, whatever a power cut leaves of the record. If they are not, it only says that a server has not closed the database.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::config::Durability;
use crate::message::Seq;

/// Offset of the record in the lock file, behind the number of the process.
const OFFSET: u64 = 21;

/// Lock file, with the record of the database beside it.
#[derive(Debug)]
pub(crate) struct RecordFile {
    lock: File,
    database: PathBuf,
    /// Whether commits with messages are synced.
    is_synced: bool,
}

/// Newest stored message, and the state of the database file then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) newest: Seq,
    /// Whether the message was synced.
    pub(crate) is_synced: bool,
    database: FileVersion,
}

/// Identity of a file and of its content. A database that was put in the place of another one, or that another program changed, has another
/// state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileVersion {
    inode: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
}

impl RecordFile {
    /// Takes over a handle of the lock file. It must be open as long as the lock file itself: closing it releases what `mark_for_server` locked.
    pub(super) fn new(lock: File, database: PathBuf, durability: Durability) -> Self {
        RecordFile { lock, database, is_synced: durability == Durability::PowerLoss }
    }

    /// Records that the messages up to `newest` are stored. A failure only means that the loss of the log may go unnoticed.
    pub(crate) fn write(&self, newest: Seq) {
        let Ok(found) = self.database.metadata() else { return };
        let record = Record { newest, is_synced: self.is_synced, database: FileVersion::of(&found) };
        let _ = self.lock.write_all_at(record.to_line().as_bytes(), OFFSET);
    }

    /// Removes the record: the database file has everything.
    pub(crate) fn clear(&self) {
        let _ = self.lock.set_len(OFFSET);
    }
}

/// Writes the number of this process into a lock file, for people, and leaves the record as it is.
pub(super) fn write_process(lock: &File) -> io::Result<()> {
    let width = OFFSET as usize - 1;
    lock.write_all_at(format!("{:<width$}\n", std::process::id()).as_bytes(), 0)
}

impl Record {
    /// Reads the record from a lock file. `None`: there is none, as a server has closed the database.
    pub(crate) fn read(lock: &File) -> Option<Record> {
        let mut bytes = [0; 128];
        let count = lock.read_at(&mut bytes, OFFSET).ok()?;
        Record::parse(str::from_utf8(&bytes[..count]).ok()?)
    }

    /// Whether the record was written for this database file, with the content that it has now.
    pub(crate) fn is_of(&self, database: &Path) -> bool {
        database.metadata().is_ok_and(|found| FileVersion::of(&found) == self.database)
    }

    /// Returns the record as a line, which always has the same length: a shorter one would leave the end of a longer one.
    fn to_line(self) -> String {
        let FileVersion { inode, modified: (seconds, nanoseconds) } = self.database;
        let kind = if self.is_synced { "synced" } else { "stored" };
        format!("{kind} {:020} in {inode:020} of {seconds:020}.{nanoseconds:09}\n", self.newest.get())
    }

    fn parse(line: &str) -> Option<Record> {
        let (kind, fields) = line.strip_suffix('\n')?.split_once(' ')?;
        let is_synced = match kind {
            "synced" => true,
            "stored" => false,
            _ => return None,
        };
        let (newest, rest) = fields.split_once(" in ")?;
        let (inode, modified) = rest.split_once(" of ")?;
        let (seconds, nanoseconds) = modified.split_once('.')?;
        let modified = (seconds.parse().ok()?, nanoseconds.parse().ok()?);
        let database = FileVersion { inode: inode.parse().ok()?, modified };
        Some(Record { newest: Seq::new(newest.parse().ok()?), is_synced, database })
    }
}

impl FileVersion {
    fn of(found: &Metadata) -> FileVersion {
        FileVersion { inode: found.ino(), modified: (found.mtime(), found.mtime_nsec()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_is_read_as_it_was_written_and_a_part_of_it_is_none() {
        for (seconds, is_synced) in [(0, true), (1_796_000_000, false), (-5, true)] {
            let database = FileVersion { inode: 7, modified: (seconds, 999_999_999) };
            let record = Record { newest: Seq::new(3000), is_synced, database };
            let line = record.to_line();
            assert_eq!(Record::parse(&line), Some(record));
            (0..line.len()).for_each(|end| assert_eq!(Record::parse(&line[..end]), None));
        }
    }
}
