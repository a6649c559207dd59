//! `holdline history`: prints the log for people, beside a running server too. Owns how a message looks on a terminal; never
//! knows how it is stored.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::Path;

use bpaf::{OptionParser, Parser, construct, long};
use holdline::config::Flags;
use holdline::limits::HISTORY_MESSAGES_DEFAULT;
use holdline::message::PeerName;
use holdline::store::{LogLine, LogReader, StoreError};

/// What is to be printed.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    /// Where the database is.
    pub(crate) flags: Flags,
    /// Only messages that this peer sent or was sent.
    with: Option<PeerName>,
    /// How many at most: the newest.
    last: usize,
}

/// Why nothing, or not all, was printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    /// There is no log, or it cannot be read.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// Standard output could not be written.
    #[error("the history cannot be written")]
    Write(#[source] io::Error),
}

/// The flags of `history`, with their help.
pub(crate) fn options() -> OptionParser<Query> {
    let data = super::data_flag();
    let config = super::config_flag();
    let flags = construct!(data, config).map(|(data, config)| Flags { data, config, ..Flags::default() });
    let with = long("with")
        .argument::<String>("NAME")
        .help("Only messages that NAME sent or was sent")
        .parse(|name| PeerName::parse(&name).map_err(|error| format!("--with wants a name: {error}")))
        .optional();
    let last = long("last")
        .argument::<String>("N")
        .help(format!("How many of the newest messages [default: {HISTORY_MESSAGES_DEFAULT}]").as_str())
        .parse(|count| count.parse().map_err(|_| "--last wants a whole number from 1"))
        .map(NonZeroUsize::get)
        .fallback(HISTORY_MESSAGES_DEFAULT);
    construct!(Query { flags, with, last })
        .to_options()
        .descr("Prints the log for people, oldest message first; the server may be running")
        .footer("Example:\n\n        holdline history --with=alice --last=5")
}

/// Prints what is asked for.
pub(crate) fn run(data: &Path, query: &Query) -> Result<(), HistoryError> {
    let log = LogReader::open(data)?;
    match print(&log, query) {
        Ok(0) => eprintln!("holdline: {}", nothing(data, query)),
        Ok(_) => {}
        Err(HistoryError::Write(error)) => return super::unless_reader_gone(Err(error)).map_err(HistoryError::Write),
        Err(error) => return Err(error),
    }
    Ok(())
}

fn print(log: &LogReader, query: &Query) -> Result<usize, HistoryError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let count = log.newest(query.with.as_ref(), query.last, |line| {
        writeln!(out, "{}", ForPeople(&line)).map_err(HistoryError::Write)
    })?;
    out.flush().map_err(HistoryError::Write)?;
    Ok(count)
}

fn nothing(data: &Path, query: &Query) -> String {
    match &query.with {
        Some(name) => format!("no message from or to {name} in {}", data.display()),
        None => format!("no message in {}", data.display()),
    }
}

/// `TIME alice → bob, carol: dinner at 7  (waiting for carol)`, on one line whatever the text is.
struct ForPeople<'a>(&'a LogLine);

impl fmt::Display for ForPeople<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LogLine { at, sender, recipients, text, waiting_for } = self.0;
        let text = text.replace(char::is_control, " ");
        write!(f, "{at} {sender} → {}: {text}", spaced(recipients))?;
        if !waiting_for.is_empty() {
            write!(f, "  (waiting for {})", spaced(waiting_for))?;
        }
        Ok(())
    }
}

fn spaced(names: &str) -> String {
    names.split(',').map(str::trim).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(recipients: &str, text: &str, waiting_for: &str, expected: Expect) {
        let line = LogLine {
            at: "2026-11-23T06:18:35.123Z".to_owned(),
            sender: "alice".to_owned(),
            recipients: recipients.to_owned(),
            text: text.to_owned(),
            waiting_for: waiting_for.to_owned(),
        };
        expected.assert_eq(&ForPeople(&line).to_string());
    }

    #[test]
    fn a_message_is_one_line() {
        check("bob", "hi", "", expect!["2026-11-23T06:18:35.123Z alice → bob: hi"]);
        check(
            "bob,carol",
            "dinner at 7",
            "carol",
            expect!["2026-11-23T06:18:35.123Z alice → bob, carol: dinner at 7  (waiting for carol)"],
        );
        check(
            "bob, carol",
            "one\ntwo\u{1b}[2J",
            "bob,carol",
            expect!["2026-11-23T06:18:35.123Z alice → bob, carol: one two [2J  (waiting for bob, carol)"],
        );
    }
}
