//! What is true of the chat, seen from outside of the broker: who sent what, what of it is committed, how far each peer's
//! systems have acknowledged. Owns the promises that concern the store; never looks into the broker.

use std::collections::HashMap;

use super::disk::Disk;
use super::view::View;
use crate::message::{PeerId, PeerName, Recipient, Seq, Text};
use crate::store::{Entry, Found, PeerRecord, TurnRequest};

/// What is known of everyone and everything.
pub(super) struct Truth {
    /// What the scheduler has done so far.
    pub(super) step: u64,
    /// Turns that the store was asked for so far.
    pub(super) turn: u64,
    /// 0: as many as they like.
    pub(super) mailbox_max: u64,
    /// 0: as many as they like.
    pub(super) unknown_names_max: u64,
    /// Those who log in first, then names that are only written to, for a while at least.
    pub(super) peers: Vec<Peer>,
    /// Every line that was ever sent, by its number.
    pub(super) sent: Vec<Sent>,
    /// Everything up to here is as safe as it was promised to be.
    pub(super) promised: Seq,
    /// The newest committed message.
    pub(super) newest: Seq,
    /// When the store last failed to look somebody up.
    pub(super) lookup_failed_at: u64,
    /// When the store last failed to read.
    pub(super) read_failed_at: u64,
    /// Lines before this one were sent to a broker that has died since.
    pub(super) lost_before: usize,
    by_name: HashMap<PeerName, usize>,
    by_id: HashMap<PeerId, usize>,
}

/// What is known of one peer.
pub(super) struct Peer {
    pub(super) name: PeerName,
    /// What was committed for it, in order.
    pub(super) log: Vec<Logged>,
    /// Everything in `log` before this has been acknowledged by one of its systems, at least.
    pub(super) frontier: usize,
    /// What the broker was told of that.
    pub(super) reported: Seq,
    /// Messages for it whose turn was not committed.
    pub(super) failed: u64,
    /// Messages for it in the turn that the store has under way.
    pub(super) under_way: u64,
    /// Its sessions that may be there, in the order of their logins.
    pub(super) sessions: Vec<usize>,
    /// When the last of them told the broker to join.
    pub(super) joined_at: u64,
    /// Its sessions that are there for certain, and since when.
    pub(super) here: Vec<(usize, u64)>,
    /// Those of them that keep up for certain, and since when.
    pub(super) live: Vec<(usize, u64)>,
    /// When one of them was first greeted.
    pub(super) seen_at: Option<u64>,
}

/// A committed message, for one of its recipients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logged {
    pub(super) seq: Seq,
    /// The turn that committed it.
    turn: u64,
    /// By one of the recipient's systems.
    arrived: bool,
    /// It waits for nobody, and the store has removed it.
    removed: bool,
}

/// One line that was sent.
pub(super) struct Sent {
    pub(super) session: usize,
    pub(super) sender: usize,
    pub(super) to: Vec<usize>,
    /// Bytes of its text behind the number.
    pub(super) padding: usize,
    pub(super) fate: Fate,
    /// It is in the hands of the store by this turn, or refused.
    pub(super) turn_max: u64,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is on its way.
    Told,
    /// Its turn could not be committed.
    Failed,
    Committed(Seq),
    /// Its sender was told so.
    Refused,
}

/// The padding of every text.
static DOTS: [u8; crate::limits::TEXT_BYTES_MAX] = [b'.'; crate::limits::TEXT_BYTES_MAX];

/// A text that says its number.
pub(super) fn text(number: usize, padding: usize) -> Text {
    let mut text = number.to_string();
    text.push_str(str::from_utf8(&DOTS[..padding]).expect("dots are"));
    Text::stored(text)
}

/// Whether these bytes are the padding of a text.
pub(super) fn is_padding(bytes: &[u8]) -> bool {
    *bytes == DOTS[..bytes.len()]
}

/// The number with which a text begins, and the bytes that the number takes.
pub(super) fn number(text: &[u8]) -> (usize, usize) {
    let (mut number, mut digits) = (0, 0);
    while let Some(digit @ b'0'..=b'9') = text.get(digits) {
        number = 10 * number + usize::from(digit - b'0');
        digits += 1;
    }
    assert!(digits > 0, "a number is missing in {:?}", String::from_utf8_lossy(text));
    (number, digits)
}

