//! Retention over a real database, with clocks that the tests set.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use log::{LevelFilter, Metadata, Record};
use proptest::prelude::*;
use tempfile::TempDir;

use super::oldest::OldMessage;
use super::report::Reason;
use super::scan::{Walk, reason};
use super::*;
use crate::config::Durability;
use crate::limits::{PAGE_MESSAGES_MAX, RETENTION_REPORT_S_MIN};
use crate::message::{PeerId, PeerName, Recipient, Room, RoomId, Seq, Text};
use crate::store::wal::WalPages;
use crate::store::{
    HistoryQuery, PageQuery, PeerRecord, Read, ReadReceiver, ReadSender, StoreOptions, TurnRequest, index, schema,
};

const PEERS: i64 = 4;

/// Rooms of the random tests.
const ROOMS: i64 = 2;

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
fn wal(connection: &Connection) -> (WalPages, File) {
    let path = format!("{}-wal", connection.path().unwrap());
    (WalPages::default(), File::options().read(true).write(true).open(path).unwrap())
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
            sweep: Sweep::new(connection, retention, now),
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
        self.turn(vec![Entry::Room { id: RoomId::new(room), name }]);
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
        let query = HistoryQuery { peer: PeerId::new(peer), with: None, before: Seq::MAX, count };
        let page = self.read(Read::History, query);
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

// Messages that are removed

#[test]
fn messages_that_are_too_old_are_removed_up_to_the_first_young_one() {
    let (_home, connection) = database();
    let mut world = World::new(&connection, aged(10_000));
    // The clock was wrong for a while: the third message looks young and holds back those after it.
    for at_ms in [0, 1_000, 50_000, 0, 2_000] {
        world.send(at_ms, &[2]);
    }
    world.deliver(2, 5);
    world.pass(9_900);
    assert_eq!(world.stored(), [1, 2, 3, 4, 5], "no message is too old yet");
    world.pass(3_000);
    assert_eq!(world.stored(), [3, 4, 5]);
    assert_eq!(world.numbers(INBOX), [3, 4, 5]);
    world.pass(60_000);
    assert_eq!(world.stored(), [0; 0]);
}

#[test]
fn clock_that_is_set_back_keeps_messages() {
    let (_home, connection) = database();
    let mut world = World::new(&connection, aged(10_000));
    world.send(0, &[2]);
    world.deliver(2, 1);
    world.now.clock = Timestamp::from_millis(-1_000_000);
    world.pass(20_000);
    assert_eq!(world.stored(), [1]);
    world.now.clock = Timestamp::from_millis(10_000);
    world.pass(1000 * RETENTION_CHECK_S_MAX);
    assert_eq!(world.stored(), [0; 0], "the clock was set, and is read again within the hour");
}

#[test]
fn messages_that_wait_are_stepped_over_until_they_are_delivered() {
    let (_home, connection) = database();
    let mut world = World::new(&connection, aged(1_000));
    world.send(0, &[2]);
    world.send(0, &[2, 3]);
    world.send(0, &[2]);
    world.send(0, &[4, 2]);
    world.send(0, &[2]);
    world.deliver(2, 5);
    world.pass(5_000);
    assert_eq!(world.stored(), [2, 4]);
    assert_eq!(world.numbers(&format!("{INBOX} order by recipient, seq")), [2, 4, 2, 4], "of peers 2, 3 and 4");
    world.deliver(3, 2);
    world.pass(1_000);
    assert_eq!(world.stored(), [4]);
    world.deliver(4, 4);
    world.pass(1_000);
    assert_eq!(world.stored(), [0; 0]);
    assert_eq!(world.number("select count(*) from inbox"), 0);
}

#[test]
fn room_messages_stay_until_every_member_has_received_them() {
    let (_home, connection) = database();
    let mut world = World::new(&connection, aged(1_000));
    world.make_room(7, &[1, 2, 3]);
    world.send(0, &[-7]);
    world.send(0, &[2, -7]);
    world.send(0, &[2]);
    world.deliver(2, 3);
    world.pass(5_000);
    assert_eq!(world.stored(), [1, 2], "they wait for peer 3, and not for their sender");
    world.pass(1_000_000);
    assert_eq!(world.stored(), [1, 2], "however long it takes");
    world.deliver(3, 1);
    world.pass(1_000);
    assert_eq!(world.stored(), [2]);
    world.deliver(3, 2);
    world.pass(1_000);
    assert_eq!(world.stored(), [0; 0]);
    assert_eq!(world.number("select count(*) from inbox"), 0);
}

#[test]
fn members_that_join_later_or_leave_hold_back_no_message() {
    let (_home, connection) = database();
    let mut world = World::new(&connection, aged(1_000));
    world.make_room(7, &[1, 2, 3]);
    world.send(0, &[-7]);
    world.turn(vec![join(7, 4)]);
    world.send(0, &[-7]);
    world.deliver(2, 2);
    world.pass(5_000);
    assert_eq!(world.stored(), [1, 2], "both wait for peer 3");
    world.turn(vec![leave(7, 3)]);
    world.pass(900);
    assert_eq!(world.stored(), [2], "peer 4 was not there when the first was sent");
    world.deliver(4, 2);
    world.pass(2_000);
    assert_eq!(world.stored(), [0; 0]);
}

#[test]
fn member_that_is_behind_holds_back_messages_unless_it_sent_them() {
    for (cursors, kept) in [([0, 3, 3], &[][..]), ([0, 0, 3], &[1, 2, 3]), ([3, 3, 1], &[2, 3]), ([3, 2, 3], &[3])] {
        let (_home, connection) = database();
        let mut world = World::new(&connection, aged(1_000));
        world.make_room(7, &[1, 2, 3]);
        for _ in 0..3 {
            world.send(0, &[-7]);
        }
        for (peer, cursor) in (1..).zip(cursors) {
            world.deliver(peer, cursor);
        }
        world.pass(5_000);
        assert_eq!(world.stored(), kept, "cursors {cursors:?}");
    }
}

#[test]
fn inbox_row_of_a_room_is_shortened_and_removed() {
    let (_home, connection) = database();
    let mut world = World::new(&connection, aged(1_000));
    world.make_room(7, &[1, 2, 3]);
    for _ in 0..4 {
        world.send(0, &[-7]);
    }
    world.log.catch_up().unwrap();
    let ends = "select last from inbox where recipient = -7";
    assert_eq!(world.numbers(ends), [4]);
    // The four messages become removable; the fifth waits for peer 4.
    world.deliver(2, 4);
    world.deliver(3, 4);
    world.turn(vec![message(0, 2, &[-7, 4], "waits for peer 4")]);
    world.deliver(1, 5);
    world.deliver(3, 5);
    world.pass(5_000);
    assert_eq!(world.stored(), [5]);
    assert_eq!(world.numbers(INBOX), [5, 5], "of the room and of peer 4");
    world.deliver(4, 5);
    world.pass(1_000);
    assert_eq!(world.number("select count(*) from inbox"), 0);
}

#[test]
fn oldest_messages_are_removed_until_the_database_is_small_enough() {
    let (_home, connection) = database();
    let max_size_bytes = 400_000;
    let mut world = World::new(&connection, sized(max_size_bytes));
    let text = "x".repeat(1000);
    for turn in 1..=100 {
        let cursor = 20 * turn;
        world.turn((0..20).map(|_| message(0, 1, &[2], &text)).chain([record(2, cursor)]).collect());
        assert!(world.used_bytes() <= max_size_bytes, "turn {turn}: {} bytes", world.used_bytes());
        // The database is full from the 16th turn on.
        assert!(turn < 20 || world.used_bytes() > max_size_bytes - 20_000, "turn {turn}: {} bytes", world.used_bytes());
    }
    let kept = world.stored();
    assert_eq!(kept.last(), Some(&2000));
    assert_eq!(kept.len() as i64, 2000 - kept[0] + 1, "there is a gap");
}

#[test]
fn young_message_is_removed_if_the_database_is_too_large() {
    let at = |at_ms| OldMessage {
        seq: Seq::new(1),
        at: Timestamp::from_millis(at_ms),
        sender: PeerId::new(1),
        recipients: vec![],
        text_bytes: 5,
    };
    let both = Retention { max_size_bytes: Some(1), ..aged(100) };
    let clock = Timestamp::from_millis(1_000);
    assert_eq!(reason(both, &at(900), 0, clock), Some(Reason::Age));
    assert_eq!(reason(both, &at(900), 1, clock), Some(Reason::Age));
    assert_eq!(reason(both, &at(901), 0, clock), None);
    assert_eq!(reason(both, &at(901), 1, clock), Some(Reason::Size));
    assert_eq!(reason(both, &at(i64::MAX), 0, clock), None);
    assert_eq!(reason(both, &at(i64::MIN), 0, clock), Some(Reason::Age));
    assert_eq!(reason(aged(u64::MAX), &at(i64::MIN), 0, clock), Some(Reason::Age));
    assert_eq!(reason(aged(u64::MAX), &at(0), 0, clock), None);
}

// Times of steps

#[test]
fn next_scan_is_when_the_next_message_is_too_old_within_bounds() {
    let clock = Timestamp::from_millis(1_000_000);
    let minute = Duration::from_secs(60);
    let scan_delay_ms = |max_age, at_ms| scan_delay(max_age, Timestamp::from_millis(at_ms), clock).as_millis();
    assert_eq!(scan_delay_ms(minute, 990_000), 50_000);
    assert_eq!(scan_delay_ms(minute, 940_000), 1_000, "not more than once a second");
    assert_eq!(scan_delay_ms(minute, 0), 1_000);
    assert_eq!(scan_delay_ms(minute, i64::MAX), 3_600_000, "at least once an hour");
    assert_eq!(scan_delay_ms(Duration::MAX, 0), 3_600_000);
}

#[test]
fn store_never_wakes_without_work_to_wait_for() {
    let (_home, connection) = database();
    let mut world = World::new(&connection, Retention::default());
    world.send(0, &[2]);
    world.deliver(2, 1);
    assert_eq!(world.sweep.wakes_at(), None);

    let (_home, connection) = database();
    let mut world = World::new(&connection, sized(1_000_000));
    world.pass(0);
    world.send(0, &[2, 3]);
    world.deliver(2, 1);
    assert_eq!(world.sweep.wakes_at(), None, "only a turn can make it too large");

    let (_home, connection) = database();
    let mut world = World::new(&connection, aged(1_000));
    world.pass(0);
    assert_eq!(world.sweep.wakes_at(), None, "there is no message");
    world.send(0, &[2, 3]);
    assert_eq!(world.sweep.wakes_at(), Some(world.now.instant + Duration::from_secs(1)));
    world.deliver(2, 1);
    world.pass(1_000);
    assert_eq!(world.sweep.wakes_at(), None, "it waits for peer 3");
    world.deliver(3, 1);
    assert!(world.sweep.wakes_at().is_some());
    world.pass(1_000);
    assert_eq!((world.stored(), world.sweep.wakes_at()), (vec![], None));
}

#[test]
fn next_pass_begins_after_a_cursor_moved_and_later_the_more_messages_wait() {
    let (_home, connection) = database();
    let mut world = World::new(&connection, aged(1));
    let waiting = 3 * 1_000_000 / RETENTION_PASS_US_PER_WAITING as i64;
    world.turn((0..waiting).map(|_| message(-10, 1, &[3], "waits")).collect());
    world.turn(vec![message(-10, 1, &[2], "goes"), record(2, waiting + 1)]);
    world.pass(1_500);
    assert_eq!(world.sweep.walk, Walk { position: Seq::new(waiting + 1), stepped_over: waiting as u64 });
    assert_eq!(world.stored().len() as i64, waiting);

    world.deliver(3, waiting / 2);
    world.pass(1_400);
    assert_eq!(world.stored().len() as i64, waiting, "three seconds for so many");
    world.pass(200);
    assert_eq!(world.stored().len() as i64, waiting - waiting / 2);
}

#[test]
fn flood_makes_steps_longer() {
    let (_home, connection) = database();
    let mut world = World::new(&connection, Retention::default());
    world.turn((0..20_000).map(|_| message(-10, 1, &[2], "goes")).chain([record(2, 20_000)]).collect());
    let scan = |sweep: &mut Sweep<'_>, appended| {
        let scan = sweep.scan(appended, Timestamp::from_millis(0)).unwrap();
        (scan.walk.position.get(), scan.stop)
    };
    let mut sweep = Sweep::new(&connection, aged(1), world.now);
    assert_eq!(scan(&mut sweep, 15_000), (20_000, Stop::End));
    assert_eq!(world.stored().len(), 20_000, "a scan removes nothing");
    let (position, stop) = scan(&mut sweep, 6_000);
    assert!(position >= 12_000, "{position}, {stop:?}");
    let (position, stop) = scan(&mut sweep, 0);
    assert!(position < 20_000 && stop == Stop::Pause, "{position}, {stop:?}");
}

