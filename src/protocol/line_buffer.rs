//! Unread bytes of one connection, and the lines in them, which are found in place. Owns where a line ends, how long it may be, and what
//! Telnet adds to it; never what a line means.

use std::ops::Range;

use memchr::{memchr, memchr2};

use crate::limits::{READ_BYTES_MAX, READ_BYTES_MIN, SUBNEGOTIATION_BYTES_MAX};

/// Telnet's "interpret as command", RFC 854; the commands are the bytes from `SE` up to itself.
const IAC: u8 = 255;
/// End of a subnegotiation.
const SE: u8 = 240;
/// Begin of a subnegotiation.
const SB: u8 = 250;
/// First of the commands that are followed by an option.
const WILL: u8 = 251;
/// Last of the commands that are followed by an option.
const DONT: u8 = 254;

/// Form of the lines of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Bytes that a line may have, its end not counted.
    pub line_bytes_max: usize,
    /// Whether Telnet's option negotiation is skipped.
    pub skips_telnet: bool,
}

/// Line as a client sent it, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// Text of the line.
    Text(&'a str),
    /// The line is longer than the limit; the rest of it is discarded as it arrives.
    TooLong,
    /// The line is not UTF-8.
    NotUtf8,
}

/// Bytes of a connection from the read to the line.
///
/// Only two kinds of bytes are copied on the way: the begin of a line that has not ended when room is made for the next read, and
/// the bytes behind a Telnet command. No byte is scanned twice.
pub struct LineBuffer {
    /// Initialised memory, so that its length is the room. Between calls it holds, in this order: taken bytes, `start`, the begin of
    /// the current line, `scanned`, a Telnet command that may need more bytes (at most two), `end`, free bytes.
    bytes: Vec<u8>,
    /// Start of the current line.
    start: usize,
    /// End of the scanned bytes of the current line.
    scanned: usize,
    /// Start of the bytes that are not scanned; between calls it equals `scanned`.
    raw: usize,
    /// End of the bytes that were read.
    end: usize,
    /// Room for the next read.
    read_bytes: usize,
    /// Bytes that a line may have.
    line_bytes_max: usize,
    /// Whether a byte 255 may begin a command.
    skips_telnet: bool,
    /// Meaning of the next byte 255.
    telnet: Telnet,
    /// Whether the current line counts as not UTF-8, because of a byte that was skipped.
    spoilt: bool,
    /// Whether the current line was reported as too long, and is discarded.
    discarding: bool,
}

/// Meaning of a byte 255.
#[derive(Clone, Copy)]
enum Telnet {
    /// May begin a command.
    Watched,
    /// May end the subnegotiation of which this many bytes were skipped.
    Subnegotiation { bytes: usize },
    /// Has no meaning, up to the end of the line.
    Ordinary,
}

/// Place at which a scan stopped.
enum ScanStop {
    LineEnd,
    Skipped,
    NeedsMore,
}

/// Line before it is borrowed.
enum FoundLine {
    Bytes(Range<usize>),
    TooLong,
    NotUtf8,
}

impl LineBuffer {
    /// Makes an empty buffer; it allocates nothing yet.
    pub const fn new(Framing { line_bytes_max, skips_telnet }: Framing) -> Self {
        LineBuffer {
            bytes: Vec::new(),
            start: 0,
            scanned: 0,
            raw: 0,
            end: 0,
            read_bytes: READ_BYTES_MIN,
            line_bytes_max,
            skips_telnet,
            telnet: if skips_telnet { Telnet::Watched } else { Telnet::Ordinary },
            spoilt: false,
            discarding: false,
        }
    }

    /// Sets the form of all lines, those that were read already too; none of them may have been scanned yet.
    pub fn set_framing(&mut self, Framing { line_bytes_max, skips_telnet }: Framing) {
        debug_assert!(self.scanned == self.start, "the framing is set before the first line is scanned");
        self.line_bytes_max = line_bytes_max;
        self.skips_telnet = skips_telnet;
        self.telnet = self.telnet_at_start();
    }

    /// Bytes that a line may have, its end not counted.
    pub fn line_bytes_max(&self) -> usize {
        self.line_bytes_max
    }

