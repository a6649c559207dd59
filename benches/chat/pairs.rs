//! Throughput: pairs of a sender that writes at full speed and a receiver that reads everything. Owns how the clients
//! wait for their sockets; `pair.rs` has what they send and expect.
//!
//! The load runs on the cores of the server, so it is one thread, and light. How its clients wait changes what a server
//! can do: a client that is woken for every line takes CPU time from the server and acknowledges at once, so that the
//! server's kernel never coalesces small writes. Both ways of waiting occur, so both are measured.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::baseline;
use crate::client::{Client, STALL};
use crate::drive::run_all;
use crate::meter::Meter;
use crate::options::Options;
use crate::pair::{Load, PAIRS, Pair};
use crate::scenario::{Bar, Figures, Measure, Run, Scenario};
use crate::server::{Contestant, Server};

/// Clients that are woken whenever their socket is ready, like clients on the same machine.
pub(crate) const WOKEN: Scenario = Scenario {
    name: "pairs",
    title: "50 pairs at full speed",
    contestants: &[Contestant::Relay, Contestant::Sqlite, Contestant::Holdline, Contestant::HoldlineCrash],
    measures: &[Measure {
        name: "",
        unit: "messages/s",
        bars: &[
            (Contestant::Holdline, Bar::AtLeast(1.0, Contestant::Relay)),
            (Contestant::Holdline, Bar::AtLeast(0.8, Contestant::Sqlite)),
            (Contestant::HoldlineCrash, Bar::AtLeast(1.0, Contestant::Holdline)),
        ],
    }],
    run: Run::Each(|contestant, options| match contestant {
        Contestant::Sqlite => Ok(Some(baseline::run(options)?)),
        _ => run(contestant, options, flood_woken),
    }),
    on_request: false,
};

/// Clients that poll their sockets once in a while: they cost next to nothing, and acknowledge as late as clients behind
/// a network.
pub(crate) const SWEPT: Scenario = Scenario {
    name: "pairs-swept",
    title: "50 pairs that read once per millisecond",
    contestants: &[Contestant::Relay, Contestant::Holdline],
    measures: &[Measure { name: "", unit: "messages/s", bars: &[] }],
    run: Run::Each(|contestant, options| run(contestant, options, flood_swept)),
    on_request: false,
};

/// Time between two polls of all sockets.
const SWEEP: Duration = Duration::from_millis(1);

/// Load of both scenarios.
pub(crate) fn load(options: &Options) -> Load {
    Load::new(PAIRS, options.messages)
}

/// Sends through a running server at full speed with woken clients, and leaves it running: messages per second, and
/// their cost.
pub(crate) fn measure(server: &Server, load: Load) -> Result<Figures> {
    measure_flood(server, load, flood_woken)
}

fn run(contestant: Contestant, options: &Options, flood: fn(&mut [Pair]) -> Result<()>) -> Result<Option<Figures>> {
    let server = Server::start(contestant, options)?;
    let figures = measure_flood(&server, load(options), flood)?;
    server.stop()?;
    Ok(Some(figures))
}

fn measure_flood(server: &Server, load: Load, flood: fn(&mut [Pair]) -> Result<()>) -> Result<Figures> {
    let mut pairs = Pair::login_load(server.address(), load)?;
    let meter = Meter::start(server)?;
    flood(&mut pairs).or_else(|error| explain(error, &mut pairs))?;
    let reading = meter.stop()?;
    // No receiver gets one message too many, and the server's work after the last delivery counts as well.
    Client::barrier(pairs.iter_mut().flat_map(Pair::clients), "done")?;
    reading.of_messages(load.messages_of_all())
}

/// Lets all pairs exchange their messages at full speed.
pub(crate) fn flood_woken(pairs: &mut [Pair]) -> Result<()> {
    let arrived = Cell::new(0);
    run_all(pairs.iter_mut().map(|pair| flood_pair(pair, &arrived)), &arrived)
}

async fn flood_pair(pair: &mut Pair, arrived: &Cell<u64>) -> Result<()> {
    let (sender, receiver) = pair.sockets()?;
    loop {
        arrived.set(arrived.get() + pair.receive()?);
        if pair.is_done() {
            return Ok(());
        }
        if pair.send()? {
            receiver.readable().await?;
        } else {
            smol::future::or(receiver.readable(), sender.writable()).await?;
        }
    }
}

fn flood_swept(pairs: &mut [Pair]) -> Result<()> {
    // Held, because the sockets are non-blocking as long as these exist.
    let sockets: Vec<_> = pairs.iter().map(Pair::sockets).collect::<Result<_>>()?;
    let mut moved = Instant::now();
    while !pairs.iter().all(Pair::is_done) {
        let mut arrived = 0;
        for pair in pairs.iter_mut() {
            arrived += pair.receive()?;
            pair.send()?;
        }
        if arrived > 0 {
            moved = Instant::now();
        }
        if moved.elapsed() > STALL {
            bail!("no message for {STALL:?}");
        }
        thread::sleep(SWEEP);
    }
    drop(sockets);
    Ok(())
}

/// Adds the progress of the first unfinished pair, and the server's text if it refused a message.
fn explain(error: anyhow::Error, pairs: &mut [Pair]) -> Result<()> {
    let unfinished = pairs.iter().filter(|pair| !pair.is_done()).count();
    let first =
        pairs.iter().find(|pair| !pair.is_done()).map(|pair| format!("; {unfinished} unfinished pairs: {pair}, …"));
    let error = format!("{error:#}{}", first.unwrap_or_default());
    for pair in pairs {
        pair.expect_no_refusal().with_context(|| error.clone())?;
    }
    bail!(error)
}