#[test]
fn removals_grow_while_they_are_fast_and_shrink_when_they_are_slow() {
    let (_home, connection) = database();
    let mut sweep = World::new(&connection, aged(1)).sweep;
    let (fast, slow) = (Duration::from_micros(100), Duration::from_millis(2 * RETENTION_STEP_MS));
    sweep.adapt(fast, 10);
    assert_eq!(sweep.proposed_max, RETENTION_CHUNK_ROWS, "it was not full");
    for _ in 0..20 {
        sweep.adapt(fast, sweep.proposed_max as u64);
    }
    assert_eq!(sweep.proposed_max, RETENTION_STEP_MESSAGES_MAX);
    sweep.adapt(slow, 1);
    assert_eq!(sweep.proposed_max, RETENTION_STEP_MESSAGES_MAX / 2);
    (0..20).for_each(|_| sweep.adapt(slow, 1));
    assert_eq!(sweep.proposed_max, RETENTION_CHUNK_ROWS);
}

#[test]
fn one_removal_is_proposed_at_a_time_and_again_if_it_fails() {
    listen();
    let (_home, connection) = database();
    let mut world = World::new(&connection, aged(1));
    for _ in 0..3 {
        world.send(-10, &[3]);
    }
    let seq = |range: &SeqRange| (range.first.get(), range.last.get());
    let turn = |world: &mut World<'_>, entries: Vec<Entry>| {
        let outcome = world.log.turn(TurnRequest { entries, reads: Vec::new() });
        world.sweep.after_turn(&mut world.log, TurnSummary::from(&outcome), world.now)
    };
    world.advance(Duration::from_secs(2));
    turn(&mut world, vec![record(3, 3)]);
    world.advance(Duration::from_secs(2));
    let ranges = world.sweep.on_time(&mut world.log, world.now).expect("the messages are old and delivered");
    assert_eq!(Vec::from_iter(ranges.iter().map(seq)), [(1, 3)]);
    assert_eq!(world.sweep.wakes_at(), None, "it waits for the turn");
    assert_eq!(turn(&mut world, vec![message(-10, 1, &[2], "goes")]), None, "one is in flight");

    connection
        .execute_batch("create temp trigger full before delete on message begin select raise(fail, 'full'); end")
        .unwrap();
    let failed = turn(&mut world, vec![Entry::Remove { ranges }]);
    assert_eq!((failed, world.stored()), (None, vec![1, 2, 3, 4]));
    let words = "WARN cannot remove old messages; trying again every 2 s: the database failed (full)";
    assert_eq!(logged(), [words]);
    connection.execute_batch("drop trigger full").unwrap();
    assert_eq!(world.sweep.wakes_at(), Some(world.now.instant + Duration::from_secs(RETENTION_RETRY_S)));
    world.pass(1000 * RETENTION_RETRY_S);
    assert_eq!(world.stored(), [4]);
}

