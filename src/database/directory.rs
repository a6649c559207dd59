//! The data directory: made private, and locked against a second server. Owns paths, permissions and the lock; never SQL.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub(crate) const DIRECTORY_MODE: u32 = 0o700;
pub(crate) const FILE_MODE: u32 = 0o600;
const DATABASE: &str = "holdline.db";
const WAL: &str = "holdline.db-wal";
pub(crate) const LOCK: &str = "holdline.lock";

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It cannot be made, or something in it cannot be opened.
    #[error("cannot {what} {}: {source}; give the server a directory that it may write to, with --data DIR", path.display())]
    Unusable {
        /// What was tried.
        what: &'static str,
        /// With which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another server has it.
    #[error("the data directory {} is in use by {holder}; stop that one first, or name another directory with --data DIR", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who has it, as far as it can be told.
        holder: String,
    },
    /// It is somebody else's, and open to others.
    #[error(
        "the data directory {} holds other files and can be read by other users; name a directory of its own with --data DIR, or make it private with chmod 700",
        path.display()
    )]
    Shared {
        /// The directory.
        path: PathBuf,
    },
    /// No thread for the store.
    #[error("cannot start the store's thread: {source}")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
}

/// A data directory that is ours as long as this lives.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    path: PathBuf,
    /// `flock(2)`: the system lets go of it however we end.
    _lock: File,
}

impl DataDirectory {
    /// Makes the directory if it is missing, makes it and the database file private, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, DirectoryError> {
        make_private(path)?;
        let lock = lock(path)?;
        let directory = DataDirectory { path: path.to_owned(), _lock: lock };
        make_database_file(&directory.database())?;
        Ok(directory)
    }

    /// Opens the write-ahead log, which is there while the database is open.
    pub(crate) fn open_wal(&self) -> Result<File, DirectoryError> {
        let path = self.wal();
        OpenOptions::new().read(true).write(true).open(&path).map_err(unusable("open", &path))
    }

    /// Syncs the names of what is in the directory, and its own: a new file is on the medium only once its directory is
    /// synced too; fsync(2).
    pub(crate) fn sync(&self) -> Result<(), DirectoryError> {
        let path = std::path::absolute(&self.path).map_err(unusable("find", &self.path))?;
        sync_directory(&path).map_err(unusable("sync", &path))?;
        for parent in path.ancestors().skip(1) {
            // A parent that we may not read, or not write to, was not changed by us either.
            let _ = sync_directory(parent);
        }
        Ok(())
    }

    /// Where the write-ahead log is.
    pub(crate) fn wal(&self) -> PathBuf {
        self.path.join(WAL)
    }

    /// Where the database is.
    pub(crate) fn database(&self) -> PathBuf {
        database_in(&self.path)
    }
}

/// Where a data directory keeps its database.
pub(crate) fn database_in(data: &Path) -> PathBuf {
    data.join(DATABASE)
}

fn make_private(path: &Path) -> Result<(), DirectoryError> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)
        .map_err(unusable("make the directory", path))?;
    let mode = path.metadata().map_err(unusable("look at", path))?.permissions().mode();
    if mode & 0o777 & !DIRECTORY_MODE == 0 {
        return Ok(());
    }
    let ours = database_in(path).exists() || is_empty(path).map_err(unusable("read", path))?;
    if !ours {
        // Somebody's home, or /tmp: to close it to others is not for us to decide.
        return Err(DirectoryError::Shared { path: path.to_owned() });
    }
    path.set_mode(DIRECTORY_MODE).map_err(unusable("make private", path))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some file systems have nothing to sync.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

fn is_empty(path: &Path) -> io::Result<bool> {
    Ok(path.read_dir()?.next().is_none())
}

fn lock(path: &Path) -> Result<File, DirectoryError> {
    let lock_path = path.join(LOCK);
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(&lock_path)
        .map_err(unusable("open", &lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(DirectoryError::Locked { path: path.to_owned(), holder: holder(&mut lock) });
        }
        Err(TryLockError::Error(source)) => return Err(unusable("lock", &lock_path)(source)),
    }
    write_holder(&mut lock).map_err(unusable("write", &lock_path))?;
    Ok(lock)
}

/// The content of the lock file is for people; the lock itself is what counts.
fn write_holder(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

pub(crate) fn holder(lock: &mut File) -> String {
    let mut content = String::new();
    match lock.read_to_string(&mut content) {
        Ok(_) if !content.trim().is_empty() => format!("process {}", content.trim()),
        _ => "another process".to_owned(),
    }
}

/// SQLite gives its `-wal` and `-shm` files the permissions of the database file.
fn make_database_file(path: &Path) -> Result<(), DirectoryError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
        .map_err(unusable("open", path))?;
    let mode = file.metadata().map_err(unusable("look at", path))?.permissions().mode();
    if mode & 0o777 & !FILE_MODE != 0 {
        path.set_mode(FILE_MODE).map_err(unusable("make private", path))?;
    }
    Ok(())
}

trait SetMode {
    fn set_mode(&self, mode: u32) -> io::Result<()>;
}

impl SetMode for Path {
    fn set_mode(&self, mode: u32) -> io::Result<()> {
        std::fs::set_permissions(self, Permissions::from_mode(mode))
    }
}

fn unusable(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_owned();
    move |source| DirectoryError::Unusable { what, path, source }
}
