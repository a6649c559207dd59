//! The chat under a random scheduler: joins, floods, stalls, ends, breaks, crashes and failing commits in any order, over
//! the real store. The oracle is what is promised: each session reads exactly what is addressed to its peer after the
//! cursor that it found, in order, with no gap and no double; and a cursor never passes what nobody has got.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use async_channel::Receiver;
use proptest::prelude::*;
use smol::lock::Semaphore;

use super::chat::{Chat, Turn};
use super::outbox::outbox;
use super::{Chunk, Delivered, EndReason, Event, Mark};
use crate::config::{Durability, Limits, Retention};
use crate::limits::{OUTBOX_BYTES_MAX, PAGE_BYTES_MAX};
use crate::message::{Destination, PeerId, PeerName, Seq, SessionId, Text, Timestamp};
use crate::protocol::{Protocol, Request};
use crate::store::{CommitError, Entry, Found, PeerRecord, Store, TurnOutcome, TurnRequest};

const PEERS: usize = 3;

/// What may happen next; numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    Join {
        peer: usize,
    },
    Send {
        session: usize,
        to: HashSet<usize>,
        copies: usize,
        bytes: usize,
    },
    /// A client reads: its writer writes and reports so many chunks.
    Take {
        session: usize,
        chunks: usize,
    },
    End {
        session: usize,
    },
    /// A connection breaks, with what it took and did not report.
    Break {
        session: usize,
        chunks: usize,
    },
    /// The broker decides a turn, delivers the one before, and the store commits.
    Turn,
    FailingTurn,
    /// The broker has nothing to decide, and delivers.
    Deliver,
    /// The process dies, and starts anew.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let to = || proptest::collection::hash_set(0..PEERS, 1..=PEERS);
    let step = prop_oneof![
        5 => (0..PEERS).prop_map(|peer| Step::Join { peer }),
        4 => (0..8usize, to(), 1..20usize, 1..60usize)
            .prop_map(|(session, to, copies, bytes)| Step::Send { session, to, copies, bytes }),
        1 => (0..8usize, to(), 20..60usize, 4_000..8_000usize)
            .prop_map(|(session, to, copies, bytes)| Step::Send { session, to, copies, bytes }),
        5 => (0..8usize, 1..8usize).prop_map(|(session, chunks)| Step::Take { session, chunks }),
        1 => (0..8usize).prop_map(|session| Step::End { session }),
        1 => (0..8usize, 0..3usize).prop_map(|(session, chunks)| Step::Break { session, chunks }),
        8 => Just(Step::Turn),
        1 => Just(Step::FailingTurn),
        3 => Just(Step::Deliver),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..120)
}

/// A connection as its client sees it.
struct Client {
    session: SessionId,
    peer: PeerName,
    outbox: Receiver<Chunk>,
    /// The cursor that its login found; `None` until then.
    from: Option<Seq>,
    /// How many messages wait when it logs in; `None` where others are sent in the same turn.
    waiting: Option<usize>,
    /// What it read, by the number in the text.
    read: Vec<usize>,
    ended: bool,
}

/// What is known of a peer from outside.
struct Model {
    /// What was committed for it: the `seq`, and the number in the text.
    committed: Vec<(Seq, usize)>,
    /// The cursor, as its sessions' reports move it.
    cursor: Seq,
    /// The cursor on disk.
    stored_cursor: Seq,
    /// What any of its clients ever read.
    read: BTreeSet<usize>,
}

impl Model {
    fn new() -> Self {
        Model { committed: Vec::new(), cursor: Seq::ZERO, stored_cursor: Seq::ZERO, read: BTreeSet::new() }
    }
}

struct World {
    chat: Chat,
    store: Store,
    mailbox_max: u64,
    newest: Seq,
    last_peer: i64,
    events: Vec<Event>,
    /// A turn that was committed and not delivered.
    committed: Option<(Turn, TurnOutcome)>,
    clients: Vec<Client>,
    next_session: u64,
    next_text: usize,
    peers: BTreeMap<PeerName, Model>,
    ids: BTreeMap<PeerId, PeerName>,
    /// Those who are stored and never logged in.
    unknown: BTreeSet<PeerId>,
    /// Every session there ever was.
    sessions: BTreeMap<SessionId, PeerName>,
    _data: tempfile::TempDir,
}