#[test]
fn removal_keeps_what_waits_and_what_its_own_turn_appends() {
    let (_home, connection) = database();
    let mut world = World::new(&connection, Retention::default());
    world.make_room(7, &[1, 2, 3]);
    world.send(0, &[2]);
    world.send(0, &[2, 3]);
    world.send(0, &[-7]);
    world.send(0, &[2]);
    world.turn(vec![record(2, 4)]);
    let ranges = vec![SeqRange { first: Seq::ZERO, last: Seq::MAX }];
    world.turn(vec![message(0, 1, &[2], "appended"), Entry::Remove { ranges: ranges.clone() }]);
    assert_eq!(world.stored(), [2, 3, 5]);
    world.turn(vec![record(3, 5), Entry::Remove { ranges: ranges.clone() }]);
    assert_eq!(world.stored(), [5]);
    world.turn(vec![record(2, 5), Entry::Remove { ranges }]);
    assert_eq!(world.stored(), [0; 0]);
    assert_eq!(world.number("select count(*) from inbox"), 0, "the tail of the index is written before the removal");
}

#[test]
fn another_writer_delays_removal_only() {
    listen();
    let (home, connection) = database();
    let mut world = World::new(&connection, aged(1_000));
    world.send(0, &[2]);
    world.deliver(2, 1);
    let other = Connection::open(home.path().join("holdline.db")).unwrap();
    other.execute_batch("begin immediate").unwrap();
    let started = Instant::now();
    world.pass(10_000);
    assert!(started.elapsed() < Duration::from_secs(2), "it does not wait for the other process");
    assert_eq!(world.stored(), [1]);
    assert_eq!(
        logged(),
        ["WARN cannot remove old messages; trying again every 2 s: database is locked"],
        "it is logged once"
    );
    other.execute_batch("rollback").unwrap();
    world.pass(1000 * RETENTION_RETRY_S);
    assert_eq!(world.stored(), [0; 0]);
    assert_eq!(world.sweep.retries_at, None);
}