fn peers(recipients: &[Recipient]) -> Vec<PeerId> {
    recipients.iter().filter_map(|recipient| recipient.peer()).collect()
}

impl Truth {
    pub(super) fn new(names: impl Iterator<Item = PeerName>, mailbox_max: u64, unknown_names_max: u64) -> Self {
        let peers: Vec<Peer> = names.map(Peer::new).collect();
        let by_name = peers.iter().enumerate().map(|(place, peer)| (peer.name.clone(), place)).collect();
        Truth {
            step: 0,
            turn: 0,
            mailbox_max,
            unknown_names_max,
            peers,
            sent: Vec::new(),
            promised: Seq::ZERO,
            newest: Seq::ZERO,
            lookup_failed_at: 0,
            read_failed_at: 0,
            lost_before: 0,
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
            for recipient in &peers(recipients) {
                let peer = self.by_id[recipient];
                self.peers[peer].under_way += 1;
            }
        }
    }

    /// The turn is on disk.
    pub(super) fn committed(&mut self, entries: &[Entry], disk: &Disk, views: &mut [View]) {
        self.promised = disk.promised();
        for entry in entries {
            match entry {
                Entry::Peer(record) => self.check_cursor(record),
                Entry::Message { sender, recipients, text, .. } => {
                    self.newest = self.newest.next();
                    self.message_committed(*sender, &peers(recipients), text, views);
                }
                _ => unreachable!("nothing else is done here"),
            }
        }
        assert_eq!(self.newest, disk.newest(), "each message has the next seq");
        if self.unknown_names_max > 0 {
            let unknown = disk.unknown_names();
            assert!(
                unknown <= self.unknown_names_max,
                "{unknown} unknown names are kept of {}",
                self.unknown_names_max
            );
        }
    }

    /// Nothing of the turn is on disk.
    pub(super) fn failed(&mut self, entries: &[Entry]) {
        for entry in entries {
            let Entry::Message { recipients, text, .. } = entry else { continue };
            let (number, _) = number(text.as_str().as_bytes());
            self.check_told(number);
            self.sent[number].fate = Fate::Failed;
            for recipient in &peers(recipients) {
                let peer = &mut self.peers[self.by_id[recipient]];
                peer.failed += 1;
                peer.under_way -= 1;
            }
        }
    }

    /// The store has removed these.
    pub(super) fn removed(&mut self, seqs: &[Seq]) {
        for seq in seqs {
            for peer in &mut self.peers {
                let place = peer.log.partition_point(|logged| logged.seq < *seq);
                if let Some(logged) = peer.log.get_mut(place).filter(|logged| logged.seq == *seq) {
                    assert!(logged.arrived, "{seq} still waits for {}, and is removed", peer.name);
                    logged.removed = true;
                }
            }
        }
    }

    /// The process has died, and what it did not keep with it.
    pub(super) fn died(&mut self, disk: &Disk) {
        self.lost_before = self.sent.len();
        self.by_id = disk.peers().map(|record| (record.id, self.by_name[&record.name])).collect();
        for peer in &mut self.peers {
            let record = disk.peer(&peer.name);
            peer.reported = record.map_or(Seq::ZERO, |record| record.cursor);
            peer.seen_at = record.filter(|record| record.seen).and(peer.seen_at);
            peer.under_way = 0;
            peer.sessions.clear();
            peer.here.clear();
            peer.live.clear();
        }
        let Found { newest, .. } = disk.found();
        assert_eq!(newest, self.newest, "nothing that was accepted is lost");
    }

    /// Whether everything of a peer's log between these places was removed.
    pub(super) fn is_removed(&self, peer: usize, from: usize, to: usize) -> bool {
        from >= to || self.peers[peer].log[from..to].iter().all(|logged| logged.removed)
    }

    /// Whether a line that was committed is there no more.
    pub(super) fn is_line_removed(&self, number: usize) -> bool {
        let Sent { to, fate: Fate::Committed(seq), .. } = &self.sent[number] else { return false };
        let log = &self.peers[to[0]].log;
        log[log.partition_point(|logged| logged.seq < *seq)].removed
    }

    fn learn_ids(&mut self, entries: &[Entry]) {
        for entry in entries {
            if let Entry::Peer(PeerRecord { id, name, .. }) = entry {
                self.by_id.insert(*id, self.by_name[name]);
            }
        }
    }

