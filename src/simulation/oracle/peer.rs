//! State of one peer: the messages committed for it, and which of them it has received. Owns its log; never other
//! recipients.

use std::ops::Range;

use crate::message::{PeerName, Seq};

/// State of one peer.
pub(in crate::simulation) struct Peer {
    pub(in crate::simulation) name: PeerName,
    /// Messages committed for it, in order.
    pub(in crate::simulation) log: Vec<InboxEntry>,
    /// Index in `log` before which one of its systems has acknowledged everything, at least.
    pub(in crate::simulation) frontier: usize,
    /// Messages addressed to the peer, at or after `frontier`.
    pub(super) waiting: u64,
    /// Newest message that the broker knows delivered, at least.
    pub(in crate::simulation) reported: Seq,
    /// Whether a client acknowledged messages that it had not received, so that it is uncertain how many of them count.
    pub(in crate::simulation) is_uncertain: bool,
    /// Cursor on the disk.
    pub(in crate::simulation) kept: Seq,
    /// Messages addressed to the peer whose turn failed.
    pub(in crate::simulation) failed: u64,
    /// Messages addressed to the peer in the turn that the store executes.
    pub(in crate::simulation) in_flight: u64,
    /// Upper bound of the messages through rooms in the turn that the store executes.
    pub(in crate::simulation) in_flight_in_rooms: u64,
    /// Sessions that may be online, in the order of their logins.
    pub(in crate::simulation) sessions: Vec<usize>,
    /// Step in which the newest session joined.
    pub(in crate::simulation) joined_at: u64,
    /// Sessions that are certainly online, each with the step since when.
    pub(in crate::simulation) here: Vec<(usize, u64)>,
    /// Sessions that certainly keep up, each with the step since when.
    pub(in crate::simulation) live: Vec<(usize, u64)>,
    /// Step in which one of its sessions was first greeted.
    pub(in crate::simulation) seen_at: Option<u64>,
}

/// Committed message in the log of one recipient.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct InboxEntry {
    pub(in crate::simulation) seq: Seq,
    /// Rooms through which it comes, in the order in which the sender named them. Empty if it is addressed to the peer.
    pub(in crate::simulation) rooms: Vec<RoomRoute>,
    /// Turn that committed it.
    pub(super) turn: u64,
    /// Whether one of the recipient's systems has acknowledged it.
    pub(super) arrived: bool,
    /// Whether the store has removed it.
    pub(super) removed: bool,
}

/// Room through which a message comes.
#[derive(Clone, Copy, Debug)]
pub(in crate::simulation) struct RoomRoute {
    pub(in crate::simulation) room: usize,
    /// Whether the peer has left the room since: it need not receive what had not arrived by then.
    pub(super) has_left: bool,
    /// Whether the message is no longer replayed to members of the room.
    pub(super) is_floored: bool,
}

impl InboxEntry {
    /// Whether the peer need not receive it any more, because it left all rooms through which it comes, or they do not replay it.
    pub(in crate::simulation) fn may_be_skipped(&self) -> bool {
        !self.rooms.is_empty() && self.rooms.iter().all(|through| through.has_left || through.is_floored)
    }

    /// Whether the peer is notified that it missed the message, if a session skips it.
    pub(in crate::simulation) fn is_missed(&self) -> bool {
        !self.removed
            && !self.rooms.is_empty()
            && self.rooms.iter().all(|through| !through.has_left && through.is_floored)
    }

    pub(in crate::simulation) fn is_direct(&self) -> bool {
        self.rooms.is_empty()
    }

    /// Whether it may be read as a message of this room, or as one addressed to the peer if `None`.
    pub(in crate::simulation) fn comes_through(&self, room: Option<usize>) -> bool {
        let Some(room) = room else { return self.is_direct() };
        let place = self.rooms.iter().position(|through| through.room == room);
        // The message comes through the first room that the sender named and the peer has not left since.
        place.is_some_and(|place| self.rooms[..place].iter().all(|through| through.has_left))
    }
}

impl Peer {
    pub(super) fn new(name: PeerName) -> Self {
        Peer {
            name,
            log: Vec::new(),
            frontier: 0,
            waiting: 0,
            reported: Seq::ZERO,
            is_uncertain: false,
            kept: Seq::ZERO,
            failed: 0,
            in_flight: 0,
            in_flight_in_rooms: 0,
            sessions: Vec::new(),
            joined_at: 0,
            here: Vec::new(),
            live: Vec::new(),
            seen_at: None,
        }
    }

    /// Index in the log of the first message after this one.
    pub(in crate::simulation) fn place_after(&self, seq: Seq) -> usize {
        self.log.partition_point(|logged| logged.seq <= seq)
    }

    /// The message with this sequence number, if it is for this peer.
    pub(in crate::simulation) fn logged(&self, seq: Seq) -> Option<&InboxEntry> {
        let place = self.log.partition_point(|logged| logged.seq < seq);
        self.log.get(place).filter(|logged| logged.seq == seq)
    }

    /// Lower bound of the messages that wait for the peer, with or without those of its rooms.
    pub(in crate::simulation) fn waiting_at_least(&self, with_rooms: bool) -> u64 {
        let counts = |logged: &&InboxEntry| logged.is_direct() || with_rooms && !logged.may_be_skipped();
        self.log[self.frontier..].iter().filter(counts).count() as u64
    }

    /// Number of messages in a range of the log that are replayed if the peer has not got them.
    pub(in crate::simulation) fn replayed(&self, places: Range<usize>) -> u64 {
        self.log[places].iter().filter(|logged| !logged.may_be_skipped()).count() as u64
    }

    /// Number of messages addressed to the peer from this index on.
    pub(in crate::simulation) fn direct_from(&self, place: usize) -> u64 {
        self.log[place..].iter().filter(|logged| logged.is_direct()).count() as u64
    }

    /// Notes that one of the peer's systems has acknowledged the message at this index.
    pub(in crate::simulation) fn arrived(&mut self, place: usize) {
        self.log[place].arrived = true;
        self.advance();
    }

    pub(super) fn advance(&mut self) {
        while let Some(logged) = self.log.get(self.frontier).filter(|logged| logged.arrived || logged.may_be_skipped())
        {
            self.waiting -= u64::from(logged.is_direct());
            self.frontier += 1;
        }
    }

    /// Whether one of its sessions was certainly online at all times since this step.
    pub(in crate::simulation) fn is_online_since(&self, step: u64) -> bool {
        self.here.iter().any(|(_, since)| *since < step)
    }

    /// Whether none of its sessions was online at any time since this step.
    pub(in crate::simulation) fn is_offline_since(&self, step: u64) -> bool {
        self.sessions.is_empty() && self.joined_at < step
    }

    /// Whether one of its sessions certainly kept up at all times since this step.
    pub(in crate::simulation) fn keeps_up_since(&self, step: u64) -> bool {
        self.live.iter().any(|(_, since)| *since < step)
    }

    /// Notes that a session is ending, and may be offline.
    pub(in crate::simulation) fn is_ending(&mut self, session: usize) {
        self.here.retain(|(other, _)| *other != session);
        self.falls_behind(session);
    }

    /// Notes that a session may not keep up any more.
    pub(in crate::simulation) fn falls_behind(&mut self, session: usize) {
        self.live.retain(|(other, _)| *other != session);
    }
}
