//! Serialised form of an entry: bytes that mean the same on every machine and in every later version. Owns the form, field by field;
//! never stores or sends it.
//!
//! Form 1 is the byte `1`, a byte for the kind, and the fields of the kind in the order below, without padding or names:
//!
//! | kind | entry | fields |
//! | --- | --- | --- |
//! | 1 | `Peer` | id: integer, name: text, seen: flag, cursor: integer |
//! | 2 | `Room` | id: integer, name with its `#`: text |
//! | 3 | `Join` | room: integer, peer: integer |
//! | 4 | `Leave` | room: integer, peer: integer |
//! | 5 | `Message` | at: integer, sender: integer, recipients: list of integers (a room is negative), text: text, id: option of (text, hash) |
//! | 6 | `OutboxSent` | outbox row |
//! | 7 | `OutboxRefused` | outbox row, at: integer, reason: text |
//! | 8 | `Observe` | observer: integer, logged: flag, join: flag, leave: flag, delivered: flag |
//! | 9 | `ObserverAdvanced` | observer: integer, seq: integer, event: integer |
//! | 10 | `RetainObservers` | names: list of texts |
//! | 11 | `Event` | at: integer, peer: integer, kind: byte (1 join, 2 leave, 3 delivered), and for 3 the cursor: integer |
//! | 12 | `Value` | peer: integer, key: text, value: option of text |
//! | 13 | `Topic` | room: integer, topic: option of text |
//! | 14 | `Remove` | ranges: list of (first: integer, last: integer) |
//! | 15 | `Floor` | room: integer, floor: integer |
//! | 16 | `Source` | peer: integer, source: text |
//! | 17 | `Room` with a creator | as 2, creator: integer |
//! | 18 | `RemoveRoom` | room: integer |
//! | 19 | `Ran` | seconds: integer |
//! | 20 | `BeginPurge` | request: integer, name: text, target: integer (a room is negative) |
//! | 21 | `ContinuePurge` | none |
//! | 22 | `RefusePurge` | request: integer, reason: text |
//! | 23 | `Account` | peer: integer, password: option of text, at: integer |
//!
//! - An integer is signed, of 64 bits, zigzag-coded as in Protocol Buffers (0, -1, 1, -2 become 0, 1, 2, 3), and written in groups of 7
//!   bits, the lowest first, with the high bit set in all bytes but the last. The shortest form is the only one.
//! - A hash is an integer as 8 bytes, the lowest first.
//! - A flag is a byte, 0 or 1. An option is a flag and, after 1, the value.
//! - Bytes are their number, an integer, and the bytes. A text is bytes in UTF-8. A list is the number of its items, and the items.
//! - Times are milliseconds since 1970, UTC. An outbox row is row: integer, and sender, recipients and text: options of bytes.
//!
//! An entry has exactly one form, so that equal entries have equal hashes. A change of the form gets a new number; form 1 stays as it is.

mod error;
mod reader;
mod writer;

pub use self::error::DecodeError;
use self::error::FORM;
use self::reader::Reader;
use self::writer::Writer;
use super::{Entry, SendId};
use crate::message::{PeerId, PeerName, Recipient, RequestId, Room, RoomId, Seq, Text, Timestamp};
use crate::password::PasswordHash;
use crate::source::Source;
use crate::store::{EventFilter, EventKind, ObserverCursor, PeerEvent, PeerRecord, Post, SeqRange};

