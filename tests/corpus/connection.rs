//! Any bytes from one client at a server without other clients: each line is answered as the protocol says, the client
//! gets what it sends to itself, and the connection ends. Owns the expected dialogue; never the server, nor which bytes
//! are tried.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use holdline::limits::{DESTINATIONS_DEFAULT, LOGIN_REFUSALS_MAX};
use holdline::message::{Destination, PeerName, Room, Text};
use holdline::protocol::{Draft, HistoryRequest, Login, Refusal, Rejected, Reply, Request, plain};

use crate::plain::{DETECTION_BYTES, Seen, lines};

/// How long a server may take to write the next bytes. It only ends checks that fail.
const PATIENCE: Duration = Duration::from_secs(30);

/// The methods that tell HTTP from plain lines.
const HTTP_METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"];

/// Checks what a server says to these bytes.
pub(crate) fn check(server: SocketAddr, input: &[u8]) {
    let said = talk(server, input);
    match input.first() {
        Some(b'{') => check_json(str::from_utf8(&said).expect("what is written is UTF-8")),
        Some(0x16) => assert_eq!(said, b""),
        _ if is_http(input) => assert!(said.starts_with(b"HTTP/1.1 501 ")),
        _ => check_plain(&lines(input), str::from_utf8(&said).expect("what is written is UTF-8")),
    }
}

fn is_http(input: &[u8]) -> bool {
    HTTP_METHODS.iter().any(|method| input.strip_prefix(method.as_bytes()).is_some_and(|rest| rest.starts_with(b" ")))
}

/// Sends the input, the bytes that tell the protocol one by one, ends it, and gives what is answered until the server closes.
fn talk(server: SocketAddr, input: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    let (first, rest) = input.split_at(input.len().min(DETECTION_BYTES));
    for piece in first.chunks(1).chain(rest.chunks(1 + rest.len() / 2)) {
        // One that is turned away may find the connection closed.
        let _ = stream.write_all(piece);
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection did not end ({error}) after {:?}", String::from_utf8_lossy(&said)),
    }
    said
}

/// Whatever a program says, it is answered in frames.
fn check_json(said: &str) {
    assert!(said.ends_with('\n'), "an unfinished line: {said:?}");
    for line in said.lines() {
        let frame: serde_json::Value = serde_json::from_str(line).expect("a frame is JSON");
        assert!(frame["type"].is_string(), "{line}");
    }
}

fn check_plain(lines: &[Seen], said: &str) {
    assert!(said.is_empty() || said.ends_with('\n'), "an unfinished line: {said:?}");
    let (messages, answers): (Vec<_>, Vec<_>) = said.lines().partition(|line| line.starts_with("from "));
    let mut dialogue = Dialogue {
        answers: answers.into(),
        name: None,
        to_itself: Vec::new(),
        kept: HashMap::new(),
        rooms: HashMap::new(),
    };
    dialogue.check(lines);
    // What was kept for it before comes first.
    let newest = messages.len().checked_sub(dialogue.to_itself.len()).map(|first| &messages[first..]);
    assert_eq!(newest, Some(dialogue.to_itself.iter().map(String::as_str).collect::<Vec<_>>().as_slice()));
    for (name, told) in dialogue.kept {
        assert!(told, "nobody was told that something is kept for {name}: {said:?}");
    }
}

/// What the server said, against what it is to say.
struct Dialogue<'s> {
    /// All but messages, as far as it is not explained yet.
    answers: VecDeque<&'s str>,
    /// Who is logged in.
    name: Option<PeerName>,
    /// The messages that the client sent to itself.
    to_itself: Vec<String>,
    /// For whom something was to be kept, and whether the client was told.
    kept: HashMap<PeerName, bool>,
    /// Rooms that the client is in or is not, as far as it is known: it may have joined some before.
    rooms: HashMap<Room, bool>,
}

