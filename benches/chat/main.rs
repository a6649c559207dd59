//! The benchmark: holdline and a relay that keeps nothing, under the same load, in alternating rounds.
//! Owns the arguments, the list of scenarios and the order of the rounds; never measures anything itself.
//!
//! `cargo bench`, or `cargo bench -- --help`. A server that loses, doubles or reorders a message ends it with exit code 1.
//! For a new row of the table write a file like `idle.rs` and add its scenario to [`SCENARIOS`].

mod client;
mod floor;
mod idle;
mod pair;
mod pairs;
mod relay;
mod report;
mod server;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use bpaf::{OptionParser, Parser, construct, long};

use crate::report::{Report, Round};
use crate::server::{Contestant, Durability};

/// Every scenario, in the order in which they run.
const SCENARIOS: &[Scenario] = &[pairs::WOKEN, pairs::SWEPT, idle::SCENARIO, floor::SCENARIO];

/// The first argument with which this program is the relay.
const RELAY_COMMAND: &str = "relay";

/// What this process is to be.
enum Task {
    /// The baseline, listening there.
    Relay(SocketAddr),
    /// The benchmark.
    Measure(Options),
}

/// What is measured, the same for each contestant.
struct Scenario {
    /// As `--only` and the table call it.
    name: &'static str,
    /// Unit of the measured value.
    unit: &'static str,
    /// Who takes part, in the order of the table's rows; ratios are to the first.
    contestants: &'static [Contestant],
    /// Runs it once; nothing where this machine does not let it run, which it has then said.
    run: fn(Contestant, &Options) -> Result<Option<Figures>>,
}

/// What one run of a scenario measured.
#[derive(Clone, Copy)]
struct Figures {
    /// The result, in the scenario's unit.
    value: f64,
    /// CPU time of the server per message, where the scenario counts messages.
    server_cpu_us: Option<f64>,
    /// CPU time of this program per message.
    load_cpu_us: Option<f64>,
    /// The most memory that the server had resident.
    peak_bytes: Option<u64>,
}

/// What the arguments after `--` choose.
struct Options {
    /// How often each contestant runs each scenario.
    rounds: usize,
    /// Messages that each sender sends.
    messages: u32,
    /// The one scenario to run.
    only: Option<String>,
    /// What holdline promises of an accepted message.
    durability: Durability,
    /// The holdline binary to measure.
    server: PathBuf,
    /// Whether `cargo bench` started this: `cargo test --all-targets` does too, and must not wait for a measurement.
    bench: bool,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("benchmark failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    match task().run() {
        Task::Relay(listen) => relay::run(listen),
        Task::Measure(options) if options.bench => measure(&options),
        Task::Measure(_) => {
            eprintln!("nothing is measured without --bench, which `cargo bench` passes");
            Ok(())
        }
    }
}

fn measure(options: &Options) -> Result<()> {
    let scenarios = chosen(options)?;
    let mut report = Report::default();
    for round in 1..=options.rounds {
        for scenario in &scenarios {
            measure_round(scenario, round, options, &mut report)?;
        }
    }
    print!("{report}");
    Ok(())
}

fn chosen(options: &Options) -> Result<Vec<&'static Scenario>> {
    let wanted = |scenario: &&Scenario| options.only.as_ref().is_none_or(|name| name == scenario.name);
    let scenarios: Vec<_> = SCENARIOS.iter().filter(wanted).collect();
    if scenarios.is_empty() {
        let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        bail!("--only: no such scenario; there are {}", names.join(", "));
    }
    Ok(scenarios)
}

/// Every other round goes the other way, so that nobody always runs on the machine that the other one left behind.
fn measure_round(scenario: &'static Scenario, round: usize, options: &Options, report: &mut Report) -> Result<()> {
    let mut contestants = scenario.contestants.to_vec();
    if round.is_multiple_of(2) {
        contestants.reverse();
    }
    let mut figures = Round::default();
    for contestant in contestants {
        let run = (scenario.run)(contestant, options);
        let run = run.with_context(|| format!("scenario {}, {contestant}, round {round}", scenario.name))?;
        let Some(run) = run else { return Ok(()) };
        eprintln!("round {round}: {}, {contestant}: {:.0} {}", scenario.name, run.value, scenario.unit);
        figures.insert(contestant, run);
    }
    report.add(scenario, figures);
    Ok(())
}

fn task() -> OptionParser<Task> {
    let relay = long("listen").argument::<SocketAddr>("ADDR").to_options().command(RELAY_COMMAND).hide();
    let relay = relay.map(Task::Relay);
    let measure = options().map(Task::Measure);
    construct!([relay, measure]).to_options().descr("Measures holdline against a relay that keeps nothing.")
}

fn options() -> impl Parser<Options> {
    let rounds = long("rounds").help("How often each server runs each scenario (default: 5)");
    let rounds = rounds.argument::<usize>("N").guard(|n| *n > 0, "at least one round").fallback(5);
    let messages = long("messages").help("Messages that each of the 50 senders sends (default: 20000)");
    let messages = messages.argument::<u32>("N").guard(|n| *n > 0, "at least one message").fallback(20_000);
    let only = long("only").help("Run one scenario").argument::<String>("NAME").optional();
    let durability = long("durability").help("What holdline promises: power-loss (default) or crash");
    let durability = durability.argument::<Durability>("HOW").fallback(Durability::PowerLoss);
    let server = long("server").help("Measure this binary instead of the one just built");
    let server = server.argument::<PathBuf>("PATH").fallback(PathBuf::from(env!("CARGO_BIN_EXE_holdline")));
    let bench = long("bench").help("Measure: passed by cargo bench").switch();
    let options = construct!(Options { rounds, messages, only, durability, server, bench });
    let test = long("test").switch().hide();
    construct!(options, test).map(|(options, _)| options)
}
