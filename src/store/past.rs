//! The past as a peer may see it: what it sent, what it was sent, and what was sent in its rooms since it joined them. Owns
//! which messages those are; never what a shell may see, which is all.

use rusqlite::{Connection, OptionalExtension, Statement, params};

use super::{HistoryQuery, PastPage};
use crate::database::inboxes::{Inboxes, Sources};
use crate::database::index::Index;
use crate::database::messages::StoredMessage;
use crate::database::visibility::{Route, Viewer};
use crate::limits::{HISTORY_BYTES_MAX, HISTORY_LOOK_MESSAGES, HISTORY_SCAN_MESSAGES_MAX};
use crate::message::{PeerId, Recipient, RoomId, Seq};
use crate::protocol::PastMessage;

/// The messages, through statements that are prepared once.
pub(super) struct Past<'c> {
    sent: Statement<'c>,
    sent_lately: Statement<'c>,
    sent_before: Statement<'c>,
}

impl<'c> Past<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Past {
            sent: connection.prepare(
                "with recursive sent (seq) as (
                     select ?2
                     union all
                     select previous from sent join message using (seq)
                     limit ?3 + 1
                 ),
                 -- Where a removed message breaks the chain, what is left of it still waited for someone.
                 left (seq) as (
                     select seq from (
                         select seq, sender from message
                         where seq < (select min(seq) from sent having count(*) <= ?3)
                         order by seq desc limit ?4
                     )
                     where sender = ?1 limit ?3
                 )
                 select seq from sent union select seq from left order by seq desc limit ?3 + 1",
            )?,
            sent_lately: connection.prepare(
                "select seq from message where seq < ?2 and seq >= ?2 - ?3 and sender = ?1 order by seq desc limit 1",
            )?,
            sent_before: connection.prepare(
                "with recursive sent (seq) as (
                     select ?1
                     union all
                     select previous from sent join message using (seq) where seq >= ?2
                     limit ?3
                 )
                 select coalesce(max(seq), 0) from sent where seq < ?2",
            )?,
        })
    }

    /// The newest messages before this one that a peer was part of: all, or those exchanged with another or sent in a room.
    pub(super) fn history(&mut self, query: HistoryQuery, sources: &mut Sources<'_, 'c>) -> rusqlite::Result<PastPage> {
        let HistoryQuery { peer, with, before, count } = query;
        let viewer = Viewer::of(peer, sources.members)?;
        let mut page = PastPage::default();
        match with {
            None => self.all(&viewer, before, count, &mut page, sources)?,
            Some(Recipient::Peer(with)) => {
                let sent = exchanged(with, peer, before, count, sources)?;
                let got = exchanged(peer, with, before, count, sources)?;
                let mut seqs = [sent, got].concat();
                seqs.sort_unstable_by(|one, other| other.cmp(one));
                seqs.dedup();
                self.add_all(&viewer, None, seqs, count, &mut page, sources)?;
            }
            Some(Recipient::Room(room)) => {
                // A peer that is not a member sees nothing of it.
                let joined = viewer.sees_after(room.into()).unwrap_or(Seq::MAX);
                let mut inbox = Inboxes::of_room(room, joined, before, sources.index)?;
                while !page.is_full(count)
                    && let Some(next) = inbox.next(sources.index)?
                {
                    self.add(&viewer, Some(room), next.seq, count, &mut page, sources)?;
                }
            }
        }
        page.messages.reverse();
        Ok(page)
    }

    /// These messages, in this order, as far as the peer was part of them: that is for the caller to know.
    pub(super) fn add_all(
        &mut self,
        viewer: &Viewer,
        with: Option<RoomId>,
        seqs: Vec<Seq>,
        count: usize,
        page: &mut PastPage,
        sources: &mut Sources<'_, 'c>,
    ) -> rusqlite::Result<()> {
        for seq in seqs {
            if page.is_full(count) {
                break;
            }
            self.add(viewer, with, seq, count, page, sources)?;
        }
        Ok(())
    }

    fn all(
        &mut self,
        viewer: &Viewer,
        before: Seq,
        count: usize,
        page: &mut PastPage,
        sources: &mut Sources<'_, 'c>,
    ) -> rusqlite::Result<()> {
        let mut sent = self.sent(viewer.peer(), before, count + 1, sources.index)?.into_iter().peekable();
        let mut inboxes = Inboxes::before(viewer, before, sources.index)?;
        while !page.is_full(count)
            && let Some(seq) = sent.peek().copied().max(inboxes.peek())
        {
            sent.next_if_eq(&seq);
            if inboxes.peek() == Some(seq) {
                inboxes.next(sources.index)?;
            }
            self.add(viewer, None, seq, count, page, sources)?;
        }
        Ok(())
    }

    /// Adds a message, unless it was removed; that there is one more than are wanted is only noted.
    pub(super) fn add(
        &mut self,
        viewer: &Viewer,
        with: Option<RoomId>,
        seq: Seq,
        count: usize,
        page: &mut PastPage,
        sources: &mut Sources<'_, 'c>,
    ) -> rusqlite::Result<()> {
        let Some(stored) = sources.messages.find(seq)? else { return Ok(()) };
        if page.messages.len() == count || page.bytes >= HISTORY_BYTES_MAX {
            page.more = true;
            return Ok(());
        }
        let past = past_message(viewer, with, seq, stored, sources)?;
        page.bytes += past.message.text.len();
        page.messages.push(past);
        Ok(())
    }

    /// The newest messages that a peer sent before this one, the newest first.
    fn sent(&mut self, peer: PeerId, before: Seq, count: usize, index: &mut Index<'_>) -> rusqlite::Result<Vec<Seq>> {
        let scan = HISTORY_SCAN_MESSAGES_MAX as i64;
        let mut newest = index.newest_sent(peer)?;
        if newest >= before {
            newest = self.newest_sent_before(peer, newest, before)?;
        }
        let sent = params![peer.get(), newest.get(), count as i64, scan];
        self.sent.query_map(sent, |row| row.get(0).map(Seq::new))?.collect()
    }

    /// Who sends often has sent something lately, and who sends seldom has a short chain.
    fn newest_sent_before(&mut self, peer: PeerId, newest: Seq, before: Seq) -> rusqlite::Result<Seq> {
        let scan = HISTORY_SCAN_MESSAGES_MAX as i64;
        let lately = self.sent_lately.query_row([peer.get(), before.get(), scan], |row| row.get(0)).optional()?;
        let found = match lately {
            Some(seq) => seq,
            None => self.sent_before.query_row([newest.get(), before.get(), scan], |row| row.get(0))?,
        };
        Ok(Seq::new(found))
    }
}