// Log lines

#[test]
fn removal_is_logged_when_it_is_done_and_then_once_an_hour() {
    listen();
    let (_home, connection) = database();
    let mut world = World::new(&connection, aged(60_000));
    let goes = (0..20_000).map(|_| message(0, 1, &[2], "goes"));
    world.turn(goes.chain([message(0, 1, &[3], "stays"), record(2, 20_001)]).collect());
    world.pass(61_000);
    let lines = logged();
    assert_eq!(lines.len(), 1, "many steps, one line: {lines:#?}");
    let words = "INFO removed 20000 messages, up to seq 20000 of 1970-01-01T00:00:00.000Z: 20000 for max_age, 0 for max_size; \
                 1 waits for a recipient and stays; the database uses ";
    assert!(lines[0].starts_with(words), "{}", lines[0]);
    // One message a minute, each removed a minute later.
    for minute in 1..=150 {
        world.turn(vec![message(world.now.clock.millis(), 1, &[2], "goes"), record(2, 20_001 + minute)]);
        world.pass(60_000);
    }
    world.pass(60_000);
    let lines = logged();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    world.sweep.close();
    let lines = [lines, logged()].concat();
    let removed = lines.iter().map(|line| line.split(' ').nth(2).and_then(|word| word.parse::<u32>().ok()).unwrap());
    assert_eq!(removed.sum::<u32>(), 150, "the rest is said at the end: {lines:#?}");
    assert!(lines[2].contains("up to seq 20151 of 1970-01-01T02:"), "{lines:#?}");
}

