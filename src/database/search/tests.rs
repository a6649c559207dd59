//! Tests of the full-text index over a real database.

use std::path::Path;

use proptest::prelude::*;
use rusqlite::OpenFlags;

use super::*;
use crate::message::PeerId;

/// Limits that are low enough to be reached.
const LIMITS: SearchLimits =
    SearchLimits { step_messages_max: 10, step_bytes_max: 500, scan_messages_max: 100, refused_messages_min: 4 };

const ALICE: i64 = 1;
const BOB: i64 = 2;
const CAROL: i64 = 3;

/// Room 1, by its number in [`Recipient`].
const KITCHEN: i64 = -1;
const GARDEN: i64 = -2;

const SCHEMA: &[&str] = &[
    "create table removed_id (seq integer not null)",
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

/// A log and its full-text index.
struct SearchLog<'c> {
    connection: &'c Connection,
    search: SearchIndex<'c>,
    newest: Seq,
}

impl<'c> SearchLog<'c> {
    fn new(connection: &'c Connection) -> Self {
        SearchLog { connection, search: SearchIndex::new(connection, LIMITS).unwrap(), newest: Seq::ZERO }
    }

    fn send(&mut self, sender: i64, recipients: &str, text: &str) -> Seq {
        self.newest = self.newest.next();
        let row = params![self.newest.get(), sender, recipients, text];
        self.connection.execute("insert into message values (?1, 0, ?2, 0, ?3, ?4)", row).unwrap();
        self.newest
    }

    /// Makes one step in a transaction and commits it.
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

    /// Returns the messages that the owner of the file finds.
    fn all(&mut self, query: &str) -> Vec<i64> {
        let mut seqs = Vec::new();
        let end = self.search.reader().newest_first(&parse(query), None, None, all_into(&mut seqs)).unwrap();
        assert_eq!(end, ScanEnd::Through);
        seqs
    }

    fn found_by(&mut self, searcher: &Viewer, query: &str) -> Vec<i64> {
        let mut seqs = Vec::new();
        let end = self.search.reader().newest_first(&parse(query), Some(searcher), None, all_into(&mut seqs)).unwrap();
        assert_eq!(end, ScanEnd::Through);
        seqs
    }
}

fn parse(query: &str) -> WordQuery {
    WordQuery::parse(query).unwrap_or_else(|| panic!("{query} contains a word"))
}

fn all_into(seqs: &mut Vec<i64>) -> impl FnMut(Seq) -> rusqlite::Result<bool> {
    |seq| {
        seqs.push(seq.get());
        Ok(true)
    }
}

fn searcher(peer: i64, rooms: &[(i64, i64)]) -> Viewer {
    let room = |&(number, joined)| (Recipient::numbered(number).room().unwrap(), Seq::new(joined));
    Viewer::with_rooms(PeerId::new(peer), rooms.iter().map(room).collect())
}

#[test]
fn search_returns_the_messages_with_all_words_newest_first() {
    let connection = database();
    let mut log = SearchLog::new(&connection);
    for text in ["the boiler is cold", "which boiler?", "The BOILER, it is Cold!", "cold soup"] {
        log.send(ALICE, "[2]", text);
    }
    log.catch_up();
    assert_eq!(log.all("cold boiler"), [3, 1]);
    assert_eq!(log.all("boiler"), [3, 2, 1]);
    assert_eq!(log.all("boil"), [0; 0]);
}

#[test]
fn search_finds_only_messages_that_the_peer_sent_or_received() {
    let connection = database();
    let mut log = SearchLog::new(&connection);
    log.send(ALICE, "[2]", "tea");
    log.send(BOB, "[1,3]", "tea");
    log.send(CAROL, "[3]", "tea");
    log.send(ALICE, "[1]", "tea");
    log.catch_up();
    for (peer, expected) in [(ALICE, &[4, 2, 1][..]), (BOB, &[2, 1]), (CAROL, &[3, 2]), (4, &[])] {
        assert_eq!(log.found_by(&searcher(peer, &[]), "tea"), expected, "{peer}");
    }
}

