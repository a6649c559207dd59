//! Client that is connected and does not read while a flood arrives for it: the cost in memory of the server, and in
//! time of others. Owns the flood and the clients that talk meanwhile; at the end the slow reader reads everything.

use std::cell::Cell;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::client::{Client, STALL};
use crate::drive::run_all;
use crate::lines::{Lines, Numbered};
use crate::options::Options;
use crate::probe::Probe;
use crate::reader::Reader;
use crate::sample::Sample;
use crate::scenario::{Bar, Figures, Measure, Run, Scenario};
use crate::server::{Contestant, Home, Server};

/// The relay holds unread messages in memory.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "slow-reader",
    title: "A slow reader",
    contestants: &[Contestant::Relay, Contestant::Holdline],
    measures: &[
        Measure { name: "growth", unit: "MiB", bars: &[(Contestant::Holdline, Bar::Under(4.0))] },
        Measure { name: "p50 of others", unit: "µs", bars: &[] },
        Measure { name: "p50 of others, in calm", unit: "µs", bars: &[] },
        Measure {
            name: "p50 of others, of that in calm",
            unit: "times",
            bars: &[(Contestant::Holdline, Bar::Under(2.0))],
        },
    ],
    run: Run::Each(run),
    on_request: false,
};

/// Messages of the flood.
const MESSAGES: u32 = 200_000;

/// Bytes of each text.
const TEXT_BYTES: usize = 200;

/// Messages that are exchanged before the flood.
const CALM_MESSAGES: usize = 500;

/// Messages that the sender sends to itself before memory is measured, so that the server has allocated what it needs
/// once.
const FIRST_MESSAGES: u32 = 1000;

/// Name of the sender.
const SENDER: &str = "flood";

/// Name of the client that does not read.
const STUCK: &str = "stuck";

fn run(contestant: Contestant, options: &Options) -> Result<Option<Figures>> {
    let home = Home::new()?;
    home.configure("[limits]\nmailbox_max = 0\n")?;
    let server = Server::start_in(home, contestant, options)?;
    let clients = Client::login_all(server.address(), [SENDER, STUCK].map(String::from))?;
    let [mut sender, stuck] = clients.try_into().ok().expect("one for each name");
    let mut probe = Probe::login(server.address(), "calm")?;
    warm_up(&mut sender)?;
    let calm = (0..CALM_MESSAGES).map(|_| probe.send_one()).collect::<Result<Sample>>()?;

    server.forget_peak()?;
    let before = server.resident_bytes()?;
    let meanwhile = talk_beside(&mut probe, || flood(&mut sender))?;
    read_all(stuck)?;
    let peak_bytes = server.peak_bytes()?;
    probe.finish()?;
    server.stop()?;

    let growth_mib = peak_bytes.saturating_sub(before) as f64 / f64::from(1 << 20);
    let (calm, meanwhile) = (median(&calm)?, median(&meanwhile)?);
    let values = [growth_mib, meanwhile, calm, meanwhile / calm];
    Ok(Some(Figures { peak_bytes: Some(peak_bytes), ..Figures::new(values) }))
}

fn warm_up(sender: &mut Client) -> Result<()> {
    write_all(sender, SENDER, FIRST_MESSAGES)?;
    let mut expected = arriving();
    for _ in 0..FIRST_MESSAGES {
        sender.expect(expected.line())?;
        expected.count_up();
    }
    Ok(())
}

/// Exchanges one message after the other until the flood is over.
fn talk_beside(probe: &mut Probe, flood: impl FnOnce() -> Result<()> + Send) -> Result<Sample> {
    thread::scope(|scope| {
        let flood = scope.spawn(flood);
        let mut times: Vec<Duration> = Vec::new();
        while !flood.is_finished() {
            times.push(probe.send_one()?);
        }
        flood.join().expect("the flood does not panic")?;
        Ok(times.into_iter().collect())
    })
}

/// Sends the flood. Returns when everything is processed.
fn flood(sender: &mut Client) -> Result<()> {
    write_all(sender, STUCK, MESSAGES)?;
    Client::barrier([sender], "done")
}

fn write_all(sender: &mut Client, to: &str, messages: u32) -> Result<()> {
    let mut lines = Lines::new(Numbered::sized(&format!("{to}: "), "", TEXT_BYTES, "\n"));
    ensure!(lines.write_to(sender, messages)?, "{SENDER} could not write for {STALL:?}");
    Ok(())
}

fn read_all(stuck: Client) -> Result<()> {
    let socket = stuck.socket()?;
    let mut reader = Reader::new(stuck, arriving(), MESSAGES);
    let arrived = Cell::new(0);
    run_all([reader.receive_all(&socket, &arrived)], &arrived)?;
    Client::barrier([reader.client()], "done")
}

fn arriving() -> Numbered {
    Numbered::sized(&format!("from {SENDER}: "), "", TEXT_BYTES, "")
}

fn median(times: &Sample) -> Result<f64> {
    times.median().context("no message was exchanged beside the flood")
}
