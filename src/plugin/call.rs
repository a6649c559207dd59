//! Calls of plugins: one type for each hook, with the same fields for every kind of plugin. Owns these fields; never knows how
//! a call reaches a plugin.

use std::net::IpAddr;

use serde::Serialize;

use crate::config::Hook;
use crate::message::{Destination, PeerName, Room, Seq, Text, Timestamp};
use crate::password::Password;

/// Invocation of one hook of a plugin. As JSON and as a Luau table it has the fields of its variant, and `hook`, the name of the
/// hook.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "hook", rename_all = "lowercase")]
pub enum Call {
    /// A client has connected.
    Connect(ConnectCall),
    /// A client requests to log in.
    Login(LoginCall),
    /// A message is about to be logged.
    Message(MessageCall),
    /// A peer typed one of the plugin's commands.
    Command(CommandCall),
    /// A message to the plugin itself.
    Mail(MailCall),
    /// A message was logged.
    Logged(LoggedCall),
    /// A peer came online.
    Join(PresenceCall),
    /// A peer went offline.
    Leave(PresenceCall),
    /// Messages were delivered to a peer.
    Delivered(DeliveredCall),
    /// Another `tick_s` seconds have passed.
    Tick {
        /// Time of the call.
        at: Timestamp,
    },
    /// The plugin starts.
    Start {
        /// `[plugin.settings]`.
        settings: serde_json::Value,
    },
    /// The plugin must stop.
    Stop,
    /// `plugins.toml` was read again, and the plugin continues.
    Reload {
        /// `[plugin.settings]`.
        settings: serde_json::Value,
    },
}

impl Call {
    /// Returns the hook that is called.
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

/// A connection before its login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectCall {
    /// Address of the client.
    pub address: IpAddr,
    /// Protocol of the client: `plain` or `json`.
    pub protocol: &'static str,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

/// A request to log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoginCall {
    /// Name to log in with.
    pub name: PeerName,
    /// Password, if the client sent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// Connection of the client.
    #[serde(flatten)]
    pub connection: ConnectCall,
}

/// A message before it is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MessageCall {
    /// Sender.
    pub from: PeerName,
    /// Recipients as addressed.
    pub to: Vec<Destination>,
    /// Text of the message.
    pub text: Text,
}

/// A plugin command as it was typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CommandCall {
    /// Peer that typed the command.
    pub from: PeerName,
    /// Name of the command, without its `/`.
    pub command: String,
    /// Rest of the line, trimmed.
    pub arguments: String,
}

/// A message to the plugin's own name, or in one of its rooms: the frame `message` of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MailCall {
    /// Always `message`, as in the protocol.
    pub r#type: &'static str,
    /// Place in the log.
    pub seq: Seq,
    /// Time of acceptance.
    pub at: Timestamp,
    /// Sender.
    pub from: PeerName,
    /// Recipients as addressed.
    pub to: Vec<Destination>,
    /// Room through which the message reached the plugin; `None` if it was addressed to the plugin directly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<Room>,
    /// Text of the message.
    pub text: Text,
}

/// A logged message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoggedCall {
    /// Place in the log.
    pub seq: Seq,
    /// Time of acceptance.
    pub at: Timestamp,
    /// Sender.
    pub from: PeerName,
    /// Recipients as addressed.
    pub to: Vec<Destination>,
    /// Text of the message.
    pub text: Text,
    /// Offline recipients for whom the message waits, members of rooms included; at most
    /// [`AWAY_NAMES_MAX`](crate::limits::AWAY_NAMES_MAX).
    pub away: Vec<PeerName>,
}

/// A peer event: a peer came online or went offline. The frame `presence` of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PresenceCall {
    /// Always `presence`, as in the protocol.
    pub r#type: &'static str,
    /// Number of the event; grows with each event.
    pub event: i64,
    /// Time of the event.
    pub at: Timestamp,
    /// Peer that came or went.
    pub name: PeerName,
    /// Whether the peer is online now.
    pub here: bool,
}

/// A peer event: messages were delivered to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeliveredCall {
    /// Number of the event; grows with each event.
    pub event: i64,
    /// Time of the event.
    pub at: Timestamp,
    /// Peer that received the messages.
    pub name: PeerName,
    /// Newest message that is delivered; all earlier ones are, too.
    pub seq: Seq,
}
