//! Messages of the log as lines on standard output: for people, or as JSON. Owns the form of a line; never selects messages.

use std::fmt;
use std::io::{self, Write};
use std::num::NonZeroUsize;

use bpaf::{Parser, construct, long};
use holdline::archive::{LogLine, ReadError, Selection};
use holdline::limits::{HISTORY_MESSAGES_DEFAULT, PRINTED_NAMES_MAX};
use holdline::message::{Destination, Seq};
use holdline::wire::MessageFrame;
use serde::Serialize;

use super::output::{SafeOutput, unless_reader_gone};

/// Format of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineFormat {
    /// `TIME alice → bob, carol: dinner at 7  (waiting for carol)`.
    People,
    /// `{"seq":42,"at":"TIME","from":"alice","to":["bob","carol"],"text":"dinner at 7","waiting_for":["carol"]}`.
    Json,
}

/// Error of a subcommand that prints messages.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrintError {
    /// There is no log, or it cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Standard output cannot be written.
    #[error("cannot print the messages")]
    Write(#[source] io::Error),
}

/// Prints the messages that `read` passes to its argument. Returns their number, or `None` if the reader of standard output is gone.
pub(crate) fn print(
    format: LineFormat,
    read: impl FnOnce(&mut dyn FnMut(LogLine) -> Result<(), PrintError>) -> Result<usize, PrintError>,
) -> Result<Option<usize>, PrintError> {
    let mut out = SafeOutput::stdout();
    let printed = read(&mut |line| format.write(&line, &mut out).map_err(PrintError::Write));
    match printed.and_then(|count| out.flush().map(|()| count).map_err(PrintError::Write)) {
        Ok(count) => Ok(Some(count)),
        Err(PrintError::Write(error)) => {
            unless_reader_gone(Err(error)).map_err(PrintError::Write)?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Flags that select messages, of all subcommands that print messages.
pub(crate) fn selection_flags() -> impl Parser<Selection> {
    let with = long("with")
        .argument::<String>("NAME")
        .help("Only messages that NAME sent or could read, or messages in the room '#NAME'")
        .parse(|name| Destination::parse(&name).map_err(|error| format!("--with: {error}")))
        .optional();
    let before = long("before")
        .argument::<String>("N")
        .help("Only messages before seq N, which --json shows")
        .parse(|seq| seq.parse().map(Seq::new).map_err(|_| "--before must be the seq of a message, a whole number"))
        .fallback(Seq::MAX);
    let count = long("last")
        .argument::<String>("N")
        .help(format!("Number of newest messages [default: {HISTORY_MESSAGES_DEFAULT}]").as_str())
        .parse(|count| count.parse().map_err(|_| "--last must be a whole number from 1"))
        .map(NonZeroUsize::get)
        .fallback(HISTORY_MESSAGES_DEFAULT);
    construct!(Selection { with, before, count })
}

/// Describes the selection, to follow the words "no message".
pub(crate) fn selected(selection: &Selection) -> String {
    let Selection { with, before, .. } = selection;
    let with = match with {
        Some(Destination::Peer(name)) => format!(" from or to {name}"),
        Some(Destination::Room(room)) => format!(" to {room}"),
        None => String::new(),
    };
    let before = if *before == Seq::MAX { String::new() } else { format!(" before {before}") };
    format!("{with}{before}")
}

/// `--json` of all subcommands that print messages.
pub(crate) fn format_flag() -> impl Parser<LineFormat> {
    long("json")
        .help("Prints each message as a JSON object, with its text unchanged")
        .switch()
        .map(|is_json| if is_json { LineFormat::Json } else { LineFormat::People })
}

impl LineFormat {
    /// Writes a message as one line, whatever its text contains.
    pub(crate) fn write(self, line: &LogLine, out: &mut SafeOutput<impl Write>) -> io::Result<()> {
        match self {
            LineFormat::People => out.line(LogLineText(line)),
            LineFormat::Json => out.json(&serde_json::to_string(&LogLineJson::of(line))?),
        }
    }
}

/// Message as a line for people.
struct LogLineText<'a>(&'a LogLine);

impl fmt::Display for LogLineText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LogLine { seq: _, at, sender, recipients, text, waiting_for } = self.0;
        write!(f, "{at} {sender} → {}: {text}", recipients.join(", "))?;
        if !waiting_for.is_empty() {
            let shown = &waiting_for[..waiting_for.len().min(PRINTED_NAMES_MAX)];
            write!(f, "  (waiting for {}", shown.join(", "))?;
            if shown.len() < waiting_for.len() {
                write!(f, " and {} more", waiting_for.len() - shown.len())?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// Message as a JSON object.
#[derive(Serialize)]
struct LogLineJson<'a> {
    #[serde(flatten)]
    message: MessageFrame<'a>,
    waiting_for: &'a [String],
}

impl<'a> LogLineJson<'a> {
    fn of(line: &'a LogLine) -> Self {
        let LogLine { seq, at, sender, recipients, text, waiting_for } = line;
        let message = MessageFrame {
            seq: seq.get(),
            at: at.into(),
            from: sender.into(),
            to: recipients.iter().map(Into::into).collect(),
            room: None,
            text: text.into(),
        };
        LogLineJson { message, waiting_for }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use holdline::message::Seq;

    use super::*;

    fn check(format: LineFormat, recipients: &[&str], text: &str, waiting_for: &[&str], expected: Expect) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let line = LogLine {
            seq: Seq::new(42),
            at: "2026-11-23T06:18:35.123Z".to_owned(),
            sender: "alice".to_owned(),
            recipients: owned(recipients),
            text: text.to_owned(),
            waiting_for: owned(waiting_for),
        };
        let mut out = SafeOutput(Vec::new());
        format.write(&line, &mut out).unwrap();
        expected.assert_eq(&String::from_utf8(out.0).unwrap());
    }

    #[test]
    fn message_is_one_line() {
        let check = |recipients: &[&str], text, waiting_for: &[&str], expected| {
            check(LineFormat::People, recipients, text, waiting_for, expected);
        };
        check(
            &["bob"],
            "hi",
            &[],
            expect![[r#"
            2026-11-23T06:18:35.123Z alice → bob: hi
        "#]],
        );
        check(
            &["#home", "carol"],
            "dinner at 7",
            &["carol"],
            expect![[r#"
            2026-11-23T06:18:35.123Z alice → #home, carol: dinner at 7  (waiting for carol)
        "#]],
        );
        check(
            &["bob"],
            "one\ntwo\u{1b}[2J",
            &["bob", "carol"],
            expect![[r#"
            2026-11-23T06:18:35.123Z alice → bob: one two�[2J  (waiting for bob, carol)
        "#]],
        );
    }

    #[test]
    fn only_some_of_many_waiting_names_are_shown() {
        let names: Vec<String> = (0..12).map(|nth| format!("n{nth}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        check(
            LineFormat::People,
            &["#home"],
            "hi",
            &names,
            expect![[r#"
            2026-11-23T06:18:35.123Z alice → #home: hi  (waiting for n0, n1, n2, n3, n4, n5, n6, n7, n8, n9 and 2 more)
        "#]],
        );
    }

    #[test]
    fn json_contains_the_text_unchanged() {
        let check = |recipients: &[&str], text, waiting_for: &[&str], expected| {
            check(LineFormat::Json, recipients, text, waiting_for, expected);
        };
        check(
            &["bob", "#home"],
            "one\n\"two\"",
            &["bob"],
            expect![[r##"
            {"seq":42,"at":"2026-11-23T06:18:35.123Z","from":"alice","to":["bob","#home"],"text":"one\n\"two\"","waiting_for":["bob"]}
        "##]],
        );
        check(
            &[],
            "ünï",
            &[],
            expect![[r##"
            {"seq":42,"at":"2026-11-23T06:18:35.123Z","from":"alice","to":[],"text":"ünï","waiting_for":[]}
        "##]],
        );
    }
}