impl PastPage {
    /// Whether nothing more is to be looked at.
    pub(super) fn is_full(&self, count: usize) -> bool {
        self.more || self.messages.len() > count
    }
}

/// The newest messages to a peer from another before this one, and one more than are wanted.
fn exchanged(
    to: PeerId,
    from: PeerId,
    before: Seq,
    count: usize,
    Sources { index, messages, .. }: &mut Sources<'_, '_>,
) -> rusqlite::Result<Vec<Seq>> {
    let (mut seqs, mut before) = (Vec::new(), before);
    let mut left = HISTORY_SCAN_MESSAGES_MAX;
    while left > 0 && seqs.len() <= count {
        let looked_at = index.last_before(to.into(), before, left.min(HISTORY_LOOK_MESSAGES))?;
        let Some(last) = looked_at.last() else { break };
        (before, left) = (*last, left - looked_at.len());
        for seq in looked_at {
            if messages.sender(seq)? == Some(from) {
                seqs.push(seq);
                if seqs.len() > count {
                    break;
                }
            }
        }
    }
    Ok(seqs)
}

fn past_message(
    viewer: &Viewer,
    with: Option<RoomId>,
    seq: Seq,
    stored: StoredMessage,
    sources: &mut Sources<'_, '_>,
) -> rusqlite::Result<PastMessage> {
    let sent = stored.sender == viewer.peer();
    let route = viewer.route(seq, stored.sender, stored.numbered_recipients());
    let room = with.or_else(|| route.and_then(Route::room));
    let room = room.map(|room| sources.names.room(room)).transpose()?;
    let to = sources.names.of(&stored.recipients)?;
    Ok(PastMessage { sent, message: stored.into_message(to, room) })
}
