//! Model of the store in plain collections: slow where it may be, and obvious. Owns what is committed, and what a power
//! cut takes; never decides when it fails.

mod answers;
mod observed;
mod observers;
mod outbox;
mod reading;
mod rooms;
mod sent_ids;

use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(super) use self::answers::{Answers, injected};
use self::observers::Observers;
use self::outbox::Outbox;
use self::rooms::Rooms;
use self::sent_ids::{SenderShare, SentIds};
use crate::config::Durability;
use crate::limits::MAILBOX_SAMPLE_MESSAGES;
use crate::message::{PeerId, PeerName, Recipient, Room, RoomId, Seq, Text, Timestamp};
use crate::password::PasswordHash;
use crate::shares::Holder;
use crate::source::Source;
use crate::store::{Entry, Found, FoundId, FoundPeer, LookedUp, Lookup, PeerRecord, Post, SeqRange, StoreLimits};

/// Database, and the medium under it.
pub(super) struct Disk {
    durability: Durability,
    limits: StoreLimits,
    peers: BTreeMap<PeerId, PeerRecord>,
    ids: HashMap<PeerName, PeerId>,
    /// Source of the latest login of each peer.
    sources: HashMap<PeerId, Source>,
    /// Passwords of the peers whose names are accounts.
    passwords: HashMap<PeerId, PasswordHash>,
    messages: BTreeMap<Seq, MessageRow>,
    /// Number of peers that never logged in.
    unknown_names: u64,
    /// Messages of each recipient, in the order of `seq`.
    inboxes: HashMap<Recipient, Vec<Seq>>,
    rooms: Rooms,
    sent_ids: SentIds,
    outbox: Outbox,
    observers: Observers,
    /// Newest committed message.
    newest: Seq,
    /// Newest message that no power cut takes.
    synced: Seq,
    /// How to undo each commit that is not synced, the oldest first.
    unsynced: Vec<Undo>,
    /// Messages that the last commit removed.
    removed: Vec<Seq>,
}

/// Row of a message.
#[derive(Clone)]
struct MessageRow {
    at: Timestamp,
    sender: PeerId,
    recipients: Vec<Recipient>,
    text: Text,
}

/// State before a commit, as far as the commit changed it.
#[derive(Default)]
struct Undo {
    /// Rows before; `None` if there was none.
    peers: Vec<(PeerId, Option<PeerRecord>)>,
    /// Messages that it added.
    added: Vec<Seq>,
    /// Messages that it removed.
    removed: Vec<(Seq, MessageRow)>,
    /// The tables before, if it changed them.
    sources: Option<HashMap<PeerId, Source>>,
    passwords: Option<HashMap<PeerId, PasswordHash>>,
    rooms: Option<Rooms>,
    /// Whether it changed members or topics.
    has_memberships: bool,
    sent_ids: Option<SentIds>,
    outbox: Option<Outbox>,
    observers: Option<Observers>,
}

