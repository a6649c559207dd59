//! Steps of the chat for lists, the answers to `/who` for people: a session gets them part by part, as its outbox has room. Owns these steps;
//! never the form of a list.

use super::completion::Requester;
use super::lists::PeerList;
use super::state::Chat;
use crate::limits::LIST_PART_BYTES;
use crate::message::{PeerId, PeerName, RoomId, SessionId};
use crate::protocol::Reply;

impl PeerList {
    /// Makes the next part of the list.
    fn next_part(&mut self, chat: &mut Chat) -> Vec<Reply> {
        let (mut part, mut bytes_left) = (Vec::new(), LIST_PART_BYTES);
        while bytes_left > 0 && !self.is_done {
            if self.room.is_none_or(|room| chat.is_committed_member(self.requester.peer, room)) {
                self.add_names(&mut part, &mut bytes_left, chat);
                if bytes_left == 0 {
                    break;
                }
                self.add_topic(&mut part, &mut bytes_left, chat);
            }
            self.last = None;
            self.room = self.rooms.pop();
            self.is_done = self.room.is_none();
        }
        part
    }

    /// Adds the names of the current room that are not listed yet, as far as there is room for them. If there are more, no bytes are left.
    fn add_names(&mut self, part: &mut Vec<Reply>, bytes_left: &mut usize, chat: &mut Chat) {
        let is_first = self.last.is_none();
        let names = chat.names_after(self.room, self.last.as_ref());
        let listed = names.iter().take_while(|name| {
            let has_room = *bytes_left > 0;
            *bytes_left = bytes_left.saturating_sub(LIST_NAME_FRAME_BYTES + name.as_str().len());
            has_room
        });
        let listed: Vec<PeerName> = listed.cloned().collect();
        if listed.len() == names.len() {
            // The next room begins in the same part, unless this one filled it to the last byte.
            *bytes_left = (*bytes_left).max(1);
        }
        self.last = listed.last().cloned().or_else(|| self.last.take());
        if is_first || !listed.is_empty() {
            part.push(Reply::Here { room: self.room.map(|room| chat.rooms[&room].name.clone()), names: listed });
        }
    }

    fn add_topic(&self, part: &mut Vec<Reply>, bytes_left: &mut usize, chat: &Chat) {
        let Some(state) = self.room.map(|room| &chat.rooms[&room]) else { return };
        *bytes_left = bytes_left.saturating_sub(LIST_NAME_FRAME_BYTES + state.name.as_str().len());
        if let Some(topic) = &state.topic {
            *bytes_left = bytes_left.saturating_sub(topic.len());
            part.push(Reply::Topic { room: state.name.clone(), topic: Some(topic.clone()) });
        }
    }
}

/// Bytes around a name in a list: `, `, or `* ` and `: ` and the end of the line.
const LIST_NAME_FRAME_BYTES: usize = 8;

impl Chat {
    /// Begins a list for a session, with its first part. The permit of the session is held back until the list is done.
    pub(super) fn begin_list(&mut self, requester: &Requester) {
        let Some(session) = self.sessions.get_mut(&requester.session) else { return };
        session.unfinished += 1;
        let mut rooms = self.rooms_of(requester.peer);
        rooms.reverse();
        let list = PeerList { requester: requester.clone(), room: None, last: None, rooms, is_done: false };
        self.lists.insert(requester.session, list);
        self.continue_list(requester.session);
    }

    /// Sends a session the next part of its list, if it has one and there is room. The part after that follows when this one is written.
    pub(super) fn continue_list(&mut self, id: SessionId) {
        if self.lists.is_empty()
            || !self.sessions.get(&id).is_some_and(|session| session.outbox.has_room(LIST_PART_BYTES, &self.budget))
        {
            return;
        }
        let Some(mut list) = self.lists.remove(&id) else { return };
        let part = list.next_part(self);
        let session = self.sessions.get_mut(&id).expect("a session with a list is open");
        for reply in &part {
            session.reply(list.requester.id.as_ref(), reply, &mut self.budget);
        }
        session.outbox.flush();
        if list.is_done {
            self.end_unfinished(id);
        } else {
            self.lists.insert(id, list);
        }
    }

    /// Returns the names after `last` of the peers that are online, or of the members of a room that are, in order.
    fn names_after(&mut self, room: Option<RoomId>, last: Option<&PeerName>) -> Vec<PeerName> {
        let is_after = |name: &PeerName| last.is_none_or(|last| name > last);
        let Some(room) = room else {
            let online = self.online();
            return online[online.partition_point(|name| !is_after(name))..].to_vec();
        };
        let is_listed =
            |peer: &&PeerId| self.is_committed_member(**peer, room) && is_after(&self.peers[*peer].record.name);
        self.names_of(self.rooms[&room].online.iter().filter(is_listed))
    }
}
