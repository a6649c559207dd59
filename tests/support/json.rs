//! A client that speaks JSON lines. Owns a blocking socket and what was read from it; never waits without a limit.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::server::TestServer;

/// How long a client waits for a line, or for the server to take one.
const PATIENCE: Duration = Duration::from_secs(10);

/// A JSON client that waits for frames and says what it missed.
pub(crate) struct JsonClient {
    /// Whom to name when something is missed.
    label: String,
    stream: TcpStream,
    input: BufReader<TcpStream>,
    /// Frames that were read already, while something else was waited for.
    pending: VecDeque<Value>,
}

impl JsonClient {
    /// Connects, and says nothing.
    #[track_caller]
    pub(crate) fn connect(server: &TestServer) -> Self {
        Self::connect_to(server.address())
    }

    /// Connects to an address, and says nothing.
    #[track_caller]
    pub(crate) fn connect_to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
        stream.set_nodelay(true).expect("no delay");
        let input = BufReader::new(stream.try_clone().expect("a second handle"));
        JsonClient { label: "a program".to_owned(), stream, input, pending: VecDeque::new() }
    }

    /// Connects, logs in, and waits for the welcome.
    #[track_caller]
    pub(crate) fn login(server: &TestServer, name: &str) -> Self {
        let mut client = Self::connect(server);
        client.log_in(name, false);
        client
    }

    /// The same, and says itself what it has got.
    #[track_caller]
    pub(crate) fn login_with_acks(server: &TestServer, name: &str) -> Self {
        let mut client = Self::connect(server);
        client.log_in(name, true);
        client
    }

    /// Logs in. Gives the welcome.
    #[track_caller]
    pub(crate) fn log_in(&mut self, name: &str, acks: bool) -> Value {
        self.label = name.to_owned();
        self.send(json!({"type": "login", "name": name, "acks": acks}));
        let welcome = self.next_frame();
        assert_eq!(welcome["type"], "welcome", "{name} was to be welcomed, and read {welcome}");
        welcome
    }

    /// Sends a frame.
    #[track_caller]
    pub(crate) fn send(&mut self, frame: Value) {
        self.send_line(&frame.to_string());
    }

    /// Sends a line as it is.
    #[track_caller]
    pub(crate) fn send_line(&mut self, line: &str) {
        self.send_bytes(format!("{line}\n").as_bytes());
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            panic!("{} could not send {} bytes: {error}", self.label, bytes.len());
        }
    }

    /// Sends a message; gives its `seq` once it is accepted.
    #[track_caller]
    pub(crate) fn say(&mut self, id: &str, to: &[&str], text: &str) -> i64 {
        self.send(json!({"type": "send", "id": id, "to": to, "text": text}));
        let accepted = self.expect("accepted");
        assert_eq!(accepted["id"], id, "{} read {accepted}", self.label);
        accepted["seq"].as_i64().unwrap_or_else(|| panic!("{accepted}"))
    }

    /// The next frame of whatever kind; none when the server has closed the connection.
    #[track_caller]
    pub(crate) fn try_next_frame(&mut self) -> Option<Value> {
        if let Some(frame) = self.pending.pop_front() {
            return Some(frame);
        }
        let mut line = String::new();
        match self.input.read_line(&mut line) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("{} waited for a frame: {error}", self.label),
        }
        assert!(line.ends_with('\n'), "{} read a line without its end: `{line}`", self.label);
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{} read `{line}`: {error}", self.label)))
    }

    /// The next frame of whatever kind.
    #[track_caller]
    pub(crate) fn next_frame(&mut self) -> Value {
        self.try_next_frame().unwrap_or_else(|| panic!("the connection of {} was closed", self.label))
    }

    /// Waits for a frame of this type; only presence may come before it.
    #[track_caller]
    pub(crate) fn expect(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next_frame();
            if frame["type"] == kind {
                return frame;
            }
            assert_eq!(frame["type"], "presence", "{} waited for {kind}, and read {frame}", self.label);
        }
    }

    /// Waits for a frame of this type, whatever comes before it; none when the server has closed the connection.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, kind: &str) -> Option<Value> {
        loop {
            let frame = self.try_next_frame()?;
            if frame["type"] == kind {
                return Some(frame);
            }
        }
    }

    /// Waits for the answer of this type; messages that come before it stay to be read.
    #[track_caller]
    pub(crate) fn answer(&mut self, kind: &str) -> Value {
        let mut messages = Vec::new();
        loop {
            let frame = self.next_frame();
            match frame["type"].as_str() {
                Some(found) if found == kind => {
                    messages.into_iter().rev().for_each(|message| self.pending.push_front(message));
                    return frame;
                }
                Some("message") => messages.push(frame),
                Some("presence" | "sent") => {}
                _ => panic!("{} waited for {kind}, and read {frame}", self.label),
            }
        }
    }

    /// Sends a request, and waits for what is answered to its id.
    #[track_caller]
    pub(crate) fn ask(&mut self, frame: Value) -> Value {
        let id = frame["id"].clone();
        self.send(frame);
        loop {
            let answer = self.next_frame();
            if answer["id"] == id {
                return answer;
            }
        }
    }

    /// Waits for an error with this code. Gives its words.
    #[track_caller]
    pub(crate) fn expect_error(&mut self, code: &str) -> Value {
        let error = self.expect("error");
        assert_eq!(error["code"], code, "{} read {error}", self.label);
        error
    }

    /// Waits for a message with this text. Gives its `seq`.
    #[track_caller]
    pub(crate) fn expect_message(&mut self, text: &str) -> i64 {
        let message = self.expect("message");
        assert_eq!(message["text"], text, "{} read {message}", self.label);
        message["seq"].as_i64().unwrap_or_else(|| panic!("{message}"))
    }

    /// Says that all messages up to this one have been taken.
    #[track_caller]
    pub(crate) fn ack(&mut self, seq: i64) {
        self.send(json!({"type": "ack", "seq": seq}));
    }

    /// Waits until everything sent so far has been dealt with; gives all frames that came before the answer, without presence.
    #[track_caller]
    pub(crate) fn ping(&mut self) -> Vec<Value> {
        static PINGS: AtomicU64 = AtomicU64::new(0);
        let id = format!("barrier-{}", PINGS.fetch_add(1, Ordering::Relaxed));
        self.send(json!({"type": "ping", "id": id}));
        let mut frames = Vec::new();
        loop {
            let frame = self.next_frame();
            if frame["type"] == "pong" && frame["id"] == *id {
                return frames;
            }
            if frame["type"] != "presence" {
                frames.push(frame);
            }
        }
    }

    /// Waits as [`ping`](Self::ping) does; nothing but presence may have come.
    #[track_caller]
    pub(crate) fn expect_nothing(&mut self) {
        let frames = self.ping();
        assert!(frames.is_empty(), "{} was to read nothing, and read {frames:?}", self.label);
    }

    /// Reads until the server has closed the connection; gives what came before.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) -> Vec<Value> {
        let mut frames = Vec::new();
        while let Some(frame) = self.try_next_frame() {
            frames.push(frame);
        }
        frames
    }

    /// Ends the input; the server's side stays open.
    #[track_caller]
    pub(crate) fn shutdown_write(&self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// Breaks the connection, as a crash of the system does: the server reads a reset.
    pub(crate) fn reset(self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).expect("a linger time of zero");
    }
}
