//! Files that the server relies on: its configuration, its plugins and its database. Owns who may own and write them, and opens them so
//! that nobody else can put another file in their place meanwhile; never knows what they contain.
//!
//! Trusted are root, the user of this process, and the owner of `/`, who is root under another number in some containers. A file is
//! opened from `/` on, one directory after the other, and links are followed here and not by the system. So each link and each
//! directory is checked in the moment in which it is used.

mod error;
mod group;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, stat, statat};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

pub use self::error::TrustError;
pub(crate) use self::error::for_shell;
use self::group::has_strangers;
use crate::limits::LINKS_FOLLOWED_MAX;

/// Users who are trusted with the files of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    /// User of the server.
    user: u32,
    /// Group of the server.
    group: u32,
    /// Owner of `/`.
    system: u32,
}

/// Open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    /// Absolute path without links.
    path: PathBuf,
}

/// Name in an open directory, with the links that led there followed. The file itself may be missing.
#[derive(Debug)]
pub(crate) struct Place {
    trust: Trust,
    directory: Directory,
    name: OsString,
    /// Whether the name is a link of the kernel to a file that is open, such as `/dev/fd/3`.
    is_open_file: bool,
}

/// Users who may write to a directory that contains a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writers {
    /// Only those who are trusted.
    Trusted,
    /// Anyone, if the directory is sticky: nobody can then remove or rename a file of another user.
    AnyoneIfSticky,
}

/// Reads a file that the server relies on. Returns `None` if it does not exist.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, TrustError> {
    let Some(mut file) = Trust::of_this_process().find(path)?.open_to_read()? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|source| TrustError::system(path, source))?;
    Ok(Some(bytes))
}

impl Trust {
    /// Returns the trust of this process.
    pub(crate) fn of_this_process() -> Trust {
        Trust::of(geteuid().as_raw(), getegid().as_raw())
    }

    /// Returns the trust of a server that runs as this user and group.
    pub(crate) fn of(user: u32, group: u32) -> Trust {
        Trust { user, group, system: stat("/").map_or(0, |root| root.st_uid) }
    }

    /// Finds the place of a file. Follows links, and checks them and the directory of the file; as root every directory on the way.
    pub(crate) fn find(&self, path: &Path) -> Result<Place, TrustError> {
        match self.walk(path)? {
            End::Place(place) => Ok(place),
            End::Directory(directory) => Err(TrustError::system(&directory.path, Errno::ISDIR)),
        }
    }

    /// Opens a directory, which must belong to a trusted user. Checks what is above it as [`find`](Self::find) does.
    pub(crate) fn open_directory(&self, path: &Path) -> Result<Directory, TrustError> {
        let directory = match self.walk(path)? {
            End::Place(Place { directory, name, .. }) => {
                let path = directory.path.join(&name);
                let fd = openat(&directory.fd, &name, OFlags::RDONLY | DIRECTORY, Mode::empty());
                Directory { fd: fd.map_err(|error| TrustError::system(&path, error))?, path }
            }
            End::Directory(directory) => directory.reopened()?,
        };
        self.check_owner(&directory.path, &directory.stat()?)?;
        Ok(directory)
    }

    /// Finds the place of a file in an open directory. Follows links as [`find`](Self::find) does.
    pub(crate) fn find_in(&self, directory: &Directory, name: &str) -> Result<Place, TrustError> {
        let mut walk = PathWalk::from(*self, directory.reopened()?);
        walk.pending.push(name.into());
        match walk.run()? {
            End::Place(place) => Ok(place),
            End::Directory(directory) => Err(TrustError::system(&directory.path, Errno::ISDIR)),
        }
    }

    fn walk(&self, path: &Path) -> Result<End, TrustError> {
        let absolute = std::path::absolute(path).map_err(|source| TrustError::system(path, source))?;
        let mut walk = PathWalk::from(*self, Directory::root()?);
        walk.push(&absolute);
        walk.run()
    }

    /// Checks that only trusted users may write to a directory, even if it is sticky.
    pub(crate) fn check_is_private(&self, directory: &Directory) -> Result<(), TrustError> {
        self.check_directory(directory, Writers::Trusted)
    }

    fn is_root(&self) -> bool {
        self.user == 0
    }

    fn trusts(&self, user: u32) -> bool {
        user == 0 || user == self.user || user == self.system
    }

    fn check_directory(&self, directory: &Directory, writers: Writers) -> Result<(), TrustError> {
        let stat = directory.stat()?;
        let is_sticky = Mode::from_raw_mode(stat.st_mode).contains(Mode::SVTX);
        match writers {
            Writers::AnyoneIfSticky if is_sticky => self.check_owner(&directory.path, &stat),
            _ => self.check(&directory.path, &stat),
        }
    }

