//! Tests of observers' pages over a real database: their order, their start, and the names of offline recipients.

use std::fs::File;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::config::{Durability, Retention};
use crate::limits::{AWAY_NAMES_MAX, TEXT_BYTES_MAX};
use crate::message::{Destination, Recipient, Room, RoomId, Text, Timestamp};
use crate::store::log::Log;
use crate::store::wal::WalPages;
use crate::store::{
    Entry, EventKind, ObservedQuery, OpenFiles, PeerEvent, PeerRecord, Read, ReadReceiver, TurnRequest, index, schema,
};
use crate::store::{StoreLimits, StoreOptions};

const ALL: EventFilter = EventFilter { logged: true, join: true, leave: true, delivered: true };
const MESSAGES: EventFilter = EventFilter { logged: true, join: false, leave: false, delivered: false };
const EVENTS: EventFilter = EventFilter { logged: false, ..ALL };

/// Names of peers 1 to 4; the last one is the observer.
const NAMES: [&str; 4] = ["alice", "bob", "carol", "bot"];
const BOT: PeerId = PeerId::new(4);
const ROOM: RoomId = RoomId::new(1);

fn database() -> (TempDir, Connection) {
    let home = tempfile::tempdir().unwrap();
    let connection = schema::open(&home.path().join("holdline.db")).unwrap();
    (home, connection)
}

fn log(connection: &Connection) -> Log<'_> {
    log_with(connection, StoreLimits::SMALL)
}

fn log_with(connection: &Connection, limits: StoreLimits) -> Log<'_> {
    let path = format!("{}-wal", connection.path().unwrap());
    let wal = (WalPages::default(), File::options().read(true).write(true).open(path).unwrap(), OpenFiles::default());
    let newest = connection.query_row(&format!("select {}", schema::NEWEST), [], |row| row.get(0).map(Seq::new));
    let options = StoreOptions { limits, ..StoreOptions::new(Durability::Crash, Retention::default()) };
    let tail = index::tail(connection, options.limits.index).unwrap();
    let mut log = Log::new(connection, wal, options, newest.unwrap(), tail).unwrap();
    commit(&mut log, NAMES.iter().zip(1..).map(|(name, id)| peer(id, name, 0)).collect());
    log
}

fn commit(log: &mut Log<'_>, entries: Vec<Entry>) {
    log.turn(TurnRequest { entries, reads: Vec::new() }).commit.unwrap();
}

/// Reads the bot's next page, while the peers in `online` are online.
fn page_from(
    log: &mut Log<'_>,
    after: Option<ObserverCursor>,
    wants: EventFilter,
    online: &[i64],
) -> Option<ObservedPage> {
    let online = online.iter().map(|peer| PeerId::new(*peer)).collect();
    let (reply, page) = ReadReceiver::channel();
    let read = Read::Observed(ObservedQuery { observer: BOT, after, wants, online }, reply);
    log.turn(TurnRequest { entries: Vec::new(), reads: vec![read] });
    page.result().unwrap()
}

fn page(log: &mut Log<'_>, wants: EventFilter) -> ObservedPage {
    page_from(log, None, wants, &[]).expect("the bot observes")
}

fn peer(id: i64, name: &str, cursor: i64) -> Entry {
    let (id, name, cursor) = (PeerId::new(id), PeerName::parse(name).unwrap(), Seq::new(cursor));
    Entry::Peer(PeerRecord { id, name, seen: true, cursor })
}

/// Returns a message from one peer to others; negative numbers are rooms.
fn message(from: i64, to: &[i64], text: &str) -> Entry {
    Entry::Message {
        at: Timestamp::from_millis(1000),
        sender: PeerId::new(from),
        recipients: to.iter().map(|to| Recipient::numbered(*to)).collect(),
        text: Text::clean(text).unwrap(),
        id: None,
    }
}

fn event(kind: EventKind, peer: i64) -> Entry {
    Entry::Event(PeerEvent { at: Timestamp::from_millis(2000), kind, peer: PeerId::new(peer) })
}

fn observe(wants: EventFilter) -> Entry {
    Entry::Observe { observer: BOT, wants }
}

fn saw(seq: i64, event: i64) -> Entry {
    Entry::ObserverAdvanced { observer: BOT, seen: seen(seq, event) }
}

fn seen(seq: i64, event: i64) -> ObserverCursor {
    ObserverCursor { seq: Seq::new(seq), event }
}

