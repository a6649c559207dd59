//! Latency: one message at a time, from the sender's write to the receiver's read, compared with one sync of the disk.
//! Owns how the contestants take turns; `probe.rs` times one message.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::background::Background;
use crate::fan_out;
use crate::medium::Medium;
use crate::options::Options;
use crate::probe::Probe;
use crate::sample::Sample;
use crate::scenario::{Bar, Figures, Measure, Round, Run, Scenario};
use crate::server::{Contestant, Home, Server};

/// No other traffic. A disk is not equally fast all the time, so it and the servers take turns every few milliseconds.
pub(crate) const ALONE: Scenario = Scenario {
    name: "latency",
    title: "One message at a time",
    contestants: &[Contestant::Fdatasync, Contestant::Relay, Contestant::Holdline],
    measures: &[
        Measure {
            name: "p50",
            unit: "µs",
            bars: &[(Contestant::Holdline, Bar::AtMost(1.3, &[Contestant::Fdatasync, Contestant::Relay]))],
        },
        Measure {
            name: "p99",
            unit: "µs",
            bars: &[(Contestant::Holdline, Bar::AtMost(1.5, &[Contestant::Fdatasync]))],
        },
    ],
    run: Run::Together(run_alone),
    on_request: false,
};

/// Other clients send 1,000 messages a second meanwhile.
pub(crate) const BUSY: Scenario = Scenario {
    name: "latency-busy",
    title: "One message at a time, among 1,000 a second",
    contestants: &[Contestant::Relay, Contestant::Holdline],
    measures: &[Measure { name: "p50", unit: "µs", bars: &[] }, Measure { name: "p99", unit: "µs", bars: &[] }],
    run: Run::Each(run_busy),
    on_request: false,
};

/// Messages of a run.
const MESSAGES: usize = 3000;

/// Messages of one turn.
const TURN_MESSAGES: usize = 30;

/// Messages before those that are timed: enough for the write-ahead log to reach its full size.
const WARM_UP_MESSAGES: u32 = 200_000;

fn run_alone(options: &Options) -> Result<Option<Round>> {
    let home = Home::new()?;
    let mut medium = Medium::open(home.path())?;
    let (relay, mut relay_probe) = start(Contestant::Relay, options)?;
    let (holdline, mut holdline_probe) = start(Contestant::Holdline, options)?;
    let (mut syncs, mut relayed, mut held) = (Vec::new(), Vec::new(), Vec::new());
    while held.len() < MESSAGES {
        take_turn(&mut syncs, || medium.write_one())?;
        take_turn(&mut relayed, || relay_probe.send_one())?;
        take_turn(&mut held, || holdline_probe.send_one())?;
    }
    stop(relay, relay_probe)?;
    stop(holdline, holdline_probe)?;

    let times = [(Contestant::Fdatasync, syncs), (Contestant::Relay, relayed), (Contestant::Holdline, held)];
    let round = times.into_iter().map(|(contestant, times)| Ok((contestant, figures(times.into_iter().collect())?)));
    Ok(Some(round.collect::<Result<_>>()?))
}

fn take_turn(times: &mut Vec<Duration>, mut one: impl FnMut() -> Result<Duration>) -> Result<()> {
    // Not counted: the processor's caches are full of the other contestants' data.
    one()?;
    for _ in 0..TURN_MESSAGES {
        times.push(one()?);
    }
    Ok(())
}

fn run_busy(contestant: Contestant, options: &Options) -> Result<Option<Figures>> {
    let (server, mut probe) = start(contestant, options)?;
    let background = Background::start(server.address())?;
    let times: Sample = (0..MESSAGES).map(|_| probe.send_one()).collect::<Result<Vec<_>>>()?.into_iter().collect();
    background.stop()?;
    stop(server, probe)?;
    Ok(Some(figures(times)?))
}

/// Server after its warm-up.
fn start(contestant: Contestant, options: &Options) -> Result<(Server, Probe)> {
    let server = Server::start(contestant, options)?;
    // With names that are not used afterwards: messages that its reader has not acknowledged would be sent to it again.
    fan_out::measure(&server, 1, WARM_UP_MESSAGES)?;
    let probe = Probe::login(server.address(), "probe")?;
    Ok((server, probe))
}

fn stop(server: Server, probe: Probe) -> Result<()> {
    probe.finish()?;
    server.stop()?;
    Ok(())
}

fn figures(times: Sample) -> Result<Figures> {
    let p50 = times.median().context("nothing was timed")?;
    let p99 = times.quantile(0.99).context("nothing was timed")?;
    Ok(Figures::new([p50, p99]))
}