impl Disk {
    pub(super) fn new(durability: Durability, limits: StoreLimits) -> Self {
        Disk {
            durability,
            limits,
            peers: BTreeMap::new(),
            ids: HashMap::new(),
            sources: HashMap::new(),
            passwords: HashMap::new(),
            messages: BTreeMap::new(),
            unknown_names: 0,
            inboxes: HashMap::new(),
            rooms: Rooms::default(),
            sent_ids: SentIds::default(),
            outbox: Outbox::default(),
            observers: Observers::default(),
            newest: Seq::ZERO,
            synced: Seq::ZERO,
            unsynced: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// State with which a broker starts now.
    pub(super) fn found(&self) -> Found {
        Found {
            newest: self.newest,
            last_peer: self.peers.keys().next_back().copied().unwrap_or(PeerId::new(0)),
            last_room: self.rooms.last(),
            unknown_names: self.unknown_holders(),
            rooms: self
                .rooms
                .creators()
                .map(|(room, creator)| (room, creator.and_then(|creator| self.holder(creator))))
                .collect(),
            empty_rooms: self.rooms.empty().collect(),
            ran_s: 0,
        }
    }

    pub(super) fn newest(&self) -> Seq {
        self.newest
    }

    /// Newest message that survives whatever `durability` promises to survive.
    pub(super) fn durable(&self) -> Seq {
        match self.durability {
            Durability::PowerLoss => self.synced,
            Durability::Crash => self.newest,
        }
    }

    pub(super) fn unknown_names(&self) -> u64 {
        self.unknown_names
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = &PeerRecord> {
        self.peers.values()
    }

    pub(super) fn peer(&self, name: &PeerName) -> Option<&PeerRecord> {
        self.ids.get(name).map(|id| &self.peers[id])
    }

    pub(super) fn lookup(&self, lookup: &Lookup) -> LookedUp {
        let found = |name| {
            let record = self.peer(name)?.clone();
            let waiting = self.after(record.id.into(), record.cursor);
            let senders = if waiting.len() as u64 > lookup.sampled_above { self.sample(waiting) } else { Vec::new() };
            let (waiting, rooms) = (waiting.len() as u64, self.rooms.of(record.id));
            let source = self.sources.get(&record.id).copied();
            let password = self.passwords.get(&record.id).cloned();
            Some(FoundPeer { record, waiting, senders, source, rooms, password })
        };
        let id = |(sender, id): &(PeerName, _)| self.sent_ids.find(*self.ids.get(sender)?, id);
        LookedUp {
            peers: lookup.peers.iter().map(found).collect(),
            rooms: lookup.rooms.iter().map(|name| self.rooms.find(name)).collect(),
            ids: lookup.ids.iter().map(id).collect(),
            unused_rooms: lookup.unused_rooms.iter().copied().filter(|room| self.is_unused(*room)).collect(),
            ..LookedUp::default()
        }
    }

    fn is_unused(&self, room: RoomId) -> bool {
        self.rooms.empty().any(|empty| empty == room) && self.inboxes.get(&room.into()).is_none_or(Vec::is_empty)
    }

    /// Names that were never used, each with the first sender of its messages.
    fn unknown_holders(&self) -> Vec<(PeerId, Option<Holder>)> {
        let unknown = self.peers.values().filter(|record| !record.seen);
        let first = |id: PeerId| self.inboxes.get(&id.into())?.first().copied();
        unknown
            .map(|record| (record.id, first(record.id).and_then(|seq| self.holder(self.messages[&seq].sender))))
            .collect()
    }

    /// Senders of some of these messages.
    fn sample(&self, seqs: &[Seq]) -> Vec<Option<Holder>> {
        let step = seqs.len().div_ceil(MAILBOX_SAMPLE_MESSAGES);
        seqs.iter().rev().step_by(step).map(|seq| self.holder(self.messages[seq].sender)).collect()
    }

    fn holder(&self, sender: PeerId) -> Option<Holder> {
        Some(Holder { sender, source: *self.sources.get(&sender)? })
    }

    /// Members of a room, each with the newest message when it joined.
    pub(super) fn members(&self, room: &Room) -> impl Iterator<Item = (&PeerName, Seq)> {
        self.rooms.members(room).map(|(peer, joined)| (&self.peers[&peer].name, joined))
    }

    /// Topic of a room, if one is set.
    pub(super) fn topic(&self, room: &Room) -> Option<Text> {
        self.rooms.find(room).and_then(|found| found.topic)
    }

    /// Whether no power cut would undo a change of members or of a topic.
    pub(super) fn keeps_memberships(&self) -> bool {
        self.unsynced.iter().all(|undo| !undo.has_memberships)
    }

    /// How far an observer got in messages and in events. `None` if it is not an observer.
    pub(super) fn observer(&self, name: &PeerName) -> Option<(Option<Seq>, Option<i64>)> {
        self.observers.cursor(*self.ids.get(name)?)
    }

    /// Number of the newest event there ever was.
    pub(super) fn last_event(&self) -> i64 {
        self.observers.last_event()
    }

    /// Numbers of all rows of the table `outbox`.
    pub(super) fn post_rows(&self) -> impl Iterator<Item = i64> {
        self.outbox.rows()
    }

    /// First rows of the table `outbox`.
    pub(super) fn posts(&self) -> Vec<Post> {
        self.outbox.oldest()
    }

    /// Writes a row into the table `outbox` in a synced commit, as an operator would. Returns its number.
    pub(super) fn insert_post(&mut self, row: impl FnOnce(i64) -> Post) -> i64 {
        self.synced = self.newest;
        self.unsynced.clear();
        self.outbox.insert(row)
    }

    /// Rows that could not be sent, each with the reason.
    pub(super) fn refused_posts(&self) -> &[(Post, String)] {
        &self.outbox.refused
    }

    /// Applies all entries of a turn.
    pub(super) fn commit(&mut self, entries: &[Entry]) {
        let mut undo = Undo::default();
        let mut synced = false;
        self.removed.clear();
        for entry in entries {
            if let Some(peer) = named(entry) {
                assert!(self.peers.contains_key(&peer), "an entry refers to a peer that is already stored: {peer}");
            }
            synced |= entry.is_durable();
            self.apply(entry, &mut undo);
        }
        self.sent_ids.forget_oldest(entries.iter().filter(|entry| has_id(entry)).count(), self.limits.sent_ids_max);
        undo.observers.get_or_insert_with(|| self.observers.clone());
        let events = entries.iter().filter(|entry| matches!(entry, Entry::Event(_))).count();
        self.observers.forget_events(events, self.limits.events);
        self.note(undo);
        if self.durability == Durability::PowerLoss && synced {
            self.synced = self.newest;
            self.unsynced.clear();
        }
    }

    fn apply(&mut self, entry: &Entry, undo: &mut Undo) {
        match entry {
            Entry::Peer(record) => self.put_peer(record, undo),
            Entry::Message { at, sender, recipients, text, id } => {
                let (recipients, text) = (recipients.clone(), text.clone());
                self.put_message(MessageRow { at: *at, sender: *sender, recipients, text }, undo);
                if let Some(id) = id {
                    undo.sent_ids.get_or_insert_with(|| self.sent_ids.clone());
                    let found = FoundId { seq: self.newest, at: *at, fingerprint: id.fingerprint };
                    let sources = &self.sources;
                    let source_of = |sender: PeerId| sources.get(&sender).copied().unwrap_or(Source::Operator);
                    let share = SenderShare { stored_max: self.limits.sent_ids_max, source_of: &source_of };
                    self.sent_ids.put(*sender, id, found, &share);
                }
            }
            Entry::Remove { ranges } => self.remove(ranges, undo),
            // No time passes in a simulation.
            Entry::Ran { .. } => {}
            Entry::Source { peer, source } => {
                undo.sources.get_or_insert_with(|| self.sources.clone());
                self.sources.insert(*peer, *source);
            }
            Entry::Account { peer, password, .. } => {
                undo.passwords.get_or_insert_with(|| self.passwords.clone());
                match password {
                    Some(password) => self.passwords.insert(*peer, password.clone()),
                    None => self.passwords.remove(peer),
                };
            }
            Entry::Room { .. }
            | Entry::RemoveRoom { .. }
            | Entry::Join { .. }
            | Entry::Leave { .. }
            | Entry::Topic { .. }
            | Entry::Floor { .. } => {
                undo.has_memberships |= !matches!(entry, Entry::Floor { .. });
                undo.rooms.get_or_insert_with(|| self.rooms.clone());
                self.rooms.apply(entry, self.newest);
            }
            Entry::BeginPurge { .. } | Entry::ContinuePurge | Entry::RefusePurge { .. } => {
                unreachable!("the operator of a run removes nothing")
            }
            Entry::OutboxSent(_) | Entry::OutboxRefused { .. } => {
                undo.outbox.get_or_insert_with(|| self.outbox.clone());
                self.outbox.apply(entry);
            }
            Entry::Observe { .. }
            | Entry::ObserverAdvanced { .. }
            | Entry::RetainObservers { .. }
            | Entry::Event(_)
            | Entry::Value { .. } => {
                undo.observers.get_or_insert_with(|| self.observers.clone());
                let ids = &self.ids;
                self.observers.apply(entry, self.newest, &|name| ids.get(name).copied());
            }
        }
    }

    /// If a power cut takes nothing, nothing is undone.
    fn note(&mut self, undo: Undo) {
        if self.durability == Durability::PowerLoss {
            self.unsynced.push(undo);
        }
    }

    /// Range of the oldest messages, this many or all, whether they wait for a peer or not.
    pub(super) fn oldest(&self, messages: usize) -> Option<SeqRange> {
        let mut oldest = self.messages.keys().take(messages);
        let first = *oldest.next()?;
        Some(SeqRange { first, last: oldest.next_back().copied().unwrap_or(first) })
    }

    /// Messages that the last commit removed, in order.
    pub(super) fn removed(&self) -> &[Seq] {
        &self.removed
    }

    /// Newest message of a room that is no longer replayed.
    pub(super) fn floor(&self, room: &Room) -> Seq {
        self.rooms.find(room).map_or(Seq::ZERO, |found| self.rooms.floor(found.id))
    }

    /// Entries that raise the floors of the rooms of which too many messages may wait, after a turn with these entries.
    pub(super) fn floors_to_raise(&self, entries: &[Entry]) -> Vec<Entry> {
        let waiting_max = self.limits.room_waiting_max as usize;
        let recipients = entries.iter().flat_map(|entry| match entry {
            Entry::Message { recipients, .. } => &recipients[..],
            _ => &[],
        });
        let rooms: BTreeSet<RoomId> = recipients.filter_map(|recipient| recipient.room()).collect();
        let raised = rooms.into_iter().filter_map(|room| {
            let above = self.after(room.into(), self.rooms.floor(room));
            let is_due = waiting_max > 0 && above.len() > waiting_max;
            is_due.then(|| Entry::Floor { room, floor: above[above.len() - waiting_max - 1] })
        });
        raised.collect()
    }

    /// Removes the messages of some ranges for which no peer waits.
    fn remove(&mut self, ranges: &[SeqRange], undo: &mut Undo) {
        let in_ranges = ranges.iter().flat_map(|range| self.messages.range(range.first..=range.last));
        let removable = in_ranges.filter(|(seq, stored)| !self.waits(**seq, stored));
        self.removed = removable.map(|(seq, _)| *seq).collect();
        for seq in self.removed.clone() {
            let stored = self.take_message(seq);
            undo.removed.push((seq, stored));
        }
    }

    /// Whether a peer waits for a message.
    fn waits(&self, seq: Seq, stored: &MessageRow) -> bool {
        stored.recipients.iter().any(|recipient| match *recipient {
            Recipient::Peer(peer) => self.peers[&peer].cursor < seq,
            Recipient::Room(room) => {
                self.rooms.reached(room, seq).any(|peer| peer != stored.sender && self.peers[&peer].cursor < seq)
            }
        })
    }

    /// Cuts the power: of the commits that are not synced, only the first `kept` survive.
    pub(super) fn cut_power(&mut self, kept: usize) {
        while self.unsynced.len() > kept {
            let Undo { peers, added, removed, sources, passwords, rooms, sent_ids, outbox, observers, .. } =
                self.unsynced.pop().expect("there is a commit to undo");
            for (id, before) in peers.into_iter().rev() {
                self.restore_peer(id, before);
            }
            for seq in added.into_iter().rev() {
                self.take_message(seq);
                self.newest = Seq::new(seq.get() - 1);
            }
            for (seq, stored) in removed {
                self.insert(seq, stored);
            }
            self.sources = sources.unwrap_or_else(|| std::mem::take(&mut self.sources));
            self.passwords = passwords.unwrap_or_else(|| std::mem::take(&mut self.passwords));
            self.rooms = rooms.unwrap_or_else(|| std::mem::take(&mut self.rooms));
            self.sent_ids = sent_ids.unwrap_or_else(|| std::mem::take(&mut self.sent_ids));
            self.outbox = outbox.unwrap_or_else(|| std::mem::take(&mut self.outbox));
            self.observers = observers.unwrap_or_else(|| std::mem::take(&mut self.observers));
        }
        self.unsynced.clear();
    }

    /// Number of commits that a power cut may take.
    pub(super) fn unsynced_commits(&self) -> usize {
        self.unsynced.len()
    }

    fn put_peer(&mut self, record: &PeerRecord, undo: &mut Undo) {
        let PeerRecord { id, name, seen, cursor } = record;
        let before = self.peers.get(id).cloned();
        let was_unknown = before.as_ref().is_some_and(|before| !before.seen);
        let same_name = self.ids.insert(name.clone(), *id);
        assert!(same_name.is_none_or(|same| same == *id), "{name} has one id: {id}, and {same_name:?}");
        let row = self.peers.entry(*id).or_insert_with(|| record.clone());
        assert_eq!(row.name, *name, "id {id} is given once");
        row.seen |= seen;
        row.cursor = row.cursor.max(*cursor);
        self.unknown_names += u64::from(!row.seen);
        self.unknown_names -= u64::from(was_unknown);
        undo.peers.push((*id, before));
    }

    fn put_message(&mut self, stored: MessageRow, undo: &mut Undo) {
        self.newest = self.newest.next();
        undo.added.push(self.newest);
        self.insert(self.newest, stored);
    }

    fn insert(&mut self, seq: Seq, stored: MessageRow) {
        for recipient in &stored.recipients {
            let inbox = self.inboxes.entry(*recipient).or_default();
            let place = inbox.partition_point(|earlier| *earlier < seq);
            assert!(inbox.get(place) != Some(&seq), "{recipient:?} is addressed once");
            inbox.insert(place, seq);
        }
        self.messages.insert(seq, stored);
    }

    fn take_message(&mut self, seq: Seq) -> MessageRow {
        let stored = self.messages.remove(&seq).expect("the message is stored");
        for recipient in &stored.recipients {
            let inbox = self.inboxes.get_mut(recipient).expect("the recipient has an inbox");
            inbox.remove(inbox.binary_search(&seq).expect("the inbox holds the message"));
        }
        stored
    }

    fn restore_peer(&mut self, id: PeerId, before: Option<PeerRecord>) {
        let now = self.peers.remove(&id).expect("the peer is stored");
        match before {
            Some(before) => {
                self.peers.insert(id, before);
            }
            None => {
                self.ids.remove(&now.name);
            }
        }
        self.unknown_names = self.peers.values().filter(|peer| !peer.seen).count() as u64;
    }
}

/// Peer to which an entry refers.
fn named(entry: &Entry) -> Option<PeerId> {
    match entry {
        Entry::Message { sender: peer, .. } | Entry::Join { peer, .. } | Entry::Leave { peer, .. } => Some(*peer),
        Entry::Source { peer, .. } | Entry::Account { peer, .. } => Some(*peer),
        Entry::Observe { observer: peer, .. } | Entry::Value { peer, .. } => Some(*peer),
        Entry::Event(event) => Some(event.peer),
        _ => None,
    }
}

fn has_id(entry: &Entry) -> bool {
    matches!(entry, Entry::Message { id: Some(_), .. })
}