/// Formats a page in short: `1 alice→bob: hi`, `+alice`, `-alice`, `alice has 1`.
fn short(page: &ObservedPage) -> Vec<String> {
    let short = |thing: &Observed| match thing {
        Observed::Logged { message, .. } => {
            let to: Vec<&str> = message.to.iter().map(Destination::as_str).collect();
            format!("{} {}→{}: {}", message.seq, message.sender, to.join(","), message.text)
        }
        Observed::Joined { name, .. } => format!("+{name}"),
        Observed::Left { name, .. } => format!("-{name}"),
        Observed::Delivered { name, seq, .. } => format!("{name} has {seq}"),
    };
    page.items.iter().map(short).collect()
}

/// Returns the names of the offline recipients of each message.
fn away(page: &ObservedPage) -> Vec<Vec<&str>> {
    let away = |thing: &Observed| match thing {
        Observed::Logged { away, .. } => {
            NAMES.into_iter().filter(|name| away.iter().any(|(_, away)| away.as_str() == *name)).collect()
        }
        _ => Vec::new(),
    };
    page.items.iter().map(away).collect()
}

#[test]
fn page_merges_messages_and_events_in_order_without_the_observers_own() {
    let (_home, connection) = database();
    let mut log = log(&connection);
    commit(&mut log, vec![message(1, &[2], "before"), event(EventKind::Join, 3), observe(ALL)]);
    commit(
        &mut log,
        vec![
            event(EventKind::Join, 1),
            message(1, &[2, 3], "one"),
            message(4, &[1], "mine"),
            event(EventKind::Join, 4),
            event(EventKind::Leave, 1),
            message(2, &[1], "two"),
        ],
    );
    commit(&mut log, vec![event(EventKind::Delivered(Seq::new(2)), 2)]);
    let page = page(&mut log, ALL);
    assert_eq!(short(&page), ["+alice", "2 alice→bob,carol: one", "-alice", "4 bob→alice: two", "bob has 2"]);
    assert_eq!((page.after, page.seen, page.complete), (seen(1, 1), seen(4, 5), true));
}