#[test]
fn database_full_of_waiting_messages_is_logged_once_each_time() {
    listen();
    let (_home, connection) = database();
    let mut world = World::new(&connection, sized(200_000));
    let text = "x".repeat(1000);
    let fill = |world: &mut World<'_>| {
        world.turn((0..100).map(|_| message(0, 1, &[2], &text)).collect());
        world.pass(500);
    };
    fill(&mut world);
    assert_eq!(logged(), [""; 0], "the messages may be in flight only for a moment");
    for _ in 0..10 {
        fill(&mut world);
    }
    let lines = logged();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("more than max_size") && lines[0].contains("200 messages wait"), "{}", lines[0]);
    world.deliver(2, 1_100);
    world.pass(1_000);
    assert_eq!(logged().len(), 1, "the removal is logged");
    world.pass(2 * 1000 * RETENTION_REPORT_S_MIN);
    for _ in 0..4 {
        fill(&mut world);
    }
    assert_eq!(logged().len(), 1, "the database is full again");
}

// State after a removal

#[test]
fn removed_messages_that_are_still_in_an_inbox_are_skipped() {
    let (_home, connection) = database();
    let mut world = World::new(&connection, Retention::default());
    let last = 2 * PAGE_MESSAGES_MAX as i64 + 5;
    world.turn((1..=last).map(|seq| message(0, 1, &[2], &seq.to_string())).collect());
    world.log.catch_up().unwrap();
    connection.execute("delete from message where seq > 1 and seq < ?1", [last]).unwrap();
    assert_eq!(world.history(2, 5), ["1".to_owned(), last.to_string()]);
    let query = PageQuery { peer: PeerId::new(2), after: Seq::new(1), is_addressed: false };
    let page = world.read(Read::Page, query);
    assert_eq!(Vec::from_iter(page.messages.iter().map(|fed| fed.message.seq.get())), [last]);
    assert!(page.complete);
}

