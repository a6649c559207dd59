//! Any bytes as plain lines: the lines do not depend on how the bytes are split into reads; every line is parsed or
//! refused with the reason; output is whole lines. Owns these properties; never which lines are tried.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::iter;

use holdline::limits::{
    DESTINATIONS_DEFAULT, HISTORY_MESSAGES_MAX, LINE_BYTES_MAX, READ_BYTES_MAX, READ_BYTES_MIN,
    SUBNEGOTIATION_BYTES_MAX, TEXT_BYTES_MAX,
};
use holdline::message::{DatabaseId, Destination, Message, PeerName, Room, Seq, Text, Timestamp, printable};
use holdline::protocol::{
    Draft, HistoryRequest, Line, LineBuffer, Login, PastMessage, Rejected, Reply, Request, plain,
};

use crate::words::check_refusal;

/// Bytes that a buffer may hold of an unfinished line: those of the longest line, its `\r`, and two bytes of a Telnet
/// command.
const UNFINISHED_BYTES_MAX: usize = LINE_BYTES_MAX + 3;

/// Bytes that may be read before the protocol is detected, and thus before the first line is parsed.
pub(crate) const DETECTION_BYTES: usize = 8;

/// Largest input for which the buffer may be released after each byte without a slow test.
const SHORT_BYTES_MAX: usize = 256;

/// A line that outlives the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Text of the line.
    Text(String),
    /// The line is over the limit.
    TooLong,
    /// The line is not UTF-8.
    NotUtf8,
}

/// Checks the properties for these bytes.
pub(crate) fn check(input: &[u8]) {
    let lines = lines(input);
    check_cuts(input, &lines);
    let expected = lines_by_the_rules(input);
    assert!(lines == expected, "{lines:?} instead of {expected:?}");
    let mut peer = PeerName::parse("alice").expect("the name is valid");
    for line in &lines {
        if let Seen::Text(line) = line {
            check_login(line, &mut peer);
            check_request(line, &peer);
        }
    }
}

/// Returns the lines of an input whose reads are as large as possible.
pub(crate) fn lines(input: &[u8]) -> Vec<Seen> {
    feed(iter::once(input), false)
}

fn check_cuts(input: &[u8], expected: &[Seen]) {
    for (sizes, releases) in cuts(input) {
        let seen = feed(chunks(input, &sizes), releases);
        assert!(seen == expected, "read by {sizes:?} bytes: {seen:?} instead of {expected:?}");
    }
}

/// Returns sizes of reads, to be repeated, each with whether the buffer is released between them, as when a read would
/// wait. They follow from the input, so that a failure can be reproduced.
fn cuts(input: &[u8]) -> Vec<(Vec<usize>, bool)> {
    let mut random = Random::of(input);
    let short = input.len() <= SHORT_BYTES_MAX;
    let mut cuts = vec![(vec![1], false), (vec![1], short), (vec![3, 2], short), (vec![READ_BYTES_MIN], true)];
    for _ in 0..4 {
        cuts.push((vec![1 + random.below(input.len()), READ_BYTES_MAX], random.below(2) == 0));
        let longest = 1 + random.below(input.len());
        let sizes = iter::repeat_with(|| 1 + random.below(longest)).take(8).collect();
        cuts.push((sizes, short && random.below(2) == 0));
    }
    cuts
}

fn chunks<'a>(mut rest: &'a [u8], sizes: &[usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut sizes = sizes.iter().cycle();
    iter::from_fn(move || {
        let size = rest.len().min(*sizes.next()?);
        let (chunk, after) = rest.split_at(size);
        rest = after;
        (size > 0).then_some(chunk)
    })
}

