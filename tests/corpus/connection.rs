//! Any bytes from one client at a server without other clients: each line is answered as the protocol says, the client
//! gets what it sends to itself, and the connection ends. Owns the expected dialogue; never the server, nor which bytes
//! are tried.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use holdline::limits::{DESTINATIONS_DEFAULT, LOGIN_REFUSALS_MAX};
use holdline::message::{Destination, PeerName, Room, Text};
use holdline::protocol::{Code, Draft, HistoryRequest, Login, Refusal, Rejected, Reply, Request, plain};

use crate::plain::{DETECTION_BYTES, Seen, lines};

/// How long a server may take to write the next bytes. It only ends checks that fail.
const PATIENCE: Duration = Duration::from_secs(30);

/// Methods by which HTTP is detected.
const HTTP_METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"];

/// Checks what a server answers to these bytes.
pub(crate) fn check(server: SocketAddr, input: &[u8]) {
    let output = talk(server, input);
    match input.first() {
        Some(b'{') if output.is_empty() => assert!(lines(input).iter().any(Seen::is_http), "no answer"),
        Some(b'{') => check_json(str::from_utf8(&output).expect("the output is UTF-8")),
        Some(0x16) => assert_eq!(output, b""),
        _ if is_http(input) => assert!(output.starts_with(b"HTTP/1.1 501 ")),
        _ => check_plain(&lines(input), str::from_utf8(&output).expect("the output is UTF-8")),
    }
}

fn is_http(input: &[u8]) -> bool {
    HTTP_METHODS.iter().any(|method| input.strip_prefix(method.as_bytes()).is_some_and(|rest| rest.starts_with(b" ")))
}

impl Seen {
    /// Whether the line ends a connection that is not logged in, as one of an HTTP request.
    fn is_http(&self) -> bool {
        let Seen::Text(line) = self else { return false };
        version_start(line).is_some() || line.trim().to_ascii_lowercase().starts_with("host:")
    }

    fn is_login(&self) -> bool {
        matches!(self, Seen::Text(line) if matches!(plain::parse_login(line), Some(Ok(Login { password: None, .. }))))
    }
}

/// Whether the first line that is not blank begins an HTTP request: then the name before it may be greeted, but nothing behind it is taken.
fn is_request_next(lines: &[Seen]) -> bool {
    let next = lines.iter().find(|line| !matches!(line, Seen::Text(line) if line.trim().is_empty()));
    let Some(Seen::Text(line)) = next else { return false };
    let Some(request) = version_start(line).map(|start| &line.trim()[..start]) else { return false };
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    request.split_once(' ').is_some_and(|(method, target)| {
        !method.is_empty()
            && method.chars().all(is_token)
            && !target.trim().is_empty()
            && !target.trim().starts_with([':', ','])
    })
}

/// Returns where ` HTTP/1.1`, or another version, begins at the end of a trimmed line.
fn version_start(line: &str) -> Option<usize> {
    let start = line.trim().rfind(" HTTP/")?;
    let version: Vec<char> = line.trim()[start..].chars().skip(" HTTP/".len()).collect();
    matches!(version[..], ['0'..='9', '.', '0'..='9']).then_some(start)
}

/// Sends the input and ends it: the bytes by which the protocol is detected one by one, the rest in two pieces. Returns what the server
/// answers until it closes the connection.
fn talk(server: SocketAddr, input: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.set_nodelay(true).expect("the option can be set");
    let (first, rest) = input.split_at(input.len().min(DETECTION_BYTES));
    for piece in first.chunks(1).chain(rest.chunks(1 + rest.len() / 2)) {
        // A client that is refused may find the connection closed.
        let _ = stream.write_all(piece);
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut output = Vec::new();
    match stream.read_to_end(&mut output) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection did not end ({error}) after {:?}", String::from_utf8_lossy(&output)),
    }
    output
}