impl Dialogue<'_> {
    fn check(&mut self, lines: &[Seen]) {
        let mut refusals = 0;
        for line in lines {
            match (line, self.name.clone()) {
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
        self.skip_kept();
        assert!(self.answers.is_empty(), "nobody asked for {:?}", self.answers);
    }

    fn login(&mut self, line: &str, refusals: &mut usize) {
        match plain::parse_login(line) {
            None => {}
            Some(Ok(Login { name, password: None, .. })) => {
                self.expect_start(&format!("* hello {name}, "));
                self.name = Some(name);
            }
            Some(Ok(Login { password: Some(_), .. })) => {
                *refusals += 1;
                self.expect_start("! bad_password: ");
            }
            Some(Err(Rejected { mut refusal, .. })) => {
                refusal.message.push_str(", try again");
                self.expect_reply(&Reply::Refused(refusal));
            }
        }
    }

    /// Checks what a line is answered; says whether the next one is answered too.
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
            Request::History(HistoryRequest { count, .. }) => self.past(count, "* no messages"),
            Request::Search { count, .. } => {
                self.skip_kept();
                if self.answers.front().is_some_and(|line| line.starts_with("! bad_request: there is no word in it")) {
                    self.answers.pop_front();
                } else {
                    self.past(count, "* no messages contain that");
                }
            }
            Request::Ack { .. } => unreachable!("no plain line says that"),
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
                // Perhaps a notice that nobody else is in it.
                Destination::Room(_) => {}
                Destination::Peer(peer) if peer == name => self.to_itself.push(format!("from {name}: {text}")),
                Destination::Peer(peer) => _ = self.kept.entry(peer.clone()).or_default(),
            }
        }
    }

    /// Whether the client is in all of these rooms. If not, takes the answer that says so.
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
        self.skip_kept();
        let is_refused = self.answers.front().is_some_and(|line| line.starts_with("! not_a_member: "));
        if is_refused {
            self.answers.pop_front();
        }
        !is_refused
    }

    fn who(&mut self, name: &PeerName) {
        self.expect_reply(&Reply::Who { here: vec![name.clone()], rooms: vec![] });
        while self.answers.front().is_some_and(|line| line.starts_with("* #") || line.starts_with("* the topic of #")) {
            self.answers.pop_front();
        }
    }

    /// Takes the answer that shows the topic of a room, if it is the next. Returns whether it was.
    fn skip_topic(&mut self, room: &Room) -> bool {
        self.skip_kept();
        let is_topic = self.answers.front().is_some_and(|line| line.starts_with(&format!("* the topic of {room}: ")));
        if is_topic {
            self.answers.pop_front();
        }
        is_topic
    }

    fn past(&mut self, count: usize, none: &str) {
        self.skip_kept();
        if self.answers.front() == Some(&none) {
            self.answers.pop_front();
            return;
        }
        let mut shown = 0;
        while self.answers.front().is_some_and(|line| is_past(line)) && shown < count {
            self.answers.pop_front();
            shown += 1;
        }
        assert!(shown > 0, "a history is wanted: {:?}", self.answers);
    }

    fn expect_reply(&mut self, reply: &Reply) {
        let mut expected = Vec::new();
        plain::encode_reply(reply, &mut expected);
        let expected = str::from_utf8(&expected).expect("what is written is UTF-8").lines();
        for line in expected {
            let said = self.next(line);
            assert_eq!(said, Some(line));
        }
    }

    fn expect_start(&mut self, start: &str) {
        self.skip_kept();
        let said = self.answers.pop_front();
        assert!(said.is_some_and(|said| said.starts_with(start)), "`{start}` is wanted, not {said:?}");
    }

    /// The next answer but for notices of what is kept, which stand anywhere after the line that they are about. A pong
    /// can read as one of them.
    fn next(&mut self, expected: &str) -> Option<&str> {
        while self.answers.front() != Some(&expected) && self.skip_one_kept() {}
        self.answers.pop_front()
    }

    fn skip_kept(&mut self) {
        while self.skip_one_kept() {}
    }

    fn skip_one_kept(&mut self) -> bool {
        if self.answers.front().is_some_and(|line| line.starts_with("* nobody else is in #")) {
            self.answers.pop_front();
            return true;
        }
        let name = self.answers.front().and_then(|line| kept_for(line));
        let Some(told) = name.and_then(|name| self.kept.get_mut(&name)) else { return false };
        *told = true;
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

/// Whom this notice says that something is kept for.
fn kept_for(line: &str) -> Option<PeerName> {
    let said = line.strip_prefix("* ")?.strip_suffix(", kept for later")?;
    let unknown = said.strip_prefix("nobody has used the name ").and_then(|said| said.strip_suffix(" yet"));
    PeerName::parse(unknown.or_else(|| said.strip_suffix(" is away"))?).ok()
}

/// Whether this is a line of a history: a time, and who or to whom.
fn is_past(line: &str) -> bool {
    let shape = b"* 2026-11-23T06:18:35.123Z ";
    let fits = |(byte, like): (u8, &u8)| if like.is_ascii_digit() { byte.is_ascii_digit() } else { byte == *like };
    line.len() > shape.len() && line.bytes().zip(shape).all(fits)
}