#[test]
fn message_after_a_removal_is_synced() {
    let (_home, connection) = database();
    let mut world = World::with(&connection, aged(1), Durability::PowerLoss);
    let synchronous = |world: &World<'_>| world.number("pragma synchronous");
    world.turn(vec![message(0, 1, &[2], "goes"), record(2, 1)]);
    world.pass(1_000);
    assert_eq!(world.stored(), [0; 0]);
    assert_eq!(synchronous(&world), 1, "normal: a removal need not be durable");
    world.send(2_000, &[2]);
    assert_eq!(synchronous(&world), 2, "full");
}

#[test]
fn numbers_continue_after_all_messages_are_removed() {
    let (home, connection) = database();
    let mut world = World::new(&connection, aged(1));
    for _ in 0..10 {
        world.send(-10, &[2, 3]);
    }
    world.deliver(2, 10);
    world.deliver(3, 10);
    world.pass(1_000);
    assert_eq!(world.stored(), [0; 0]);
    let found = crate::store::found(&connection, &home.path().join("holdline.db")).unwrap();
    assert_eq!(found.newest, Seq::new(10));
}

#[test]
fn number_of_a_removed_message_for_an_empty_room_is_not_reused() {
    let (home, connection) = database();
    let mut world = World::new(&connection, aged(1));
    world.make_room(7, &[1]);
    world.send(-10, &[-7]);
    world.pass(1_000);
    assert_eq!(world.stored(), [0; 0], "no peer is to receive it");
    let found = crate::store::found(&connection, &home.path().join("holdline.db")).unwrap();
    assert_eq!(found.newest, Seq::new(1), "its number is not reused");
}

#[test]
fn free_pages_are_given_back_and_the_file_shrinks() {
    let (home, connection) = database();
    let mut world = World::new(&connection, aged(1));
    let file = home.path().join("holdline.db");
    let text = "x".repeat(4_000);
    world.turn((0..1_000).map(|_| message(0, 1, &[2], &text)).collect());
    world.log.wal().checkpoint();
    assert!(file.metadata().unwrap().len() > 4_000_000);
    world.deliver(2, 1_000);
    world.pass(60_000);
    assert_eq!(world.stored(), [0; 0]);
    assert!(file.metadata().unwrap().len() < 4096 * (FREE_PAGES_MIN + 16), "{} bytes", file.metadata().unwrap().len());
    assert_eq!(world.number("select count(*) from pragma_integrity_check where integrity_check <> 'ok'"), 0);
}

