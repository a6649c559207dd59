//! A message as its readers read it: encoded once for all who speak a protocol and got it in the same way. Owns those forms;
//! never who gets them.

use crate::message::{Message, Room, RoomId};
use crate::protocol::Protocol;

/// The forms of one message; the next one takes their memory.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    forms: Vec<Form>,
    /// How many of them are of this message.
    used: usize,
}

#[derive(Debug)]
struct Form {
    protocol: Protocol,
    /// The room through which it comes; none if it is addressed to its reader.
    room: Option<RoomId>,
    bytes: Vec<u8>,
}

impl Encoded {
    /// Another message comes.
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    /// The message, as it is read by one who speaks this protocol and gets it through this room.
    pub(super) fn get(&mut self, protocol: Protocol, room: Option<(RoomId, &Room)>, message: &mut Message) -> &[u8] {
        let id = room.map(|(id, _)| id);
        let known = self.forms[..self.used].iter().position(|form| form.protocol == protocol && form.room == id);
        let place = known.unwrap_or_else(|| {
            message.room = room.map(|(_, name)| name.clone());
            self.add(protocol, id, message)
        });
        &self.forms[place].bytes
    }

    fn add(&mut self, protocol: Protocol, room: Option<RoomId>, message: &Message) -> usize {
        let place = self.used;
        self.used += 1;
        if place == self.forms.len() {
            self.forms.push(Form { protocol, room, bytes: Vec::new() });
        }
        let form = &mut self.forms[place];
        (form.protocol, form.room) = (protocol, room);
        form.bytes.clear();
        protocol.encode_message(message, &mut form.bytes);
        place
    }
}
