//! Truth about the chat, seen from outside of the broker: which messages were sent, which of them are committed, and how
//! far each peer's systems have acknowledged. Owns the promises that concern the store; never looks into the broker.

mod ids;
mod lines;
mod observers;
mod peer;
mod posts;
mod rooms;
mod topics;

use std::collections::HashMap;

use self::ids::MessageIds;
pub(super) use self::ids::request_id;
pub(super) use self::lines::{Fate, SentLine, Target, is_padding, number, text};
use self::observers::Observers;
pub(super) use self::observers::{Observer, name};
pub(super) use self::peer::InboxEntry;
pub(super) use self::peer::Peer;
use self::peer::RoomRoute;
use self::posts::Posts;
pub(super) use self::posts::RowContent;
use self::rooms::Rooms;
use self::topics::Topics;
pub(super) use self::topics::{Topic, topic_text};
use super::disk::Disk;
use super::swarm::Swarm;
use crate::message::{PeerId, PeerName, Recipient, Room, RoomId, Seq, Text};
use crate::store::{Entry, Found, Observed, PeerRecord, Post, SendId, TurnRequest};

/// State of all peers, rooms and messages.
pub(super) struct Oracle {
    /// Steps that the scheduler has taken.
    pub(super) step: u64,
    /// Turns that the broker has decided.
    pub(super) turn: u64,
    /// 0: no limit.
    pub(super) mailbox_max: u64,
    /// 0: no limit.
    pub(super) unknown_names_max: u64,
    /// 0: no limit.
    pub(super) rooms_max: u64,
    /// 0: no limit.
    pub(super) room_waiting_max: u64,
    /// Newest message of each room that is no longer replayed.
    floors: Vec<Seq>,
    /// Names that log in often, then rare names, then names that are only used at the end of a run.
    pub(super) peers: Vec<Peer>,
    pub(super) rooms: Rooms,
    pub(super) topics: Topics,
    /// Every message that was ever sent, by its number.
    pub(super) sent: Vec<SentLine>,
    pub(super) ids: MessageIds,
    pub(super) posts: Posts,
    pub(super) observers: Observers,
    /// Newest message that survives whatever the configured durability promises to survive.
    pub(super) durable: Seq,
    /// Newest committed message.
    pub(super) newest: Seq,
    /// Step in which the store last failed a lookup.
    pub(super) lookup_failed_at: u64,
    /// Step in which the store last ended a lookup early, so that a batch was divided.
    pub(super) lookup_cut_at: u64,
    /// Number of lookups that ended early: a request may wait for one turn more for each.
    pub(super) lookups_cut: u64,
    /// Step in which the store last failed a read.
    pub(super) read_failed_at: u64,
    /// Step in which the database was last full of messages that wait.
    pub(super) full_at: u64,
    /// Step in which a turn last failed.
    pub(super) commit_failed_at: u64,
    /// Number of times that the server has restarted.
    pub(super) restarts: u64,
    /// Newest committed message of each session.
    last_committed: HashMap<usize, usize>,
    by_name: HashMap<PeerName, usize>,
    by_id: HashMap<PeerId, usize>,
}