/// Checks that every answer to a program is a frame.
fn check_json(output: &str) {
    assert!(output.ends_with('\n'), "an unfinished line: {output:?}");
    for line in output.lines() {
        let frame: serde_json::Value = serde_json::from_str(line).expect("a frame is JSON");
        assert!(frame["type"].is_string(), "{line}");
    }
}

fn check_plain(lines: &[Seen], output: &str) {
    assert!(output.is_empty() || output.ends_with('\n'), "an unfinished line: {output:?}");
    let (messages, answers): (Vec<_>, Vec<_>) = output.lines().partition(|line| line.starts_with("from "));
    let mut dialogue = Dialogue {
        answers: answers.into(),
        name: None,
        to_itself: Vec::new(),
        waiting: HashMap::new(),
        rooms: HashMap::new(),
    };
    dialogue.check(lines);
    // Messages of earlier inputs come first.
    let newest = messages.len().checked_sub(dialogue.to_itself.len()).map(|first| &messages[first..]);
    assert_eq!(newest, Some(dialogue.to_itself.iter().map(String::as_str).collect::<Vec<_>>().as_slice()));
    for (name, is_noted) in dialogue.waiting {
        assert!(is_noted, "no notice says that a message waits for {name}: {output:?}");
    }
}

/// Output of the server, compared with the lines of the client.
struct Dialogue<'s> {
    /// Lines that are not messages, and that no line of the client explains yet.
    answers: VecDeque<&'s str>,
    /// Name of the client, once it is logged in.
    name: Option<PeerName>,
    /// Messages that the client sent to itself.
    to_itself: Vec<String>,
    /// Other recipients, each with whether a notice told the client that its message waits.
    waiting: HashMap<PeerName, bool>,
    /// Rooms with whether the client is a member, as far as this is known: it may have joined some in earlier inputs.
    rooms: HashMap<Room, bool>,
}

