//! The search over a real database.

use std::path::Path;

use proptest::prelude::*;
use rusqlite::OpenFlags;

use super::*;

const ALICE: i64 = 1;
const BOB: i64 = 2;
const CAROL: i64 = 3;

/// As [`Recipient`] numbers it.
const KITCHEN: i64 = -1;
const GARDEN: i64 = -2;

const SCHEMA: &[&str] = &[
    include_str!("../../../migrations/0001-log.sql"),
    include_str!("../../../migrations/0002-lagging-index.sql"),
    "create table room (id integer primary key, name text);
     create table member (room, peer, joined, primary key (room, peer)) without rowid;",
    include_str!("../../../migrations/0004-search.sql"),
];

fn database() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    make(&connection);
    connection
}

fn make(connection: &Connection) {
    SCHEMA.iter().for_each(|sql| connection.execute_batch(sql).unwrap());
}

/// A log, and the index over it.
struct World<'c> {
    connection: &'c Connection,
    search: Search<'c>,
    newest: Seq,
}

impl<'c> World<'c> {
    fn new(connection: &'c Connection) -> Self {
        World { connection, search: Search::new(connection).unwrap(), newest: Seq::ZERO }
    }

    fn send(&mut self, sender: i64, recipients: &str, text: &str) -> Seq {
        self.newest = self.newest.next();
        let row = params![self.newest.get(), sender, recipients, text];
        self.connection.execute("insert into message values (?1, 0, ?2, 0, ?3, ?4)", row).unwrap();
        self.newest
    }

    /// In a transaction that is committed.
    fn step(&mut self) -> bool {
        self.connection.execute_batch("begin immediate").unwrap();
        let is_done = self.search.step(self.newest).unwrap();
        self.connection.execute_batch("commit").unwrap();
        self.search.committed();
        is_done
    }

    fn catch_up(&mut self) {
        while !self.step() {}
        assert!(!self.search.is_behind(self.newest));
    }

    fn remove(&mut self, first: i64, last: i64) {
        self.connection.execute_batch("begin immediate").unwrap();
        self.search.remove(Seq::new(first), Seq::new(last)).unwrap();
        self.connection.execute("delete from message where seq between ?1 and ?2", [first, last]).unwrap();
        self.connection.execute_batch("commit").unwrap();
    }

    /// What the owner of the file finds.
    fn all(&mut self, question: &str) -> Vec<i64> {
        let mut seqs = Vec::new();
        let looked = self.search.asking().everything(&parse(question), None, all_into(&mut seqs)).unwrap();
        assert_eq!(looked, ScanEnd::Through);
        seqs
    }

    fn found_by(&mut self, reader: &Reader, question: &str) -> Vec<i64> {
        let mut seqs = Vec::new();
        let looked = self.search.asking().newest_first(&parse(question), reader, None, all_into(&mut seqs)).unwrap();
        assert_eq!(looked, ScanEnd::Through);
        seqs
    }
}

fn parse(question: &str) -> Question {
    Question::parse(question).unwrap_or_else(|| panic!("{question} holds a word"))
}

fn all_into(seqs: &mut Vec<i64>) -> impl FnMut(Seq) -> rusqlite::Result<bool> {
    |seq| {
        seqs.push(seq.get());
        Ok(true)
    }
}

fn reader(peer: i64, rooms: &[(i64, i64)]) -> Reader {
    let room = |&(number, joined)| (Recipient::numbered(number).room().unwrap(), Seq::new(joined));
    Reader { peer: PeerId::new(peer), rooms: rooms.iter().map(room).collect() }
}

#[test]
fn messages_that_hold_all_words_are_found_the_newest_first() {
    let connection = database();
    let mut world = World::new(&connection);
    for text in ["the boiler is cold", "which boiler?", "The BOILER, it is Cold!", "cold soup"] {
        world.send(ALICE, "[2]", text);
    }
    world.catch_up();
    assert_eq!(world.all("cold boiler"), [3, 1]);
    assert_eq!(world.all("boiler"), [3, 2, 1]);
    assert_eq!(world.all("boil"), [0; 0]);
}