    /// Returns the room for the next read: at least [`READ_BYTES_MIN`], and up to [`READ_BYTES_MAX`] after reads that filled it. The
    /// buffer stays bounded as long as the lines are taken between reads.
    pub fn space(&mut self) -> &mut [u8] {
        if self.bytes.len() - self.end < self.read_bytes {
            self.make_room();
        }
        let room = self.room();
        &mut self.bytes[self.end..][..room]
    }

    /// Takes the first `n` bytes of [`space`](Self::space) as read.
    pub fn filled(&mut self, n: usize) {
        debug_assert!(n <= self.room(), "a read fills no more than the space it was given");
        if n == self.room() {
            self.read_bytes = READ_BYTES_MAX.min(4 * self.read_bytes);
        } else if n < READ_BYTES_MIN {
            self.read_bytes = READ_BYTES_MIN;
        }
        self.end += n;
    }

    /// Takes the next line. `None`: more must be read first.
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        self.take().map(|taken| self.line(taken))
    }

    /// Takes the next line at the end of the input, where the last line needs no newline.
    pub fn end_of_input(&mut self) -> Option<Line<'_>> {
        self.take().or_else(|| self.take_unterminated()).map(|taken| self.line(taken))
    }

    /// Returns the bytes that are not taken yet. They are as they arrived until [`next_line`](Self::next_line) scans them.
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Frees all memory that holds no unread bytes.
    pub fn release(&mut self) {
        self.move_to_front();
        self.bytes.truncate(self.end);
        self.bytes.shrink_to_fit();
    }

    fn room(&self) -> usize {
        READ_BYTES_MAX.min(self.bytes.len() - self.end)
    }

    fn make_room(&mut self) {
        self.move_to_front();
        let wanted = self.end + self.read_bytes;
        if self.bytes.len() < wanted {
            // In steps, so that a slightly longer line does not reallocate again.
            let stepped = wanted.next_multiple_of(READ_BYTES_MIN);
            self.bytes.reserve_exact(stepped - self.bytes.len());
            self.bytes.resize(stepped, 0);
        }
    }

    fn move_to_front(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        self.scanned -= self.start;
        self.raw -= self.start;
        self.end -= self.start;
        self.start = 0;
    }

    fn take(&mut self) -> Option<FoundLine> {
        loop {
            match self.scan() {
                ScanStop::LineEnd => {
                    if let Some(taken) = self.take_terminated() {
                        return Some(taken);
                    }
                }
                ScanStop::Skipped => {}
                ScanStop::NeedsMore => return self.suspend(),
            }
        }
    }

    fn line(&self, taken: FoundLine) -> Line<'_> {
        match taken {
            FoundLine::Bytes(range) => str::from_utf8(&self.bytes[range]).map_or(Line::NotUtf8, Line::Text),
            FoundLine::TooLong => Line::TooLong,
            FoundLine::NotUtf8 => Line::NotUtf8,
        }
    }

    /// Scans up to the next newline or Telnet command, and handles that.
    fn scan(&mut self) -> ScanStop {
        let unscanned = &self.bytes[self.raw..self.end];
        let found = match self.telnet {
            Telnet::Watched => memchr2(b'\n', IAC, unscanned),
            Telnet::Ordinary => memchr(b'\n', unscanned),
            Telnet::Subnegotiation { bytes } => return self.skip_subnegotiation(bytes),
        };
        self.keep(found.unwrap_or(unscanned.len()));
        match found.map(|_| self.bytes[self.raw]) {
            None => ScanStop::NeedsMore,
            Some(b'\n') => {
                self.raw += 1;
                ScanStop::LineEnd
            }
            Some(_) => self.skip_command(),
        }
    }

    /// Adds the next bytes to the current line.
    fn keep(&mut self, bytes: usize) {
        let from = self.raw;
        self.raw += bytes;
        if self.discarding {
            return;
        }
        if from != self.scanned {
            self.bytes.copy_within(from..self.raw, self.scanned);
        }
        self.scanned += bytes;
    }

    /// Skips the Telnet command that starts here, if it is one and complete.
    fn skip_command(&mut self) -> ScanStop {
        match self.bytes[self.raw + 1..self.end] {
            [] | [WILL..=DONT] => return ScanStop::NeedsMore,
            [WILL..=DONT, _, ..] => self.raw += 3,
            [SB, ..] => {
                self.raw += 2;
                self.telnet = Telnet::Subnegotiation { bytes: 0 };
            }
            [SE..=IAC, ..] => self.raw += 2,
            // Not a command: the byte stays, and makes the line not UTF-8.
            _ => self.keep(1),
        }
        ScanStop::Skipped
    }

    /// Skips the bytes that arrived of a subnegotiation, of which `bytes` were skipped before.
    fn skip_subnegotiation(&mut self, bytes: usize) -> ScanStop {
        let unscanned = &self.bytes[self.raw..self.end];
        let run = memchr(IAC, unscanned).unwrap_or(unscanned.len());
        let allowed = SUBNEGOTIATION_BYTES_MAX - bytes;
        if run > allowed {
            return self.give_up_subnegotiation(allowed);
        }
        self.raw += run;
        self.telnet = Telnet::Subnegotiation { bytes: bytes + run };
        match self.bytes[self.raw..self.end] {
            [] | [_] => return ScanStop::NeedsMore,
            [_, SE, ..] => self.telnet = Telnet::Watched,
            _ if run + 2 > allowed => return self.give_up_subnegotiation(0),
            _ => self.telnet = Telnet::Subnegotiation { bytes: bytes + run + 2 },
        }
        self.raw += 2;
        ScanStop::Skipped
    }

    /// Skips the last bytes that a subnegotiation may have; the bytes behind them belong to the line.
    fn give_up_subnegotiation(&mut self, bytes: usize) -> ScanStop {
        self.raw += bytes;
        self.telnet = Telnet::Ordinary;
        self.spoilt = true;
        ScanStop::Skipped
    }

    /// Takes the current line, whose newline was just scanned, unless it was reported already.
    fn take_terminated(&mut self) -> Option<FoundLine> {
        self.take_current(self.start..self.content_end(), self.spoilt)
    }

    /// Takes the last line, if it has any bytes; an unfinished Telnet command counts as part of it.
    fn take_unterminated(&mut self) -> Option<FoundLine> {
        let unfinished = self.raw < self.end || matches!(self.telnet, Telnet::Subnegotiation { .. });
        let (line, spoilt) = (self.start..self.scanned, self.spoilt || unfinished);
        self.raw = self.end;
        let nothing = line.is_empty() && !spoilt;
        self.take_current(line, spoilt).filter(|_| !nothing)
    }

    fn take_current(&mut self, line: Range<usize>, spoilt: bool) -> Option<FoundLine> {
        let is_reported = self.discarding;
        self.start = self.raw;
        self.scanned = self.raw;
        self.telnet = self.telnet_at_start();
        self.spoilt = false;
        self.discarding = false;
        match line.len() {
            _ if is_reported => None,
            len if len > self.line_bytes_max => Some(FoundLine::TooLong),
            _ if spoilt => Some(FoundLine::NotUtf8),
            _ => Some(FoundLine::Bytes(line)),
        }
    }

    /// Prepares for the next read, and reports a line that is too long already.
    fn suspend(&mut self) -> Option<FoundLine> {
        let too_long = self.content_end() - self.start > self.line_bytes_max;
        if too_long {
            self.discarding = true;
            self.scanned = self.start;
        }
        // Skipped bytes leave no gap: a command that needs more, at most two bytes, moves next to the line.
        self.bytes.copy_within(self.raw..self.end, self.scanned);
        self.end -= self.raw - self.scanned;
        self.raw = self.scanned;
        too_long.then_some(FoundLine::TooLong)
    }

    fn telnet_at_start(&self) -> Telnet {
        if self.skips_telnet { Telnet::Watched } else { Telnet::Ordinary }
    }

    /// Returns the end of the current line if its newline comes next: a `\r` before that is not part of it.
    fn content_end(&self) -> usize {
        match self.bytes[self.start..self.scanned] {
            [.., b'\r'] => self.scanned - 1,
            _ => self.scanned,
        }
    }
}

#[cfg(test)]
mod tests;
