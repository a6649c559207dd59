//! Servers under test, each a process of its own, so that all are measured in the same way. Owns their homes, starting and
//! stopping them; never sends a line to one.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tempfile::TempDir;

use crate::options::{Options, RELAY_COMMAND};
use crate::proc;

/// Time limit for a server to listen, and to stop.
const SERVER_WAIT: Duration = Duration::from_secs(30);

/// Contestant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contestant {
    /// The relay, which stores nothing.
    Relay,
    /// The server, which syncs every message to the medium.
    Holdline,
    /// The server without a history, for comparison with one that has a history.
    HoldlineEmpty,
    /// The server with durability `crash`: an accepted message survives the process, not a power cut.
    HoldlineCrash,
    /// The same, with a script that handles each message.
    HoldlineLuau,
    /// The same, with a program that handles each message.
    HoldlineProcess,
    /// SQLite without a server.
    Sqlite,
    /// One write and one sync, without a server.
    Fdatasync,
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Contestant::Relay => "relay",
            Contestant::Holdline => "holdline",
            Contestant::HoldlineEmpty => "holdline (empty)",
            Contestant::HoldlineCrash => "holdline (crash)",
            Contestant::HoldlineLuau => "holdline (script)",
            Contestant::HoldlineProcess => "holdline (program)",
            Contestant::Sqlite => "SQLite",
            Contestant::Fdatasync => "fdatasync",
        })
    }
}

/// Home of a server: its working directory, configuration and data, removed when this is dropped.
pub(crate) struct Home {
    directory: TempDir,
}

/// Running server; killed when it is dropped.
pub(crate) struct Server {
    contestant: Contestant,
    process: Process,
    address: SocketAddr,
    startup: Duration,
    home: Home,
}

/// Process that is killed when it is dropped.
struct Process(Child);

/// Server that was shut down.
pub(crate) struct Stopped {
    /// Its home, for another server.
    pub(crate) home: Home,
    /// Bytes that it caused to be written to the medium, including its last checkpoint.
    pub(crate) written_bytes: u64,
}

impl Home {
    /// Creates an empty home, on the disk that is measured.
    pub(crate) fn new() -> Result<Self> {
        // Pending writes of earlier contestants are written first, so that no other pays for them.
        rustix::fs::sync();
        Ok(Home { directory: TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))? })
    }

    /// Adds lines to `holdline.toml`; tables last.
    pub(crate) fn configure(&self, lines: &str) -> Result<()> {
        let file = fs::File::options().create(true).append(true).open(self.directory.path().join("holdline.toml"));
        Ok(file?.write_all(lines.as_bytes())?)
    }

    /// Working directory.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Creates the data directory of holdline. Returns its path.
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }
}

impl Server {
    /// Starts a server in an empty home.
    pub(crate) fn start(contestant: Contestant, options: &Options) -> Result<Self> {
        let home = Home::new()?;
        if contestant == Contestant::HoldlineCrash {
            home.configure("durability = \"crash\"\n")?;
        }
        Server::start_in(home, contestant, options)
    }

    /// Starts a server in an empty home, for thousands of connections from one address.
    pub(crate) fn start_for_crowd(contestant: Contestant, options: &Options) -> Result<Self> {
        let home = Home::new()?;
        for limit in ["connections_max", "connections_per_address_max", "connects_per_address_per_s"] {
            home.configure(&format!("limits.{limit} = 0\n"))?;
        }
        Server::start_in(home, contestant, options)
    }

    /// Starts a server in a home that may have data and a configuration, and waits until it listens.
    pub(crate) fn start_in(home: Home, contestant: Contestant, options: &Options) -> Result<Self> {
        let mut command = command(contestant, options, &home)?;
        command.current_dir(home.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let started = Instant::now();
        let process = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let mut process = Process(process);
        let (found, address) = mpsc::sync_channel(1);
        let stderr = process.0.stderr.take().expect("stderr is piped");
        thread::spawn(move || pass_on(contestant, stderr, found));
        let Ok(address) = address.recv_timeout(SERVER_WAIT) else {
            bail!("{contestant} did not say where it listens");
        };
        Ok(Server { contestant, process, address, startup: started.elapsed(), home })
    }

    /// Address at which it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Time from its start until it reported that it listens.
    pub(crate) fn startup(&self) -> Duration {
        self.startup
    }

    /// CPU time that it has used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        proc::cpu(&self.process.id())
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        proc::status_bytes(&self.process.id(), "VmRSS:")
    }

    /// Peak of its resident memory in bytes.
    pub(crate) fn peak_bytes(&self) -> Result<u64> {
        proc::status_bytes(&self.process.id(), "VmHWM:")
    }

    /// Resets the peak to the current resident memory.
    pub(crate) fn forget_peak(&self) -> Result<()> {
        proc::forget_peak(&self.process.id())
    }

    /// Bytes that it has caused to be written to the medium so far.
    pub(crate) fn written_bytes(&self) -> Result<u64> {
        proc::written_bytes(&self.process.id())
    }

    /// Times that its threads were given a core and taken off it again.
    pub(crate) fn context_switches(&self) -> Result<u64> {
        proc::context_switches(&self.process.id())
    }

    /// Shuts it down as an administrator would.
    pub(crate) fn stop(self) -> Result<Stopped> {
        let Server { contestant, mut process, home, .. } = self;
        kill_process(Pid::from_child(&process.0), Signal::TERM)?;
        process.wait_for_end()?;
        // The system keeps the counts of an ended process until it is waited for.
        let written_bytes = proc::written_bytes(&process.id())?;
        let status = process.0.wait()?;
        // The relay handles no signal, and dies by it.
        ensure!(contestant == Contestant::Relay || status.success(), "ended with {status} after SIGTERM");
        Ok(Stopped { home, written_bytes })
    }
}

impl Process {
    fn id(&self) -> String {
        self.0.id().to_string()
    }

    fn wait_for_end(&self) -> Result<()> {
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let started = Instant::now();
        while waitid(WaitId::Pid(Pid::from_child(&self.0)), ended)?.is_none() {
            ensure!(started.elapsed() < SERVER_WAIT, "still runs {SERVER_WAIT:?} after SIGTERM");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An ended process cannot be killed, and a failure cannot be handled.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(contestant: Contestant, options: &Options, home: &Home) -> Result<Command> {
    match contestant {
        Contestant::Relay => {
            let mut command = Command::new(std::env::current_exe()?);
            command.args([RELAY_COMMAND, "--listen", "127.0.0.1:0"]);
            // As the tutorial's runtime does: a thread for each core. smol starts one by default.
            command.env("SMOL_THREADS", thread::available_parallelism()?.to_string());
            Ok(command)
        }
        Contestant::Holdline
        | Contestant::HoldlineEmpty
        | Contestant::HoldlineCrash
        | Contestant::HoldlineLuau
        | Contestant::HoldlineProcess => {
            let program = fs::canonicalize(&options.server).context(options.server.display().to_string())?;
            let mut command = Command::new(program);
            command.args(["--listen", "127.0.0.1:0", "--data"]).arg(home.data());
            Ok(command)
        }
        Contestant::Sqlite | Contestant::Fdatasync => bail!("{contestant} is no server"),
    }
}

/// Finds the address in the output of a server; passes its warnings and errors on to the person who runs the benchmark.
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
