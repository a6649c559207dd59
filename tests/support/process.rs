//! Processes with a deadline: programs that are used over pipes, and their output. Owns processes; never a socket.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::{DEADLINE, comes_true_within};

/// Program used over its standard input and output.
pub(crate) struct Program {
    name: String,
    process: Child,
    output: Arc<Output>,
    /// Bytes of the output that were read: whole lines.
    read: usize,
}

impl Program {
    /// Starts a program.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let output = Output::of(process.stdout.take().expect("stdout is a pipe"));
        Program { name, process, output, read: 0 }
    }

    /// Returns its process id.
    pub(crate) fn id(&self) -> String {
        self.process.id().to_string()
    }

    /// Writes to its standard input.
    #[track_caller]
    pub(crate) fn write(&mut self, text: &str) {
        let written = self.stdin().and_then(|stdin| stdin.write_all(text.as_bytes()));
        written.unwrap_or_else(|error| panic!("{} does not take its input: {error}", self.name));
    }

    /// Ends its standard input.
    pub(crate) fn end_input(&mut self) {
        self.process.stdin = None;
    }

    /// Waits for a line of the output for which `is_it` is true; skips the lines before it.
    #[track_caller]
    pub(crate) fn expect(&mut self, what: &str, is_it: impl Fn(&str) -> bool) {
        let start = self.read;
        let end_of_it = |text: &str| {
            let mut ends = text.match_indices('\n').map(|(end, _)| end).skip_while(|end| *end < start);
            let mut from = start;
            ends.find(|end| is_it(&text[std::mem::replace(&mut from, end + 1)..*end]))
        };
        let text = self.output.wait_until(|text| end_of_it(text).is_some());
        let end = end_of_it(&text).unwrap_or_else(|| panic!("{} never wrote {what}; it wrote:\n{text}", self.name));
        self.read = end + 1;
    }

    /// Waits for exactly this line; skips the lines before it.
    #[track_caller]
    pub(crate) fn expect_line(&mut self, expected: &str) {
        self.expect(&format!("`{expected}`"), |line| line == expected);
    }

    /// Waits until the program has ended. Returns all of its output.
    #[track_caller]
    pub(crate) fn wait(mut self) -> String {
        self.end_input();
        wait_for_exit(&mut self.process);
        self.output.wait_until(|_| false)
    }

    fn stdin(&mut self) -> io::Result<&mut impl Write> {
        self.process.stdin.as_mut().ok_or_else(|| ErrorKind::BrokenPipe.into())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the program if it is installed. If `CI` is set it must be.
pub(crate) fn installed(program: &'static str) -> Option<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|directory| directory.join(program).is_file()) {
        return Some(program);
    }
    assert!(std::env::var_os("CI").is_none(), "{program} is not installed, and CI requires it");
    eprintln!("skipped: {program} is not installed");
    None
}

/// Waits until a process has ended.
#[track_caller]
pub(crate) fn wait_for_exit(process: &mut Child) -> ExitStatus {
    let mut status = None;
    comes_true_within(DEADLINE, || {
        status = process.try_wait().expect("the process is a child of the test");
        status.is_some()
    });
    status.unwrap_or_else(|| {
        let _ = process.kill();
        panic!("process {} did not end", process.id());
    })
}

/// Output of a process through a pipe, as far as it was read.
pub(crate) struct Output {
    state: Mutex<OutputState>,
    grown: Condvar,
}

#[derive(Default)]
struct OutputState {
    text: String,
    ended: bool,
}

impl Output {
    /// Collects from a pipe until it ends.
    pub(crate) fn of(pipe: impl Read + Send + 'static) -> Arc<Output> {
        let output = Arc::new(Output { state: Mutex::default(), grown: Condvar::new() });
        let collected = Arc::clone(&output);
        thread::spawn(move || collected.collect(BufReader::new(pipe)));
        output
    }

    /// Output so far.
    pub(crate) fn text(&self) -> String {
        self.state.lock().unwrap().text.clone()
    }

    /// Waits until the output is enough or has ended, or the deadline has passed. Returns the output.
    pub(crate) fn wait_until(&self, is_enough: impl Fn(&str) -> bool) -> String {
        let state = self.state.lock().unwrap();
        let waits = |state: &mut OutputState| !state.ended && !is_enough(&state.text);
        let (state, _) = self.grown.wait_timeout_while(state, DEADLINE, waits).unwrap();
        state.text.clone()
    }

    fn collect(&self, mut pipe: impl BufRead) {
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            self.state.lock().unwrap().text.push_str(&String::from_utf8_lossy(&line));
            self.grown.notify_all();
            line.clear();
        }
        self.state.lock().unwrap().ended = true;
        self.grown.notify_all();
    }
}
