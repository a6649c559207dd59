//! Messages and replies as frames.
//! Owns the keys and their order; never decides what is said.

use std::io::Write;

use crate::message::{Destination, Message, PeerName, RequestId, Seq, Text, Timestamp};
use crate::protocol::{Code, PastMessage, PluginState, Refusal, Reply, RoomHere, VERSION};

/// What a welcome says of the server.
const SERVER: &str = concat!("holdline ", env!("CARGO_PKG_VERSION"));

/// Appends a message as it is delivered.
pub fn encode_message(message: &Message, out: &mut Vec<u8>) {
    Frame::begin("message", None, out).message(message).end();
}

/// Appends a reply: a frame, or nothing where it is for people. `id` is that of the request.
pub fn encode_reply(id: Option<&RequestId>, reply: &Reply, out: &mut Vec<u8>) {
    let frame = |kind, out| Frame::begin(kind, id, out);
    match reply {
        Reply::Welcome { name, waiting } => frame("welcome", out).welcome(name, *waiting).end(),
        Reply::Accepted { seq, at } => frame("accepted", out).seq(*seq).at(*at).end(),
        Reply::Joined { room, topic } => frame("joined", out).string("room", room.as_str()).topic(topic.as_ref()).end(),
        Reply::Topic { room, topic } => frame("topic", out).string("room", room.as_str()).text(topic.as_ref()).end(),
        Reply::TopicSet { room, name, topic } => {
            let frame = Frame::begin("topic", None, out).string("room", room.as_str()).string("name", name.as_str());
            frame.text(topic.as_ref()).end();
        }
        Reply::Left { room } => frame("left", out).string("room", room.as_str()).end(),
        Reply::Pong { .. } => frame("pong", out).end(),
        Reply::Who { here, rooms } => frame("who", out)
            .strings("here", here.iter().map(PeerName::as_str))
            .strings("rooms", rooms.iter().map(|room| room.room.as_str()))
            .topics(rooms)
            .end(),
        Reply::History { messages, more } => frame("history", out).past(messages).truth("more", *more).end(),
        Reply::Found { messages, more } => frame("search", out).past(messages).truth("more", *more).end(),
        Reply::Presence { name, here } => {
            Frame::begin("presence", None, out).string("name", name.as_str()).truth("here", *here).end();
        }
        Reply::Sent(message) => Frame::begin("sent", None, out).message(message).end(),
        Reply::Refused(refusal) => frame("error", out).refusal(refusal).end(),
        Reply::ShuttingDown => {
            let words = "the server is shutting down, what waits for you is kept";
            frame("error", out).refusal(&Refusal::new(Code::ShuttingDown, words)).end();
        }
        Reply::Answer { text } => frame("answer", out).string("text", text.as_str()).end(),
        Reply::Plugins { plugins } => frame("plugins", out).plugins(plugins).end(),
        Reply::Set { key } => frame("set", out).string("key", key).end(),
        Reply::Values { values } => frame("values", out).values(values).end(),
        Reply::Encoded(bytes) => out.extend_from_slice(bytes),
        Reply::Kept { .. } | Reply::Alone { .. } | Reply::Help { .. } => {}
    }
}

/// An object that is being written.
struct Frame<'o> {
    out: &'o mut Vec<u8>,
    /// Whether no key was written yet.
    is_empty: bool,
}

impl<'o> Frame<'o> {
    fn begin(kind: &str, id: Option<&RequestId>, out: &'o mut Vec<u8>) -> Self {
        let frame = Frame::nested(out).string("type", kind);
        match id {
            Some(id) => frame.string("id", id.as_str()),
            None => frame,
        }
    }

    /// An object within another.
    fn nested(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Frame { out, is_empty: true }
    }

