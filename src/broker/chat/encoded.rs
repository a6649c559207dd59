//! The encodings of one message: one for all sessions that need the same bytes. Owns these bytes; never decides who gets them.

use foldhash::HashMap as IdMap;

use super::rooms::RoomState;
use super::state::Peer;
use crate::message::{Destination, Message, PeerId, Recipient, Room, RoomId};
use crate::protocol::{SessionEncoder, SharedForm};

/// A message that is being delivered.
#[derive(Debug)]
pub(super) struct OutgoingMessage<'a> {
    pub(super) message: Message,
    pub(super) recipients: &'a [Recipient],
    pub(super) peers: &'a IdMap<PeerId, Box<Peer>>,
    pub(super) rooms: &'a IdMap<RoomId, RoomState>,
}

impl OutgoingMessage<'_> {
    /// Returns the message as its sender's other sessions get it.
    pub(super) fn into_copy(mut self) -> Message {
        self.fill_destinations();
        let mut message = self.message;
        message.room = message.to.iter().find_map(|to| match to {
            Destination::Room(room) => Some(room.clone()),
            Destination::Peer(_) => None,
        });
        message
    }

    /// Returns the message as a session gets it through this room.
    pub(super) fn message_through(&mut self, room: Option<&Room>) -> Message {
        self.fill_destinations();
        self.message.room = room.cloned();
        self.message.clone()
    }

    /// Looks up the names of the recipients, if that was not done yet: few sessions may show them.
    fn fill_destinations(&mut self) {
        if self.message.to.is_empty() {
            let destination = |recipient: &Recipient| match recipient {
                Recipient::Peer(peer) => Destination::Peer(self.peers[peer].record.name.clone()),
                Recipient::Room(room) => Destination::Room(self.rooms[room].name.clone()),
            };
            self.message.to = self.recipients.iter().map(destination).collect();
        }
    }

    fn encode(&mut self, session: &mut SessionEncoder, room: Option<&Room>, out: &mut Vec<u8>) {
        if session.capabilities.shows_recipients {
            self.fill_destinations();
        }
        self.message.room = room.cloned();
        out.clear();
        session.encoder.encode_message(&self.message, out);
    }
}

/// The encodings of one message; the next message reuses their memory.
#[derive(Debug, Default)]
pub(super) struct Encodings {
    encodings: Vec<Encoding>,
    /// Number of encodings of this message; the rest is spare memory.
    used: usize,
    /// Encoding for a session that shares its bytes with no other.
    own: Vec<u8>,
}

#[derive(Debug)]
struct Encoding {
    form: SharedForm,
    /// Room through which the message arrives; `None` if it is addressed to its reader.
    room: Option<RoomId>,
    bytes: Vec<u8>,
}

impl Encodings {
    /// Prepares for another message.
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    /// Returns the message encoded for this session, as it arrives through this room. Encodes it only if no session with the same form got it
    /// before.
    pub(super) fn get(
        &mut self,
        session: &mut SessionEncoder,
        room: Option<(RoomId, &Room)>,
        outgoing: &mut OutgoingMessage<'_>,
    ) -> &[u8] {
        let (id, name) = room.unzip();
        let form = if id.is_some() { session.forms.room } else { session.forms.direct };
        let Some(form) = form else {
            outgoing.encode(session, name, &mut self.own);
            return &self.own;
        };
        let encoded =
            self.encodings[..self.used].iter().position(|encoding| encoding.form == form && encoding.room == id);
        let index = encoded.unwrap_or_else(|| {
            let index = self.add(form, id);
            outgoing.encode(session, name, &mut self.encodings[index].bytes);
            index
        });
        &self.encodings[index].bytes
    }

    fn add(&mut self, form: SharedForm, room: Option<RoomId>) -> usize {
        let index = self.used;
        self.used += 1;
        match self.encodings.get_mut(index) {
            Some(encoding) => (encoding.form, encoding.room) = (form, room),
            None => self.encodings.push(Encoding { form, room, bytes: Vec::new() }),
        }
        index
    }
}
