//! Standard output of all subcommands. Owns what happens when its reader is gone; never formats anything.

use std::io::{self, Write};

/// Prints a text to standard output. It is not an error if the reader is gone, as in `holdline --help | head -1`.
pub(crate) fn show(text: &str) -> io::Result<()> {
    unless_reader_gone(writeln!(io::stdout().lock(), "{}", text.trim_end()))
}

/// Ignores the error of a closed pipe: the reader has seen enough.
pub(super) fn unless_reader_gone(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
