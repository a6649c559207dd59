//! The inboxes of a peer and of its rooms as one, in the order of the log, upward or downward. Owns the merging, which reads no
//! further than it must; never a message.

use std::collections::{BTreeSet, VecDeque};

use super::index::Index;
use super::members::Members;
use super::messages::Messages;
use super::names::Names;
use super::visibility::Viewer;
use crate::limits::PAGE_MESSAGES_MAX;
use crate::message::{PeerId, Recipient, RoomId, Seq};

/// What is read to know what a peer gets or got.
pub(crate) struct Sources<'a, 'c> {
    pub(crate) index: &'a mut Index<'c>,
    pub(crate) members: &'a mut Members<'c>,
    pub(crate) names: &'a mut Names<'c>,
    pub(crate) messages: &'a mut Messages<'c>,
}

/// A message in one of the inboxes, or in several.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) seq: Seq,
    /// The rooms through which it comes; none if it is for the peer itself.
    pub(crate) rooms: Vec<RoomId>,
}

/// The inboxes.
pub(crate) struct Inboxes {
    direction: Direction,
    inboxes: Vec<Inbox>,
    /// What each inbox has next, and the place of the inbox; those that are used up have nothing here.
    heads: BTreeSet<(Seq, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// One of them: what stands in it between two places, both excluded.
struct Inbox {
    recipient: Recipient,
    after: Seq,
    before: Seq,
    /// Read, and not taken yet.
    seqs: VecDeque<Seq>,
}

impl Inboxes {
    /// What a peer has to get after this message, the oldest first.
    pub(crate) fn after(peer: PeerId, after: Seq, sources: &mut Sources<'_, '_>) -> rusqlite::Result<Self> {
        let viewer = Viewer::of(peer, sources.members)?;
        Inboxes::of(&viewer, (after, Seq::MAX), Direction::Up, sources.index)
    }

    /// What a viewer got before this message, the newest first.
    pub(crate) fn before(viewer: &Viewer, before: Seq, index: &mut Index<'_>) -> rusqlite::Result<Self> {
        Inboxes::of(viewer, (Seq::ZERO, before), Direction::Down, index)
    }

    /// What was sent in a room between two messages, the newest first.
    pub(crate) fn of_room(room: RoomId, after: Seq, before: Seq, index: &mut Index<'_>) -> rusqlite::Result<Self> {
        Inboxes::merged(vec![Inbox::new(room, after, before)], Direction::Down, index)
    }

    fn of(
        viewer: &Viewer,
        (after, before): (Seq, Seq),
        direction: Direction,
        index: &mut Index<'_>,
    ) -> rusqlite::Result<Self> {
        let recipients = viewer.recipients();
        let inboxes = recipients.map(|(recipient, unseen)| Inbox::new(recipient, after.max(unseen), before)).collect();
        Inboxes::merged(inboxes, direction, index)
    }

    fn merged(inboxes: Vec<Inbox>, direction: Direction, index: &mut Index<'_>) -> rusqlite::Result<Self> {
        let mut merged = Inboxes { direction, inboxes, heads: BTreeSet::new() };
        for place in 0..merged.inboxes.len() {
            merged.read_head(place, index)?;
        }
        Ok(merged)
    }

    /// Whether there is no other message.
    pub(crate) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Where the next message is.
    pub(crate) fn peek(&self) -> Option<Seq> {
        self.head().map(|(seq, _)| seq)
    }

    /// The next message, once, however many inboxes it stands in.
    pub(crate) fn next(&mut self, index: &mut Index<'_>) -> rusqlite::Result<Option<Next>> {
        let Some(seq) = self.peek() else { return Ok(None) };
        let mut next = Next { seq, rooms: Vec::new() };
        if let [Inbox { recipient: Recipient::Peer(_), .. }] = self.inboxes[..] {
            // Most have no rooms: there is nothing to merge.
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

    /// Puts what an inbox has next among the heads.
    fn read_head(&mut self, place: usize, index: &mut Index<'_>) -> rusqlite::Result<()> {
        // So that all of them together hold about a page.
        let count = PAGE_MESSAGES_MAX / self.inboxes.len() + 1;
        let Inbox { recipient, after, before, seqs } = &mut self.inboxes[place];
        if seqs.is_empty() {
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
        Inbox { recipient: recipient.into(), after, before, seqs: VecDeque::new() }
    }
}