    /// Checks that nobody who is not trusted owns a file or may write to it.
    fn check(&self, path: &Path, stat: &Stat) -> Result<(), TrustError> {
        self.check_owner(path, stat)?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        let by_group = || {
            let has_strangers = has_strangers(stat.st_gid, self.group, |user| self.trusts(user));
            mode.contains(Mode::WGRP) && (has_strangers || has_access_list(path))
        };
        if mode.contains(Mode::WOTH) {
            Err(TrustError::writable(path, stat, None))
        } else if by_group() {
            Err(TrustError::writable(path, stat, Some(stat.st_gid)))
        } else {
            Ok(())
        }
    }

    fn check_owner(&self, path: &Path, stat: &Stat) -> Result<(), TrustError> {
        if self.trusts(stat.st_uid) { Ok(()) } else { Err(TrustError::foreign(path, stat, self.user)) }
    }
}

impl Place {
    /// Returns the absolute path of the file, without links.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path.join(&self.name)
    }

    /// Returns the directory of the file.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Returns the name of the file.
    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Returns the place of another file in the same directory.
    pub(crate) fn sibling(&self, name: OsString) -> Result<Place, TrustError> {
        Ok(Place { trust: self.trust, directory: self.directory.reopened()?, name, is_open_file: false })
    }

    /// Checks that only trusted users may write to the directory of the file, even if it is sticky.
    pub(crate) fn check_directory_is_private(&self) -> Result<(), TrustError> {
        self.trust.check_is_private(&self.directory)
    }

    /// Checks the file, which must be a regular one. Returns whether it exists.
    pub(crate) fn check_regular(&self) -> Result<bool, TrustError> {
        let path = self.path();
        let found = match statat(&self.directory.fd, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            found => found.map_err(|error| TrustError::system(&path, error))?,
        };
        self.check_found(&path, &found).map(|()| true)
    }

    /// Opens the regular file, and creates it if the flags say so, with this mode.
    pub(crate) fn open_regular(&self, flags: OFlags, mode: u32) -> Result<File, TrustError> {
        // Opening a pipe would block.
        self.check_regular()?;
        let path = self.path();
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
        let opened = openat(&self.directory.fd, &self.name, flags, Mode::from_raw_mode(mode as _));
        let fd = opened.map_err(|error| TrustError::system(&path, error))?;
        self.check_found(&path, &fstat(&fd).map_err(|error| TrustError::system(&path, error))?)?;
        Ok(File::from(fd))
    }

    /// Opens the file to read it, whatever it is: it may be a pipe from a shell. Returns `None` if it does not exist.
    fn open_to_read(&self) -> Result<Option<File>, TrustError> {
        let path = self.path();
        let failed = |error| TrustError::system(&path, error);
        let (links, follow) = if self.is_open_file {
            (AtFlags::empty(), OFlags::empty())
        } else {
            (AtFlags::SYMLINK_NOFOLLOW, OFlags::NOFOLLOW)
        };
        let found = match statat(&self.directory.fd, &self.name, links) {
            Err(Errno::NOENT) => return Ok(None),
            found => found.map_err(failed)?,
        };
        // A pipe that somebody else made must not be opened: that would block.
        self.trust.check(&path, &found)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | follow;
        let fd = openat(&self.directory.fd, &self.name, flags, Mode::empty()).map_err(failed)?;
        self.trust.check(&path, &fstat(&fd).map_err(failed)?)?;
        Ok(Some(File::from(fd)))
    }

    fn check_found(&self, path: &Path, found: &Stat) -> Result<(), TrustError> {
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => self.trust.check(path, found),
            kind => {
                self.trust.check_owner(path, found)?;
                Err(TrustError::NotAFile { path: path.to_owned(), kind: error::words(kind) })
            }
        }
    }
}

impl Directory {
    /// Returns the absolute path, without links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the owner and the mode.
    pub(crate) fn stat(&self) -> Result<Stat, TrustError> {
        fstat(&self.fd).map_err(|error| TrustError::system(&self.path, error))
    }

    /// Returns a descriptor with which the directory can be listed, changed and synced.
    pub(crate) fn file(&self) -> Result<File, TrustError> {
        self.reopened().map(|directory| File::from(directory.fd))
    }

    fn root() -> Result<Directory, TrustError> {
        Directory::open(CWD, Path::new("/"), PathBuf::from("/"), OFlags::RDONLY)
    }

    fn reopened(&self) -> Result<Directory, TrustError> {
        Directory::open(&self.fd, Path::new("."), self.path.clone(), OFlags::RDONLY)
    }

