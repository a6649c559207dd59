//! Any bytes as JSON lines: the lines do not depend on how the bytes are split into reads; every line means what any
//! JSON parser finds in it, or is refused with its id; output is whole lines of JSON. Owns these properties; never which
//! lines are tried.

use holdline::limits::{
    DESTINATIONS_DEFAULT, HISTORY_MESSAGES_DEFAULT, HISTORY_MESSAGES_MAX, JSON_LINE_BYTES_MAX, LINE_BYTES_MAX,
    TEXT_BYTES_MAX,
};
use holdline::message::{DatabaseId, Destination, Message, PeerName, RequestId, Room, Seq, Text, Timestamp};
use holdline::password::Password;
use holdline::protocol::{
    ClientRequest, Code, Draft, HistoryRequest, Line, LineBuffer, Login, PastMessage, Refusal, Rejected, Reply,
    Request, json,
};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::words::check_shown;

/// Most characters of a refusal, with its quotation: far more than the longest of today.
const REFUSAL_CHARS_MAX: usize = 300;

/// A line that outlives the buffer.
#[derive(Debug, PartialEq, Eq)]
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
    let lines = lines_by_the_rules(input);
    for size in [1, 7, 1000, input.len().max(1)] {
        for releases in [false, true] {
            let seen = feed(input.chunks(size), releases);
            assert!(seen == lines, "read by {size} bytes: {seen:?} instead of {lines:?}");
        }
    }
    for line in &lines {
        if let Seen::Text(line) = line {
            check_login(line);
            check_request(line);
        }
    }
}

/// Returns the lines of an input by the rules of the protocol.
pub(crate) fn lines_by_the_rules(input: &[u8]) -> Vec<Seen> {
    let mut lines: Vec<_> = input.split(|byte| *byte == b'\n').collect();
    let last = lines.pop().filter(|last| !last.is_empty());
    let ended = lines.into_iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let seen = |line: &[u8]| match str::from_utf8(line) {
        _ if line.len() > JSON_LINE_BYTES_MAX => Seen::TooLong,
        Ok(line) => Seen::Text(line.to_owned()),
        Err(_) => Seen::NotUtf8,
    };
    ended.chain(last).map(seen).collect()
}

/// Reads these chunks, and takes every line as soon as it is whole.
fn feed<'a>(chunks: impl Iterator<Item = &'a [u8]>, releases: bool) -> Vec<Seen> {
    let (mut buffer, mut seen) = (LineBuffer::new(json::FRAMING), Vec::new());
    for mut chunk in chunks {
        while !chunk.is_empty() {
            let space = buffer.space();
            let n = space.len().min(chunk.len());
            space[..n].copy_from_slice(&chunk[..n]);
            buffer.filled(n);
            chunk = &chunk[n..];
            while let Some(line) = buffer.next_line() {
                seen.push(Seen::from(line));
            }
            assert!(buffer.unread().len() <= JSON_LINE_BYTES_MAX + 1, "too much of an unfinished line is buffered");
            // The buffer is released as when a read would wait, but not so often that the test becomes slow.
            if releases && buffer.unread().len() < 256 {
                buffer.release();
            }
        }
    }
    while let Some(line) = buffer.end_of_input() {
        seen.push(Seen::from(line));
    }
    assert!(buffer.unread().is_empty(), "bytes are left behind");
    seen
}

impl From<Line<'_>> for Seen {
    fn from(line: Line<'_>) -> Seen {
        match line {
            Line::Text(text) => Seen::Text(text.to_owned()),
            Line::TooLong => Seen::TooLong,
            Line::NotUtf8 => Seen::NotUtf8,
        }
    }
}

