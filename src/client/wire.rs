//! JSON lines of the clients, as in `protocol.md`, "JSON lines": the requests that they send, and the frames that they understand.
//! Owns the form of both; never reads or writes a socket.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Request of a client.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum RequestFrame<'a> {
    /// Logs in. With `acks`, a message counts as delivered only when the client acknowledges it.
    Login {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        password: Option<&'a str>,
        acks: bool,
    },
    /// Sends a text. The server sends it once, however often the request is repeated with the same id.
    Send { id: &'a str, to: Vec<&'a str>, text: &'a str },
    /// Acknowledges all messages up to `seq`.
    Ack { seq: i64 },
    /// Requests a pong, which comes when all requests before it are processed.
    Ping { id: &'a str },
}

impl RequestFrame<'_> {
    /// Returns the request as a line, without its end.
    pub(super) fn encode(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers can always be encoded")
    }
}

/// Line of the server.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum ServerFrame {
    /// The login was accepted.
    Welcome {
        /// Number of messages that arrived while the peer was offline, and come now.
        #[serde(default)]
        waiting: u64,
    },
    /// A text is stored on disk.
    Accepted { id: String },
    /// A message.
    Message(MessageFrame),
    /// All requests before the ping are processed.
    Pong {
        #[serde(default)]
        id: Option<String>,
    },
    /// The server refuses a request, or the connection.
    Error {
        #[serde(default)]
        id: Option<String>,
        #[serde(flatten)]
        error: ErrorFrame,
    },
    /// A frame that these clients do not need, such as presence, or one of a later version.
    #[serde(other)]
    Unknown,
}

impl ServerFrame {
    /// Parses a line. Returns `None` if no holdline server sends such a line. A full server refuses a connection before it knows the
    /// protocol, and so on a plain line.
    pub(super) fn parse(line: &str) -> Option<Self> {
        match line.strip_prefix("! ") {
            Some(plain) => {
                let (code, message) = plain.split_once(": ")?;
                Some(ServerFrame::Error { id: None, error: ErrorFrame::new(code, message) })
            }
            None => serde_json::from_str(line).ok(),
        }
    }
}

/// Message from the server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct MessageFrame {
    /// Sequence number of the message.
    pub seq: i64,
    /// Name of the sender.
    pub from: String,
    /// Room of the message, with its `#`; `None` if it was sent to the peer directly.
    pub room: Option<String>,
    /// Text, which may contain newlines.
    pub text: String,
}

/// Error of a line or of the connection: a code of `protocol.md`, or of the client itself, and words for people. It prints as one
/// line that is safe for a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ErrorFrame {
    code: String,
    /// Words for people.
    #[serde(default)]
    message: String,
}

impl ErrorFrame {
    pub(super) fn new(code: &str, message: impl Into<String>) -> Self {
        ErrorFrame { code: code.to_owned(), message: message.into() }
    }

    /// Code, for programs.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Whether the cause ends by itself, so that the same request may succeed later.
    pub(super) fn is_passing(&self) -> bool {
        matches!(
            self.code.as_str(),
            "shutting_down" | "storage_full" | "internal" | "too_many_connections" | "rate_limited" | "login_timeout"
        )
    }
}

impl fmt::Display for ErrorFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{}: {}", self.code, self.message).replace(char::is_control, " "))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check_frame(line: &str, expected: Expect) {
        expected.assert_eq(&format!("{:?}", ServerFrame::parse(line)));
    }

    #[test]
    fn requests_are_encoded_as_the_protocol_says() {
        let login = RequestFrame::Login { name: "alice", password: None, acks: true };
        expect![[r#"{"type":"login","name":"alice","acks":true}"#]].assert_eq(&login.encode());
        let login = RequestFrame::Login { name: "alice", password: Some("s\"t"), acks: true };
        expect![[r#"{"type":"login","name":"alice","password":"s\"t","acks":true}"#]].assert_eq(&login.encode());
        let send = RequestFrame::Send { id: "c-1", to: vec!["bob", "#kitchen"], text: "hi\n" };
        expect![[r##"{"type":"send","id":"c-1","to":["bob","#kitchen"],"text":"hi\n"}"##]].assert_eq(&send.encode());
        expect![[r#"{"type":"ack","seq":42}"#]].assert_eq(&RequestFrame::Ack { seq: 42 }.encode());
        expect![[r#"{"type":"ping","id":"p"}"#]].assert_eq(&RequestFrame::Ping { id: "p" }.encode());
    }

    #[test]
    fn frames_of_the_server_are_parsed() {
        check_frame(
            r#"{"type":"welcome","name":"alice","server":"holdline 0.1.0","protocol":1,"waiting":3}"#,
            expect!["Some(Welcome { waiting: 3 })"],
        );
        check_frame(
            r#"{"type":"accepted","id":"c-1","seq":42,"at":"2026-11-23T06:18:35.123Z"}"#,
            expect![[r#"Some(Accepted { id: "c-1" })"#]],
        );
        check_frame(
            r##"{"type":"message","seq":4,"at":"…","from":"alice","to":["#k"],"room":"#k","text":"a\u00e4\n","new":1}"##,
            expect![[r##"Some(Message(MessageFrame { seq: 4, from: "alice", room: Some("#k"), text: "aä\n" }))"##]],
        );
        check_frame(r#"{"type":"pong","id":"p"}"#, expect![[r#"Some(Pong { id: Some("p") })"#]]);
        check_frame(
            r#"{"type":"error","id":"c-1","code":"mailbox_full","message":"bob's mailbox is full"}"#,
            expect![[
                r#"Some(Error { id: Some("c-1"), error: ErrorFrame { code: "mailbox_full", message: "bob's mailbox is full" } })"#
            ]],
        );
    }

    #[test]
    fn frame_of_another_type_is_unknown() {
        check_frame(r#"{"type":"presence","name":"bob","here":true}"#, expect!["Some(Unknown)"]);
        check_frame(r#"{"type":"sent","seq":4,"text":"hi"}"#, expect!["Some(Unknown)"]);
    }

    #[test]
    fn full_server_refuses_the_connection_on_a_plain_line() {
        check_frame(
            "! too_many_connections: the server is full",
            expect![[
                r#"Some(Error { id: None, error: ErrorFrame { code: "too_many_connections", message: "the server is full" } })"#
            ]],
        );
    }

    #[test]
    fn line_without_a_type_is_not_from_holdline() {
        for line in ["", "* hello", "HTTP/1.1 400 Bad Request", "{}", "[]", r#"{"type":4}"#, "! oh"] {
            check_frame(line, expect!["None"]);
        }
    }

    #[test]
    fn error_prints_as_one_line() {
        assert_eq!(ErrorFrame::new("rejected", "no\n\u{1b}[2J").to_string(), "rejected: no  [2J");
    }
}