/// Reads these chunks, and takes every line as soon as a connection would.
fn feed<'a>(chunks: impl Iterator<Item = &'a [u8]>, releases: bool) -> Vec<Seen> {
    let (mut buffer, mut seen, mut total) = (LineBuffer::new(plain::FRAMING), Vec::new(), 0);
    for mut chunk in chunks {
        while !chunk.is_empty() {
            total += read(&mut buffer, &mut chunk);
            if total >= DETECTION_BYTES {
                take(&mut buffer, &mut seen, total);
            }
            if releases {
                buffer.release();
            }
        }
    }
    while let Some(line) = buffer.end_of_input() {
        seen.push(Seen::of(line));
    }
    assert!(buffer.unread().is_empty(), "bytes are left behind");
    seen
}

fn read(buffer: &mut LineBuffer, chunk: &mut &[u8]) -> usize {
    let space = buffer.space();
    assert!((READ_BYTES_MIN..=READ_BYTES_MAX).contains(&space.len()), "room for {} bytes", space.len());
    let n = space.len().min(chunk.len());
    space[..n].copy_from_slice(&chunk[..n]);
    buffer.filled(n);
    *chunk = &chunk[n..];
    n
}

/// Takes all whole lines; each has at least one of the `total` bytes that were read.
fn take(buffer: &mut LineBuffer, seen: &mut Vec<Seen>, total: usize) {
    while let Some(line) = buffer.next_line() {
        seen.push(Seen::of(line));
        assert!(seen.len() <= total, "more lines than bytes");
    }
    let unread = buffer.unread().len();
    assert!(unread <= UNFINISHED_BYTES_MAX, "{unread} bytes of an unfinished line are buffered");
}

impl Seen {
    fn of(line: Line<'_>) -> Seen {
        match line {
            Line::Text(text) => {
                assert!(text.len() <= LINE_BYTES_MAX && !text.contains('\n'), "no line: {text:?}");
                Seen::Text(text.to_owned())
            }
            Line::TooLong => Seen::TooLong,
            Line::NotUtf8 => Seen::NotUtf8,
        }
    }

    fn by_the_rules(line: &[u8], is_text: bool) -> Option<Seen> {
        Some(match str::from_utf8(line) {
            _ if line.len() > LINE_BYTES_MAX => Seen::TooLong,
            Ok(text) if is_text => Seen::Text(text.to_owned()),
            _ => Seen::NotUtf8,
        })
    }
}

/// Returns the lines of an input by the rules of the protocol, without regard to speed or memory.
fn lines_by_the_rules(mut input: &[u8]) -> Vec<Seen> {
    let mut lines = Vec::new();
    while !input.is_empty() {
        let (line, rest) = first_line(input);
        lines.extend(line);
        input = rest;
    }
    lines
}

/// Returns the first line, unless it is empty and ends the input, and the rest of the input.
fn first_line(mut rest: &[u8]) -> (Option<Seen>, &[u8]) {
    let (mut line, mut is_text, mut is_telnet) = (Vec::new(), true, true);
    loop {
        match rest {
            [] => return (Seen::by_the_rules(&line, is_text).filter(|_| !is_text || !line.is_empty()), rest),
            [b'\n', rest @ ..] => {
                return (Seen::by_the_rules(line.strip_suffix(b"\r").unwrap_or(&line), is_text), rest);
            }
            [255, 250, contents @ ..] if is_telnet => {
                let (skipped, has_ended) = subnegotiation(contents);
                (is_text, is_telnet) = (is_text && has_ended, has_ended);
                rest = &contents[skipped..];
            }
            [255, 251..=254, _, after @ ..] | [255, 240..=249 | 255, after @ ..] if is_telnet => rest = after,
            [255] | [255, 251..=254] if is_telnet => (is_text, rest) = (false, &[]),
            [byte, after @ ..] => {
                line.push(*byte);
                rest = after;
            }
        }
    }
}