#[test]
fn observer_gets_only_the_kinds_that_it_wants() {
    let (_home, connection) = database();
    let mut log = log(&connection);
    let kinds = [EventKind::Join, EventKind::Leave, EventKind::Delivered(Seq::ZERO)];
    let nothing = EventFilter::default();
    for (wants, told) in [
        (nothing, &[][..]),
        (EventFilter { logged: true, ..nothing }, &["alice→bob: hi"]),
        (EventFilter { join: true, ..nothing }, &["+alice"]),
        (EventFilter { leave: true, ..nothing }, &["-alice"]),
        (EventFilter { delivered: true, ..nothing }, &["alice has 0"]),
    ] {
        commit(&mut log, vec![Entry::RetainObservers { only: Vec::new() }, observe(wants)]);
        commit(&mut log, kinds.iter().map(|kind| event(*kind, 1)).chain([message(1, &[2], "hi")]).collect());
        let page = page(&mut log, wants);
        let short: Vec<String> = short(&page)
            .iter()
            .map(|short| short.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').to_owned())
            .collect();
        assert_eq!(short, told);
        assert!(page.complete);
    }
}

#[test]
fn registering_again_keeps_the_cursor_and_new_kinds_start_at_that_time() {
    let (_home, connection) = database();
    let mut log = log(&connection);
    assert_eq!(page_from(&mut log, None, ALL, &[]), None, "the bot is not registered");
    commit(&mut log, vec![observe(EVENTS)]);
    commit(&mut log, vec![message(1, &[2], "one"), event(EventKind::Join, 1)]);
    commit(&mut log, vec![observe(EVENTS)]);
    assert_eq!(short(&page(&mut log, EVENTS)), ["+alice"]);
    commit(&mut log, vec![observe(ALL), message(1, &[2], "two")]);
    assert_eq!(short(&page(&mut log, ALL)), ["+alice", "2 alice→bob: two"]);
    commit(&mut log, vec![observe(MESSAGES), observe(ALL)]);
    assert_eq!(
        short(&page(&mut log, ALL)),
        ["2 alice→bob: two"],
        "events from the time when events were not wanted are skipped"
    );
}

#[test]
fn cursor_is_stored_and_never_moves_back() {
    let (_home, connection) = database();
    let mut log = log(&connection);
    commit(&mut log, vec![observe(ALL)]);
    let happens = (0..3).flat_map(|_| [message(1, &[2], "hi"), event(EventKind::Join, 1)]).collect();
    commit(&mut log, happens);
    commit(&mut log, vec![saw(2, 1)]);
    commit(&mut log, vec![saw(1, 2), saw(0, 0)]);
    assert_eq!(short(&page(&mut log, ALL)), ["3 alice→bob: hi", "+alice"]);
    let from_the_begin = page_from(&mut log, Some(ObserverCursor::START), MESSAGES, &[]).unwrap();
    assert_eq!(from_the_begin.items.len(), 3, "a page starts at the given cursor");
}

#[test]
fn observers_that_are_not_listed_are_removed() {
    let (_home, connection) = database();
    let mut log = log(&connection);
    let bot = PeerName::parse("bot").unwrap();
    commit(&mut log, vec![observe(ALL), Entry::Observe { observer: PeerId::new(1), wants: ALL }]);
    commit(&mut log, vec![Entry::RetainObservers { only: vec![bot, PeerName::parse("nobody").unwrap()] }]);
    let observers = || {
        connection
            .query_row("select group_concat(peer) from observer", [], |row| row.get::<_, Option<String>>(0))
            .unwrap()
    };
    assert_eq!(observers().as_deref(), Some("4"));
    commit(&mut log, vec![Entry::RetainObservers { only: Vec::new() }]);
    assert_eq!(observers(), None);
}

#[test]
fn page_is_bounded_in_items_and_in_bytes() {
    let (_home, connection) = database();
    let mut log = log(&connection);
    commit(&mut log, vec![observe(ALL)]);
    commit(
        &mut log,
        (0..OBSERVATIONS_MAX + 1).flat_map(|_| [message(1, &[2], "hi"), event(EventKind::Join, 1)]).collect(),
    );
    let first = page(&mut log, ALL);
    assert_eq!((first.items.len(), first.complete), (OBSERVATIONS_MAX, false));
    assert_eq!(first.seen, seen(OBSERVATIONS_MAX as i64 / 2, OBSERVATIONS_MAX as i64 / 2));
    let (mut after, mut items) = (first.seen, first.items.len());
    while let Some(next) = page_from(&mut log, Some(after), ALL, &[]).filter(|page| !page.items.is_empty()) {
        (after, items) = (next.seen, items + next.items.len());
    }
    assert_eq!(items, 2 * (OBSERVATIONS_MAX + 1));

    let (_home, connection) = database();
    let mut log = self::log(&connection);
    let large = "x".repeat(TEXT_BYTES_MAX);
    commit(&mut log, vec![observe(ALL)]);
    commit(&mut log, (0..20).map(|_| message(1, &[2], &large)).collect());
    let page = page(&mut log, ALL);
    assert_eq!((page.items.len(), page.complete), (PAGE_BYTES_MAX.div_ceil(TEXT_BYTES_MAX), false));
}

#[test]
fn page_skips_a_bounded_number_of_the_observers_own_messages() {
    let (_home, connection) = database();
    let mut log = log(&connection);
    commit(&mut log, vec![observe(ALL)]);
    commit(
        &mut log,
        (0..=StoreLimits::SMALL.observed_skipped_max)
            .map(|_| message(4, &[1], "mine"))
            .chain([message(1, &[4], "hi")])
            .collect(),
    );
    let first = page(&mut log, ALL);
    assert_eq!(
        (short(&first).len(), first.seen.seq.get(), first.complete),
        (0, StoreLimits::SMALL.observed_skipped_max as i64, false)
    );
    let next = page_from(&mut log, Some(first.seen), ALL, &[]).unwrap();
    assert_eq!((next.items.len(), next.complete), (1, true));
}

#[test]
fn page_without_time_passes_one_event_that_the_observer_does_not_want() {
    let (_home, connection) = database();
    let mut limits = StoreLimits::SMALL;
    (limits.reads.turn, limits.reads.commit_turn) = (Duration::ZERO, (Duration::ZERO, Duration::ZERO));
    let mut log = log_with(&connection, limits);
    let leaves = EventFilter { leave: true, ..EventFilter::default() };
    commit(&mut log, vec![observe(leaves)]);
    let joins = (0..200).map(|_| event(EventKind::Join, 1));
    commit(&mut log, joins.chain([event(EventKind::Leave, 2), event(EventKind::Leave, 4)]).collect());
    let mut after = None;
    for number in 1..=200 {
        let page = page_from(&mut log, after, leaves, &[]).unwrap();
        assert_eq!((page.items.len(), page.seen.event, page.complete), (0, number, false));
        after = Some(page.seen);
    }
    let page = page_from(&mut log, after, leaves, &[]).unwrap();
    assert_eq!((short(&page), page.complete), (vec!["-bob".to_owned()], false));
    let after = page.seen;
    let page = page_from(&mut log, Some(after), leaves, &[]).unwrap();
    assert_eq!((page.items.len(), page.seen.event), (0, 202), "the observer's own");
    assert!(page_from(&mut log, Some(page.seen), leaves, &[]).unwrap().complete);
}

#[test]
fn page_skips_removed_messages_and_events() {
    let (_home, connection) = database();
    let mut log = log(&connection);
    commit(&mut log, vec![observe(ALL)]);
    commit(&mut log, (0..3).flat_map(|_| [message(1, &[2], "hi"), event(EventKind::Join, 1)]).collect());
    connection.execute_batch("delete from message where seq < 3; delete from event where id < 2").unwrap();
    assert_eq!(short(&page(&mut log, ALL)), ["+alice", "3 alice→bob: hi", "+alice"]);
    connection.execute_batch("delete from message; delete from event").unwrap();
    let page = page(&mut log, ALL);
    assert_eq!((page.items.len(), page.seen, page.complete), (0, seen(3, 3), true));
}

#[test]
fn away_names_recipients_who_are_offline_and_have_not_received_the_message() {
    let (_home, connection) = database();
    let mut log = log(&connection);
    let room = Entry::Room { id: ROOM, name: Room::stored("#home"), creator: None };
    let join = |peer| Entry::Join { room: ROOM, peer: PeerId::new(peer) };
    // Carol joins the room after the first message.
    commit(&mut log, vec![observe(MESSAGES), room, join(1), join(2), message(1, &[-1], "one"), join(3)]);
    commit(&mut log, vec![message(1, &[2, -1, 3], "two"), message(2, &[1, 2], "three")]);
    let read = |log: &mut Log<'_>, here| page_from(log, None, MESSAGES, here).unwrap();
    assert_eq!(away(&read(&mut log, &[])), [vec!["bob"], vec!["bob", "carol"], vec!["alice"]]);
    assert_eq!(away(&read(&mut log, &[2])), [vec![], vec!["carol"], vec!["alice"]]);
    assert_eq!(away(&read(&mut log, &[1, 2, 3])), [vec![""; 0], vec![], vec![]]);
    commit(&mut log, vec![peer(2, "bob", 1), peer(3, "carol", 2)]);
    assert_eq!(away(&read(&mut log, &[])), [vec![], vec!["bob"], vec!["alice"]]);
    commit(&mut log, vec![Entry::Leave { room: ROOM, peer: PeerId::new(2) }]);
    assert_eq!(
        away(&read(&mut log, &[])),
        [vec![], vec!["bob"], vec!["alice"]],
        "the message was also addressed to bob directly"
    );
}

#[test]
fn away_names_are_bounded_and_online_members_do_not_count() {
    let (_home, connection) = database();
    let mut log = log(&connection);
    let members = 10..10 + 2 * AWAY_NAMES_MAX as i64;
    let mut entries: Vec<Entry> = members.clone().map(|id| peer(id, &format!("m{id}"), 0)).collect();
    entries.extend([observe(MESSAGES), Entry::Room { id: ROOM, name: Room::stored("#home"), creator: None }]);
    entries.extend(members.clone().map(|id| Entry::Join { room: ROOM, peer: PeerId::new(id) }));
    entries.push(message(10, &[-1], "hi"));
    commit(&mut log, entries);
    let away = |log: &mut Log<'_>, here: &[i64]| match &page_from(log, None, MESSAGES, here).unwrap().items[..] {
        [Observed::Logged { away, .. }] => away.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(away(&mut log, &[]), AWAY_NAMES_MAX);
    let all_but_the_last: Vec<i64> = members.clone().take(2 * AWAY_NAMES_MAX - 1).collect();
    assert_eq!(away(&mut log, &all_but_the_last), 1);
}
