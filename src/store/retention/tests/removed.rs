//! Messages that are removed: by age and size, and only those that no recipient waits for.

use super::*;
use crate::store::retention::oldest::OldMessage;
use crate::store::retention::report::Reason;
use crate::store::retention::scan::reason;

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
        let full_bytes = max_size_bytes * 7 / 8 - 20_000;
        assert!(turn < 20 || world.used_bytes() > full_bytes, "turn {turn}: {} bytes", world.used_bytes());
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

#[test]
fn message_with_damaged_recipients_holds_back_no_other() {
    let (_home, connection) = database();
    let mut world = World::new(&connection, aged(1_000));
    for _ in 0..3 {
        world.send(0, &[2]);
    }
    world.deliver(2, 3);
    world.log.catch_up().unwrap();
    connection.execute("update message set recipients = cast(x'5b32ff5d' as text) where seq = 1", []).unwrap();
    world.pass(5_000);
    assert_eq!(world.stored(), [0; 0]);
}
