//! The inboxes of a peer and its rooms, merged in the order of the log, forward or backward. Reads the inboxes piece by piece, no
//! further than necessary; never reads a message.

use std::collections::{BTreeSet, VecDeque};

use super::index::Index;
use super::members::Members;
use super::messages::Messages;
use super::names::Names;
use super::visibility::{InboxRange, Viewer};
use crate::limits::{INBOX_CHUNK_MESSAGES_MIN, PAGE_MESSAGES_MAX};
use crate::message::{PeerId, Recipient, RoomId, Seq};

/// Tables from which the messages of a peer are read.
pub(crate) struct Sources<'a, 'c> {
    pub(crate) index: &'a mut Index<'c>,
    pub(crate) members: &'a mut Members<'c>,
    pub(crate) names: &'a mut Names<'c>,
    pub(crate) messages: &'a mut Messages<'c>,
}

/// Message in one or several of the inboxes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InboxMessage {
    pub(crate) seq: Seq,
    /// Rooms through which the message reaches the peer; empty if it is addressed to the peer directly.
    pub(crate) rooms: Vec<RoomId>,
}

/// Merged inboxes. A peer may have a thousand of them: [`open_next`](Self::open_next) opens one at a time, so that other requests need not
/// wait for all. Holds no statement, so it can be put aside between two turns.
#[derive(Debug)]
pub(crate) struct Inboxes {
    direction: Direction,
    inboxes: Vec<Inbox>,
    /// Number of inboxes that are open: their heads were read.
    opened: usize,
    /// Next message of each open inbox, and the index of the inbox; an inbox that is used up has no head.
    heads: BTreeSet<(Seq, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// Messages of one recipient between two others, both excluded.
#[derive(Debug)]
struct Inbox {
    recipient: Recipient,
    after: Seq,
    before: Seq,
    /// Messages that were read and not returned yet.
    seqs: VecDeque<Seq>,
    /// Number of messages that are read next; doubles each time. A page or a slice of a scan may end after a few: then reading many would
    /// take longer than the messages themselves.
    chunk: usize,
}

impl Inboxes {
    /// Merges the inboxes of a peer after `after`, and of the rooms since it joined them last, oldest first. All of them are open.
    pub(crate) fn after(peer: PeerId, after: Seq, sources: &mut Sources<'_, '_>) -> rusqlite::Result<Self> {
        let viewer = Viewer::with_rooms(peer, sources.members.joined(peer)?);
        Inboxes::between(&viewer, after, Seq::MAX).opened(sources.index)
    }

    /// Merges the inboxes of a viewer between `after` and `before`, both excluded, oldest first. None of them is open yet.
    pub(crate) fn between(viewer: &Viewer, after: Seq, before: Seq) -> Self {
        Inboxes::of(viewer, (after, before), Direction::Up)
    }

    /// Merges the inboxes of a viewer before `before`, newest first. None of them is open yet.
    pub(crate) fn before(viewer: &Viewer, before: Seq) -> Self {
        Inboxes::of(viewer, (Seq::ZERO, before), Direction::Down)
    }

    /// Returns what a viewer sees of one room before `before`, newest first. It is not open yet.
    pub(crate) fn of_room(viewer: &Viewer, room: RoomId, before: Seq) -> Self {
        Inboxes::of_ranges(viewer.ranges_of(room), (Seq::ZERO, before), Direction::Down)
    }

    fn of(viewer: &Viewer, between: (Seq, Seq), direction: Direction) -> Self {
        Inboxes::of_ranges(viewer.ranges(), between, direction)
    }

    fn of_ranges(ranges: impl Iterator<Item = InboxRange>, (after, before): (Seq, Seq), direction: Direction) -> Self {
        let inbox = |range: InboxRange| {
            // `until` may be the last of all places.
            let end = if range.until < before { range.until.next() } else { before };
            Inbox::new(range.recipient, after.max(range.after), end)
        };
        Inboxes { direction, inboxes: ranges.map(inbox).collect(), opened: 0, heads: BTreeSet::new() }
    }

    /// Opens all inboxes.
    pub(crate) fn opened(mut self, index: &mut Index<'_>) -> rusqlite::Result<Self> {
        while self.open_next(index)? {}
        Ok(self)
    }

    /// Opens the next inbox that is not open. Returns false if all are.
    pub(crate) fn open_next(&mut self, index: &mut Index<'_>) -> rusqlite::Result<bool> {
        if self.opened == self.inboxes.len() {
            return Ok(false);
        }
        self.read_head(self.opened, index)?;
        self.opened += 1;
        Ok(true)
    }

    /// Whether no message is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Returns the next message without taking it.
    pub(crate) fn peek(&self) -> Option<Seq> {
        self.head().map(|(seq, _)| seq)
    }

    /// Takes the next message; one that is in several inboxes is returned once.
    pub(crate) fn next(&mut self, index: &mut Index<'_>) -> rusqlite::Result<Option<InboxMessage>> {
        let Some(seq) = self.peek() else { return Ok(None) };
        let mut next = InboxMessage { seq, rooms: Vec::new() };
        if let [Inbox { recipient: Recipient::Peer(_), .. }] = self.inboxes[..] {
            // Most peers have no rooms, so there is nothing to merge.
            self.heads.clear();
            self.read_head(0, index)?;
            return Ok(Some(next));
        }
        let mut is_direct = false;
        while let Some(head) = self.head().filter(|(other, _)| *other == seq) {
            self.heads.remove(&head);
            match self.inboxes[head.1].recipient {
                Recipient::Peer(_) => is_direct = true,
                Recipient::Room(room) => next.rooms.push(room),
            }
            self.read_head(head.1, index)?;
        }
        if is_direct {
            next.rooms.clear();
        }
        Ok(Some(next))
    }

    fn head(&self) -> Option<(Seq, usize)> {
        match self.direction {
            Direction::Up => self.heads.first().copied(),
            Direction::Down => self.heads.last().copied(),
        }
    }

    /// Adds the next message of an inbox to the heads.
    fn read_head(&mut self, place: usize, index: &mut Index<'_>) -> rusqlite::Result<()> {
        // All inboxes together keep about a page in memory.
        let count_max = PAGE_MESSAGES_MAX / self.inboxes.len() + 1;
        let Inbox { recipient, after, before, seqs, chunk } = &mut self.inboxes[place];
        if seqs.is_empty() {
            let count = count_max.min(*chunk);
            *chunk = 2 * count;
            *seqs = match self.direction {
                Direction::Up => index.first_after(*recipient, *after, count)?.into(),
                Direction::Down => index.last_before(*recipient, *before, count)?.into(),
            };
        }
        let Some(seq) = seqs.pop_front().filter(|seq| *after < *seq && *seq < *before) else { return Ok(()) };
        match self.direction {
            Direction::Up => *after = seq,
            Direction::Down => *before = seq,
        }
        self.heads.insert((seq, place));
        Ok(())
    }
}

impl Inbox {
    fn new(recipient: impl Into<Recipient>, after: Seq, before: Seq) -> Self {
        Inbox { recipient: recipient.into(), after, before, seqs: VecDeque::new(), chunk: INBOX_CHUNK_MESSAGES_MIN }
    }
}
