//! Whether the paths of an open database still lead to its files: a directory that is removed, moved or replaced takes its open files with
//! it, and what is written to them then is not found again. Owns the paths and the files that they led to; never changes a file.

use std::fs::File;
use std::path::PathBuf;

use rustix::fs::{Stat, fstat, stat};
use rustix::io::Errno;

/// Files of an open database, with the paths that must lead to them.
#[derive(Debug, Default)]
pub(crate) struct OpenFiles(Vec<OpenFile>);

/// File that a path led to when the database was opened.
#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    part: DatabasePart,
    id: FileId,
}

/// Device and inode. No other file gets them while the file is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

/// Part of a database that is a file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabasePart {
    /// The database file.
    Database,
    /// The write-ahead log, or its index.
    Log,
}

/// A file of the open database that its path does not lead to: what is committed now may not be found later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} was removed, moved or replaced while the server had it open ({why})", path.display())]
pub struct Unreachable {
    path: PathBuf,
    why: String,
    pub(crate) part: DatabasePart,
}

impl OpenFiles {
    /// Notes the files of a database that is open. Fails if one of these paths does not lead to its file.
    pub(super) fn of(database: &File, paths: Vec<PathBuf>, log: [PathBuf; 2]) -> Result<OpenFiles, Unreachable> {
        let id = fstat(database).map(|found| FileId::of(&found));
        let of_database = |path| OpenFile::noted(path, DatabasePart::Database, id);
        let of_log = |path: PathBuf| {
            let id = stat(&path).map(|found| FileId::of(&found));
            OpenFile::noted(path, DatabasePart::Log, id)
        };
        let files = paths.into_iter().map(of_database).chain(log.into_iter().map(of_log));
        let files = OpenFiles(files.collect::<Result<_, _>>()?);
        files.check()?;
        Ok(files)
    }

    /// Checks that all paths lead to the files.
    pub(crate) fn check(&self) -> Result<(), Unreachable> {
        self.0.iter().try_for_each(OpenFile::check)
    }
}

impl OpenFile {
    fn noted(path: PathBuf, part: DatabasePart, id: Result<FileId, Errno>) -> Result<OpenFile, Unreachable> {
        match id {
            Ok(id) => Ok(OpenFile { path, part, id }),
            Err(error) => Err(Unreachable { path, why: error.to_string(), part }),
        }
    }

    fn check(&self) -> Result<(), Unreachable> {
        let why = match stat(&self.path) {
            Ok(found) if FileId::of(&found) == self.id => return Ok(()),
            Ok(_) => "another file is there".to_owned(),
            Err(Errno::NOENT | Errno::NOTDIR) => "nothing is there".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(Unreachable { path: self.path.clone(), why, part: self.part })
    }
}

impl FileId {
    #[allow(clippy::unnecessary_cast, reason = "the fields have other types on other systems")]
    fn of(found: &Stat) -> FileId {
        FileId { device: found.st_dev as u64, inode: found.st_ino as u64 }
    }
}

impl Unreachable {
    /// Returns the advice to the operator of a server that runs.
    pub(crate) fn advice(&self) -> &'static str {
        match self.part {
            DatabasePart::Database => "move it back, or stop the server and restore a backup",
            DatabasePart::Log => {
                "stop the server with SIGTERM, do not kill it, and start it again: all that it has accepted is copied into the database"
            }
        }
    }
}
