//! The data directory: private to the server's user, and locked against a second server. Owns paths, permissions and the lock;
//! never runs SQL.
//!
//! The database may be a link to a file elsewhere, such as on a larger disk. Then the other files of the database, and the lock, are
//! beside that file.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;

use super::at_rest::{LogLoss, log_loss};
use super::locks::{OpenBy, lock_for_server, mark_for_server, open_by};
use super::reach::{OpenFiles, Unreachable};
use super::record::{RecordFile, write_process};
use super::schema::APPLICATION_ID;
use super::words::counted;
use crate::config::Durability;
use crate::message::Seq;
use crate::trust::{Directory, Place, Trust, TrustError};

pub(crate) const DIRECTORY_MODE: u32 = 0o700;
pub(crate) const FILE_MODE: u32 = 0o600;
const DATABASE: &str = "holdline.db";

/// Ends of the names of the files that SQLite puts beside a database.
const BESIDE: [&str; 3] = [WAL, WAL_INDEX, "-journal"];
const WAL: &str = "-wal";
const WAL_INDEX: &str = "-shm";

/// Offset of the application id in the header of a database: <https://www.sqlite.org/fileformat2.html>
const APPLICATION_ID_OFFSET: u64 = 68;

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
    /// Another user may change the directory or a file in it.
    #[error("{0}")]
    Untrusted(TrustError),
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
    /// The write-ahead log was deleted or not copied, and it had messages.
    #[error(
        "{} lacks {missing}: the newest that was stored has seq {stored}, and the newest in it seq {found}; its log {} was deleted or not \
         copied: put that back, or remove {} to go on without them",
        database.display(), wal.display(), lock.display()
    )]
    LogLost {
        /// Number of missing messages, with its noun.
        missing: String,
        /// Newest message that was stored.
        stored: Seq,
        /// Newest message of the database.
        found: Seq,
        /// Database file.
        database: PathBuf,
        /// Write-ahead log.
        wal: PathBuf,
        /// Lock file, which has the record.
        lock: PathBuf,
    },
    /// A file of the database vanished while it was opened.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
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
    /// Absolute path, without links.
    path: PathBuf,
    /// Path of the database in the data directory, where it may be a link.
    name: PathBuf,
    /// The database, elsewhere if it is a link.
    database: Place,
    /// The database file, locked. Closed after SQLite has closed it: closing a file releases all locks that the process holds on it; fcntl(2).
    file: File,
    /// `flock(2)`: the system releases it when the process ends, even by a crash.
    lock: File,
    /// Whether the lock file is new.
    is_lock_new: bool,
}

impl DataDirectory {
    /// Creates the directory if it is missing, makes it and the database file private, and locks the database. Fails if a user who
    /// is neither root nor that of this process owns one of the files or may write to it.
    pub(crate) fn open(path: &Path) -> Result<Self, DirectoryError> {
        create(path)?;
        let trust = Trust::of_this_process();
        let directory = trust.open_directory(path)?;
        make_private(&directory, &trust)?;
        let database = locate(&directory, &trust)?;
        let is_lock_new = !lock_place(&database)?.check_regular()?;
        let lock = lock(&database, path)?;
        let file = make_database_file(&database)?;
        lock_database(&file, &database, path)?;
        let name = database_in(&std::path::absolute(path).map_err(unusable("find", path))?);
        Ok(DataDirectory { path: directory.path().to_owned(), name, database, file, lock, is_lock_new })
    }

    /// Checks that no messages are missing, because the write-ahead log was deleted or not copied. Must be called before the database is
    /// opened. Returns whether they may be.
    pub(crate) fn check_log(&self) -> Result<bool, DirectoryError> {
        let (database, wal) = (self.database(), self.wal());
        // What keeps the database from being read is reported when it is opened.
        let lock = (!self.is_lock_new).then_some(&self.lock);
        match log_loss(&database, &wal, lock).unwrap_or(None) {
            Some(LogLoss::Messages { found, stored }) => {
                let missing = counted(stored.get().abs_diff(found.get()), "message");
                let lock = lock_of(&database);
                Err(DirectoryError::LogLost { missing, stored, found, database, wal, lock })
            }
            Some(LogLoss::Possible { found }) => {
                log::warn!("{}", possible_loss(&database, &wal, found));
                Ok(true)
            }
            // Someone may have removed the lock file to accept the loss.
            None => Ok(self.is_lock_new),
        }
    }

