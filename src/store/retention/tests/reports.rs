//! Log lines about removals, about messages that cannot be removed, and about a database that is full of waiting messages.

use super::*;
use crate::limits::RETENTION_REPORT_S_MIN;

#[test]
fn removal_is_logged_when_it_is_done_and_then_once_an_hour() {
    listen();
    let (_home, connection) = database();
    let mut world = World::new(&connection, aged(60_000));
    let goes = (0..20_000).map(|_| message(0, 1, &[2], "goes"));
    world.turn(goes.chain([message(0, 1, &[3], "stays"), record(2, 20_001)]).collect());
    world.pass(61_000);
    let lines = logged();
    assert_eq!(lines.len(), 2, "many steps, one line, and one for the message that stays: {lines:#?}");
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
    assert!(
        lines[0].contains("nearly max_size or more")
            && lines[0].contains("200 messages wait for a recipient (200 for "),
        "{}",
        lines[0]
    );
    world.deliver(2, 1_100);
    world.pass(1_000);
    assert_eq!(logged().len(), 1, "the removal is logged");
    world.pass(2 * 1000 * RETENTION_REPORT_S_MIN);
    for _ in 0..4 {
        fill(&mut world);
    }
    assert_eq!(logged().len(), 1, "the database is full again");
}

#[test]
fn peers_that_hold_back_old_messages_are_logged_once_each_time() {
    listen();
    let (_home, connection) = database();
    let mut world = World::new(&connection, aged(60_000));
    world.turn((0..5).map(|number| message(0, 1, &[if number < 3 { 2 } else { 3 }], "waits")).collect());
    world.pass(59_000);
    assert_eq!(logged(), [""; 0], "no message is too old");
    world.pass(10_000);
    let lines = logged();
    let words = "INFO 5 messages cannot be removed before delivery (3 for peer2, 2 for peer3): ";
    assert!(lines.len() == 1 && lines[0].starts_with(words), "{lines:#?}");
    world.pass(1000 * 3 * RETENTION_REPORT_S_MIN);
    assert_eq!(logged(), [""; 0]);
    world.deliver(2, 5);
    world.deliver(3, 5);
    world.pass(1_000);
    assert!(logged().concat().starts_with("INFO removed 5 messages"));
    world.pass(1000 * 2 * RETENTION_REPORT_S_MIN);
    let now = world.now.clock.millis();
    world.turn(vec![message(now, 1, &[2], "waits")]);
    world.pass(70_000);
    assert!(logged().concat().starts_with("INFO 1 message cannot be removed before delivery (1 for peer2)"));
}
