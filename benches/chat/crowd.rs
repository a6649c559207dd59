//! Crowd: thousands of clients that connect in the same moment. Owns when each of them is logged in; never retries for
//! one that was refused.

use std::time::Instant;

use anyhow::{Result, bail};
use smol::{LocalExecutor, Timer};

use crate::client::{Client, STALL};
use crate::descriptors::allow_connections;
use crate::options::Options;
use crate::scenario::{Bar, Figures, Measure, Run, Scenario};
use crate::server::{Contestant, Server};

/// 5,000 clients. The relay is not measured: it does not greet, so its clients cannot tell when they are logged in.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "crowd",
    title: "5,000 clients connect at once",
    contestants: &[Contestant::Holdline],
    measures: &[Measure { name: "", unit: "s", bars: &[(Contestant::Holdline, Bar::Under(2.0))] }],
    run: Run::Each(run),
    on_request: false,
};

/// Clients, none of which waits for another.
const CLIENTS: usize = 5000;

fn run(contestant: Contestant, options: &Options) -> Result<Option<Figures>> {
    // Each client has its socket, and another handle of it to wait with.
    if let Err(reason) = allow_connections(2 * CLIENTS) {
        eprintln!("crowd: skipped: {reason}");
        return Ok(None);
    }
    let server = Server::start_for_crowd(contestant, options)?;
    let (cpu, started) = (server.cpu()?, Instant::now());
    let mut clients = Client::start_all(server.address(), (0..CLIENTS).map(|client| format!("c{client:04}")))?;
    log_in_all(&mut clients)?;
    let elapsed = started.elapsed().as_secs_f64();
    let cpu = server.cpu()? - cpu;
    Client::barrier(&mut clients, "here")?;
    let peak_bytes = server.peak_bytes()?;
    drop(clients);
    server.stop()?;

    let server_cpu_us = Some(cpu.as_secs_f64() * 1e6 / CLIENTS as f64);
    Ok(Some(Figures { server_cpu_us, peak_bytes: Some(peak_bytes), ..Figures::new([elapsed]) }))
}

fn log_in_all(clients: &mut [Client]) -> Result<()> {
    let executor = LocalExecutor::new();
    let logins: Vec<_> = clients.iter_mut().map(|client| executor.spawn(client.log_in())).collect();
    let all = async {
        for login in logins {
            login.await?;
        }
        Ok(())
    };
    let stalled = async {
        Timer::after(STALL).await;
        bail!("not all are logged in after {STALL:?}")
    };
    smol::block_on(executor.run(smol::future::or(all, stalled)))
}
