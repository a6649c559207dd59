//! Reads of the model: a feed's pages, waiting messages, history. Owns which messages those are; never changes any.

use std::collections::BTreeMap;

use super::answers::Answers;
use super::{Disk, MessageRow};
use crate::limits::{HISTORY_MESSAGES_MAX, PAGE_MESSAGES_MAX};
use crate::message::{Destination, Message, PeerId, Recipient, Room, RoomId, Seq};
use crate::protocol::PastMessage;
use crate::store::{
    Fed, HistoryQuery, HistoryScan, Missed, Page, PageQuery, PastPage, Read, ScanResult, ScanTask, WaitingQuery,
    WaitingScan,
};

impl Disk {
    /// Executes a read of a turn; `page_bytes_left` is what the pages of the turn may still hold.
    pub(in crate::simulation) fn read(&self, read: Read, page_bytes_left: &mut usize, answers: &mut Answers<'_>) {
        match read {
            Read::Page(query, reply) => answers.send(Read::Page, query, reply, self.page(query, page_bytes_left)),
            Read::Scan(scan, reply) => match &scan.task {
                ScanTask::Waiting(waiting) => {
                    let query = waiting.query();
                    let found = ScanResult::Waiting(self.waiting(query));
                    answers.send_scan(scan, WaitingScan::new(query), reply, found);
                }
                ScanTask::History(history) => {
                    let query = history.query();
                    let found = ScanResult::Messages(self.history(query, scan.bytes_max));
                    answers.send_scan(scan, HistoryScan::new(query), reply, found);
                }
                ScanTask::Search(_) => unreachable!("no client of the simulation searches"),
            },
            Read::Observed(query, reply) => {
                let page = self.observed(&query);
                answers.send(Read::Observed, query, reply, page);
            }
            Read::Values(query, reply) => {
                answers.send(Read::Values, query, reply, self.observers.values(query.peer));
            }
        }
    }

    /// Messages for a recipient after this one.
    pub(super) fn after(&self, recipient: Recipient, after: Seq) -> &[Seq] {
        let Some(inbox) = self.inboxes.get(&recipient) else { return &[] };
        &inbox[inbox.partition_point(|seq| *seq <= after)..]
    }

    /// Messages for a peer and for its rooms, with the rooms through which each comes: none if it is addressed to the
    /// peer. Messages that the peer sent into its rooms are included.
    fn inboxes_after(&self, peer: PeerId, after: Seq) -> BTreeMap<Seq, Vec<RoomId>> {
        let mut all = BTreeMap::new();
        for membership in self.rooms.of(peer) {
            let room = membership.room.id;
            for seq in self.after(room.into(), after.max(membership.joined)) {
                all.entry(*seq).or_insert_with(Vec::new).push(room);
            }
        }
        all.extend(self.after(peer.into(), after).iter().map(|seq| (*seq, Vec::new())));
        all
    }

    fn page(&self, query: PageQuery, page_bytes_left: &mut usize) -> Page {
        let PageQuery { peer, after, is_addressed, bytes_max } = query;
        let mut page = Page::empty(after);
        let mut bytes_left = bytes_max.min(*page_bytes_left);
        let inboxes = self.inboxes_after(peer, after);
        let mut waiting = inboxes.iter().peekable();
        while bytes_left > 0 && page.messages.len() < PAGE_MESSAGES_MAX {
            let Some((seq, rooms)) = waiting.next() else { break };
            page.reached = *seq;
            let bytes = self.add_to_page(peer, *seq, rooms, is_addressed, &mut page);
            bytes_left = bytes_left.saturating_sub(bytes);
            *page_bytes_left = page_bytes_left.saturating_sub(bytes);
        }
        page.complete = waiting.peek().is_none();
        let is_past = |room: RoomId| self.rooms.floor(room) <= page.reached.max(self.joined(room, peer));
        page.is_past_floors = page.complete || self.rooms.of(peer).iter().all(|membership| is_past(membership.room.id));
        page
    }

    /// Adds a message to a page, or skips it. Returns the bytes of the page that this takes.
    fn add_to_page(&self, peer: PeerId, seq: Seq, rooms: &[RoomId], is_addressed: bool, page: &mut Page) -> usize {
        let is_direct = rooms.is_empty();
        let stored = &self.messages[&seq];
        if !is_direct && stored.sender == peer {
            return 0;
        }
        let room = stored.recipients.iter().filter_map(|to| to.room()).find(|room| rooms.contains(room));
        if let Some(room) = room
            && !self.is_replayed(seq, rooms)
        {
            Missed::add(room, 1, &mut page.missed);
            return 0;
        }
        let to = if is_addressed { self.destinations(stored) } else { Vec::new() };
        let message = Message { to, room: room.map(|room| self.rooms.name(room).clone()), ..self.message(seq) };
        let bytes = message.counted_bytes();
        page.messages.push(Fed { message, is_direct });
        bytes
    }

