//! What clients ask and what they are answered, as types; each protocol is a thin codec over them, a file of its own.
//! Owns the requests, the replies and the codes; never does I/O.

mod codec;
pub mod json;
mod line_buffer;
pub mod plain;

pub use self::codec::{
    Capabilities, Decoder, Detected, Detector, Encoder, Form, Forms, Match, ProtocolTable, SessionEncoder, StartDecoder,
};
pub use self::line_buffer::{Framing, Line, LineBuffer};
use crate::limits::NAME_CHARS_MAX;
use crate::message::{Destination, Message, PeerName, RequestId, Room, Seq, Text, Timestamp, quoted};

/// The version of the protocols, as [`Reply::Welcome`] says it to programs. It grows when a client must know of a change.
pub const VERSION: u32 = 1;

/// Who a client says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// By what it wants to know an answer to the login again.
    pub id: Option<RequestId>,
    /// Who it is.
    pub name: PeerName,
    /// What proves it, if anything was sent.
    pub password: Option<String>,
    /// Whether a message counts as delivered only when the client says so ([`Request::Ack`]).
    pub acks: bool,
}

/// What a client asks, and by what it wants to know the answer again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRequest {
    /// Handed back with the answer. For a [`Request::Send`] it is more: the same id is never sent twice.
    pub id: Option<RequestId>,
    /// What is asked.
    pub request: Request,
}

impl From<Request> for ClientRequest {
    /// Without an id, as on plain lines.
    fn from(request: Request) -> Self {
        ClientRequest { id: None, request }
    }
}

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
    /// All messages up to this one have been taken; for one who logged in with [`Login::acks`].
    Ack {
        /// The last of them.
        seq: Seq,
    },
    /// Become a member of a room, which there is from then on.
    Join {
        /// Which.
        room: Room,
    },
    /// Be a member no more.
    Leave {
        /// Of which room.
        room: Room,
    },
    /// Who is here, and in the asker's rooms?
    Who,
    /// The newest messages that the asker was part of.
    History {
        /// Only those exchanged with this peer, or sent in this room.
        with: Option<Destination>,
        /// Only those before this one.
        before: Option<Seq>,
        /// How many at most: 1 to [`HISTORY_MESSAGES_MAX`](crate::limits::HISTORY_MESSAGES_MAX).
        count: usize,
    },
    /// The newest messages that the asker was part of and that hold all of these words.
    Search {
        /// As the client wrote them; never blank.
        words: Text,
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
    /// A command that is not the server's own: a plugin may know it.
    Command {
        /// Its name, without the `/`.
        name: String,
        /// What stands behind it, trimmed.
        arguments: String,
    },
    /// Which plugins are there, and how are they?
    Plugins,
    /// Write what is queued, then close.
    Quit,
    /// Something that could not be understood: answered in its place, and no more.
    Malformed(Refusal),
    /// What was answered before it came to the broker, by plugins above all: said in its place.
    Answered(Box<Reply>),
    /// A [`Request::Send`] that plugins have changed or refused: with an id, it may have been sent before, and is accepted then.
    Filtered {
        /// What was asked.
        asked: Box<Draft>,
        /// What becomes of it.
        outcome: Result<Box<Draft>, Refusal>,
    },
    /// Keep a value of a plugin, or forget it.
    Set {
        /// Under which key.
        key: String,
        /// JSON; `None` forgets it.
        value: Option<String>,
    },
    /// All values that a plugin keeps.
    Values,
}

/// To whom, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// As in [`Request::Send`].
    pub to: Vec<Destination>,
    /// As in [`Request::Send`].
    pub text: Text,
}

impl Request {
    /// A command that is not the server's own, if it can be a plugin's.
    pub fn command(name: &str, arguments: &str) -> Result<Self, Refusal> {
        if !is_command_name(name) {
            return Err(Refusal::unknown_command(name));
        }
        Ok(Request::Command { name: name.to_owned(), arguments: arguments.trim().to_owned() })
    }

