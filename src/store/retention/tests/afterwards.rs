//! State after a removal: numbers, history, the inbox index, syncs and the size of the file.

use super::*;
use crate::limits::PAGE_BYTES_MAX;
use crate::limits::PAGE_MESSAGES_MAX;
use crate::store::{Found, Page, PageQuery};

#[test]
fn removed_messages_that_are_still_in_an_inbox_are_skipped() {
    let (_home, connection) = database();
    let mut world = World::new(&connection, Retention::default());
    let last = 2 * PAGE_MESSAGES_MAX as i64 + 5;
    world.turn((1..=last).map(|seq| message(0, 1, &[2], &seq.to_string())).collect());
    world.log.catch_up().unwrap();
    connection.execute("delete from message where seq > 1 and seq < ?1", [last]).unwrap();
    assert_eq!(world.history(2, 5), ["1".to_owned(), last.to_string()]);
    let mut page = Page::empty(Seq::new(1));
    let mut found = Vec::new();
    while !page.complete {
        let query =
            PageQuery { peer: PeerId::new(2), after: page.reached, is_addressed: false, bytes_max: PAGE_BYTES_MAX };
        page = world.read(Read::Page, query);
        assert!(page.reached > query.after, "each page gets on");
        found.extend(page.messages.iter().map(|fed| fed.message.seq.get()));
    }
    assert_eq!(found, [last]);
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
    let (_home, connection) = database();
    let mut world = World::new(&connection, aged(1));
    for _ in 0..10 {
        world.send(-10, &[2, 3]);
    }
    world.deliver(2, 10);
    world.deliver(3, 10);
    world.pass(1_000);
    assert_eq!(world.stored(), [0; 0]);
    let found = found(&connection);
    assert_eq!(found.newest, Seq::new(10));
}

#[test]
fn number_of_a_removed_message_for_an_empty_room_is_not_reused() {
    let (_home, connection) = database();
    let mut world = World::new(&connection, aged(1));
    world.make_room(7, &[1]);
    world.send(-10, &[-7]);
    world.pass(1_000);
    assert_eq!(world.stored(), [0; 0], "no peer is to receive it");
    let found = found(&connection);
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

/// Reads the state with which a broker starts.
fn found(connection: &Connection) -> Found {
    let tail = index::whole_tail(connection).unwrap();
    crate::store::found::found(connection, &tail).unwrap()
}
