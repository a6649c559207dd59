//! Tests of scans over a real database: what they find does not depend on how often they are paused, nor on what happens meanwhile.

use std::fs::File;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::config::{Durability, Retention};
use crate::database::{index, reach::OpenFiles, schema};
use crate::limits::{SEARCH_GROUP_RECIPIENTS, SEARCH_INTERRUPTS_MAX};
use crate::message::{PeerId, PeerName, Recipient, Room, RoomId, Text, Timestamp};
use crate::store::wal::WalPages;
use crate::store::{
    Entry, HistoryQuery, HistoryScan, PastPage, PeerRecord, ReadReceiver, SearchScan, StoreOptions, TurnRequest,
    WaitingQuery, WaitingScan,
};

const ALICE: i64 = 1;
const BOB: i64 = 2;
/// Number of rooms; alice and bob are members of all.
const ROOMS: i64 = 3 * SEARCH_GROUP_RECIPIENTS as i64;

fn database() -> (TempDir, Connection) {
    let home = tempfile::tempdir().unwrap();
    let connection = schema::open(&home.path().join("holdline.db")).unwrap();
    (home, connection)
}

/// Opens a log in which a scan does one step in a turn.
fn log(connection: &Connection) -> Log<'_> {
    let path = format!("{}-wal", connection.path().unwrap());
    let wal = (WalPages::default(), File::options().read(true).write(true).open(path).unwrap(), OpenFiles::default());
    let options = StoreOptions::small(Durability::Crash, Retention::default());
    let tail = index::tail(connection, options.limits.index).unwrap();
    let mut log = Log::new(connection, wal, options, Seq::ZERO, tail).unwrap();
    let mut entries = vec![peer(ALICE, "alice"), peer(BOB, "bob"), peer(3, "carol")];
    for room in (1..=ROOMS).map(RoomId::new) {
        entries.push(Entry::Room { id: room, name: Room::parse(&format!("#r{room}")).unwrap(), creator: None });
        entries.extend([ALICE, BOB].map(|peer| Entry::Join { room, peer: PeerId::new(peer) }));
    }
    commit(&mut log, entries);
    log
}

fn peer(id: i64, name: &str) -> Entry {
    let (id, name) = (PeerId::new(id), PeerName::parse(name).unwrap());
    Entry::Peer(PeerRecord { id, name, seen: true, cursor: Seq::ZERO })
}

fn commit(log: &mut Log<'_>, entries: Vec<Entry>) {
    log.turn(TurnRequest { entries, reads: Vec::new() }).commit.unwrap();
}

/// Sends a message to a peer or, if the number is negative, to a room.
fn send(log: &mut Log<'_>, from: i64, to: i64, text: &str) {
    let message = Entry::Message {
        at: Timestamp::from_millis(1000),
        sender: PeerId::new(from),
        recipients: vec![Recipient::numbered(to)],
        text: Text::clean(text).unwrap(),
        id: None,
    };
    commit(log, vec![message]);
}

/// Sends a hundred messages: between alice and bob, and into rooms; every fifth contains the word tea.
fn send_some(log: &mut Log<'_>) {
    for number in 0..100 {
        let to = if number % 3 == 0 { 3 - (1 + number % 2) } else { -(1 + number % ROOMS) };
        let text = format!("{} {number}", if number % 5 == 0 { "tea" } else { "coffee" });
        send(log, 1 + number % 2, to, &text);
    }
}

/// Runs a scan to its end, and `meanwhile` whenever it is paused. Returns the result, and how often it was paused.
fn run(log: &mut Log<'_>, scan: impl Into<Scan>, mut meanwhile: impl FnMut(&mut Log<'_>)) -> (ScanResult, usize) {
    let (mut scan, mut pauses) = (Box::new(scan.into()), 0);
    loop {
        let (reply, outcome) = ReadReceiver::channel();
        log.turn(TurnRequest { entries: Vec::new(), reads: vec![Read::Scan(scan, reply)] });
        match outcome.result().unwrap() {
            ScanOutcome::Done(result) => return (result, pauses),
            ScanOutcome::Paused(paused) => scan = paused,
        }
        pauses += 1;
        meanwhile(log);
    }
}

