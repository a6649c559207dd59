//! Arguments of the benchmark. Owns their names, defaults and help; never acts on them.

use std::net::SocketAddr;
use std::path::PathBuf;

use bpaf::{OptionParser, Parser, construct, long};

/// First argument with which this program is the relay.
pub(crate) const RELAY_COMMAND: &str = "relay";

/// Role of this process.
pub(crate) enum Task {
    /// Run the relay at this address.
    Relay(SocketAddr),
    /// Run the benchmark.
    Measure(Options),
}

/// Options after `--`.
pub(crate) struct Options {
    /// Times that each contestant runs each scenario.
    pub(crate) rounds: usize,
    /// Messages that each sender of `pairs` sends.
    pub(crate) messages: u32,
    /// Messages in the log of `history`.
    pub(crate) history_messages: i64,
    /// Scenarios to run. Empty: all that are not on request only.
    pub(crate) only: Vec<String>,
    /// The holdline binary to measure.
    pub(crate) server: PathBuf,
    /// File of the chart.
    pub(crate) chart: Option<PathBuf>,
    /// Whether `cargo bench` started this: `cargo test --all-targets` does too, and must not wait for a measurement.
    pub(crate) bench: bool,
}

/// Parses the arguments of this process; mistakes end it.
pub(crate) fn task() -> Task {
    parser().run()
}

fn parser() -> OptionParser<Task> {
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
    let history_messages = long("history-messages").help("Messages in the log of history (default: 10000000)");
    let history_messages = history_messages.argument::<i64>("N").guard(|n| *n > 0, "at least one message");
    let history_messages = history_messages.fallback(10_000_000);
    let only = long("only").help("Run this scenario, and others named so").argument::<String>("NAME").many();
    let server = long("server").help("Measure this binary instead of the one just built");
    let server = server.argument::<PathBuf>("PATH").fallback(PathBuf::from(env!("CARGO_BIN_EXE_holdline")));
    let chart = long("chart").help("Write a chart of the bars there, as SVG").argument::<PathBuf>("FILE").optional();
    let bench = long("bench").help("Measure: passed by cargo bench").switch();
    let options = construct!(Options { rounds, messages, history_messages, only, server, chart, bench });
    let test = long("test").switch().hide();
    construct!(options, test).map(|(options, _)| options)
}
