//! Pages of a peer's feed, and the number of messages in it: the messages to the peer, and those to its rooms since it joined them. Owns
//! the limits of a page; never stores a cursor.

use super::budget::ReadBudget;
use super::{Fed, Missed, Page, PageQuery, WaitingQuery};
use crate::database::inboxes::{InboxMessage, Inboxes, Sources};
use crate::database::messages::StoredMessage;
use crate::database::visibility::Viewer;
use crate::limits::PAGE_MESSAGES_MAX;
use crate::message::{PeerId, Recipient, RoomId, Seq};

/// Reads the next messages for a peer after the one in the query, with their recipients if the query asks for these. Ends the page when
/// the budget is used up.
pub(super) fn page(
    query: PageQuery,
    page_bytes_left: &mut usize,
    budget: ReadBudget,
    sources: &mut Sources<'_, '_>,
) -> rusqlite::Result<Page> {
    let PageQuery { peer, after, is_addressed, bytes_max } = query;
    let mut page = Page::empty(after);
    let mut bytes_left = bytes_max.min(*page_bytes_left);
    let floors = ReplayFloors::of(peer, after, sources)?;
    let mut inboxes = Inboxes::after(peer, after, sources)?;
    // An inbox may still list removed messages, and that of a room lists the peer's own messages: these are skipped.
    while bytes_left > 0 && page.messages.len() < PAGE_MESSAGES_MAX {
        let Some(next) = inboxes.next(sources.index)? else { break };
        page.reached = next.seq;
        if floors.cover(&next) {
            let room = missed_room(peer, &next, sources)?;
            room.into_iter().for_each(|room| Missed::add(room, 1, &mut page.missed));
        } else if let Some(fed) = read(peer, &next, is_addressed, sources)? {
            // The last message may exceed the limit, so that a page with any space left has at least one message.
            let bytes = fed.message.counted_bytes();
            bytes_left = bytes_left.saturating_sub(bytes);
            *page_bytes_left = page_bytes_left.saturating_sub(bytes);
            page.messages.push(fed);
        }
        if budget.is_used_up() {
            break;
        }
    }
    page.complete = inboxes.is_empty();
    page.is_past_floors = page.complete || floors.are_up_to(page.reached);
    Ok(page)
}

/// Floors of a peer's rooms, as far as they are above the messages that the peer has.
struct ReplayFloors(Vec<(RoomId, Seq)>);

impl ReplayFloors {
    fn of(peer: PeerId, after: Seq, sources: &mut Sources<'_, '_>) -> rusqlite::Result<Self> {
        sources.members.floors(peer, after).map(ReplayFloors)
    }

    /// Whether a message is replayed in none of the rooms through which it reaches the peer.
    fn cover(&self, message: &InboxMessage) -> bool {
        let covers = |room: &RoomId| self.0.iter().any(|(other, floor)| other == room && message.seq <= *floor);
        !self.0.is_empty() && !message.rooms.is_empty() && message.rooms.iter().all(covers)
    }

    fn are_up_to(&self, seq: Seq) -> bool {
        self.0.iter().all(|(_, floor)| *floor <= seq)
    }
}

/// Returns the room through which a message would have reached a peer. `None` if the message was removed, or if the peer sent it.
fn missed_room(peer: PeerId, next: &InboxMessage, sources: &mut Sources<'_, '_>) -> rusqlite::Result<Option<RoomId>> {
    if let [room] = next.rooms[..] {
        return Ok(sources.messages.sender(next.seq)?.filter(|sender| *sender != peer).map(|_| room));
    }
    let found = sources.messages.find(next.seq)?.filter(|stored| stored.sender != peer);
    Ok(found.and_then(|stored| first_room(&stored, &next.rooms)))
}

/// Returns the one of these rooms that a message names first: it arrives through that one.
fn first_room(stored: &StoredMessage, rooms: &[RoomId]) -> Option<RoomId> {
    stored.numbered_recipients().filter_map(Recipient::room).find(|room| rooms.contains(room))
}

/// Count of the messages that wait for a peer. The peer's own messages in rooms do not wait for it.
#[derive(Debug)]
pub struct WaitingScan {
    query: WaitingQuery,
    /// Inboxes with the messages that are not counted yet; `None` before the first step.
    inboxes: Option<Inboxes>,
    /// Messages up to here may have been removed, although an inbox still lists them: another session of the peer has received them.
    delivered: Seq,
    waiting: u64,
}

impl WaitingScan {
    /// Makes a scan that counts the messages of this query, up to the newest one at its first step.
    pub fn new(query: WaitingQuery) -> Self {
        WaitingScan { query, inboxes: None, delivered: Seq::ZERO, waiting: 0 }
    }

    /// Returns the query.
    #[cfg(test)]
    pub(crate) fn query(&self) -> WaitingQuery {
        self.query
    }

    /// Drops the progress.
    pub(super) fn restart(&mut self) {
        (self.inboxes, self.waiting) = (None, 0);
    }

    /// Does the next piece of work. Returns the number of messages once all are counted. `newest` is the newest message of the log.
    pub(super) fn step(&mut self, newest: Seq, sources: &mut Sources<'_, '_>) -> rusqlite::Result<Option<u64>> {
        let WaitingQuery { peer, after } = self.query;
        let inboxes = match &mut self.inboxes {
            Some(inboxes) => inboxes,
            none => {
                self.delivered = sources.members.cursor(peer)?;
                let viewer = Viewer::with_rooms(peer, sources.members.replayed(peer)?);
                none.insert(Inboxes::between(&viewer, after, newest.next()))
            }
        };
        if inboxes.open_next(sources.index)? {
            return Ok(None);
        }
        let Some(next) = inboxes.next(sources.index)? else { return Ok(Some(self.waiting)) };
        let is_direct = next.rooms.is_empty();
        // A message that the peer sent into a room may be removed before the peer has received what others sent.
        let waits = if is_direct && next.seq > self.delivered {
            true
        } else {
            sources.messages.sender(next.seq)?.is_some_and(|sender| is_direct || sender != peer)
        };
        self.waiting += u64::from(waits);
        Ok(None)
    }
}

/// Reads a message for a feed; `None` if it was removed, or if the peer sent it into a room itself.
fn read(
    peer: PeerId,
    next: &InboxMessage,
    is_addressed: bool,
    sources: &mut Sources<'_, '_>,
) -> rusqlite::Result<Option<Fed>> {
    let is_direct = next.rooms.is_empty();
    let found = if is_direct && !is_addressed {
        sources.messages.find_unaddressed(next.seq)?
    } else {
        sources.messages.find(next.seq)?
    };
    let Some(stored) = found.filter(|stored| is_direct || stored.sender != peer) else { return Ok(None) };
    let room = match &*next.rooms {
        [] => None,
        [room] => Some(*room),
        rooms => first_room(&stored, rooms),
    };
    let room = room.map(|room| sources.names.room(room)).transpose()?;
    let to = if is_addressed { sources.names.of(&stored.recipients)? } else { Vec::new() };
    Ok(Some(Fed { message: stored.into_message(to, room), is_direct }))
}