fn check_login(line: &str) {
    let login = json::parse_login(line);
    assert_eq!(login.is_none(), line.trim().is_empty(), "only a blank line is no login: {line:?}");
    let value = serde_json::from_str::<Value>(line).ok();
    match login {
        Some(Ok(Login { id, name, password, registers, acks })) => {
            check_frame(
                id.as_ref(),
                &Reply::Welcome {
                    name: name.clone(),
                    waiting: 2,
                    database: DatabaseId::default(),
                    newest: Seq::new(42),
                },
            );
            let Some(value) = value else { return };
            assert_eq!(value["type"], if registers { "register" } else { "login" });
            assert_eq!(id, id_of(&value));
            assert_eq!(value["name"].as_str().map(PeerName::parse), Some(Ok(name)));
            // An empty password counts as none.
            assert_eq!(
                value["password"].as_str().filter(|password| !password.is_empty()),
                password.as_ref().map(Password::as_str)
            );
            assert_eq!(value["acks"].as_bool().unwrap_or_default(), acks);
        }
        Some(Err(rejected)) => {
            assert!(rejected.refusal.message.ends_with("; not logged in"), "{rejected:?}");
            check_refused(line, value.as_ref(), rejected.id.as_ref(), &rejected.refusal);
        }
        None => {}
    }
}

fn check_request(line: &str) {
    let parsed = json::parse(line, DESTINATIONS_DEFAULT);
    assert_eq!(parsed.is_none(), line.trim().is_empty(), "only a blank line is no request: {line:?}");
    let value = serde_json::from_str::<Value>(line).ok();
    let ClientRequest { id, request } = match parsed {
        Some(Ok(request)) => request,
        Some(Err(Rejected { id, refusal })) => {
            let ends = ["; not sent", "; nothing was done"];
            assert!(
                ends.iter().any(|end| refusal.message.ends_with(end)),
                "the refusal of {line:?} does not say the outcome: {refusal:?}"
            );
            return check_refused(line, value.as_ref(), id.as_ref(), &refusal);
        }
        None => return,
    };
    // The other parser refuses deep nesting, huge numbers and lone surrogates even in ignored fields.
    if let Some(value) = value {
        assert_eq!(id, id_of(&value));
        check_meaning(&request, &value);
    }
    if let Request::Send(Draft { to, text }) = request {
        check_message(to, text);
    }
}

/// Checks that each value is the one in the frame, or the default.
fn check_meaning(request: &Request, value: &Value) {
    let text = || value["text"].as_str().expect("a text");
    let room = || Room::parse(value["room"].as_str().expect("a room"));
    let count = || value["limit"].as_u64().map_or(HISTORY_MESSAGES_DEFAULT, |limit| limit as usize);
    let kind = match request {
        Request::Send(Draft { to, text: cleaned }) => {
            assert_eq!(Text::verbatim(text()).as_ref(), Some(cleaned));
            assert!((1..=TEXT_BYTES_MAX).contains(&cleaned.len()) && text().len() <= LINE_BYTES_MAX);
            check_destinations(to, value["to"].as_array().expect("a list"));
            "send"
        }
        Request::Ack { seq } => {
            assert_eq!(value["seq"].as_i64(), Some(seq.get()));
            "ack"
        }
        Request::Join { room: joined } => {
            assert_eq!(room().as_ref(), Ok(joined));
            "join"
        }
        Request::Leave { room: left } => {
            assert_eq!(room().as_ref(), Ok(left));
            "leave"
        }
        Request::ShowTopic { room: shown } => {
            assert_eq!((room().as_ref(), value["text"].as_str()), (Ok(shown), None));
            "topic"
        }
        Request::SetTopic { room: changed, topic } => {
            assert_eq!(room().as_ref(), Ok(changed));
            assert_eq!(Text::verbatim(text()), *topic);
            "topic"
        }
        Request::Who => "who",
        Request::History(HistoryRequest { with, before, count: most }) => {
            assert_eq!(value["with"].as_str().map(Destination::parse), with.clone().map(Ok));
            assert_eq!(value["before"].as_i64(), before.map(Seq::get));
            assert_eq!((count(), (1..=HISTORY_MESSAGES_MAX).contains(most)), (*most, true));
            "history"
        }
        Request::Search { words, count: most } => {
            assert_eq!(Text::clean(text()).as_ref(), Some(words));
            assert_eq!((count(), (1..=HISTORY_MESSAGES_MAX).contains(most)), (*most, true));
            "search"
        }
        Request::Register { password } => {
            assert_eq!(value["password"].as_str(), Some(password.as_str()));
            "register"
        }
        Request::ChangePassword { old, new } => {
            assert_eq!((value["old"].as_str(), value["new"].as_str()), (Some(old.as_str()), Some(new.as_str())));
            "password"
        }
        Request::Ping { token: None } => "ping",
        other => panic!("no frame means {other:?}"),
    };
    assert_eq!(value["type"], kind);
}