#[test]
fn one_finds_what_one_sent_or_was_sent_and_nothing_else() {
    let connection = database();
    let mut world = World::new(&connection);
    world.send(ALICE, "[2]", "tea");
    world.send(BOB, "[1,3]", "tea");
    world.send(CAROL, "[3]", "tea");
    world.send(ALICE, "[1]", "tea");
    world.catch_up();
    for (peer, expected) in [(ALICE, &[4, 2, 1][..]), (BOB, &[2, 1]), (CAROL, &[3, 2]), (4, &[])] {
        assert_eq!(world.found_by(&reader(peer, &[]), "tea"), expected, "{peer}");
    }
}

#[test]
fn in_a_room_one_finds_what_was_sent_after_one_joined_and_ones_own() {
    let connection = database();
    let mut world = World::new(&connection);
    world.send(BOB, "[-1]", "tea");
    world.send(ALICE, "[-1]", "tea");
    world.send(CAROL, "[-1]", "tea");
    world.send(CAROL, "[-2]", "tea");
    world.send(CAROL, "[-2,1]", "tea");
    world.catch_up();
    assert_eq!(world.found_by(&reader(ALICE, &[]), "tea"), [5, 2]);
    assert_eq!(world.found_by(&reader(ALICE, &[(KITCHEN, 2)]), "tea"), [5, 3, 2]);
    assert_eq!(world.found_by(&reader(ALICE, &[(KITCHEN, 0), (GARDEN, 3)]), "tea"), [5, 4, 3, 2, 1]);
    assert_eq!(world.found_by(&reader(BOB, &[(KITCHEN, 3)]), "tea"), [1]);
}

#[test]
fn what_a_room_held_long_before_one_joined_does_not_hide_what_is_older() {
    let connection = database();
    let mut world = World::new(&connection);
    world.send(BOB, "[1]", "tea");
    for _ in 0..10 * SEARCH_SCAN_MESSAGES_MAX {
        world.send(BOB, "[-1]", "tea");
    }
    let joined = world.newest.get();
    world.send(BOB, "[-1]", "tea");
    world.catch_up();
    assert_eq!(world.found_by(&reader(ALICE, &[(KITCHEN, joined), (GARDEN, 3)]), "tea"), [joined + 1, 1]);
}

#[test]
fn one_who_is_in_five_hundred_rooms_finds_what_is_in_each() {
    let connection = database();
    let mut world = World::new(&connection);
    for room in 1..=600 {
        world.send(BOB, &format!("[-{room}]"), if room % 100 == 0 { "rare tea" } else { "tea" });
    }
    world.catch_up();
    let rooms = Vec::from_iter((1..=500).map(|room| (-room, 0)));
    assert_eq!(world.found_by(&reader(ALICE, &rooms), "rare tea"), [500, 400, 300, 200, 100]);
}

#[test]
fn a_search_ends_when_its_caller_has_enough_and_goes_on_before_a_message() {
    let connection = database();
    let mut world = World::new(&connection);
    for _ in 0..5 {
        world.send(ALICE, "[2]", "tea");
    }
    world.catch_up();
    let mut seqs = Vec::new();
    let two = |seq: Seq| {
        seqs.push(seq.get());
        Ok(seqs.len() < 2)
    };
    let bob = reader(BOB, &[]);
    let looked = world.search.asking().newest_first(&parse("tea"), &bob, Some(Seq::new(5)), two).unwrap();
    assert_eq!((looked, seqs), (ScanEnd::Enough, vec![4, 3]));
}

#[test]
fn a_search_that_would_look_at_too_much_says_how_far_it_went() {
    let connection = database();
    let mut world = World::new(&connection);
    world.send(ALICE, "[2]", "日本語");
    for _ in 0..SEARCH_SCAN_MESSAGES_MAX {
        world.send(ALICE, "[2]", "日本と本語");
    }
    world.catch_up();
    let mut seqs = Vec::new();
    let looked = world.search.asking().everything(&parse("日本語"), None, all_into(&mut seqs)).unwrap();
    assert_eq!((looked, &*seqs), (ScanEnd::DownTo(Seq::new(2)), &[][..]));
    let looked = world.search.asking().everything(&parse("日本語"), Some(Seq::new(2)), all_into(&mut seqs)).unwrap();
    assert_eq!((looked, &*seqs), (ScanEnd::Through, &[1][..]));
}

