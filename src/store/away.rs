//! Recipients who are offline and have not received a message. Owns a cache of the members of rooms during one turn; the caller passes in
//! the peers that are online.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::{Connection, OptionalExtension, Statement};

use crate::database::column::{name, peer, seq};
use crate::database::messages::StoredMessage;
use crate::database::visibility::MEMBER_POSITION;
use crate::limits::AWAY_NAMES_MAX;
use crate::message::{PeerId, PeerName, Recipient, RoomId, Seq};

/// Prepared statements that find offline recipients.
pub(super) struct Away<'c> {
    members: Statement<'c>,
    peer: Statement<'c>,
    /// Offline members of rooms, cached for this turn, as a room may have very many.
    offline: HashMap<RoomId, Vec<OfflineMember>>,
}

/// Member of a room who is offline.
struct OfflineMember {
    peer: PeerId,
    /// Newest message that the member has received, that is from before it joined, or that is no longer replayed.
    cursor: Seq,
}

/// Offline recipients of one message in the order in which they were addressed, each once.
#[derive(Default)]
struct AwayNames(Vec<(PeerId, PeerName)>);

impl<'c> Away<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Away {
            members: connection.prepare(&format!(
                "select peer.id, {MEMBER_POSITION}
                 from member join peer on peer.id = member.peer join room on room.id = member.room
                 where member.room = ?1 order by peer.id"
            ))?,
            peer: connection.prepare("select name from peer where id = ?1 and cursor < ?2")?,
            offline: HashMap::new(),
        })
    }

    /// Empties the cache. Must be called before every turn, as members and cursors change with it.
    pub(super) fn clear(&mut self) {
        self.offline = HashMap::new();
    }

    /// Returns the recipients of a message, members of rooms included, who are not in `online` and have not received it;
    /// without its sender, at most [`AWAY_NAMES_MAX`]. `online` must be sorted.
    pub(super) fn of(
        &mut self,
        message: &StoredMessage,
        online: &[PeerId],
    ) -> rusqlite::Result<Vec<(PeerId, PeerName)>> {
        let Away { members, peer: statement, offline } = self;
        let mut names = AwayNames::default();
        for recipient in message.numbered_recipients() {
            match recipient {
                Recipient::Peer(peer) if !is_online(peer, online) => names.add(peer, message, statement)?,
                Recipient::Peer(_) => {}
                Recipient::Room(room) => {
                    let members = offline_members(room, online, offline, members)?;
                    members
                        .iter()
                        .filter(|member| member.cursor < message.seq())
                        .try_for_each(|member| names.add(member.peer, message, statement))?;
                }
            }
        }
        Ok(names.0)
    }
}

impl AwayNames {
    fn add(&mut self, peer: PeerId, message: &StoredMessage, statement: &mut Statement<'_>) -> rusqlite::Result<()> {
        if self.0.len() == AWAY_NAMES_MAX || peer == message.sender || self.0.iter().any(|(known, _)| *known == peer) {
            return Ok(());
        }
        let name = statement.query_row([peer.get(), message.seq().get()], |row| name(row, 0));
        self.0.extend(name.optional()?.map(|name| (peer, name)));
        Ok(())
    }
}

fn offline_members<'a>(
    room: RoomId,
    online: &[PeerId],
    cache: &'a mut HashMap<RoomId, Vec<OfflineMember>>,
    members: &mut Statement<'_>,
) -> rusqlite::Result<&'a [OfflineMember]> {
    match cache.entry(room) {
        Entry::Occupied(cached) => Ok(cached.into_mut()),
        Entry::Vacant(vacant) => {
            let members = members
                .query_map([room.get()], |row| Ok(OfflineMember { peer: peer(row, 0)?, cursor: seq(row, 1)? }))?;
            let is_offline = |member: &rusqlite::Result<OfflineMember>| match member {
                Ok(member) => !is_online(member.peer, online),
                Err(_) => true,
            };
            Ok(vacant.insert(members.filter(is_offline).collect::<rusqlite::Result<_>>()?))
        }
    }
}

fn is_online(peer: PeerId, online: &[PeerId]) -> bool {
    online.binary_search(&peer).is_ok()
}
