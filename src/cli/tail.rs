//! `holdline tail`: prints messages as they arrive, and acknowledges those that standard output took. Owns its flags and the form of a
//! line; never knows how messages arrive.

mod stdout;

use std::borrow::Cow;
use std::fmt;
use std::future::pending;
use std::io;

use async_channel::Receiver;
use bpaf::{OptionParser, Parser, construct, long};
use holdline::client::{self, Account, MessageFrame, MessageSink, TailError, TailPosition, TailRange};
use holdline::message::DatabaseId;

use super::output::{SafeOutput, report};

/// Arguments of `tail`.
#[derive(Clone, Debug)]
pub(crate) struct TailArgs {
    /// Account of the reader.
    account: Account,
    /// Messages to print.
    range: TailRange,
    /// Whether each message is printed as the JSON object that the server sent.
    json: bool,
}

/// Returns the flags of `tail`, with their help.
pub(crate) fn options() -> OptionParser<TailArgs> {
    let account = super::account::flags();
    let json = long("json").switch().help("Prints each message as a JSON object, with seq, at, from, to, room, text");
    let after = long("after")
        .argument::<String>("DATABASE:SEQ")
        .help("Prints only messages after the last one of the run before, so that none is printed twice; --json shows both")
        .parse(|position| position_of(&position))
        .fallback(TailPosition::default());
    let count = long("count")
        .argument::<String>("N")
        .help("Exits after N messages [default: never]")
        .parse(|count| count.parse().ok().filter(|count| *count > 0).ok_or("--count must be a whole number from 1"))
        .optional();
    let range = construct!(after, count).map(|(after, count)| TailRange { after, count });
    construct!(account, range, json)
        .map(|(account, range, json)| TailArgs { account, range, json })
        .to_options()
        .descr("Prints waiting messages, and new ones as they arrive; a printed message counts as delivered")
        .header("Reconnects if the connection is lost, and exits if standard output is closed.")
        .footer(FOOTER)
}

/// Parses `DATABASE:SEQ`, or SEQ alone, which is taken for one of the server's database.
fn position_of(position: &str) -> Result<TailPosition, &'static str> {
    let (database, seq) = position.rsplit_once(':').map_or((None, position), |(database, seq)| (Some(database), seq));
    let seq = seq.parse().ok().filter(|seq| *seq >= 0);
    let seq = seq
        .ok_or("--after must be the database and the seq of a message, as DATABASE:SEQ, or its seq, a whole number")?;
    let parse = |database| {
        DatabaseId::parse(database).ok_or("--after: DATABASE must be 32 hexadecimal digits, as --json shows them")
    };
    Ok(TailPosition { database: database.map(parse).transpose()?, seq })
}

/// Environment variables, and examples.
const FOOTER: &str =
    "HOLDLINE_PASSWORD is sent as the password. Leave it unset if your name has none, unless a plugin checks logins.

Examples:

        holdline tail
        holdline tail --as=logger --json >> messages.jsonl
        holdline tail --as=door --count=1";

/// Prints messages until the reader of standard output is gone, or the last wanted message is printed.
pub(crate) fn run(args: TailArgs) -> Result<(), TailError> {
    let TailArgs { account, range, json } = args;
    if stdout::is_closed() {
        return Err(TailError::Write(io::Error::other("standard output is closed")));
    }
    let _hangups = super::hangup::outlive();
    let printer = Printer::new(json).map_err(TailError::Write)?;
    let account = super::known_servers::confirm(account);
    smol::block_on(client::tail(account, range, printer))
}

/// Sink that prints messages to standard output.
struct Printer {
    out: SafeOutput,
    json: bool,
    /// Database of the messages, if the server says it.
    database: Option<DatabaseId>,
    /// Closed once the reader of the pipe is gone; `None` if standard output is no pipe.
    reader: Option<Receiver<()>>,
    /// Whether standard output is a file: a message in it is acknowledged once it is on the disk.
    is_file: bool,
}

impl Printer {
    fn new(json: bool) -> io::Result<Self> {
        let reader = if stdout::is_pipe() { Some(stdout::watch()?) } else { None };
        Ok(Printer { out: SafeOutput::stdout(), json, database: None, reader, is_file: stdout::is_file() })
    }
}

impl MessageSink for Printer {
    fn message(&mut self, message: &MessageFrame<'_>, line: &str) -> io::Result<()> {
        if self.json {
            self.out.json(&with_database(line, self.database))?;
        } else {
            self.out.line(MessageText(message))?;
        }
        if self.reader.is_none() {
            return Ok(());
        }
        // The next message goes into the pipe only after the reader has taken this one. So a reader that ends leaves the rest for later.
        self.out.flush()?;
        stdout::wait_until_read()
    }

    fn flush(&mut self) -> io::Result<()> {
        // What the reader of a pipe has taken is flushed. Only a message that it did not take may be left.
        if self.reader.is_some() {
            return Ok(());
        }
        self.out.flush()?;
        if self.is_file { stdout::sync() } else { Ok(()) }
    }

    async fn closed(&mut self) {
        match &self.reader {
            Some(reader) => drop(reader.recv().await),
            None => pending().await,
        }
    }

    fn missed(&mut self, room: &str, count: u64) {
        report(format_args!("missed {count} in {room}; they are in its history: holdline history --with='{room}'"));
    }

    fn entered(&mut self, database: Option<DatabaseId>) {
        self.database = database;
    }

    fn started_anew(&mut self, reason: &str) {
        report(format_args!("{reason}; printing all that waits"));
    }

    fn waiting(&mut self, reason: &str) {
        report(reason);
    }

    fn disconnected(&mut self, reason: &str) {
        report(format_args!("{reason}; trying again"));
    }

    fn reconnected(&mut self) {
        report("reconnected");
    }
}

/// Adds the identity of the database to the JSON object of a message, so that a script can store it with the `seq`.
fn with_database(line: &str, database: Option<DatabaseId>) -> Cow<'_, str> {
    match (database, line.trim_end().strip_suffix('}')) {
        (Some(database), Some(fields)) => format!("{fields},\"database\":\"{database}\"}}").into(),
        _ => line.into(),
    }
}

/// Message as `from alice in #home: TEXT`.
struct MessageText<'a>(&'a MessageFrame<'a>);

impl fmt::Display for MessageText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MessageFrame { from, room, text, .. } = self.0;
        write!(f, "from {from}")?;
        if let Some(room) = room {
            write!(f, " in {room}")?;
        }
        write!(f, ": {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(room: Option<&str>, text: &str, expected: &str) {
        let room = room.map(Into::into);
        let (at, from, text) = ("2026-11-23T06:18:35.123Z".into(), "alice".into(), text.into());
        let message = MessageFrame { seq: 1, at, from, to: Vec::new(), room, text };
        let mut out = SafeOutput(Vec::new());
        out.line(MessageText(&message)).unwrap();
        assert_eq!(String::from_utf8(out.0).unwrap().trim_end(), expected);
    }

    #[test]
    fn message_is_one_line() {
        check(None, "dinner at 7", "from alice: dinner at 7");
        check(Some("#home"), "dinner at 7", "from alice in #home: dinner at 7");
        check(None, "one\ntwo\tthree\u{1b}[2J", "from alice: one two\tthree\u{FFFD}[2J");
    }
}
