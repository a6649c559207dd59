//! Benchmark: holdline and a relay that stores nothing, under the same load, in alternating rounds. Owns the list of
//! scenarios and the order of the rounds; never measures.
//!
//! `cargo bench`, or `cargo bench -- --help`. A server that loses, duplicates or reorders a message ends it with exit
//! code 1. For a new row of the table write a file like `idle.rs` and add its scenario to [`SCENARIOS`].

mod background;
mod backlog;
mod baseline;
mod binary;
mod chart;
mod client;
mod crowd;
mod descriptors;
mod drive;
mod fan_out;
mod growth;
mod history;
mod hooks;
mod idle;
mod idle_memory;
mod latency;
mod lines;
mod medium;
mod meter;
mod options;
mod pair;
mod pairs;
mod past;
mod probe;
mod proc;
mod reader;
mod relay;
mod report;
mod rooms;
mod sample;
mod scenario;
mod search;
mod server;
mod slow_reader;
mod table;
mod written;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::options::{Options, Task};
use crate::report::Report;
use crate::sample::rounded;
use crate::scenario::{Figures, Round, Run, Scenario};
use crate::server::Contestant;

/// Every scenario, in the order in which they run.
const SCENARIOS: &[Scenario] = &[
    pairs::WOKEN,
    pairs::SWEPT,
    fan_out::SCENARIO,
    rooms::SCENARIO,
    latency::ALONE,
    latency::BUSY,
    backlog::SCENARIO,
    slow_reader::SCENARIO,
    history::SCENARIO,
    search::SCENARIO,
    hooks::COST,
    hooks::HANG,
    crowd::SCENARIO,
    idle::SCENARIO,
    idle_memory::SCENARIO,
    binary::SCENARIO,
    written::SCENARIO,
    growth::SCENARIO,
];

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
    match options::task() {
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
    let _pasts = past::Keeper;
    for number in 1..=options.rounds {
        for scenario in &scenarios {
            if let Some(round) = run_round(scenario, number, options)? {
                say(scenario, number, &round);
                report.add(scenario, round);
            }
        }
    }
    print!("{report}");
    if let Some(path) = &options.chart {
        let chart = chart::draw(&report.verdicts(), options.rounds);
        fs::write(path, chart).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn chosen(options: &Options) -> Result<Vec<&'static Scenario>> {
    if let Some(unknown) = options.only.iter().find(|name| SCENARIOS.iter().all(|scenario| scenario.name != **name)) {
        let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        bail!("--only {unknown}: no such scenario; there are {}", names.join(", "));
    }
    let is_named = |scenario: &Scenario| options.only.iter().any(|name| name == scenario.name);
    let is_chosen = |scenario: &&Scenario| match options.only[..] {
        [] => !scenario.on_request,
        _ => is_named(scenario),
    };
    Ok(SCENARIOS.iter().filter(is_chosen).collect())
}

fn run_round(scenario: &Scenario, number: usize, options: &Options) -> Result<Option<Round>> {
    match scenario.run {
        Run::Each(run) => run_each(scenario, run, number, options),
        Run::Together(run) => run(options).with_context(|| format!("scenario {}, round {number}", scenario.name)),
        // It runs all its rounds with the first of the others.
        Run::Tables(run) if number == 1 => run(options).map(|tables| {
            println!("{tables}");
            None
        }),
        Run::Tables(_) => Ok(None),
    }
}

/// Every other round is reversed, so that no contestant always runs on the machine that the same other one left behind.
fn run_each(
    scenario: &Scenario,
    run: fn(Contestant, &Options) -> Result<Option<Figures>>,
    number: usize,
    options: &Options,
) -> Result<Option<Round>> {
    let mut contestants = scenario.contestants.to_vec();
    if number.is_multiple_of(2) {
        contestants.reverse();
    }
    let mut round = Round::new();
    for contestant in contestants {
        let figures = run(contestant, options);
        let figures = figures.with_context(|| format!("scenario {}, {contestant}, round {number}", scenario.name))?;
        let Some(figures) = figures else { return Ok(None) };
        round.insert(contestant, figures);
    }
    Ok(Some(round))
}

/// Progress for the person who waits.
fn say(scenario: &Scenario, number: usize, round: &Round) {
    for (contestant, figures) in round {
        assert_eq!(figures.values.len(), scenario.measures.len(), "{}: a value for each measure", scenario.name);
        let values = scenario.measures.iter().zip(&figures.values);
        let values: Vec<_> =
            values.map(|(measure, value)| format!("{} {} {}", measure.name, rounded(*value), measure.unit)).collect();
        eprintln!("round {number}: {}, {contestant}: {}", scenario.name, values.join(", ").trim_start());
    }
}