#[test]
fn a_step_is_bounded_and_says_whether_it_reached_the_newest() {
    let connection = database();
    let mut world = World::new(&connection);
    assert!(world.step(), "an empty log is searched");
    for _ in 0..SEARCH_STEP_MESSAGES_MAX + 1 {
        world.send(ALICE, "[2]", "tea");
    }
    assert!(!world.step());
    assert_eq!(world.search.searched(), Seq::new(SEARCH_STEP_MESSAGES_MAX as i64));
    assert!(world.step());
    assert_eq!(world.search.searched(), world.newest);
    world.send(ALICE, "[2]", &"word ".repeat(SEARCH_STEP_BYTES_MAX));
    world.send(ALICE, "[2]", "tea");
    assert!(!world.step(), "one long text is enough for a step");
    assert!(world.step());
}

#[test]
fn what_was_removed_before_it_was_indexed_is_passed_over() {
    let connection = database();
    let mut world = World::new(&connection);
    for _ in 0..4 {
        world.send(ALICE, "[2]", "tea");
    }
    world.remove(1, 2);
    world.remove(4, 4);
    assert!(world.step());
    assert_eq!((world.search.searched(), world.all("tea")), (Seq::new(4), vec![3]));
}

#[test]
fn a_step_that_is_rolled_back_is_made_again() {
    let connection = database();
    let mut world = World::new(&connection);
    for _ in 0..2 * SEARCH_STEP_MESSAGES_MAX {
        world.send(ALICE, "[2]", "tea");
    }
    world.step();
    connection.execute_batch("begin immediate").unwrap();
    assert!(world.search.step(world.newest).unwrap());
    assert!(world.search.is_behind(world.newest), "nothing is committed yet");
    connection.execute_batch("rollback").unwrap();
    world.search.rolled_back();
    assert_eq!(world.all("tea").len(), SEARCH_STEP_MESSAGES_MAX);
    world.catch_up();
    assert_eq!(world.all("tea").len(), 2 * SEARCH_STEP_MESSAGES_MAX);
}

#[test]
fn two_steps_fit_one_transaction_and_the_next_server_goes_on_behind_them() {
    let connection = database();
    let mut world = World::new(&connection);
    for _ in 0..2 * SEARCH_STEP_MESSAGES_MAX {
        world.send(ALICE, "[2]", "tea");
    }
    connection.execute_batch("begin immediate").unwrap();
    world.search.step(world.newest).unwrap();
    assert!(world.search.step(world.newest).unwrap());
    connection.execute_batch("commit").unwrap();
    world.search.committed();
    assert_eq!(world.search.searched(), world.newest);
    let newest = world.newest;
    let mut world = World::new(&connection);
    assert!(!world.search.is_behind(newest));
    assert_eq!(world.all("tea").len(), 2 * SEARCH_STEP_MESSAGES_MAX);
}

#[test]
fn what_is_removed_from_the_log_is_found_no_more() {
    let connection = database();
    let mut world = World::new(&connection);
    for number in 1..=6 {
        world.send(ALICE, "[2]", &format!("tea {number}"));
    }
    world.catch_up();
    world.remove(2, 4);
    assert_eq!(world.all("tea"), [6, 5, 1]);
    assert_eq!(world.found_by(&reader(BOB, &[]), "tea 3"), [0; 0]);
}

#[test]
fn an_index_of_what_was_removed_gives_its_room_back() {
    let connection = database();
    let mut world = World::new(&connection);
    let bytes = |table: &str| -> i64 {
        connection
            .query_row(&format!("select coalesce(sum(length(block)), 0) from {table}"), [], |row| row.get(0))
            .unwrap()
    };
    let empty = bytes("search_data");
    for number in 0..2000 {
        world.send(ALICE, "[2]", &format!("tea number {number}"));
    }
    world.catch_up();
    let full = bytes("search_data");
    assert!(full > empty + 8 * 1024, "{full}");
    for first in (1..=2000).step_by(100) {
        world.remove(first, first + 99);
    }
    let left = bytes("search_data");
    assert!(left < full / 4, "{left} of {full}");
    assert_eq!(world.all("tea"), [0; 0]);
}