#[test]
fn search_finds_room_messages_from_after_the_join_and_own_ones() {
    let connection = database();
    let mut log = SearchLog::new(&connection);
    log.send(BOB, "[-1]", "tea");
    log.send(ALICE, "[-1]", "tea");
    log.send(CAROL, "[-1]", "tea");
    log.send(CAROL, "[-2]", "tea");
    log.send(CAROL, "[-2,1]", "tea");
    log.catch_up();
    assert_eq!(log.found_by(&searcher(ALICE, &[]), "tea"), [5, 2]);
    assert_eq!(log.found_by(&searcher(ALICE, &[(KITCHEN, 2)]), "tea"), [5, 3, 2]);
    assert_eq!(log.found_by(&searcher(ALICE, &[(KITCHEN, 0), (GARDEN, 3)]), "tea"), [5, 4, 3, 2, 1]);
    assert_eq!(log.found_by(&searcher(BOB, &[(KITCHEN, 3)]), "tea"), [1]);
}

#[test]
fn many_room_messages_from_before_the_join_do_not_hide_older_matches() {
    let connection = database();
    let mut log = SearchLog::new(&connection);
    log.send(BOB, "[1]", "tea");
    for _ in 0..10 * LIMITS.scan_messages_max {
        log.send(BOB, "[-1]", "tea");
    }
    let joined = log.newest.get();
    log.send(BOB, "[-1]", "tea");
    log.catch_up();
    assert_eq!(log.found_by(&searcher(ALICE, &[(KITCHEN, joined), (GARDEN, 3)]), "tea"), [joined + 1, 1]);
}

#[test]
fn search_covers_five_hundred_rooms() {
    let connection = database();
    let mut log = SearchLog::new(&connection);
    for room in 1..=600 {
        log.send(BOB, &format!("[-{room}]"), if room % 100 == 0 { "rare tea" } else { "tea" });
    }
    log.catch_up();
    let rooms = Vec::from_iter((1..=500).map(|room| (-room, 0)));
    assert_eq!(log.found_by(&searcher(ALICE, &rooms), "rare tea"), [500, 400, 300, 200, 100]);
}

#[test]
fn search_stops_when_the_caller_has_enough_and_starts_before_a_given_message() {
    let connection = database();
    let mut log = SearchLog::new(&connection);
    for _ in 0..5 {
        log.send(ALICE, "[2]", "tea");
    }
    log.catch_up();
    let mut seqs = Vec::new();
    let two = |seq: Seq| {
        seqs.push(seq.get());
        Ok(seqs.len() < 2)
    };
    let bob = searcher(BOB, &[]);
    let end = log.search.reader().newest_first(&parse("tea"), Some(&bob), Some(Seq::new(5)), two).unwrap();
    assert_eq!((end, seqs), (ScanEnd::Enough, vec![4, 3]));
}

#[test]
fn search_stops_at_the_scan_limit_and_returns_where() {
    let connection = database();
    let mut log = SearchLog::new(&connection);
    log.send(ALICE, "[2]", "日本語");
    for _ in 0..LIMITS.scan_messages_max {
        log.send(ALICE, "[2]", "日本と本語");
    }
    log.catch_up();
    let mut seqs = Vec::new();
    let end = log.search.reader().newest_first(&parse("日本語"), None, None, all_into(&mut seqs)).unwrap();
    assert_eq!((end, &*seqs), (ScanEnd::DownTo(Seq::new(2)), &[][..]));
    let end = log.search.reader().newest_first(&parse("日本語"), None, Some(Seq::new(2)), all_into(&mut seqs)).unwrap();
    assert_eq!((end, &*seqs), (ScanEnd::Through, &[1][..]));
}

#[test]
fn step_is_bounded_and_returns_whether_it_reached_the_newest_message() {
    let connection = database();
    let mut log = SearchLog::new(&connection);
    assert!(log.step(), "an empty log is indexed");
    for _ in 0..LIMITS.step_messages_max + 1 {
        log.send(ALICE, "[2]", "tea");
    }
    assert!(!log.step());
    assert_eq!(log.search.searched, Seq::new(LIMITS.step_messages_max as i64));
    assert!(log.step());
    assert_eq!(log.search.searched, log.newest);
    log.send(ALICE, "[2]", &"word ".repeat(LIMITS.step_bytes_max));
    log.send(ALICE, "[2]", "tea");
    assert!(!log.step(), "one long text fills a step");
    assert!(log.step());
}

