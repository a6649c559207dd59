//! Replies of the broker as Luau tables, for `chat.who`, `chat.history` and `chat.search`. Owns their fields, which are those of the
//! protocol's frames; never sends a request.

use std::collections::BTreeMap;

use mlua::{Lua, Value};
use serde::Serialize;

use super::value::to_lua;
use crate::message::{Destination, PeerName, Room, Seq, Text, Timestamp};
use crate::protocol::{PastMessage, Reply};

/// Reply as scripts read it.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum ReplyTable<'r> {
    Who {
        here: &'r [PeerName],
        rooms: Vec<&'r Room>,
        /// Topics of the rooms that have one.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        topics: BTreeMap<&'r str, &'r Text>,
    },
    History {
        messages: Vec<PastMessageTable<'r>>,
        more: bool,
    },
    Search {
        messages: Vec<PastMessageTable<'r>>,
        more: bool,
    },
}

#[derive(Serialize)]
struct PastMessageTable<'r> {
    seq: Seq,
    at: Timestamp,
    from: &'r PeerName,
    to: &'r [Destination],
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'r Room>,
    text: &'r Text,
}

/// Converts a reply to a table; nil if scripts cannot request such a reply.
pub(super) fn reply_to_lua(lua: &Lua, reply: &Reply) -> mlua::Result<Value> {
    let table = match reply {
        Reply::Who { here, rooms } => ReplyTable::Who {
            here,
            rooms: rooms.iter().map(|room| &room.room).collect(),
            topics: rooms.iter().filter_map(|room| Some((room.room.as_str(), room.topic.as_ref()?))).collect(),
        },
        Reply::History { messages, more } => ReplyTable::History { messages: tables(messages), more: *more },
        Reply::Found { messages, more } => ReplyTable::Search { messages: tables(messages), more: *more },
        _ => return Ok(Value::Nil),
    };
    to_lua(lua, &table)
}

fn tables(messages: &[PastMessage]) -> Vec<PastMessageTable<'_>> {
    messages.iter().map(PastMessageTable::from).collect()
}

impl<'r> From<&'r PastMessage> for PastMessageTable<'r> {
    fn from(PastMessage { message, .. }: &'r PastMessage) -> Self {
        PastMessageTable {
            seq: message.seq,
            at: message.at,
            from: &message.sender,
            to: &message.to,
            room: message.room.as_ref(),
            text: &message.text,
        }
    }
}
