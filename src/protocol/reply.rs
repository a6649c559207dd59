//! Replies and announcements, as types: everything that a client gets besides messages. Owns these types; never encodes one.

use super::refusal::Refusal;
use crate::message::{DatabaseId, Message, PeerName, Room, Seq, Text, Timestamp};

/// Reply to a client's request, or announcement to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The login succeeded.
    Welcome {
        /// Name as it was mapped.
        name: PeerName,
        /// Number of messages that wait: their replay follows.
        waiting: u64,
        /// Identity of the database, without which a `seq` means nothing.
        database: DatabaseId,
        /// Newest message.
        newest: Seq,
    },
    /// Answers [`Request::Send`](super::Request::Send): the message is on disk. Only programs get it; people get [`Reply::StoredForLater`].
    Accepted {
        /// Place of the message in the log.
        seq: Seq,
        /// Time at which the message was accepted.
        at: Timestamp,
    },
    /// A message is stored for a peer that is offline.
    StoredForLater {
        /// The peer.
        peer: PeerName,
        /// Whether the peer ever logged in.
        seen: bool,
    },
    /// A message was sent into a room that has no other members.
    Alone {
        /// The room.
        room: Room,
    },
    /// Messages of a room are no longer replayed, and the client did not get them. They are in the history of the room.
    Missed {
        /// The room.
        room: Room,
        /// Number of messages.
        count: u64,
    },
    /// Answers [`Request::Join`](super::Request::Join).
    Joined {
        /// Name of the room as it was mapped.
        room: Room,
        /// Topic of the room, if it has one.
        topic: Option<Text>,
    },
    /// Answers [`Request::Leave`](super::Request::Leave).
    Left {
        /// Name of the room as it was mapped.
        room: Room,
    },
    /// The operator has removed a room that the client was in.
    RoomRemoved {
        /// The room.
        room: Room,
    },
    /// Answers [`Request::ShowTopic`](super::Request::ShowTopic) and [`Request::SetTopic`](super::Request::SetTopic).
    Topic {
        /// Name of the room as it was mapped.
        room: Room,
        /// Topic of the room, if it has one.
        topic: Option<Text>,
    },
    /// Announces that a member has set the topic of a room.
    TopicSet {
        /// The room.
        room: Room,
        /// The member.
        name: PeerName,
        /// The new topic; `None` if it was cleared.
        topic: Option<Text>,
    },
    /// Answers [`Request::Register`](super::Request::Register), and a login that registers its name.
    Registered {
        /// Name that is an account now.
        name: PeerName,
    },
    /// Answers [`Request::ChangePassword`](super::Request::ChangePassword).
    PasswordChanged,
    /// Answers [`Request::Ping`](super::Request::Ping).
    Pong {
        /// Token of the request.
        token: Option<Text>,
    },
    /// Answers [`Request::Who`](super::Request::Who) in one piece, for programs.
    Who {
        /// Peers that are online, in the order of their names.
        here: Vec<PeerName>,
        /// Rooms of the requester, in the order of their names.
        rooms: Vec<RoomSummary>,
        /// Whether there are more names or topics, for which there is no room.
        more: bool,
    },
    /// Part of the answer to [`Request::Who`](super::Request::Who), for people. [`Reply::Topic`] follows the last part of a room with a topic.
    Here {
        /// Room of the requester; `None`: all rooms, and outside of rooms.
        room: Option<Room>,
        /// Peers that are online there, in the order of their names; after the first part of a room, those that follow.
        names: Vec<PeerName>,
    },
    /// Answers [`Request::History`](super::Request::History).
    History {
        /// Messages, oldest first.
        messages: Vec<PastMessage>,
        /// Whether there are older ones.
        more: bool,
    },
    /// Answers [`Request::Search`](super::Request::Search).
    Found {
        /// Messages, newest first.
        messages: Vec<PastMessage>,
        /// Whether there are older ones.
        more: bool,
    },
    /// Answers [`Request::Help`](super::Request::Help).
    Help {
        /// Commands of plugins, without their `/`, and what each does: `PLACE: the weather there`.
        commands: Vec<(String, String)>,
    },
    /// Answers [`Request::Command`](super::Request::Command), in the words of the plugin.
    Answer {
        /// Text of one line or more.
        text: Text,
    },
    /// Answers [`Request::Plugins`](super::Request::Plugins).
    Plugins {
        /// Plugins in the order of `plugins.toml`.
        plugins: Vec<PluginState>,
    },
    /// Answers [`PluginRequest::SetValue`](super::PluginRequest::SetValue): the value is on disk.
    Set {
        /// Key of the value.
        key: String,
    },
    /// Answers [`PluginRequest::ListValues`](super::PluginRequest::ListValues).
    Values {
        /// Keys and values, which are JSON.
        values: Vec<(String, String)>,
    },
    /// A peer came online or went offline. Only programs get it.
    Presence {
        /// The peer.
        name: PeerName,
        /// Whether the peer is online now.
        here: bool,
    },
    /// Message that another session of the client's name has sent. Only programs get it.
    Sent(Message),
    /// Bytes that the session's decoder made, in its own protocol; written unchanged.
    Encoded(Vec<u8>),
    /// The request was not carried out.
    Refused(Refusal),
    /// The server stops; what is queued is still written.
    ShuttingDown,
}

