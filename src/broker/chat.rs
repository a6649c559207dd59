//! Who is here, what each feed does next, and what a turn appends: plain functions of state and event, in two halves.
//! [`decide`] takes a turn's events and says what the store is to do; [`deliver`] takes what became of it. The next turn
//! may be decided before one is delivered. Owns the state of the chat; never waits, never reads a clock.

mod decide;
mod deliver;

use std::collections::{HashMap, HashSet, VecDeque};

use foldhash::{HashMap as IdMap, HashSet as IdSet};
use smol::lock::SemaphoreGuardArc;

use super::Event;
use super::outbox::Outbox;
use crate::config::Limits;
use crate::limits::ABSENT_PEERS_MAX;
use crate::message::{Destination, PeerId, PeerName, Seq, SessionId};
use crate::protocol::{Protocol, Reply, Request};
use crate::store::{Found, FoundPeer, PeerRecord};

/// The state of the chat.
#[derive(Debug)]
pub(super) struct Chat {
    /// Messages that may wait for one peer.
    mailbox_max: u64,
    /// Names that nobody ever logged in by, and for which messages may wait.
    unknown_names_max: u64,
    /// How many such names there are.
    unknown_names: u64,
    /// The newest committed message.
    newest: Seq,
    /// The highest id given to a peer.
    last_peer: PeerId,
    /// The peers in `peers`, by name. Clients choose names, so these are hashed with a secret key; ids are ours.
    ids: HashMap<PeerName, PeerId>,
    /// Everyone who is here, and those absent ones who were named lately.
    peers: IdMap<PeerId, Peer>,
    /// Every connection that has logged in and not left.
    sessions: IdMap<SessionId, Session>,
    /// Peers of which something is to be kept before the next message is.
    changed: IdSet<PeerId>,
    /// Peers whose cursor moved; that is no promise, and can wait.
    moved: IdSet<PeerId>,
    /// Replaying sessions that are to have a page, in this order. One that has left may still stand here.
    hungry: VecDeque<SessionId>,
    /// Replaying sessions whose page could not be read: tried again when something happens, or after a while.
    starved: Vec<SessionId>,
}

/// A peer, here or absent.
#[derive(Debug)]
struct Peer {
    record: PeerRecord,
    /// Whether the store knows it, or will with the next turn.
    is_kept: bool,
    /// Its open sessions, in the order of their logins; it is here while there is one.
    sessions: Vec<SessionId>,
    /// Messages addressed to it, counted from when it was looked up: those that waited then come first.
    addressed: u64,
    /// How many of those are delivered.
    delivered: u64,
}

impl Peer {
    fn is_here(&self) -> bool {
        !self.sessions.is_empty()
    }

    fn waiting(&self) -> u64 {
        // People may add and remove rows with sqlite3: what was counted may be off until the peer is looked up again.
        self.addressed.saturating_sub(self.delivered)
    }
}

/// One connection of a peer.
#[derive(Debug)]
struct Session {
    peer: PeerId,
    protocol: Protocol,
    outbox: Outbox,
    feed: Feed,
    /// Every message for the peer up to here was put into the outbox, or had been delivered before.
    fed: Seq,
    /// How many of the peer's `addressed` were put into the outbox, or had been delivered before.
    counted: u64,
    /// How many of the peer's `addressed` are delivered, seen from this session.
    delivered: u64,
    /// Set when no more requests come: the session is closed once it is fed up to here.
    ends_at: Option<Seq>,
    /// Held back while the client does not take what it is answered.
    permit: Option<SemaphoreGuardArc>,
    /// Is to have a page: stands in `hungry` or `starved`, or in a turn that is under way.
    is_hungry: bool,
    /// Something was appended to its outbox in this turn.
    is_gathered: bool,
}

/// How a session gets its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feed {
    /// From the log, page by page.
    Replaying,
    /// From each turn, as it commits.
    Live,
}

/// What a turn does once its outcome is known.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// In the order of the events.
    acts: Vec<Act>,
    /// The sessions whose pages are read, in the order of the reads; those are the last ones.
    pages: Vec<SessionId>,
    /// The sessions whose requests are in this turn.
    asked: Vec<(SessionId, SemaphoreGuardArc)>,
}

/// One thing that a turn does after the commit.
#[derive(Debug)]
enum Act {
    /// Feed the turn's next message to its recipients, and tell its sender for whom it is kept.
    Deliver { sender: SessionId, kept_for: Vec<PeerId> },
    /// Answer.
    Reply { session: SessionId, reply: Reply },
    /// Answer with what was read.
    History { session: SessionId, read: usize },
    /// Let a session end once it has got what waits for it.
    End { session: SessionId },
}