    fn key(&mut self, key: &str) {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn string(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        write_string(value, self.out);
        self
    }

    fn number(mut self, key: &str, value: i64) -> Self {
        self.key(key);
        write!(self.out, "{value}").expect("a vector takes all");
        self
    }

    fn truth(mut self, key: &str, value: bool) -> Self {
        self.key(key);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    fn strings<'s>(mut self, key: &str, values: impl Iterator<Item = &'s str>) -> Self {
        self.key(key);
        self.out.push(b'[');
        for (place, value) in values.enumerate() {
            if place > 0 {
                self.out.push(b',');
            }
            write_string(value, self.out);
        }
        self.out.push(b']');
        self
    }

    fn welcome(self, name: &PeerName, waiting: u64) -> Self {
        self.string("name", name.as_str())
            .string("server", SERVER)
            .number("protocol", VERSION.into())
            .number("waiting", waiting.cast_signed())
    }

    /// The topic of a room, if it has one.
    fn topic(self, topic: Option<&Text>) -> Self {
        match topic {
            Some(topic) => self.string("topic", topic.as_str()),
            None => self,
        }
    }

    /// The text of a topic; no topic is an empty text.
    fn text(self, topic: Option<&Text>) -> Self {
        self.string("text", topic.map_or("", Text::as_str))
    }

    /// The topics of rooms by their names, if there are any.
    fn topics(mut self, rooms: &[RoomHere]) -> Self {
        let topics = || rooms.iter().filter_map(|room| Some((room.room.as_str(), room.topic.as_ref()?.as_str())));
        if topics().next().is_some() {
            self.key("topics");
            let frame = topics().fold(Frame::nested(self.out), |frame, (room, topic)| frame.string(room, topic));
            frame.close();
        }
        self
    }

    fn seq(self, seq: Seq) -> Self {
        self.number("seq", seq.get())
    }

    fn at(mut self, at: Timestamp) -> Self {
        self.key("at");
        write!(self.out, "\"{at}\"").expect("a vector takes all");
        self
    }

    fn message(self, message: &Message) -> Self {
        let Message { seq, at, sender, to, room, text } = message;
        self.out.reserve(128 + text.len());
        let frame =
            self.seq(*seq).at(*at).string("from", sender.as_str()).strings("to", to.iter().map(Destination::as_str));
        let frame = match room {
            Some(room) => frame.string("room", room.as_str()),
            None => frame,
        };
        frame.string("text", text.as_str())
    }

    fn past(mut self, messages: &[PastMessage]) -> Self {
        self.key("messages");
        self.out.push(b'[');
        for (place, past) in messages.iter().enumerate() {
            if place > 0 {
                self.out.push(b',');
            }
            Frame::nested(self.out).message(&past.message).close();
        }
        self.out.push(b']');
        self
    }

    fn plugins(mut self, plugins: &[PluginState]) -> Self {
        self.key("plugins");
        self.out.push(b'[');
        for (place, PluginState { name, kind, hooks, state }) in plugins.iter().enumerate() {
            if place > 0 {
                self.out.push(b',');
            }
            Frame::nested(self.out)
                .string("name", name.as_str())
                .string("kind", kind)
                .strings("hooks", hooks.iter().copied())
                .string("state", state)
                .close();
        }
        self.out.push(b']');
        self
    }

    fn values(mut self, values: &[(String, String)]) -> Self {
        self.key("values");
        self.out.push(b'{');
        for (place, (key, json)) in values.iter().enumerate() {
            if place > 0 {
                self.out.push(b',');
            }
            write_string(key, self.out);
            self.out.push(b':');
            self.out.extend_from_slice(json.as_bytes());
        }
        self.out.push(b'}');
        self
    }

    fn refusal(self, refusal: &Refusal) -> Self {
        self.string("code", refusal.code.as_str()).string("message", &refusal.message)
    }

    fn close(self) {
        self.out.push(b'}');
    }

    /// Ends the line too.
    fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }
}

/// RFC 8259, section 7.
fn write_string(value: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("a vector takes all, and a string is JSON");
}
