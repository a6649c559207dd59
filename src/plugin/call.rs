//! What plugins are asked and told: a type for each hook, whose fields are the same for every kind of plugin. Owns these
//! fields; never knows how they reach a plugin.

use std::net::IpAddr;

use serde::Serialize;

use crate::config::Hook;
use crate::message::{Destination, PeerName, Room, Seq, Text, Timestamp};

/// One thing that a plugin is asked or told. As JSON, and as a table of Luau: its fields, and `hook` with the name of the hook.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "hook", rename_all = "lowercase")]
pub enum Call {
    /// Somebody has connected.
    Connect(ConnectCall),
    /// Somebody wants to log in.
    Login(LoginCall),
    /// A message is about to be logged.
    Message(MessageCall),
    /// Somebody typed one of the plugin's commands.
    Command(CommandCall),
    /// A message to the plugin itself.
    Mail(MailCall),
    /// A message is on disk.
    Logged(LoggedCall),
    /// A peer came.
    Join(PresenceCall),
    /// A peer went.
    Leave(PresenceCall),
    /// A peer has got messages.
    Delivered(DeliveredCall),
    /// So many seconds are over.
    Tick {
        /// When.
        at: Timestamp,
    },
    /// The plugin begins.
    Start {
        /// `[plugin.settings]`.
        settings: serde_json::Value,
    },
    /// The plugin ends.
    Stop,
    /// It goes on, after the plugins were read again.
    Reload {
        /// `[plugin.settings]`.
        settings: serde_json::Value,
    },
}

impl Call {
    /// For which hook it is.
    pub fn hook(&self) -> Hook {
        match self {
            Call::Connect(_) => Hook::Connect,
            Call::Login(_) => Hook::Login,
            Call::Message(_) => Hook::Message,
            Call::Command(_) => Hook::Command,
            Call::Mail(_) => Hook::Mail,
            Call::Logged(_) => Hook::Logged,
            Call::Join(_) => Hook::Join,
            Call::Leave(_) => Hook::Leave,
            Call::Delivered(_) => Hook::Delivered,
            Call::Tick { .. } => Hook::Tick,
            Call::Start { .. } => Hook::Start,
            Call::Stop => Hook::Stop,
            Call::Reload { .. } => Hook::Reload,
        }
    }
}

/// A connection, as far as it is known before anybody has said who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectCall {
    /// From where.
    pub address: IpAddr,
    /// How it speaks: `plain` or `json`.
    pub protocol: &'static str,
    /// Whether it is encrypted.
    pub tls: bool,
}

/// A login that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoginCall {
    /// By which name.
    pub name: PeerName,
    /// The password, if one was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// How it came.
    #[serde(flatten)]
    pub connection: ConnectCall,
}

/// A message that is not logged yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MessageCall {
    /// Who sends it.
    pub from: PeerName,
    /// Whom it is addressed to.
    pub to: Vec<Destination>,
    /// What it says.
    pub text: Text,
}

/// A command, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CommandCall {
    /// Who typed it.
    pub from: PeerName,
    /// Which, without its `/`.
    pub command: String,
    /// What stood behind it, trimmed.
    pub arguments: String,
}

/// A message to the plugin's own name, or in one of its rooms: the frame `message` of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MailCall {
    /// Always `message`, as in the protocol.
    pub r#type: &'static str,
    /// Its place in the log.
    pub seq: Seq,
    /// When it was accepted.
    pub at: Timestamp,
    /// Who sent it.
    pub from: PeerName,
    /// Whom it was addressed to.
    pub to: Vec<Destination>,
    /// The room through which it reached the plugin, if through one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<Room>,
    /// What it says.
    pub text: Text,
}

/// A message that is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoggedCall {
    /// Its place in the log.
    pub seq: Seq,
    /// When it was accepted.
    pub at: Timestamp,
    /// Who sent it.
    pub from: PeerName,
    /// Whom it was addressed to.
    pub to: Vec<Destination>,
    /// What it says.
    pub text: Text,
    /// Those of its recipients, members of rooms among them, who are not here and have not got it; no more than
    /// [`AWAY_NAMES_MAX`](crate::limits::AWAY_NAMES_MAX).
    pub away: Vec<PeerName>,
}

/// That a peer came or went: the frame `presence` of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PresenceCall {
    /// Always `presence`, as in the protocol.
    pub r#type: &'static str,
    /// Its number: it grows with each.
    pub event: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub name: PeerName,
    /// Whether it is here now.
    pub here: bool,
}

/// That a peer has got messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeliveredCall {
    /// Its number: it grows with each.
    pub event: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub name: PeerName,
    /// All messages for it up to this one.
    pub seq: Seq,
}
