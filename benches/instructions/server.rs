//! Server, as it is or under valgrind, and whether it is idle. Owns the process, its directory and the file with its
//! counts; never sends a line to it.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Time limit for its start, for becoming idle, and for its end.
const WAIT: Duration = Duration::from_secs(60);

/// Time between two polls of its threads.
const LOOK: Duration = Duration::from_millis(1);

/// Polls that must find every thread asleep before it counts as idle: longer than the pause between its own polls of
/// acknowledged bytes.
const RESTING_LOOKS: usize = 8;

/// Server and its data, removed when this is dropped.
pub(crate) struct Server {
    program: PathBuf,
    home: TempDir,
    running: Option<(Child, SocketAddr)>,
}

impl Server {
    /// Creates a server in an empty directory, not running.
    pub(crate) fn new(program: &Path) -> Result<Server> {
        let home = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        fs::write(home.path().join("holdline.toml"), "[limits]\nmailbox_max = 0\n")?;
        let program = fs::canonicalize(program).with_context(|| program.display().to_string())?;
        Ok(Server { program, home, running: None })
    }

    /// Starts it as it is.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.spawn(Command::new(&self.program))
    }

    /// Starts it under valgrind.
    pub(crate) fn start_counted(&mut self) -> Result<()> {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=callgrind", "--quiet", "--dump-line=no", "--compress-strings=no", "--compress-pos=no"]);
        valgrind.arg(format!("--callgrind-out-file={}", self.counts().display())).arg(&self.program);
        self.spawn(valgrind)
    }

    /// File into which valgrind writes its counts when the server has stopped.
    pub(crate) fn counts(&self) -> PathBuf {
        self.home.path().join("callgrind.out")
    }

    /// Address at which it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.running.as_ref().expect("it was started").1
    }

    /// Returns when it waits for events: all requests are processed, and reported.
    pub(crate) fn settle(&self) -> Result<()> {
        let (process, _) = self.running.as_ref().expect("it was started");
        let started = Instant::now();
        let mut looks = 0;
        while looks < RESTING_LOOKS {
            looks = if sleeps(process.id())? { looks + 1 } else { 0 };
            ensure!(started.elapsed() < WAIT, "the server has not come to rest for {WAIT:?}");
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Shuts it down as an administrator would.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let (mut process, _) = self.running.take().expect("it was started");
        kill_process(Pid::from_child(&process), Signal::TERM)?;
        let status = process.wait()?;
        ensure!(status.success(), "the server ended with {status} after SIGTERM");
        Ok(())
    }

    fn spawn(&mut self, mut command: Command) -> Result<()> {
        command.args(["--listen", "127.0.0.1:0", "--data", "data"]).current_dir(self.home.path());
        // The same environment everywhere: its size moves what is on the stack.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(|error| not_started(&command, error))?;
        let stderr = process.stderr.take().expect("stderr is piped");
        let mut log = BufReader::new(stderr).lines().map_while(Result::ok);
        let address = log.find_map(|line| listening_address(&line));
        // Later output is read too, so that the server never waits for this process.
        thread::spawn(move || log.for_each(drop));
        let Some(address) = address else {
            let status = process.wait()?;
            bail!("the server did not say where it listens, and ended with {status}");
        };
        self.running = Some((process, address));
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((process, _)) = &mut self.running {
            // A failure cannot be handled here.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn not_started(command: &Command, error: std::io::Error) -> anyhow::Error {
    let program = command.get_program().display();
    if error.kind() == ErrorKind::NotFound && command.get_program() == "valgrind" {
        anyhow::anyhow!(
            "valgrind is not installed, which counts the instructions (on Debian: apt-get install valgrind)"
        )
    } else {
        anyhow::anyhow!("{program} cannot be started: {error}")
    }
}

fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on ")?;
    rest.split(',').next()?.parse().ok()
}

/// Whether all threads wait for something other than the disk; proc(5), the third field of `stat`.
fn sleeps(process: u32) -> Result<bool> {
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let stat = fs::read_to_string(thread?.path().join("stat"))?;
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if state != Some('S') {
            return Ok(false);
        }
    }
    Ok(true)
}
