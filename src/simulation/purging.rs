//! Random entries with purges among them, applied to the real store: whatever was removed is in no table and in no index, everything else is
//! there, and the serialised entries rebuild the same database. Owns this check; never runs a broker.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use rusqlite::Connection;
use tempfile::TempDir;

use super::replay::{Recording, assert_same, searchable_rebuilt};
use crate::archive::{Severity, examine};
use crate::config::{Durability, Retention};
use crate::message::{PeerId, PeerName, Recipient, RequestId, Room, RoomId, Seq, Text, Timestamp};
use crate::source::Source;
use crate::store::{
    Entry, EventFilter, EventKind, PeerEvent, PeerRecord, PurgeStep, Read, ReadReceiver, Scan, SearchScan, SendId,
    Store, StoreLimits, StoreOptions, TurnRequest,
};

/// Seeds that a test run tries.
const RUNS: u64 = 6;

/// Steps of a run.
const STEPS: usize = 200;

/// Columns with ids of peers, and with numbers of recipients.
const PEER_COLUMNS: [(&str, &str); 8] = [
    ("past_member", "peer"),
    ("peer", "id"),
    ("member", "peer"),
    ("sent_id", "sender"),
    ("value", "peer"),
    ("observer", "peer"),
    ("event", "peer"),
    ("room", "creator"),
];
const ROOM_COLUMNS: [(&str, &str); 3] = [("room", "id"), ("member", "room"), ("past_member", "room")];

/// Store, and what it must contain.
struct PurgeRun {
    rng: Rng,
    store: Option<Store>,
    data: TempDir,
    recording: Recording,
    peers: BTreeSet<i64>,
    /// Rooms with their members.
    rooms: BTreeMap<i64, BTreeSet<i64>>,
    /// Sender, recipients and text of each message.
    messages: BTreeMap<i64, (i64, Vec<i64>, String)>,
    newest: i64,
    last_id: i64,
    requests: i64,
    /// Peers and rooms that were removed; rooms are negative.
    removed: Vec<i64>,
    is_purging: bool,
    steps: usize,
    /// Peers that observe. Without any, no events are stored.
    observers: BTreeSet<i64>,
}

#[test]
fn purges_leave_nothing_behind_and_serialised_entries_rebuild_the_database() {
    let runs: Vec<(usize, usize)> = (0..RUNS).map(|seed| PurgeRun::new(seed).run()).collect();
    let purges: usize = runs.iter().map(|(purges, _)| purges).sum();
    let steps: usize = runs.iter().map(|(_, steps)| steps).sum();
    assert!(purges > 12 && steps > 5 * purges, "{purges} purges in {steps} steps");
}