    fn joined(&self, room: RoomId, peer: PeerId) -> Seq {
        self.rooms.joined(room, peer).expect("the peer is a member")
    }

    /// Whether a message that comes through these rooms, or directly if there are none, is replayed.
    fn is_replayed(&self, seq: Seq, rooms: &[RoomId]) -> bool {
        rooms.is_empty() || rooms.iter().any(|room| self.rooms.floor(*room) < seq)
    }

    fn waiting(&self, WaitingQuery { peer, after }: WaitingQuery) -> u64 {
        let is_others = |(seq, rooms): &(Seq, Vec<RoomId>)| rooms.is_empty() || self.messages[seq].sender != peer;
        let mut inboxes = self.inboxes_after(peer, after);
        inboxes.retain(|seq, rooms| self.is_replayed(*seq, rooms));
        inboxes.into_iter().filter(|waiting| is_others(waiting)).count() as u64
    }

    pub(super) fn message(&self, seq: Seq) -> Message {
        let MessageRow { at, sender, text, .. } = &self.messages[&seq];
        let (to, room) = (Vec::new(), None);
        Message { seq, at: *at, sender: self.peers[sender].name.clone(), to, room, text: text.clone() }
    }

    pub(super) fn destinations(&self, stored: &MessageRow) -> Vec<Destination> {
        let destination = |to: &Recipient| match to {
            Recipient::Peer(peer) => Destination::Peer(self.peers[peer].name.clone()),
            Recipient::Room(room) => Destination::Room(self.rooms.name(*room).clone()),
        };
        stored.recipients.iter().map(destination).collect()
    }

    fn history(&self, query: HistoryQuery, bytes_max: usize) -> PastPage {
        let HistoryQuery { peer: asker, with, before, count, is_addressed } = query;
        assert!(count <= HISTORY_MESSAGES_MAX, "a history of {count} messages is asked for");
        let is_between = |from: PeerId, to: PeerId, stored: &MessageRow| {
            stored.sender == from && stored.recipients.contains(&to.into())
        };
        let is_part = |seq: Seq, stored: &MessageRow| match with {
            None => stored.sender == asker || self.reaches(asker, seq, stored),
            Some(Recipient::Peer(with)) => is_between(asker, with, stored) || is_between(with, asker, stored),
            Some(Recipient::Room(room)) => {
                stored.recipients.contains(&room.into()) && self.rooms.sees(room, asker, seq)
            }
        };
        let mut page = PastPage::default();
        for (seq, stored) in self.messages.range(..before).rev().filter(|(seq, stored)| is_part(**seq, stored)) {
            if page.messages.len() == count || page.bytes >= bytes_max {
                page.more = true;
                break;
            }
            let past = self.past_message(asker, with.and_then(Recipient::room), *seq, stored);
            let to = if past.sent || is_addressed { past.message.to } else { Vec::new() };
            let past = PastMessage { message: Message { to, ..past.message }, ..past };
            page.bytes += past.message.counted_bytes();
            page.messages.push(past);
        }
        page.messages.reverse();
        page
    }

    /// Whether a message is addressed to a peer, or came into one of its rooms while it was a member.
    fn reaches(&self, peer: PeerId, seq: Seq, stored: &MessageRow) -> bool {
        stored.recipients.contains(&peer.into()) || self.room_through(peer, seq, stored).is_some()
    }

    fn room_through(&self, peer: PeerId, seq: Seq, stored: &MessageRow) -> Option<RoomId> {
        let mut rooms = stored.recipients.iter().filter_map(|to| to.room());
        rooms.find(|room| self.rooms.sees(*room, peer, seq))
    }

    fn past_message(&self, asker: PeerId, with: Option<RoomId>, seq: Seq, stored: &MessageRow) -> PastMessage {
        let sent = stored.sender == asker;
        let room = match with {
            Some(room) => Some(room),
            None if sent => stored.recipients.iter().find_map(|to| to.room()),
            None if stored.recipients.contains(&asker.into()) => None,
            None => self.room_through(asker, seq, stored),
        };
        let room: Option<Room> = room.map(|room| self.rooms.name(room).clone());
        PastMessage { sent, message: Message { to: self.destinations(stored), room, ..self.message(seq) } }
    }
}