    /// Promise 4: a cursor never passes what nobody's system has acknowledged.
    fn check_cursor(&self, record: &PeerRecord) {
        let peer = &self.peers[self.by_name[&record.name]];
        let passed = peer.place_after(record.cursor);
        assert!(
            passed <= peer.frontier,
            "{}'s cursor is {}, and {:?} was never acknowledged",
            peer.name,
            record.cursor,
            peer.log[peer.frontier]
        );
    }

    fn message_committed(&mut self, sender: PeerId, recipients: &[PeerId], text: &Text, views: &mut [View]) {
        let (number, _) = number(text.as_str().as_bytes());
        self.check_told(number);
        let sent = &mut self.sent[number];
        sent.fate = Fate::Committed(self.newest);
        let view = &mut views[sent.session];
        // Promise 3: each sender's in the order sent.
        assert!(view.last_committed.is_none_or(|last| last < number), "line {number} overtook an earlier one");
        view.last_committed = Some(number);
        assert_eq!(self.by_id[&sender], view.peer, "line {number} has another sender");
        let to: Vec<usize> = recipients.iter().map(|recipient| self.by_id[recipient]).collect();
        assert_eq!(to, sent.to, "line {number} has other recipients");
        for peer in to {
            self.check_mailbox(peer, views);
            let (seq, turn) = (self.newest, self.turn);
            let peer = &mut self.peers[peer];
            peer.under_way -= 1;
            peer.log.push(Logged { seq, turn, arrived: false, removed: false });
        }
    }

    fn check_told(&self, number: usize) {
        let Sent { fate, turn_max, .. } = &self.sent[number];
        assert_eq!(*fate, Fate::Told, "line {number} is dealt with twice");
        assert!(number >= self.lost_before, "line {number} is a dead broker's");
        assert!(self.turn <= *turn_max, "line {number} waited until turn {} and not {turn_max}", self.turn);
    }

    /// Promise 6: messages over the cap are accepted only for a peer who may keep up.
    fn check_mailbox(&self, place: usize, views: &[View]) {
        let peer = &self.peers[place];
        let waiting = (peer.log.len() - peer.frontier) as u64;
        if self.mailbox_max == 0 || waiting < self.mailbox_max {
            return;
        }
        // A live session was fed all of the turns that were delivered when this one was decided.
        let fed = peer.log.partition_point(|logged| logged.turn + 2 <= self.turn);
        assert!(
            peer.sessions.iter().any(|session| views[*session].may_keep_up(fed, self.turn)),
            "{waiting} messages wait for {}, and one more is accepted",
            peer.name
        );
    }
}

impl Peer {
    fn new(name: PeerName) -> Self {
        Peer {
            name,
            log: Vec::new(),
            frontier: 0,
            reported: Seq::ZERO,
            failed: 0,
            under_way: 0,
            sessions: Vec::new(),
            joined_at: 0,
            here: Vec::new(),
            live: Vec::new(),
            seen_at: None,
        }
    }

    /// The place in the log of what comes after this message.
    pub(super) fn place_after(&self, seq: Seq) -> usize {
        self.log.partition_point(|logged| logged.seq <= seq)
    }

    /// One of the peer's systems has acknowledged the message at this place.
    pub(super) fn arrived(&mut self, place: usize) {
        self.log[place].arrived = true;
        while self.log.get(self.frontier).is_some_and(|logged| logged.arrived) {
            self.frontier += 1;
        }
    }

    /// Whether one of its sessions was there for certain, all the time since then.
    pub(super) fn is_here_since(&self, step: u64) -> bool {
        self.here.iter().any(|(_, since)| *since < step)
    }

    /// Whether none of its sessions was there, all the time since then.
    pub(super) fn is_away_since(&self, step: u64) -> bool {
        self.sessions.is_empty() && self.joined_at < step
    }

    /// Whether one of its sessions kept up for certain, all the time since then.
    pub(super) fn keeps_up_since(&self, step: u64) -> bool {
        self.live.iter().any(|(_, since)| *since < step)
    }

    /// A session is not there any more, or may not be.
    pub(super) fn is_ending(&mut self, session: usize) {
        self.here.retain(|(other, _)| *other != session);
        self.falls_behind(session);
    }

    /// A session may not keep up any more.
    pub(super) fn falls_behind(&mut self, session: usize) {
        self.live.retain(|(other, _)| *other != session);
    }
}
