//! What a peer has to get: the messages for it and, since it joined them, for its rooms. Owns how they are read for a feed;
//! never how far a peer got.

use super::{Fed, Page, PageQuery, WaitingQuery};
use crate::database::inboxes::{Inboxes, Next, Sources};
use crate::limits::{PAGE_BYTES_MAX, PAGE_MESSAGES_MAX, WAITING_LOOKED_AT_MESSAGES_MAX};
use crate::message::{PeerId, Recipient};

/// The next messages for a peer after this one; with whom they were addressed to, where that is wanted.
pub(super) fn page(
    query: PageQuery,
    page_bytes_left: &mut usize,
    sources: &mut Sources<'_, '_>,
) -> rusqlite::Result<Page> {
    let PageQuery { peer, after, is_addressed } = query;
    let mut page = Page::default();
    let mut bytes_left = PAGE_BYTES_MAX.min(*page_bytes_left);
    let mut inboxes = Inboxes::after(peer, after, sources)?;
    // What was removed may still stand in an inbox, and what one has sent into a room oneself stands in it too.
    while bytes_left > 0 && page.messages.len() < PAGE_MESSAGES_MAX {
        let Some(next) = inboxes.next(sources.index)? else { break };
        let Some(fed) = read(peer, &next, is_addressed, sources)? else { continue };
        // The last message may go over: a page with room for anything holds at least one.
        let bytes = fed.message.text.len() + fed.message.sender.as_str().len();
        bytes_left = bytes_left.saturating_sub(bytes);
        *page_bytes_left = page_bytes_left.saturating_sub(bytes);
        page.messages.push(fed);
    }
    page.complete = inboxes.is_empty();
    Ok(page)
}

/// How many messages wait for a peer after this one. Of very many in rooms, what it sent itself is counted too.
pub(super) fn waiting(query: WaitingQuery, sources: &mut Sources<'_, '_>) -> rusqlite::Result<u64> {
    let WaitingQuery { peer, after } = query;
    let mut inboxes = Inboxes::after(peer, after, sources)?;
    let (mut waiting, mut looked_at) = (0, 0);
    while let Some(next) = inboxes.next(sources.index)? {
        let is_own = !next.rooms.is_empty() && looked_at < WAITING_LOOKED_AT_MESSAGES_MAX && {
            looked_at += 1;
            sources.messages.sender(next.seq)? == Some(peer)
        };
        waiting += u64::from(!is_own);
    }
    Ok(waiting)
}

/// `None`: it was removed, or the peer sent it itself.
fn read(peer: PeerId, next: &Next, is_addressed: bool, sources: &mut Sources<'_, '_>) -> rusqlite::Result<Option<Fed>> {
    let is_direct = next.rooms.is_empty();
    let found = if is_direct && !is_addressed {
        sources.messages.find_unaddressed(next.seq)?
    } else {
        sources.messages.find(next.seq)?
    };
    let Some(kept) = found.filter(|kept| is_direct || kept.sender != peer) else { return Ok(None) };
    let room = match &*next.rooms {
        [] => None,
        [room] => Some(*room),
        // The first that was named.
        rooms => kept.numbered_recipients().filter_map(Recipient::room).find(|room| rooms.contains(room)),
    };
    let room = room.map(|room| sources.names.room(room)).transpose()?;
    let to = if is_addressed { sources.names.of(&kept.recipients)? } else { Vec::new() };
    Ok(Some(Fed { message: kept.into_message(to, room), is_direct }))
}
