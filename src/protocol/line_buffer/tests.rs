//! Tests of the line buffer, against a reference that reads the whole input at once.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::limits::{JSON_LINE_BYTES_MAX, LINE_BYTES_MAX};
use crate::protocol::{json, plain};

/// Line that does not borrow from the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum OwnedLine {
    Text(String),
    TooLong,
    NotUtf8,
}

impl From<Line<'_>> for OwnedLine {
    fn from(line: Line<'_>) -> Self {
        match line {
            Line::Text(text) => OwnedLine::Text(text.to_owned()),
            Line::TooLong => OwnedLine::TooLong,
            Line::NotUtf8 => OwnedLine::NotUtf8,
        }
    }
}

fn text(text: impl Into<String>) -> OwnedLine {
    OwnedLine::Text(text.into())
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
fn feed<'a>(buffer: &mut LineBuffer, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<OwnedLine> {
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

fn feed_all<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<OwnedLine> {
    let mut buffer = LineBuffer::new(plain::FRAMING);
    let mut seen = feed(&mut buffer, chunks);
    seen.extend(buffer.end_of_input().map(OwnedLine::from));
    assert_eq!(buffer.end_of_input(), None);
    assert!(buffer.unread().is_empty());
    seen
}

/// Checks the lines of an input, read as a whole and byte by byte.
fn check(input: impl AsRef<[u8]>, expected: &[OwnedLine]) {
    let input = input.as_ref();
    assert_eq!(feed_all([input]), expected, "as a whole");
    assert_eq!(feed_all(input.chunks(1)), expected, "byte by byte");
    assert_eq!(reference(input), expected, "by the reference");
}

/// Splits a whole input by the same rules, in the simplest way.
fn reference(input: &[u8]) -> Vec<OwnedLine> {
    let mut seen = Vec::new();
    let (mut line, mut spoilt, mut watched, mut at) = (Vec::new(), false, true, 0);
    let finish = |line: &[u8], spoilt: bool| match str::from_utf8(line) {
        _ if line.len() > LINE_BYTES_MAX => OwnedLine::TooLong,
        Ok(line) if !spoilt => text(line),
        _ => OwnedLine::NotUtf8,
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

/// Returns the number of bytes to skip and whether the subnegotiation ended with them; `None` if the input ends within it.
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
fn line_ends_at_its_newline() {
    check("", &[]);
    check("\n", &[text("")]);
    check("alice\nbob: hi\r\n\n", &[text("alice"), text("bob: hi"), text("")]);
    check("a\r\r\n\rb\n", &[text("a\r"), text("\rb")]);
    check("\u{FEFF}é🙂\0\n", &[text("\u{FEFF}é🙂\0")]);
}

#[test]
fn last_line_needs_no_newline() {
    check("a\nb", &[text("a"), text("b")]);
    check("b\r", &[text("b\r")]);
    check(b"\xFF\xF1", &[]);
    check(b"b\xFF", &[OwnedLine::NotUtf8]);
    check(b"\xFF", &[OwnedLine::NotUtf8]);
    check(b"b\xFF\xFB", &[OwnedLine::NotUtf8]);
    check(b"b\xFF\xFA\x18\n", &[OwnedLine::NotUtf8]);
    check(b"b\xFF\xFA\x18\xFF", &[OwnedLine::NotUtf8]);
    check(b"b\xC3", &[OwnedLine::NotUtf8]);
}

#[test]
fn line_has_at_most_8192_bytes() {
    let longest = "x".repeat(8192);
    let over = "x".repeat(8193);
    check(&longest, &[text(&*longest)]);
    check(format!("{longest}\nb\n"), &[text(&*longest), text("b")]);
    check(format!("{longest}\r\nb\n"), &[text(&*longest), text("b")]);
    check(format!("{over}\nb\n"), &[OwnedLine::TooLong, text("b")]);
    check(format!("{over}\r\nb\n"), &[OwnedLine::TooLong, text("b")]);
    check(format!("{longest}\r\r\nb\n"), &[OwnedLine::TooLong, text("b")]);
    check(format!("{longest}\r"), &[OwnedLine::TooLong]);
    check(over, &[OwnedLine::TooLong]);
    check("é".repeat(4096) + "\n", &[text("é".repeat(4096))]);
    check("é".repeat(4096) + "x\n", &[OwnedLine::TooLong]);
}

#[test]
fn line_over_the_limit_is_reported_at_once_and_only_once() {
    let mut buffer = LineBuffer::new(plain::FRAMING);
    assert_eq!(feed(&mut buffer, ["x".repeat(8192).as_bytes(), b"\r"]), []);
    assert_eq!(feed(&mut buffer, [b"\r".as_slice()]), [OwnedLine::TooLong]);
    assert!(buffer.unread().is_empty(), "discarded bytes take no memory");
    assert_eq!(feed(&mut buffer, ["x".repeat(100_000).as_bytes(), b"\xFE\xFF", b"\xF1"]), []);
    assert_eq!(feed(&mut buffer, [b"\nb\n".as_slice()]), [text("b")]);
    assert_eq!(buffer.end_of_input(), None);
}

#[test]
fn long_line_that_is_not_utf8_is_too_long() {
    check([vec![0xFE; 8193], b"\nb".to_vec()].concat(), &[OwnedLine::TooLong, text("b")]);
    check([vec![0xFE; 8192], b"\nb".to_vec()].concat(), &[OwnedLine::NotUtf8, text("b")]);
    check([b"\xFF\xFA".to_vec(), vec![b'x'; 1024 + 8193]].concat(), &[OwnedLine::TooLong]);
    check([b"\xFF\xFA".to_vec(), vec![b'x'; 1024 + 8192]].concat(), &[OwnedLine::NotUtf8]);
}

#[test]
fn line_that_is_not_utf8_ends_at_its_newline() {
    check(b"a\xE9\nb\n", &[OwnedLine::NotUtf8, text("b")]);
    check(b"\xC3\n\xA9\n", &[OwnedLine::NotUtf8, OwnedLine::NotUtf8]);
    check(b"\xED\xA0\x80\nb", &[OwnedLine::NotUtf8, text("b")]);
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
fn skipped_bytes_do_not_count_for_the_limit() {
    let commands = b"\xFF\xF1".repeat(50_000);
    let longest = "x".repeat(4096);
    let line = [longest.as_bytes(), &commands, longest.as_bytes(), b"\r", &commands, b"\nb\n"].concat();
    check(&line, &[text(longest.repeat(2)), text("b")]);
}

#[test]
fn any_other_byte_255_is_not_utf8() {
    for byte in (0..=239).filter(|&byte| byte != b'\n') {
        check([b"al", [255, byte].as_slice(), b"ice\nb\n"].concat(), &[OwnedLine::NotUtf8, text("b")]);
    }
    check(b"al\xFF\nice\n", &[OwnedLine::NotUtf8, text("ice")]);
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
fn too_long_subnegotiation_makes_the_line_not_utf8() {
    let of = |contents: &[u8]| [b"a\xFF\xFA", contents, b"\xFF\xF0b\nc\n"].concat();
    check(of(&[b'x'; 1025]), &[OwnedLine::NotUtf8, text("c")]);
    check(of(&[&[b'\n'; 1024], b"x".as_slice()].concat()), &[OwnedLine::NotUtf8, text("c")]);
    check(of(&[&[b'x'; 1024], b"\nd\n".as_slice()].concat()), &[OwnedLine::NotUtf8, text("d"), text("b"), text("c")]);
    check(of(&[255; 1026]), &[OwnedLine::NotUtf8, text("c")]);
    check(of(&[&[b'x'; 1023], [255; 2].as_slice()].concat()), &[OwnedLine::NotUtf8, text("c")]);
    // No command is looked for in the rest of the line, so that the newline after one ends it.
    let rest = b"\xFF\xFB\nd\xFF\xF1e\n".as_slice();
    check(of(&[&[b'x'; 1025], rest].concat()), &[OwnedLine::NotUtf8, text("de"), text("b"), text("c")]);
}

#[test]
fn memory_stays_bounded_without_a_newline() {
    for chunk in [vec![b'x'; 65_536], b"\xFF\xF1".repeat(32_768), b"\xFF\xFB\n".repeat(21_845)] {
        let mut buffer = LineBuffer::new(plain::FRAMING);
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
    let mut buffer = LineBuffer::new(plain::FRAMING);
    let mut sizes = Vec::new();
    for _ in 0..5 {
        let size = buffer.space().len();
        buffer.space().fill(b'\n');
        buffer.filled(size);
        while buffer.next_line().is_some() {}
        sizes.push(size);
    }
    assert_eq!(sizes, [1024, 4096, 16_384, 65_536, 65_536]);
    feed(&mut buffer, [b"a\n".as_slice()]);
    buffer.release();
    assert_eq!(buffer.space().len(), 1024);
}

#[test]
fn idle_buffer_holds_no_memory() {
    let mut buffer = LineBuffer::new(plain::FRAMING);
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
fn release_within_skipped_or_discarded_bytes_changes_no_line() {
    let mut buffer = LineBuffer::new(plain::FRAMING);
    for (input, expected) in [
        (b"\xFF\xFA".to_vec(), vec![]),
        (b"\n\xFF\xF0".to_vec(), vec![]),
        (vec![b'x'; 9000], vec![OwnedLine::TooLong]),
        (b"xx\nb\n".to_vec(), vec![text("b")]),
    ] {
        assert_eq!(feed(&mut buffer, [&*input]), expected);
        buffer.release();
        assert_eq!(buffer.bytes.capacity(), 0);
    }
}

#[test]
fn unread_bytes_are_visible_before_a_line_is_taken() {
    let mut buffer = LineBuffer::new(plain::FRAMING);
    assert_eq!(buffer.unread(), b"");
    read(&mut buffer, &mut b"GE".as_slice());
    assert_eq!(buffer.unread(), b"GE");
    read(&mut buffer, &mut b"T \xFF\xF1x\ny".as_slice());
    assert_eq!(buffer.unread(), b"GET \xFF\xF1x\ny");
    assert_eq!(buffer.next_line(), Some(Line::Text("GET x")));
    assert_eq!(buffer.unread(), b"y");
}

#[test]
fn line_is_not_copied() {
    let mut buffer = LineBuffer::new(plain::FRAMING);
    let place = buffer.space().as_ptr();
    read(&mut buffer, &mut b"alice\nbob\n".as_slice());
    for (line, offset) in [("alice", 0), ("bob", 6)] {
        let Some(Line::Text(taken)) = buffer.next_line() else { panic!("no line") };
        assert_eq!((taken, taken.as_ptr()), (line, place.wrapping_add(offset)));
    }
}

#[test]
fn end_of_input_returns_the_lines_before_the_last_one_first() {
    let mut buffer = LineBuffer::new(plain::FRAMING);
    read(&mut buffer, &mut b"a\nb\nc".as_slice());
    for line in ["a", "b", "c"] {
        assert_eq!(buffer.end_of_input(), Some(Line::Text(line)));
    }
    assert_eq!(buffer.end_of_input(), None);
}

/// Generates pieces for each rule, with lengths on both sides of each limit.
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
    fn lines_do_not_depend_on_the_sizes_of_reads(
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

fn json_lines(bytes: &[u8]) -> Vec<String> {
    let mut buffer = LineBuffer::new(plain::FRAMING);
    let mut lines = Vec::new();
    let mut is_detected = false;
    for part in bytes.chunks(1000) {
        let mut part = part;
        while !part.is_empty() {
            let space = buffer.space();
            let taken = space.len().min(part.len());
            space[..taken].copy_from_slice(&part[..taken]);
            buffer.filled(taken);
            part = &part[taken..];
            if !std::mem::replace(&mut is_detected, true) {
                buffer.set_framing(json::FRAMING);
            }
            while let Some(line) = buffer.next_line() {
                lines.push(match line {
                    Line::Text(text) => format!("{} bytes", text.len()),
                    Line::TooLong => "too long".to_owned(),
                    Line::NotUtf8 => "not UTF-8".to_owned(),
                });
            }
        }
    }
    lines
}

#[test]
fn json_lines_may_be_longer_and_have_no_telnet_commands() {
    let most = [vec![b'x'; JSON_LINE_BYTES_MAX], b"\r\n{}\n".to_vec()].concat();
    assert_eq!(json_lines(&most), ["65536 bytes", "2 bytes"]);
    let over = [vec![b'x'; 3 * JSON_LINE_BYTES_MAX + 1], b"\n{}\n".to_vec()].concat();
    assert_eq!(json_lines(&over), ["too long", "2 bytes"]);
    assert_eq!(json_lines(b"{\xff\xfb\x01}\n{\xff}\n{}\n"), ["not UTF-8", "not UTF-8", "2 bytes"]);
}
