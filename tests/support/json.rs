//! Client of JSON lines. Owns a blocking socket and the frames read from it; never waits without a limit.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::server::TestServer;

/// Time limit for reading a line, and for the server to take one.
const PATIENCE: Duration = Duration::from_secs(10);

/// JSON client whose failures say which frame is missing.
pub(crate) struct JsonClient {
    /// Name in failure messages.
    label: String,
    stream: TcpStream,
    input: BufReader<TcpStream>,
    /// Frames that were read while the client waited for something else.
    pending: VecDeque<Value>,
}

impl JsonClient {
    /// Connects, and sends nothing.
    #[track_caller]
    pub(crate) fn connect(server: &TestServer) -> Self {
        Self::connect_to(server.address())
    }

    /// Connects to an address, and sends nothing.
    #[track_caller]
    pub(crate) fn connect_to(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("the server listens"))
    }

    /// Takes over an open connection.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout can be set");
        stream.set_nodelay(true).expect("the option can be set");
        let input = BufReader::new(stream.try_clone().expect("the socket can be cloned"));
        JsonClient { label: "a program".to_owned(), stream, input, pending: VecDeque::new() }
    }

    /// Connects, logs in, and waits for the welcome.
    #[track_caller]
    pub(crate) fn login(server: &TestServer, name: &str) -> Self {
        let mut client = Self::connect(server);
        client.log_in(name, false);
        client
    }

    /// Logs in likewise, and acknowledges explicitly.
    #[track_caller]
    pub(crate) fn login_with_acks(server: &TestServer, name: &str) -> Self {
        let mut client = Self::connect(server);
        client.log_in(name, true);
        client
    }

    /// Logs in. Returns the welcome.
    #[track_caller]
    pub(crate) fn log_in(&mut self, name: &str, acks: bool) -> Value {
        self.label = name.to_owned();
        self.send(json!({"type": "login", "name": name, "acks": acks}));
        let welcome = self.next_frame();
        assert_eq!(welcome["type"], "welcome", "{name} expected a welcome, and read {welcome}");
        welcome
    }

    /// Sends a frame.
    #[track_caller]
    pub(crate) fn send(&mut self, frame: Value) {
        self.send_line(&frame.to_string());
    }

    /// Sends a line.
    #[track_caller]
    pub(crate) fn send_line(&mut self, line: &str) {
        self.send_bytes(format!("{line}\n").as_bytes());
    }

    /// Sends bytes.
    #[track_caller]
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            panic!("{} could not send {} bytes: {error}", self.label, bytes.len());
        }
    }

    /// Sends a message. Returns its `seq` once it is accepted.
    #[track_caller]
    pub(crate) fn say(&mut self, id: &str, to: &[&str], text: &str) -> i64 {
        self.send(json!({"type": "send", "id": id, "to": to, "text": text}));
        let accepted = self.expect("accepted");
        assert_eq!(accepted["id"], id, "{} read {accepted}", self.label);
        accepted["seq"].as_i64().unwrap_or_else(|| panic!("{accepted}"))
    }

    /// Reads a frame of any kind. `None` if the server has closed the connection.
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

    /// Reads a frame of any kind.
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

    /// Waits for a frame of this type, whatever comes before it. `None` if the server has closed the connection.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, kind: &str) -> Option<Value> {
        loop {
            let frame = self.try_next_frame()?;
            if frame["type"] == kind {
                return Some(frame);
            }
        }
    }

    /// Waits for a reply of this type; messages that come before it stay unread.
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

    /// Sends a request, and waits for the reply with its id.
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

    /// Waits for an error with this code. Returns its text.
    #[track_caller]
    pub(crate) fn expect_error(&mut self, code: &str) -> Value {
        let error = self.expect("error");
        assert_eq!(error["code"], code, "{} read {error}", self.label);
        error
    }

    /// Waits for a message with this text. Returns its `seq`.
    #[track_caller]
    pub(crate) fn expect_message(&mut self, text: &str) -> i64 {
        let message = self.expect("message");
        assert_eq!(message["text"], text, "{} read {message}", self.label);
        message["seq"].as_i64().unwrap_or_else(|| panic!("{message}"))
    }

    /// Acknowledges all messages up to this one.
    #[track_caller]
    pub(crate) fn ack(&mut self, seq: i64) {
        self.send(json!({"type": "ack", "seq": seq}));
    }

    /// Waits until everything sent so far is processed. Returns the frames that came before the pong, without presence.
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

    /// Waits as [`ping`](Self::ping) does, and checks that only presence came.
    #[track_caller]
    pub(crate) fn expect_nothing(&mut self) {
        let frames = self.ping();
        assert!(frames.is_empty(), "{} expected nothing, and read {frames:?}", self.label);
    }

    /// Reads until the server has closed the connection. Returns the frames.
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
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))
            .expect("the linger time can be set");
    }
}
