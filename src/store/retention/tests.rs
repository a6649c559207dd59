//! Tests of retention over a real database, with clocks that the tests set. Owns the database and its clocks; the submodules own the tests.

mod afterwards;
mod clocks;
mod random;
mod removed;
mod reports;
mod steps;

use std::cell::RefCell;
use std::fs::File;

use log::{LevelFilter, Metadata, Record};
use tempfile::TempDir;

use super::*;
use crate::config::Durability;
use crate::message::{PeerId, PeerName, Recipient, Room, RoomId, Seq, Text};
use crate::store::wal::WalPages;
use crate::store::{
    HistoryQuery, HistoryScan, OpenFiles, PeerRecord, Read, ReadReceiver, ReadSender, Scan, ScanOutcome, ScanResult,
    StoreOptions, TurnRequest, index, schema,
};

const PEERS: i64 = 4;

/// Messages in inboxes that are still in the log: removed messages may remain in inboxes for a while.
const INBOX: &str = "select seq from (
    select recipient, entry.value as seq
    from inbox join json_each(seqs) as entry join message on message.seq = entry.value
    union all
    select recipient, seq from unindexed)";

/// Database with a few peers, its log, and retention.
struct World<'c> {
    log: Log<'c>,
    sweep: Sweep<'c>,
    connection: &'c Connection,
    now: Clocks,
}

fn database() -> (TempDir, Connection) {
    let home = tempfile::tempdir().unwrap();
    let connection = schema::open(&home.path().join("holdline.db")).unwrap();
    (home, connection)
}

/// Opens the write-ahead log of an open database.
fn wal(connection: &Connection) -> (WalPages, File, OpenFiles) {
    let path = format!("{}-wal", connection.path().unwrap());
    let file = File::options().read(true).write(true).open(path).unwrap();
    (WalPages::default(), file, OpenFiles::default())
}

fn aged(max_age_ms: u64) -> Retention {
    Retention { max_age: Some(Duration::from_millis(max_age_ms)), max_size_bytes: None }
}

fn sized(max_size_bytes: u64) -> Retention {
    Retention { max_age: None, max_size_bytes: Some(max_size_bytes) }
}

impl<'c> World<'c> {
    fn new(connection: &'c Connection, retention: Retention) -> Self {
        Self::with(connection, retention, Durability::Crash)
    }

    fn with(connection: &'c Connection, retention: Retention, durability: Durability) -> Self {
        let now = Clocks { clock: Timestamp::from_millis(0), instant: Instant::now() };
        let options = StoreOptions::small(durability, retention);
        let tail = index::tail(connection, options.limits.index).unwrap();
        let mut world = World {
            log: Log::new(connection, wal(connection), options, Seq::ZERO, tail).unwrap(),
            sweep: Sweep::new(connection, retention, Headroom::default(), now),
            connection,
            now,
        };
        world.turn((1..=PEERS).map(|peer| record(peer, 0)).collect());
        world
    }

    fn turn(&mut self, entries: Vec<Entry>) {
        let outcome = self.log.turn(TurnRequest { entries, reads: Vec::new() });
        outcome.commit.as_ref().unwrap();
        let removal = self.sweep.after_turn(&mut self.log, TurnSummary::from(&outcome), self.now);
        self.remove(removal);
    }

    /// Removes what is proposed, as the broker does.
    fn remove(&mut self, mut removal: Option<Vec<SeqRange>>) {
        while let Some(ranges) = removal {
            let entries = vec![Entry::Remove { ranges }];
            let outcome = self.log.turn(TurnRequest { entries, reads: Vec::new() });
            removal = self.sweep.after_turn(&mut self.log, TurnSummary::from(&outcome), self.now);
        }
    }

    /// Sends a message that is accepted at this time.
    fn send(&mut self, at_ms: i64, to: &[i64]) {
        self.turn(vec![message(at_ms, 1, to, "hello")]);
    }

    /// Creates a room with these members.
    fn make_room(&mut self, room: i64, members: &[i64]) {
        let name = Room::parse(&format!("#room{room}")).unwrap();
        self.turn(vec![Entry::Room { id: RoomId::new(room), name, creator: None }]);
        self.turn(members.iter().map(|member| join(room, *member)).collect());
    }