impl Reply {
    /// Returns roughly the memory that the strings of the reply take. Short replies count as 0.
    pub(crate) fn string_bytes(&self) -> usize {
        match self {
            Reply::History { messages, .. } | Reply::Found { messages, .. } => {
                messages.iter().map(|past| past.message.counted_bytes()).sum()
            }
            Reply::Who { here, rooms, .. } => {
                let rooms = rooms.iter().map(|room| (room.room.as_str(), room.topic.as_ref().map_or("", Text::as_str)));
                list_bytes(here.iter().map(PeerName::as_str))
                    + list_bytes(rooms.flat_map(|(room, topic)| [room, topic]))
            }
            Reply::Values { values: pairs } | Reply::Help { commands: pairs } => {
                list_bytes(pairs.iter().flat_map(|(first, second)| [first.as_str(), second.as_str()]))
            }
            Reply::Plugins { plugins } => list_bytes(plugins.iter().map(|plugin| plugin.state.as_str())),
            Reply::Here { names, .. } => list_bytes(names.iter().map(PeerName::as_str)),
            Reply::Sent(message) => message.counted_bytes(),
            Reply::Answer { text } => text.len(),
            Reply::Encoded(bytes) => bytes.len(),
            Reply::Refused(refusal) => refusal.message.len(),
            Reply::Joined { topic, .. } | Reply::Topic { topic, .. } | Reply::TopicSet { topic, .. } => {
                topic.as_ref().map_or(0, |topic| topic.len())
            }
            Reply::Welcome { .. } | Reply::Accepted { .. } | Reply::StoredForLater { .. } | Reply::Alone { .. } => 0,
            Reply::Left { .. } | Reply::Pong { .. } | Reply::Set { .. } | Reply::Presence { .. } => 0,
            Reply::ShuttingDown | Reply::Missed { .. } | Reply::RoomRemoved { .. } => 0,
            Reply::Registered { .. } | Reply::PasswordChanged => 0,
        }
    }
}

/// Size of strings in a list.
fn list_bytes<'s>(strings: impl Iterator<Item = &'s str>) -> usize {
    strings.map(|string| size_of::<String>() + string.len()).sum()
}

/// Room in the reply to `/who`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomSummary {
    /// The room.
    pub room: Room,
    /// Topic, if one is set.
    pub topic: Option<Text>,
}

/// Plugin and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginState {
    /// Name of the plugin.
    pub name: PeerName,
    /// Kind of the plugin: `luau` or `process`.
    pub kind: &'static str,
    /// Hooks that the plugin uses.
    pub hooks: Vec<&'static str>,
    /// Whether the plugin runs, and if not, why.
    pub state: String,
}

/// Message of a history or a search, as the requester sent or received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastMessage {
    /// Whether the requester sent it.
    pub sent: bool,
    /// The message, with its destinations.
    pub message: Message,
}
