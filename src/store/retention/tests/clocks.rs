//! Wrong clocks: a message is not removed by a time for which there is no evidence.

use super::*;
use crate::limits::CLOCK_PROOF_S;

const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// Time at which the tests begin, in the year 2026.
const BEGIN: i64 = 20_500 * DAY;

/// Age from which on messages are removed.
const MAX_AGE: i64 = 90 * DAY;

/// Running time after which a clock is believed in any case.
const PROOF_MAX: i64 = 2 * (1000 * CLOCK_PROOF_S + HOUR);

/// Makes a world with one message, which is delivered. The server has run for a day.
fn world(connection: &Connection) -> World<'_> {
    let mut world = World::new(connection, aged(MAX_AGE as u64));
    world.restart(BEGIN);
    world.send(BEGIN, &[2]);
    world.deliver(2, 1);
    world.pass(DAY as u64);
    assert_eq!(world.stored(), [1]);
    world
}

impl World<'_> {
    fn set_clock(&mut self, clock_ms: i64) {
        self.now.clock = Timestamp::from_millis(clock_ms);
    }

    /// Kills the server, and starts it again with this clock.
    fn crash(&mut self, clock_ms: i64) {
        self.set_clock(clock_ms);
        self.sweep = Sweep::new(self.connection, self.sweep.retention, Headroom::default(), self.now);
    }
}

#[test]
fn starts_with_a_clock_that_is_years_ahead_remove_nothing() {
    listen();
    let (_home, connection) = database();
    let mut world = world(&connection);
    for start in 1..=20 {
        world.restart(BEGIN + 2000 * DAY);
        world.send(BEGIN + 2000 * DAY, &[2]);
        world.deliver(2, 2 * start);
        world.pass((HOUR / 4) as u64);
        world.set_clock(BEGIN + start * DAY);
        world.send(BEGIN + start * DAY, &[2]);
        world.deliver(2, 2 * start + 1);
        world.pass((HOUR / 2) as u64);
        assert_eq!(world.stored().len() as i64, 1 + 2 * start);
    }
    let ahead = logged().into_iter().filter(|line| line.contains("1999 days later than")).count();
    assert!(ahead > 0, "the log says so");
}

#[test]
fn server_that_was_off_for_long_removes_by_the_right_clock_after_some_hours() {
    let (_home, connection) = database();
    let mut world = world(&connection);
    world.restart(BEGIN + 100 * DAY);
    world.pass((1000 * CLOCK_PROOF_S / 2) as u64);
    assert_eq!(world.stored(), [1]);
    world.pass(PROOF_MAX as u64);
    assert_eq!(world.stored(), [0; 0]);
}

#[test]
fn devices_that_start_in_1970_and_run_for_a_few_hours_a_day_get_their_clock_believed() {
    let (_home, connection) = database();
    let mut world = world(&connection);
    let mut day = 1;
    while world.stored() == [1] {
        day += 1;
        world.restart(30 * SECOND);
        world.pass(30_000);
        world.set_clock(BEGIN + day * DAY);
        world.pass(4 * HOUR as u64);
        assert!(day < 100, "the message is never removed");
    }
    assert!(day >= 90, "removed after {day} days");
}

#[test]
fn jumps_ahead_of_a_running_server_remove_nothing_until_it_has_run_with_the_new_clock() {
    let (_home, connection) = database();
    let mut world = world(&connection);
    world.set_clock(BEGIN + 2000 * DAY);
    world.pass(5 * HOUR as u64);
    world.set_clock(BEGIN + DAY + 5 * HOUR);
    world.pass(5 * DAY as u64);
    assert_eq!(world.stored(), [1]);
    // A clock that stays wrong for days cannot be told from a right one.
    world.set_clock(BEGIN + 2000 * DAY);
    world.pass(PROOF_MAX as u64);
    assert_eq!(world.stored(), [0; 0]);
}

#[test]
fn small_corrections_of_the_clock_hold_nothing_back() {
    let (_home, connection) = database();
    let mut world = world(&connection);
    let mut clock = BEGIN + DAY;
    for hour in 0..(90 * 24) {
        clock += HOUR + if hour % 2 == 0 { -20 * SECOND } else { 20 * SECOND };
        world.pass(HOUR as u64);
        world.set_clock(clock);
    }
    assert_eq!(world.stored(), [0; 0]);
}

#[test]
fn crash_loses_no_more_than_the_last_hour_of_evidence() {
    let (_home, connection) = database();
    let mut world = world(&connection);
    for day in 1..88 {
        world.pass(HOUR as u64 - 1);
        world.crash(BEGIN + day * DAY);
    }
    assert_eq!(world.stored(), [1]);
    world.pass(PROOF_MAX as u64);
    world.set_clock(BEGIN + 91 * DAY);
    world.pass(PROOF_MAX as u64);
    assert_eq!(world.stored(), [0; 0]);
}

#[test]
fn database_of_an_earlier_version_is_compared_with_its_newest_message() {
    let (_home, connection) = database();
    let mut world = world(&connection);
    world.send(BEGIN + DAY, &[2]);
    world.deliver(2, 2);
    connection.execute("delete from wall_clock", []).unwrap();
    world.crash(BEGIN + 2000 * DAY);
    world.pass(HOUR as u64);
    assert_eq!(world.stored(), [1, 2]);
    // A row that was written by hand is evidence of nothing.
    connection.execute("update wall_clock set believed = 'x', candidate = x'00', support = 1 << 62", []).unwrap();
    world.crash(BEGIN + 2 * DAY);
    world.pass(HOUR as u64);
    assert_eq!(world.stored(), [1, 2]);
}

#[test]
fn limit_of_size_needs_no_clock() {
    let (_home, connection) = database();
    let retention = Retention { max_size_bytes: Some(100_000), ..aged(MAX_AGE as u64) };
    let mut world = World::new(&connection, retention);
    world.restart(BEGIN + 2000 * DAY);
    let text = "x".repeat(1000);
    world.turn((0..200).map(|_| message(BEGIN, 1, &[2], &text)).chain([record(2, 200)]).collect());
    world.pass(1_000);
    assert!(world.stored().len() < 100);
}
