//! JSON frames as types, as in `protocol.md`, "JSON lines": those that clients send, and those that the server sends. Owns their keys; never
//! reads or writes a socket. A field that no client needs may be missing in what a client reads.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::message::Message;

/// Request of a client.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum RequestFrame<'a> {
    /// Logs in. With `acks`, a message counts as delivered only when the client acknowledges it.
    Login {
        /// Name of the peer.
        name: &'a str,
        /// Password, if the name has one.
        #[serde(skip_serializing_if = "Option::is_none")]
        password: Option<&'a str>,
        /// Whether the client acknowledges messages.
        acks: bool,
    },
    /// Sends a text. The server sends it once, however often the request is repeated with the same id.
    Send {
        /// Id of the request.
        id: &'a str,
        /// Names and rooms.
        to: Vec<&'a str>,
        /// Text of the message.
        text: &'a str,
    },
    /// Acknowledges all messages up to `seq`.
    Ack {
        /// Sequence number of the last message.
        seq: i64,
    },
    /// Requests a pong, which comes when all requests before it are processed.
    Ping {
        /// Id of the request.
        id: &'a str,
    },
}

impl RequestFrame<'_> {
    /// Returns the request as a line, without its end.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers can always be encoded")
    }
}

/// Frame of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ServerFrame<'a> {
    /// The login was accepted.
    Welcome {
        /// Id of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
        /// Name as it was mapped.
        name: Cow<'a, str>,
        /// Program and version of the server.
        server: Cow<'a, str>,
        /// Version of the protocol.
        protocol: u32,
        /// Number of messages that arrived while the peer was offline, and come now.
        waiting: u64,
        /// Identity of the database; empty from a server that has none.
        database: Cow<'a, str>,
        /// Newest message.
        newest: i64,
    },
    /// A message is stored on disk.
    Accepted {
        /// Id of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
        /// Place of the message in the log.
        seq: i64,
        /// Time of acceptance.
        at: Cow<'a, str>,
    },
    /// A message.
    Message(MessageFrame<'a>),
    /// A message that another connection of the peer sent.
    Sent(MessageFrame<'a>),
    /// The peer is a member of the room.
    Joined {
        /// Id of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
        /// The room.
        room: Cow<'a, str>,
        /// Topic of the room, if one is set.
        #[serde(skip_serializing_if = "Option::is_none")]
        topic: Option<Cow<'a, str>>,
    },
    /// The peer is not a member of the room any more.
    Left {
        /// Id of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
        /// The room.
        room: Cow<'a, str>,
    },
    /// Messages of a room that are no longer replayed, and that the client did not get.
    Missed {
        /// The room.
        room: Cow<'a, str>,
        /// Number of messages.
        count: u64,
    },
    /// The topic of a room: the reply to a request, or the announcement that a member has set it.
    Topic {
        /// Id of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
        /// The room.
        room: Cow<'a, str>,
        /// Member that has set the topic, in an announcement.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<Cow<'a, str>>,
        /// The topic; empty if none is set.
        text: Cow<'a, str>,
    },
    /// Peers that are online, and the rooms of the peer.
    Who {
        /// Id of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
        /// Peers, in the order of their names.
        here: Vec<Cow<'a, str>>,
        /// Rooms, in the order of their names.
        rooms: Vec<Cow<'a, str>>,
        /// Topics of the rooms that have one.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        topics: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
        /// Whether there are more names or topics, for which the frame has no room.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        more: bool,
    },
    /// Messages of the past, oldest first.
    History {
        /// Id of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
        /// The messages.
        messages: Vec<MessageFrame<'a>>,
        /// Whether there are older ones.
        more: bool,
    },
    /// Messages of the past that were searched for, newest first.
    Search {
        /// Id of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
        /// The messages.
        messages: Vec<MessageFrame<'a>>,
        /// Whether there are older ones.
        more: bool,
    },
    /// The name has a password now.
    Registered {
        /// Id of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
    },
    /// The password is changed.
    #[serde(rename = "password_changed")]
    PasswordChanged {
        /// Id of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
    },
    /// All requests before the ping are processed.
    Pong {
        /// Id of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
    },
    /// A peer came online or went offline.
    Presence {
        /// The peer.
        name: Cow<'a, str>,
        /// Whether the peer is online now.
        here: bool,
    },
    /// Reply of a plugin to a command.
    Answer {
        /// Id of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
        /// Text of one line or more.
        text: Cow<'a, str>,
    },
    /// States of the plugins.
    Plugins {
        /// Id of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
        /// Plugins, in the order in which they are asked.
        plugins: Vec<PluginFrame<'a>>,
    },
    /// A value of a plugin is stored.
    Set {
        /// Id of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
        /// Key of the value.
        key: Cow<'a, str>,
    },
    /// The server refuses a request, or the connection.
    Error {
        /// Id of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Cow<'a, str>>,
        /// Code, and words for people.
        #[serde(flatten)]
        error: ErrorFrame,
    },
    /// A frame that clients of this program do not read, perhaps of a later version.
    #[serde(skip)]
    Unread,
}

impl<'a> ServerFrame<'a> {
    /// Parses a line. Returns `None` if no holdline server sends such a line. A full server refuses a connection before it knows the
    /// protocol, and so on a plain line.
    pub fn parse(line: &'a str) -> Option<Self> {
        match line.strip_prefix("! ") {
            Some(plain) => {
                let (code, message) = plain.split_once(": ")?;
                Some(ServerFrame::Error { id: None, error: ErrorFrame::new(code, message) })
            }
            None => match serde_json::from_str::<Keys<'_>>(line) {
                Ok(keys) => keys.frame(),
                // A later version may give these keys other types in frames of its own.
                Err(_) => {
                    let FrameType { r#type } = serde_json::from_str(line).ok()?;
                    (!TYPES_READ.contains(&&*r#type)).then_some(ServerFrame::Unread)
                }
            },
        }
    }
}

/// Types of the frames that clients of this program read.
const TYPES_READ: [&str; 5] = ["welcome", "accepted", "message", "pong", "error"];

/// Type of any frame.
#[derive(Deserialize)]
struct FrameType<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
}

/// Keys of the frames that clients of this program read, each as if it were optional. One flat type reads them all, since a reader for
/// each frame of [`ServerFrame`] would take 60 KB of the program.
#[derive(Deserialize)]
struct Keys<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    server: Option<Cow<'a, str>>,
    protocol: Option<u32>,
    waiting: Option<u64>,
    #[serde(borrow)]
    database: Option<Cow<'a, str>>,
    newest: Option<i64>,
    seq: Option<i64>,
    #[serde(borrow)]
    at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    from: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    to: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    room: Option<Cow<'a, str>>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    code: Option<String>,
    message: Option<String>,
}

impl<'a> Keys<'a> {
    /// Returns the frame, or `None` if a key is missing without which it means nothing.
    fn frame(self) -> Option<ServerFrame<'a>> {
        Some(match &*self.r#type {
            "welcome" => ServerFrame::Welcome {
                id: self.id,
                name: self.name.unwrap_or_default(),
                server: self.server.unwrap_or_default(),
                protocol: self.protocol.unwrap_or_default(),
                waiting: self.waiting.unwrap_or_default(),
                database: self.database.unwrap_or_default(),
                // A server that does not say it: no `seq` is beyond it.
                newest: self.newest.unwrap_or(i64::MAX),
            },
            "accepted" => ServerFrame::Accepted {
                id: self.id,
                seq: self.seq.unwrap_or_default(),
                at: self.at.unwrap_or_default(),
            },
            "message" => ServerFrame::Message(self.message_frame()?),
            "pong" => ServerFrame::Pong { id: self.id },
            "error" => ServerFrame::Error {
                id: self.id,
                error: ErrorFrame { code: self.code?, message: self.message.unwrap_or_default() },
            },
            _ => ServerFrame::Unread,
        })
    }

    fn message_frame(self) -> Option<MessageFrame<'a>> {
        Some(MessageFrame {
            seq: self.seq?,
            at: self.at.unwrap_or_default(),
            from: self.from?,
            to: self.to,
            room: self.room,
            text: self.text?,
        })
    }
}

