//! Standard output of all subcommands. Owns what happens if its reader has gone.

use std::io::{self, Write};

/// Prints a text to standard output; a reader that has gone, as in `holdline --help | head -1`, is no error.
pub(crate) fn show(text: &str) -> io::Result<()> {
    unless_reader_gone(writeln!(io::stdout().lock(), "{}", text.trim_end()))
}

/// Takes a closed pipe for the reader's way to say that it has seen enough.
pub(super) fn unless_reader_gone(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