impl Entry {
    /// Appends the serialised form of the entry.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut out = Writer::new(out);
        out.byte(FORM);
        out.byte(self.kind());
        match self {
            Entry::Peer(record) => write_peer(record, &mut out),
            Entry::Room { id, name, creator } => {
                out.integer(id.get());
                out.text(name.as_str());
                creator.iter().for_each(|creator| out.integer(creator.get()));
            }
            Entry::RemoveRoom { room } => out.integer(room.get()),
            Entry::Ran { seconds } => out.integer(seconds.cast_signed()),
            Entry::Account { peer, password, at } => write_account(*peer, password.as_ref(), *at, &mut out),
            Entry::Source { peer, source } => {
                out.integer(peer.get());
                out.text(&source.to_string());
            }
            Entry::Join { room, peer } | Entry::Leave { room, peer } => out.integers([room.get(), peer.get()]),
            Entry::Message { .. } => write_message(self, &mut out),
            Entry::OutboxSent(post) => write_post(post, &mut out),
            Entry::OutboxRefused { post, at, reason } => write_refusal(post, *at, reason, &mut out),
            Entry::Observe { observer, wants } => write_observe(*observer, *wants, &mut out),
            Entry::ObserverAdvanced { observer, seen } => {
                out.integers([observer.get(), seen.seq.get(), seen.event]);
            }
            Entry::RetainObservers { only } => out.list(only, |out, name| out.text(name.as_str())),
            Entry::Event(event) => write_event(event, &mut out),
            Entry::Value { peer, key, value } => write_value(*peer, key, value.as_deref(), &mut out),
            Entry::Topic { room, topic } => {
                out.integer(room.get());
                out.option(topic.as_ref().map(Text::as_str), Writer::text);
            }
            Entry::Floor { room, floor } => out.integers([room.get(), floor.get()]),
            Entry::Remove { ranges } => {
                out.list(ranges, |out, range| out.integers([range.first.get(), range.last.get()]));
            }
            Entry::BeginPurge { .. } | Entry::ContinuePurge | Entry::RefusePurge { .. } => write_purge(self, &mut out),
        }
    }

    /// Number of the kind in the serialised form.
    fn kind(&self) -> u8 {
        match self {
            Entry::Peer(_) => 1,
            Entry::Room { creator: None, .. } => 2,
            Entry::Join { .. } => 3,
            Entry::Leave { .. } => 4,
            Entry::Message { .. } => 5,
            Entry::OutboxSent(_) => 6,
            Entry::OutboxRefused { .. } => 7,
            Entry::Observe { .. } => 8,
            Entry::ObserverAdvanced { .. } => 9,
            Entry::RetainObservers { .. } => 10,
            Entry::Event(_) => 11,
            Entry::Value { .. } => 12,
            Entry::Topic { .. } => 13,
            Entry::Remove { .. } => 14,
            Entry::Floor { .. } => 15,
            Entry::Source { .. } => 16,
            Entry::Room { creator: Some(_), .. } => 17,
            Entry::RemoveRoom { .. } => 18,
            Entry::Ran { .. } => 19,
            Entry::BeginPurge { .. } => 20,
            Entry::ContinuePurge => 21,
            Entry::RefusePurge { .. } => 22,
            Entry::Account { .. } => 23,
        }
    }

    /// Reads an entry from its serialised form, which must be all of the bytes. Takes memory in proportion to the bytes, whatever they say.
    pub fn decode(bytes: &[u8]) -> Result<Entry, DecodeError> {
        let mut bytes = Reader::new(bytes);
        let form = bytes.byte("form")?;
        if form != FORM {
            return Err(DecodeError::Form { found: form });
        }
        let entry = match bytes.byte("kind")? {
            1 => Entry::Peer(read_peer(&mut bytes)?),
            2 => read_room(&mut bytes, |_| Ok(None))?,
            3 => Entry::Join { room: RoomId::new(bytes.integer("room")?), peer: PeerId::new(bytes.integer("peer")?) },
            4 => Entry::Leave { room: RoomId::new(bytes.integer("room")?), peer: PeerId::new(bytes.integer("peer")?) },
            5 => read_message(&mut bytes)?,
            6 => Entry::OutboxSent(Box::new(read_post(&mut bytes)?)),
            7 => read_refusal(&mut bytes)?,
            8 => read_observe(&mut bytes)?,
            9 => read_observer_advanced(&mut bytes)?,
            10 => Entry::RetainObservers { only: bytes.list("names", |bytes| read_peer_name("names", bytes))? },
            11 => Entry::Event(read_event(&mut bytes)?),
            12 => Entry::Value {
                peer: PeerId::new(bytes.integer("peer")?),
                key: bytes.text("key")?.to_owned(),
                value: bytes.option("value", |bytes| bytes.text("value").map(str::to_owned))?,
            },
            13 => Entry::Topic {
                room: RoomId::new(bytes.integer("room")?),
                topic: bytes.option("topic", |bytes| read_text("topic", bytes))?,
            },
            14 => Entry::Remove { ranges: bytes.list("ranges", read_range)? },
            15 => read_floor(&mut bytes)?,
            16 => Entry::Source { peer: PeerId::new(bytes.integer("peer")?), source: read_source(&mut bytes)? },
            17 => read_room(&mut bytes, |bytes| bytes.integer("creator").map(|creator| Some(PeerId::new(creator))))?,
            18 => Entry::RemoveRoom { room: RoomId::new(bytes.integer("room")?) },
            19 => Entry::Ran { seconds: bytes.integer("seconds")?.cast_unsigned() },
            kind @ 20..=22 => read_purge(kind, &mut bytes)?,
            23 => read_account(&mut bytes)?,
            found => return Err(DecodeError::Kind { found }),
        };
        bytes.end()?;
        Ok(entry)
    }
}