#[test]
fn history_finds_waiting_messages_below_a_gap_in_the_chain() {
    let (_home, connection) = database();
    let mut world = World::new(&connection, aged(1_000));
    for number in 1..=40 {
        // Every tenth message waits, and so do those of another sender between them.
        let to = if number % 10 == 0 { 3 } else { 2 };
        world.turn(vec![message(0, 1, &[to], &number.to_string()), message(0, 4, &[3], "another")]);
    }
    world.turn((41..=43).map(|number| message(100_000, 1, &[2], &number.to_string())).collect());
    world.deliver(2, 83);
    world.pass(5_000);
    assert_eq!(world.stored().len(), 4 + 40 + 3);
    assert_eq!(world.history(1, 20), ["10", "20", "30", "40", "41", "42", "43"]);
    assert_eq!(world.history(1, 5), ["30", "40", "41", "42", "43"]);
    assert_eq!(world.history(1, 4), ["40", "41", "42", "43"]);
    assert_eq!(world.history(1, 3), ["41", "42", "43"]);
    assert_eq!(world.history(1, 2), ["42", "43"]);
    assert_eq!(world.history(4, 50).len(), 40);

    let (_home, connection) = database();
    let mut world = World::new(&connection, aged(1_000));
    world.turn(vec![message(0, 1, &[3], "waits"), message(0, 1, &[2], "gone"), record(2, 2)]);
    world.pass(5_000);
    assert_eq!(world.history(1, 20), ["waits"], "the newest is gone, and with it the head of the chain");
    assert_eq!(world.history(2, 20), [""; 0]);
}