impl World {
    fn new(mailbox_max: u64) -> Self {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path(), Durability::Crash, Retention::default()).unwrap();
        World {
            chat: Chat::new(&limits(mailbox_max), store.found),
            newest: store.found.newest,
            store,
            mailbox_max,
            last_peer: 0,
            events: Vec::new(),
            committed: None,
            clients: Vec::new(),
            next_session: 0,
            next_text: 0,
            peers: (0..PEERS).map(|peer| (name(peer), Model::new())).collect(),
            ids: BTreeMap::new(),
            unknown: BTreeSet::new(),
            sessions: BTreeMap::new(),
            _data: data,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Join { peer } => self.join(name(peer)),
            Step::Send { session, to, copies, bytes } => self.send(session, to, copies, bytes),
            Step::Take { session, chunks } => self.take(session, chunks),
            Step::End { session } => self.end(session),
            Step::Break { session, chunks } => self.break_off(session, chunks),
            Step::Turn => self.turn(false),
            Step::FailingTurn => self.turn(true),
            Step::Deliver => self.deliver(),
            Step::Crash => self.crash(),
        }
    }

    fn join(&mut self, peer: PeerName) {
        self.next_session += 1;
        let session = SessionId::new(self.next_session);
        let (sender, outbox) = outbox();
        self.events.push(Event::Join { session, name: peer.clone(), protocol: Protocol::Plain, outbox: sender });
        self.sessions.insert(session, peer.clone());
        self.clients.push(Client { session, peer, outbox, from: None, waiting: None, read: Vec::new(), ended: false });
    }

    fn send(&mut self, client: usize, to: HashSet<usize>, copies: usize, bytes: usize) {
        let Some(place) = self.choose(client) else { return };
        if self.clients[place].ended {
            return;
        }
        let session = self.clients[place].session;
        let to: Vec<_> = to.into_iter().map(|peer| Destination::Peer(name(peer))).collect();
        let requests = (0..copies).map(|_| {
            self.next_text += 1;
            let text = format!("{:<bytes$}.", self.next_text);
            Request::Send { to: to.clone(), text: Text::clean(&text).unwrap() }
        });
        let requests: Vec<_> = requests.collect();
        // In a connection the permit holds one back whose outbox is full.
        let permit = Arc::new(Semaphore::new(1)).try_acquire_arc().unwrap();
        self.events.push(Event::Requests { session, requests, permit });
    }

    fn take(&mut self, client: usize, chunks: usize) {
        let Some(place) = self.choose(client) else { return };
        let client = &mut self.clients[place];
        let mut taken: Option<Delivered> = None;
        let mut count = 0;
        while count < chunks
            && let Ok(chunk) = client.outbox.try_recv()
        {
            let bound = OUTBOX_BYTES_MAX + PAGE_BYTES_MAX;
            assert!(chunk.bytes.len() <= bound, "{} bytes in an outbox of {bound}", chunk.bytes.len());
            if let (Some(waiting), Some(greeted)) = (client.waiting, waiting_in_greeting(&chunk.bytes)) {
                assert_eq!(greeted, waiting, "{} was told another number", client.peer);
            }
            client.read.extend(numbers(&chunk.bytes));
            for Mark { delivered: Delivered { seq, messages }, .. } in chunk.marks {
                let before = taken.map_or(0, |taken| taken.messages);
                taken = Some(Delivered { seq, messages: before + messages });
            }
            count += 1;
        }
        if count > 0 {
            let session = client.session;
            self.events.push(Event::Taken { session, chunks: count, delivered: taken });
            self.check_reading(place);
        }
    }

    fn end(&mut self, client: usize) {
        let Some(place) = self.choose(client) else { return };
        let client = &mut self.clients[place];
        if !std::mem::replace(&mut client.ended, true) {
            self.events.push(Event::End { session: client.session, reason: EndReason::Client });
        }
    }

    fn break_off(&mut self, client: usize, chunks: usize) {
        let Some(place) = self.choose(client) else { return };
        for _ in 0..chunks {
            let client = &mut self.clients[place];
            if let Ok(chunk) = client.outbox.try_recv() {
                client.read.extend(numbers(&chunk.bytes));
            }
        }
        self.check_reading(place);
        let session = self.clients.remove(place).session;
        self.events.push(Event::Leave { session });
    }

    fn turn(&mut self, fails: bool) {
        let events = std::mem::take(&mut self.events);
        let away = self.away(&events);
        self.follow(&events);
        let strangers = self.chat.strangers(&events);
        let found = smol::block_on(self.store.lookup(strangers.clone())).unwrap();
        self.chat.meet(strangers, found);
        let (turn, request) = self.chat.decide(events, Timestamp::from_millis(0));
        self.deliver();
        let outcome = self.commit(request, fails, &away);
        if outcome.commit.is_err() {
            self.chat.undo(&outcome.entries);
        }
        self.committed = Some((turn, outcome));
    }

    fn deliver(&mut self) {
        if let Some((turn, outcome)) = self.committed.take() {
            self.chat.deliver(turn, outcome);
            if self.chat.remembers_too_many() {
                self.chat.forget_absent();
            }
        }
    }

    /// What the events mean, in words so simple that they cannot be wrong.
    fn follow(&mut self, events: &[Event]) {
        for (place, event) in events.iter().enumerate() {
            match event {
                Event::Join { session, name, .. } => {
                    let Model { cursor, committed, .. } = &self.peers[name];
                    let waiting = committed.iter().filter(|(seq, _)| seq > cursor).count();
                    if let Some(client) = self.clients.iter_mut().find(|client| client.session == *session) {
                        client.from = Some(*cursor);
                        client.waiting = (place == 0).then_some(waiting);
                    }
                }
                Event::Taken { session, delivered: Some(Delivered { seq, .. }), .. } => {
                    let cursor = &mut self.peers.get_mut(&self.sessions[session]).unwrap().cursor;
                    *cursor = (*cursor).max(*seq);
                }
                _ => {}
            }
        }
    }

    fn commit(&mut self, request: TurnRequest, fails: bool, away: &HashSet<PeerName>) -> TurnOutcome {
        if fails {
            let TurnRequest { entries, reads } = request;
            let outcome = smol::block_on(self.store.begin(TurnRequest { entries: Vec::new(), reads }).outcome());
            return TurnOutcome { entries, commit: Err(CommitError::Storage("injected".into())), ..outcome };
        }
        let outcome = smol::block_on(self.store.begin(request).outcome());
        assert!(outcome.commit.is_ok());
        self.newest = outcome.newest;
        for entry in &outcome.entries {
            if let Entry::Peer(PeerRecord { id, name, seen, cursor }) = entry {
                if *seen {
                    self.unknown.remove(id)
                } else {
                    self.unknown.insert(*id)
                };
                self.ids.insert(*id, name.clone());
                self.last_peer = self.last_peer.max(id.get());
                self.peers.get_mut(name).unwrap().stored_cursor = *cursor;
            }
        }
        let mut seq = outcome.before;
        for entry in &outcome.entries {
            let Entry::Message { recipients, text, .. } = entry else { continue };
            seq = seq.next();
            for recipient in recipients {
                let name = &self.ids[recipient];
                let model = self.peers.get_mut(name).unwrap();
                let waiting = model.committed.iter().filter(|(seq, _)| *seq > model.cursor).count() as u64;
                let is_full = self.mailbox_max > 0 && waiting >= self.mailbox_max;
                assert!(!is_full || !away.contains(name), "{waiting} messages wait for {name}, and one more");
                model.committed.push((seq, number(text.as_str())));
            }
        }
        outcome
    }

    fn crash(&mut self) {
        self.events.clear();
        self.clients.clear();
        self.committed = None;
        let found = Found {
            newest: self.newest,
            last_peer: PeerId::new(self.last_peer),
            unknown_names: self.unknown.len() as u64,
        };
        self.chat = Chat::new(&limits(self.mailbox_max), found);
        for model in self.peers.values_mut() {
            model.cursor = model.stored_cursor;
        }
    }

    /// Lets everything that is under way arrive.
    fn settle(&mut self) {
        loop {
            self.turn(false);
            self.deliver();
            for place in 0..self.clients.len() {
                self.take(place, usize::MAX);
            }
            if self.events.is_empty() && !self.chat.wants_pages() {
                return;
            }
        }
    }

    /// Each session reads what is addressed to its peer, after the cursor that it found: in order, no gap, no double.
    fn check_reading(&mut self, place: usize) {
        let client = &self.clients[place];
        let expected = self.expected(client);
        let read = &client.read;
        assert!(expected.starts_with(read), "{} read {read:?} of {expected:?}", client.peer);
        let (peer, read) = (client.peer.clone(), read.clone());
        self.peers.get_mut(&peer).unwrap().read.extend(read);
    }

    fn expected(&self, client: &Client) -> Vec<usize> {
        let Some(from) = client.from else { return Vec::new() };
        let committed = &self.peers[&client.peer].committed;
        committed.iter().filter(|(seq, _)| *seq > from).map(|(_, number)| *number).collect()
    }

    /// Peers who are away all through a turn with these events.
    fn away(&self, events: &[Event]) -> HashSet<PeerName> {
        let moving = events.iter().filter_map(|event| match event {
            Event::Join { session, .. } | Event::Leave { session } => Some(&self.sessions[session]),
            _ => None,
        });
        let here: HashSet<_> = self.clients.iter().map(|client| &client.peer).chain(moving).collect();
        self.peers.keys().filter(|name| !here.contains(name)).cloned().collect()
    }

    /// Whoever stays gets everything, whoever ends gets let go, and nothing is lost to those who come last.
    fn check_end(&mut self) {
        self.settle();
        for client in &self.clients {
            if client.ended {
                assert!(client.outbox.is_closed(), "{} was not let go", client.peer);
            } else {
                assert_eq!(client.read, self.expected(client), "{} has not got everything", client.peer);
            }
        }
        while !self.clients.is_empty() {
            self.break_off(0, 0);
        }
        for peer in 0..PEERS {
            self.join(name(peer));
        }
        self.settle();
        for (name, model) in &self.peers {
            let lost: Vec<_> = model.committed.iter().filter(|(_, number)| !model.read.contains(number)).collect();
            assert!(lost.is_empty(), "{name} never got {lost:?}");
        }
    }

    fn choose(&self, client: usize) -> Option<usize> {
        client.checked_rem(self.clients.len())
    }
}

