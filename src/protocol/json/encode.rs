//! Messages and replies as frames. Owns which frame a reply is; never decides what is replied.

use std::borrow::Cow;
use std::io::Write;

use crate::message::{Message, PeerName, RequestId, Room, Seq, Text, Timestamp};
use crate::protocol::{Code, PastMessage, PluginState, Refusal, Reply, RoomSummary, VERSION};
use crate::wire::{ErrorFrame, MessageFrame, PluginFrame, ServerFrame};

/// Program and version in a welcome.
const SERVER: &str = concat!("holdline ", env!("CARGO_PKG_VERSION"));

/// Last words of a server that stops.
const SHUTTING_DOWN: &str = "the server is shutting down, what waits for you is stored";

/// Appends a message as it is delivered: the frame of [`MessageFrame`]. It is written key by key, because each message passes here: with
/// `Serialize` it takes a sixth more time.
pub fn encode_message(message: &Message, out: &mut Vec<u8>) {
    let Message { seq, at, sender, to, room, text } = message;
    out.reserve(128 + text.len());
    write!(out, "{{\"type\":\"message\",\"seq\":{seq},\"at\":\"{at}\",\"from\":").expect("a vector takes all");
    write_string(sender.as_str(), out);
    out.extend_from_slice(b",\"to\":[");
    for (index, destination) in to.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(destination.as_str(), out);
    }
    out.push(b']');
    if let Some(room) = room {
        out.extend_from_slice(b",\"room\":");
        write_string(room.as_str(), out);
    }
    out.extend_from_slice(b",\"text\":");
    write_string(text.as_str(), out);
    out.extend_from_slice(b"}\n");
}

/// Appends a reply: a frame, or nothing if it is for people. `id` is that of the request.
pub fn encode_reply(id: Option<&RequestId>, reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        // Each message of a program is answered with it: it is written as a message is.
        Reply::Accepted { seq, at } => encode_accepted(id, *seq, *at, out),
        Reply::Encoded(bytes) => out.extend_from_slice(bytes),
        reply => {
            if let Some(frame) = reply_frame(id, reply) {
                serde_json::to_writer(&mut *out, &frame).expect("a vector takes all, and each frame is JSON");
                out.push(b'\n');
            }
        }
    }
}

fn encode_accepted(id: Option<&RequestId>, seq: Seq, at: Timestamp, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"accepted\"");
    if let Some(id) = id {
        out.extend_from_slice(b",\"id\":");
        write_string(id.as_str(), out);
    }
    writeln!(out, ",\"seq\":{seq},\"at\":\"{at}\"}}").expect("a vector takes all");
}

/// RFC 8259, section 7.
fn write_string(value: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("a vector takes all, and a string is JSON");
}

/// Returns the frame of a reply. `None`: the reply is for people, or for plugins inside the server.
pub fn reply_frame<'a>(id: Option<&'a RequestId>, reply: &'a Reply) -> Option<ServerFrame<'a>> {
    let id = id.map(|id| id.as_str().into());
    Some(match reply {
        Reply::Welcome { name, waiting, database, newest } => ServerFrame::Welcome {
            id,
            name: name.as_str().into(),
            server: SERVER.into(),
            protocol: VERSION,
            waiting: *waiting,
            database: database.to_string().into(),
            newest: newest.get(),
        },
        Reply::Accepted { seq, at } => ServerFrame::Accepted { id, seq: seq.get(), at: at.to_string().into() },
        Reply::Joined { room, topic } => {
            ServerFrame::Joined { id, room: room.as_str().into(), topic: topic.as_ref().map(text) }
        }
        Reply::Missed { room, count } => ServerFrame::Missed { room: room.as_str().into(), count: *count },
        Reply::Topic { room, topic } => topic_frame(id, room, None, topic.as_ref()),
        Reply::TopicSet { room, name, topic } => topic_frame(None, room, Some(name), topic.as_ref()),
        Reply::Left { room } | Reply::RoomRemoved { room } => ServerFrame::Left { id, room: room.as_str().into() },
        Reply::Registered { .. } => ServerFrame::Registered { id },
        Reply::PasswordChanged => ServerFrame::PasswordChanged { id },
        Reply::Pong { .. } => ServerFrame::Pong { id },
        Reply::Who { here, rooms, more } => who_frame(id, here, rooms, *more),
        Reply::History { messages, more } => ServerFrame::History { id, messages: past(messages), more: *more },
        Reply::Found { messages, more } => ServerFrame::Search { id, messages: past(messages), more: *more },
        Reply::Presence { name, here } => ServerFrame::Presence { name: name.as_str().into(), here: *here },
        Reply::Sent(message) => ServerFrame::Sent(message.into()),
        Reply::Refused(Refusal { code, message }) => error_frame(id, *code, message),
        Reply::ShuttingDown => error_frame(id, Code::ShuttingDown, SHUTTING_DOWN),
        Reply::Answer { text: answer } => ServerFrame::Answer { id, text: text(answer) },
        Reply::Plugins { plugins } => ServerFrame::Plugins { id, plugins: plugins.iter().map(plugin_frame).collect() },
        Reply::Set { key } => ServerFrame::Set { id, key: key.as_str().into() },
        Reply::StoredForLater { .. } | Reply::Alone { .. } | Reply::Help { .. } => return None,
        Reply::Here { .. } => return None,
        Reply::Values { .. } | Reply::Encoded(_) => return None,
    })
}

/// No topic is an empty text.
fn topic_frame<'a>(
    id: Option<Cow<'a, str>>,
    room: &'a Room,
    name: Option<&'a PeerName>,
    topic: Option<&'a Text>,
) -> ServerFrame<'a> {
    ServerFrame::Topic {
        id,
        room: room.as_str().into(),
        name: name.map(|name| name.as_str().into()),
        text: topic.map(text).unwrap_or_default(),
    }
}

fn error_frame<'a>(id: Option<Cow<'a, str>>, code: Code, message: &str) -> ServerFrame<'a> {
    ServerFrame::Error { id, error: ErrorFrame::new(code.as_str(), message) }
}

fn who_frame<'a>(
    id: Option<Cow<'a, str>>,
    here: &'a [PeerName],
    rooms: &'a [RoomSummary],
    more: bool,
) -> ServerFrame<'a> {
    let topic = |RoomSummary { room, topic }: &'a RoomSummary| Some((room.as_str().into(), text(topic.as_ref()?)));
    ServerFrame::Who {
        id,
        here: here.iter().map(|name| name.as_str().into()).collect(),
        rooms: rooms.iter().map(|room| room.room.as_str().into()).collect(),
        topics: rooms.iter().filter_map(topic).collect(),
        more,
    }
}

fn plugin_frame(PluginState { name, kind, hooks, state }: &PluginState) -> PluginFrame<'_> {
    PluginFrame {
        name: name.as_str().into(),
        kind: (*kind).into(),
        hooks: hooks.iter().map(|hook| (*hook).into()).collect(),
        state: state.into(),
    }
}

fn past(messages: &[PastMessage]) -> Vec<MessageFrame<'_>> {
    messages.iter().map(|past| (&past.message).into()).collect()
}

fn text(text: &Text) -> Cow<'_, str> {
    text.as_str().into()
}
