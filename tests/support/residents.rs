//! Programs on a host: the server, and users with OpenBSD's `nc`. Owns their processes; never the network.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::eventually;
use super::hosts::Host;
use super::lines::{flood, flood_number, is_notice, messages};
use super::process::{Output, wait_for_exit};
use super::server::sqlite3;

/// Port of the server on every host.
const PORT: u16 = 7878;

/// Messages that are sent together; the next ones follow when these are accepted.
const SENT_AT_ONCE: usize = 10;

/// Characters of unexpected output that a failure shows.
const SHOWN_CHARS_MAX: usize = 2000;

/// Server on a host, with a data directory of its own; killed when it is dropped.
pub(crate) struct HostServer<'h> {
    host: &'h Host,
    process: Child,
    log: Arc<Output>,
    /// Directory of the configuration and the data.
    home: TempDir,
}

/// User with `nc` on a host, logged in; killed when it is dropped.
pub(crate) struct Nc {
    name: String,
    process: Child,
    output: Arc<Output>,
    /// Bytes of the output that were read: whole lines.
    read: usize,
    /// Pings sent so far.
    pings: usize,
}

impl<'h> HostServer<'h> {
    /// Starts a server with this in `holdline.toml`. It does not sync: the power stays on, and the tests are about the
    /// network.
    #[track_caller]
    pub(crate) fn start(host: &'h Host, toml: &str) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory can be created");
        let toml = format!("durability = \"crash\"\n{toml}");
        fs::write(home.path().join("holdline.toml"), toml).expect("the configuration can be written");
        let (process, log) = spawn_server(host, &home);
        HostServer { host, process, log, home }
    }

    /// Address at which the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        (self.host.address(), PORT).into()
    }

    /// Kills the server with SIGKILL, and starts it again on the same data.
    #[track_caller]
    pub(crate) fn crash_and_start_again(&mut self) {
        self.kill();
        (self.process, self.log) = spawn_server(self.host, &self.home);
    }

    /// Number of messages that wait for this peer.
    #[track_caller]
    pub(crate) fn waiting(&self, name: &str) -> usize {
        let sql = format!("select count(*) from waiting where recipient = '{name}'");
        let count = sqlite3(&["-readonly"], &self.home.path().join("data/holdline.db"), &sql);
        count.parse().expect("a count is a number")
    }

    /// Waits until all messages for this peer are delivered.
    #[track_caller]
    pub(crate) fn wait_until_delivered(&self, name: &str) {
        eventually(&format!("nothing waits for {name}"), || self.waiting(name) == 0);
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for HostServer<'_> {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("stderr of the server at {}:\n{}", self.host.address(), self.log.text());
        }
    }
}

fn spawn_server(host: &Host, home: &TempDir) -> (Child, Arc<Output>) {
    let mut command = host.command(env!("CARGO_BIN_EXE_holdline"));
    let address = SocketAddr::from((host.address(), PORT));
    command.args(["--open", "--data", "data", "--listen", &address.to_string()]).current_dir(home.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).env_remove("HOLDLINE_LOG");
    let mut process = command.spawn().expect("the server can be started");
    let log = Output::of(process.stderr.take().expect("stderr is a pipe"));
    let text = log.wait_until(|text| text.contains("listening on"));
    assert!(text.contains("listening on"), "the server did not log that it listens:\n{text}");
    (process, log)
}

impl Nc {
    /// Logs in at a server from a host, and waits for the greeting.
    #[track_caller]
    pub(crate) fn log_in(host: &Host, server: &HostServer, name: &str) -> Self {
        let mut command = host.command("nc.openbsd");
        command.args([server.host.address().to_string(), PORT.to_string()]);
        Nc::start(command, name)
    }

    /// Logs in over TLS, with `openssl` in place of `nc`.
    #[track_caller]
    pub(crate) fn log_in_over_tls(host: &Host, server: &HostServer, name: &str) -> Self {
        let mut command = host.command("openssl");
        command.args(["s_client", "-quiet", "-connect", &format!("{}:{PORT}", server.host.address())]);
        Nc::start(command, name)
    }

    #[track_caller]
    fn start(mut command: Command, name: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("the client can be started");
        let output = Output::of(process.stdout.take().expect("stdout is a pipe"));
        let mut nc = Nc { name: name.to_owned(), process, output, read: 0, pings: 0 };
        nc.write(&format!("{name}\n"));
        nc.read_until("a greeting", |line| is_notice(line) && line.contains(name));
        nc
    }