/// Message of the server: the body of `message` and `sent`, and of messages of the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MessageFrame<'a> {
    /// Place of the message in the log.
    pub seq: i64,
    /// Time of acceptance.
    pub at: Cow<'a, str>,
    /// Name of the sender.
    pub from: Cow<'a, str>,
    /// Names and rooms, as addressed.
    pub to: Vec<Cow<'a, str>>,
    /// Room of the message, with its `#`; `None` if it was sent to the peer directly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<Cow<'a, str>>,
    /// Text, which may contain newlines.
    pub text: Cow<'a, str>,
}

impl<'a> From<&'a Message> for MessageFrame<'a> {
    fn from(Message { seq, at, sender, to, room, text }: &'a Message) -> Self {
        MessageFrame {
            seq: seq.get(),
            at: at.to_string().into(),
            from: sender.as_str().into(),
            to: to.iter().map(|to| to.as_str().into()).collect(),
            room: room.as_ref().map(|room| room.as_str().into()),
            text: text.as_str().into(),
        }
    }
}

/// Plugin and its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PluginFrame<'a> {
    /// Name of the plugin.
    pub name: Cow<'a, str>,
    /// Kind of the plugin.
    pub kind: Cow<'a, str>,
    /// Hooks that the plugin uses.
    pub hooks: Vec<Cow<'a, str>>,
    /// Whether the plugin runs, and if not, why.
    pub state: Cow<'a, str>,
}

