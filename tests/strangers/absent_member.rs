//! Absent members: a member of a room who never returns, or does not read, holds back neither retention nor the others, and is told what
//! it missed.

use super::support::{JsonClient, TestClient, TestServer, eventually, flood};
use serde_json::json;

/// Bytes of the database in use.
const USED_BYTES: &str = "select (page_count - freelist_count) * page_size
    from pragma_page_count, pragma_freelist_count, pragma_page_size";

/// Joins #home as each of these and logs out.
fn join_home(server: &TestServer, names: &[&str]) {
    for name in names {
        let mut client = TestClient::login(server, name);
        client.send("/join #home");
        client.ping();
        client.quit();
    }
}

/// Lets alice send messages with these numbers to #home.
fn send_to_home(server: &TestServer, numbers: std::ops::Range<usize>, padding: usize) {
    let mut alice = TestClient::login(server, "alice");
    alice.send("/join #home");
    for start in numbers.clone().step_by(500) {
        alice.send_bytes(&flood("#home", start..numbers.end.min(start + 500), padding));
        alice.ping();
    }
    alice.quit();
}

/// Reads the notice about missed messages and the messages after it. Returns how many were missed, and the numbers of those that came.
fn read_home(client: &mut TestClient, last: usize) -> (usize, Vec<usize>) {
    let notice = client.expect_line();
    let words = notice.strip_prefix("* you missed ").unwrap_or_else(|| panic!("{notice}"));
    let missed = words.strip_suffix(" in #home, see /history #home").expect(&notice).replace(',', "");
    (missed.parse().unwrap(), read_numbers(client, last))
}

/// Reads numbered messages of #home up to this one.
fn read_numbers(client: &mut TestClient, last: usize) -> Vec<usize> {
    let number = |line: &str| line.split_once(" in #home: ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    let mut numbers: Vec<usize> = Vec::new();
    while numbers.last() != Some(&last) {
        numbers.push(number(&client.next_message()));
    }
    numbers
}

#[test]
fn member_who_was_away_gets_the_newest_messages_and_is_told_how_many_it_missed() {
    let mut server = TestServer::with_config("limits.room_waiting_max = 800");
    join_home(&server, &["alice", "bob"]);
    send_to_home(&server, 0..3000, 0);
    let waiting = "select count(*) from waiting where recipient = 'bob'";
    let count = || server.sqlite(waiting).parse::<usize>().unwrap();
    eventually("the floor is raised", || count() <= 900);
    let count = count();
    assert!(count >= 800, "{count} messages wait");
    assert_eq!(server.sqlite("select count(*) from history"), "3000", "the others stay in the history");
    let mut bob = TestClient::connect(&server);
    bob.send("bob");
    assert_eq!(bob.expect_line(), format!("* hello bob, {count} messages wait for you"));
    let (missed, numbers) = read_home(&mut bob, 2999);
    assert_eq!(missed, 3000 - count);
    assert_eq!(numbers, Vec::from_iter(missed..3000));
    assert_eq!(bob.history("#home 1000").len(), 1000);
    bob.expect_nothing();
    bob.quit();
    server.wait_until_delivered("bob");
    server.restart();
    TestClient::login(&server, "bob").expect_nothing();
}

#[test]
fn missed_messages_are_told_again_until_a_later_one_is_acknowledged() {
    let server = TestServer::with_config("limits.room_waiting_max = 8");
    join_home(&server, &["alice", "bob"]);
    send_to_home(&server, 0..1500, 0);
    for _ in 0..2 {
        let mut bob = JsonClient::login_with_acks(&server, "bob");
        let missed = bob.wait_for("missed").unwrap();
        let first = bob.wait_for("message").unwrap();
        let count = missed["count"].as_u64().unwrap();
        assert_eq!(missed, json!({"type": "missed", "room": "#home", "count": count}));
        assert_eq!(first["seq"].as_u64(), Some(count + 1), "{first}");
    }
    let mut bob = JsonClient::login_with_acks(&server, "bob");
    while bob.wait_for("message").unwrap()["text"] != "1499" {}
    bob.ack(1500);
    bob.ping();
    drop(bob);
    let mut bob = JsonClient::login_with_acks(&server, "bob");
    bob.expect_nothing();
}

#[test]
fn own_and_direct_messages_are_not_missed() {
    let server = TestServer::with_config("limits.room_waiting_max = 8");
    join_home(&server, &["alice", "bob", "carol"]);
    let mut bob = TestClient::login(&server, "bob");
    bob.send_bytes(&flood("#home", 0..100, 0));
    bob.ping();
    bob.quit();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob, #home: direct");
    alice.send("#home: missed");
    alice.send_bytes(&flood("#home", 0..20, 0));
    alice.ping();
    let replayed = "select count(*) from waiting where recipient = 'bob' and text <> 'direct'";
    eventually("the floor is raised", || server.sqlite(replayed).parse::<u64>().unwrap() <= 9);
    let mut bob = TestClient::login(&server, "bob");
    let line = bob.expect_line();
    // The notice may come before or after the direct message, and before the newest ones.
    let (notice, direct) = if line.starts_with('*') { (line, bob.next_message()) } else { (bob.expect_line(), line) };
    assert_eq!(direct, "from alice: direct");
    let count: usize = notice.strip_prefix("* you missed ").unwrap().split(' ').next().unwrap().parse().unwrap();
    let rest = read_numbers(&mut bob, 19).len();
    assert_eq!(count + rest, 21, "the missed one and the flood: {notice}");
}

#[test]
fn absent_member_does_not_fill_the_disk() {
    let max_size = 4_000_000;
    let server = TestServer::with_config("limits.room_waiting_max = 100\n[retention]\nmax_size = \"4 MB\"");
    join_home(&server, &["alice", "bob"]);
    // 16 MB.
    send_to_home(&server, 0..2000, 8000);
    let used = || server.sqlite(USED_BYTES).parse::<u64>().unwrap();
    eventually("the database is below its limit", || used() <= max_size);
    let mut bob = TestClient::connect(&server);
    bob.send("bob");
    let hello = bob.expect_line();
    assert!(hello.starts_with("* hello bob, 1"), "{hello}");
    let (missed, numbers) = read_home(&mut bob, 1999);
    assert!(missed > 0 && (100..=113).contains(&numbers.len()), "{missed} missed, {} came", numbers.len());
    assert_eq!(numbers, Vec::from_iter(2000 - numbers.len()..2000));
}

#[test]
fn sensor_that_only_sends_into_its_room_does_not_hold_back_retention() {
    let max_size = 2_000_000;
    let server = TestServer::with_config("retention.max_size = \"2 MB\"");
    join_home(&server, &["alice", "bob", "boiler"]);
    for round in 0..4 {
        // 1.4 MB.
        send_to_home(&server, 0..2000, 700);
        let mut bob = TestClient::connect(&server);
        bob.send("bob\n/ping");
        while bob.expect_line() != "* pong" {}
        let mut boiler = TestClient::connect(&server);
        boiler.send(&format!("boiler\n#home: {round} degrees\n/ping"));
        while boiler.expect_line() != "* pong" {}
    }
    let used = || server.sqlite(USED_BYTES).parse::<u64>().unwrap();
    eventually("the database is below its limit", || used() <= max_size);
    let sent = server.sqlite("select count(*), max(seq) from history where sender = 'boiler'");
    assert!(sent.ends_with("|8004"), "every message was accepted: {sent}");
    assert!(!server.log().contains("WARN"), "{}", server.log());
}