    /// Types a text.
    #[track_caller]
    pub(crate) fn write(&mut self, text: &str) {
        let stdin = self.process.stdin.as_mut().expect("stdin is a pipe");
        stdin.write_all(text.as_bytes()).unwrap_or_else(|error| panic!("nc of {} takes no input: {error}", self.name));
    }

    /// Sends numbered messages, each followed by this many bytes: a few at a time, the next ones when these are
    /// accepted.
    #[track_caller]
    pub(crate) fn send(&mut self, to: &str, numbers: Range<usize>, padding: usize) {
        for start in numbers.clone().step_by(SENT_AT_ONCE) {
            let end = numbers.end.min(start + SENT_AT_ONCE);
            self.flood(to, start..end, padding);
            self.ping();
        }
    }

    /// Types numbered messages, each followed by this many bytes, and does not wait.
    #[track_caller]
    pub(crate) fn flood(&mut self, to: &str, numbers: Range<usize>, padding: usize) {
        self.write(str::from_utf8(&flood(to, numbers, padding)).expect("a flood is text"));
    }

    /// Waits until everything typed so far is processed. Returns the lines that came before the pong.
    #[track_caller]
    pub(crate) fn ping(&mut self) -> Vec<String> {
        self.pings += 1;
        self.write(&format!("/ping {}\n", self.pings));
        let pong = format!("* pong {}", self.pings);
        let mut lines = self.read_until(&pong, |line| line == pong);
        lines.pop();
        lines
    }

    /// Waits for a line for which `is_it` is true. Returns it and the unread lines before it.
    #[track_caller]
    pub(crate) fn read_until(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> Vec<String> {
        let start = self.read;
        let end_of_it = |text: &str| {
            let mut end = start;
            let mut lines = text[start..].split_inclusive('\n');
            lines.find_map(|line| {
                end += line.len();
                is_it(line.trim_end_matches('\n')).then_some(end)
            })
        };
        let text = self.output.wait_until(|text| end_of_it(text).is_some());
        let end = end_of_it(&text);
        let end = end.unwrap_or_else(|| panic!("{} never read {what}, but:\n{}", self.name, shortened(&text[start..])));
        self.read = end;
        text[start..end].lines().map(str::to_owned).collect()
    }

    /// Waits for exactly these numbered messages, in order; only notices may come between them.
    #[track_caller]
    pub(crate) fn expect_flood(&mut self, sender: &str, numbers: Range<usize>) {
        let last = numbers.end - 1;
        let lines = self.read_until(&format!("message {last}"), |line| flood_number(line, sender) == Some(last));
        let mut expected = numbers;
        for line in messages(&lines) {
            let next = expected.next();
            assert!(flood_number(line, sender) == next, "{} read {} instead of {next:?}", self.name, shortened(line));
        }
    }

    /// Waits until everything typed so far is processed, and checks that only notices came.
    #[track_caller]
    pub(crate) fn expect_nothing(&mut self) {
        let lines = self.ping();
        let read = messages(&lines);
        assert!(read.is_empty(), "{} expected nothing, and read {}", self.name, shortened(&read.join("\n")));
    }

    /// Whether the reply to `/who` contains this name.
    #[track_caller]
    pub(crate) fn is_online(&mut self, name: &str) -> bool {
        self.write("/who\n");
        let is_part = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        self.ping().iter().any(|line| line.split(|c| !is_part(c)).any(|word| word == name))
    }

    /// Stops the process: it reads no more, while its system continues.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets the process continue.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until the process ends by itself.
    #[track_caller]
    pub(crate) fn expect_end(mut self) {
        wait_for_exit(&mut self.process);
    }

    /// Kills the process with SIGKILL. Returns the whole lines of its output that were not read yet.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.end();
        let text = self.output.wait_until(|_| false);
        let lines = text[self.read..].split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        lines.map(str::to_owned).collect()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("nc runs");
    }

    fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Nc {
    fn drop(&mut self) {
        self.end();
    }
}

/// Beginning of a text, for a failure message.
fn shortened(text: &str) -> &str {
    let end = text.char_indices().nth(SHOWN_CHARS_MAX).map_or(text.len(), |(end, _)| end);
    &text[..end]
}