impl Dialogue<'_> {
    fn check(&mut self, lines: &[Seen]) {
        let (mut refusals, mut rest) = (0, lines);
        while let Some((line, behind)) = rest.split_first() {
            rest = behind;
            match (line, self.name.clone()) {
                (line, None) if line.is_http() => break,
                (line, None) if line.is_login() && is_request_next(rest) => {
                    // The name is greeted if the request has not arrived yet.
                    if self.answers.front().is_some_and(|line| line.starts_with("* hello ")) {
                        self.answers.pop_front();
                    }
                    break;
                }
                (Seen::TooLong, _) => self.expect_start("! too_long: "),
                (Seen::NotUtf8, _) => self.expect_start("! not_utf8: "),
                (Seen::Text(line), Some(name)) => {
                    if !self.request(&name, line) {
                        break;
                    }
                }
                (Seen::Text(line), None) => {
                    self.login(line, &mut refusals);
                    if refusals == LOGIN_REFUSALS_MAX {
                        break;
                    }
                }
            }
        }
        self.skip_notices();
        assert!(self.answers.is_empty(), "no line explains {:?}", self.answers);
    }

    fn login(&mut self, line: &str, refusals: &mut usize) {
        match plain::parse_login(line) {
            None => {}
            _ if line.trim() == "/help" => {
                for form in ["* NAME ", "* NAME PASSWORD ", "* /register ", "* /quit "] {
                    self.expect_start(form);
                }
            }
            // The connection closes, as after the last refusal.
            _ if line.trim() == "/quit" => *refusals = LOGIN_REFUSALS_MAX,
            Some(Ok(Login { registers: true, .. })) => {
                *refusals += 1;
                self.expect_start("! not_allowed: ");
            }
            Some(Ok(Login { name, password: None, .. })) => {
                self.expect_start(&format!("* hello {name}, "));
                self.name = Some(name);
            }
            Some(Ok(Login { password: Some(_), .. })) => self.password(refusals),
            Some(Err(Rejected { mut refusal, .. })) => {
                *refusals += usize::from(refusal.code == Code::BadName);
                let is_last = *refusals == LOGIN_REFUSALS_MAX;
                refusal.message.push_str(if is_last { ", connection closed" } else { ", try again" });
                self.expect_reply(&Reply::Refused(refusal));
            }
        }
    }

    /// Checks the answer to a wrong password.
    fn password(&mut self, refusals: &mut usize) {
        // The source of the test soon has too many wrong passwords.
        let is_limited = self.answers.front().is_some_and(|line| line.starts_with("! rate_limited: "));
        *refusals += 1;
        self.expect_start(if is_limited { "! rate_limited: " } else { "! bad_password: " });
    }

    /// Checks the answer to a line. Returns whether the next line is answered, too.
    fn request(&mut self, name: &PeerName, line: &str) -> bool {
        let request = match plain::parse(line, DESTINATIONS_DEFAULT) {
            Some(Ok(request)) => request.request,
            Some(Err(rejected)) => {
                self.expect_reply(&Reply::Refused(rejected.refusal));
                return true;
            }
            None => return true,
        };
        match request {
            Request::Send(Draft { to, text }) => self.send(name, &to, &text),
            Request::Who => self.who(name),
            Request::Join { room } => {
                self.rooms.insert(room.clone(), true);
                self.expect_reply(&Reply::Joined { room: room.clone(), topic: None });
                // It may have had a topic before.
                self.skip_topic(&room);
            }
            Request::Leave { room } if self.is_in([&room]) => {
                self.rooms.insert(room.clone(), false);
                self.expect_reply(&Reply::Left { room });
            }
            Request::Leave { .. } => {}
            Request::SetTopic { room, topic } if self.is_in([&room]) => {
                self.expect_reply(&Reply::Topic { room, topic });
            }
            Request::ShowTopic { room } if self.is_in([&room]) => {
                if !self.skip_topic(&room) {
                    self.expect_reply(&Reply::Topic { room, topic: None });
                }
            }
            Request::SetTopic { .. } | Request::ShowTopic { .. } => {}
            Request::History(HistoryRequest { with: Some(Destination::Room(room)), .. }) if !self.is_in([&room]) => {}
            Request::History(HistoryRequest { count, .. }) => self.expect_history(count, "* no messages"),
            Request::Search { count, .. } => {
                self.skip_notices();
                if self
                    .answers
                    .front()
                    .is_some_and(|line| line.starts_with("! bad_request: ") && line.contains(" contains no word "))
                {
                    self.answers.pop_front();
                } else {
                    self.expect_history(count, "* no messages contain that");
                }
            }
            Request::Register { .. } => self.expect_start("! not_allowed: "),
            Request::ChangePassword { .. } => self.expect_start("! bad_password: "),
            Request::Ack { .. } => unreachable!("no plain line acknowledges"),
            Request::Ping { token } => self.expect_reply(&Reply::Pong { token }),
            Request::Help => self.expect_reply(&Reply::Help { commands: vec![] }),
            Request::Plugins => self.expect_reply(&Reply::Plugins { plugins: vec![] }),
            Request::Command { name, .. } => {
                self.expect_reply(&Reply::Refused(Refusal::unknown_command(&name)));
            }
            Request::Quit => return false,
        }
        true
    }

    fn send(&mut self, name: &PeerName, to: &[Destination], text: &Text) {
        let rooms: Vec<&Room> = to.iter().filter_map(room).collect();
        if !self.is_in(rooms) {
            return;
        }
        for destination in to {
            match destination {
                // A notice may say that the room has no other members.
                Destination::Room(_) => {}
                Destination::Peer(peer) if peer == name => self.to_itself.push(format!("from {name}: {text}")),
                Destination::Peer(peer) => _ = self.waiting.entry(peer.clone()).or_default(),
            }
        }
    }

    /// Returns whether the client is a member of all of these rooms. Takes the refusal if it is not.
    fn is_in<'r>(&mut self, rooms: impl IntoIterator<Item = &'r Room>) -> bool {
        let mut unknown = None;
        for room in rooms {
            match self.rooms.get(room) {
                Some(true) => {}
                Some(false) => {
                    self.expect_start("! not_a_member: ");
                    return false;
                }
                None => unknown = Some(room),
            }
        }
        if unknown.is_none() {
            return true;
        }
        self.skip_notices();
        let is_refused = self.answers.front().is_some_and(|line| line.starts_with("! not_a_member: "));
        if is_refused {
            self.answers.pop_front();
        }
        !is_refused
    }

    fn who(&mut self, name: &PeerName) {
        self.expect_reply(&Reply::Here { room: None, names: vec![name.clone()] });
        while self.answers.front().is_some_and(|line| line.starts_with("* #") || line.starts_with("* the topic of #")) {
            self.answers.pop_front();
        }
    }

    /// Takes the answer that shows the topic of a room, if it is the next. Returns whether it was.
    fn skip_topic(&mut self, room: &Room) -> bool {
        self.skip_notices();
        let is_topic = self.answers.front().is_some_and(|line| line.starts_with(&format!("* the topic of {room}: ")));
        if is_topic {
            self.answers.pop_front();
        }
        is_topic
    }

    fn expect_history(&mut self, count: usize, none: &str) {
        self.skip_notices();
        if self.answers.front() == Some(&none) {
            self.answers.pop_front();
            return;
        }
        let mut shown = 0;
        while self.answers.front().is_some_and(|line| is_in_history(line)) && shown < count {
            self.answers.pop_front();
            shown += 1;
        }
        assert!(shown > 0, "expected a history: {:?}", self.answers);
    }

    fn expect_reply(&mut self, reply: &Reply) {
        let mut expected = Vec::new();
        plain::encode_reply(reply, &mut expected);
        let expected = str::from_utf8(&expected).expect("the output is UTF-8").lines();
        for line in expected {
            assert_eq!(self.next(line), Some(line));
        }
    }

    fn expect_start(&mut self, start: &str) {
        self.skip_notices();
        let line = self.answers.pop_front();
        assert!(line.is_some_and(|line| line.starts_with(start)), "expected `{start}`, and got {line:?}");
    }

    /// Takes the next answer. Skips notices of waiting messages, which come anywhere after the line that sent the message; a pong may look
    /// like such a notice.
    fn next(&mut self, expected: &str) -> Option<&str> {
        while self.answers.front() != Some(&expected) && self.skip_one_notice() {}
        self.answers.pop_front()
    }

    fn skip_notices(&mut self) {
        while self.skip_one_notice() {}
    }

    fn skip_one_notice(&mut self) -> bool {
        if self.answers.front().is_some_and(|line| line.starts_with("* nobody else is in #")) {
            self.answers.pop_front();
            return true;
        }
        let name = self.answers.front().and_then(|line| waiting_for(line));
        let Some(is_noted) = name.and_then(|name| self.waiting.get_mut(&name)) else { return false };
        *is_noted = true;
        self.answers.pop_front();
        true
    }
}

fn room(destination: &Destination) -> Option<&Room> {
    match destination {
        Destination::Room(room) => Some(room),
        Destination::Peer(_) => None,
    }
}

/// Returns the recipient for whom a message waits according to this notice.
fn waiting_for(line: &str) -> Option<PeerName> {
    let notice = line.strip_prefix("* ")?.strip_suffix(", kept for later")?;
    let unknown = notice.strip_prefix("nobody has used the name ").and_then(|rest| rest.strip_suffix(" yet"));
    PeerName::parse(unknown.or_else(|| notice.strip_suffix(" is away"))?).ok()
}

/// Whether a line belongs to a history: a time, then the sender or the recipients.
fn is_in_history(line: &str) -> bool {
    let shape = b"* 2026-11-23T06:18:35.123Z ";
    let fits = |(byte, like): (u8, &u8)| if like.is_ascii_digit() { byte.is_ascii_digit() } else { byte == *like };
    line.len() > shape.len() && line.bytes().zip(shape).all(fits)
}