fn read_refusal(bytes: &mut Reader<'_>) -> Result<Entry, DecodeError> {
    Ok(Entry::OutboxRefused {
        post: Box::new(read_post(bytes)?),
        at: read_time(bytes)?,
        reason: bytes.text("reason")?.to_owned(),
    })
}

fn write_account(peer: PeerId, password: Option<&PasswordHash>, at: Timestamp, out: &mut Writer<'_>) {
    out.integer(peer.get());
    out.option(password.map(PasswordHash::as_str), Writer::text);
    out.integer(at.millis());
}

fn read_account(bytes: &mut Reader<'_>) -> Result<Entry, DecodeError> {
    Ok(Entry::Account {
        peer: PeerId::new(bytes.integer("peer")?),
        password: bytes.option("password", |bytes| bytes.text("password").map(PasswordHash::new))?,
        at: read_time(bytes)?,
    })
}

fn read_floor(bytes: &mut Reader<'_>) -> Result<Entry, DecodeError> {
    Ok(Entry::Floor { room: RoomId::new(bytes.integer("room")?), floor: Seq::new(bytes.integer("floor")?) })
}

fn write_peer(PeerRecord { id, name, seen, cursor }: &PeerRecord, out: &mut Writer<'_>) {
    out.integer(id.get());
    out.text(name.as_str());
    out.flag(*seen);
    out.integer(cursor.get());
}

fn read_peer(bytes: &mut Reader<'_>) -> Result<PeerRecord, DecodeError> {
    Ok(PeerRecord {
        id: PeerId::new(bytes.integer("id")?),
        name: read_peer_name("name", bytes)?,
        seen: bytes.flag("seen")?,
        cursor: Seq::new(bytes.integer("cursor")?),
    })
}

fn read_peer_name(field: &'static str, bytes: &mut Reader<'_>) -> Result<PeerName, DecodeError> {
    let name = bytes.text(field)?;
    let parsed = PeerName::parse(name).ok().filter(|parsed| parsed.as_str() == name);
    parsed.ok_or(DecodeError::Invalid { field, reason: "is not a name" })
}

fn read_room<'b>(
    bytes: &mut Reader<'b>,
    creator: impl FnOnce(&mut Reader<'b>) -> Result<Option<PeerId>, DecodeError>,
) -> Result<Entry, DecodeError> {
    Ok(Entry::Room { id: RoomId::new(bytes.integer("id")?), name: read_room_name(bytes)?, creator: creator(bytes)? })
}

fn read_source(bytes: &mut Reader<'_>) -> Result<Source, DecodeError> {
    let source = bytes.text("source")?.parse();
    source.map_err(|_| DecodeError::Invalid { field: "source", reason: "is not a source" })
}

fn read_room_name(bytes: &mut Reader<'_>) -> Result<Room, DecodeError> {
    let name = bytes.text("name")?;
    let parsed = Room::parse(name).ok().filter(|parsed| parsed.as_str() == name);
    parsed.ok_or(DecodeError::Invalid { field: "name", reason: "is not the name of a room" })
}

fn write_message(message: &Entry, out: &mut Writer<'_>) {
    let Entry::Message { at, sender, recipients, text, id } = message else { return };
    out.integers([at.millis(), sender.get()]);
    out.list(recipients, |out, recipient| out.integer(recipient.number()));
    out.text(text.as_str());
    out.option(id.as_deref(), |out, SendId { id, fingerprint }| {
        out.text(id.as_str());
        out.hash(*fingerprint);
    });
}

fn read_message(bytes: &mut Reader<'_>) -> Result<Entry, DecodeError> {
    Ok(Entry::Message {
        at: read_time(bytes)?,
        sender: PeerId::new(bytes.integer("sender")?),
        recipients: bytes.list("recipients", |bytes| read_recipient("recipients", bytes))?,
        text: read_text("text", bytes)?,
        id: bytes.option("id", read_send_id)?,
    })
}

fn read_recipient(field: &'static str, bytes: &mut Reader<'_>) -> Result<Recipient, DecodeError> {
    match bytes.integer(field)? {
        // The number of its room would have 65 bits.
        i64::MIN => Err(DecodeError::Invalid { field, reason: "has a number that is out of range" }),
        number => Ok(Recipient::numbered(number)),
    }
}

fn read_text(field: &'static str, bytes: &mut Reader<'_>) -> Result<Text, DecodeError> {
    let text = bytes.text(field)?;
    let parsed = Text::verbatim(text).filter(|parsed| parsed.as_str() == text);
    parsed.ok_or(DecodeError::Invalid { field, reason: "is empty or has hidden characters" })
}

