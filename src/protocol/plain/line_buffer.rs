//! The unread bytes of one connection, and the lines in them, found in place.
//! Owns where a line ends, how long it may be and what Telnet adds to it; never what a line says.

use std::ops::Range;

use memchr::{memchr, memchr2};

use crate::limits::{LINE_BYTES_MAX, READ_BYTES_MAX, READ_BYTES_MIN, SUBNEGOTIATION_BYTES_MAX};

/// Telnet's "interpret as command", RFC 854; the commands are the bytes from `SE` up to itself.
const IAC: u8 = 255;
/// The end of a subnegotiation.
const SE: u8 = 240;
/// The begin of a subnegotiation.
const SB: u8 = 250;
/// The first of the commands that are followed by an option.
const WILL: u8 = 251;
/// The last of them.
const DONT: u8 = 254;

/// A line as a client sent it, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// What it says.
    Text(&'a str),
    /// It is over [`LINE_BYTES_MAX`]; what is left of it is discarded as it comes.
    TooLong,
    /// It holds something that is not UTF-8.
    NotUtf8,
}

/// A connection's bytes from the reading of them until they are taken as lines.
///
/// Nothing is copied on the way but the begin of a line that has not ended when room is made for the next read, and what
/// follows Telnet's bytes in a line that holds some. What was scanned is not scanned again.
pub struct LineBuffer {
    /// All of it initialised, so that its length is the room there is. Between calls, in this order: taken, `start`, the
    /// begin of the current line, `scanned`, a Telnet command that may need more bytes (two at most), `end`, free.
    bytes: Vec<u8>,
    /// Where the current line starts.
    start: usize,
    /// Where the bytes end that the current line is known to hold.
    scanned: usize,
    /// Where the bytes start that nobody has looked at; between calls that is `scanned`.
    raw: usize,
    /// Where the bytes end that were read.
    end: usize,
    /// The room for the next read.
    read_bytes: usize,
    /// What Telnet makes of the next byte.
    telnet: Telnet,
    /// Whether the current line is not UTF-8 because of a byte that was skipped.
    spoilt: bool,
    /// Whether the current line was found to be too long, and is not kept.
    discarding: bool,
}

/// What a byte 255 means.
#[derive(Clone, Copy)]
enum Telnet {
    /// It may begin a command.
    Watched,
    /// It may end this subnegotiation, of which so many bytes were skipped.
    Subnegotiation { bytes: usize },
    /// Nothing, up to the end of the line.
    Ordinary,
}

/// Where a scan stopped.
enum Stop {
    LineEnd,
    Skipped,
    NeedsMore,
}

/// A line before it is borrowed.
enum Taken {
    Bytes(Range<usize>),
    TooLong,
    NotUtf8,
}

impl LineBuffer {
    /// An empty buffer; it allocates nothing yet.
    pub const fn new() -> Self {
        LineBuffer {
            bytes: Vec::new(),
            start: 0,
            scanned: 0,
            raw: 0,
            end: 0,
            read_bytes: READ_BYTES_MIN,
            telnet: Telnet::Watched,
            spoilt: false,
            discarding: false,
        }
    }

    /// Room for the next read: at least [`READ_BYTES_MIN`], and up to [`READ_BYTES_MAX`] when the reads before filled it.
    /// It stays bounded as long as the lines are taken between reads.
    pub fn space(&mut self) -> &mut [u8] {
        if self.bytes.len() - self.end < self.read_bytes {
            self.make_room();
        }
        let room = self.room();
        &mut self.bytes[self.end..][..room]
    }

    /// Says that `n` bytes were read into [`space`](Self::space).
    pub fn filled(&mut self, n: usize) {
        debug_assert!(n <= self.room(), "a read fills no more than the space it was given");
        if n == self.room() {
            self.read_bytes = READ_BYTES_MAX.min(4 * self.read_bytes);
        } else if n < READ_BYTES_MIN {
            self.read_bytes = READ_BYTES_MIN;
        }
        self.end += n;
    }