fn texts((result, _): &(ScanResult, usize)) -> Vec<&str> {
    let ScanResult::Messages(PastPage { messages, .. }) = result else { panic!("{result:?}") };
    messages.iter().map(|past| past.message.text.as_str()).collect()
}

fn tea(count: usize) -> SearchScan {
    SearchScan::new(PeerId::new(ALICE), "tea", count, true).unwrap()
}

#[test]
fn history_is_that_of_its_begin() {
    let (_home, connection) = database();
    let mut log = log(&connection);
    send_some(&mut log);
    for with in [None, Some(BOB), Some(-1)] {
        let with = with.map(Recipient::numbered);
        let query = HistoryQuery { peer: PeerId::new(ALICE), with, before: Seq::MAX, count: 30, is_addressed: true };
        let calm = run(&mut log, HistoryScan::new(query), |_| ());
        let busy = run(&mut log, HistoryScan::new(query), |log| {
            send(log, ALICE, BOB, "later");
            send(log, BOB, -1, "later");
        });
        assert_eq!(busy.0, calm.0, "{with:?}");
        assert!(calm.1 > 1 && !texts(&calm).is_empty());
    }
}

#[test]
fn waiting_messages_are_those_of_the_begin_without_the_peers_own() {
    let (_home, connection) = database();
    let mut log = log(&connection);
    send_some(&mut log);
    let waiting = || WaitingScan::new(WaitingQuery { peer: PeerId::new(ALICE), after: Seq::ZERO });
    let (counted, pauses) = run(&mut log, waiting(), |log| send(log, BOB, ALICE, "later"));
    let expected = (0..100).filter(|number| number % 2 == 1).count() as u64;
    assert_eq!(counted, ScanResult::Waiting(expected));
    assert!(pauses > ROOMS as usize, "each room is a step");
}

#[test]
fn search_merges_the_finds_of_all_rooms() {
    let (_home, connection) = database();
    let mut log = log(&connection);
    send_some(&mut log);
    let all = run(&mut log, tea(100), |log| send(log, ALICE, BOB, "tea later"));
    let expected =
        Vec::from_iter((0..100).rev().filter(|number| number % 5 == 0).map(|number| format!("tea {number}")));
    assert_eq!(texts(&all), expected);
    let some = run(&mut log, SearchScan::new(PeerId::new(ALICE), "tea 95", 7, true).unwrap(), |_| ());
    assert_eq!(texts(&some), ["tea 95"]);
}

#[test]
fn search_returns_the_newest_and_says_that_there_are_more() {
    let (_home, connection) = database();
    let mut log = log(&connection);
    send_some(&mut log);
    for (count, more) in [(7, true), (19, true), (20, false)] {
        let found = run(&mut log, tea(count), |_| ());
        assert_eq!(texts(&found)[..3], ["tea 95", "tea 90", "tea 85"]);
        let ScanResult::Messages(page) = &found.0 else { panic!("{found:?}") };
        assert_eq!((page.messages.len(), page.more), (count, more));
    }
}

#[test]
fn search_that_was_interrupted_too_often_finds_the_same() {
    let (_home, connection) = database();
    let mut log = log(&connection);
    send_some(&mut log);
    send(&mut log, 3, BOB, "coffee that alice may not see, tea 1000");
    for words in ["tea", "tea 45", "coffee 1000"] {
        let search = || SearchScan::new(PeerId::new(ALICE), words, 100, true).unwrap();
        let found = run(&mut log, search(), |_| ()).0;
        let mut interrupted = search();
        (0..SEARCH_INTERRUPTS_MAX).for_each(|_| interrupted.interrupted());
        assert_eq!(run(&mut log, interrupted, |_| ()).0, found, "{words}");
    }
}

#[test]
fn query_is_interrupted_after_its_time_and_the_next_one_is_not() {
    let (_home, connection) = database();
    let mut log = log(&connection);
    let endless = "with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) from n";
    let count = || connection.query_row(endless, [], |row| row.get::<_, i64>(0));
    for _ in 0..3 {
        let result = log.interrupt.after(Duration::from_millis(5), count);
        assert!(result.is_err_and(|error| is_interrupted(&error)));
        assert_eq!(connection.query_row("select 1", [], |row| row.get(0)), Ok(1));
    }
}
