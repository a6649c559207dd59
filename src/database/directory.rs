//! The data directory: private to the server's user, and locked against a second server. Owns paths, permissions and the lock;
//! never runs SQL.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub(crate) const DIRECTORY_MODE: u32 = 0o700;
pub(crate) const FILE_MODE: u32 = 0o600;
const DATABASE: &str = "holdline.db";
const WAL: &str = "holdline.db-wal";
pub(crate) const LOCK: &str = "holdline.lock";

/// Reason why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The directory or a file in it cannot be created or opened.
    #[error("cannot {what} {}: {source}; choose a directory that the server may write to, with --data DIR", path.display())]
    Unusable {
        /// Failed operation.
        what: &'static str,
        /// Path that the operation failed for.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// Another server uses the directory.
    #[error("the data directory {} is in use by {holder}; stop that process first, or choose another directory with --data DIR", path.display())]
    Locked {
        /// Data directory.
        path: PathBuf,
        /// Process that holds the lock, as text for people.
        holder: String,
    },
    /// The directory contains other files, and other users may read it.
    #[error(
        "the data directory {} contains other files and other users can read it; choose an empty or a new directory with --data DIR, or make this one private with chmod 700",
        path.display()
    )]
    Shared {
        /// Data directory.
        path: PathBuf,
    },
    /// The thread of the store cannot be started.
    #[error("cannot start the store's thread: {source}")]
    Thread {
        /// Error of the system.
        source: io::Error,
    },
}

/// Data directory, locked until this is dropped.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    path: PathBuf,
    /// `flock(2)`: the system releases it when the process ends, even by a crash.
    _lock: File,
}

impl DataDirectory {
    /// Creates the directory if it is missing, makes it and the database file private, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, DirectoryError> {
        make_private(path)?;
        let lock = lock(path)?;
        let directory = DataDirectory { path: path.to_owned(), _lock: lock };
        make_database_file(&directory.database())?;
        Ok(directory)
    }

    /// Opens the write-ahead log. The file exists while the database is open.
    pub(crate) fn open_wal(&self) -> Result<File, DirectoryError> {
        let path = self.wal();
        OpenOptions::new().read(true).write(true).open(&path).map_err(unusable("open", &path))
    }

    /// Syncs the directory and its parents: a new file survives a power cut only once its directory is synced, too; fsync(2).
    pub(crate) fn sync(&self) -> Result<(), DirectoryError> {
        let path = std::path::absolute(&self.path).map_err(unusable("resolve", &self.path))?;
        sync_directory(&path).map_err(unusable("sync", &path))?;
        for parent in path.ancestors().skip(1) {
            // A parent that this process may not open was not changed by it either.
            let _ = sync_directory(parent);
        }
        Ok(())
    }

    /// Returns the path of the write-ahead log.
    pub(crate) fn wal(&self) -> PathBuf {
        self.path.join(WAL)
    }

    /// Returns the path of the database file.
    pub(crate) fn database(&self) -> PathBuf {
        database_in(&self.path)
    }
}

/// Returns the path of the database file in a data directory.
pub(crate) fn database_in(data: &Path) -> PathBuf {
    data.join(DATABASE)
}

fn make_private(path: &Path) -> Result<(), DirectoryError> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)
        .map_err(unusable("create the directory", path))?;
    let mode = path.metadata().map_err(unusable("read the permissions of", path))?.permissions().mode();
    if mode & 0o777 & !DIRECTORY_MODE == 0 {
        return Ok(());
    }
    let ours = database_in(path).exists() || is_empty(path).map_err(unusable("read", path))?;
    if !ours {
        // It may be a home directory or /tmp; changing the permissions of these is up to the operator.
        return Err(DirectoryError::Shared { path: path.to_owned() });
    }
    path.set_mode(DIRECTORY_MODE).map_err(unusable("restrict the permissions of", path))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some file systems do not support syncing a directory.
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

/// Writes this process's id into the lock file, for people. Only the lock itself decides who holds the directory.
fn write_holder(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

/// Returns a text that names the process that wrote the lock file.
pub(crate) fn holder(lock: &mut File) -> String {
    let mut content = String::new();
    match lock.read_to_string(&mut content) {
        Ok(_) if !content.trim().is_empty() => format!("process {}", content.trim()),
        _ => "another process".to_owned(),
    }
}

/// Creates the database file, private. SQLite gives its `-wal` and `-shm` files the same permissions.
fn make_database_file(path: &Path) -> Result<(), DirectoryError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
        .map_err(unusable("open", path))?;
    let mode = file.metadata().map_err(unusable("read the permissions of", path))?.permissions().mode();
    if mode & 0o777 & !FILE_MODE != 0 {
        path.set_mode(FILE_MODE).map_err(unusable("restrict the permissions of", path))?;
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
