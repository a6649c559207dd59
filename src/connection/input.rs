//! What comes from a client's socket, as lines. Owns reading and how it ends; never what the lines mean.

use std::io::{self, ErrorKind, Read};
use std::pin::Pin;

use async_channel::Receiver;
use smol::future;
use smol::stream::StreamExt;

use super::{Socket, is_broken};
use crate::limits::LINES_AT_ONCE_MAX;
use crate::protocol::{Code, Decoder, Line, LineBuffer, Login, Refusal, Rejected, Submission};

/// The reading half of a connection.
pub(super) struct Input<'a> {
    socket: &'a Socket,
    lines: LineBuffer,
    decoder: Box<dyn Decoder>,
    /// Closed when the server stops.
    stop: Pin<Box<Receiver<()>>>,
    /// The client has sent all that it will: its last line needs no newline.
    is_at_end: bool,
    /// Lines taken since the others last had their turn.
    lines_taken: usize,
}

/// How reading went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// There may be another line.
    Some,
    /// The client sends no more, and every line was taken.
    End,
    /// The connection broke: what was unfinished is no line.
    Reset,
    /// The server stops: what is not read stays unread.
    Stop,
}

impl<'a> Input<'a> {
    pub(super) fn new(socket: &'a Socket, decoder: Box<dyn Decoder>, stop: Receiver<()>) -> Self {
        let lines = LineBuffer::new(decoder.framing());
        Input { socket, lines, decoder, stop: Box::pin(stop), is_at_end: false, lines_taken: 0 }
    }

    /// Has another decoder read all lines, those in the buffer too; none of them may have been taken yet.
    pub(super) fn set_decoder(&mut self, decoder: Box<dyn Decoder>) {
        self.lines.set_framing(decoder.framing());
        self.decoder = decoder;
    }

    /// The decoder of the connection.
    pub(super) fn decoder(&mut self) -> &mut dyn Decoder {
        &mut *self.decoder
    }

    /// Bytes not yet taken as lines.
    pub(super) fn unread(&self) -> &[u8] {
        self.lines.unread()
    }

    /// Decodes lines up to the next login or mistake. `None`: there is none in what was read. The protocol's own answers to the lines before
    /// are appended to `replies`.
    pub(super) fn decode_login(&mut self, replies: &mut Vec<u8>) -> Option<Result<Login, Rejected>> {
        loop {
            let (line, decoder) = self.next_line()?;
            let login = match line {
                Ok(line) => decoder.decode_login(line, replies),
                Err(refusal) => Some(Err(refusal.with_outcome("not logged in").into())),
            };
            if login.is_some() {
                return login;
            }
        }
    }

    /// Decodes the next line, and appends the requests in it. Returns false if no line is left of what was read.
    pub(super) fn decode(&mut self, destinations_max: u64, requests: &mut Vec<Submission>) -> bool {
        let Some((line, decoder)) = self.next_line() else { return false };
        match line {
            Ok(line) => decoder.decode(line, destinations_max, requests),
            Err(refusal) => requests.push(Rejected::from(refusal.with_outcome("not sent")).into()),
        }
        true
    }

    /// Takes the next line of what was read, for the decoder. `None`: there is none, unless it is filled again.
    fn next_line(&mut self) -> Option<(Result<&str, Refusal>, &mut dyn Decoder)> {
        if self.lines_taken == LINES_AT_ONCE_MAX {
            return None;
        }
        self.lines_taken += 1;
        let line_bytes_max = self.lines.line_bytes_max();
        let line = if self.is_at_end { self.lines.end_of_input() } else { self.lines.next_line() };
        let line = match line? {
            Line::Text(text) => Ok(text),
            Line::TooLong => Err(Refusal::new(Code::TooLong, format!("a line of more than {line_bytes_max} bytes"))),
            Line::NotUtf8 => Err(Refusal::new(Code::NotUtf8, "a line that is not UTF-8")),
        };
        Some((line, &mut *self.decoder))
    }

    /// Reads once, waiting until there is something. An idle connection holds no buffer while it waits. Taking lines and
    /// reading are no wait while there is always more: so whoever sends without end lets the others go first here.
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
            match self.socket.get_ref().read(self.lines.space()) {
                Ok(0) if is_broken(self.socket) => return ReadOutcome::Reset,
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
                    if !self.unless_stopped(readable(self.socket)).await {
                        return ReadOutcome::Stop;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return ReadOutcome::Reset,
            }
        }
    }

    /// Waits for something to happen. Says whether it did before the server stopped.
    pub(super) async fn unless_stopped(&mut self, happens: impl Future<Output = ()>) -> bool {
        let stopped = async {
            self.stop.next().await;
        };
        future::or(stopped, happens).await;
        !self.stop.is_closed()
    }

    /// Reads on and drops it, until the client has closed its side too.
    pub(super) async fn discard(&mut self) {
        if self.is_at_end {
            return;
        }
        loop {
            match read_away(self.socket) {
                Ok(0) => return,
                Ok(_) => future::yield_now().await,
                Err(error) if error.kind() == ErrorKind::WouldBlock => readable(self.socket).await,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

/// Waits until there may be something to read. What is wrong with the socket, the next read says. One task reads a socket,
/// so it needs the one place for a waker that costs nothing.
async fn readable(socket: &Socket) {
    let _ = future::poll_fn(|context| socket.poll_readable(context)).await;
}

/// Reads once, into nowhere. Not in a task itself, whose size would be the buffer's too.
fn read_away(socket: &Socket) -> io::Result<usize> {
    socket.get_ref().read(&mut [0; 1024])
}
