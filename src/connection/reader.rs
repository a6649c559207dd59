//! The reading half of a connection: bytes from the stream, decoded line by line. Owns how reading ends; never knows what a line means.

use std::io::{self, ErrorKind};
use std::pin::Pin;

use async_channel::Receiver;
use smol::future;
use smol::stream::StreamExt;

use super::http;
use crate::limits::{LINES_AT_ONCE_MAX, LOGIN_LINE_BYTES_MAX};
use crate::protocol::{
    Code, Decoder, Framing, Line, LineBuffer, Login, LoginLine, Refusal, Rejected, SessionEncoder, Submission,
};
use crate::transport::{Transport, readable};

/// The reading half of a connection.
pub(super) struct LineReader<'a, T> {
    transport: &'a T,
    lines: LineBuffer,
    decoder: Box<dyn Decoder>,
    /// Closed when the server stops.
    stop: Pin<Box<Receiver<()>>>,
    /// Whether the client ended its input: then the last line needs no newline.
    is_at_end: bool,
    /// Lines taken since the task last yielded to other tasks.
    lines_taken: usize,
    /// Whether the session has begun, and no line of it was taken that is not blank.
    is_first: bool,
}

/// Line before the login.
pub(super) enum FirstLine {
    /// A login, or a mistake.
    Login(Result<Login, Rejected>),
    /// The client quits.
    Quit,
    /// A line of an HTTP request.
    Http,
}

/// Result of decoding a line after the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecodeOutcome {
    /// The requests in it were appended.
    Decoded,
    /// No line is left of what was read.
    NoLine,
    /// The session begins with an HTTP request: the name before it was no login of a person.
    Http,
}

/// Result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// There may be another line.
    Some,
    /// The client ended its input, and every line was taken.
    End,
    /// The connection broke: an unfinished line is dropped.
    Reset,
    /// The server stops: nothing more is read.
    Stop,
}

impl<'a, T: Transport> LineReader<'a, T> {
    pub(super) fn new(transport: &'a T, decoder: Box<dyn Decoder>, stop: Receiver<()>) -> Self {
        let lines = LineBuffer::new(login_framing(&*decoder));
        let stop = Box::pin(stop);
        LineReader { transport, lines, decoder, stop, is_at_end: false, lines_taken: 0, is_first: false }
    }

