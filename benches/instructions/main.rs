//! Instructions of the server for each message, counted by valgrind and compared with the counts saved in the
//! repository. Owns the arguments, the rounds and the comparison; never counts.
//!
//! `cargo bench --profile profiling --bench instructions`, and with `-- --save` to save the counts. It starts the server
//! as it is, talks to it over sockets, and takes the difference between a short run and a long one: the cost of a start
//! and an end is in both. For a new row write a function in `load.rs` and add it to `SCENARIOS` there.

mod load;
mod profile;
mod saved_counts;
mod server;
mod stages;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use bpaf::{OptionParser, Parser, construct, long};

use crate::load::{SCENARIOS, Scenario};
use crate::profile::Profile;
use crate::saved_counts::{SavedCounts, Verdict};
use crate::server::Server;
use crate::stages::Shares;

/// Options after `--`.
struct Options {
    /// Times that each length of each scenario runs.
    rounds: usize,
    /// The one scenario to run.
    only: Option<String>,
    /// Whether the counts are saved instead of compared.
    save: bool,
    /// The holdline binary to count.
    server: PathBuf,
    /// Whether `cargo bench` started this: `cargo test --all-targets` does too, and must not wait for it.
    bench: bool,
}

/// Counts of all rounds of a scenario.
struct Counted {
    scenario: &'static Scenario,
    /// Instructions for each message.
    instructions: f64,
    /// Spread of the rounds, in percent of it.
    spread_percent: f64,
    shares: Shares,
}

fn main() -> ExitCode {
    match run(&options().run()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("counting failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<ExitCode> {
    if !options.bench {
        eprintln!("nothing is counted without --bench, which `cargo bench` passes");
        return Ok(ExitCode::SUCCESS);
    }
    let mut saved = SavedCounts::load()?;
    let counted = chosen(options)?.into_iter().map(|scenario| count(scenario, options)).collect::<Result<Vec<_>>>()?;
    stages::print(counted.iter().map(|counted| (counted.scenario.name, &counted.shares)));
    println!();
    let verdicts: Vec<_> = counted.iter().map(|counted| compare(counted, &saved)).collect();
    if options.save {
        counted.iter().for_each(|counted| saved.put(counted.scenario.name, counted.instructions));
        saved.save()?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if verdicts.contains(&Verdict::TooMany) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
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

/// The median round of each length counts: chance adds a poll of a thread, or saves a turn when reports meet in one.
fn count(scenario: &'static Scenario, options: &Options) -> Result<Counted> {
    let (mut short, mut long) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        eprintln!("{}, round {round}", scenario.name);
        short.push(count_once(scenario, scenario.steps_short, options)?);
        long.push(count_once(scenario, scenario.steps_long, options)?);
    }
    let messages = ((scenario.steps_long - scenario.steps_short) * scenario.messages_per_step) as f64;
    let spread = spread(&long);
    let profile = middle(long).minus(&middle(short));
    let instructions = profile.instructions() as f64 / messages;
    let spread_percent = 100.0 * spread as f64 / profile.instructions() as f64;
    Ok(Counted { scenario, instructions, spread_percent, shares: Shares::of(&profile, messages) })
}

fn spread(rounds: &[Profile]) -> i64 {
    let all = || rounds.iter().map(Profile::instructions);
    all().max().zip(all().min()).map_or(0, |(most, fewest)| most - fewest)
}

fn middle(mut rounds: Vec<Profile>) -> Profile {
    rounds.sort_by_key(Profile::instructions);
    rounds.swap_remove(rounds.len() / 2)
}

fn count_once(scenario: &Scenario, steps: usize, options: &Options) -> Result<Profile> {
    let counted = || {
        let mut server = Server::new(&options.server)?;
        if let Some(prepare) = scenario.prepare {
            server.start()?;
            prepare(&server, steps)?;
            server.stop()?;
        }
        server.start_counted()?;
        (scenario.run)(&server, steps)?;
        server.stop()?;
        Profile::read(&server.counts())
    };
    counted().with_context(|| format!("scenario {}, {steps} steps", scenario.name))
}

fn compare(counted: &Counted, saved: &SavedCounts) -> Verdict {
    let Counted { scenario, instructions, spread_percent, .. } = counted;
    let (verdict, words) = saved.compare(scenario.name, *instructions);
    println!(
        "{:<8}  {instructions:>9.0} instructions/{:<8}  rounds within {spread_percent:.1} %  {words}",
        scenario.name, scenario.unit
    );
    verdict
}

fn options() -> OptionParser<Options> {
    let rounds = long("rounds").help("How often each length of each scenario runs (default: 5)");
    let rounds = rounds.argument::<usize>("N").guard(|n| *n > 0, "at least one round").fallback(5);
    let only = long("only").help("Run one scenario").argument::<String>("NAME").optional();
    let save = long("save").help("Keep the counts in the repository, instead of comparing").switch();
    let server = long("server").help("Count this binary instead of the one just built; it needs its symbols");
    let server = server.argument::<PathBuf>("PATH").fallback(PathBuf::from(env!("CARGO_BIN_EXE_holdline")));
    let bench = long("bench").help("Count: passed by cargo bench").switch();
    let options = construct!(Options { rounds, only, save, server, bench });
    let test = long("test").switch().hide();
    construct!(options, test)
        .map(|(options, _)| options)
        .to_options()
        .descr("Counts the instructions of the server for each message, and compares them with the saved counts.")
}