/// Returns the number of skipped bytes, and whether they contain the end of the subnegotiation.
fn subnegotiation(contents: &[u8]) -> (usize, bool) {
    let mut skipped = 0;
    loop {
        let unit = match contents[skipped..] {
            [] | [255] => return (contents.len(), false),
            [255, 240, ..] => return (skipped + 2, true),
            [255, _, ..] => 2,
            _ => 1,
        };
        if skipped + unit > SUBNEGOTIATION_BYTES_MAX {
            return (skipped, false);
        }
        skipped += unit;
    }
}

fn check_login(line: &str, peer: &mut PeerName) {
    let login = plain::parse_login(line);
    assert_eq!(login.is_none(), line.trim().is_empty(), "only a blank line is no login: {line:?}");
    match login {
        Some(Ok(Login { name, password, registers, .. })) => {
            let line = if registers { line.trim().strip_prefix("/register").expect("it registers") } else { line };
            let mut words = line.split_whitespace();
            assert_eq!(words.next().map(PeerName::parse), Some(Ok(name.clone())));
            assert_eq!(words.next().is_some(), password.is_some(), "{line:?}");
            assert!(password.is_none_or(|password| line.trim().ends_with(password.as_str())), "{line:?}");
            check_lines(
                &Reply::Welcome {
                    name: name.clone(),
                    waiting: 2,
                    database: DatabaseId::default(),
                    newest: Seq::new(42),
                },
                1,
            );
            *peer = name;
        }
        Some(Err(Rejected { refusal, .. })) => {
            check_refusal(&refusal.message, line.split_whitespace());
            check_lines(&Reply::Refused(refusal), 1);
        }
        None => {}
    }
}

fn check_request(line: &str, peer: &PeerName) {
    let parsed = plain::parse(line, DESTINATIONS_DEFAULT);
    assert_eq!(parsed.is_none(), line.trim().is_empty(), "only a blank line is no request: {line:?}");
    let request = match parsed {
        Some(Ok(request)) => request.request,
        Some(Err(Rejected { refusal, .. })) => {
            let outcome = if line.trim().starts_with('/') { "; nothing was done" } else { "; not sent" };
            assert!(
                refusal.message.ends_with(outcome),
                "the refusal of {line:?} does not say the outcome: {refusal:?}"
            );
            check_refusal(&refusal.message, values_of(line).into_iter());
            return check_lines(&Reply::Refused(refusal), 1);
        }
        None => return,
    };
    match request {
        Request::Send(Draft { to, text }) => check_send(line, &to, &text, peer),
        Request::Ping { token } => {
            let written = line.trim().strip_prefix("/ping").expect("the line is a /ping");
            check_cleaned(written, token.as_ref());
            check_lines(&Reply::Pong { token }, 1);
        }
        Request::History(HistoryRequest { with, count, .. }) => {
            assert!((1..=HISTORY_MESSAGES_MAX).contains(&count));
            let mut words = line.split_whitespace().map(Destination::parse);
            assert!(with.is_none_or(|with| words.any(|word| word == Ok(with.clone()))), "{line:?}");
        }
        Request::Join { room } | Request::Leave { room } | Request::ShowTopic { room } => {
            assert_eq!(line.split_whitespace().nth(1).map(Room::parse), Some(Ok(room)), "{line:?}");
        }
        Request::SetTopic { room, topic } => {
            let written = line.trim().strip_prefix("/topic").expect("the line is a /topic").trim_start();
            let (name, text) = written.split_once(char::is_whitespace).expect("the line has a room and a text");
            assert_eq!(Room::parse(name), Ok(room), "{line:?}");
            check_cleaned(if text.trim() == "-" { "" } else { text }, topic.as_ref());
        }
        Request::Search { words, .. } => {
            check_cleaned(line.trim().strip_prefix("/search").expect("the line is a /search"), Some(&words));
        }
        Request::Command { name, arguments } => {
            let written = line.trim().strip_prefix('/').and_then(|rest| rest.strip_prefix(&name));
            assert_eq!(written.map(str::trim), Some(&*arguments), "{line:?}");
        }
        Request::Register { password } => assert!(line.trim().ends_with(password.as_str()), "{line:?}"),
        Request::ChangePassword { old, new } => {
            assert!(line.trim().ends_with(new.as_str()) && line.contains(old.as_str()), "{line:?}");
        }
        Request::Who | Request::Help | Request::Plugins | Request::Quit => {
            assert!(["/who", "/help", "/plugins", "/quit"].contains(&line.trim()), "{line:?}");
        }
        Request::Ack { .. } => unreachable!("no plain line acknowledges"),
    }
}

