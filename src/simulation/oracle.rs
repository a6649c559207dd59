//! What is true of the chat, seen from outside of the broker: who sent what, what of it is committed, how far each peer's
//! systems have acknowledged. Owns the promises that concern the store; never looks into the broker.

mod ids;
mod lines;
mod observers;
mod peer;
mod posts;
mod rooms;

use std::collections::HashMap;

use self::ids::Ids;
pub(super) use self::ids::request_id;
pub(super) use self::lines::{Fate, Sent, To, is_padding, number, text};
use self::observers::Observers;
pub(super) use self::observers::{Observer, name};
pub(super) use self::peer::Peer;
use self::peer::{Logged, Through};
use self::posts::Posts;
pub(super) use self::posts::Says;
use self::rooms::Rooms;
use super::disk::Disk;
use super::swarm::Swarm;
use crate::message::{PeerId, PeerName, Recipient, Room, RoomId, Seq, Text};
use crate::store::{Entry, Found, Observed, PeerRecord, Post, SendId, TurnRequest};

/// What is known of everyone and everything.
pub(super) struct Oracle {
    /// What the scheduler has done so far.
    pub(super) step: u64,
    /// Turns that the store was asked for so far.
    pub(super) turn: u64,
    /// 0: as many as they like.
    pub(super) mailbox_max: u64,
    /// 0: as many as they like.
    pub(super) unknown_names_max: u64,
    /// 0: as many as they like.
    pub(super) rooms_max: u64,
    /// Those who log in first, then names that are only written to, for a while at least.
    pub(super) peers: Vec<Peer>,
    pub(super) rooms: Rooms,
    /// Every line that was ever sent, by its number.
    pub(super) sent: Vec<Sent>,
    pub(super) ids: Ids,
    pub(super) posts: Posts,
    pub(super) observers: Observers,
    /// Everything up to here is as safe as it was promised to be.
    pub(super) promised: Seq,
    /// The newest committed message.
    pub(super) newest: Seq,
    /// When the store last failed to look somebody up.
    pub(super) lookup_failed_at: u64,
    /// When the store last failed to read.
    pub(super) read_failed_at: u64,
    /// When a turn last failed.
    pub(super) commit_failed_at: u64,
    /// How often the broker has died.
    pub(super) deaths: u64,
    /// By session, the last of its lines that is committed.
    last_committed: HashMap<usize, usize>,
    by_name: HashMap<PeerName, usize>,
    by_id: HashMap<PeerId, usize>,
}

/// Whether a session may have been there when the last turn was decided, with everything in its peer's log before this place fed to
/// it. The models of the clients know that.
pub(super) type MayKeepUp<'a> = &'a dyn Fn(&Oracle, usize, usize) -> bool;

impl Oracle {
    pub(super) fn new(names: impl Iterator<Item = PeerName>, rooms: impl Iterator<Item = Room>, swarm: &Swarm) -> Self {
        let Swarm { mailbox_max, unknown_names_max, rooms_max, .. } = *swarm;
        let observers = swarm.observers.iter().enumerate().map(|(peer, wants)| Observer::new(peer, *wants));
        let observers = Observers::new(observers.collect(), swarm.store_limits.events.stored_max);
        let peers: Vec<Peer> = names.map(Peer::new).collect();
        let by_name = peers.iter().enumerate().map(|(place, peer)| (peer.name.clone(), place)).collect();
        Oracle {
            step: 0,
            turn: 0,
            mailbox_max,
            unknown_names_max,
            rooms_max,
            peers,
            rooms: Rooms::new(rooms),
            sent: Vec::new(),
            ids: Ids::new(swarm.store_limits.sent_ids_max),
            posts: Posts::default(),
            observers,
            promised: Seq::ZERO,
            newest: Seq::ZERO,
            lookup_failed_at: 0,
            read_failed_at: 0,
            commit_failed_at: 0,
            deaths: 0,
            last_committed: HashMap::new(),
            by_name,
            by_id: HashMap::new(),
        }
    }

    /// Which peer has this name, as it stands in what a client reads.
    pub(super) fn named(&self, name: &str) -> usize {
        *self.by_name.get(&PeerName::stored(name)).unwrap_or_else(|| panic!("{name:?} is nobody's name"))
    }

