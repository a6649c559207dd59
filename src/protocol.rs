//! What clients ask and what they are answered, as types; each protocol is a thin codec over them, a file of its own.
//! Owns the requests, the replies and the codes; never does I/O.

pub mod plain;

use crate::message::{Destination, PeerName, Text, Timestamp};

/// What a client asks, once it is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Send a text to each destination; each stands in the list once, in the order in which it was named.
    Send {
        /// Who is to get it: 1 to as many as the configuration allows.
        to: Vec<Destination>,
        /// What they get.
        text: Text,
    },
    /// Who is here?
    Who,
    /// The newest messages that the asker was part of.
    History {
        /// Only those exchanged with this peer, or sent in this room.
        with: Option<Destination>,
        /// How many at most: 1 to [`HISTORY_MESSAGES_MAX`](crate::limits::HISTORY_MESSAGES_MAX).
        count: usize,
    },
    /// Answer when everything before is dealt with and on disk.
    Ping {
        /// Handed back as it is.
        token: Option<Text>,
    },
    /// Which commands are there?
    Help,
    /// Write what is queued, then close.
    Quit,
    /// Something that could not be understood: answered in its place, and no more.
    Malformed(Refusal),
}

impl Request {
    /// Whether it is for nothing but its answer.
    pub fn only_asks(&self) -> bool {
        !matches!(self, Request::Send { .. } | Request::Quit)
    }
}

/// What a client is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The login succeeded.
    Welcome {
        /// The name as it was mapped.
        name: PeerName,
        /// Messages waiting: their replay follows.
        waiting: u64,
    },
    /// A message was kept for a peer that is not here.
    Kept {
        /// For whom.
        peer: PeerName,
        /// Whether anybody has ever logged in by that name.
        seen: bool,
    },
    /// Answers [`Request::Ping`].
    Pong {
        /// The token of the question.
        token: Option<Text>,
    },
    /// Answers [`Request::Who`].
    Who {
        /// Everyone with a session, in the order of their names.
        here: Vec<PeerName>,
    },
    /// Answers [`Request::History`].
    History {
        /// Oldest first.
        messages: Vec<PastMessage>,
    },
    /// Answers [`Request::Help`].
    Help,
    /// The request was not carried out.
    Refused(Refusal),
    /// The server stops; what is queued is still written.
    ShuttingDown,
}

/// A message as the history shows it to one who was part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastMessage {
    /// When it was accepted.
    pub at: Timestamp,
    /// Whether the one who asks sent it.
    pub sent: bool,
    /// Its sender.
    pub sender: PeerName,
    /// Its recipients, in the order in which they were addressed.
    pub recipients: Vec<PeerName>,
    /// Its text.
    pub text: String,
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people: what was wrong, with which value, and what became of it.
    pub message: String,
}

impl Refusal {
    /// A refusal with this code and these words.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Refusal { code, message: message.into() }
    }

    /// The same, and what became of the request.
    pub fn but(mut self, became: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(became);
        self
    }
}

/// The codes of refusals; they are the same in every protocol, and none ever changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// Not in any form that is understood.
    BadRequest,
    /// A name that is none.
    BadName,
    /// A wrong password, or one for a name that has none.
    BadPassword,
    /// A line or a text over its limit.
    TooLong,
    /// A message without text.
    Empty,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// A command that nobody knows.
    UnknownCommand,
    /// A room that the sender is not in.
    NotAMember,
    /// As many messages as may wait for a recipient are waiting.
    MailboxFull,
    /// As many connections as may be open are open.
    TooManyConnections,
    /// No login came in time.
    LoginTimeout,
    /// The disk, or the limit of the database, is full.
    StorageFull,
    /// The server failed at something that is not the client's fault.
    Internal,
}

impl Code {
    /// The code as every protocol writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::BadRequest => "bad_request",
            Code::BadName => "bad_name",
            Code::BadPassword => "bad_password",
            Code::TooLong => "too_long",
            Code::Empty => "empty",
            Code::NotUtf8 => "not_utf8",
            Code::UnknownCommand => "unknown_command",
            Code::NotAMember => "not_a_member",
            Code::MailboxFull => "mailbox_full",
            Code::TooManyConnections => "too_many_connections",
            Code::LoginTimeout => "login_timeout",
            Code::StorageFull => "storage_full",
            Code::Internal => "internal",
        }
    }
}

/// How a session is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Lines for people, `nc` and shell scripts.
    Plain,
}

impl Protocol {
    /// Appends a message as this protocol delivers it.
    pub fn encode_message(self, sender: &PeerName, text: &Text, out: &mut Vec<u8>) {
        match self {
            Protocol::Plain => plain::encode_message(sender, text, out),
        }
    }

    /// Appends a reply as this protocol writes it.
    pub fn encode_reply(self, reply: &Reply, out: &mut Vec<u8>) {
        match self {
            Protocol::Plain => plain::encode_reply(reply, out),
        }
    }
}