fn limits(mailbox_max: u64) -> Limits {
    Limits { mailbox_max, unknown_names_max: 0, ..Limits::default() }
}

fn name(peer: usize) -> PeerName {
    PeerName::parse(&format!("peer{peer}")).unwrap()
}

/// The numbers of the messages in what a client read.
fn numbers(bytes: &[u8]) -> impl Iterator<Item = usize> + use<'_> {
    let lines = str::from_utf8(bytes).unwrap().lines();
    lines.filter_map(|line| line.strip_prefix("from ")).map(|line| number(line.split_once(": ").unwrap().1))
}

/// The number of waiting messages that a greeting tells, if there is a greeting.
fn waiting_in_greeting(bytes: &[u8]) -> Option<usize> {
    let greeting = str::from_utf8(bytes).unwrap().lines().find(|line| line.starts_with("* hello "))?;
    Some(greeting.split(' ').find_map(|word| word.parse().ok()).unwrap_or(0))
}

fn number(text: &str) -> usize {
    text.trim_end_matches('.').trim().parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_doubled_or_reordered(steps in steps(), mailbox_max in prop_oneof![Just(0u64), 5..60u64]) {
        let mut world = World::new(mailbox_max);
        for step in steps {
            world.step(step);
        }
        world.check_end();
    }
}

#[test]
fn a_device_that_lags_behind_takes_nothing_back_from_one_that_does_not() {
    let (phone, laptop, sender, later) = (0, 1, 2, 3);
    let mut world = World::new(0);
    for peer in [0, 0, 1] {
        world.join(name(peer));
    }
    for _ in 0..2 {
        world.turn(false);
        world.send(sender, HashSet::from([0]), 5, 1);
    }
    world.turn(false);
    world.deliver();
    world.take(phone, usize::MAX);
    // The greeting, and the first five.
    world.take(laptop, 2);
    world.turn(false);
    world.join(name(0));
    world.turn(false);
    world.take(later, 1);
    world.check_end();
}
