//! Idle connections: what one costs the server in memory. Owns the thousands of clients; never lets them send anything.

use anyhow::Result;

use crate::client::Client;
use crate::descriptors::allow_connections;
use crate::options::Options;
use crate::scenario::{Bar, Figures, Measure, Run, Scenario};
use crate::server::{Contestant, Server};

/// 10,000 logged-in connections that send nothing.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "idle",
    title: "Memory of an idle connection, of 10,000",
    contestants: &[Contestant::Relay, Contestant::Holdline],
    measures: &[Measure { name: "", unit: "bytes/connection", bars: &[(Contestant::Holdline, Bar::Under(4096.0))] }],
    run: Run::Each(run),
    on_request: false,
};

/// Connections to one server.
const CONNECTIONS: usize = 10_000;

fn run(contestant: Contestant, options: &Options) -> Result<Option<Figures>> {
    if let Err(reason) = allow_connections(CONNECTIONS) {
        eprintln!("idle: skipped: {reason}");
        return Ok(None);
    }
    let server = Server::start_for_crowd(contestant, options)?;
    let before = server.resident_bytes()?;
    let clients = Client::login_all(server.address(), (0..CONNECTIONS).map(|client| format!("c{client:05}")))?;
    let after = server.resident_bytes()?;
    let peak_bytes = server.peak_bytes()?;
    drop(clients);
    server.stop()?;

    let value = after.saturating_sub(before) as f64 / CONNECTIONS as f64;
    Ok(Some(Figures { peak_bytes: Some(peak_bytes), ..Figures::new([value]) }))
}
