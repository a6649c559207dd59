//! Message history of a peer, for `/history` and `/search`: messages that it sent or received, and those of its rooms since it
//! joined them. Reads them piece by piece, so that nobody waits for a long history. Never reads for a shell, which may see every message.

use std::collections::VecDeque;

use super::sent::{SentMessages, SentScan};
use super::{HistoryQuery, PastPage};
use crate::database::inboxes::{Inboxes, Sources};
use crate::database::messages::StoredMessage;
use crate::database::visibility::{Route, Viewer};
use crate::limits::{HISTORY_BYTES_MAX, HISTORY_CHUNK_MESSAGES, HISTORY_SCAN_MESSAGES_MAX};
use crate::message::{PeerId, Recipient, RoomId, Seq};
use crate::protocol::PastMessage;

/// Scan for the newest messages of a history. It begins with the first step: what is sent, or removed from view, after that does not
/// change it.
#[derive(Debug)]
pub struct HistoryScan {
    query: HistoryQuery,
    /// `None` before the first step.
    state: Option<HistoryState>,
}

#[derive(Debug)]
struct HistoryState {
    viewer: Viewer,
    page: PastPageBuilder,
    candidates: Candidates,
}

/// Messages that may belong to a history, newest first.
#[derive(Debug)]
enum Candidates {
    /// All messages that the viewer may see: those that it sent, and those in its inboxes.
    All { sent: SentScan, inboxes: Inboxes },
    /// Messages from the viewer to a peer, then those from the peer to the viewer.
    Exchanged([DirectScan; 2]),
    /// Messages that were found, newest first.
    Found(VecDeque<Seq>),
    /// Messages in a room that the viewer sees.
    Room(Inboxes),
}

impl HistoryScan {
    /// Makes a scan for the messages of this query.
    pub fn new(query: HistoryQuery) -> Self {
        HistoryScan { query, state: None }
    }

    /// Returns the query.
    #[cfg(test)]
    pub(crate) fn query(&self) -> HistoryQuery {
        self.query
    }

    /// Drops the progress.
    pub(super) fn restart(&mut self) {
        self.state = None;
    }

    /// Returns the bytes that the messages count for that were read.
    pub(super) fn held_bytes(&self) -> usize {
        self.state.as_ref().map_or(0, |state| state.page.held_bytes())
    }

    /// Does the next piece of work. Returns the messages, oldest first, once the history is complete: because there are no more, or because
    /// they count for `bytes_max`. `newest` is the newest message of the log.
    pub(super) fn step<'c>(
        &mut self,
        (newest, bytes_max): (Seq, usize),
        sent: &mut SentMessages<'c>,
        sources: &mut Sources<'_, 'c>,
    ) -> rusqlite::Result<Option<PastPage>> {
        let HistoryState { viewer, page, candidates } = match &mut self.state {
            Some(state) => state,
            none => none.insert(HistoryState::new(self.query, newest, sources)?),
        };
        page.limit(bytes_max);
        let is_done = match candidates {
            Candidates::All { sent: scan, inboxes } => step_all(scan, inboxes, viewer, page, (sent, sources))?,
            Candidates::Exchanged(scans) => {
                match scans.iter_mut().find(|scan| !scan.is_done(self.query.count)) {
                    Some(scan) => scan.step(sources)?,
                    None => *candidates = Candidates::Found(merged(scans)),
                }
                false
            }
            Candidates::Found(seqs) => step_one(seqs.pop_front(), viewer, page, sources)?,
            Candidates::Room(inbox) => {
                if inbox.open_next(sources.index)? {
                    return Ok(None);
                }
                let seq = inbox.next(sources.index)?.map(|next| next.seq);
                step_one(seq, viewer, page, sources)?
            }
        };
        Ok(is_done.then(|| {
            let mut page = page.take();
            page.messages.reverse();
            page
        }))
    }
}

impl HistoryState {
    fn new(query: HistoryQuery, newest: Seq, sources: &mut Sources<'_, '_>) -> rusqlite::Result<Self> {
        let HistoryQuery { peer, with, before, count, is_addressed } = query;
        let before = before.min(newest.next());
        let viewer = Viewer::of(peer, sources.members)?;
        let candidates = match with {
            None => Candidates::All { sent: SentScan::new(peer, before), inboxes: Inboxes::before(&viewer, before) },
            Some(Recipient::Peer(with)) => {
                Candidates::Exchanged([DirectScan::new(peer, with, before), DirectScan::new(with, peer, before)])
            }
            Some(Recipient::Room(room)) => Candidates::Room(Inboxes::of_room(&viewer, room, before)),
        };
        let page = PastPageBuilder::new(with.and_then(Recipient::room), count, is_addressed);
        Ok(HistoryState { viewer, page, candidates })
    }
}

/// Adds the next of all messages that the viewer may see. Returns whether the page is complete.
fn step_all<'c>(
    scan: &mut SentScan,
    inboxes: &mut Inboxes,
    viewer: &Viewer,
    page: &mut PastPageBuilder,
    (sent, sources): (&mut SentMessages<'c>, &mut Sources<'_, 'c>),
) -> rusqlite::Result<bool> {
    if inboxes.open_next(sources.index)? {
        return Ok(false);
    }
    if !scan.is_at_message() {
        scan.step(sent, sources.index)?;
        return Ok(false);
    }
    let seq = scan.peek().max(inboxes.peek());
    if seq == scan.peek() {
        scan.take();
    }
    if seq == inboxes.peek() {
        inboxes.next(sources.index)?;
    }
    step_one(seq, viewer, page, sources)
}