fn read_send_id(bytes: &mut Reader<'_>) -> Result<Box<SendId>, DecodeError> {
    let id = RequestId::parse(bytes.text("id")?);
    let id = id.ok_or(DecodeError::Invalid { field: "id", reason: "is empty or too long" })?;
    Ok(Box::new(SendId { id, fingerprint: bytes.hash("fingerprint")? }))
}

fn read_range(bytes: &mut Reader<'_>) -> Result<SeqRange, DecodeError> {
    Ok(SeqRange { first: Seq::new(bytes.integer("ranges")?), last: Seq::new(bytes.integer("ranges")?) })
}

fn read_time(bytes: &mut Reader<'_>) -> Result<Timestamp, DecodeError> {
    bytes.integer("at").map(Timestamp::from_millis)
}

fn write_post(Post { row, sender, recipients, text }: &Post, out: &mut Writer<'_>) {
    out.integer(*row);
    for column in [sender, recipients, text] {
        out.option(column.as_deref(), Writer::bytes);
    }
}

fn read_post(bytes: &mut Reader<'_>) -> Result<Post, DecodeError> {
    let row = bytes.integer("row")?;
    let mut column = |field| bytes.option(field, |bytes| bytes.bytes(field).map(<[u8]>::to_vec));
    Ok(Post { row, sender: column("sender")?, recipients: column("recipients")?, text: column("text")? })
}

fn write_refusal(post: &Post, at: Timestamp, reason: &str, out: &mut Writer<'_>) {
    write_post(post, out);
    out.integer(at.millis());
    out.text(reason);
}

fn write_value(peer: PeerId, key: &str, value: Option<&str>, out: &mut Writer<'_>) {
    out.integer(peer.get());
    out.text(key);
    out.option(value, Writer::text);
}

fn write_purge(entry: &Entry, out: &mut Writer<'_>) {
    match entry {
        Entry::BeginPurge { request, name, target } => {
            out.integer(*request);
            out.text(name);
            out.integer(target.number());
        }
        Entry::RefusePurge { request, reason } => {
            out.integer(*request);
            out.text(reason);
        }
        _ => {}
    }
}

fn read_purge(kind: u8, bytes: &mut Reader<'_>) -> Result<Entry, DecodeError> {
    Ok(match kind {
        20 => Entry::BeginPurge {
            request: bytes.integer("request")?,
            name: bytes.text("name")?.to_owned(),
            target: read_recipient("target", bytes)?,
        },
        21 => Entry::ContinuePurge,
        _ => Entry::RefusePurge { request: bytes.integer("request")?, reason: bytes.text("reason")?.to_owned() },
    })
}

fn write_observe(observer: PeerId, wants: EventFilter, out: &mut Writer<'_>) {
    let EventFilter { logged, join, leave, delivered } = wants;
    out.integer(observer.get());
    [logged, join, leave, delivered].into_iter().for_each(|flag| out.flag(flag));
}

fn read_observe(bytes: &mut Reader<'_>) -> Result<Entry, DecodeError> {
    Ok(Entry::Observe {
        observer: PeerId::new(bytes.integer("observer")?),
        wants: EventFilter {
            logged: bytes.flag("logged")?,
            join: bytes.flag("join")?,
            leave: bytes.flag("leave")?,
            delivered: bytes.flag("delivered")?,
        },
    })
}

fn read_observer_advanced(bytes: &mut Reader<'_>) -> Result<Entry, DecodeError> {
    Ok(Entry::ObserverAdvanced {
        observer: PeerId::new(bytes.integer("observer")?),
        seen: ObserverCursor { seq: Seq::new(bytes.integer("seq")?), event: bytes.integer("event")? },
    })
}

fn write_event(PeerEvent { at, kind, peer }: &PeerEvent, out: &mut Writer<'_>) {
    out.integers([at.millis(), peer.get()]);
    match kind {
        EventKind::Join => out.byte(1),
        EventKind::Leave => out.byte(2),
        EventKind::Delivered(cursor) => {
            out.byte(3);
            out.integer(cursor.get());
        }
    }
}

fn read_event(bytes: &mut Reader<'_>) -> Result<PeerEvent, DecodeError> {
    let (at, peer) = (read_time(bytes)?, PeerId::new(bytes.integer("peer")?));
    let kind = match bytes.byte("kind")? {
        1 => EventKind::Join,
        2 => EventKind::Leave,
        3 => EventKind::Delivered(Seq::new(bytes.integer("cursor")?)),
        _ => return Err(DecodeError::Invalid { field: "kind", reason: "is not a kind of event" }),
    };
    Ok(PeerEvent { at, kind, peer })
}

#[cfg(test)]
mod tests;