/// Returns every value that a refusal of this line may quote.
fn values_of(line: &str) -> Vec<&str> {
    let line = line.trim();
    let (command, arguments) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let list = line.split_once(':').map_or(line, |(list, _)| list);
    let names = list.split(',').chain(arguments.split_whitespace()).map(str::trim);
    let rooms = names.clone().filter_map(|name| name.strip_prefix('#'));
    [line, command, arguments.trim_start()].into_iter().chain(names).chain(rooms).collect()
}

fn check_send(line: &str, to: &[Destination], text: &Text, peer: &PeerName) {
    let (list, written) = line.split_once(':').expect("a message has a colon");
    check_cleaned(written, Some(text));
    let mut named: Vec<_> = Vec::new();
    for name in list.split(',') {
        let destination = Destination::parse(name.trim()).expect("every recipient has a valid name");
        if !named.contains(&destination) {
            named.push(destination);
        }
    }
    assert!(to == named, "{to:?} instead of {named:?}");
    assert!((1..=DESTINATIONS_DEFAULT).contains(&(to.len() as u64)));
    check_message(peer, text);
}

/// Checks that a text is the written one, cleaned.
fn check_cleaned(written: &str, text: Option<&Text>) {
    let on_one_line = written.trim().replace('\n', "\u{FFFD}");
    assert_eq!(text.map_or("", Text::as_str), printable(&on_one_line));
    let Some(text) = text else { return };
    assert_eq!(printable(text.as_str()), text.as_str(), "a hidden character");
    assert_eq!(text.as_str().trim(), text.as_str());
    assert!((1..=TEXT_BYTES_MAX).contains(&text.len()), "{} bytes", text.len());
}

/// Checks that a message is one line with its text.
fn check_message(peer: &PeerName, text: &Text) {
    let room = Room::stored("#kitchen");
    for (room, place) in [(None, ""), (Some(room), " in #kitchen")] {
        let message = Message {
            seq: Seq::new(1),
            at: Timestamp::from_millis(0),
            sender: peer.clone(),
            to: vec![Destination::Peer(peer.clone())],
            room,
            text: text.clone(),
        };
        let mut out = Vec::new();
        plain::encode_message(&message, &mut out);
        assert_eq!(str::from_utf8(&out), Ok(&*format!("from {peer}{place}: {text}\n")));
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        for sent in [false, true] {
            let messages = vec![PastMessage { sent, message: message.clone() }];
            check_lines(&Reply::History { messages, more: false }, 1);
        }
    }
}

/// Checks that a reply has this number of lines, and that no line looks like a message.
fn check_lines(reply: &Reply, count: usize) {
    let mut out = Vec::new();
    plain::encode_reply(reply, &mut out);
    let out = str::from_utf8(&out).expect("the output is UTF-8");
    assert!(out.ends_with('\n') && out.lines().count() == count, "expected {count} lines: {out:?}");
    for line in out.lines() {
        assert!(line.starts_with("* ") || line.starts_with("! "), "neither a notice nor an error: {line:?}");
        assert_eq!(printable(line), line, "not safe for a terminal");
    }
}

/// Pseudorandom numbers whose seed is an input.
struct Random(u64);

impl Random {
    fn of(input: &[u8]) -> Random {
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        Random(hasher.finish() | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize % bound.max(1)
    }
}