    /// Whether it is for nothing but its answer.
    pub fn is_read_only(&self) -> bool {
        match self {
            Request::Send { .. } | Request::Ack { .. } | Request::Join { .. } | Request::Leave { .. } => false,
            Request::Filtered { .. } | Request::Set { .. } | Request::Command { .. } | Request::Quit => false,
            Request::Who | Request::History { .. } | Request::Search { .. } | Request::Values => true,
            Request::Ping { .. } | Request::Help | Request::Plugins => true,
            Request::Malformed(_) | Request::Answered(_) => true,
        }
    }

    /// Whether its answer may be large, so that nothing else is asked together with it.
    pub fn has_large_reply(&self) -> bool {
        matches!(
            self,
            Request::Who
                | Request::History { .. }
                | Request::Search { .. }
                | Request::Help
                | Request::Command { .. }
                | Request::Plugins
                | Request::Values
        )
    }
}

/// What a client is answered, or told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The login succeeded.
    Welcome {
        /// The name as it was mapped.
        name: PeerName,
        /// Messages waiting: their replay follows.
        waiting: u64,
    },
    /// Answers [`Request::Send`]: it is on disk. Only programs are told; people are told [`Reply::Kept`].
    Accepted {
        /// Its place in the log.
        seq: Seq,
        /// When it was accepted.
        at: Timestamp,
    },
    /// A message was kept for a peer that is not here.
    Kept {
        /// For whom.
        peer: PeerName,
        /// Whether anybody has ever logged in by that name.
        seen: bool,
    },
    /// A message was sent into a room in which nobody else is.
    Alone {
        /// Which.
        room: Room,
    },
    /// Answers [`Request::Join`].
    Joined {
        /// As it was mapped.
        room: Room,
    },
    /// Answers [`Request::Leave`].
    Left {
        /// As it was mapped.
        room: Room,
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
        /// The asker's rooms, in the order of their names.
        rooms: Vec<RoomHere>,
    },
    /// Answers [`Request::History`].
    History {
        /// Oldest first.
        messages: Vec<PastMessage>,
        /// Whether there are older ones.
        more: bool,
    },
    /// Answers [`Request::Search`].
    Found {
        /// Newest first.
        messages: Vec<PastMessage>,
        /// Whether there are older ones.
        more: bool,
    },
    /// Answers [`Request::Help`].
    Help {
        /// The commands of plugins, without their `/`, and what each does: `PLACE: the weather there`.
        commands: Vec<(String, String)>,
    },
    /// Answers [`Request::Command`], as the plugin says it.
    Answer {
        /// One line or more.
        text: Text,
    },
    /// Answers [`Request::Plugins`].
    Plugins {
        /// In the order in which they are asked.
        plugins: Vec<PluginState>,
    },
    /// Answers [`Request::Set`]: it is on disk.
    Set {
        /// Under which key.
        key: String,
    },
    /// Answers [`Request::Values`].
    Values {
        /// Keys and values, which are JSON.
        values: Vec<(String, String)>,
    },
    /// The first session of a peer came, or its last one went. Only programs are told.
    Presence {
        /// Who.
        name: PeerName,
        /// Whether it is here now.
        here: bool,
    },
    /// What the client's name has sent over another connection. Only programs are told.
    Sent(Message),
    /// The request was not carried out.
    Refused(Refusal),
    /// The server stops; what is queued is still written.
    ShuttingDown,
    /// Bytes of the session's own protocol, made by its decoder; written as they are.
    Encoded(Vec<u8>),
}

/// A room, as one of its members sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomHere {
    /// Which.
    pub room: Room,
    /// Its members with a session, in the order of their names.
    pub here: Vec<PeerName>,
}

/// A plugin, and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginState {
    /// What it is called.
    pub name: PeerName,
    /// How it is run: `luau` or `process`.
    pub kind: &'static str,
    /// What it is asked and told.
    pub hooks: Vec<&'static str>,
    /// Whether it runs, and if not, why.
    pub state: String,
}

