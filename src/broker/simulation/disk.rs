//! The store as it is promised to be, in plain collections: slow where it may be, and obvious. Owns what is committed, and
//! what of it the power can take; never decides when it fails.

use std::collections::{BTreeMap, HashMap};

use crate::config::Durability;
use crate::limits::{HISTORY_BYTES_MAX, HISTORY_MESSAGES_MAX, PAGE_BYTES_MAX, PAGE_MESSAGES_MAX, TURN_PAGES_BYTES_MAX};
use crate::message::{Destination, Message, PeerId, PeerName, Recipient, RoomId, Seq, Text, Timestamp};
use crate::protocol::PastMessage;
use crate::store::{Answer, Entry, Fed, Found, FoundPeer, LookedUp, Lookup, Page, PastPage, PeerRecord, Read};

/// The database, and the medium under it.
pub(super) struct Disk {
    durability: Durability,
    peers: BTreeMap<PeerId, PeerRecord>,
    ids: HashMap<PeerName, PeerId>,
    messages: BTreeMap<Seq, Stored>,
    /// Peers that were never seen.
    unknown_names: u64,
    /// By recipient, in the order of `seq`.
    inboxes: HashMap<PeerId, Vec<Seq>>,
    /// The newest message that was ever committed.
    newest: Seq,
    /// The newest one that no power cut takes.
    synced: Seq,
    /// How to take back each commit that is not synced, the oldest first.
    unsynced: Vec<Undo>,
}

/// A message as it is kept.
#[derive(Clone)]
struct Stored {
    at: Timestamp,
    sender: PeerId,
    recipients: Vec<PeerId>,
    text: Text,
}

/// What a commit changed, as it was before.
#[derive(Default)]
struct Undo {
    /// `None`: there was no such row.
    peers: Vec<(PeerId, Option<PeerRecord>)>,
    /// Messages that it added.
    added: Vec<Seq>,
    /// Messages that it removed.
    removed: Vec<(Seq, Stored)>,
}

impl Disk {
    pub(super) fn new(durability: Durability) -> Self {
        Disk {
            durability,
            peers: BTreeMap::new(),
            ids: HashMap::new(),
            messages: BTreeMap::new(),
            unknown_names: 0,
            inboxes: HashMap::new(),
            newest: Seq::ZERO,
            synced: Seq::ZERO,
            unsynced: Vec::new(),
        }
    }

    /// What a broker that starts now is told.
    pub(super) fn found(&self) -> Found {
        Found {
            newest: self.newest,
            last_peer: self.peers.keys().next_back().copied().unwrap_or(PeerId::new(0)),
            unknown_names: self.unknown_names(),
            last_room: RoomId::new(0),
        }
    }

    pub(super) fn newest(&self) -> Seq {
        self.newest
    }

