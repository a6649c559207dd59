//! Requests as types: a login, the requests of a client that is logged in, and those that only plugins can make. Owns these types; never
//! parses or handles one.

use crate::limits::COMMAND_CHARS_MAX;
use crate::message::{Destination, PeerName, RequestId, Room, Seq, Text};
use crate::password::{Password, PasswordHash};

use super::refusal::{Refusal, Rejected};

/// Login of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Id that the client gave its login: the answer carries it.
    pub id: Option<RequestId>,
    /// Name of the peer that the client logs in as.
    pub name: PeerName,
    /// Password, if one was sent.
    pub password: Option<Password>,
    /// Whether the client registers the name with this password.
    pub registers: bool,
    /// Whether the client acknowledges explicitly ([`Request::Ack`]), so that TCP acknowledgements do not count.
    pub acks: bool,
}

/// Meaning of a line before the login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginLine {
    /// Logs in.
    Login(Login),
    /// Ends the connection.
    Quit,
}

impl From<Login> for LoginLine {
    fn from(login: Login) -> Self {
        LoginLine::Login(login)
    }
}

/// Request of a client, with its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRequest {
    /// Id that the client gave the request: the answer carries it. A [`Request::Send`] with the same id is not sent twice.
    pub id: Option<RequestId>,
    /// The request.
    pub request: Request,
}

impl From<Request> for ClientRequest {
    /// A request without an id, as on plain lines.
    fn from(request: Request) -> Self {
        ClientRequest { id: None, request }
    }
}

/// Result of parsing a line that is not blank: a request, or a refusal.
pub type ParsedRequest = Result<ClientRequest, Rejected>;

/// Request of a client that is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Sends a message.
    Send(Draft),
    /// Acknowledges all messages up to this one; for a client that logged in with [`Login::acks`].
    Ack {
        /// Last message that is acknowledged.
        seq: Seq,
    },
    /// Makes the peer a member of a room, which is created if it does not exist.
    Join {
        /// The room.
        room: Room,
    },
    /// Ends the membership of the peer in a room.
    Leave {
        /// The room.
        room: Room,
    },
    /// Shows the topic of a room.
    ShowTopic {
        /// The room.
        room: Room,
    },
    /// Sets the topic of a room, or clears it.
    SetTopic {
        /// The room.
        room: Room,
        /// The new topic; `None` clears it.
        topic: Option<Text>,
    },
    /// Makes the peer's name an account with this password.
    Register {
        /// The password.
        password: Password,
    },
    /// Changes the password of the peer's name.
    ChangePassword {
        /// Password that is valid until then.
        old: Password,
        /// Password that is valid from then on.
        new: Password,
    },
    /// Lists the peers that are online, and those in the rooms of the peer.
    Who,
    /// Lists the newest messages that the peer sent or received.
    History(HistoryRequest),
    /// Lists the newest messages that the peer sent or received and that contain all of some words.
    Search {
        /// Words as the client wrote them; never blank.
        words: Text,
        /// Number of messages at most: 1 to [`HISTORY_MESSAGES_MAX`](crate::limits::HISTORY_MESSAGES_MAX).
        count: usize,
    },
    /// Requests a `pong` once everything before it is handled and on disk.
    Ping {
        /// Token that the answer repeats.
        token: Option<Text>,
    },
    /// Lists the commands.
    Help,
    /// Runs a command of a plugin.
    Command {
        /// Name of the command, without the `/`.
        name: String,
        /// Text behind the name, trimmed.
        arguments: String,
    },
    /// Lists the plugins and their states.
    Plugins,
    /// Ends the session once everything queued is written.
    Quit,
}

/// Part that plugins have in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PluginPart {
    /// Plugins may change or refuse it.
    Filter,
    /// Plugins answer it, if there are any.
    Answer,
    /// Plugins do not see it.
    None,
}

/// Properties of a kind of request.
struct Traits {
    is_read_only: bool,
    has_large_reply: bool,
    plugins: PluginPart,
}

/// Message that is not sent yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Destinations, each once, in the order in which they were named: 1 to as many as the configuration allows.
    pub to: Vec<Destination>,
    /// Text of the message.
    pub text: Text,
}

/// Part of the message history that a client requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRequest {
    /// Only messages exchanged with this peer, or sent in this room.
    pub with: Option<Destination>,
    /// Only messages before this one.
    pub before: Option<Seq>,
    /// Number of messages at most: 1 to [`HISTORY_MESSAGES_MAX`](crate::limits::HISTORY_MESSAGES_MAX).
    pub count: usize,
}

/// Change of the account of a peer, with passwords that are checked and hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountChange {
    /// Makes the name an account.
    Register {
        /// Hash of the password.
        password: PasswordHash,
    },
    /// Changes the password.
    ChangePassword {
        /// Hash that was stored when the old password was checked.
        old: PasswordHash,
        /// Hash of the new password.
        new: PasswordHash,
    },
}

/// Request that only a plugin can make, for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginRequest {
    /// Stores a value, or removes it.
    SetValue {
        /// Key of the value.
        key: String,
        /// JSON; `None` removes the value.
        value: Option<String>,
    },
    /// Lists all values that the plugin stores.
    ListValues,
}

impl Request {
    /// Makes the request of a plugin command. Fails if no plugin can have a command of this name.
    pub fn command(name: &str, arguments: &str) -> Result<Self, Refusal> {
        if !is_command_name(name) {
            return Err(Refusal::unknown_command(name));
        }
        Ok(Request::Command { name: name.to_owned(), arguments: arguments.trim().to_owned() })
    }

    /// Whether the request changes nothing, so that only its reply matters.
    pub fn is_read_only(&self) -> bool {
        self.traits().is_read_only
    }

    /// Whether the reply may be large, so that nothing else is requested together with it.
    pub fn has_large_reply(&self) -> bool {
        self.traits().has_large_reply
    }

    /// Returns the part that plugins have in the request.
    pub(crate) fn plugin_part(&self) -> PluginPart {
        self.traits().plugins
    }

    fn traits(&self) -> Traits {
        let of = |is_read_only, has_large_reply, plugins| Traits { is_read_only, has_large_reply, plugins };
        match self {
            Request::Send(_) => of(false, false, PluginPart::Filter),
            Request::Ack { .. } | Request::Join { .. } | Request::Leave { .. } => of(false, false, PluginPart::None),
            Request::Who | Request::History(_) | Request::Search { .. } => of(true, true, PluginPart::None),
            Request::SetTopic { .. } => of(false, false, PluginPart::None),
            Request::Register { .. } | Request::ChangePassword { .. } => of(false, true, PluginPart::None),
            Request::ShowTopic { .. } | Request::Ping { .. } => of(true, false, PluginPart::None),
            Request::Help | Request::Plugins => of(true, true, PluginPart::Answer),
            Request::Command { .. } => of(false, true, PluginPart::Answer),
            Request::Quit => of(false, false, PluginPart::None),
        }
    }
}

/// Whether a plugin may have a command of this name: 1 to 32 small letters, digits and `-`, of which the first is a letter.
pub fn is_command_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase();
    name.len() <= COMMAND_CHARS_MAX
        && name.bytes().next().is_some_and(is_letter)
        && name.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit() || byte == b'-')
}
