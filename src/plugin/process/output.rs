//! What a program writes: lines that answer calls, lines that ask, and garbage. Owns which line is what; never does what is
//! asked.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use smol::io::{AsyncRead, AsyncReadExt};

use super::exchange::Exchange;
use super::requests::ProgramRequest;
use crate::limits::{JSON_LINE_BYTES_MAX, PROCESS_LINES_AT_ONCE_MAX};
use crate::message::quoted;
use crate::plugin::Failure;
use crate::plugin::answer::RawAnswer;
use crate::protocol::{Line, LineBuffer, json};

/// The output of one life of a program, as far as it was read.
pub(super) struct Output {
    lines: LineBuffer,
}

/// What stood in some lines, but for the answers for which somebody waits.
#[derive(Debug, Default)]
pub(super) struct OutputBatch {
    /// What it asks, and what it says to what it was told, in order.
    pub(super) said: Vec<ProgramRequest>,
    /// What nobody can understand, as one failure.
    pub(super) garbage: Option<Failure>,
    /// Answers that nobody waits for.
    pub(super) late: u64,
}

/// One line.
enum OutputLine<'a> {
    Answer { id: String, answer: Result<RawAnswer, Failure> },
    ProgramRequest(ProgramRequest),
    Blank,
    Garbage(InvalidLine<'a>),
}

/// Why nobody can understand a line.
enum InvalidLine<'a> {
    TooLong,
    NotUtf8,
    NoObject(&'a str),
    IdIsNoString(&'a str),
    SaysNothing(&'a str),
}

impl fmt::Display for InvalidLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidLine::TooLong => write!(f, "a line of more than {JSON_LINE_BYTES_MAX} bytes"),
            InvalidLine::NotUtf8 => f.write_str("a line that is not UTF-8"),
            InvalidLine::NoObject(line) => write!(f, "a line that is no JSON object: {}", quoted(line)),
            InvalidLine::IdIsNoString(line) => write!(f, "an \"id\" that is no string: {}", quoted(line)),
            InvalidLine::SaysNothing(line) => write!(f, "a line with neither \"id\" nor \"type\": {}", quoted(line)),
        }
    }
}

/// What tells the kinds of lines apart.
#[derive(Deserialize)]
struct LineHeader {
    id: Option<Value>,
    r#type: Option<Value>,
}

impl Output {
    pub(super) fn new() -> Self {
        Output { lines: LineBuffer::new(json::FRAMING) }
    }

    /// Reads once. Says whether there is more to come.
    pub(super) async fn read(&mut self, output: &mut (impl AsyncRead + Unpin)) -> bool {
        match output.read(self.lines.space()).await {
            Ok(0) | Err(_) => false,
            Ok(bytes) => {
                self.lines.filled(bytes);
                true
            }
        }
    }

    /// Takes the next lines of what was read, some at a time, and deals with the answers in them. `None`: there is none.
    pub(super) fn next_lines(&mut self, exchange: &Exchange) -> Option<OutputBatch> {
        let (mut lines, mut late, mut garbage) = (0, 0, Garbage::default());
        let mut said = Vec::new();
        while lines < PROCESS_LINES_AT_ONCE_MAX
            && let Some(line) = self.lines.next_line()
        {
            lines += 1;
            match sort(line) {
                // What it has asked before is on its way before that with which it has dealt counts as dealt with.
                OutputLine::Answer { id, answer } if exchange.is_notified(&id) => {
                    said.push(ProgramRequest::Answer { id, answer })
                }
                OutputLine::Answer { id, answer } => late += u64::from(!exchange.answer(&id, answer)),
                OutputLine::ProgramRequest(request) => said.push(request),
                OutputLine::Blank => {}
                OutputLine::Garbage(fault) => garbage.add(&fault),
            }
        }
        (lines > 0).then(|| {
            exchange.heard();
            OutputBatch { said, garbage: garbage.failure(), late }
        })
    }
}

/// Lines that nobody can understand: the first is named, the others are counted.
#[derive(Default)]
struct Garbage {
    first: Option<String>,
    others: u64,
}

impl Garbage {
    fn add(&mut self, fault: &InvalidLine<'_>) {
        match self.first {
            None => self.first = Some(fault.to_string()),
            Some(_) => self.others += 1,
        }
    }

    fn failure(self) -> Option<Failure> {
        let Garbage { first, others } = self;
        let others = if others > 0 { format!(", and {others} more like it") } else { String::new() };
        first.map(|what| Failure::new(format!("the program wrote {what}{others}; dropped")))
    }
}

fn sort(line: Line<'_>) -> OutputLine<'_> {
    match line {
        Line::Text(text) => sort_text(text),
        Line::TooLong => OutputLine::Garbage(InvalidLine::TooLong),
        Line::NotUtf8 => OutputLine::Garbage(InvalidLine::NotUtf8),
    }
}

fn sort_text(line: &str) -> OutputLine<'_> {
    // To serde a list is an object without its keys.
    match line.trim_start().chars().next() {
        Some('{') => sort_object(line),
        Some(_) => OutputLine::Garbage(InvalidLine::NoObject(line)),
        None => OutputLine::Blank,
    }
}

/// Most lines are answers, and are read once.
fn sort_object(line: &str) -> OutputLine<'_> {
    match serde_json::from_str::<RawAnswer>(line) {
        Ok(mut answer) => match answer.id.take() {
            Some(id) => OutputLine::Answer { id, answer: Ok(answer) },
            None => OutputLine::Garbage(InvalidLine::SaysNothing(line)),
        },
        Err(unfit) => sort_other(line, &unfit),
    }
}

fn sort_other<'a>(line: &'a str, unfit: &serde_json::Error) -> OutputLine<'a> {
    match serde_json::from_str::<LineHeader>(line) {
        Ok(LineHeader { r#type: Some(kind), .. }) => OutputLine::ProgramRequest(ProgramRequest::parse(&kind, line)),
        Ok(LineHeader { id: Some(Value::String(id)), .. }) => {
            OutputLine::Answer { id, answer: Err(Failure::new(format!("an answer that is none: {unfit}"))) }
        }
        Ok(LineHeader { id: Some(_), .. }) => OutputLine::Garbage(InvalidLine::IdIsNoString(line)),
        Ok(_) => OutputLine::Garbage(InvalidLine::SaysNothing(line)),
        Err(_) => OutputLine::Garbage(InvalidLine::NoObject(line)),
    }
}
