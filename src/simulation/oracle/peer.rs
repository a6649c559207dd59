//! What is true of one peer: what was committed for it, and how far it has got that. Owns its log; never who else got it.

use crate::message::{PeerName, Seq};

/// What is known of one peer.
pub(in crate::simulation) struct Peer {
    pub(in crate::simulation) name: PeerName,
    /// What was committed for it, in order.
    pub(in crate::simulation) log: Vec<Logged>,
    /// Everything in `log` before this has been acknowledged by one of its systems, at least.
    pub(in crate::simulation) frontier: usize,
    /// Messages for it directly, in `log` behind that.
    pub(super) waiting: u64,
    /// What the broker was told of that, at least.
    pub(in crate::simulation) reported: Seq,
    /// A client has acknowledged what it had not got, and it is not known for certain how much of that counted.
    pub(in crate::simulation) is_vague: bool,
    /// Its cursor on the disk.
    pub(in crate::simulation) kept: Seq,
    /// Messages for it directly whose turn was not committed.
    pub(in crate::simulation) failed: u64,
    /// Messages for it directly in the turn that the store has under way.
    pub(in crate::simulation) under_way: u64,
    /// Messages in its rooms in the turn that the store has under way, at most.
    pub(in crate::simulation) under_way_in_rooms: u64,
    /// Its sessions that may be there, in the order of their logins.
    pub(in crate::simulation) sessions: Vec<usize>,
    /// When the last of them told the broker to join.
    pub(in crate::simulation) joined_at: u64,
    /// Its sessions that are there for certain, and since when.
    pub(in crate::simulation) here: Vec<(usize, u64)>,
    /// Those of them that keep up for certain, and since when.
    pub(in crate::simulation) live: Vec<(usize, u64)>,
    /// When one of them was first greeted.
    pub(in crate::simulation) seen_at: Option<u64>,
}

/// A committed message, for one of its recipients.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Logged {
    pub(in crate::simulation) seq: Seq,
    /// The rooms through which it comes, in the order in which they were named; none if it is for the peer itself.
    pub(in crate::simulation) rooms: Vec<Through>,
    /// The turn that committed it.
    pub(super) turn: u64,
    /// By one of the recipient's systems.
    pub(super) arrived: bool,
    /// It waits for nobody, and the store has removed it.
    pub(super) removed: bool,
}

/// A room through which a message comes.
#[derive(Clone, Copy, Debug)]
pub(in crate::simulation) struct Through {
    pub(in crate::simulation) room: usize,
    /// The peer has left it since: what it has not got by then, it need not get.
    pub(super) has_left: bool,
}

impl Logged {
    /// Whether the peer need not get it any more, as it has left the rooms through which it comes.
    pub(in crate::simulation) fn has_lapsed(&self) -> bool {
        !self.rooms.is_empty() && self.rooms.iter().all(|through| through.has_left)
    }

    pub(in crate::simulation) fn is_direct(&self) -> bool {
        self.rooms.is_empty()
    }

    /// Whether it may be read as one that comes through this room; none: as one for the peer itself.
    pub(in crate::simulation) fn comes_through(&self, room: Option<usize>) -> bool {
        let Some(room) = room else { return self.is_direct() };
        let place = self.rooms.iter().position(|through| through.room == room);
        // The first that was named, unless it was left since.
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
            is_vague: false,
            kept: Seq::ZERO,
            failed: 0,
            under_way: 0,
            under_way_in_rooms: 0,
            sessions: Vec::new(),
            joined_at: 0,
            here: Vec::new(),
            live: Vec::new(),
            seen_at: None,
        }
    }

    /// The place in the log of what comes after this message.
    pub(in crate::simulation) fn place_after(&self, seq: Seq) -> usize {
        self.log.partition_point(|logged| logged.seq <= seq)
    }

    /// The message with this number, if it is for this peer.
    pub(in crate::simulation) fn logged(&self, seq: Seq) -> Option<&Logged> {
        let place = self.log.partition_point(|logged| logged.seq < seq);
        self.log.get(place).filter(|logged| logged.seq == seq)
    }

    /// Messages behind this one that must still come; those for the peer itself alone, or with those of its rooms.
    pub(in crate::simulation) fn waiting_at_least(&self, with_rooms: bool) -> u64 {
        let counts = |logged: &&Logged| logged.is_direct() || with_rooms && !logged.has_lapsed();
        self.log[self.frontier..].iter().filter(counts).count() as u64
    }

    /// Messages for the peer itself behind this place.
    pub(in crate::simulation) fn direct_from(&self, place: usize) -> u64 {
        self.log[place..].iter().filter(|logged| logged.is_direct()).count() as u64
    }

    /// One of the peer's systems has acknowledged the message at this place.
    pub(in crate::simulation) fn arrived(&mut self, place: usize) {
        self.log[place].arrived = true;
        self.advance();
    }

    pub(super) fn advance(&mut self) {
        while let Some(logged) = self.log.get(self.frontier).filter(|logged| logged.arrived || logged.has_lapsed()) {
            self.waiting -= u64::from(logged.is_direct());
            self.frontier += 1;
        }
    }

    /// Whether one of its sessions was there for certain, all the time since then.
    pub(in crate::simulation) fn is_here_since(&self, step: u64) -> bool {
        self.here.iter().any(|(_, since)| *since < step)
    }

    /// Whether none of its sessions was there, all the time since then.
    pub(in crate::simulation) fn is_away_since(&self, step: u64) -> bool {
        self.sessions.is_empty() && self.joined_at < step
    }

    /// Whether one of its sessions kept up for certain, all the time since then.
    pub(in crate::simulation) fn keeps_up_since(&self, step: u64) -> bool {
        self.live.iter().any(|(_, since)| *since < step)
    }

    /// A session is not there any more, or may not be.
    pub(in crate::simulation) fn is_ending(&mut self, session: usize) {
        self.here.retain(|(other, _)| *other != session);
        self.falls_behind(session);
    }

    /// A session may not keep up any more.
    pub(in crate::simulation) fn falls_behind(&mut self, session: usize) {
        self.live.retain(|(other, _)| *other != session);
    }
}
