//! Message history of a peer, for `/history` and `/search`: messages that it sent or received, and those of its rooms since it
//! joined them. Never reads for a shell, which may see every message.

use rusqlite::{Connection, OptionalExtension, Statement, params};

use super::{HistoryQuery, PastPage};
use crate::database::inboxes::{Inboxes, Sources};
use crate::database::index::Index;
use crate::database::messages::StoredMessage;
use crate::database::visibility::{Route, Viewer};
use crate::limits::{HISTORY_BYTES_MAX, HISTORY_CHUNK_MESSAGES, HISTORY_SCAN_MESSAGES_MAX};
use crate::message::{PeerId, Recipient, RoomId, Seq};
use crate::protocol::PastMessage;

/// Prepared statements that find the messages of one sender.
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
                 -- Where a removed message breaks the chain, older messages may remain: they still wait for a recipient.
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

    /// Reads the newest messages of a history, oldest first.
    pub(super) fn history(&mut self, query: HistoryQuery, sources: &mut Sources<'_, 'c>) -> rusqlite::Result<PastPage> {
        let HistoryQuery { peer, with, before, count } = query;
        let viewer = Viewer::of(peer, sources.members)?;
        let mut history = PastPageBuilder::new(&viewer, with.and_then(Recipient::room), count);
        match with {
            None => self.add_all(&mut history, before, sources)?,
            Some(Recipient::Peer(with)) => {
                let sent = exchanged(with, peer, before, count, sources)?;
                let received = exchanged(peer, with, before, count, sources)?;
                let mut seqs = [sent, received].concat();
                seqs.sort_unstable_by(|one, other| other.cmp(one));
                seqs.dedup();
                let mut seqs = seqs.into_iter();
                while !history.is_full()
                    && let Some(seq) = seqs.next()
                {
                    history.add(seq, sources)?;
                }
            }
            Some(Recipient::Room(room)) => {
                // A peer that is not a member sees no message of the room.
                let joined = viewer.sees_after(room.into()).unwrap_or(Seq::MAX);
                let mut inbox = Inboxes::of_room(room, joined, before, sources.index)?;
                while !history.is_full()
                    && let Some(next) = inbox.next(sources.index)?
                {
                    history.add(next.seq, sources)?;
                }
            }
        }
        let mut page = history.finish();
        page.messages.reverse();
        Ok(page)
    }

    /// Adds all messages that the viewer may see, newest first.
    fn add_all(
        &mut self,
        history: &mut PastPageBuilder<'_>,
        before: Seq,
        sources: &mut Sources<'_, 'c>,
    ) -> rusqlite::Result<()> {
        let sent = self.sent(history.viewer.peer(), before, history.count + 1, sources.index)?;
        let mut sent = sent.into_iter().peekable();
        let mut inboxes = Inboxes::before(history.viewer, before, sources.index)?;
        while !history.is_full()
            && let Some(seq) = sent.peek().copied().max(inboxes.peek())
        {
            sent.next_if_eq(&seq);
            if inboxes.peek() == Some(seq) {
                inboxes.next(sources.index)?;
            }
            history.add(seq, sources)?;
        }
        Ok(())
    }

    /// Returns the newest messages before `before` that a peer sent, newest first.
    fn sent(&mut self, peer: PeerId, before: Seq, count: usize, index: &mut Index<'_>) -> rusqlite::Result<Vec<Seq>> {
        let scan = HISTORY_SCAN_MESSAGES_MAX as i64;
        let mut newest = index.newest_sent(peer)?;
        if newest >= before {
            newest = self.newest_sent_before(peer, newest, before)?;
        }
        let sent = params![peer.get(), newest.get(), count as i64, scan];
        self.sent.query_map(sent, |row| row.get(0).map(Seq::new))?.collect()
    }

    /// Returns the newest message before `before` that a peer sent. Scans the log just before it first, then follows the chain
    /// of the peer's messages: a peer that sends often has a message nearby, and one that sends seldom has a short chain.
    fn newest_sent_before(&mut self, peer: PeerId, newest: Seq, before: Seq) -> rusqlite::Result<Seq> {
        let scan = HISTORY_SCAN_MESSAGES_MAX as i64;
        let nearby = self.sent_lately.query_row([peer.get(), before.get(), scan], |row| row.get(0)).optional()?;
        let found = match nearby {
            Some(seq) => seq,
            None => self.sent_before.query_row([newest.get(), before.get(), scan], |row| row.get(0))?,
        };
        Ok(Seq::new(found))
    }
}

/// Page of history that is being filled.
pub(super) struct PastPageBuilder<'v> {
    viewer: &'v Viewer,
    /// Room to show for each message; `None`: the room through which the message reached the viewer.
    room: Option<RoomId>,
    count: usize,
    page: PastPage,
}

impl<'v> PastPageBuilder<'v> {
    pub(super) fn new(viewer: &'v Viewer, room: Option<RoomId>, count: usize) -> Self {
        PastPageBuilder { viewer, room, count, page: PastPage::default() }
    }

    /// Whether the page is full and there is at least one more message.
    pub(super) fn is_full(&self) -> bool {
        self.page.more
    }

    /// Adds a message, unless it was removed. If the page has no space left, only notes that there are more. The caller must check
    /// that the viewer may see the message.
    pub(super) fn add(&mut self, seq: Seq, sources: &mut Sources<'_, '_>) -> rusqlite::Result<()> {
        let Some(stored) = sources.messages.find(seq)? else { return Ok(()) };
        if self.page.messages.len() == self.count || self.page.bytes >= HISTORY_BYTES_MAX {
            self.page.more = true;
            return Ok(());
        }
        let past = self.past_message(seq, stored, sources)?;
        self.page.bytes += past.message.text.len();
        self.page.messages.push(past);
        Ok(())
    }

    /// Returns the page, with its messages in the order in which they were added.
    pub(super) fn finish(self) -> PastPage {
        self.page
    }

    fn past_message(
        &self,
        seq: Seq,
        stored: StoredMessage,
        sources: &mut Sources<'_, '_>,
    ) -> rusqlite::Result<PastMessage> {
        let sent = stored.sender == self.viewer.peer();
        let route = self.viewer.route(seq, stored.sender, stored.numbered_recipients());
        let room = self.room.or_else(|| route.and_then(Route::room));
        let room = room.map(|room| sources.names.room(room)).transpose()?;
        let to = sources.names.of(&stored.recipients)?;
        Ok(PastMessage { sent, message: stored.into_message(to, room) })
    }
}

/// Returns the newest messages to a peer from another before `before`, newest first, at most `count` + 1.
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
        let scanned = index.last_before(to.into(), before, left.min(HISTORY_CHUNK_MESSAGES))?;
        let Some(last) = scanned.last() else { break };
        (before, left) = (*last, left - scanned.len());
        for seq in scanned {
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
