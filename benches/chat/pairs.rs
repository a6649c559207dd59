//! Throughput: pairs of a sender that writes as fast as it may and a receiver that reads all of it.
//! Owns how the clients wait for their sockets; what they send and expect is in `pair.rs`.
//!
//! The load runs on the cores of the server, so it is one thread, and light. How its clients wait changes what a server
//! can do: one that is woken for every line takes CPU time from the server and acknowledges at once, so that the server's
//! kernel never gathers small writes. Both ways of waiting occur, so both are measured.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use smol::{LocalExecutor, Timer};

use crate::client::{Client, STALL};
use crate::pair::Pair;
use crate::server::{Contestant, Server, own_cpu};
use crate::{Figures, Options, Scenario};

/// Clients that are woken whenever their socket has something, as those on the same machine are.
pub(crate) const WOKEN: Scenario = Scenario {
    name: "pairs",
    unit: "messages/s",
    contestants: &[Contestant::Relay, Contestant::Holdline],
    run: |contestant, options| run(contestant, options, flood_woken),
};

/// Clients that look at their sockets once in a while: they cost next to nothing, and acknowledge as late as those behind
/// a network do.
pub(crate) const SWEPT: Scenario = Scenario {
    name: "pairs-swept",
    unit: "messages/s",
    contestants: &[Contestant::Relay, Contestant::Holdline],
    run: |contestant, options| run(contestant, options, flood_swept),
};

/// Senders, and as many receivers.
pub(crate) const PAIRS: usize = 50;

/// Time between two sweeps over all sockets.
const SWEEP: Duration = Duration::from_millis(1);

fn run(contestant: Contestant, options: &Options, flood: fn(&mut [Pair]) -> Result<()>) -> Result<Option<Figures>> {
    let server = Server::start(contestant, options)?;
    let mut pairs = Pair::login_all(server.address(), PAIRS, options.messages)?;
    let (server_cpu, load_cpu, started) = (server.cpu()?, own_cpu()?, Instant::now());
    flood(&mut pairs).or_else(|error| explain(error, &mut pairs))?;
    let (elapsed, load_cpu) = (started.elapsed(), own_cpu()? - load_cpu);
    // Nobody gets one message more than it should, and the server's work behind the last delivery counts as well.
    Client::barrier(pairs.iter_mut().flat_map(Pair::clients), "done")?;
    let server_cpu = server.cpu()? - server_cpu;
    let peak_bytes = server.peak_bytes()?;
    drop(pairs);
    server.stop()?;

    let messages = PAIRS as f64 * f64::from(options.messages);
    Ok(Some(Figures {
        value: messages / elapsed.as_secs_f64(),
        server_cpu_us: Some(server_cpu.as_secs_f64() * 1e6 / messages),
        load_cpu_us: Some(load_cpu.as_secs_f64() * 1e6 / messages),
        peak_bytes: Some(peak_bytes),
    }))
}

fn flood_woken(pairs: &mut [Pair]) -> Result<()> {
    let arrived = Cell::new(0);
    let executor = LocalExecutor::new();
    let floods: Vec<_> = pairs.iter_mut().map(|pair| executor.spawn(flood_pair(pair, &arrived))).collect();
    let all = async {
        for flood in floods {
            flood.await?;
        }
        Ok(())
    };
    smol::block_on(executor.run(smol::future::or(all, watch_for_stall(&arrived))))
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

async fn watch_for_stall(arrived: &Cell<u64>) -> Result<()> {
    loop {
        let before = arrived.get();
        Timer::after(STALL).await;
        if arrived.get() == before {
            bail!("no message for {STALL:?}");
        }
    }
}

fn flood_swept(pairs: &mut [Pair]) -> Result<()> {
    // Held: as long as they are, the sockets do not block.
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

/// Adds how far the first unfinished pair is, and the words of the server if it refused a message.
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