    /// Delivers everything for a peer up to here.
    fn deliver(&mut self, peer: i64, cursor: i64) {
        self.turn(vec![record(peer, cursor)]);
    }

    /// Lets time pass, with each step at its time.
    fn pass(&mut self, ms: u64) {
        let until = self.now.instant + Duration::from_millis(ms);
        let mut steps = 0;
        while let Some(wakes_at) = self.sweep.wakes_at().filter(|wakes_at| *wakes_at <= until) {
            self.wake(wakes_at.saturating_duration_since(self.now.instant));
            steps += 1;
            assert!(steps < 10_000, "the steps end");
        }
        self.advance(until.saturating_duration_since(self.now.instant));
    }

    fn wake(&mut self, later: Duration) {
        self.advance(later);
        let removal = self.sweep.on_time(&mut self.log, self.now);
        self.remove(removal);
    }

    fn advance(&mut self, later: Duration) {
        self.now.instant += later;
        self.now.clock = Timestamp::from_millis(self.now.clock.millis() + later.as_millis() as i64);
    }

    /// Ends the server, and starts it again with this clock.
    fn restart(&mut self, clock_ms: i64) {
        let retention = self.sweep.retention;
        self.now.clock = Timestamp::from_millis(clock_ms);
        let next = Sweep::new(self.connection, retention, Headroom::default(), self.now);
        std::mem::replace(&mut self.sweep, next).close();
    }

    fn numbers(&self, sql: &str) -> Vec<i64> {
        let mut statement = self.connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn number(&self, sql: &str) -> i64 {
        self.numbers(sql)[0]
    }

    fn stored(&self) -> Vec<i64> {
        self.numbers("select seq from message order by seq")
    }

    fn used_bytes(&mut self) -> u64 {
        self.sweep.oldest.pages().unwrap().used_bytes()
    }

    /// Returns the texts of a peer's history.
    fn history(&mut self, peer: i64, count: usize) -> Vec<String> {
        let query = HistoryQuery { peer: PeerId::new(peer), with: None, before: Seq::MAX, count, is_addressed: true };
        let mut scan = Box::new(Scan::from(HistoryScan::new(query)));
        let page = loop {
            match self.read(Read::Scan, scan) {
                ScanOutcome::Done(ScanResult::Messages(page)) => break page,
                ScanOutcome::Done(other) => panic!("a history finds {other:?}"),
                ScanOutcome::Paused(paused) => scan = paused,
            }
        };
        page.messages.into_iter().map(|past| past.message.text.as_str().to_owned()).collect()
    }

    fn read<Q, T>(&mut self, read: impl FnOnce(Q, ReadSender<T>) -> Read, query: Q) -> T {
        let (reply, result) = ReadReceiver::channel();
        self.log.turn(TurnRequest { entries: Vec::new(), reads: vec![read(query, reply)] });
        result.result().unwrap()
    }
}

thread_local! {
    static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Records the lines that each test's thread logs.
struct Listener;

impl log::Log for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        LOGGED.with_borrow_mut(|lines| lines.push(format!("{} {}", record.level(), record.args())));
    }

    fn flush(&self) {}
}

/// Records what is logged from here on.
fn listen() {
    // Another test may have been first.
    let _ = log::set_logger(&Listener);
    log::set_max_level(LevelFilter::Info);
}

/// Returns the lines logged since the last call.
fn logged() -> Vec<String> {
    LOGGED.take()
}

fn record(peer: i64, cursor: i64) -> Entry {
    let name = PeerName::parse(&format!("peer{peer}")).unwrap();
    Entry::Peer(PeerRecord { id: PeerId::new(peer), name, seen: true, cursor: Seq::new(cursor) })
}

fn join(room: i64, peer: i64) -> Entry {
    Entry::Join { room: RoomId::new(room), peer: PeerId::new(peer) }
}

fn leave(room: i64, peer: i64) -> Entry {
    Entry::Leave { room: RoomId::new(room), peer: PeerId::new(peer) }
}

fn message(at_ms: i64, sender: i64, to: &[i64], text: &str) -> Entry {
    Entry::Message {
        at: Timestamp::from_millis(at_ms),
        sender: PeerId::new(sender),
        recipients: to.iter().copied().map(Recipient::numbered).collect(),
        text: Text::clean(text).unwrap(),
        id: None,
    }
}
