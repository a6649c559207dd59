//! Idle server: its memory and its wake-ups after traffic has ended. Owns the traffic before, and the counting; never
//! disturbs the server while it counts.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::client::Client;
use crate::options::Options;
use crate::pair::Pair;
use crate::pairs;
use crate::scenario::{Bar, Figures, Measure, Run, Scenario};
use crate::server::{Contestant, Server};

/// Server that was used, with some clients still logged in.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "rest",
    title: "Idle, 20 silent clients",
    contestants: &[Contestant::Holdline],
    measures: &[
        Measure { name: "memory", unit: "MiB", bars: &[(Contestant::Holdline, Bar::Under(8.0))] },
        Measure { name: "switches", unit: "in 5 s", bars: &[(Contestant::Holdline, Bar::Zero)] },
        Measure { name: "CPU", unit: "ms in 5 s", bars: &[(Contestant::Holdline, Bar::Zero)] },
    ],
    run: Run::Each(run),
    on_request: false,
};

/// Clients that stay and send nothing.
const IDLE_CLIENTS: usize = 20;

/// Pairs that chat and leave.
const PAIRS: usize = 25;

/// Messages of each pair.
const MESSAGES: u32 = 1000;

/// Time after which the server has nothing left to do: more than the longest pause between two polls of acknowledged
/// bytes.
const SETTLING: Duration = Duration::from_secs(3);

/// Time for which the server is watched.
const WATCH: Duration = Duration::from_secs(5);

fn run(contestant: Contestant, options: &Options) -> Result<Option<Figures>> {
    let server = Server::start(contestant, options)?;
    let idle = Client::login_all(server.address(), (0..IDLE_CLIENTS).map(|client| format!("c{client:02}")))?;
    let mut pairs = Pair::login_all(server.address(), PAIRS, MESSAGES)?;
    pairs::flood_woken(&mut pairs)?;
    drop(pairs);
    thread::sleep(SETTLING);

    let (switches, cpu) = (server.context_switches()?, server.cpu()?);
    thread::sleep(WATCH);
    // Ending threads take their counts with them, and ending is activity, too.
    let switches = server.context_switches()?.abs_diff(switches);
    let cpu = server.cpu()? - cpu;
    let memory = server.resident_bytes()?;
    let peak_bytes = Some(server.peak_bytes()?);
    drop(idle);
    server.stop()?;

    let values = [memory as f64 / f64::from(1 << 20), switches as f64, cpu.as_secs_f64() * 1e3];
    Ok(Some(Figures { peak_bytes, ..Figures::new(values) }))
}