    /// Stream that is read.
    pub(super) fn transport(&self) -> &'a T {
        self.transport
    }

    /// Sets the decoder of all lines, including those in the buffer. No line may have been taken yet.
    pub(super) fn set_decoder(&mut self, decoder: Box<dyn Decoder>) {
        self.lines.set_framing(login_framing(&*decoder));
        self.decoder = decoder;
    }

    /// Decoder of the connection.
    pub(super) fn decoder(&self) -> &dyn Decoder {
        &*self.decoder
    }

    /// Decoder of the connection, to change its state.
    pub(super) fn decoder_mut(&mut self) -> &mut dyn Decoder {
        &mut *self.decoder
    }

    /// Makes the encoder of the session that this login starts. From here on, lines may be as long as the protocol allows.
    pub(super) fn start_session(&mut self, login: &Login) -> SessionEncoder {
        self.lines.set_framing(self.decoder.framing());
        self.is_first = true;
        self.decoder.start_session(login)
    }

    /// Bytes not yet taken as lines.
    pub(super) fn unread(&self) -> &[u8] {
        self.lines.unread()
    }

    /// Decodes lines up to the next login or mistake. `None`: what was read holds neither. The protocol's own answers to the lines before it
    /// are appended to `replies`.
    pub(super) fn decode_login(&mut self, replies: &mut Vec<u8>) -> Option<FirstLine> {
        loop {
            let (line, decoder) = self.next_line()?;
            let login = match line {
                Line::Text(text) if http::is_http(text) => return Some(FirstLine::Http),
                Line::Text(text) => decoder.decode_login(text, replies),
                invalid => Some(Err(refusal(invalid, LOGIN_LINE_BYTES_MAX).with_outcome("not logged in").into())),
            };
            match login {
                Some(Ok(LoginLine::Login(login))) => return Some(FirstLine::Login(Ok(login))),
                Some(Ok(LoginLine::Quit)) => return Some(FirstLine::Quit),
                Some(Err(rejected)) => return Some(FirstLine::Login(Err(rejected))),
                None => {}
            }
        }
    }

    /// Whether the line behind the login, if it was read already, is the first of an HTTP request.
    pub(super) fn is_http_next(&self) -> bool {
        http::next_line(self.unread()).is_some_and(http::is_request_line)
    }

    /// Decodes the next line, and appends the requests in it.
    pub(super) fn decode(&mut self, destinations_max: u64, requests: &mut Vec<Submission>) -> DecodeOutcome {
        let is_first = self.is_first;
        let line_bytes_max = self.lines.line_bytes_max();
        let Some((line, decoder)) = self.next_line() else { return DecodeOutcome::NoLine };
        let is_blank_first = is_first && matches!(line, Line::Text(text) if text.trim().is_empty());
        match line {
            Line::Text(text) if is_first && http::is_request_line(text) => return DecodeOutcome::Http,
            Line::Text(text) => decoder.decode(text, destinations_max, requests),
            invalid => requests.push(Rejected::from(refusal(invalid, line_bytes_max).with_outcome("not sent")).into()),
        }
        self.is_first = is_blank_first;
        DecodeOutcome::Decoded
    }

    /// Takes the next line of what was read, for the decoder. `None`: there is none before the next read.
    fn next_line(&mut self) -> Option<(Line<'_>, &mut dyn Decoder)> {
        if self.lines_taken == LINES_AT_ONCE_MAX {
            return None;
        }
        self.lines_taken += 1;
        let line = if self.is_at_end { self.lines.end_of_input() } else { self.lines.next_line() };
        Some((line?, &mut *self.decoder))
    }

    /// Reads once, as soon as there is something to read; a connection that waits holds no buffer. Yields to other tasks first, because a
    /// client that sends without end would never make its task wait.
    pub(super) async fn fill(&mut self) -> ReadOutcome {
        future::yield_now().await;
        if std::mem::take(&mut self.lines_taken) == LINES_AT_ONCE_MAX {
            return ReadOutcome::Some;
        }
        if self.stop.is_closed() {
            return ReadOutcome::Stop;
        }
        loop {
            if self.is_at_end {
                return ReadOutcome::End;
            }
            match self.transport.read(self.lines.space()) {
                Ok(0) if self.transport.is_broken() => return ReadOutcome::Reset,
                Ok(0) => {
                    self.is_at_end = true;
                    return ReadOutcome::Some;
                }
                Ok(bytes) => {
                    self.lines.filled(bytes);
                    return ReadOutcome::Some;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.lines.release();
                    if !self.unless_stopped(readable(self.transport)).await {
                        return ReadOutcome::Stop;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return ReadOutcome::Reset,
            }
        }
    }

    /// Waits for a future, or until the server stops. Returns false if the server stopped.
    pub(super) async fn unless_stopped(&mut self, happens: impl Future<Output = ()>) -> bool {
        let stopped = async {
            self.stop.next().await;
        };
        future::or(stopped, happens).await;
        !self.stop.is_closed()
    }

    /// Reads and drops everything until the client ends its input.
    pub(super) async fn discard(&mut self) {
        if self.is_at_end {
            return;
        }
        loop {
            match discard_once(self.transport) {
                Ok(0) => return,
                Ok(_) => future::yield_now().await,
                Err(error) if error.kind() == ErrorKind::WouldBlock => readable(self.transport).await,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

/// Reads once and drops the bytes. A function of its own, because a buffer in the future would be part of each connection's memory.
fn discard_once(transport: &impl Transport) -> io::Result<usize> {
    transport.read(&mut [0; 1024])
}

/// Form of lines before the login: a stranger's unfinished line takes little memory.
fn login_framing(decoder: &dyn Decoder) -> Framing {
    let framing = decoder.framing();
    Framing { line_bytes_max: framing.line_bytes_max.min(LOGIN_LINE_BYTES_MAX), ..framing }
}

/// Refuses a line that is not a text.
fn refusal(line: Line<'_>, line_bytes_max: usize) -> Refusal {
    match line {
        Line::TooLong => Refusal::new(Code::TooLong, format!("the line is longer than {line_bytes_max} bytes")),
        Line::Text(_) | Line::NotUtf8 => Refusal::new(Code::NotUtf8, "the line is not UTF-8"),
    }
}