impl Chat {
    pub(super) fn new(limits: &Limits, found: Found) -> Self {
        let Found { newest, last_peer, unknown_names } = found;
        Chat {
            mailbox_max: Limits::or_none(limits.mailbox_max),
            unknown_names_max: Limits::or_none(limits.unknown_names_max),
            unknown_names,
            newest,
            last_peer,
            ids: HashMap::new(),
            peers: IdMap::default(),
            sessions: IdMap::default(),
            changed: IdSet::default(),
            moved: IdSet::default(),
            hungry: VecDeque::new(),
            starved: Vec::new(),
        }
    }

    /// Whether somebody is to have a page.
    pub(super) fn wants_pages(&self) -> bool {
        !self.hungry.is_empty()
    }

    /// Whether something of a peer is to be kept.
    pub(super) fn has_changed(&self) -> bool {
        !self.changed.is_empty() || !self.moved.is_empty()
    }

    /// Whether somebody waits for a page that could not be read.
    pub(super) fn starves(&self) -> bool {
        !self.starved.is_empty()
    }

    /// Pages that could not be read are asked for again.
    pub(super) fn feed_starved(&mut self) {
        self.hungry.extend(self.starved.drain(..));
    }

    /// Who is named in these events and not known here, each once.
    pub(super) fn strangers(&self, events: &[Event]) -> Vec<PeerName> {
        let mut strangers = Vec::new();
        let mut met = HashSet::new();
        for_each_name(events, |name| {
            if !self.ids.contains_key(name) && met.insert(name) {
                strangers.push(name.clone());
            }
        });
        strangers
    }

    /// Gets to know strangers, by what the store found of each.
    pub(super) fn meet(&mut self, names: Vec<PeerName>, found: Vec<Option<FoundPeer>>) {
        for (name, found) in names.into_iter().zip(found) {
            let is_kept = found.is_some();
            let FoundPeer { record, waiting } = found.unwrap_or_else(|| self.new_peer(name));
            assert!(record.id <= self.last_peer, "the store knows no id that was not given");
            self.ids.insert(record.name.clone(), record.id);
            let peer = Peer { record, is_kept, sessions: Vec::new(), addressed: waiting, delivered: 0 };
            self.peers.insert(peer.record.id, peer);
        }
    }

    fn new_peer(&mut self, name: PeerName) -> FoundPeer {
        self.last_peer = PeerId::new(self.last_peer.get() + 1);
        let record = PeerRecord { id: self.last_peer, name, seen: false, cursor: Seq::ZERO };
        FoundPeer { record, waiting: 0 }
    }

    /// Lets a replaying session have its next page, if it has room for one.
    fn feed_again(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.feed == Feed::Replaying && !session.is_hungry && session.outbox.has_room_for_page() {
            session.is_hungry = true;
            self.hungry.push_back(id);
        }
    }

    /// A session that gets no more messages makes its peer absent, unless there is another.
    fn detach(&mut self, session: SessionId, peer: PeerId) {
        let peer = self.peers.get_mut(&peer).expect("a session's peer is remembered");
        peer.sessions.retain(|other| *other != session);
    }

    /// Whether it is time to forget some absent peers.
    pub(super) fn remembers_too_many(&self) -> bool {
        self.peers.len() > self.sessions.len() + ABSENT_PEERS_MAX
    }

    /// Forgets who is absent; they are looked up again when they are named. No turn may be under way: it names them.
    pub(super) fn forget_absent(&mut self) {
        let spoken_for: IdSet<PeerId> = self.sessions.values().map(|session| session.peer).collect();
        self.peers.retain(|id, _| spoken_for.contains(id) || self.changed.contains(id) || self.moved.contains(id));
        self.ids.retain(|_, id| self.peers.contains_key(id));
    }
}

fn for_each_name<'a>(events: &'a [Event], mut meet: impl FnMut(&'a PeerName)) {
    for event in events {
        match event {
            Event::Join { name, .. } => meet(name),
            Event::Requests { requests, .. } => {
                for destination in requests.iter().flat_map(destinations) {
                    if let Destination::Peer(name) = destination {
                        meet(name);
                    }
                }
            }
            Event::Taken { .. } | Event::End { .. } | Event::Leave { .. } => {}
        }
    }
}

fn destinations(request: &Request) -> &[Destination] {
    match request {
        Request::Send { to, .. } => to,
        Request::History { with, .. } => with.as_slice(),
        _ => &[],
    }
}