    /// Returns the record of what is stored.
    pub(crate) fn record(&self, durability: Durability) -> Result<RecordFile, DirectoryError> {
        let lock = self.lock.try_clone().map_err(unusable("open", &lock_of(&self.database())))?;
        Ok(RecordFile::new(lock, self.database(), durability))
    }

    /// Opens the write-ahead log. The file exists while the database is open.
    pub(crate) fn open_wal(&self) -> Result<File, DirectoryError> {
        let wal = self.database.sibling(named(&self.database, WAL))?;
        Ok(wal.open_regular(OFlags::RDWR, FILE_MODE)?)
    }

    /// Syncs the directories and their parents: a new file survives a power cut only once its directory is synced, too; fsync(2).
    pub(crate) fn sync(&self) -> Result<(), DirectoryError> {
        let elsewhere = Some(self.database.directory().path()).filter(|path| *path != self.path);
        for path in [&*self.path].into_iter().chain(elsewhere) {
            sync_directory(path).map_err(unusable("sync", path))?;
            for parent in path.ancestors().skip(1) {
                // A parent that this process may not open was not changed by it either.
                let _ = sync_directory(parent);
            }
        }
        Ok(())
    }

    /// Notes the files of the database, which must be open: then it has a write-ahead log with an index.
    pub(crate) fn open_files(&self) -> Result<OpenFiles, DirectoryError> {
        let index = self.database.directory().path().join(named(&self.database, WAL_INDEX));
        let mut paths = vec![self.name.clone(), self.database()];
        paths.dedup();
        Ok(OpenFiles::of(&self.file, paths, [self.wal(), index])?)
    }

    /// Returns the path of the write-ahead log.
    pub(crate) fn wal(&self) -> PathBuf {
        self.database.directory().path().join(named(&self.database, WAL))
    }

    /// Returns the path of the database file, without links.
    pub(crate) fn database(&self) -> PathBuf {
        self.database.path()
    }
}

impl From<TrustError> for DirectoryError {
    fn from(error: TrustError) -> Self {
        match error {
            TrustError::System { path, source } => DirectoryError::Unusable { what: "open", path, source },
            untrusted => DirectoryError::Untrusted(untrusted),
        }
    }
}

/// Returns the path of the database file in a data directory. It may be a link.
pub(crate) fn database_in(data: &Path) -> PathBuf {
    data.join(DATABASE)
}

/// Returns the path of the lock of a database: `holdline.lock` beside `holdline.db`.
pub(crate) fn lock_of(database: &Path) -> PathBuf {
    database.with_extension("lock")
}

/// Returns the name of a file that SQLite puts beside a database.
fn named(database: &Place, end: &str) -> OsString {
    let mut name = database.name().to_owned();
    name.push(end);
    name
}

/// Finds the database, and checks it and the files beside it.
fn locate(directory: &Directory, trust: &Trust) -> Result<Place, TrustError> {
    let database = trust.find_in(directory, DATABASE)?;
    // SQLite creates and removes files beside the database.
    database.check_directory_is_private()?;
    database.check_regular()?;
    for end in BESIDE {
        database.sibling(named(&database, end))?.check_regular()?;
    }
    lock_place(&database)?.check_regular()?;
    Ok(database)
}

/// Checks who may change the directory and its files, as a server of this user does at its start. Changes nothing.
pub(crate) fn check(path: &Path, trust: Trust) -> Result<(), TrustError> {
    let directory = trust.open_directory(path)?;
    trust.check_is_private(&directory)?;
    locate(&directory, &trust).map(drop)
}

fn create(path: &Path) -> Result<(), DirectoryError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(DIRECTORY_MODE);
    builder.create(path).map_err(unusable("create the directory", path))
}

