//! Standard output and standard error of all subcommands. Whatever the database, a file, a plugin or a server contains, no line that is printed
//! here controls the terminal. Owns what happens when the reader is gone; never formats anything.
#![expect(clippy::disallowed_methods, clippy::print_stderr, reason = "everything is printed here")]

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use holdline::message::{printable, printable_json};

/// Lines of output, made safe for a terminal.
pub(crate) struct SafeOutput<W: Write = BufWriter<StdoutLock<'static>>>(pub(crate) W);

impl SafeOutput {
    /// Locks standard output. It is written when the buffer is full, or with `flush`.
    pub(crate) fn stdout() -> Self {
        SafeOutput(BufWriter::new(io::stdout().lock()))
    }
}

impl<W: Write> SafeOutput<W> {
    /// Writes a line for people.
    pub(crate) fn line(&mut self, line: impl Display) -> io::Result<()> {
        writeln!(self.0, "{}", printable(&line.to_string()))
    }

    /// Writes a line of JSON.
    pub(crate) fn json(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.0, "{}", printable_json(line))
    }

    /// Writes what is still in the buffer.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Prints the lines of a text to standard output. It is not an error if the reader is gone, as in `holdline --help | head -1`.
pub(crate) fn show(text: &str) -> io::Result<()> {
    let mut out = SafeOutput::stdout();
    unless_reader_gone(text.trim_end().split('\n').try_for_each(|line| out.line(line)).and_then(|()| out.flush()))
}

/// Prints a line to standard error: an error, or what a person should know besides the output.
pub(crate) fn report(line: impl Display) {
    eprintln!("holdline: {}", printable(&line.to_string()));
}

/// Prints a question to standard error, and leaves the cursor behind it.
pub(super) fn prompt(question: impl Display) {
    eprint!("{}", printable(&question.to_string()));
}

/// Whether a person reads standard error on a terminal.
pub(super) fn errors_go_to_a_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Ignores the error of a closed pipe: the reader has seen enough.
pub(super) fn unless_reader_gone(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