    /// Takes the next line; `None` when more must be read first.
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        self.take().map(|taken| self.line(taken))
    }

    /// Takes the next line when there is nothing more to read: the last one counts without its newline too.
    pub fn end_of_input(&mut self) -> Option<Line<'_>> {
        self.take().or_else(|| self.take_unterminated()).map(|taken| self.line(taken))
    }

    /// The bytes that are not taken yet: as they came until [`next_line`](Self::next_line) looks at them.
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Gives back all memory that holds nothing unread.
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
            // In steps, so that a line which is a little longer than the one before does not move everything again.
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

    fn take(&mut self) -> Option<Taken> {
        loop {
            match self.scan() {
                Stop::LineEnd => {
                    if let Some(taken) = self.take_terminated() {
                        return Some(taken);
                    }
                }
                Stop::Skipped => {}
                Stop::NeedsMore => return self.suspend(),
            }
        }
    }

    fn line(&self, taken: Taken) -> Line<'_> {
        match taken {
            Taken::Bytes(range) => str::from_utf8(&self.bytes[range]).map_or(Line::NotUtf8, Line::Text),
            Taken::TooLong => Line::TooLong,
            Taken::NotUtf8 => Line::NotUtf8,
        }
    }

    /// Goes on to the next byte that means something: keeps what is before it and deals with it.
    fn scan(&mut self) -> Stop {
        let unscanned = &self.bytes[self.raw..self.end];
        let found = match self.telnet {
            Telnet::Watched => memchr2(b'\n', IAC, unscanned),
            Telnet::Ordinary => memchr(b'\n', unscanned),
            Telnet::Subnegotiation { bytes } => return self.skip_subnegotiation(bytes),
        };
        self.keep(found.unwrap_or(unscanned.len()));
        match found.map(|_| self.bytes[self.raw]) {
            None => Stop::NeedsMore,
            Some(b'\n') => {
                self.raw += 1;
                Stop::LineEnd
            }
            Some(_) => self.skip_command(),
        }
    }

    /// Takes the next bytes for the current line's.
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

    /// Skips the Telnet command that starts here, if it is one and all there.
    fn skip_command(&mut self) -> Stop {
        match self.bytes[self.raw + 1..self.end] {
            [] | [WILL..=DONT] => return Stop::NeedsMore,
            [WILL..=DONT, _, ..] => self.raw += 3,
            [SB, ..] => {
                self.raw += 2;
                self.telnet = Telnet::Subnegotiation { bytes: 0 };
            }
            [SE..=IAC, ..] => self.raw += 2,
            // No command: it stays, and no text with it is UTF-8.
            _ => self.keep(1),
        }
        Stop::Skipped
    }

    /// Skips what is there of a subnegotiation, of which `bytes` were skipped before.
    fn skip_subnegotiation(&mut self, bytes: usize) -> Stop {
        let unscanned = &self.bytes[self.raw..self.end];
        let run = memchr(IAC, unscanned).unwrap_or(unscanned.len());
        let allowed = SUBNEGOTIATION_BYTES_MAX - bytes;
        if run > allowed {
            return self.give_up_subnegotiation(allowed);
        }
        self.raw += run;
        self.telnet = Telnet::Subnegotiation { bytes: bytes + run };
        match self.bytes[self.raw..self.end] {
            [] | [_] => return Stop::NeedsMore,
            [_, SE, ..] => self.telnet = Telnet::Watched,
            _ if run + 2 > allowed => return self.give_up_subnegotiation(0),
            _ => self.telnet = Telnet::Subnegotiation { bytes: bytes + run + 2 },
        }
        self.raw += 2;
        Stop::Skipped
    }

    /// Skips the last bytes that a subnegotiation may have; those after them are the line's.
    fn give_up_subnegotiation(&mut self, bytes: usize) -> Stop {
        self.raw += bytes;
        self.telnet = Telnet::Ordinary;
        self.spoilt = true;
        Stop::Skipped
    }

    /// Takes the current line, whose newline was just scanned, unless it was answered already.
    fn take_terminated(&mut self) -> Option<Taken> {
        self.take_current(self.start..self.content_end(), self.spoilt)
    }

    /// Takes the last line, if there is something of one; what Telnet left unfinished is part of it.
    fn take_unterminated(&mut self) -> Option<Taken> {
        let unfinished = self.raw < self.end || matches!(self.telnet, Telnet::Subnegotiation { .. });
        let (line, spoilt) = (self.start..self.scanned, self.spoilt || unfinished);
        self.raw = self.end;
        let nothing = line.is_empty() && !spoilt;
        self.take_current(line, spoilt).filter(|_| !nothing)
    }

    fn take_current(&mut self, line: Range<usize>, spoilt: bool) -> Option<Taken> {
        let answered = self.discarding;
        self.start = self.raw;
        self.scanned = self.raw;
        self.telnet = Telnet::Watched;
        self.spoilt = false;
        self.discarding = false;
        match line.len() {
            _ if answered => None,
            len if len > LINE_BYTES_MAX => Some(Taken::TooLong),
            _ if spoilt => Some(Taken::NotUtf8),
            _ => Some(Taken::Bytes(line)),
        }
    }

    /// Waits for the next read, and says of a line that is too long already that it is.
    fn suspend(&mut self) -> Option<Taken> {
        let too_long = self.content_end() - self.start > LINE_BYTES_MAX;
        if too_long {
            self.discarding = true;
            self.scanned = self.start;
        }
        // What was skipped leaves no gap: the two bytes at most of a command that needs more move to the line's.
        self.bytes.copy_within(self.raw..self.end, self.scanned);
        self.end -= self.raw - self.scanned;
        self.raw = self.scanned;
        too_long.then_some(Taken::TooLong)
    }

    /// Where the current line ends if its newline comes next: a `\r` before that is no part of it.
    fn content_end(&self) -> usize {
        match self.bytes[self.start..self.scanned] {
            [.., b'\r'] => self.scanned - 1,
            _ => self.scanned,
        }
    }
}

