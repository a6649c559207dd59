//! A client of each protocol, over each transport. Owns how the requests of a script are written, and how the answers are read.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::frames;

/// Protocol of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Plain,
    Json,
    Numbered,
}

/// Request of a script.
pub(super) enum Say<'a> {
    LogIn(&'a str),
    Send(&'a str, &'a str),
    Join(&'a str),
    History,
    Ping,
}

/// Line of the server, in words that all protocols share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Welcome {
        waiting: u64,
    },
    /// `from alice: hi`, or `from alice in #room: hi`.
    Message(String),
    Joined,
    /// Text of a message of the past.
    Past(String),
    Pong,
    Other,
}

/// A connection, and what was read from it.
pub(super) struct Client {
    stream: TcpStream,
    spoken: Spoken,
    is_framed: bool,
    unread: Vec<u8>,
    contents: Vec<u8>,
    heard: VecDeque<Heard>,
    lines_sent: u64,
    lines_heard: u64,
}

impl Client {
    pub(super) fn connect(server: SocketAddr, spoken: Spoken, is_framed: bool) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Client {
            stream,
            spoken,
            is_framed,
            unread: Vec::new(),
            contents: Vec::new(),
            heard: VecDeque::new(),
            lines_sent: 0,
            lines_heard: 0,
        }
    }

    pub(super) fn log_in(&mut self, name: &str) -> u64 {
        self.say(&Say::LogIn(name));
        match self.hear() {
            Some(Heard::Welcome { waiting }) => waiting,
            other => panic!("expected a welcome, got {other:?}"),
        }
    }

    pub(super) fn say(&mut self, say: &Say<'_>) {
        match self.spoken {
            Spoken::Plain => self.write_line(&plain_line(say)),
            Spoken::Json => self.write_line(&json_line(say).to_string()),
            Spoken::Numbered => numbered_lines(say).iter().for_each(|line| self.write_line(line)),
        }
    }

    /// Ends the session, and waits until the server closes the connection.
    pub(super) fn quit(mut self) {
        match self.spoken {
            Spoken::Plain => self.write_line("/quit"),
            Spoken::Numbered => self.write_line("QUIT"),
            Spoken::Json => self.stream.shutdown(Shutdown::Write).unwrap(),
        }
        assert_eq!(self.hear(), None, "nothing comes behind the end");
    }

    /// Reads up to the answer of a ping; returns what came before it.
    pub(super) fn barrier(&mut self) -> Vec<Heard> {
        self.say(&Say::Ping);
        let mut before = Vec::new();
        loop {
            match self.hear().expect("the connection is open") {
                Heard::Pong => return before,
                heard => before.push(heard),
            }
        }
    }

    /// Next line that the script understands; `None` at the end of the stream. JSON clients acknowledge each message.
    fn hear(&mut self) -> Option<Heard> {
        loop {
            match self.heard.pop_front() {
                Some(Heard::Other) => continue,
                Some(heard) => return Some(heard),
                None => {}
            }
            let line = self.read_line()?;
            match self.spoken {
                Spoken::Plain => self.heard.push_back(plain_heard(&line)),
                Spoken::Numbered => self.hear_numbered(&line),
                Spoken::Json => self.hear_json(&serde_json::from_str(&line).unwrap()),
            }
        }
    }

    /// Lines before the login have no number.
    fn hear_numbered(&mut self, line: &str) {
        let Some((number, rest)) = line.split_once(' ').filter(|(number, _)| number.parse::<u64>().is_ok()) else {
            assert!(line.starts_with("you want to be "), "{line}");
            return;
        };
        self.lines_heard += 1;
        assert_eq!(number, self.lines_heard.to_string(), "{line}");
        let (_nick, rest) = rest.split_once(' ').unwrap();
        self.heard.push_back(plain_heard(rest));
    }

    fn hear_json(&mut self, frame: &Value) {
        let text = |frame: &Value| frame["text"].as_str().unwrap().to_owned();
        match frame["type"].as_str().unwrap() {
            "welcome" => self.heard.push_back(Heard::Welcome { waiting: frame["waiting"].as_u64().unwrap() }),
            "message" => {
                let room = frame["room"].as_str().map(|room| format!(" in {room}")).unwrap_or_default();
                let from = frame["from"].as_str().unwrap();
                self.heard.push_back(Heard::Message(format!("from {from}{room}: {}", text(frame))));
                self.write_line(&json!({"type": "ack", "seq": frame["seq"]}).to_string());
            }
            "joined" => self.heard.push_back(Heard::Joined),
            "history" => {
                self.heard.extend(frame["messages"].as_array().unwrap().iter().map(|past| Heard::Past(text(past))));
            }
            "pong" => self.heard.push_back(Heard::Pong),
            "error" => panic!("{frame}"),
            _ => self.heard.push_back(Heard::Other),
        }
    }

    fn write_line(&mut self, line: &str) {
        self.lines_sent += 1;
        let line = match self.spoken {
            Spoken::Numbered => format!("{} {line}\n", self.lines_sent),
            Spoken::Plain | Spoken::Json => format!("{line}\n"),
        };
        let mut bytes = Vec::new();
        if self.is_framed {
            frames::encode(line.as_bytes(), &mut bytes);
        } else {
            bytes = line.into_bytes();
        }
        self.stream.write_all(&bytes).unwrap();
    }

    fn read_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.contents.iter().position(|byte| *byte == b'\n') {
                let line = self.contents.drain(..=end).take(end).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            let mut part = [0; 64];
            let read = self.stream.read(&mut part).unwrap();
            if read == 0 {
                assert!(self.contents.is_empty() && self.unread.is_empty(), "the stream ends behind a whole line");
                return None;
            }
            if self.is_framed {
                self.unread.extend_from_slice(&part[..read]);
                frames::decode(&mut self.unread, &mut self.contents);
            } else {
                self.contents.extend_from_slice(&part[..read]);
            }
        }
    }
}

