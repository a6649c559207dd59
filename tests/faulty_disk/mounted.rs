//! The kernel's side of the disk: each FUSE request is one operation on the medium. Owns the translation; never decides
//! what fails.

use std::ffi::OsStr;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyWrite, Request,
    TimeOrNow, WriteFlags,
};

use super::medium::{Content, Node};
use super::{HeldSync, Operation, Shared, State};

/// Time for which the kernel may cache answers: forever, as every change passes through it.
const TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// A disk that is mounted.
#[derive(Debug)]
pub(super) struct Mounted {
    shared: Arc<Shared>,
}

impl Mounted {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Mounted { shared }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Runs a function on the state, and notifies the test that the state may have changed.
    fn change<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let done = work(&mut self.state());
        self.shared.changed.notify_all();
        done
    }
}

impl State {
    fn attributes(&mut self, number: u64) -> Result<FileAttr, Errno> {
        let Node { mode, content } = self.medium.node(number).ok_or(Errno::ENOENT)?;
        let (kind, size, nlink) = match content {
            Content::File(file) => (FileType::RegularFile, file.len() as u64, 1),
            Content::Directory(_) => (FileType::Directory, 0, 2),
        };
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: *mode,
            nlink,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn find(&mut self, parent: u64, name: &OsStr) -> Result<FileAttr, Errno> {
        let directory = self.medium.directory(parent).ok_or(Errno::ENOTDIR)?;
        let number = *directory.names().get(in_words(name)?).ok_or(Errno::ENOENT)?;
        self.attributes(number)
    }

    fn make(&mut self, parent: u64, name: &OsStr, node: Node) -> Result<FileAttr, Errno> {
        let name = in_words(name)?;
        self.admit(Operation::Write, parent, format!("make {name}"))?;
        if self.free_bytes() == 0 {
            return Err(Errno::ENOSPC);
        }
        let number = self.medium.make(parent, name, node).ok_or(Errno::ENOTDIR)?;
        self.attributes(number)
    }

    fn remove(&mut self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        let name = in_words(name)?;
        self.admit(Operation::Write, parent, format!("remove {name}"))?;
        let directory = self.medium.directory(parent).ok_or(Errno::ENOTDIR)?;
        directory.remove(name).map(drop).ok_or(Errno::ENOENT)
    }

    fn set_len(&mut self, number: u64, len: usize) -> Result<(), Errno> {
        self.admit(Operation::Write, number, format!("length {len}"))?;
        let free_bytes = self.free_bytes();
        let file = self.medium.file(number).ok_or(Errno::EISDIR)?;
        if len.saturating_sub(file.len()) > free_bytes {
            return Err(Errno::ENOSPC);
        }
        file.set_len(len);
        Ok(())
    }

    /// Writes as much as there is room for. Returns the number of bytes.
    fn write(&mut self, number: u64, offset: usize, bytes: &[u8]) -> Result<usize, Errno> {
        let free_bytes = self.free_bytes();
        let file = self.medium.file(number).ok_or(Errno::EISDIR)?;
        let fitting = (file.len() + free_bytes.min(bytes.len() + offset)).saturating_sub(offset).min(bytes.len());
        if fitting == 0 && !bytes.is_empty() {
            return Err(Errno::ENOSPC);
        }
        file.write(offset, &bytes[..fitting]);
        Ok(fitting)
    }

    fn read(&mut self, number: u64, offset: usize, count: usize) -> Result<&[u8], Errno> {
        self.admit(Operation::Read, number, format!("{count} bytes at {offset}"))?;
        Ok(self.medium.file(number).ok_or(Errno::EISDIR)?.read(offset, count))
    }

    fn answer_sync(&mut self, number: u64, reply: ReplyEmpty) {
        if let Err(error) = self.admit(Operation::Sync, number, "all of it".to_owned()) {
            return reply.error(error);
        }
        let sync = HeldSync { number, reply };
        match &mut self.held {
            Some(held) => held.push(sync),
            None => self.finish(vec![sync]),
        }
    }
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.state().find(parent.0, name) {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.state().attributes(number.0) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = |state: &mut State| {
            if let Some(size) = size {
                state.set_len(number.0, size as usize)?;
            }
            if let Some(mode) = mode {
                state.medium.node(number.0).ok_or(Errno::ENOENT)?.mode = permissions(mode);
            }
            state.attributes(number.0)
        };
        match self.change(set) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let node = Node::directory(permissions(mode & !umask));
        match self.change(|state| state.make(parent.0, name, node)) {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, _: i32, reply: ReplyCreate) {
        let node = Node::file(permissions(mode & !umask));
        match self.change(|state| state.make(parent.0, name, node)) {
            Ok(attributes) => reply.created(&TTL, &attributes, Generation(0), FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        match self.change(|state| state.remove(parent.0, name)) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        count: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.state().read(number.0, offset as usize, count as usize) {
            Ok(bytes) => reply.data(bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = |state: &mut State| {
            // The kernel writes pages of shared memory when it likes: no program waits for such a write, and no fault counts it.
            if !flags.contains(WriteFlags::FUSE_WRITE_CACHE) {
                state.admit(Operation::Write, number.0, format!("{} bytes at {offset}", bytes.len()))?;
            }
            state.write(number.0, offset as usize, bytes)
        };
        match self.change(write) {
            Ok(written) => reply.written(written as u32),
            Err(error) => reply.error(error),
        }
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.change(|state| state.answer_sync(number.0, reply));
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.change(|state| state.answer_sync(number.0, reply));
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut state = self.state();
        let Some(directory) = state.medium.directory(number.0) else { return reply.error(Errno::ENOTDIR) };
        let names = directory.names().clone();
        for (place, (name, number)) in names.into_iter().enumerate().skip(offset as usize) {
            let kind = state.attributes(number).map_or(FileType::RegularFile, |attributes| attributes.kind);
            if reply.add(INodeNo(number), place as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}

fn permissions(mode: u32) -> u16 {
    (mode & 0o7777) as u16
}

fn in_words(name: &OsStr) -> Result<&str, Errno> {
    name.to_str().ok_or(Errno::EINVAL)
}
