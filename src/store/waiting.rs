//! Messages that wait: whether one has not been delivered to every peer that it is for. Owns the rule, for retention; never removes a
//! message.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Statement};

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

    /// Whether a message has not been delivered to every peer that it is for. A peer that is not stored receives nothing any more.
    pub(super) fn waits(&mut self, seq: Seq, sender: PeerId, recipients: &[Recipient]) -> rusqlite::Result<bool> {
        for recipient in recipients {
            let waits = match *recipient {
                Recipient::Peer(peer) => self.cursor(peer)?.is_some_and(|cursor| cursor < seq),
                Recipient::Room(room) => self.waits_in(room, seq, sender)?,
            };
            if waits {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a member of a room has not received a message that another one sent there since it joined. Of the two members that are
    /// furthest behind, one may be the sender; what holds for the other holds for all.
    fn waits_in(&mut self, room: RoomId, seq: Seq, sender: PeerId) -> rusqlite::Result<bool> {
        if !self.laggards.contains_key(&room) {
            let laggards = self
                .laggards_of
                .query_map([room.get()], |row| Ok((PeerId::new(row.get(0)?), Seq::new(row.get(1)?))))?
                .collect::<rusqlite::Result<_>>()?;
            self.laggards.insert(room, laggards);
        }
        let mut laggards = self.laggards[&room].iter();
        Ok(laggards.any(|(peer, position)| *peer != sender && *position < seq))
    }

    fn cursor(&mut self, peer: PeerId) -> rusqlite::Result<Option<Seq>> {
        if let Some(cursor) = self.cursors.get(&peer) {
            return Ok(*cursor);
        }
        let cursor = self.cursor.query_row([peer.get()], |row| row.get(0).map(Seq::new)).optional()?;
        self.cursors.insert(peer, cursor);
        Ok(cursor)
    }
}
