//! Standard output as a pipe or a file: whether the reader of the pipe has read what was written, and is still there; whether the file is on
//! the disk. Owns these system calls; never writes.
#![expect(clippy::disallowed_methods, reason = "only the descriptor is used, and nothing is printed")]

use std::io;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use async_channel::{Receiver, bounded};
use holdline::limits::{PIPE_POLL_MS_MAX, PIPE_POLL_US_MIN};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fdatasync, fstat, major, minor};
use rustix::io::ioctl_fionread;

/// Whether standard output is a pipe.
pub(super) fn is_pipe() -> bool {
    is_of_type(FileType::Fifo)
}

/// Whether standard output is a file, whose content a power cut takes unless it is synced.
pub(super) fn is_file() -> bool {
    is_of_type(FileType::RegularFile)
}

/// Syncs the file.
pub(super) fn sync() -> io::Result<()> {
    match fdatasync(io::stdout()) {
        // Some file systems cannot sync.
        Err(rustix::io::Errno::INVAL) => Ok(()),
        synced => Ok(synced?),
    }
}

fn is_of_type(file_type: FileType) -> bool {
    fstat(io::stdout()).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == file_type)
}

/// Whether the program was started without standard output. Rust's runtime has opened `/dev/null` in its place then, also for reading,
/// which no redirection of a shell does.
pub(super) fn is_closed() -> bool {
    let stdout = io::stdout();
    let is_null = fstat(&stdout).is_ok_and(|stat| (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3));
    is_null && fcntl_getfl(&stdout).is_ok_and(|flags| flags.contains(OFlags::RDWR))
}

/// Waits until the reader has taken everything out of the pipe. Fails with [`BrokenPipe`](io::ErrorKind::BrokenPipe) if it is gone before.
/// Systems that cannot tell count as a reader that has.
pub(super) fn wait_until_read() -> io::Result<()> {
    let stdout = io::stdout();
    let is_read = || ioctl_fionread(&stdout).map_or(true, |bytes| bytes == 0);
    let mut pause = Duration::from_micros(PIPE_POLL_US_MIN);
    while !is_read() {
        // The reader may have taken everything just before it ended.
        if is_reader_gone(&stdout, Some(pause))? && !is_read() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        pause = (2 * pause).min(Duration::from_millis(PIPE_POLL_MS_MAX));
    }
    Ok(())
}

/// Starts to watch the reader. The channel is closed once the reader is gone.
pub(super) fn watch() -> io::Result<Receiver<()>> {
    let (sender, receiver) = bounded(1);
    let watch = move || {
        while let Ok(false) = is_reader_gone(io::stdout(), None) {}
        drop(sender);
    };
    thread::Builder::new().name("reader".into()).spawn(watch)?;
    Ok(receiver)
}

/// Waits until the reader is gone, at most as long as `timeout`; poll(2), POLLERR.
fn is_reader_gone(stdout: impl AsFd, timeout: Option<Duration>) -> io::Result<bool> {
    let timeout = timeout.map(|time| Timespec::try_from(time).expect("a pause is short"));
    let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
    match poll(&mut watched, timeout.as_ref()) {
        Ok(_) => Ok(watched[0].revents().contains(PollFlags::ERR)),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
