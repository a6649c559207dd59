//! The log: one line for each event, to standard error. Owns its form and its level; never logs anything itself.

use std::env;
use std::io::{self, Write};
use std::time::SystemTime;

use env_logger::fmt::Formatter;
use holdline::message::printable;
use log::{Level, Record};

use super::flags::UsageError;

/// Environment variable with the level.
const LEVEL_VARIABLE: &str = "HOLDLINE_LOG";

/// Starts the log at the level of `HOLDLINE_LOG`, by default `info`.
pub(crate) fn start() -> Result<(), UsageError> {
    let level = level()?;
    env_logger::Builder::new().filter_level(level.to_level_filter()).format(write_line).init();
    Ok(())
}

fn level() -> Result<Level, UsageError> {
    let Some(value) = env::var_os(LEVEL_VARIABLE).filter(|value| !value.is_empty()) else { return Ok(Level::Info) };
    value.to_str().and_then(|value| value.parse().ok()).ok_or_else(|| {
        UsageError(format!("{LEVEL_VARIABLE} = {value:?} is not valid; use error, warn, info, debug or trace"))
    })
}

fn write_line(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    writeln!(out, "{} {}", humantime::format_rfc3339_millis(SystemTime::now()), line(record))
}

/// Formats an event. Only the levels for debugging name the module.
fn line(record: &Record<'_>) -> String {
    // Errors of libraries may have several lines.
    let message = record.args().to_string();
    let message = printable(&message);
    match record.level() {
        level @ (Level::Error | Level::Warn | Level::Info) => format!("{level} {message}"),
        level @ (Level::Debug | Level::Trace) => format!("{level} {}: {message}", record.target()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(level: Level, expected: &str) {
        let record = Record::builder().level(level).target("holdline::broker").args(format_args!("one\ntwo")).build();
        assert_eq!(line(&record), expected);
    }

    #[test]
    fn event_is_one_line() {
        check(Level::Error, "ERROR one two");
        check(Level::Info, "INFO one two");
        check(Level::Debug, "DEBUG holdline::broker: one two");
    }
}
