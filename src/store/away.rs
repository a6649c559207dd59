//! Who has not got a message and is not here. Owns how that is read, for the messages of one turn together; who is here it is
//! told.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::{Connection, OptionalExtension, Statement};

use crate::database::messages::StoredMessage;
use crate::limits::AWAY_NAMES_MAX;
use crate::message::{PeerId, PeerName, Recipient, RoomId, Seq};

/// The tables, through statements that are prepared once.
pub(super) struct Away<'c> {
    members: Statement<'c>,
    peer: Statement<'c>,
    /// The members of rooms who are not here, as read for this turn: a room may have very many.
    absent: HashMap<RoomId, Vec<Absent>>,
}

/// A member of a room who is not here.
struct Absent {
    peer: PeerId,
    /// Whatever came into the room up to here is not for it, or it has got it.
    behind: Seq,
}

/// Those who are away, in the order in which they were addressed, each once.
#[derive(Default)]
struct Names(Vec<(PeerId, PeerName)>);

impl<'c> Away<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Away {
            members: connection.prepare(
                "select peer.id, max(member.joined, peer.cursor)
                 from member join peer on peer.id = member.peer where member.room = ?1 order by peer.id",
            )?,
            peer: connection.prepare("select name from peer where id = ?1 and cursor < ?2")?,
            absent: HashMap::new(),
        })
    }

    /// Another turn is read for: what was so may not be so any more.
    pub(super) fn forget(&mut self) {
        self.absent = HashMap::new();
    }

    /// Those to whom a message was sent, members of rooms among them, who have not got it and are not among these; not its
    /// sender, and not more than [`AWAY_NAMES_MAX`].
    pub(super) fn from(
        &mut self,
        message: &StoredMessage,
        here: &[PeerId],
    ) -> rusqlite::Result<Vec<(PeerId, PeerName)>> {
        let Away { members, peer: statement, absent } = self;
        let mut names = Names::default();
        for recipient in message.numbered_recipients() {
            match recipient {
                Recipient::Peer(peer) if !is_here(peer, here) => names.add(peer, message, statement)?,
                Recipient::Peer(_) => {}
                Recipient::Room(room) => {
                    let absent = absent_from(room, here, absent, members)?;
                    absent
                        .iter()
                        .filter(|absent| absent.behind < message.seq())
                        .try_for_each(|absent| names.add(absent.peer, message, statement))?;
                }
            }
        }
        Ok(names.0)
    }
}

impl Names {
    fn add(&mut self, peer: PeerId, message: &StoredMessage, statement: &mut Statement<'_>) -> rusqlite::Result<()> {
        if self.0.len() == AWAY_NAMES_MAX || peer == message.sender || self.0.iter().any(|(known, _)| *known == peer) {
            return Ok(());
        }
        let name = statement
            .query_row([peer.get(), message.seq().get()], |row| Ok(PeerName::stored(row.get_ref(0)?.as_str()?)));
        self.0.extend(name.optional()?.map(|name| (peer, name)));
        Ok(())
    }
}

fn absent_from<'a>(
    room: RoomId,
    here: &[PeerId],
    absent: &'a mut HashMap<RoomId, Vec<Absent>>,
    members: &mut Statement<'_>,
) -> rusqlite::Result<&'a [Absent]> {
    match absent.entry(room) {
        Entry::Occupied(known) => Ok(known.into_mut()),
        Entry::Vacant(place) => {
            let members = members.query_map([room.get()], |row| {
                Ok(Absent { peer: PeerId::new(row.get(0)?), behind: Seq::new(row.get(1)?) })
            })?;
            let is_absent = |member: &rusqlite::Result<Absent>| match member {
                Ok(member) => !is_here(member.peer, here),
                Err(_) => true,
            };
            Ok(place.insert(members.filter(is_absent).collect::<rusqlite::Result<_>>()?))
        }
    }
}

fn is_here(peer: PeerId, here: &[PeerId]) -> bool {
    here.binary_search(&peer).is_ok()
}
