//! Steps: when a scan begins, how much it does, and what happens after a removal that failed.

use super::*;
use crate::store::retention::scan::Walk;

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
    assert!(world.sweep.wakes_at().is_some(), "it waits for peer 3, and the log will say so");
    world.pass(1_000);
    assert_eq!(world.sweep.wakes_at(), None);
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
    let mut sweep = Sweep::new(&connection, aged(1), Headroom::default(), world.now);
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