/// Error of a line or of the connection: a code of `protocol.md`, or of the client itself, and words for people. It prints as one
/// line that is safe for a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorFrame {
    code: String,
    /// Words for people.
    message: String,
}

impl ErrorFrame {
    /// Makes an error.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        ErrorFrame { code: code.to_owned(), message: message.into() }
    }

    /// Code, for programs.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Words for people.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Whether the cause ends by itself, so that the same request may succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self.code.as_str(),
            "shutting_down" | "storage_full" | "internal" | "too_many_connections" | "rate_limited" | "login_timeout"
        )
    }
}

impl fmt::Display for ErrorFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
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
    fn frames_that_clients_read_are_written_as_they_were() {
        for line in [
            r#"{"type":"welcome","name":"alice","server":"holdline 0.1.0","protocol":1,"waiting":3,"database":"0c","newest":42}"#,
            r#"{"type":"accepted","id":"c-1","seq":42,"at":"2026-11-23T06:18:35.123Z"}"#,
            r##"{"type":"message","seq":4,"at":"…","from":"alice","to":["#k"],"room":"#k","text":"a\n\"é\""}"##,
            r#"{"type":"pong","id":"p"}"#,
            r#"{"type":"error","id":"c-1","code":"mailbox_full","message":"bob's mailbox is full"}"#,
        ] {
            let frame = ServerFrame::parse(line).expect(line);
            assert_eq!(serde_json::to_string(&frame).unwrap(), line);
        }
    }

    #[test]
    fn client_reads_the_fields_that_it_needs() {
        check_frame(
            r#"{"type":"message","seq":4,"from":"alice","text":"a\u00e4\n","new":1}"#,
            expect![[
                r#"Some(Message(MessageFrame { seq: 4, at: "", from: "alice", to: [], room: None, text: "aä\n" }))"#
            ]],
        );
        check_frame(r#"{"type":"pong"}"#, expect!["Some(Pong { id: None })"]);
        for unread in ["later", "presence", "sent", "who"] {
            assert_eq!(ServerFrame::parse(&format!(r#"{{"type":"{unread}","seq":4}}"#)), Some(ServerFrame::Unread));
        }
        check_frame(r#"{"type":"later","seq":"four","to":{}}"#, expect!["Some(Unread)"]);
        check_frame(r#"{"type":"message","from":"alice","text":"no seq"}"#, expect!["None"]);
        check_frame(r#"{"type":"pong","id":4}"#, expect!["None"]);
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
}