    /// The broker has decided a turn.
    pub(super) fn asked(&mut self, request: &TurnRequest) {
        self.turn += 1;
        self.learn_ids(&request.entries);
        for entry in &request.entries {
            let Entry::Message { recipients, .. } = entry else { continue };
            for recipient in recipients {
                match *recipient {
                    Recipient::Peer(peer) => self.peers[self.by_id[&peer]].under_way += 1,
                    // Nobody who comes to know is told how many are in which.
                    Recipient::Room(_) => self.peers.iter_mut().for_each(|peer| peer.under_way_in_rooms += 1),
                }
            }
        }
    }

    /// The turn is on disk.
    pub(super) fn committed(&mut self, entries: &[Entry], disk: &Disk, may_keep_up: MayKeepUp) {
        self.promised = disk.promised();
        self.rooms.are_kept = disk.keeps_memberships();
        for entry in entries {
            match entry {
                Entry::Peer(record) => self.check_cursor(record),
                Entry::Message { sender, recipients, text, id, .. } => {
                    self.newest = self.newest.next();
                    self.message_committed(*sender, recipients, text, id.as_deref(), may_keep_up);
                }
                Entry::Room { id, name } => self.rooms.made(*id, name, self.step),
                Entry::Join { room, peer } => self.rooms.joined(*room, self.by_id[peer], self.newest, self.step),
                Entry::Leave { room, peer } => self.left(*room, *peer),
                Entry::Posted(post) => self.posts.sent(post, &self.sent),
                Entry::Unposted { post, reason, .. } => self.post_refused(post, reason),
                _ => {}
            }
            self.observers.committed(entry, self.newest, &self.by_id);
        }
        assert_eq!(self.newest, disk.newest(), "each message has the next seq");
        self.turn_is_over();
        self.posts.check(disk);
        if self.unknown_names_max > 0 {
            let unknown = disk.unknown_names();
            assert!(
                unknown <= self.unknown_names_max,
                "{unknown} unknown names are kept of {}",
                self.unknown_names_max
            );
        }
    }

    /// The last line of a session that is committed.
    pub(super) fn last_committed(&self, session: usize) -> Option<usize> {
        self.last_committed.get(&session).copied()
    }

    /// Nothing of the turn is on disk.
    pub(super) fn failed(&mut self, entries: &[Entry]) {
        self.commit_failed_at = self.step + 1;
        for entry in entries {
            let Entry::Message { recipients, text, .. } = entry else { continue };
            let (number, _) = number(text.as_str().as_bytes());
            self.check_told(number);
            let sent = &mut self.sent[number];
            sent.failed_at = self.step + 1;
            // What stands in the table is tried again; and what was sent before stands in the log.
            if sent.session.is_some() && sent.copies.is_empty() {
                sent.fate = Fate::Failed;
            }
            for recipient in recipients.iter().filter_map(|recipient| recipient.peer()) {
                self.peers[self.by_id[&recipient]].failed += 1;
            }
        }
        self.turn_is_over();
    }

    fn turn_is_over(&mut self) {
        for peer in &mut self.peers {
            (peer.under_way, peer.under_way_in_rooms) = (0, 0);
        }
    }

    /// The store has removed these.
    pub(super) fn removed(&mut self, seqs: &[Seq]) {
        self.observers.removed(seqs);
        for seq in seqs {
            for peer in &mut self.peers {
                let place = peer.log.partition_point(|logged| logged.seq < *seq);
                if let Some(logged) = peer.log.get_mut(place).filter(|logged| logged.seq == *seq) {
                    assert!(
                        logged.arrived || logged.has_lapsed(),
                        "{seq} still waits for {}, and is removed",
                        peer.name
                    );
                    logged.removed = true;
                }
            }
        }
    }

    /// The process has died, and what it did not keep with it.
    pub(super) fn died(&mut self, disk: &Disk) {
        self.deaths += 1;
        self.observers.died(disk);
        self.by_id = disk.peers().map(|record| (record.id, self.by_name[&record.name])).collect();
        self.rooms.died(disk, &self.by_name);
        for line in self.posts.died(disk) {
            self.sent[line].fate = Fate::Told;
        }
        for peer in &mut self.peers {
            let record = disk.peer(&peer.name);
            peer.reported = record.map_or(Seq::ZERO, |record| record.cursor);
            peer.kept = peer.reported;
            peer.is_vague = false;
            peer.seen_at = record.filter(|record| record.seen).and(peer.seen_at);
            (peer.under_way, peer.under_way_in_rooms) = (0, 0);
            peer.sessions.clear();
            peer.here.clear();
            peer.live.clear();
        }
        let Found { newest, .. } = disk.found();
        assert_eq!(newest, self.newest, "nothing that was accepted is lost");
    }