    /// Everything up to here survives whatever `durability` promises to survive.
    pub(super) fn promised(&self) -> Seq {
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
            let waiting = self.after(record.id, record.cursor).len() as u64;
            Some(FoundPeer { record, waiting, rooms: Vec::new() })
        };
        LookedUp { peers: lookup.peers.iter().map(found).collect(), ..LookedUp::default() }
    }

    /// Applies a turn's entries, all of them.
    pub(super) fn commit(&mut self, entries: &[Entry]) {
        let mut undo = Undo::default();
        for entry in entries {
            match entry {
                Entry::Peer(record) => self.put_peer(record, &mut undo),
                Entry::Message { at, sender, recipients, text, .. } => {
                    let recipients = recipients.iter().filter_map(|recipient| recipient.peer()).collect();
                    let text = text.clone();
                    self.put_message(Stored { at: *at, sender: *sender, recipients, text }, &mut undo);
                }
                _ => unreachable!("nothing else is done here"),
            }
        }
        for sender in entries.iter().filter_map(sender) {
            assert!(self.peers.contains_key(&sender), "whoever sends has been kept: {sender}");
        }
        self.unsynced.push(undo);
        if self.durability == Durability::PowerLoss && entries.iter().any(Entry::is_promise) {
            self.synced = self.newest;
            self.unsynced.clear();
        }
    }

    /// Answers a turn's reads.
    pub(super) fn read(&self, reads: &[Read]) -> Vec<Answer> {
        let mut page_bytes_left = TURN_PAGES_BYTES_MAX;
        let answer = |read: &Read| match *read {
            Read::Page { peer, after, .. } => Answer::Page(self.page(peer, after, &mut page_bytes_left)),
            Read::History { peer, with, count, .. } => {
                Answer::History(self.history(peer, with.and_then(Recipient::peer), count))
            }
            _ => unreachable!("nothing else is asked here"),
        };
        reads.iter().map(answer).collect()
    }

    /// Removes the oldest messages that nobody waits for, so many at most. Says which.
    pub(super) fn remove(&mut self, messages_max: usize) -> Vec<Seq> {
        let is_waiting = |seq: Seq, stored: &Stored| stored.recipients.iter().any(|id| self.peers[id].cursor < seq);
        let removable = self.messages.iter().filter(|(seq, stored)| !is_waiting(**seq, stored));
        let removed: Vec<Seq> = removable.map(|(seq, _)| *seq).take(messages_max).collect();
        let mut undo = Undo::default();
        for seq in &removed {
            let stored = self.take_message(*seq);
            undo.removed.push((*seq, stored));
        }
        self.unsynced.push(undo);
        removed
    }

    /// The power fails: of the commits that are not synced, only so many of the first are kept.
    pub(super) fn cut_power(&mut self, kept: usize) {
        while self.unsynced.len() > kept {
            let Undo { peers, added, removed } = self.unsynced.pop().expect("there are more than are kept");
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
        }
        self.unsynced.clear();
    }

    /// Commits that a power cut may take.
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

    fn put_message(&mut self, stored: Stored, undo: &mut Undo) {
        self.newest = self.newest.next();
        undo.added.push(self.newest);
        self.insert(self.newest, stored);
    }

    fn insert(&mut self, seq: Seq, stored: Stored) {
        for recipient in &stored.recipients {
            let inbox = self.inboxes.entry(*recipient).or_default();
            let place = inbox.partition_point(|earlier| *earlier < seq);
            assert!(inbox.get(place) != Some(&seq), "{recipient} is addressed once");
            inbox.insert(place, seq);
        }
        self.messages.insert(seq, stored);
    }

    fn take_message(&mut self, seq: Seq) -> Stored {
        let stored = self.messages.remove(&seq).expect("it is there");
        for recipient in &stored.recipients {
            let inbox = self.inboxes.get_mut(recipient).expect("it is addressed");
            inbox.remove(inbox.binary_search(&seq).expect("it is addressed"));
        }
        stored
    }

    fn restore_peer(&mut self, id: PeerId, before: Option<PeerRecord>) {
        let now = self.peers.remove(&id).expect("it was put");
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

    fn after(&self, recipient: PeerId, after: Seq) -> &[Seq] {
        let Some(inbox) = self.inboxes.get(&recipient) else { return &[] };
        &inbox[inbox.partition_point(|seq| *seq <= after)..]
    }

    fn page(&self, peer: PeerId, after: Seq, page_bytes_left: &mut usize) -> Page {
        let mut page = Page::default();
        let mut bytes_left = PAGE_BYTES_MAX.min(*page_bytes_left);
        let waiting = self.after(peer, after);
        while bytes_left > 0 && page.messages.len() < waiting.len().min(PAGE_MESSAGES_MAX) {
            let message = self.message(waiting[page.messages.len()]);
            let bytes = message.text.len() + message.sender.as_str().len();
            bytes_left = bytes_left.saturating_sub(bytes);
            *page_bytes_left = page_bytes_left.saturating_sub(bytes);
            page.messages.push(Fed { message, is_direct: true });
        }
        page.complete = page.messages.len() == waiting.len();
        page
    }

    fn message(&self, seq: Seq) -> Message {
        let Stored { at, sender, text, .. } = &self.messages[&seq];
        let (to, room) = (Vec::new(), None);
        Message { seq, at: *at, sender: self.peers[sender].name.clone(), to, room, text: text.clone() }
    }

    fn history(&self, asker: PeerId, with: Option<PeerId>, count: usize) -> PastPage {
        assert!(count <= HISTORY_MESSAGES_MAX, "a history of {count} messages is asked for");
        let is_between =
            |from: PeerId, to: PeerId, stored: &Stored| stored.sender == from && stored.recipients.contains(&to);
        let is_part = |stored: &Stored| match with {
            None => stored.sender == asker || stored.recipients.contains(&asker),
            Some(with) => is_between(asker, with, stored) || is_between(with, asker, stored),
        };
        let mut page = PastPage::default();
        for (seq, stored) in self.messages.iter().rev().filter(|(_, stored)| is_part(stored)) {
            if page.messages.len() == count || page.bytes >= HISTORY_BYTES_MAX {
                page.more = true;
                break;
            }
            page.bytes += stored.text.len();
            page.messages.push(self.past_message(asker, *seq, stored));
        }
        page.messages.reverse();
        page
    }

    fn past_message(&self, asker: PeerId, seq: Seq, stored: &Stored) -> PastMessage {
        let name = |id: &PeerId| Destination::Peer(self.peers[id].name.clone());
        let to = stored.recipients.iter().map(name).collect();
        PastMessage { sent: stored.sender == asker, message: Message { to, ..self.message(seq) } }
    }
}

fn sender(entry: &Entry) -> Option<PeerId> {
    match entry {
        Entry::Message { sender, .. } => Some(*sender),
        _ => None,
    }
}