#[test]
fn an_index_by_other_rules_is_made_anew() {
    let connection = database();
    let mut world = World::new(&connection);
    world.send(ALICE, "[2]", "tea");
    world.send(ALICE, "[2]", "more tea");
    world.catch_up();
    let newest = world.newest;
    connection.execute_batch("update searched set rules = 'others'; delete from message where seq = 1").unwrap();
    let mut world = World { newest, ..World::new(&connection) };
    assert_eq!((world.search.searched(), world.search.asking().searched().unwrap()), (Seq::ZERO, Seq::ZERO));
    world.send(ALICE, "[2]", "no tea");
    connection.execute_batch("begin immediate").unwrap();
    world.search.step(world.newest).unwrap();
    connection.execute_batch("rollback").unwrap();
    world.search.rolled_back();
    assert_eq!(world.all("tea"), [2], "the old one is there until the new one is");
    world.catch_up();
    assert_eq!(world.all("tea"), [3, 2]);
    assert_eq!(Search::new(&connection).unwrap().searched(), Seq::new(3));
}

#[test]
fn a_damaged_message_does_not_hold_back_those_behind_it() {
    let connection = database();
    let mut world = World::new(&connection);
    connection
        .execute_batch(
            "insert into message values (1, 0, 1, 0, '[2,x]', cast(x'74656120ff' as text));
             insert into message values (2, 0, 1, 0, 7, 5);",
        )
        .unwrap();
    world.newest = Seq::new(2);
    world.send(ALICE, "[2]", "tea");
    world.catch_up();
    assert_eq!(world.found_by(&reader(BOB, &[]), "tea"), [3, 1]);
}

#[test]
fn a_backup_holds_the_index_and_both_are_sound() {
    let home = tempfile::tempdir().unwrap();
    let (path, copy) = (home.path().join("holdline.db"), home.path().join("copy.db"));
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("pragma auto_vacuum = incremental; pragma journal_mode = wal").unwrap();
    make(&connection);
    let mut world = World::new(&connection);
    for number in 0..200 {
        world.send(ALICE, "[2]", &format!("tea {number} 日本語"));
    }
    world.catch_up();
    world.remove(1, 100);
    connection.execute("vacuum into ?1", [copy.to_str().unwrap()]).unwrap();
    for file in [&path, &copy] {
        let reading = read_only(file);
        let said: String = reading.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(said, "ok");
        let mut asking = SearchReader::new(&reading).unwrap();
        assert_eq!(asking.searched().unwrap(), Seq::new(200));
        let mut seqs = Vec::new();
        asking.everything(&parse("日本語"), None, all_into(&mut seqs)).unwrap();
        assert_eq!(seqs, Vec::from_iter((101..=200).rev()));
    }
    let connection = Connection::open(&copy).unwrap();
    let mut world = World { newest: Seq::new(200), ..World::new(&connection) };
    world.send(ALICE, "[2]", "tea in the copy");
    world.catch_up();
    world.remove(101, 150);
    assert_eq!(world.all("tea").len(), 51);
}

fn read_only(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX).unwrap()
}

/// Texts of few words, so that questions find something.
fn texts() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[aAbß]{1,2}",
        "[日本語ー]{1,4}",
        "[ที่ก\u{300}\u{363}]{1,4}",
        "[ -~]",
        "\\PC",
        Just("ｶﾞ".to_owned()),
        Just("x".repeat(70)),
        Just("\0".to_owned()),
    ];
    let blank = prop_oneof![Just(" "), Just(""), Just("-")];
    prop::collection::vec((part, blank), 1..8)
        .prop_map(|parts| parts.into_iter().flat_map(|(part, blank)| [part, blank.to_owned()]).collect())
}

proptest! {
    #[test]
    fn the_index_finds_what_matches(texts in prop::collection::vec(texts(), 1..20), questions in prop::collection::vec(texts(), 8)) {
        let connection = database();
        let mut world = World::new(&connection);
        for text in &texts {
            world.send(ALICE, "[2]", text);
        }
        world.catch_up();
        for question in questions.iter().chain(&texts) {
            let Some(parsed) = Question::parse(question) else { continue };
            let matching = (1..).zip(&texts).filter(|(_, text)| parsed.matches(text)).map(|(seq, _)| seq);
            let mut matching = Vec::from_iter(matching);
            matching.reverse();
            prop_assert_eq!(world.all(question), &*matching, "{}", question);
            prop_assert_eq!(world.found_by(&reader(BOB, &[]), question), matching, "{}", question);
        }
    }
}