impl Default for LineBuffer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A line that outlives the buffer.
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Seen {
        Text(String),
        TooLong,
        NotUtf8,
    }

    impl From<Line<'_>> for Seen {
        fn from(line: Line<'_>) -> Self {
            match line {
                Line::Text(text) => Seen::Text(text.to_owned()),
                Line::TooLong => Seen::TooLong,
                Line::NotUtf8 => Seen::NotUtf8,
            }
        }
    }

    fn text(text: impl Into<String>) -> Seen {
        Seen::Text(text.into())
    }

    /// Puts what fits of `bytes` into the buffer, as one read does.
    fn read(buffer: &mut LineBuffer, bytes: &mut &[u8]) {
        let space = buffer.space();
        assert!((READ_BYTES_MIN..=READ_BYTES_MAX).contains(&space.len()));
        let n = space.len().min(bytes.len());
        space[..n].copy_from_slice(&bytes[..n]);
        buffer.filled(n);
        *bytes = &bytes[n..];
    }

    /// Reads these chunks and takes every line as soon as it can be taken.
    fn feed<'a>(buffer: &mut LineBuffer, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
        let mut seen = Vec::new();
        for mut chunk in chunks {
            while !chunk.is_empty() {
                read(buffer, &mut chunk);
                while let Some(line) = buffer.next_line() {
                    seen.push(line.into());
                }
                assert_eq!(buffer.raw, buffer.scanned);
                assert!(buffer.end - buffer.raw <= 2, "only a command that needs more is left");
                assert!(buffer.bytes.capacity() <= LINE_BYTES_MAX + READ_BYTES_MAX + 2 * READ_BYTES_MIN);
            }
        }
        seen
    }

    fn feed_all<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
        let mut buffer = LineBuffer::new();
        let mut seen = feed(&mut buffer, chunks);
        seen.extend(buffer.end_of_input().map(Seen::from));
        assert_eq!(buffer.end_of_input(), None);
        assert!(buffer.unread().is_empty());
        seen
    }

    /// Checks the lines of an input, read as a whole and byte by byte.
    fn check(input: impl AsRef<[u8]>, expected: &[Seen]) {
        let input = input.as_ref();
        assert_eq!(feed_all([input]), expected, "as a whole");
        assert_eq!(feed_all(input.chunks(1)), expected, "byte by byte");
        assert_eq!(reference(input), expected, "by the reference");
    }

    /// The rules once more, over the whole of an input, with no eye to speed or memory.
    fn reference(input: &[u8]) -> Vec<Seen> {
        let mut seen = Vec::new();
        let (mut line, mut spoilt, mut watched, mut at) = (Vec::new(), false, true, 0);
        let finish = |line: &[u8], spoilt: bool| match str::from_utf8(line) {
            _ if line.len() > LINE_BYTES_MAX => Seen::TooLong,
            Ok(line) if !spoilt => text(line),
            _ => Seen::NotUtf8,
        };
        while at < input.len() {
            match input[at..] {
                [b'\n', ..] => {
                    seen.push(finish(line.strip_suffix(b"\r").unwrap_or(&line), spoilt));
                    (line, spoilt, watched) = (Vec::new(), false, true);
                    at += 1;
                }
                [255] | [255, 251..=254] if watched => {
                    spoilt = true;
                    at = input.len();
                }
                [255, 250, ref contents @ ..] if watched => match subnegotiation(contents) {
                    Some((skipped, ended)) => {
                        (spoilt, watched) = (spoilt || !ended, ended);
                        at += 2 + skipped;
                    }
                    None => {
                        spoilt = true;
                        at = input.len();
                    }
                },
                [255, 251..=254, _, ..] if watched => at += 3,
                [255, 240..=255, ..] if watched => at += 2,
                [byte, ..] => {
                    line.push(byte);
                    at += 1;
                }
                [] => unreachable!(),
            }
        }
        if spoilt || !line.is_empty() {
            seen.push(finish(&line, spoilt));
        }
        seen
    }

    /// How many bytes to skip and whether the subnegotiation ended with them; `None` if the input ends within it.
    fn subnegotiation(contents: &[u8]) -> Option<(usize, bool)> {
        let mut at = 0;
        loop {
            let unit = match contents[at..] {
                [] | [255] => return None,
                [255, 240, ..] => return Some((at + 2, true)),
                [255, _, ..] => 2,
                _ => 1,
            };
            if at + unit > 1024 {
                return Some((at, false));
            }
            at += unit;
        }
    }

    #[test]
    fn lines_end_at_a_newline() {
        check("", &[]);
        check("\n", &[text("")]);
        check("alice\nbob: hi\r\n\n", &[text("alice"), text("bob: hi"), text("")]);
        check("a\r\r\n\rb\n", &[text("a\r"), text("\rb")]);
        check("\u{FEFF}é🙂\0\n", &[text("\u{FEFF}é🙂\0")]);
    }

    #[test]
    fn the_last_line_counts_without_its_newline() {
        check("a\nb", &[text("a"), text("b")]);
        check("b\r", &[text("b\r")]);
        check(b"\xFF\xF1", &[]);
        check(b"b\xFF", &[Seen::NotUtf8]);
        check(b"\xFF", &[Seen::NotUtf8]);
        check(b"b\xFF\xFB", &[Seen::NotUtf8]);
        check(b"b\xFF\xFA\x18\n", &[Seen::NotUtf8]);
        check(b"b\xFF\xFA\x18\xFF", &[Seen::NotUtf8]);
        check(b"b\xC3", &[Seen::NotUtf8]);
    }

    #[test]
    fn a_line_has_8192_bytes() {
        let longest = "x".repeat(8192);
        let over = "x".repeat(8193);
        check(&longest, &[text(&*longest)]);
        check(format!("{longest}\nb\n"), &[text(&*longest), text("b")]);
        check(format!("{longest}\r\nb\n"), &[text(&*longest), text("b")]);
        check(format!("{over}\nb\n"), &[Seen::TooLong, text("b")]);
        check(format!("{over}\r\nb\n"), &[Seen::TooLong, text("b")]);
        check(format!("{longest}\r\r\nb\n"), &[Seen::TooLong, text("b")]);
        check(format!("{longest}\r"), &[Seen::TooLong]);
        check(over, &[Seen::TooLong]);
        check("é".repeat(4096) + "\n", &[text("é".repeat(4096))]);
        check("é".repeat(4096) + "x\n", &[Seen::TooLong]);
    }

    #[test]
    fn a_line_over_the_limit_is_answered_at_once_and_only_once() {
        let mut buffer = LineBuffer::new();
        assert_eq!(feed(&mut buffer, ["x".repeat(8192).as_bytes(), b"\r"]), []);
        assert_eq!(feed(&mut buffer, [b"\r".as_slice()]), [Seen::TooLong]);
        assert!(buffer.unread().is_empty(), "what is discarded is not kept");
        assert_eq!(feed(&mut buffer, ["x".repeat(100_000).as_bytes(), b"\xFE\xFF", b"\xF1"]), []);
        assert_eq!(feed(&mut buffer, [b"\nb\n".as_slice()]), [text("b")]);
        assert_eq!(buffer.end_of_input(), None);
    }

    #[test]
    fn too_long_wins_over_not_utf8() {
        check([vec![0xFE; 8193], b"\nb".to_vec()].concat(), &[Seen::TooLong, text("b")]);
        check([vec![0xFE; 8192], b"\nb".to_vec()].concat(), &[Seen::NotUtf8, text("b")]);
        check([b"\xFF\xFA".to_vec(), vec![b'x'; 1024 + 8193]].concat(), &[Seen::TooLong]);
        check([b"\xFF\xFA".to_vec(), vec![b'x'; 1024 + 8192]].concat(), &[Seen::NotUtf8]);
    }

    #[test]
    fn a_line_that_is_not_utf8_ends_at_its_newline() {
        check(b"a\xE9\nb\n", &[Seen::NotUtf8, text("b")]);
        check(b"\xC3\n\xA9\n", &[Seen::NotUtf8, Seen::NotUtf8]);
        check(b"\xED\xA0\x80\nb", &[Seen::NotUtf8, text("b")]);
    }

    #[test]
    fn telnet_commands_are_skipped() {
        for command in 240..=249 {
            check([b"al", [255, command].as_slice(), b"ice\n"].concat(), &[text("alice")]);
        }
        check(b"al\xFF\xFFice\n", &[text("alice")]);
        for command in 251..=254 {
            for option in 0..=255 {
                check([b"al", [255, command, option].as_slice(), b"ice\n"].concat(), &[text("alice")]);
            }
        }
        check(
            b"\xFF\xFB\x1F\xFF\xFD\x03alice\r\xFF\xF1\nbob\xFF\xF1\xFF\xF9: h\xFF\xF1i\n",
            &[text("alice"), text("bob: hi")],
        );
    }

    #[test]
    fn skipped_bytes_do_not_count() {
        let commands = b"\xFF\xF1".repeat(50_000);
        let longest = "x".repeat(4096);
        let line = [longest.as_bytes(), &commands, longest.as_bytes(), b"\r", &commands, b"\nb\n"].concat();
        check(&line, &[text(longest.repeat(2)), text("b")]);
    }

    #[test]
    fn any_other_byte_255_is_not_utf8() {
        for byte in (0..=239).filter(|&byte| byte != b'\n') {
            check([b"al", [255, byte].as_slice(), b"ice\nb\n"].concat(), &[Seen::NotUtf8, text("b")]);
        }
        check(b"al\xFF\nice\n", &[Seen::NotUtf8, text("ice")]);
    }

    #[test]
    fn subnegotiations_are_skipped() {
        check(b"a\xFF\xFA\x18\x00vt100\xFF\xF0b\n", &[text("ab")]);
        check(b"a\xFF\xFA\xFF\xF0b\n", &[text("ab")]);
        check(b"a\xFF\xFA\n\xFF\xFF\n\xFF\xFF\xF0\xFF\xF0b\n", &[text("ab")]);
        check(b"a\xFF\xFA\xFF\xF1\n\xFF\xF0b\n", &[text("ab")]);
        let of = |contents: &[u8]| [b"a\xFF\xFA", contents, b"\xFF\xF0b\nc\n"].concat();
        check(of(&[b'\n'; 1024]), &[text("ab"), text("c")]);
        check(of(&[255; 1024]), &[text("ab"), text("c")]);
        check(of(&[&[b'x'; 1022], [255; 2].as_slice()].concat()), &[text("ab"), text("c")]);
    }

    #[test]
    fn a_longer_subnegotiation_is_the_lines_own() {
        let of = |contents: &[u8]| [b"a\xFF\xFA", contents, b"\xFF\xF0b\nc\n"].concat();
        check(of(&[b'x'; 1025]), &[Seen::NotUtf8, text("c")]);
        check(of(&[&[b'\n'; 1024], b"x".as_slice()].concat()), &[Seen::NotUtf8, text("c")]);
        check(of(&[&[b'x'; 1024], b"\nd\n".as_slice()].concat()), &[Seen::NotUtf8, text("d"), text("b"), text("c")]);
        check(of(&[255; 1026]), &[Seen::NotUtf8, text("c")]);
        check(of(&[&[b'x'; 1023], [255; 2].as_slice()].concat()), &[Seen::NotUtf8, text("c")]);
        // No command is looked for in the rest of the line, so that the newline after one ends it.
        let rest = b"\xFF\xFB\nd\xFF\xF1e\n".as_slice();
        check(of(&[&[b'x'; 1025], rest].concat()), &[Seen::NotUtf8, text("de"), text("b"), text("c")]);
    }

    #[test]
    fn memory_stays_bounded_without_a_newline() {
        for chunk in [vec![b'x'; 65_536], b"\xFF\xF1".repeat(32_768), b"\xFF\xFB\n".repeat(21_845)] {
            let mut buffer = LineBuffer::new();
            let mut answers = 0;
            for _ in 0..160 {
                answers += feed(&mut buffer, [&*chunk]).len();
            }
            assert_eq!(answers, usize::from(chunk[0] == b'x'));
            assert!(buffer.bytes.capacity() <= 80 * 1024, "{}", buffer.bytes.capacity());
            assert!(buffer.unread().is_empty());
        }
    }

    #[test]
    fn reads_grow_while_they_fill_their_space() {
        let mut buffer = LineBuffer::new();
        let mut sizes = Vec::new();
        for _ in 0..4 {
            let size = buffer.space().len();
            buffer.space().fill(b'\n');
            buffer.filled(size);
            while buffer.next_line().is_some() {}
            sizes.push(size);
        }
        assert_eq!(sizes, [4096, 16_384, 65_536, 65_536]);
        feed(&mut buffer, [b"a\n".as_slice()]);
        buffer.release();
        assert_eq!(buffer.space().len(), 4096);
    }

    #[test]
    fn an_idle_buffer_holds_no_memory() {
        let mut buffer = LineBuffer::new();
        assert_eq!(buffer.bytes.capacity(), 0);
        assert_eq!(feed(&mut buffer, [b"a\nb".as_slice()]), [text("a")]);
        buffer.release();
        assert_eq!(buffer.unread(), b"b", "what is unread stays");
        assert!(buffer.bytes.capacity() < 64, "and nothing else");
        assert_eq!(feed(&mut buffer, [b"c\n".as_slice()]), [text("bc")]);
        buffer.release();
        assert_eq!(buffer.bytes.capacity(), 0);
        assert_eq!(feed(&mut buffer, [b"d\xFF\xFA".as_slice()]), []);
        assert_eq!(feed(&mut buffer, [b"\xFF\xF0\n".as_slice()]), [text("d")]);
    }

    #[test]
    fn a_release_within_skipped_or_discarded_bytes_changes_nothing() {
        let mut buffer = LineBuffer::new();
        for (input, expected) in [
            (b"\xFF\xFA".to_vec(), vec![]),
            (b"\n\xFF\xF0".to_vec(), vec![]),
            (vec![b'x'; 9000], vec![Seen::TooLong]),
            (b"xx\nb\n".to_vec(), vec![text("b")]),
        ] {
            assert_eq!(feed(&mut buffer, [&*input]), expected);
            buffer.release();
            assert_eq!(buffer.bytes.capacity(), 0);
        }
    }

    #[test]
    fn the_first_bytes_can_be_looked_at_before_they_are_taken() {
        let mut buffer = LineBuffer::new();
        assert_eq!(buffer.unread(), b"");
        read(&mut buffer, &mut b"GE".as_slice());
        assert_eq!(buffer.unread(), b"GE");
        read(&mut buffer, &mut b"T \xFF\xF1x\ny".as_slice());
        assert_eq!(buffer.unread(), b"GET \xFF\xF1x\ny");
        assert_eq!(buffer.next_line(), Some(Line::Text("GET x")));
        assert_eq!(buffer.unread(), b"y");
    }

    #[test]
    fn a_line_is_found_where_it_was_read() {
        let mut buffer = LineBuffer::new();
        let place = buffer.space().as_ptr();
        read(&mut buffer, &mut b"alice\nbob\n".as_slice());
        for (line, offset) in [("alice", 0), ("bob", 6)] {
            let Some(Line::Text(taken)) = buffer.next_line() else { panic!("no line") };
            assert_eq!((taken, taken.as_ptr()), (line, place.wrapping_add(offset)));
        }
    }

    #[test]
    fn end_of_input_gives_the_lines_before_the_last_one_too() {
        let mut buffer = LineBuffer::new();
        read(&mut buffer, &mut b"a\nb\nc".as_slice());
        for line in ["a", "b", "c"] {
            assert_eq!(buffer.end_of_input(), Some(Line::Text(line)));
        }
        assert_eq!(buffer.end_of_input(), None);
    }

    /// Pieces of everything that has a rule, of lengths on both sides of every limit.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let near = |limit: usize| limit - 6..limit + 6;
        prop_oneof![
            6 => "[a-zé🙂\r]{0,9}".prop_map(String::into_bytes),
            6 => Just(b"\n".to_vec()),
            3 => Just(b"\r\n".to_vec()),
            4 => any::<u8>().prop_map(|byte| vec![255, byte]),
            4 => (250..=255_u8, any::<u8>()).prop_map(|(command, option)| vec![255, command, option]),
            2 => vec(any::<u8>(), 0..4),
            4 => vec(prop_oneof![Just(255_u8), Just(b'\n'), Just(240), Just(250), any::<u8>()], 0..9)
                .prop_map(|contents| [b"\xFF\xFA", &*contents, b"\xFF\xF0"].concat()),
            1 => near(SUBNEGOTIATION_BYTES_MAX).prop_map(|n| [b"\xFF\xFA", &*vec![b'\n'; n], b"\xFF\xF0"].concat()),
            1 => near(SUBNEGOTIATION_BYTES_MAX).prop_map(|n| [b"\xFF\xFA", &*vec![255; n], b"\xFF\xF0"].concat()),
            1 => near(LINE_BYTES_MAX).prop_map(|n| vec![b'x'; n]),
            1 => (0..20_000_usize).prop_map(|n| vec![b'x'; n]),
        ]
    }

    proptest! {
        #[test]
        fn cuts_make_no_difference(
            pieces in vec(piece(), 0..40),
            sizes in vec(prop_oneof![1..4_usize, 1..6000_usize], 1..20),
        ) {
            let input = pieces.concat();
            let mut sizes = sizes.into_iter().cycle();
            let mut rest = &*input;
            let cut = std::iter::from_fn(|| {
                let n = sizes.next()?.min(rest.len());
                let (chunk, after) = rest.split_at(n);
                rest = after;
                (n > 0).then_some(chunk)
            });
            let expected = reference(&input);
            prop_assert_eq!(feed_all(cut), &*expected);
            prop_assert_eq!(feed_all(input.chunks(1)), &*expected);
            prop_assert_eq!(feed_all([&*input]), expected);
        }

        #[test]
        fn any_bytes_are_lines(input in vec(prop_oneof![any::<u8>(), 238..=255_u8, Just(b'\n')], 0..300)) {
            let expected = reference(&input);
            prop_assert_eq!(feed_all(input.chunks(1)), &*expected);
            prop_assert_eq!(feed_all([&*input]), expected);
        }
    }
}
