//! Messages that wait: whether one has not been delivered to every peer that it is for. Owns the rule, for retention; never removes a
//! message.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Statement};

use crate::database::column;
use crate::database::visibility::MEMBER_POSITION;
use crate::message::{PeerId, Recipient, RoomId, Seq};

/// Cursors of recipients, read once for each transaction.
pub(super) struct Waiting<'c> {
    cursors: HashMap<PeerId, Option<Seq>>,
    /// Two members of each room that are furthest behind, with their positions.
    laggards: HashMap<RoomId, Vec<(PeerId, Seq)>>,
    cursor: Statement<'c>,
    laggards_of: Statement<'c>,
}

impl<'c> Waiting<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Waiting {
            cursors: HashMap::new(),
            laggards: HashMap::new(),
            cursor: connection.prepare("select cursor from peer where id = ?1")?,
            laggards_of: connection.prepare(&format!(
                "select peer.id, {MEMBER_POSITION} as position
                 from member join peer on peer.id = member.peer join room on room.id = member.room
                 where member.room = ?1
                 order by position limit 2"
            ))?,
        })
    }

    /// Forgets the cursors. Must be called when a transaction begins, and when cursors or members change within it.
    pub(super) fn clear(&mut self) {
        self.cursors.clear();
        self.laggards.clear();
    }

    /// Returns a peer to which a message has not been delivered; `None` if it was delivered to all that it is for. A peer that is not stored
    /// receives nothing any more.
    pub(super) fn holder(
        &mut self,
        seq: Seq,
        sender: PeerId,
        recipients: &[Recipient],
    ) -> rusqlite::Result<Option<PeerId>> {
        for recipient in recipients {
            let holder = match *recipient {
                Recipient::Peer(peer) => self.cursor(peer)?.filter(|cursor| *cursor < seq).map(|_| peer),
                Recipient::Room(room) => self.holder_in(room, seq, sender)?,
            };
            if holder.is_some() {
                return Ok(holder);
            }
        }
        Ok(None)
    }

    /// Returns a member of a room who has not received a message that another one sent there since it joined. Of the two members that are
    /// furthest behind, one may be the sender; if the other one has it, all have it.
    fn holder_in(&mut self, room: RoomId, seq: Seq, sender: PeerId) -> rusqlite::Result<Option<PeerId>> {
        if !self.laggards.contains_key(&room) {
            let laggards = self
                .laggards_of
                .query_map([room.get()], |row| Ok((column::peer(row, 0)?, column::seq(row, 1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            self.laggards.insert(room, laggards);
        }
        let mut laggards = self.laggards[&room].iter();
        Ok(laggards.find(|(peer, position)| *peer != sender && *position < seq).map(|(peer, _)| *peer))
    }

    fn cursor(&mut self, peer: PeerId) -> rusqlite::Result<Option<Seq>> {
        if let Some(cursor) = self.cursors.get(&peer) {
            return Ok(*cursor);
        }
        let cursor = self.cursor.query_row([peer.get()], |row| column::seq(row, 0)).optional()?;
        self.cursors.insert(peer, cursor);
        Ok(cursor)
    }
}
