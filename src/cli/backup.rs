//! `holdline backup`: copies the database to a file, also while a server runs. Owns its flags, its output, and its reaction to
//! signals; never copies anything itself.

use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;

use async_signal::{Signal, Signals};
use bpaf::{OptionParser, Parser, construct, positional};
use holdline::archive::{Backup, BackupError, Unfinished};
use holdline::config::Flags;
use smol::stream::StreamExt;

/// Exit code of a process that a signal ends: 128 and SIGINT's number, as shells report it.
const EXIT_INTERRUPTED: i32 = 130;

/// Arguments of `backup`.
#[derive(Clone, Debug)]
pub(crate) struct BackupArgs {
    /// Flags that say where the database is.
    pub(crate) flags: Flags,
    /// File to create.
    file: PathBuf,
}

/// Error of `backup`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupCommandError {
    /// The backup failed.
    #[error(transparent)]
    Make(#[from] BackupError),
    /// A signal would leave an unfinished file behind.
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
    /// The result cannot be printed.
    #[error("the backup is complete, but cannot be reported on standard output")]
    Write(#[source] io::Error),
}

/// Returns the flags of `backup`, with their help.
pub(crate) fn options() -> OptionParser<BackupArgs> {
    let flags = super::flags::database_flags();
    let file = positional::<PathBuf>("FILE").help("File to create; it must not exist yet").parse(path);
    construct!(BackupArgs { flags, file })
        .to_options()
        .descr("Copies the database to FILE and checks the copy; the server may be running")
        .footer("Example:\n\n        holdline backup --data=/var/lib/holdline /mnt/usb/holdline.db")
}

/// Creates the backup, and prints what it contains.
pub(crate) fn run(data: &Path, args: &BackupArgs) -> Result<(), BackupCommandError> {
    let _signals = super::file_limit::outlive();
    let backup = Backup::prepare(data, &args.file)?;
    for path in &backup.removed {
        super::output::report(format_args!("removed {}, the unfinished file of an earlier backup", path.display()));
    }
    remove_at_signal(backup.unfinished().clone()).map_err(BackupCommandError::Signals)?;
    let summary = backup.make()?;
    super::output::show(&format!("{}: {summary}; checked", args.file.display())).map_err(BackupCommandError::Write)
}

/// Checks the path. A backup is read again to check it, which is not possible with a pipe.
fn path(file: PathBuf) -> Result<PathBuf, &'static str> {
    match file.as_os_str().as_encoded_bytes() {
        b"" => Err("FILE is empty; name the file to create"),
        b"-" => Err("FILE is -, but a backup cannot be written to standard output; name the file to create"),
        _ => Ok(file),
    }
}

/// Removes the unfinished file if a signal ends the process.
fn remove_at_signal(unfinished: Unfinished) -> io::Result<()> {
    let mut signals = Signals::new([Signal::Int, Signal::Term])?;
    let wait = move || {
        smol::block_on(signals.next());
        unfinished.remove();
        process::exit(EXIT_INTERRUPTED);
    };
    thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}