/// Adds a message, if there is one. Returns whether the page is complete.
fn step_one(
    seq: Option<Seq>,
    viewer: &Viewer,
    page: &mut PastPageBuilder,
    sources: &mut Sources<'_, '_>,
) -> rusqlite::Result<bool> {
    let Some(seq) = seq else { return Ok(true) };
    page.add(seq, viewer, sources)?;
    Ok(page.is_full())
}

/// Page of history that is being filled.
#[derive(Debug)]
pub(super) struct PastPageBuilder {
    /// Room to show for each message; `None`: the room through which the message reached the viewer.
    room: Option<RoomId>,
    count: usize,
    /// Whether the destinations of all messages are read, and not only of those that the viewer sent.
    is_addressed: bool,
    /// Bytes that the messages may count for; the last one may exceed them.
    bytes_max: usize,
    page: PastPage,
}

impl PastPageBuilder {
    pub(super) fn new(room: Option<RoomId>, count: usize, is_addressed: bool) -> Self {
        PastPageBuilder { room, count, is_addressed, bytes_max: HISTORY_BYTES_MAX, page: PastPage::default() }
    }

    /// Whether the page is full and there is at least one more message.
    pub(super) fn is_full(&self) -> bool {
        self.page.more
    }

    /// Adds a message, unless it was removed. If the page has no space left, only notes that there are more. The caller must check
    /// that the viewer may see the message.
    pub(super) fn add(&mut self, seq: Seq, viewer: &Viewer, sources: &mut Sources<'_, '_>) -> rusqlite::Result<()> {
        let Some(stored) = sources.messages.find(seq)? else { return Ok(()) };
        if self.page.messages.len() == self.count || self.page.bytes >= self.bytes_max {
            self.page.more = true;
            return Ok(());
        }
        let past = self.past_message(seq, stored, viewer, sources)?;
        self.page.bytes += past.message.counted_bytes();
        self.page.messages.push(past);
        Ok(())
    }

    /// Sets the bytes that the messages may count for. It may change while the page is filled.
    pub(super) fn limit(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Returns the bytes that the messages count for.
    pub(super) fn held_bytes(&self) -> usize {
        self.page.bytes
    }

    /// Takes the page, with its messages in the order in which they were added.
    pub(super) fn take(&mut self) -> PastPage {
        std::mem::take(&mut self.page)
    }

    fn past_message(
        &self,
        seq: Seq,
        stored: StoredMessage,
        viewer: &Viewer,
        sources: &mut Sources<'_, '_>,
    ) -> rusqlite::Result<PastMessage> {
        let sent = stored.sender == viewer.peer();
        let route = viewer.route(seq, stored.sender, stored.numbered_recipients());
        let room = self.room.or_else(|| route.and_then(Route::room));
        let room = room.map(|room| sources.names.room(room)).transpose()?;
        let to = if sent || self.is_addressed { sources.names.of(&stored.recipients)? } else { Vec::new() };
        Ok(PastMessage { sent, message: stored.into_message(to, room) })
    }
}

/// Scan for the newest messages from one peer to another.
#[derive(Debug)]
struct DirectScan {
    from: PeerId,
    to: PeerId,
    before: Seq,
    /// Messages of the recipient that may still be scanned.
    left: usize,
    /// Messages of the recipient that are scanned next.
    inbox: VecDeque<Seq>,
    /// Messages that were found, newest first.
    found: Vec<Seq>,
}

impl DirectScan {
    fn new(from: PeerId, to: PeerId, before: Seq) -> Self {
        DirectScan { from, to, before, left: HISTORY_SCAN_MESSAGES_MAX, inbox: VecDeque::new(), found: Vec::new() }
    }

    /// Whether more messages were found than are wanted, or there are no more.
    fn is_done(&self, count: usize) -> bool {
        self.found.len() > count || (self.inbox.is_empty() && self.left == 0)
    }

    fn step(&mut self, Sources { index, messages, .. }: &mut Sources<'_, '_>) -> rusqlite::Result<()> {
        if let Some(seq) = self.inbox.pop_front() {
            let is_found = messages.sender(seq)? == Some(self.from);
            self.found.extend(is_found.then_some(seq));
            return Ok(());
        }
        let inbox = index.last_before(self.to.into(), self.before, self.left.min(HISTORY_CHUNK_MESSAGES))?;
        self.left = inbox.last().map_or(0, |_| self.left - inbox.len());
        self.before = inbox.last().copied().unwrap_or(self.before);
        self.inbox = inbox.into();
        Ok(())
    }
}

/// Returns what both scans found, newest first, each message once.
fn merged([sent, received]: &[DirectScan; 2]) -> VecDeque<Seq> {
    let mut seqs = [&*sent.found, &*received.found].concat();
    seqs.sort_unstable_by(|one, other| other.cmp(one));
    seqs.dedup();
    seqs.into()
}
