//! Shares of the stages of a message's path in the instructions. Owns which function belongs to which stage, and the
//! table; never reads a file.
//!
//! A function that serves many, such as `malloc` or a copy, belongs to its callers, in proportion to its cost there.

use std::collections::HashMap;

use crate::profile::Profile;

/// Stages, in the order of the path, with the names of their functions. The first match is a function's stage.
const STAGES: &[(&str, &[&str])] = &[
    (
        "read and parse",
        &[
            "holdline::connection::detect",
            "holdline::connection::reader",
            "holdline::connection::requests",
            "holdline::connection::run_session",
            "holdline::connection::serve",
            "holdline::message",
            "holdline::protocol::line_buffer",
            "holdline::protocol::plain::arguments",
            "holdline::protocol::plain::parse",
            "holdline::protocol::submission",
            "Decoder",
        ],
    ),
    (
        "deliver and encode",
        &[
            "holdline::broker::chat::commands::complete",
            "holdline::broker::chat::commands::send::complete",
            "holdline::broker::chat::deliver",
            "holdline::broker::chat::encoded",
            "holdline::broker::chat::feeds",
            "holdline::broker::chat::session_outbox",
            "holdline::broker::Broker::deliver",
            "holdline::broker::outbox",
            "holdline::protocol",
        ],
    ),
    ("decide", &["holdline::broker"]),
    ("write and report", &["holdline::connection::writer", "holdline::transport"]),
    ("store", &["holdline::store", "rusqlite::"]),
    ("wait and wake", RUNTIME),
    ("else of holdline", &["holdline::"]),
];

/// Functions that run tasks, pass messages between them, and wait for sockets.
const RUNTIME: &[&str] = &[
    "async_channel::",
    "async_executor::",
    "async_io::",
    "async_lock::",
    "async_signal::",
    "async_task::",
    "concurrent_queue::",
    "event_listener::",
    "futures_lite::",
    "parking::",
    "polling::",
    "smol::",
    "std::thread::park",
];

/// SQLite's functions, by the beginning or a part of the name: it is one file.
const SQLITE_STAGES: &[(&str, &[&str])] = &[
    ("SQLite: parse", &["RunParser", "sqlite3Prepare", "sqlite3Pragma", "sqlite3Parser", "yy", "Token", "Schema"]),
    (
        "SQLite: pages, log, disk",
        &["Pager", "pager", "Wal", "wal", "Pcache", "pcache", "unix", "getPage", "seekAndWrite", "readDbPage", "Os"],
    ),
    (
        "SQLite: trees",
        &[
            "Btree",
            "btree",
            "balance",
            "Cell",
            "moveTo",
            "ptrmap",
            "RecordCompare",
            "pageInsert",
            "editPage",
            "rebuildPage",
        ],
    ),
];

/// All other functions of SQLite.
const SQLITE_REST: &str = "SQLite: statements, values";

/// Functions that none of the stages called.
const REST: &str = "else";

/// Times that the cost of functions is passed on to their callers: more than any chain of them is long.
const PASSES: usize = 64;

/// Instructions for each message, by stage.
pub(crate) struct Shares {
    stages: HashMap<&'static str, f64>,
}

impl Shares {
    /// Distributes the counts of this many messages.
    pub(crate) fn of(profile: &Profile, messages: f64) -> Shares {
        let belongings = belongings(profile);
        let mut stages = HashMap::new();
        for (function, &own) in &profile.own {
            for (stage, part) in &belongings[function.as_str()] {
                *stages.entry(*stage).or_default() += part * own as f64 / messages;
            }
        }
        Shares { stages }
    }
}

/// Prints the shares of some scenarios side by side, in instructions and in percent.
pub(crate) fn print<'a>(scenarios: impl Iterator<Item = (&'a str, &'a Shares)> + Clone) {
    print!("{:<26}", "instructions each");
    scenarios.clone().for_each(|(name, _)| print!("  {name:>13}"));
    println!();
    for stage in all_stages() {
        print!("{stage:<26}");
        for (_, shares) in scenarios.clone() {
            let all: f64 = shares.stages.values().sum();
            let share = shares.stages.get(stage).unwrap_or(&0.0);
            print!("  {share:>7.0} {:>3.0} %", 100.0 * share / all);
        }
        println!();
    }
}

fn all_stages() -> impl Iterator<Item = &'static str> {
    let named = |stages: &'static [(&'static str, &[&str])]| stages.iter().map(|(stage, _)| *stage);
    named(STAGES).chain(named(SQLITE_STAGES)).chain([SQLITE_REST, REST])
}

/// Stages to which each function belongs, with the share of its instructions.
fn belongings(profile: &Profile) -> HashMap<&str, HashMap<&'static str, f64>> {
    let mut belongings: HashMap<&str, HashMap<&'static str, f64>> = profile
        .own
        .keys()
        .map(|function| (function.as_str(), whole(stage_of(profile, function).unwrap_or(REST))))
        .collect();
    let mut callers: HashMap<&str, Vec<(&str, f64)>> = HashMap::new();
    for ((caller, callee), &instructions) in &profile.calls {
        if caller != callee && instructions > 0 && stage_of(profile, callee).is_none() {
            callers.entry(callee).or_default().push((caller, instructions as f64));
        }
    }
    for _ in 0..PASSES {
        for (callee, callers) in &callers {
            let shared = shared(callers, &belongings);
            belongings.insert(callee, shared);
        }
    }
    belongings
}

/// Shares of several callers, in proportion to the cost in each.
fn shared(
    callers: &[(&str, f64)],
    belongings: &HashMap<&str, HashMap<&'static str, f64>>,
) -> HashMap<&'static str, f64> {
    let all: f64 = callers.iter().map(|(_, instructions)| instructions).sum();
    let mut shared = HashMap::new();
    for (caller, instructions) in callers {
        for (stage, part) in belongings.get(caller).unwrap_or(&whole(REST)) {
            *shared.entry(*stage).or_default() += part * instructions / all;
        }
    }
    shared
}

fn whole(stage: &'static str) -> HashMap<&'static str, f64> {
    HashMap::from([(stage, 1.0)])
}

/// Stage of a function. `None` if it serves many.
fn stage_of(profile: &Profile, function: &str) -> Option<&'static str> {
    // SQLite's memory belongs to its callers.
    let serves_many =
        |name: &str| name.contains("Malloc") || name.contains("Mem") && name.contains("Grow") || name == "sqlite3_free";
    if profile.files.get(function).is_some_and(|file| file.ends_with("sqlite3.c")) {
        if serves_many(function) {
            return None;
        }
        return Some(find(SQLITE_STAGES, function).unwrap_or(SQLITE_REST));
    }
    find(STAGES, function)
}

fn find(stages: &[(&'static str, &[&str])], function: &str) -> Option<&'static str> {
    stages.iter().find(|(_, names)| names.iter().any(|name| function.contains(name))).map(|(stage, _)| *stage)
}
