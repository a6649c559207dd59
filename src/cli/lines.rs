//! Messages as lines on standard output: for people, or as JSON for programs. Owns how a message looks there; never which
//! messages are printed.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;

use bpaf::{Parser, construct, long};
use holdline::archive::{LogLine, ReadError, Selection};
use holdline::limits::{HISTORY_MESSAGES_DEFAULT, PRINTED_NAMES_MAX};
use holdline::message::{Destination, Seq};
use holdline::wire::MessageFrame;
use serde::Serialize;

/// For whom lines are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `TIME alice → bob, carol: dinner at 7  (waiting for carol)`.
    People,
    /// `{"seq":42,"at":"TIME","from":"alice","to":["bob","carol"],"text":"dinner at 7","waiting_for":["carol"]}`.
    Json,
}

/// Why nothing, or not all, was printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrintError {
    /// There is no log, or it cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Standard output could not be written.
    #[error("the messages cannot be written")]
    Write(#[source] io::Error),
}

/// Prints the messages that `hand_over` hands over. Says how many they were; `None`: whoever read them has gone.
pub(crate) fn print(
    form: Form,
    hand_over: impl FnOnce(&mut dyn FnMut(LogLine) -> Result<(), PrintError>) -> Result<usize, PrintError>,
) -> Result<Option<usize>, PrintError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = hand_over(&mut |line| form.write(&line, &mut out).map_err(PrintError::Write));
    match printed.and_then(|count| out.flush().map(|()| count).map_err(PrintError::Write)) {
        Ok(count) => Ok(Some(count)),
        Err(PrintError::Write(error)) => {
            super::output::unless_reader_gone(Err(error)).map_err(PrintError::Write)?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The flags that say which messages are printed, which every subcommand that does so understands alike.
pub(crate) fn selection_flags() -> impl Parser<Selection> {
    let with = long("with")
        .argument::<String>("NAME")
        .help("Only what NAME sent or could read; or what was sent in the room '#NAME'")
        .parse(|name| Destination::parse(&name).map_err(|error| format!("--with wants a name: {error}")))
        .optional();
    let before = long("before")
        .argument::<String>("N")
        .help("Only messages before seq N, as --json says it")
        .parse(|seq| seq.parse().map(Seq::new).map_err(|_| "--before wants the seq of a message, a whole number"))
        .fallback(Seq::MAX);
    let count = long("last")
        .argument::<String>("N")
        .help(format!("How many of the newest messages [default: {HISTORY_MESSAGES_DEFAULT}]").as_str())
        .parse(|count| count.parse().map_err(|_| "--last wants a whole number from 1"))
        .map(NonZeroUsize::get)
        .fallback(HISTORY_MESSAGES_DEFAULT);
    construct!(Selection { with, before, count })
}

/// Which messages are selected, in words behind "no message".
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

/// `--json`, which every subcommand that prints messages understands alike.
pub(crate) fn form_flag() -> impl Parser<Form> {
    long("json")
        .help("For programs: one JSON object a line, with the text as it is kept")
        .switch()
        .map(|is_json| if is_json { Form::Json } else { Form::People })
}

impl Form {
    /// Writes a message as one line, whatever its text is.
    pub(crate) fn write(self, line: &LogLine, out: &mut impl Write) -> io::Result<()> {
        match self {
            Form::People => writeln!(out, "{}", ForPeople(line)),
            Form::Json => {
                serde_json::to_writer(&mut *out, &ForPrograms::of(line))?;
                writeln!(out)
            }
        }
    }
}

struct ForPeople<'a>(&'a LogLine);

impl fmt::Display for ForPeople<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LogLine { seq: _, at, sender, recipients, text, waiting_for } = self.0;
        let text = text.replace(char::is_control, " ");
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

#[derive(Serialize)]
struct ForPrograms<'a> {
    #[serde(flatten)]
    message: MessageFrame<'a>,
    waiting_for: &'a [String],
}

impl<'a> ForPrograms<'a> {
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
        ForPrograms { message, waiting_for }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use holdline::message::Seq;

    use super::*;

    fn check(form: Form, recipients: &[&str], text: &str, waiting_for: &[&str], expected: Expect) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let line = LogLine {
            seq: Seq::new(42),
            at: "2026-11-23T06:18:35.123Z".to_owned(),
            sender: "alice".to_owned(),
            recipients: owned(recipients),
            text: text.to_owned(),
            waiting_for: owned(waiting_for),
        };
        let mut out = Vec::new();
        form.write(&line, &mut out).unwrap();
        expected.assert_eq(&String::from_utf8(out).unwrap());
    }

    #[test]
    fn a_message_is_one_line() {
        let check = |recipients: &[&str], text, waiting_for: &[&str], expected| {
            check(Form::People, recipients, text, waiting_for, expected);
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
            2026-11-23T06:18:35.123Z alice → bob: one two [2J  (waiting for bob, carol)
        "#]],
        );
    }

    #[test]
    fn of_many_who_wait_some_are_named() {
        let names: Vec<String> = (0..12).map(|nth| format!("n{nth}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        check(
            Form::People,
            &["#home"],
            "hi",
            &names,
            expect![[r#"
            2026-11-23T06:18:35.123Z alice → #home: hi  (waiting for n0, n1, n2, n3, n4, n5, n6, n7, n8, n9 and 2 more)
        "#]],
        );
    }

    #[test]
    fn a_message_for_programs_is_one_object_with_its_text_as_it_is_kept() {
        let check = |recipients: &[&str], text, waiting_for: &[&str], expected| {
            check(Form::Json, recipients, text, waiting_for, expected);
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
