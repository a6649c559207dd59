//! Long history: the cost of starting a server with one, of a login, and of more messages. Owns the comparison with an
//! empty history; `past.rs` creates the long one.

use std::fs::File;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{Advice, fadvise};

use crate::client::Client;
use crate::options::Options;
use crate::sample::Sample;
use crate::scenario::{Bar, Figures, Measure, Run, Scenario};
use crate::server::{Contestant, Home, Server};
use crate::{pairs, past};

/// Ten million messages, unless the arguments say otherwise.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "history",
    title: "10 million stored messages",
    contestants: &[Contestant::HoldlineEmpty, Contestant::Holdline],
    measures: &[
        Measure { name: "start", unit: "ms", bars: &[(Contestant::Holdline, Bar::Under(50.0))] },
        Measure { name: "start after a boot", unit: "ms", bars: &[] },
        Measure { name: "login", unit: "ms", bars: &[(Contestant::Holdline, Bar::Under(2.0))] },
        Measure {
            name: "pairs",
            unit: "messages/s",
            bars: &[(Contestant::Holdline, Bar::AtLeast(0.85, Contestant::HoldlineEmpty))],
        },
    ],
    run: Run::Each(run),
    on_request: false,
};

/// Starts, of which the median counts.
const STARTS: usize = 5;

/// Logins, of which the median counts.
const LOGINS: usize = 200;

fn run(contestant: Contestant, options: &Options) -> Result<Option<Figures>> {
    let messages = if contestant == Contestant::HoldlineEmpty { 0 } else { options.history_messages };
    let Some(home) = past::take(messages, options)? else { return Ok(None) };
    let (home, start) = starts(home, contestant, options, |_| Ok(()))?;
    let server = Server::start_in(home, contestant, options)?;
    let login = logins(server.address())?;
    let flood = pairs::measure(&server, pairs::load(options))?;
    let (home, start_after_boot) = starts(server.stop()?.home, contestant, options, forget_pages)?;
    if messages > 0 {
        past::keep(messages, home);
    }

    let ms = |times: Sample| Ok::<_, anyhow::Error>(times.median().context("nothing was measured")? / 1e3);
    let values = [ms(start)?, ms(start_after_boot)?, ms(login)?, flood.values[0]];
    Ok(Some(Figures { values: values.into(), ..flood }))
}

/// Time from the start of the process until it listens.
fn starts(
    mut home: Home,
    contestant: Contestant,
    options: &Options,
    before: fn(&Home) -> Result<()>,
) -> Result<(Home, Sample)> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        before(&home)?;
        let server = Server::start_in(home, contestant, options)?;
        times.push(server.startup());
        home = server.stop()?.home;
    }
    Ok((home, times.into_iter().collect()))
}

/// Drops the cached pages of the database, as after a boot.
fn forget_pages(home: &Home) -> Result<()> {
    let database = File::open(home.data().join("holdline.db"))?;
    Ok(fadvise(&database, 0, None, Advice::DontNeed)?)
}

/// Time from the connection to the greeting, of peers for which nothing waits.
fn logins(address: SocketAddr) -> Result<Sample> {
    past::others().take(LOGINS).map(|name| login(address, name)).collect()
}

/// Time from the connection to the greeting of one peer.
pub(crate) fn login(address: SocketAddr, name: String) -> Result<Duration> {
    let started = Instant::now();
    let mut clients = Client::start_all(address, [name])?;
    smol::block_on(clients[0].log_in())?;
    let elapsed = started.elapsed();
    // Nothing waited for the peer.
    Client::barrier(&mut clients, "here")?;
    Ok(elapsed)
}