#[test]
fn step_skips_messages_that_were_removed_before_they_were_indexed() {
    let connection = database();
    let mut log = SearchLog::new(&connection);
    for _ in 0..4 {
        log.send(ALICE, "[2]", "tea");
    }
    log.remove(1, 2);
    log.remove(4, 4);
    assert!(log.step());
    assert_eq!((log.search.searched, log.all("tea")), (Seq::new(4), vec![3]));
}

#[test]
fn step_that_was_rolled_back_is_repeated() {
    let connection = database();
    let mut log = SearchLog::new(&connection);
    for _ in 0..2 * LIMITS.step_messages_max {
        log.send(ALICE, "[2]", "tea");
    }
    log.step();
    connection.execute_batch("begin immediate").unwrap();
    assert!(log.search.step(log.newest).unwrap());
    assert!(log.search.is_behind(log.newest), "nothing is committed yet");
    connection.execute_batch("rollback").unwrap();
    log.search.rolled_back();
    assert_eq!(log.all("tea").len(), LIMITS.step_messages_max);
    log.catch_up();
    assert_eq!(log.all("tea").len(), 2 * LIMITS.step_messages_max);
}

#[test]
fn two_steps_share_a_transaction_and_the_next_server_continues_after_them() {
    let connection = database();
    let mut log = SearchLog::new(&connection);
    for _ in 0..2 * LIMITS.step_messages_max {
        log.send(ALICE, "[2]", "tea");
    }
    connection.execute_batch("begin immediate").unwrap();
    log.search.step(log.newest).unwrap();
    assert!(log.search.step(log.newest).unwrap());
    connection.execute_batch("commit").unwrap();
    log.search.committed();
    assert_eq!(log.search.searched, log.newest);
    let newest = log.newest;
    let mut log = SearchLog::new(&connection);
    assert!(!log.search.is_behind(newest));
    assert_eq!(log.all("tea").len(), 2 * LIMITS.step_messages_max);
}

#[test]
fn removed_messages_are_not_found() {
    let connection = database();
    let mut log = SearchLog::new(&connection);
    for number in 1..=6 {
        log.send(ALICE, "[2]", &format!("tea {number}"));
    }
    log.catch_up();
    log.remove(2, 4);
    assert_eq!(log.all("tea"), [6, 5, 1]);
    assert_eq!(log.found_by(&searcher(BOB, &[]), "tea 3"), [0; 0]);
}

#[test]
fn removing_messages_shrinks_the_index() {
    let connection = database();
    let mut log = SearchLog::new(&connection);
    let bytes = |table: &str| -> i64 {
        connection
            .query_row(&format!("select coalesce(sum(length(block)), 0) from {table}"), [], |row| row.get(0))
            .unwrap()
    };
    let empty = bytes("search_data");
    for number in 0..2000 {
        log.send(ALICE, "[2]", &format!("tea number {number}"));
    }
    log.catch_up();
    let full = bytes("search_data");
    assert!(full > empty + 8 * 1024, "{full}");
    for first in (1..=2000).step_by(100) {
        log.remove(first, first + 99);
    }
    let left = bytes("search_data");
    assert!(left < full / 4, "{left} of {full}");
    assert_eq!(log.all("tea"), [0; 0]);
}

#[test]
fn index_made_by_other_rules_is_rebuilt() {
    let connection = database();
    let mut log = SearchLog::new(&connection);
    log.send(ALICE, "[2]", "tea");
    log.send(ALICE, "[2]", "more tea");
    log.catch_up();
    let newest = log.newest;
    connection.execute_batch("update searched set rules = 'others'; delete from message where seq = 1").unwrap();
    let mut log = SearchLog { newest, ..SearchLog::new(&connection) };
    assert_eq!((log.search.searched, log.search.reader().searched().unwrap()), (Seq::ZERO, Seq::ZERO));
    log.send(ALICE, "[2]", "no tea");
    connection.execute_batch("begin immediate").unwrap();
    log.search.step(log.newest).unwrap();
    connection.execute_batch("rollback").unwrap();
    log.search.rolled_back();
    assert_eq!(log.all("tea"), [2], "the old index stays until the new one is committed");
    log.catch_up();
    assert_eq!(log.all("tea"), [3, 2]);
    assert_eq!(SearchIndex::new(&connection, LIMITS).unwrap().searched, Seq::new(3));
}