/// Step of a random test.
#[derive(Clone, Debug)]
enum Step {
    Send { sender: i64, to: BTreeSet<i64>, copies: usize, bytes: usize },
    Join { room: i64, peer: i64 },
    Leave { room: i64, peer: i64 },
    Deliver { peer: i64, share: u8 },
    Pass { ms: u64 },
    ClockJumps { ms: i64 },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let recipient = || prop_oneof![3 => 1..=PEERS, 2 => -ROOMS..=-1];
    let to = || proptest::collection::btree_set(recipient(), 1..=3);
    let member = || (1..=ROOMS, 1..=PEERS);
    let step = prop_oneof![
        5 => (1..=PEERS, to(), 1..40usize, 1..600usize)
            .prop_map(|(sender, to, copies, bytes)| Step::Send { sender, to, copies, bytes }),
        2 => member().prop_map(|(room, peer)| Step::Join { room, peer }),
        1 => member().prop_map(|(room, peer)| Step::Leave { room, peer }),
        4 => (1..=PEERS, any::<u8>()).prop_map(|(peer, share)| Step::Deliver { peer, share }),
        3 => (0..4_000u64).prop_map(|ms| Step::Pass { ms }),
        1 => (-5_000..5_000i64).prop_map(|ms| Step::ClockJumps { ms }),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Message that was sent.
struct Sent {
    seq: i64,
    at: i64,
    sender: i64,
    /// Recipients; a room is negative.
    to: BTreeSet<i64>,
}

/// Cursor of each peer, and the newest message when it joined each of its rooms.
#[derive(Default)]
struct Readers {
    cursors: BTreeMap<i64, i64>,
    joined: BTreeMap<(i64, i64), i64>,
}

impl Readers {
    /// Whether a message is for a peer, directly or through a room.
    fn reaches(&self, sent: &Sent, peer: i64) -> bool {
        let since = |room: &i64| self.joined.get(&(-room, peer)).is_some_and(|joined| *joined < sent.seq);
        sent.to.contains(&peer) || sent.sender != peer && sent.to.iter().any(since)
    }

    fn waits(&self, sent: &Sent) -> bool {
        (1..=PEERS)
            .any(|peer| self.reaches(sent, peer) && self.cursors.get(&peer).is_none_or(|cursor| *cursor < sent.seq))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn waiting_messages_and_those_behind_a_young_one_stay_and_all_others_are_removed(
        steps in steps(),
        max_age_ms in proptest::option::of(500..4_000u64),
        max_size_bytes in proptest::option::of(60_000..200_000u64),
    ) {
        let retention = Retention { max_age: max_age_ms.map(Duration::from_millis), max_size_bytes };
        let (_home, connection) = database();
        let mut world = World::new(&connection, retention);
        (1..=ROOMS).for_each(|room| world.make_room(room, &[]));
        let mut sent: Vec<Sent> = Vec::new();
        let mut readers = Readers::default();
        for step in steps {
            match step {
                Step::Send { sender, to, copies, bytes } => {
                    let at = world.now.clock.millis();
                    let recipients = Vec::from_iter(to.iter().copied());
                    let text = "x".repeat(bytes);
                    for _ in 0..copies {
                        sent.push(Sent { seq: sent.len() as i64 + 1, at, sender, to: to.clone() });
                    }
                    world.turn((0..copies).map(|_| message(at, sender, &recipients, &text)).collect());
                }
                Step::Join { room, peer } => {
                    if readers.joined.insert((room, peer), sent.len() as i64).is_some() {
                        world.turn(vec![leave(room, peer)]);
                    }
                    world.turn(vec![join(room, peer)]);
                }
                Step::Leave { room, peer } => {
                    if readers.joined.remove(&(room, peer)).is_some() {
                        world.turn(vec![leave(room, peer)]);
                    }
                }
                Step::Deliver { peer, share } => {
                    let cursor = readers.cursors.entry(peer).or_default();
                    *cursor += (sent.len() as i64 - *cursor) * i64::from(share) / 255;
                    world.turn(vec![record(peer, *cursor)]);
                }
                Step::Pass { ms } => world.pass(ms),
                Step::ClockJumps { ms } => {
                    world.now.clock = Timestamp::from_millis((world.now.clock.millis() + ms).max(0));
                }
                Step::Restart => world.sweep = Sweep::new(&connection, retention, world.now),
            }
            let kept: BTreeSet<i64> = world.stored().into_iter().collect();
            for sent in sent.iter().filter(|sent| readers.waits(sent)) {
                assert!(kept.contains(&sent.seq), "{} waited and was removed", sent.seq);
            }
        }
        // After two hours every message that is due was scanned.
        let clock = world.now.clock;
        world.pass(2 * 1000 * RETENTION_CHECK_S_MAX);
        let now = world.now.clock.millis();
        let kept: BTreeSet<i64> = world.stored().into_iter().collect();
        let is_old = |sent: &Sent| max_age_ms.is_some_and(|max_age| now - sent.at >= max_age as i64);
        let is_large = max_size_bytes.is_some_and(|max_size| world.used_bytes() > max_size);
        for sent in sent.iter().take_while(|sent| is_old(sent) || is_large) {
            assert_eq!(kept.contains(&sent.seq), readers.waits(sent), "{} at {}, now {clock}", sent.seq, sent.at);
        }
        if retention == Retention::default() {
            assert_eq!(kept.len(), sent.len());
        }
        // The index and each history contain exactly the messages that are left.
        let inbox: Vec<i64> = world.numbers(&format!("{INBOX} order by seq, recipient"));
        world.log.catch_up().unwrap();
        let endless = "select count(*) from inbox where last not in (select seq from message)";
        assert_eq!(world.number(endless), 0, "a row goes when its last message goes");
        let expected = sent.iter().filter(|sent| kept.contains(&sent.seq));
        assert_eq!(inbox, Vec::from_iter(expected.flat_map(|sent| sent.to.iter().map(|_| sent.seq))));
        for peer in 1..=PEERS {
            let part = sent.iter().filter(|sent| sent.sender == peer || readers.reaches(sent, peer));
            let part = part.filter(|sent| kept.contains(&sent.seq)).count();
            assert_eq!(world.history(peer, 5_000).len(), part, "the history of {peer}");
        }
    }
}