    fn open(at: impl AsFd, name: &Path, path: PathBuf, access: OFlags) -> Result<Directory, TrustError> {
        match openat(at, name, access | DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Directory { fd, path }),
            Err(error) => Err(TrustError::system(&path, error)),
        }
    }
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Access with which directories on the way are opened: they need not be readable.
#[cfg(target_os = "linux")]
const PASSED: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const PASSED: OFlags = OFlags::RDONLY;

/// Way through directories and links, one component of the path after the other.
struct PathWalk {
    trust: Trust,
    directory: Directory,
    /// Components that are left, the next one last.
    pending: Vec<OsString>,
    /// Links that were followed.
    links: usize,
}

/// End of a way.
enum End {
    /// The last component is a name.
    Place(Place),
    /// The path is that of a directory by its form: `/`, or one with `..` at its end.
    Directory(Directory),
}

impl PathWalk {
    fn from(trust: Trust, directory: Directory) -> PathWalk {
        PathWalk { trust, directory, pending: Vec::new(), links: 0 }
    }

    /// Puts the components of a path before those that are left.
    fn push(&mut self, path: &Path) {
        self.pending.extend(path.components().rev().map(|component| component.as_os_str().to_owned()));
    }

    fn run(mut self) -> Result<End, TrustError> {
        while let Some(name) = self.pending.pop() {
            match Path::new(&name).components().next() {
                Some(Component::RootDir) => self.directory = Directory::root()?,
                Some(Component::ParentDir) => self.enter_parent()?,
                Some(Component::Normal(_)) => {
                    if let Some(place) = self.step(&name)? {
                        return Ok(End::Place(place));
                    }
                }
                _ => {}
            }
        }
        Ok(End::Directory(self.directory))
    }

    /// Follows a name in the directory. Returns the place if it is the last one.
    fn step(&mut self, name: &OsStr) -> Result<Option<Place>, TrustError> {
        let is_last = self.pending.is_empty();
        if is_last || self.trust.is_root() {
            self.trust.check_directory(&self.directory, Writers::AnyoneIfSticky)?;
        }
        let path = self.directory.path.join(name);
        let found = match statat(&self.directory.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) if is_last => None,
            found => Some(found.map_err(|error| TrustError::system(&path, error))?),
        };
        let is_link = found.is_some_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink);
        let is_kernels = is_link && is_of_kernel(&self.directory);
        if let Some(link) = found.filter(|_| is_link && !is_kernels) {
            self.follow(name, &path, &link)?;
            Ok(None)
        } else if is_last {
            // The way ends here, and so does the use of the directory.
            let directory = std::mem::replace(&mut self.directory, Directory::root()?);
            let place = Place { trust: self.trust, directory, name: name.to_owned(), is_open_file: is_kernels };
            Ok(Some(place))
        } else {
            let access = if is_kernels { OFlags::DIRECTORY | OFlags::CLOEXEC } else { DIRECTORY };
            let opened = openat(&self.directory.fd, name, PASSED | access, Mode::empty());
            let fd = opened.map_err(|error| TrustError::system(&path, error))?;
            self.directory = Directory { fd, path };
            Ok(None)
        }
    }

    fn follow(&mut self, name: &OsStr, path: &Path, link: &Stat) -> Result<(), TrustError> {
        self.trust.check_owner(path, link)?;
        self.links += 1;
        if self.links > LINKS_FOLLOWED_MAX {
            return Err(TrustError::system(path, Errno::LOOP));
        }
        let target =
            readlinkat(&self.directory.fd, name, Vec::new()).map_err(|error| TrustError::system(path, error))?;
        self.push(&PathBuf::from(OsString::from_vec(target.into_bytes())));
        Ok(())
    }

    fn enter_parent(&mut self) -> Result<(), TrustError> {
        let path = self.directory.path.parent().unwrap_or(Path::new("/")).to_owned();
        self.directory = Directory::open(&self.directory.fd, Path::new(".."), path, PASSED)?;
        Ok(())
    }
}

/// Whether the kernel makes up the content of a directory. It may have links to files that are open, which no path leads to.
#[cfg(target_os = "linux")]
fn is_of_kernel(directory: &Directory) -> bool {
    rustix::fs::fstatfs(&directory.fd).is_ok_and(|found| found.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

#[cfg(not(target_os = "linux"))]
fn is_of_kernel(_: &Directory) -> bool {
    false
}

/// Whether an access control list lets more users write. The bits for the group are then the most that it allows.
#[cfg(target_os = "linux")]
fn has_access_list(path: &Path) -> bool {
    let found = rustix::fs::lgetxattr(path, c"system.posix_acl_access", &mut [0_u8; 4]);
    matches!(found, Ok(_) | Err(Errno::RANGE))
}

#[cfg(not(target_os = "linux"))]
fn has_access_list(_: &Path) -> bool {
    false
}
