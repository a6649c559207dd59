//! Memory: what an idle connection costs the server.
//! Owns the thousands of clients; never lets them do anything but be there.

use anyhow::Result;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::client::Client;
use crate::server::{Contestant, Server};
use crate::{Figures, Options, Scenario};

/// 10,000 logged-in connections that say nothing.
pub(crate) const SCENARIO: Scenario =
    Scenario { name: "idle", unit: "bytes/connection", contestants: &[Contestant::Relay, Contestant::Holdline], run };

/// Connections to one server.
const CONNECTIONS: usize = 10_000;

/// Descriptors that a process has besides its connections.
const OTHER_FILES: u64 = 100;

fn run(contestant: Contestant, options: &Options) -> Result<Option<Figures>> {
    if let Err(reason) = raise_file_limit(CONNECTIONS as u64 + OTHER_FILES) {
        eprintln!("idle: skipped: {reason}");
        return Ok(None);
    }
    let server = Server::start(contestant, options)?;
    let before = server.resident_bytes()?;
    let clients = Client::login_all(server.address(), (0..CONNECTIONS).map(|client| format!("c{client:05}")))?;
    let after = server.resident_bytes()?;
    let peak_bytes = server.peak_bytes()?;
    drop(clients);
    server.stop()?;

    let value = after.saturating_sub(before) as f64 / CONNECTIONS as f64;
    Ok(Some(Figures { value, server_cpu_us: None, load_cpu_us: None, peak_bytes: Some(peak_bytes) }))
}

/// The servers inherit the limit, so that it is the same for each.
fn raise_file_limit(files: u64) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= files) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(files), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(|error| match limit.maximum {
        Some(maximum) => format!("it needs {files} open files, and the limit is {maximum} (ulimit -Hn): {error}"),
        None => format!("it needs {files} open files: {error}"),
    })
}