/// A message as the history shows it to one who was part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastMessage {
    /// Whether the one who asks sent it.
    pub sent: bool,
    /// The message; whom it was addressed to is said.
    pub message: Message,
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

    /// What is answered to a command that nobody knows.
    pub fn unknown_command(name: &str) -> Self {
        let words = format!("{} is no command; /help lists them; nothing was done", quoted(&format!("/{name}")));
        Refusal::new(Code::UnknownCommand, words)
    }

    /// The same, and what became of the request.
    pub fn with_outcome(mut self, outcome: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(outcome);
        self
    }
}

/// A refusal of something that never became a request, with its id if it had one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// By what the client knows what was refused.
    pub id: Option<RequestId>,
    /// Why.
    pub refusal: Refusal,
}

impl From<Refusal> for Rejected {
    fn from(refusal: Refusal) -> Self {
        Rejected { id: None, refusal }
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
    /// Something else than a login before there was one.
    NotLoggedIn,
    /// A second login.
    LoggedInAlready,
    /// A line or a text over its limit.
    TooLong,
    /// A message without text.
    Empty,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// A JSON line of a type that nobody knows.
    UnknownType,
    /// A command that nobody knows.
    UnknownCommand,
    /// The id of a message that was sent, with another text or other destinations.
    IdReused,
    /// A room that the sender is not in.
    NotAMember,
    /// As many messages as may wait for a recipient are waiting.
    MailboxFull,
    /// A plugin refuses it.
    Rejected,
    /// As many connections as may be open are open.
    TooManyConnections,
    /// No login came in time.
    LoginTimeout,
    /// The disk, or the limit of the database, is full.
    StorageFull,
    /// The server stops.
    ShuttingDown,
    /// The server failed at something that is not the client's fault.
    Internal,
}

impl Code {
    /// All of them.
    const ALL: [Code; 19] = [
        Code::BadRequest,
        Code::BadName,
        Code::BadPassword,
        Code::NotLoggedIn,
        Code::LoggedInAlready,
        Code::TooLong,
        Code::Empty,
        Code::NotUtf8,
        Code::UnknownType,
        Code::UnknownCommand,
        Code::IdReused,
        Code::NotAMember,
        Code::MailboxFull,
        Code::Rejected,
        Code::TooManyConnections,
        Code::LoginTimeout,
        Code::StorageFull,
        Code::ShuttingDown,
        Code::Internal,
    ];

    /// The code that is written so.
    pub(crate) fn parse(code: &str) -> Option<Self> {
        Code::ALL.into_iter().find(|known| known.as_str() == code)
    }

    /// Whether it is over by itself, so that the same may be tried again.
    pub(crate) fn is_passing(self) -> bool {
        matches!(self, Code::StorageFull | Code::ShuttingDown | Code::Internal)
    }

    /// The code as every protocol writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::BadRequest => "bad_request",
            Code::BadName => "bad_name",
            Code::BadPassword => "bad_password",
            Code::NotLoggedIn => "not_logged_in",
            Code::LoggedInAlready => "logged_in_already",
            Code::TooLong => "too_long",
            Code::Empty => "empty",
            Code::NotUtf8 => "not_utf8",
            Code::UnknownType => "unknown_type",
            Code::UnknownCommand => "unknown_command",
            Code::IdReused => "id_reused",
            Code::NotAMember => "not_a_member",
            Code::MailboxFull => "mailbox_full",
            Code::Rejected => "rejected",
            Code::TooManyConnections => "too_many_connections",
            Code::LoginTimeout => "login_timeout",
            Code::StorageFull => "storage_full",
            Code::ShuttingDown => "shutting_down",
            Code::Internal => "internal",
        }
    }
}

/// Whether a plugin may have a command of this name: 1 to 32 small letters, digits and `-`, of which the first is a letter.
pub fn is_command_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase();
    name.len() <= NAME_CHARS_MAX
        && name.bytes().next().is_some_and(is_letter)
        && name.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit() || byte == b'-')
}

/// What is wrong with a list of destinations that is too long.
fn too_many_destinations(destinations_max: u64) -> String {
    format!("more than {destinations_max} names (destinations_max)")
}
