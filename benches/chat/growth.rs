//! Growth: how the cost of a message grows with connections, history, recipients and size. Owns the loads, and a table
//! for each; never compares one with a bar.

use anyhow::{Context, Result};

use crate::client::Client;
use crate::descriptors::allow_connections;
use crate::options::Options;
use crate::pair::{Load, PAIRS};
use crate::sample::{Sample, rounded};
use crate::scenario::{Figures, Run, Scenario};
use crate::server::{Contestant, Server};
use crate::table::{Align, Table};
use crate::{fan_out, pairs, past};

/// Runs on request: it takes minutes.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "growth",
    title: "How cost grows",
    contestants: &[Contestant::Holdline],
    measures: &[],
    run: Run::Tables(run),
    on_request: true,
};

/// Quantities with which the cost grows, a table for each.
const AXES: &[Axis] = &[
    Axis { headings: ["connections", PER_S, COST], points: |_| vec![10, 100, 1000, 5000], measure: with_connections },
    Axis {
        headings: ["messages in the log", PER_S, COST],
        points: |options| {
            let all = options.history_messages as u64;
            vec![0, all / 10, all]
        },
        measure: with_history,
    },
    Axis {
        headings: ["recipients", "deliveries/s", "CPU µs/delivery"],
        points: |_| vec![1, 10, 100, 200],
        measure: with_recipients,
    },
    Axis { headings: ["bytes of a text", PER_S, COST], points: |_| vec![16, 64, 512, 4096], measure: with_text_bytes },
];

/// Throughput of all but the recipients.
const PER_S: &str = "messages/s";

/// Cost of all but the recipients.
const COST: &str = "CPU µs/message";

/// Maximum bytes of all texts of a run, so that large ones do not take all the disk and all the time.
const TEXTS_BYTES_MAX: u64 = 256 << 20;

/// Quantity that grows.
struct Axis {
    /// Headings: the quantity, throughput and cost.
    headings: [&'static str; 3],
    /// Values of the quantity.
    points: fn(&Options) -> Vec<u64>,
    /// Runs it once. `None` with a message if this machine does not let it run.
    measure: fn(u64, &Options) -> Result<Option<Figures>>,
}

/// Figures along an axis.
struct Curve {
    axis: &'static Axis,
    /// Values, each with the figures of every round.
    points: Vec<(u64, Vec<Figures>)>,
}

fn run(options: &Options) -> Result<String> {
    let mut curves: Vec<_> = AXES.iter().map(|axis| Curve::new(axis, options)).collect();
    for round in 1..=options.rounds {
        for curve in &mut curves {
            curve.measure(round, options)?;
        }
    }
    let tables: Vec<_> = curves.iter().map(|curve| curve.table().to_string()).collect();
    Ok(tables.join("\n"))
}

impl Curve {
    fn new(axis: &'static Axis, options: &Options) -> Curve {
        Curve { axis, points: (axis.points)(options).into_iter().map(|point| (point, Vec::new())).collect() }
    }

    fn measure(&mut self, round: usize, options: &Options) -> Result<()> {
        let [name, unit, _] = self.axis.headings;
        for (point, rounds) in &mut self.points {
            let figures = (self.axis.measure)(*point, options);
            let figures = figures.with_context(|| format!("growth, {point} {name}, round {round}"))?;
            let Some(figures) = figures else { continue };
            eprintln!("round {round}: growth, {point} {name}: {} {unit}", rounded(figures.values[0]));
            rounds.push(figures);
        }
        Ok(())
    }

    fn table(&self) -> Table<3> {
        let mut table = Table::new(self.axis.headings.map(|heading| (heading, Align::Right)));
        for (point, rounds) in &self.points {
            let throughput = median(rounds, |figures| figures.values.first().copied());
            let cost = median(rounds, |figures| figures.server_cpu_us);
            table.add([point.to_string(), throughput, cost]);
        }
        table
    }
}

fn median(rounds: &[Figures], number: fn(&Figures) -> Option<f64>) -> String {
    let sample: Sample = rounds.iter().filter_map(number).collect();
    sample.median().map_or_else(|| "-".to_string(), rounded)
}

/// At most 50 pairs send; all others are idle.
fn with_connections(connections: u64, options: &Options) -> Result<Option<Figures>> {
    if let Err(reason) = allow_connections(connections as usize) {
        eprintln!("growth, {connections} connections: skipped: {reason}");
        return Ok(None);
    }
    let pairs = PAIRS.min(connections as usize / 2);
    let server = Server::start_for_crowd(Contestant::Holdline, options)?;
    let idle = Client::login_all(server.address(), (2 * pairs as u64..connections).map(|idle| format!("idle{idle}")))?;
    let figures = pairs::measure(&server, Load::new(pairs, (messages(options) / pairs as u64) as u32))?;
    drop(idle);
    server.stop()?;
    Ok(Some(figures))
}

fn with_history(messages: u64, options: &Options) -> Result<Option<Figures>> {
    let Some(home) = past::take(messages as i64, options)? else { return Ok(None) };
    let server = Server::start_in(home, Contestant::Holdline, options)?;
    let figures = pairs::measure(&server, pairs::load(options))?;
    past::keep(messages as i64, server.stop()?.home);
    Ok(Some(figures))
}

fn with_recipients(recipients: u64, options: &Options) -> Result<Option<Figures>> {
    let server = Server::start(Contestant::Holdline, options)?;
    let figures = fan_out::measure(&server, recipients as u32, (messages(options) / recipients) as u32)?;
    server.stop()?;
    Ok(Some(figures))
}

fn with_text_bytes(text_bytes: u64, options: &Options) -> Result<Option<Figures>> {
    let server = Server::start(Contestant::Holdline, options)?;
    let messages = messages(options).min(TEXTS_BYTES_MAX / text_bytes) / PAIRS as u64;
    let load = Load { pairs: PAIRS, messages: messages as u32, text_bytes: text_bytes as usize };
    let figures = pairs::measure(&server, load)?;
    server.stop()?;
    Ok(Some(figures))
}

/// Messages of a run, or deliveries.
fn messages(options: &Options) -> u64 {
    PAIRS as u64 * u64::from(options.messages)
}
