//! Output of a program: lines that answer calls, requests, and invalid lines. Owns which line is which; never carries out a
//! request.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use smol::io::{AsyncRead, AsyncReadExt};

use super::exchange::Exchange;
use super::requests::ProgramRequest;
use crate::limits::{JSON_LINE_BYTES_MAX, PROCESS_LINES_AT_ONCE_MAX};
use crate::message::{brief, quoted};
use crate::plugin::Failure;
use crate::plugin::answer::RawAnswer;
use crate::protocol::{Line, LineBuffer, json};

/// Unparsed output of one run of a program.
pub(super) struct Output {
    lines: LineBuffer,
}

/// Contents of some lines, without the answers that were passed on at once.
#[derive(Debug, Default)]
pub(super) struct OutputBatch {
    /// Requests, and answers to calls that no client waits for, in order.
    pub(super) requests: Vec<ProgramRequest>,
    /// All invalid lines, as one failure.
    pub(super) invalid: Option<Failure>,
    /// Number of answers that match no pending call.
    pub(super) late: u64,
}

enum OutputLine<'a> {
    Answer { id: String, answer: Result<RawAnswer, Failure> },
    ProgramRequest(ProgramRequest),
    Blank,
    Invalid(InvalidLine<'a>),
}

enum InvalidLine<'a> {
    TooLong,
    NotUtf8,
    NotAnObject(&'a str),
    IdNotAString(&'a str),
    NoIdOrType(&'a str),
}

impl fmt::Display for InvalidLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidLine::TooLong => write!(f, "a line of more than {JSON_LINE_BYTES_MAX} bytes"),
            InvalidLine::NotUtf8 => f.write_str("a line that is not UTF-8"),
            InvalidLine::NotAnObject(line) => write!(f, "a line that is not a JSON object: {}", quoted(line)),
            InvalidLine::IdNotAString(line) => write!(f, "an \"id\" that is not a string: {}", quoted(line)),
            InvalidLine::NoIdOrType(line) => write!(f, "a line with neither \"id\" nor \"type\": {}", quoted(line)),
        }
    }
}

/// Keys that distinguish answers from requests.
#[derive(Deserialize)]
struct LineHeader {
    id: Option<Value>,
    r#type: Option<Value>,
}

impl Output {
    pub(super) fn new() -> Self {
        Output { lines: LineBuffer::new(json::FRAMING) }
    }

    /// Reads once. Returns false at the end of the output.
    pub(super) async fn read(&mut self, output: &mut (impl AsyncRead + Unpin)) -> bool {
        match output.read(self.lines.space()).await {
            Ok(0) | Err(_) => false,
            Ok(bytes) => {
                self.lines.filled(bytes);
                true
            }
        }
    }

    /// Takes the next lines, up to a limit, and passes on the answers in them. `None` if there is no complete line.
    pub(super) fn next_lines(&mut self, exchange: &Exchange) -> Option<OutputBatch> {
        let (mut lines, mut late, mut invalid) = (0, 0, InvalidLines::default());
        let mut requests = Vec::new();
        while lines < PROCESS_LINES_AT_ONCE_MAX
            && let Some(line) = self.lines.next_line()
        {
            lines += 1;
            match parse(line) {
                // Earlier requests are submitted before the call counts as handled.
                OutputLine::Answer { id, answer } if exchange.is_notification(&id) => {
                    requests.push(ProgramRequest::Answer { id, answer })
                }
                OutputLine::Answer { id, answer } => late += u64::from(!exchange.answer(&id, answer)),
                OutputLine::ProgramRequest(request) => requests.push(request),
                OutputLine::Blank => {}
                OutputLine::Invalid(line) => invalid.add(&line),
            }
        }
        (lines > 0).then(|| {
            exchange.note_output();
            OutputBatch { requests, invalid: invalid.failure(), late }
        })
    }
}

/// Invalid lines: the first one in words, and a count of the others.
#[derive(Default)]
struct InvalidLines {
    first: Option<String>,
    others: u64,
}

impl InvalidLines {
    fn add(&mut self, line: &InvalidLine<'_>) {
        match self.first {
            None => self.first = Some(line.to_string()),
            Some(_) => self.others += 1,
        }
    }

    fn failure(self) -> Option<Failure> {
        let InvalidLines { first, others } = self;
        let others = if others > 0 { format!(", and {others} more invalid lines") } else { String::new() };
        first.map(|what| Failure::new(format!("the program wrote {what}{others}; dropped")))
    }
}

fn parse(line: Line<'_>) -> OutputLine<'_> {
    match line {
        Line::Text(text) => parse_text(text),
        Line::TooLong => OutputLine::Invalid(InvalidLine::TooLong),
        Line::NotUtf8 => OutputLine::Invalid(InvalidLine::NotUtf8),
    }
}

fn parse_text(line: &str) -> OutputLine<'_> {
    // To serde, a list is an object without its keys.
    match line.trim_start().chars().next() {
        Some('{') => parse_object(line),
        Some(_) => OutputLine::Invalid(InvalidLine::NotAnObject(line)),
        None => OutputLine::Blank,
    }
}

/// Parses an object as an answer first: most lines are answers, and are parsed once.
fn parse_object(line: &str) -> OutputLine<'_> {
    match serde_json::from_str::<RawAnswer>(line) {
        Ok(mut answer) => match answer.id.take() {
            Some(id) => OutputLine::Answer { id, answer: Ok(answer) },
            None => OutputLine::Invalid(InvalidLine::NoIdOrType(line)),
        },
        Err(error) => parse_request(line, &error),
    }
}

/// Parses an object that is not a valid answer, for this reason.
fn parse_request<'a>(line: &'a str, error: &serde_json::Error) -> OutputLine<'a> {
    match serde_json::from_str::<LineHeader>(line) {
        Ok(LineHeader { r#type: Some(kind), .. }) => OutputLine::ProgramRequest(ProgramRequest::parse(&kind, line)),
        Ok(LineHeader { id: Some(Value::String(id)), .. }) => {
            OutputLine::Answer { id, answer: Err(Failure::new(format!("invalid answer: {}", brief(error)))) }
        }
        Ok(LineHeader { id: Some(_), .. }) => OutputLine::Invalid(InvalidLine::IdNotAString(line)),
        Ok(_) => OutputLine::Invalid(InvalidLine::NoIdOrType(line)),
        Err(_) => OutputLine::Invalid(InvalidLine::NotAnObject(line)),
    }
}