/// Tells whether a session may have been online when the last turn was decided, with everything before this index of its
/// peer's log fed to it. The client models answer it.
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
            room_waiting_max: swarm.store_limits.room_waiting_max,
            floors: vec![Seq::ZERO; swarm.rooms],
            peers,
            rooms: Rooms::new(rooms),
            topics: Topics::new(swarm.rooms),
            sent: Vec::new(),
            ids: MessageIds::new(),
            posts: Posts::default(),
            observers,
            durable: Seq::ZERO,
            newest: Seq::ZERO,
            lookup_failed_at: 0,
            lookup_cut_at: 0,
            lookups_cut: 0,
            read_failed_at: 0,
            full_at: 0,
            commit_failed_at: 0,
            restarts: 0,
            last_committed: HashMap::new(),
            by_name,
            by_id: HashMap::new(),
        }
    }

    /// Finds the peer with this name, as a client reads it.
    pub(super) fn named(&self, name: &str) -> usize {
        *self.by_name.get(&PeerName::stored(name)).unwrap_or_else(|| panic!("{name:?} is not the name of a peer"))
    }

    /// Notes that the broker has decided a turn.
    pub(super) fn turn_decided(&mut self, request: &TurnRequest) {
        // The turn of a removal takes no events, and only delays the others.
        let is_removal = matches!(request.entries[..], [Entry::Remove { .. }] | [Entry::RemoveRoom { .. }, ..]);
        self.turn += u64::from(!is_removal);
        self.learn_ids(&request.entries);
        for entry in &request.entries {
            let Entry::Message { recipients, .. } = entry else { continue };
            for recipient in recipients {
                match *recipient {
                    Recipient::Peer(peer) => self.peers[self.by_id[&peer]].in_flight += 1,
                    // The members of a room may change before the turn commits, so the message may be for any peer.
                    Recipient::Room(_) => self.peers.iter_mut().for_each(|peer| peer.in_flight_in_rooms += 1),
                }
            }
        }
    }

    /// Checks and notes the entries of a committed turn.
    pub(super) fn committed(&mut self, entries: &[Entry], disk: &Disk, may_keep_up: MayKeepUp) {
        self.durable = disk.durable();
        self.rooms.are_kept = disk.keeps_memberships();
        self.topics.begin_turn();
        for entry in entries {
            match entry {
                Entry::Peer(record) => self.check_cursor(record),
                Entry::Message { sender, recipients, text, id, .. } => {
                    self.newest = self.newest.next();
                    self.message_committed(*sender, recipients, text, id.as_deref(), may_keep_up);
                }
                Entry::Room { id, name, .. } => self.rooms.made(*id, name, self.step),
                Entry::RemoveRoom { room } => {
                    self.rooms.removed(*room);
                    self.topics.removed(self.rooms.place(*room), self.step);
                }
                Entry::Join { room, peer } => self.rooms.joined(*room, self.by_id[peer], self.newest, self.step),
                Entry::Leave { room, peer } => self.left(*room, *peer),
                Entry::Topic { room, topic } => {
                    let topic = topic.as_ref().map(|topic| number(topic.as_str().as_bytes()).0 as u64);
                    self.topics.set(self.rooms.place(*room), topic, self.step);
                }
                Entry::OutboxSent(post) => self.posts.sent(post, &self.sent),
                Entry::OutboxRefused { post, reason, .. } => self.post_refused(post, reason),
                Entry::Floor { room, floor } => self.floor_raised(*room, *floor),
                Entry::Remove { .. } => self.removed(disk.removed()),
                _ => {}
            }
            self.observers.committed(entry, self.newest, &self.by_id);
        }
        assert_eq!(self.newest, disk.newest(), "each message gets the next sequence number");
        self.turn_is_over();
        self.posts.check(disk);
        if self.unknown_names_max > 0 {
            let unknown = disk.unknown_names();
            assert!(
                unknown <= 4 * self.unknown_names_max,
                "{unknown} unknown names are stored, and one sender may have {}",
                self.unknown_names_max
            );
        }
    }

    /// Newest committed message of a session.
    pub(super) fn last_committed(&self, session: usize) -> Option<usize> {
        self.last_committed.get(&session).copied()
    }

    /// Notes that a turn failed and nothing of it is on disk.
    pub(super) fn failed(&mut self, entries: &[Entry]) {
        self.commit_failed_at = self.step + 1;
        for entry in entries {
            let Entry::Message { recipients, text, .. } = entry else { continue };
            let (number, _) = number(text.as_str().as_bytes());
            self.check_next_items(number);
            let sent = &mut self.sent[number];
            sent.failed_at = self.step + 1;
            // A row of the table is tried again. A message that an earlier attempt committed stays in the log.
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
            (peer.in_flight, peer.in_flight_in_rooms) = (0, 0);
        }
    }

    /// Notes that the store has removed these messages.
    fn removed(&mut self, seqs: &[Seq]) {
        self.observers.removed(seqs);
        for seq in seqs {
            for peer in &mut self.peers {
                let place = peer.log.partition_point(|logged| logged.seq < *seq);
                if let Some(logged) = peer.log.get_mut(place).filter(|logged| logged.seq == *seq) {
                    assert!(
                        logged.arrived || logged.may_be_skipped(),
                        "{seq} is removed and still waits for {}",
                        peer.name
                    );
                    logged.removed = true;
                }
            }
        }
    }

    /// Takes over the state of the disk after a restart.
    pub(super) fn restarted(&mut self, disk: &Disk) {
        self.restarts += 1;
        self.observers.restarted(disk);
        self.by_id = disk.peers().map(|record| (record.id, self.by_name[&record.name])).collect();
        self.rooms.restarted(disk, &self.by_name);
        self.topics.restarted(disk, self.rooms.names());
        for (room, name) in self.rooms.names().cloned().collect::<Vec<_>>().iter().enumerate() {
            self.set_floor(room, disk.floor(name));
        }
        for line in self.posts.restarted(disk) {
            self.sent[line].fate = Fate::InFlight;
        }
        for peer in &mut self.peers {
            let record = disk.peer(&peer.name);
            peer.reported = record.map_or(Seq::ZERO, |record| record.cursor);
            peer.kept = peer.reported;
            peer.is_uncertain = false;
            peer.seen_at = record.filter(|record| record.seen).and(peer.seen_at);
            (peer.in_flight, peer.in_flight_in_rooms) = (0, 0);
            peer.sessions.clear();
            peer.here.clear();
            peer.live.clear();
        }
        let Found { newest, .. } = disk.found();
        assert_eq!(newest, self.newest, "no accepted message is lost");
    }

    /// Whether a session may skip this range of its peer's log: everything in it was removed, or came through rooms that
    /// the peer has left.
    pub(super) fn may_skip(&self, peer: usize, from: usize, to: usize) -> bool {
        from >= to || self.peers[peer].log[from..to].iter().all(|logged| logged.removed || logged.may_be_skipped())
    }

    /// Whether a committed message was removed, or may have been.
    pub(super) fn is_line_removed(&self, number: usize) -> bool {
        let Fate::Committed(seq) = self.sent[number].fate else { return false };
        let is_there = |peer: &Peer| peer.logged(seq).map(|logged| !logged.removed);
        // A message whose sender was alone in the room waits for no peer.
        !self.peers.iter().filter_map(is_there).any(|is_there| is_there)
    }

    fn learn_ids(&mut self, entries: &[Entry]) {
        for entry in entries {
            if let Entry::Peer(PeerRecord { id, name, .. }) = entry {
                self.by_id.insert(*id, self.by_name[name]);
            }
        }
    }

    /// Promise 4: a cursor never passes a message that no system has acknowledged.
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
        self.check_next_items(number);
        let sender = self.by_id[&sender];
        self.ids.committed(number, id, &self.sent);
        let sent = &mut self.sent[number];
        sent.fate = Fate::Committed(self.newest);
        sent.copies.push(self.newest);
        assert_eq!(sender, sent.sender, "line {number} is committed with another sender");
        let place = |recipient: &Recipient| match *recipient {
            Recipient::Peer(peer) => Target::Peer(self.by_id[&peer]),
            Recipient::Room(room) => Target::Room(self.rooms.place(room)),
        };
        let to: Vec<Target> = recipients.iter().map(place).collect();
        assert_eq!(to, sent.to, "line {number} is committed with other recipients");
        match sent.session {
            // Promise 3: messages of one sender are in the order in which they were sent.
            Some(session) if sent.attempts == 1 => {
                let last = self.last_committed.insert(session, number);
                assert!(
                    last.is_none_or(|last| last < number),
                    "line {number} is committed before an earlier one of its session"
                );
            }
            Some(_) => {}
            None => self.posts.committed(number),
        }
        let is_post = sent.session.is_none();
        for room in sent.rooms() {
            let may = if is_post { self.rooms.is_populated(room) } else { self.rooms.is_member(room, sender) };
            assert!(may, "line {number} is committed for {}, and its sender is not a member", self.rooms.name(room));
        }
        for peer in self.sent[number].peers() {
            self.check_mailbox(peer, may_keep_up);
        }
        for (peer, rooms) in self.reached(number) {
            let (seq, turn) = (self.newest, self.turn);
            let peer = &mut self.peers[peer];
            peer.waiting += u64::from(rooms.is_empty());
            peer.log.push(InboxEntry { seq, rooms, turn, arrived: false, removed: false });
        }
    }

    /// Lists the peers that a message reaches, each with the rooms through which it comes: none if it is addressed to
    /// the peer.
    fn reached(&self, number: usize) -> Vec<(usize, Vec<RoomRoute>)> {
        let sent = &self.sent[number];
        let mut reached: Vec<(usize, Vec<RoomRoute>)> = sent.peers().map(|peer| (peer, Vec::new())).collect();
        for room in sent.rooms() {
            for member in self.rooms.members(room).filter(|member| *member != sent.sender) {
                let through = RoomRoute { room, has_left: false, is_floored: false };
                match reached.iter_mut().find(|(peer, _)| *peer == member) {
                    None => reached.push((member, vec![through])),
                    Some((_, rooms)) if !rooms.is_empty() => rooms.push(through),
                    Some(_) => {}
                }
            }
        }
        reached
    }

    /// Notes that a peer has left a room: messages through the room that have not arrived may be skipped.
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

    /// Checks that a floor leaves as many messages as may wait, and notes that those up to it may be skipped.
    fn floor_raised(&mut self, room: RoomId, floor: Seq) {
        let room = self.rooms.place(room);
        let is_above = |sent: &SentLine| sent.copies.iter().filter(|copy| **copy > floor).count() as u64;
        let lines = self.sent.iter().filter(|sent| sent.rooms().any(|other| other == room));
        let above = lines.map(is_above).sum::<u64>();
        assert!(
            self.room_waiting_max > 0 && above >= self.room_waiting_max,
            "the floor of room {room} is {floor}, and only {above} messages are above it"
        );
        // One that was proposed earlier may be written later.
        self.floors[room] = self.floors[room].max(floor);
        self.set_floor(room, self.floors[room]);
    }

    /// Sets up to which message a room replays none.
    fn set_floor(&mut self, room: usize, floor: Seq) {
        self.floors[room] = floor;
        for peer in &mut self.peers {
            for InboxEntry { seq, rooms, .. } in &mut peer.log {
                rooms
                    .iter_mut()
                    .filter(|through| through.room == room)
                    .for_each(|through| through.is_floored = *seq <= floor);
            }
            peer.advance();
        }
    }

    fn post_refused(&mut self, post: &Post, reason: &str) {
        if let Some(number) = self.posts.refused(post, reason, &self.sent, &self.rooms) {
            self.check_next_items(number);
            self.sent[number].fate = Fate::Refused;
        }
    }

    /// Number of turns without those that a lookup may have delayed.
    pub(super) fn uncut_turn(&self) -> u64 {
        self.turn.saturating_sub(self.lookups_cut)
    }

    fn check_next_items(&self, number: usize) {
        let SentLine { fate, turn_max, restarts, attempts, session, .. } = &self.sent[number];
        // A message with an id may be sent again before its outcome is known; `ids` checks those.
        assert!(*fate == Fate::InFlight || *attempts > 1, "line {number} is decided twice");
        assert!(*restarts == self.restarts || session.is_none(), "line {number} was sent before the restart");
        let turn = self.uncut_turn();
        assert!(turn <= *turn_max, "line {number} waited until turn {turn} and not {turn_max}");
    }

    /// Promise 6: messages over the limit are accepted only for a peer that may keep up.
    fn check_mailbox(&self, place: usize, may_keep_up: MayKeepUp) {
        let peer = &self.peers[place];
        let waiting = peer.waiting;
        // One sender alone may have `mailbox_max` of them; all together have up to four times as many.
        if self.mailbox_max == 0 || waiting < 4 * self.mailbox_max {
            return;
        }
        // A live session was fed every turn that was delivered before this one was decided.
        let fed = peer.log.partition_point(|logged| logged.turn + 2 <= self.turn);
        assert!(
            peer.sessions.iter().any(|session| may_keep_up(self, *session, fed)),
            "{waiting} messages wait for {}, and one more is accepted",
            peer.name
        );
    }

    /// Checks that a message is durable. Returns its sequence number: the first copy for which `holds` is true.
    pub(super) fn check_durable(&self, number: usize, holds: impl Fn(Seq) -> bool) -> Seq {
        let Fate::Committed(last) = self.sent[number].fate else {
            panic!("line {number} is read or acknowledged while it is {:?}", self.sent[number].fate)
        };
        let seq = self.sent[number].copies.iter().copied().find(|copy| holds(*copy)).unwrap_or(last);
        assert!(seq <= self.durable, "line {number} is read or acknowledged before {seq} is durable");
        seq
    }

    /// Upper bound of the unknown names for which messages may have waited at this step.
    pub(super) fn unknown_names_at_most(&self, step: u64) -> u64 {
        self.peers.iter().filter(|peer| peer.seen_at.is_none_or(|seen_at| seen_at >= step)).count() as u64
    }

    /// Checks the recipients that an item of an observer lists as away: no online peer is among them, and no offline peer is
    /// missing.
    pub(super) fn check_away(&self, items: &[Observed]) {
        for thing in items {
            let Observed::Logged { message, away } = thing else { continue };
            for peer in &self.peers {
                let is_named = away.iter().any(|(_, name)| *name == peer.name);
                let waits = peer.logged(message.seq).is_some_and(|logged| !logged.may_be_skipped());
                let is_certain = peer.sessions.is_empty() && peer.reported < message.seq && !peer.is_uncertain;
                // A session that joined in this step may have joined behind the message.
                let was_here = peer.here.iter().any(|(_, since)| *since < self.step);
                assert!(!is_named || !was_here, "{} is online, and reported as away", peer.name);
                assert!(
                    !is_named || peer.logged(message.seq).is_some(),
                    "{} is reported as away, and is not a recipient",
                    peer.name
                );
                let is_away = waits && is_certain && peer.name != message.sender;
                assert!(is_named || !is_away, "{} is offline, and not reported as away", peer.name);
            }
        }
    }
}
