//! `holdline tail`: prints what arrives, and acknowledges it once standard output took it. Owns its flags and how a message
//! looks on a line; never knows how messages come.

use std::fmt;
use std::io::{self, BufWriter, StdoutLock, Write};

use bpaf::{OptionParser, Parser, construct, long};
use holdline::client::{self, Account, MessageFrame, MessageSink, TailError, TailRange};

/// Whose messages are wanted, and how.
#[derive(Clone, Debug)]
pub(crate) struct TailArgs {
    /// Whose.
    account: Account,
    /// Which.
    range: TailRange,
    /// Whether they are printed as they come.
    json: bool,
}

/// The flags of `tail`, with their help.
pub(crate) fn options() -> OptionParser<TailArgs> {
    let account = super::account::flags();
    let json =
        long("json").switch().help("Prints each message as the object that came, with seq, at, from, to, room, text");
    let after = long("after")
        .argument::<String>("SEQ")
        .help("Drops messages up to SEQ: whoever remembers the last one gets each exactly once")
        .parse(|seq| {
            seq.parse().ok().filter(|seq| *seq >= 0).ok_or("--after wants the seq of a message, a whole number")
        })
        .fallback(0);
    let count = long("count")
        .argument::<String>("N")
        .help("Ends after N messages [default: never]")
        .parse(|count| count.parse().ok().filter(|count| *count > 0).ok_or("--count wants a whole number from 1"))
        .optional();
    let range = construct!(after, count).map(|(after, count)| TailRange { after, count });
    construct!(account, range, json)
        .map(|(account, range, json)| TailArgs { account, range, json })
        .to_options()
        .descr("Prints what arrives, and what waited; a message is delivered once it is printed")
        .header("It connects again when a connection is lost, and ends when standard output is closed.")
        .footer(FOOTER)
}

/// What to type, and what no flag sets.
const FOOTER: &str = "HOLDLINE_PASSWORD holds the password of a name that has one.

Examples:

        holdline tail
        holdline tail --as=logger --json >> messages.jsonl
        holdline tail --as=door --count=1";

/// Prints until nobody reads, or there were as many as wanted.
pub(crate) fn run(args: TailArgs) -> Result<(), TailError> {
    let TailArgs { account, range, json } = args;
    let printer = Printer { out: BufWriter::new(io::stdout().lock()), json };
    match smol::block_on(client::tail(account, range, printer)) {
        Err(TailError::Write(error)) => super::output::unless_reader_gone(Err(error)).map_err(TailError::Write),
        other => other,
    }
}

struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
}

impl MessageSink for Printer {
    fn message(&mut self, message: &MessageFrame<'_>, line: &str) -> io::Result<()> {
        if self.json { writeln!(self.out, "{line}") } else { writeln!(self.out, "{}", ForPeople(message)) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn disconnected(&mut self, reason: &str) {
        eprintln!("holdline: {reason}; trying again");
    }

    fn reconnected(&mut self) {
        eprintln!("holdline: connected again");
    }
}

/// `from alice in #home: TEXT`, on one line whatever the text is, and safe for a terminal whoever the server is.
struct ForPeople<'a>(&'a MessageFrame<'a>);

impl fmt::Display for ForPeople<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MessageFrame { from, room, text, .. } = self.0;
        write!(f, "from {}", on_one_line(from))?;
        if let Some(room) = room {
            write!(f, " in {}", on_one_line(room))?;
        }
        write!(f, ": {}", on_one_line(text))
    }
}

fn on_one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\t', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(room: Option<&str>, text: &str, expected: &str) {
        let room = room.map(Into::into);
        let (at, from, text) = ("2026-11-23T06:18:35.123Z".into(), "alice".into(), text.into());
        let message = MessageFrame { seq: 1, at, from, to: Vec::new(), room, text };
        assert_eq!(ForPeople(&message).to_string(), expected);
    }

    #[test]
    fn a_message_is_one_line() {
        check(None, "dinner at 7", "from alice: dinner at 7");
        check(Some("#home"), "dinner at 7", "from alice in #home: dinner at 7");
        check(None, "one\ntwo\tthree\u{1b}[2J", "from alice: one two\tthree [2J");
    }
}
