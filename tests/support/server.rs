//! Server of a test. Owns its process, its directories and its end; never looks inside it except through SQLite.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::TestClient;
use super::process::{Output, wait_for_exit};
use super::{DEADLINE, eventually};

/// Address with a free port that the system chooses.
const ANY_PORT: &str = "127.0.0.1:0";

/// Server with a data directory of its own; killed when it is dropped.
pub(crate) struct TestServer {
    process: Child,
    address: SocketAddr,
    log: Arc<Output>,
    /// Working directory, with the data directory in it unless that is elsewhere.
    home: TempDir,
    data: PathBuf,
    /// Hard limit that the server cannot raise, as for `ulimit`: `-n 40`. `None`: those of the tests.
    limit: Option<String>,
    /// Environment variables besides those of the tests.
    environment: Vec<(String, String)>,
}

impl TestServer {
    /// Starts a server without a configuration.
    pub(crate) fn start() -> Self {
        Self::with_config("")
    }

    /// Starts a server with this as `holdline.toml`.
    pub(crate) fn with_config(toml: &str) -> Self {
        Self::with(&[("holdline.toml", toml)], None, None, &[])
    }

    /// Starts a server with these files in its working directory.
    pub(crate) fn with_files(files: &[(&str, &str)]) -> Self {
        Self::with(files, None, None, &[])
    }

    /// Starts a server with these files in its working directory, and these environment variables.
    pub(crate) fn with_files_and_environment(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Self {
        Self::with(files, None, None, variables)
    }

    /// Starts a server with this as `holdline.toml`, and with its data elsewhere.
    pub(crate) fn with_data(data: &Path, toml: &str) -> Self {
        Self::with(&[("holdline.toml", toml)], Some(data), None, &[])
    }

    /// Starts a server with this as `holdline.toml`, and at most this many descriptors, its own files included.
    pub(crate) fn with_descriptors(toml: &str, descriptors: u32) -> Self {
        Self::with(&[("holdline.toml", toml)], None, Some(&format!("-n {descriptors}")), &[])
    }

    /// Starts a server with these files in its working directory. None of its files may have more blocks of 512 bytes than this.
    pub(crate) fn with_file_limit(files: &[(&str, &str)], blocks: u64) -> Self {
        Self::with(files, None, Some(&format!("-f {blocks}")), &[])
    }

    /// Starts a server with these environment variables.
    pub(crate) fn with_environment(variables: &[(&str, &str)]) -> Self {
        Self::with(&[], None, None, variables)
    }

    fn with(files: &[(&str, &str)], data: Option<&Path>, limit: Option<&str>, variables: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory can be created");
        let directory = home.path().join("empty");
        fs::create_dir(&directory).expect("a working directory");
        for (path, text) in files.iter().filter(|(_, text)| !text.is_empty()) {
            write_file(&directory, path, text);
        }
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let environment = Vec::from_iter(variables);
        let data = data.map_or_else(|| home.path().join("data"), Path::to_owned);
        let (process, log, address) = spawn(ANY_PORT, home.path(), &data, limit, &environment);
        let limit = limit.map(str::to_owned);
        TestServer { process, address, log, home, data, limit, environment }
    }

    /// Path of a file in the working directory.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.home.path().join("empty").join(path)
    }

    /// Writes a file into the working directory; a file that begins as a script does is executable.
    pub(crate) fn write_file(&self, path: &str, text: &str) {
        write_file(&self.path(""), path, text);
    }

    /// Reloads the plugins. Returns what the server logs about it.
    #[track_caller]
    pub(crate) fn reload(&self) -> String {
        let reloads =
            |log: &str| Vec::from_iter(log.lines().filter(|line| line.contains("the plugins")).map(str::to_owned));
        let before = reloads(&self.log()).len();
        self.signal(Signal::HUP);
        eventually("the plugins are reloaded", || reloads(&self.log()).len() > before);
        reloads(&self.log()).remove(before)
    }