impl PurgeRun {
    fn new(seed: u64) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory can be created");
        PurgeRun {
            rng: Rng::with_seed(seed),
            store: Some(Store::open(data.path(), options()).expect("the store opens")),
            data,
            recording: Recording::default(),
            peers: BTreeSet::new(),
            rooms: BTreeMap::new(),
            messages: BTreeMap::new(),
            newest: 0,
            last_id: 0,
            requests: 0,
            removed: Vec::new(),
            is_purging: false,
            steps: 0,
            observers: BTreeSet::new(),
        }
    }

    /// Returns the number of purges, and of their steps.
    fn run(mut self) -> (usize, usize) {
        (0..3).for_each(|_| self.add_peer());
        for _ in 0..STEPS {
            match self.rng.u32(..20) {
                0 => self.add_peer(),
                1 => self.add_room(),
                2..5 => self.change_member(),
                5 => self.change_others(),
                6 => self.search(),
                7 if self.rng.u32(..3) == 0 => self.restart(),
                8 if !self.is_purging => self.begin_purge(),
                8..12 if self.is_purging => self.continue_purge(),
                _ => self.send(),
            }
        }
        while self.is_purging {
            self.continue_purge();
        }
        let counts = (self.removed.len(), self.steps);
        self.check();
        counts
    }

    fn apply(&mut self, entries: Vec<Entry>) -> Option<PurgeStep> {
        let store = self.store.as_ref().expect("the store is open");
        let request = TurnRequest { entries, reads: Vec::new() };
        let outcome = smol::block_on(store.begin(request).outcome());
        assert!(outcome.commit.is_ok(), "{:?}", outcome.commit);
        self.recording.turn(&outcome.entries);
        self.newest = outcome.newest.get();
        outcome.purged
    }

    fn any_peer(&mut self) -> PeerId {
        let place = self.rng.usize(..self.peers.len());
        PeerId::new(*self.peers.iter().nth(place).expect("a run has peers"))
    }

    fn next_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    fn add_peer(&mut self) {
        let id = self.next_id();
        let name = PeerName::parse(&format!("p{id}")).expect("the name is valid");
        let record = PeerRecord { id: PeerId::new(id), name, seen: self.rng.bool(), cursor: Seq::ZERO };
        let source = Entry::Source { peer: record.id, source: Source::Operator };
        self.peers.insert(id);
        self.apply(vec![Entry::Peer(record), source]);
    }

    fn add_room(&mut self) {
        let id = self.next_id();
        let name = Room::parse(&format!("#r{id}")).expect("the name is valid");
        let creator = self.any_peer();
        self.rooms.insert(id, BTreeSet::from([creator.get()]));
        let room = RoomId::new(id);
        self.apply(vec![Entry::Room { id: room, name, creator: Some(creator) }, Entry::Join { room, peer: creator }]);
    }

    fn change_member(&mut self) {
        let peer = self.any_peer();
        if self.rooms.is_empty() {
            return self.add_room();
        }
        let place = self.rng.usize(..self.rooms.len());
        let (id, members) = self.rooms.iter_mut().nth(place).expect("the place is below the number of rooms");
        let room = RoomId::new(*id);
        let entry = if members.insert(peer.get()) {
            Entry::Join { room, peer }
        } else {
            members.remove(&peer.get());
            Entry::Leave { room, peer }
        };
        self.apply(vec![entry]);
    }

    /// Changes the tables that neither rooms nor messages are in.
    fn change_others(&mut self) {
        let peer = self.any_peer();
        let wants = EventFilter { logged: true, join: true, leave: true, delivered: true };
        let cursor = Seq::new(self.rng.i64(0..=self.newest));
        let name = PeerName::parse(&format!("p{peer}")).expect("the name is valid");
        let entry = match self.rng.u32(..4) {
            0 => Entry::Value { peer, key: self.rng.u32(..9).to_string(), value: Some("1".to_owned()) },
            1 => {
                self.observers.insert(peer.get());
                Entry::Observe { observer: peer, wants }
            }
            2 if !self.observers.is_empty() => {
                Entry::Event(PeerEvent { at: Timestamp::from_millis(1), kind: EventKind::Delivered(cursor), peer })
            }
            _ => Entry::Peer(PeerRecord { id: peer, name, seen: true, cursor }),
        };
        self.apply(vec![entry]);
    }

    fn send(&mut self) {
        let mut entries = Vec::new();
        for seq in self.newest + 1..=self.newest + self.rng.i64(1..6) {
            let sender = self.any_peer();
            let mut recipients: Vec<i64> =
                self.peers.iter().copied().chain(self.rooms.keys().map(|room| -room)).collect();
            self.rng.shuffle(&mut recipients);
            recipients.truncate(self.rng.usize(1..4));
            let text = format!("w{} w{} only{seq}", self.rng.u32(..5), sender);
            let id = self.rng.bool().then(|| RequestId::parse(&seq.to_string()).expect("the id is valid"));
            entries.push(Entry::Message {
                at: Timestamp::from_millis(seq),
                sender,
                recipients: recipients.iter().copied().map(Recipient::numbered).collect(),
                text: Text::clean(&text).expect("the text is valid"),
                id: id.map(|id| Box::new(SendId { id, fingerprint: 1 })),
            });
            self.messages.insert(seq, (sender.get(), recipients, text));
        }
        self.apply(entries);
    }

    /// Searches a little, so that the index contains a part of the log.
    fn search(&mut self) {
        let scan = SearchScan::new(self.any_peer(), "w1", 5, true).expect("there is a word");
        let mut scan = Box::new(Scan::from(scan));
        for _ in 0..self.rng.usize(1..6) {
            let (sender, receiver) = ReadReceiver::channel();
            let store = self.store.as_ref().expect("the store is open");
            let request = TurnRequest { entries: Vec::new(), reads: vec![Read::Scan(scan, sender)] };
            smol::block_on(store.begin(request).outcome());
            match receiver.result().expect("the store can be read") {
                crate::store::ScanOutcome::Paused(paused) => scan = paused,
                crate::store::ScanOutcome::Done(_) => return,
            }
        }
    }

    fn restart(&mut self) {
        self.store.take().expect("the store is open").close().expect("the files are in their place");
        let store = Store::open(self.data.path(), options()).expect("the store opens");
        assert_eq!(store.found.newest, Seq::new(self.newest), "no sequence number is given again");
        assert!(store.found.last_peer.get().max(store.found.last_room.get()) == self.last_id, "no id is given again");
        self.store = Some(store);
    }

    fn begin_purge(&mut self) {
        let all: Vec<i64> = self.peers.iter().copied().chain(self.rooms.keys().map(|room| -room)).collect();
        let target = all[self.rng.usize(..all.len())];
        if target > 0 && self.peers.len() < 3 {
            return;
        }
        self.requests += 1;
        let name = if target > 0 { format!("p{target}") } else { format!("#r{}", -target) };
        let entry = Entry::BeginPurge { request: self.requests, name, target: Recipient::numbered(target) };
        self.peers.remove(&target);
        self.rooms.remove(&-target);
        for members in self.rooms.values_mut() {
            members.remove(&target);
        }
        self.observers.remove(&target);
        self.removed.push(target);
        self.is_purging = true;
        self.apply(vec![entry]);
        let request = smol::block_on(self.store.as_ref().expect("the store is open").posts()).expect("it can be read");
        assert_eq!(request.purge.and_then(|purge| purge.target), Some(Recipient::numbered(target)));
        self.messages.retain(|_, (sender, recipients, _)| {
            recipients.retain(|recipient| *recipient != target);
            *sender != target && !recipients.is_empty()
        });
        self.check_visible();
    }

    /// Checks that what is being removed is not seen any more.
    fn check_visible(&self) {
        let seen = rows(&self.connection(), "select seq from history order by 1");
        let expected: Vec<Vec<String>> = self.messages.keys().map(|seq| vec![seq.to_string()]).collect();
        assert_eq!(seen, expected, "the view history while {:?} is removed", self.removed.last());
    }

    fn continue_purge(&mut self) {
        let step = self.apply(vec![Entry::ContinuePurge]).expect("a step has a result");
        self.steps += 1;
        self.is_purging = !step.is_done;
        self.check_visible();
        if step.is_done {
            self.check_columns(*self.removed.last().expect("a purge has begun"));
        }
    }

    fn connection(&self) -> Connection {
        Connection::open(self.data.path().join("holdline.db")).expect("the database opens")
    }

    /// Checks that no table names a peer or a room.
    fn check_columns(&self, target: i64) {
        let connection = self.connection();
        let columns = if target > 0 { &PEER_COLUMNS[..] } else { &ROOM_COLUMNS[..] };
        for (table, column) in columns {
            let sql = format!("select count(*) from {table} where {column} = {}", target.abs());
            assert_eq!(rows(&connection, &sql), [["0"]], "{target} in {table}.{column}");
        }
        for sql in [
            format!("select count(*) from inbox where recipient = {target}"),
            format!("select count(*) from purge where target = {target} or name is not null"),
            format!("select count(*) from message where sender = {target}"),
            format!(
                "select count(*) from message, json_each(recipients) as addressed where addressed.value = {target}"
            ),
        ] {
            assert_eq!(rows(&connection, &sql), [["0"]], "{target}: {sql}");
        }
    }

    fn check(mut self) {
        self.store.take().expect("the store is open").close().expect("the files are in their place");
        let found = examine(self.data.path());
        let faults: Vec<_> =
            found.iter().filter(|found| matches!(found.severity, Severity::Problem | Severity::Warning)).collect();
        assert!(faults.is_empty(), "{faults:?}");
        let connection = self.connection();
        for target in &self.removed {
            self.check_columns(*target);
        }
        let messages = self.messages.iter().map(|(seq, (sender, recipients, text))| {
            let recipients = format!("{recipients:?}").replace(' ', "");
            [seq.to_string(), sender.to_string(), recipients, text.clone()].to_vec()
        });
        assert_eq!(
            rows(&connection, "select seq, sender, recipients, text from message order by seq"),
            messages.collect::<Vec<_>>()
        );
        let addressed = |(seq, (_, recipients, _)): (&i64, &(i64, Vec<i64>, String))| {
            recipients.iter().map(|recipient| (*recipient, *seq)).collect::<Vec<_>>()
        };
        let entries: BTreeSet<(i64, i64)> = self.messages.iter().flat_map(addressed).collect();
        let entries: Vec<_> = entries.iter().map(|(one, other)| vec![one.to_string(), other.to_string()]).collect();
        let inboxes = "select recipient, entry.value from inbox join json_each(seqs) as entry order by 1, 2";
        assert_eq!(rows(&connection, inboxes), entries, "the inboxes");
        let members = self.rooms.iter().map(|(id, members)| vec![id.to_string(), members.len().to_string()]);
        let counted = rows(&connection, "select id, members from room order by id");
        assert_eq!(counted, members.collect::<Vec<_>>(), "the numbers of members");
        let [actual, rebuilt] = searchable_rebuilt(self.data.path(), StoreLimits::SMALL);
        assert_eq!(actual, rebuilt, "the search index");

        let replayed = tempfile::tempdir().expect("a temporary directory can be created");
        self.recording.replay(replayed.path(), options());
        assert_same(self.data.path(), replayed.path(), StoreLimits::SMALL);
    }
}

fn options() -> StoreOptions {
    StoreOptions::small(Durability::Crash, Retention::default())
}

fn rows(connection: &Connection, sql: &str) -> Vec<Vec<String>> {
    let mut statement = connection.prepare(sql).expect("the query fits the schema");
    let columns = statement.column_count();
    let value = |row: &rusqlite::Row<'_>, column| {
        Ok(match row.get_ref(column)? {
            rusqlite::types::ValueRef::Integer(number) => number.to_string(),
            other => String::from_utf8_lossy(other.as_bytes().unwrap_or_default()).into_owned(),
        })
    };
    let rows = statement.query_map([], |row| (0..columns).map(|column| value(row, column)).collect());
    rows.expect("the table can be read").collect::<rusqlite::Result<_>>().expect("the table can be read")
}
