//! Backlog: messages stored for many peers while they were offline, and the time until they have read them after all log
//! in at once. Owns who writes to whom; never measures the writing.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::Result;

use crate::client::Client;
use crate::drive::run_all;
use crate::lines::Numbered;
use crate::options::Options;
use crate::reader::Reader;
use crate::scenario::{Bar, Figures, Measure, Run, Scenario};
use crate::server::{Contestant, Server};

/// From the first connection to the last message read. The relay stores nothing for offline peers.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "backlog",
    title: "100 peers back to 500 messages each",
    contestants: &[Contestant::Holdline],
    measures: &[Measure { name: "", unit: "ms", bars: &[(Contestant::Holdline, Bar::Under(150.0))] }],
    run: Run::Each(run),
    on_request: false,
};

/// Offline peers.
const PEERS: usize = 100;

/// Senders, each to the same number of peers: the messages for one peer lie among those for others.
const SENDERS: usize = 10;

/// Messages for each peer.
const MESSAGES: u32 = 500;

fn run(contestant: Contestant, options: &Options) -> Result<Option<Figures>> {
    let server = Server::start(contestant, options)?;
    keep_all(server.address())?;
    let (cpu, started) = (server.cpu()?, Instant::now());
    let mut readers = come_back(server.address())?;
    let elapsed = started.elapsed();
    // No reader gets one message too many, and the server's work after the last delivery counts as well.
    Client::barrier(readers.iter_mut().map(Reader::client), "done")?;
    let cpu = server.cpu()? - cpu;
    let peak_bytes = server.peak_bytes()?;
    server.stop()?;

    Ok(Some(Figures {
        server_cpu_us: Some(cpu.as_secs_f64() * 1e6 / (PEERS as f64 * f64::from(MESSAGES))),
        peak_bytes: Some(peak_bytes),
        ..Figures::new([elapsed.as_secs_f64() * 1e3])
    }))
}

/// Sends every message; all are stored when it returns.
fn keep_all(address: SocketAddr) -> Result<()> {
    let mut senders = Client::login_all(address, (0..SENDERS).map(sender))?;
    for (number, client) in senders.iter_mut().enumerate() {
        client.write_all(&lines_of(number))?;
    }
    Client::barrier(&mut senders, "kept")
}

/// Lines of one sender: to each of its peers in turn.
fn lines_of(number: usize) -> Vec<u8> {
    let peers = (number..PEERS).step_by(SENDERS);
    let mut lines: Vec<_> = peers.map(|place| Numbered::new(&format!("{}: ", peer(place)), "", "\n")).collect();
    let mut all = Vec::new();
    for _ in 0..MESSAGES {
        for line in &mut lines {
            all.extend_from_slice(line.line());
            line.count_up();
        }
    }
    all
}

/// Logs all peers in at once, and reads their waiting messages.
fn come_back(address: SocketAddr) -> Result<Vec<Reader>> {
    let clients = Client::start_all(address, (0..PEERS).map(peer))?.into_iter().enumerate();
    let mut readers: Vec<_> = clients.map(|(place, client)| reader(place, client)).collect();
    let arrived = Cell::new(0);
    run_all(readers.iter_mut().map(|reader| reader.log_in_and_receive_all(&arrived)), &arrived)?;
    Ok(readers)
}

fn reader(place: usize, client: Client) -> Reader {
    Reader::new(client, Numbered::new(&format!("from {}: ", sender(place % SENDERS)), "", ""), MESSAGES)
}

fn sender(number: usize) -> String {
    format!("s{number:02}")
}

fn peer(place: usize) -> String {
    format!("p{place:02}")
}