/// Makes the directory private, if it is empty or has a database. Other users may have put anything into one that they may write to.
fn make_private(directory: &Directory, trust: &Trust) -> Result<(), DirectoryError> {
    let path = directory.path();
    let file = directory.file()?;
    let mode = file.metadata().map_err(unusable("read the permissions of", path))?.permissions().mode();
    if mode & 0o777 & !DIRECTORY_MODE == 0 {
        return Ok(());
    }
    if !is_empty(path).map_err(unusable("read", path))? {
        trust.check_is_private(directory)?;
        if database_in(path).symlink_metadata().is_err() {
            // It may be a home directory; changing the permissions of that is up to the operator.
            return Err(DirectoryError::Shared { path: path.to_owned() });
        }
    }
    restrict(&file, DIRECTORY_MODE, path)
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

fn lock(database: &Place, data: &Path) -> Result<File, DirectoryError> {
    let place = lock_place(database)?;
    let path = place.path();
    let mut lock = place.open_regular(OFlags::RDWR | OFlags::CREATE, FILE_MODE)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(DirectoryError::Locked { path: data.to_owned(), holder: holder(&mut lock) });
        }
        Err(TryLockError::Error(source)) => return Err(unusable("lock", &path)(source)),
    }
    // For people: only the lock itself decides who holds the directory.
    write_process(&lock).map_err(unusable("write", &path))?;
    mark_for_server(&lock);
    Ok(lock)
}

/// Locks the database file, too: a hard link makes it the database of another directory, with a lock of its own.
fn lock_database(file: &File, database: &Place, data: &Path) -> Result<(), DirectoryError> {
    match lock_for_server(file) {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let holder = match open_by(&database.path()) {
                Ok(OpenBy::Process(Some(process))) => format!("process {process}"),
                _ => "another process".to_owned(),
            };
            Err(DirectoryError::Locked {
                path: data.to_owned(),
                holder: format!("{holder}, through a hard link to its database"),
            })
        }
        Err(TryLockError::Error(source)) => Err(unusable("lock", &database.path())(source)),
    }
}

fn lock_place(database: &Place) -> Result<Place, TrustError> {
    database.sibling(Path::new(database.name()).with_extension("lock").into_os_string())
}

/// Describes a database that a server used and did not close, and that has no log.
pub(crate) fn possible_loss(database: &Path, wal: &Path, found: Seq) -> String {
    format!(
        "no server has closed {}, and {} is missing: if it was deleted or not copied, the messages after seq {found} are lost",
        database.display(),
        wal.display()
    )
}

/// Returns a text that names the process that wrote the lock file.
pub(crate) fn holder(lock: &mut File) -> String {
    let mut content = String::new();
    match lock.read_to_string(&mut content) {
        Ok(_) => match content.lines().next().map(str::trim) {
            Some(process) if !process.is_empty() => format!("process {process}"),
            _ => "another process".to_owned(),
        },
        Err(_) => "another process".to_owned(),
    }
}

/// Creates the database file, private. SQLite gives its `-wal` and `-shm` files the same permissions.
fn make_database_file(database: &Place) -> Result<File, DirectoryError> {
    let path = database.path();
    let file = database.open_regular(OFlags::RDWR | OFlags::CREATE, FILE_MODE)?;
    let mode = file.metadata().map_err(unusable("read the permissions of", &path))?.permissions().mode();
    // A link may lead to a file of something else by mistake; the schema's check refuses that.
    if mode & 0o777 & !FILE_MODE != 0 && is_ours(&file).map_err(unusable("read", &path))? {
        restrict(&file, FILE_MODE, &path)?;
    }
    Ok(file)
}

/// Whether a file is empty, or a database of holdline by its header.
fn is_ours(file: &File) -> io::Result<bool> {
    let mut id = [0; 4];
    match file.read_exact_at(&mut id, APPLICATION_ID_OFFSET) {
        Ok(()) => Ok(i64::from(u32::from_be_bytes(id)) == APPLICATION_ID),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(file.metadata()?.len() == 0),
        Err(error) => Err(error),
    }
}

/// Makes a file private, which only its owner and root can.
fn restrict(file: &File, mode: u32, path: &Path) -> Result<(), DirectoryError> {
    match (file.set_permissions(Permissions::from_mode(mode)), file.metadata()) {
        (Err(error), Ok(found)) if error.kind() == ErrorKind::PermissionDenied => {
            let server = geteuid().as_raw();
            Err(TrustError::not_private(path, found.uid(), found.mode(), server).into())
        }
        (done, _) => done.map_err(unusable("restrict the permissions of", path)),
    }
}

fn unusable(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_owned();
    move |source| DirectoryError::Unusable { what, path, source }
}