#[test]
fn removal_leaves_no_token_of_an_index_made_by_other_rules() {
    let connection = database();
    let mut log = SearchLog::new(&connection);
    log.send(ALICE, "[2]", "tea");
    log.send(ALICE, "[2]", "more tea");
    log.catch_up();
    connection.execute_batch("update searched set rules = 'others'").unwrap();
    let mut log = SearchLog { newest: log.newest, ..SearchLog::new(&connection) };
    log.remove(1, 1);
    let tokens = "select count(*) from search_docsize";
    let count = |sql: &str| -> i64 { connection.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(count(tokens), 0);
    log.catch_up();
    assert_eq!((log.all("tea"), count(tokens)), (vec![2], 1));
    log.remove(2, 2);
    assert_eq!((log.all("tea"), count(tokens)), (vec![], 0));
}

#[test]
fn damaged_message_does_not_keep_later_ones_out_of_the_index() {
    let connection = database();
    let mut log = SearchLog::new(&connection);
    connection
        .execute_batch(
            "insert into message values (1, 0, 1, 0, '[2,x]', cast(x'74656120ff' as text));
             insert into message values (2, 0, 1, 0, 7, 5);",
        )
        .unwrap();
    log.newest = Seq::new(2);
    log.send(ALICE, "[2]", "tea");
    log.catch_up();
    assert_eq!(log.found_by(&searcher(BOB, &[]), "tea"), [3, 1]);
}

#[test]
fn backup_contains_a_sound_index() {
    let home = tempfile::tempdir().unwrap();
    let (path, copy) = (home.path().join("holdline.db"), home.path().join("copy.db"));
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("pragma auto_vacuum = incremental; pragma journal_mode = wal").unwrap();
    make(&connection);
    let mut log = SearchLog::new(&connection);
    for number in 0..200 {
        log.send(ALICE, "[2]", &format!("tea {number} 日本語"));
    }
    log.catch_up();
    log.remove(1, 100);
    connection.execute("vacuum into ?1", [copy.to_str().unwrap()]).unwrap();
    for file in [&path, &copy] {
        let reading = read_only(file);
        let integrity: String = reading.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(integrity, "ok");
        let mut search = SearchReader::new(&reading, LIMITS).unwrap();
        assert_eq!(search.searched().unwrap(), Seq::new(200));
        let mut seqs = Vec::new();
        search.newest_first(&parse("日本語"), None, None, all_into(&mut seqs)).unwrap();
        assert_eq!(seqs, Vec::from_iter((101..=200).rev()));
    }
    let connection = Connection::open(&copy).unwrap();
    let mut log = SearchLog { newest: Seq::new(200), ..SearchLog::new(&connection) };
    log.send(ALICE, "[2]", "tea in the copy");
    log.catch_up();
    log.remove(101, 150);
    assert_eq!(log.all("tea").len(), 51);
}

fn read_only(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX).unwrap()
}

/// Texts from a small vocabulary, so that queries match some of them.
fn text_strategy() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[aAbß]{1,2}",
        "[eéèëøoאָ]{1,3}",
        "[우유를पாल்]{1,4}",
        "[👍🏽🎉🇩🇪🇫\u{200D}\u{FE0F}]{1,4}",
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
    fn index_finds_exactly_the_matching_texts(texts in prop::collection::vec(text_strategy(), 1..20), queries in prop::collection::vec(text_strategy(), 8)) {
        let connection = database();
        let mut log = SearchLog::new(&connection);
        for text in &texts {
            log.send(ALICE, "[2]", text);
        }
        log.catch_up();
        for query in queries.iter().chain(&texts) {
            let Some(parsed) = WordQuery::parse(query) else { continue };
            let matching = (1..).zip(&texts).filter(|(_, text)| parsed.matches(text)).map(|(seq, _)| seq);
            let mut matching = Vec::from_iter(matching);
            matching.reverse();
            prop_assert_eq!(log.all(query), &*matching, "{}", query);
            prop_assert_eq!(log.found_by(&searcher(BOB, &[]), query), matching, "{}", query);
        }
    }
}
