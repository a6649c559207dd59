//! `holdline backup`: writes the whole log into one file, beside a running server too. Owns its flags, its one line, and what
//! a signal does to it; never how a backup is made.

use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;

use async_signal::{Signal, Signals};
use bpaf::{OptionParser, Parser, construct, positional};
use holdline::archive::{Backup, BackupError, Unfinished};
use holdline::config::Flags;
use smol::stream::StreamExt;

/// The exit code of a process that a signal ends; 128 and SIGINT's number, as a shell has it.
const EXIT_INTERRUPTED: i32 = 130;

/// What is to be backed up, and where to.
#[derive(Clone, Debug)]
pub(crate) struct BackupArgs {
    /// Where the database is.
    pub(crate) flags: Flags,
    /// The file to be made.
    file: PathBuf,
}

/// Why there is no backup, or not a word about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupCommandError {
    /// It could not be made.
    #[error(transparent)]
    Make(#[from] BackupError),
    /// A signal would leave half of it.
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
    /// Standard output could not be written.
    #[error("the backup is made, and that cannot be written")]
    Write(#[source] io::Error),
}

/// The flags of `backup`, with their help.
pub(crate) fn options() -> OptionParser<BackupArgs> {
    let flags = super::flags::database_flags();
    let file = positional::<PathBuf>("FILE").help("The file to be made; it must not exist yet").parse(path);
    construct!(BackupArgs { flags, file })
        .to_options()
        .descr("Copies the database into FILE, whole and checked; the server may be running")
        .footer("Example:\n\n        holdline backup --data=/var/lib/holdline /mnt/usb/holdline.db")
}

/// Makes the backup, and says what it holds.
pub(crate) fn run(data: &Path, args: &BackupArgs) -> Result<(), BackupCommandError> {
    let backup = Backup::prepare(data, &args.file)?;
    for path in &backup.removed {
        eprintln!("holdline: removed {}, which a backup left that was ended", path.display());
    }
    remove_at_signal(backup.unfinished().clone()).map_err(BackupCommandError::Signals)?;
    let summary = backup.make()?;
    super::output::show(&format!("{}: {summary}; checked", args.file.display())).map_err(BackupCommandError::Write)
}

/// A backup is checked after it is written, which cannot be done with a pipe.
fn path(file: PathBuf) -> Result<PathBuf, &'static str> {
    match file.as_os_str().as_encoded_bytes() {
        b"" => Err("FILE is empty; name the file to be made"),
        b"-" => Err("FILE is no path, and a backup is not written to standard output; name the file to be made"),
        _ => Ok(file),
    }
}

/// Nothing half is left by one who changes their mind.
fn remove_at_signal(unfinished: Unfinished) -> io::Result<()> {
    let mut signals = Signals::new([Signal::Int, Signal::Term])?;
    let wait = move || {
        smol::block_on(signals.next());
        unfinished.remove();
        process::exit(EXIT_INTERRUPTED);
    };
    thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}