fn plain_line(say: &Say<'_>) -> String {
    match say {
        Say::LogIn(name) => (*name).to_owned(),
        Say::Send(to, text) => format!("{to}: {text}"),
        Say::Join(room) => format!("/join {room}"),
        Say::History => "/history".to_owned(),
        Say::Ping => "/ping p".to_owned(),
    }
}

fn json_line(say: &Say<'_>) -> Value {
    match say {
        Say::LogIn(name) => json!({"type": "login", "name": name, "acks": true}),
        Say::Send(to, text) => json!({"type": "send", "to": [to], "text": text}),
        Say::Join(room) => json!({"type": "join", "room": room}),
        Say::History => json!({"type": "history"}),
        Say::Ping => json!({"type": "ping"}),
    }
}

fn numbered_lines(say: &Say<'_>) -> Vec<String> {
    match say {
        Say::LogIn(name) => vec![format!("NICK {name}"), "LOGIN".to_owned()],
        Say::Send(to, text) if to.starts_with('#') => vec!["NOTHING".to_owned(), format!("SAY {to} {text}")],
        Say::Send(to, text) => vec![format!("SEND {to} {text}")],
        Say::Join(room) => vec![format!("JOIN {room}")],
        Say::History => vec!["NICK".to_owned(), "HISTORY".to_owned()],
        Say::Ping => vec!["PING p".to_owned()],
    }
}

fn plain_heard(line: &str) -> Heard {
    assert!(!line.starts_with("! "), "{line}");
    if line.starts_with("from ") {
        return Heard::Message(line.to_owned());
    }
    match line.strip_prefix("* ").unwrap_or(line) {
        "pong p" => Heard::Pong,
        notice if notice.starts_with("hello ") => {
            let (_, rest) = notice.split_once(", ").unwrap();
            Heard::Welcome { waiting: rest.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0) }
        }
        notice if notice.starts_with("you are in ") => Heard::Joined,
        notice if notice.starts_with("20") => {
            let (_, text) = notice.split_once(": ").unwrap();
            Heard::Past(text.to_owned())
        }
        _ => Heard::Other,
    }
}
