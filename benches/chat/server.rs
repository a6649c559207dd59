//! The servers under test, each a process of its own, so that both are measured alike.
//! Owns starting, stopping and what `/proc` says of a process; never speaks to a server.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::str::FromStr;
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{Options, RELAY_COMMAND};

/// Time that a server may take to listen, and to stop.
const SERVER_WAIT: Duration = Duration::from_secs(30);

/// Clock ticks in a second, in which `/proc/PID/stat` counts: the same on every Linux that matters here.
const TICKS_PER_SECOND: f64 = 100.0;

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contestant {
    /// The baseline that keeps nothing.
    Relay,
    /// The server.
    Holdline,
    /// No server at all, but what holdline keeps its messages in.
    Sqlite,
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Contestant::Relay => "relay",
            Contestant::Holdline => "holdline",
            Contestant::Sqlite => "(none)",
        })
    }
}

/// What holdline is configured to promise of an accepted message.
#[derive(Clone, Copy)]
pub(crate) enum Durability {
    /// Synced to the medium.
    PowerLoss,
    /// Survives the process.
    Crash,
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "power-loss" => Ok(Durability::PowerLoss),
            "crash" => Ok(Durability::Crash),
            _ => Err("it is power-loss or crash".to_string()),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Durability::PowerLoss => "power-loss",
            Durability::Crash => "crash",
        })
    }
}

/// A running server; dropped, it is killed.
pub(crate) struct Server {
    contestant: Contestant,
    process: Child,
    address: SocketAddr,
    /// Its working directory and its data, gone with it.
    _home: TempDir,
}

impl Server {
    /// Starts a server in an empty directory and waits until it listens.
    pub(crate) fn start(contestant: Contestant, options: &Options) -> Result<Self> {
        let home = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let mut command = command(contestant, options, home.path())?;
        command.current_dir(home.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let (found, address) = mpsc::sync_channel(1);
        let stderr = process.stderr.take().expect("stderr is piped");
        thread::spawn(move || pass_on(contestant, stderr, found));
        let Ok(address) = address.recv_timeout(SERVER_WAIT) else {
            let _ = process.kill();
            let _ = process.wait();
            bail!("{contestant} did not say where it listens");
        };
        Ok(Server { contestant, process, address, _home: home })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU time that it has used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu_of(&self.process.id().to_string())
    }

    /// Bytes that it has resident.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        self.status_bytes("VmRSS:")
    }

    /// The most bytes that it has had resident.
    pub(crate) fn peak_bytes(&self) -> Result<u64> {
        self.status_bytes("VmHWM:")
    }

    /// Ends it as an administrator would.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait()? {
                // The relay knows no signal: it is ended by it.
                ensure!(self.contestant == Contestant::Relay || status.success(), "ended with {status} after SIGTERM");
                return Ok(());
            }
            ensure!(started.elapsed() < SERVER_WAIT, "still runs {SERVER_WAIT:?} after SIGTERM");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn status_bytes(&self, field: &str) -> Result<u64> {
        let status = read_proc(&self.process.id().to_string(), "status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|value| value.trim().strip_suffix(" kB")).and_then(|value| value.parse::<u64>().ok());
        Ok(kib.with_context(|| format!("no {field} in {status:?}"))? * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After `stop` there is nothing to kill, and nothing to be done about a failure.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// CPU time that this program has used so far.
pub(crate) fn own_cpu() -> Result<Duration> {
    cpu_of("self")
}

fn command(contestant: Contestant, options: &Options, home: &Path) -> Result<Command> {
    match contestant {
        Contestant::Relay => {
            let mut command = Command::new(std::env::current_exe()?);
            command.args([RELAY_COMMAND, "--listen", "127.0.0.1:0"]);
            // As the tutorial's runtime has it: a thread for each core. smol starts one unless it is told.
            command.env("SMOL_THREADS", thread::available_parallelism()?.to_string());
            Ok(command)
        }
        Contestant::Holdline => {
            fs::write(home.join("holdline.toml"), format!("durability = \"{}\"\n", options.durability))?;
            let mut command =
                Command::new(fs::canonicalize(&options.server).context(options.server.display().to_string())?);
            command.args(["--listen", "127.0.0.1:0", "--data"]).arg(home.join("data"));
            Ok(command)
        }
        Contestant::Sqlite => bail!("SQLite is no server"),
    }
}

/// Finds the address in what a server says; its warnings and errors are for the one who runs the benchmark.
fn pass_on(contestant: Contestant, stderr: ChildStderr, found: SyncSender<SocketAddr>) {
    let mut found = Some(found);
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        match found.as_ref().and_then(|_| listening_address(&line)) {
            Some(address) => drop(found.take().map(|found| found.send(address))),
            None if line.contains(" INFO ") => {}
            None => eprintln!("{contestant} says: {line}"),
        }
    }
}

fn listening_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on ")?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(rest.len());
    rest[..end].trim_end_matches(['.', ':']).parse().ok()
}

fn cpu_of(process: &str) -> Result<Duration> {
    let stat = read_proc(process, "stat")?;
    // The second field is the program's name in parentheses, which may hold blanks; utime and stime are the 14th and 15th.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().skip(11).take(2));
    let ticks: Option<f64> = fields.and_then(|fields| fields.map(|field| field.parse::<f64>().ok()).sum());
    Ok(Duration::from_secs_f64(ticks.with_context(|| format!("no CPU time in {stat:?}"))? / TICKS_PER_SECOND))
}

fn read_proc(process: &str, file: &str) -> Result<String> {
    let path = format!("/proc/{process}/{file}");
    fs::read_to_string(&path).with_context(|| format!("{path}: the benchmark needs Linux's /proc"))
}