    /// Waits until the log contains this.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, what: &str) {
        eventually(&format!("the log contains `{what}`"), || self.log().contains(what));
    }

    /// Address at which the server listens: another port after each start, unless it was started in place.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Process id of the server.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// Path of the database.
    pub(crate) fn database(&self) -> PathBuf {
        self.data().join("holdline.db")
    }

    /// Output on stderr since the last start.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Sends a signal, and does not wait.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("the server runs");
    }

    /// Waits until the server has ended.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for_exit(&mut self.process)
    }

    /// Stops the server with SIGTERM.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Kills the server with SIGKILL, as a crash would.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts the server again on the same data, after it has ended.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        self.start_again_at(ANY_PORT);
    }

    /// Starts the server again on the same data and at the same address, after it has ended.
    #[track_caller]
    pub(crate) fn start_again_in_place(&mut self) {
        self.start_again_at(&self.address.to_string());
    }

    #[track_caller]
    fn start_again_at(&mut self, listen: &str) {
        let ended = self.process.try_wait().expect("the process is a child of the test");
        assert!(ended.is_some(), "the server still runs");
        (self.process, self.log, self.address) =
            spawn(listen, self.home.path(), &self.data, self.limit.as_deref(), &self.environment);
    }

    /// Stops the server with SIGTERM and starts it again.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        let status = self.terminate();
        assert_eq!(status.code(), Some(0), "the server ended badly:\n{}", self.log());
        self.start_again();
    }

    /// Queries the database with the `sqlite3` shell, read-only.
    #[track_caller]
    pub(crate) fn sqlite(&self, sql: &str) -> String {
        sqlite3(&["-readonly"], &self.database(), sql)
    }

    /// Changes the database with the `sqlite3` shell.
    #[track_caller]
    pub(crate) fn sqlite_write(&self, sql: &str) -> String {
        sqlite3(&[], &self.database(), sql)
    }

    /// Waits until all messages for this peer are delivered.
    #[track_caller]
    pub(crate) fn wait_until_delivered(&self, name: &str) {
        let waiting = format!("select count(*) from waiting where recipient = '{name}'");
        eventually(&format!("nothing waits for {name}"), || self.sqlite(&waiting) == "0");
    }

    /// Waits until this peer is offline.
    #[track_caller]
    pub(crate) fn wait_until_gone(&self, name: &str) {
        let mut onlooker = TestClient::login(self, "onlooker");
        eventually(&format!("{name} is offline"), || !onlooker.is_online(name));
        onlooker.quit();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("stderr of the server at {}:\n{}", self.address, self.log());
        }
    }
}

fn write_file(directory: &Path, path: &str, text: &str) {
    let path = directory.join(path);
    fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("the directory can be created");
    // Renamed into place, so that a concurrent reader finds the whole file.
    let new = path.with_extension("new");
    fs::write(&new, text).expect("the file can be written");
    if text.starts_with("#!") {
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("the file can be made executable");
    }
    fs::rename(&new, &path).expect("a file in place");
}

/// Returns the server's program without arguments.
pub(crate) fn holdline() -> Command {
    only_stderr(Command::new(env!("CARGO_BIN_EXE_holdline")))
}

/// Returns the server's program with a hard limit, which it cannot raise.
pub(crate) fn holdline_with(limit: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("ulimit {limit} && exec \"$0\" \"$@\"")).arg(env!("CARGO_BIN_EXE_holdline"));
    only_stderr(shell)
}

fn only_stderr(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).env_remove("RUST_LOG");
    command
}

fn spawn(
    listen: &str,
    home: &Path,
    data: &Path,
    limit: Option<&str>,
    environment: &[(String, String)],
) -> (Child, Arc<Output>, SocketAddr) {
    let mut command = limit.map_or_else(holdline, holdline_with);
    command.envs(environment.iter().cloned());
    let directory = home.join("empty");
    // The flag would replace what the file lists.
    let is_listed = fs::read_to_string(directory.join("holdline.toml")).is_ok_and(|toml| toml.contains("listen ="));
    if !is_listed {
        command.args(["--listen", listen]);
    }
    command.arg("--data").arg(data).current_dir(directory);
    let mut process = command.spawn().expect("the server can be started");
    let log = Output::of(process.stderr.take().expect("stderr is a pipe"));
    let Some(address) = wait_for_address(&log) else {
        let _ = process.kill();
        let _ = process.wait();
        panic!("the server did not log where it listens:\n{}", log.text());
    };
    (process, log, address)
}

/// Runs a command that must be refused at its start. Returns its one line on stderr.
#[track_caller]
pub(crate) fn refusal(command: &mut Command) -> String {
    let mut process = command.spawn().expect("the command can be started");
    let status = wait_for_exit(&mut process);
    let mut stderr = String::new();
    process.stderr.take().expect("stderr is a pipe").read_to_string(&mut stderr).expect("stderr is text");
    let code = status.code().unwrap_or_else(|| panic!("{status}, not an exit code:\n{stderr}"));
    assert!(code != 0 && code != 101, "exit code {code}:\n{stderr}");
    assert!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "a panic is no refusal:\n{stderr}");
    assert_eq!(stderr.lines().count(), 1, "a refusal is one line:\n{stderr}");
    stderr
}

#[track_caller]
pub(super) fn sqlite3(options: &[&str], database: &Path, sql: &str) -> String {
    let mut command = Command::new("sqlite3");
    command.args(options).args(["-batch", "-cmd", ".timeout 5000"]).arg(database).arg(sql);
    let output = command.output().expect("the sqlite3 shell is installed");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "sqlite3 on `{sql}`: {}\n{stderr}", output.status);
    let rows = String::from_utf8(output.stdout).expect("sqlite3 writes UTF-8");
    rows.strip_suffix('\n').unwrap_or(&rows).to_owned()
}

/// Waits for the line with the address at which the server listens. `None` if the output ends without one.
fn wait_for_address(log: &Output) -> Option<SocketAddr> {
    address_in(&log.wait_until(|text| address_in(text).is_some()))
}

fn address_in(log: &str) -> Option<SocketAddr> {
    let ready = log.split_inclusive('\n').find(|line| line.ends_with('\n') && line.contains("listening on"))?;
    let start = ready.find("127.0.0.1:")?;
    let address = ready[start..].split(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').next()?;
    address.trim_end_matches(['.', ':']).parse().ok()
}