    /// Whether nothing of a peer's log between these places must come: it was removed, or came into rooms that the peer has left.
    pub(super) fn is_settled(&self, peer: usize, from: usize, to: usize) -> bool {
        from >= to || self.peers[peer].log[from..to].iter().all(|logged| logged.removed || logged.has_lapsed())
    }

    /// Whether a line that was committed is there no more, or may not be.
    pub(super) fn is_line_removed(&self, number: usize) -> bool {
        let Fate::Committed(seq) = self.sent[number].fate else { return false };
        let is_there = |peer: &Peer| peer.logged(seq).map(|logged| !logged.removed);
        // One that nobody else was there to get waits for nobody.
        !self.peers.iter().filter_map(is_there).any(|is_there| is_there)
    }

    fn learn_ids(&mut self, entries: &[Entry]) {
        for entry in entries {
            if let Entry::Peer(PeerRecord { id, name, .. }) = entry {
                self.by_id.insert(*id, self.by_name[name]);
            }
        }
    }

    /// Promise 4: a cursor never passes what nobody's system has acknowledged.
    fn check_cursor(&mut self, record: &PeerRecord) {
        let peer = &mut self.peers[self.by_name[&record.name]];
        peer.kept = peer.kept.max(record.cursor);
        let passed = peer.place_after(record.cursor);
        assert!(
            passed <= peer.frontier,
            "{}'s cursor is {}, and {:?} was never acknowledged",
            peer.name,
            record.cursor,
            peer.log[peer.frontier]
        );
    }

    fn message_committed(
        &mut self,
        sender: PeerId,
        recipients: &[Recipient],
        text: &Text,
        id: Option<&SendId>,
        may_keep_up: MayKeepUp,
    ) {
        let (number, _) = number(text.as_str().as_bytes());
        self.check_told(number);
        let sender = self.by_id[&sender];
        self.ids.committed(number, id, &self.sent);
        let sent = &mut self.sent[number];
        sent.fate = Fate::Committed(self.newest);
        sent.copies.push(self.newest);
        assert_eq!(sender, sent.sender, "line {number} has another sender");
        let place = |recipient: &Recipient| match *recipient {
            Recipient::Peer(peer) => To::Peer(self.by_id[&peer]),
            Recipient::Room(room) => To::Room(self.rooms.place(room)),
        };
        let to: Vec<To> = recipients.iter().map(place).collect();
        assert_eq!(to, sent.to, "line {number} has other recipients");
        match sent.session {
            // Promise 3: each sender's in the order sent.
            Some(session) if sent.attempts == 1 => {
                let last = self.last_committed.insert(session, number);
                assert!(last.is_none_or(|last| last < number), "line {number} overtook an earlier one");
            }
            Some(_) => {}
            None => self.posts.committed(number),
        }
        let is_post = sent.session.is_none();
        for room in sent.rooms() {
            let may = if is_post { self.rooms.is_populated(room) } else { self.rooms.is_member(room, sender) };
            assert!(may, "line {number} is sent into {}, and its sender is not in it", self.rooms.name(room));
        }
        for peer in self.sent[number].peers() {
            self.check_mailbox(peer, may_keep_up);
        }
        for (peer, rooms) in self.reached(number) {
            let (seq, turn) = (self.newest, self.turn);
            let peer = &mut self.peers[peer];
            peer.waiting += u64::from(rooms.is_empty());
            peer.log.push(Logged { seq, rooms, turn, arrived: false, removed: false });
        }
    }