fn check_destinations(to: &[Destination], names: &[Value]) {
    let mut named = Vec::new();
    for name in names {
        let destination = Destination::parse(name.as_str().expect("a string")).expect("the name is valid");
        if !named.contains(&destination) {
            named.push(destination);
        }
    }
    assert!(to == named, "{to:?} instead of {named:?}");
    assert!((1..=DESTINATIONS_DEFAULT).contains(&(to.len() as u64)));
}

/// Checks the text, the id and the code of a refusal.
fn check_refused(line: &str, value: Option<&Value>, id: Option<&RequestId>, refusal: &Refusal) {
    check_shown(&refusal.message);
    assert!(refusal.message.chars().count() <= REFUSAL_CHARS_MAX, "the refusal is too long: {refusal:?}");
    check_frame(id, &Reply::Refused(refusal.clone()));
    if serde_json::from_str::<&RawValue>(line).is_err() {
        assert_eq!(refusal.code, Code::BadRequest, "{line:?}");
    }
    let Some(value) = value.filter(|_| !refusal.message.contains(" occurs twice")) else { return };
    assert_eq!(id, id_of(value).as_ref(), "{line:?}");
    let kind = value["type"].as_str().unwrap_or_default();
    let text = value["text"].as_str().unwrap_or_default();
    match refusal.code {
        Code::BadRequest | Code::BadName => {}
        Code::UnknownType => assert!(!["login", "send", "ack", "who", "ping"].contains(&kind), "{line:?}"),
        Code::NotLoggedIn => assert_ne!(kind, "login"),
        Code::LoggedInAlready => assert_eq!(kind, "login"),
        Code::Empty => assert_eq!(text.trim(), ""),
        Code::TooLong => assert!(text.len() > LINE_BYTES_MAX, "{line:?}"),
        code => panic!("{line:?} is refused with {code:?}"),
    }
}

/// Returns the id in a frame, if it is valid.
pub(crate) fn id_of(value: &Value) -> Option<RequestId> {
    value["id"].as_str().and_then(RequestId::parse)
}

/// Checks that a message is one line with its text.
fn check_message(to: Vec<Destination>, text: Text) {
    let sender = PeerName::parse("alice").expect("the name is valid");
    let room = to.iter().find_map(|to| Room::parse(to.as_str()).ok());
    let message = Message { seq: Seq::new(1), at: Timestamp::from_millis(0), sender, to, room, text };
    let mut out = Vec::new();
    json::encode_message(&message, &mut out);
    check_contains(&read_line(&out), &message);
    check_contains(&check_frame(None, &Reply::Sent(message.clone())), &message);
    let messages = vec![PastMessage { sent: true, message: message.clone() }];
    check_contains(&check_frame(None, &Reply::History { messages, more: true })["messages"][0], &message);
}

fn check_contains(read: &Value, message: &Message) {
    assert_eq!(read["text"], message.text.as_str());
    assert_eq!(read["room"].as_str(), message.room.as_ref().map(Room::as_str));
    let to: Vec<_> = message.to.iter().map(Destination::as_str).collect();
    assert_eq!(read["to"], Value::from(to));
}

/// Checks that a reply is one line of JSON with this id. Returns the frame.
fn check_frame(id: Option<&RequestId>, reply: &Reply) -> Value {
    let mut out = Vec::new();
    json::encode_reply(id, reply, &mut out);
    let read = read_line(&out);
    assert_eq!(read["id"].as_str(), id.map(RequestId::as_str));
    if let Reply::Refused(Refusal { code, message }) = reply {
        assert_eq!((&read["code"], &read["message"]), (&Value::from(code.as_str()), &Value::from(message.as_str())));
    }
    read
}

fn read_line(out: &[u8]) -> Value {
    assert_eq!(out.iter().position(|byte| *byte == b'\n'), Some(out.len() - 1), "the output is one line");
    let value: Value = serde_json::from_slice(out).expect("the output is JSON");
    assert!(value["type"].is_string(), "{value}");
    value
}