    /// Everyone whom a line reaches, each once, and through which rooms: none where it is for the peer itself.
    fn reached(&self, number: usize) -> Vec<(usize, Vec<Through>)> {
        let sent = &self.sent[number];
        let mut reached: Vec<(usize, Vec<Through>)> = sent.peers().map(|peer| (peer, Vec::new())).collect();
        for room in sent.rooms() {
            for member in self.rooms.members(room).filter(|member| *member != sent.sender) {
                let through = Through { room, has_left: false };
                match reached.iter_mut().find(|(peer, _)| *peer == member) {
                    None => reached.push((member, vec![through])),
                    Some((_, rooms)) if !rooms.is_empty() => rooms.push(through),
                    Some(_) => {}
                }
            }
        }
        reached
    }

    /// A peer has left a room: what it has not got of it, it need not get.
    fn left(&mut self, room: RoomId, peer: PeerId) {
        let (room, peer) = (self.rooms.place(room), self.by_id[&peer]);
        let joined = self.rooms.left(room, peer, self.step);
        let peer = &mut self.peers[peer];
        let place = peer.place_after(joined);
        for through in peer.log[place..].iter_mut().flat_map(|logged| &mut logged.rooms) {
            through.has_left |= through.room == room;
        }
        peer.advance();
    }

    fn post_refused(&mut self, post: &Post, reason: &str) {
        if let Some(number) = self.posts.refused(post, reason, &self.sent, &self.rooms) {
            self.check_told(number);
            self.sent[number].fate = Fate::Refused;
        }
    }

    fn check_told(&self, number: usize) {
        let Sent { fate, turn_max, deaths, attempts, session, .. } = &self.sent[number];
        // What has an id may be asked for once more before it is known what became of it; `ids` sees to that.
        assert!(*fate == Fate::Told || *attempts > 1, "line {number} is dealt with twice");
        assert!(*deaths == self.deaths || session.is_none(), "line {number} is a dead broker's");
        assert!(self.turn <= *turn_max, "line {number} waited until turn {} and not {turn_max}", self.turn);
    }

    /// Promise 6: messages over the cap are accepted only for a peer who may keep up.
    fn check_mailbox(&self, place: usize, may_keep_up: MayKeepUp) {
        let peer = &self.peers[place];
        let waiting = peer.waiting;
        if self.mailbox_max == 0 || waiting < self.mailbox_max {
            return;
        }
        // A live session was fed all of the turns that were delivered when this one was decided.
        let fed = peer.log.partition_point(|logged| logged.turn + 2 <= self.turn);
        assert!(
            peer.sessions.iter().any(|session| may_keep_up(self, *session, fed)),
            "{waiting} messages wait for {}, and one more is accepted",
            peer.name
        );
    }

    /// The place of a line in the log, where it is as safe as it was promised to be: the first of which this holds.
    pub(super) fn check_promised(&self, number: usize, holds: impl Fn(Seq) -> bool) -> Seq {
        let Fate::Committed(last) = self.sent[number].fate else {
            panic!("line {number} is {:?}, and is read or answered", self.sent[number].fate)
        };
        let seq = self.sent[number].copies.iter().copied().find(|copy| holds(*copy)).unwrap_or(last);
        assert!(seq <= self.promised, "line {number} is read or answered before {seq} is safe");
        seq
    }

    /// Names for which messages may wait, and that nobody had logged in by.
    pub(super) fn unknown_at_most(&self, step: u64) -> u64 {
        self.peers.iter().filter(|peer| peer.seen_at.is_none_or(|seen_at| seen_at >= step)).count() as u64
    }

    /// Nobody who is here is said to be away, and whoever is away is.
    pub(super) fn check_away(&self, items: &[Observed]) {
        for thing in items {
            let Observed::Logged { message, away } = thing else { continue };
            for peer in &self.peers {
                let is_named = away.iter().any(|(_, name)| *name == peer.name);
                let waits = peer.logged(message.seq).is_some_and(|logged| !logged.has_lapsed());
                let is_certain = peer.sessions.is_empty() && peer.reported < message.seq && !peer.is_vague;
                // Whoever came in this very step may have come behind that.
                let was_here = peer.here.iter().any(|(_, since)| *since < self.step);
                assert!(!is_named || !was_here, "{} is here, and said to be away", peer.name);
                assert!(!is_named || peer.logged(message.seq).is_some(), "{} was not sent it", peer.name);
                let is_away = waits && is_certain && peer.name != message.sender;
                assert!(is_named || !is_away, "{} is away, and not said to be", peer.name);
            }
        }
    }
}
