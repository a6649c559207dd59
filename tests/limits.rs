//! The limits of `[limits]`: each names itself when it refuses, closes only the connection concerned, disturbs no
//! connected client, and frees its place when a connection ends. Owns these limits; `mailbox_max` is in `keep.rs`, dead
//! connections are in `cable.rs`.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use support::{Pair, TestClient, TestServer, eventually, flood, is_notice, messages};

fn server_with(limits: &str) -> TestServer {
    TestServer::with_config(&format!("[limits]\n{limits}\n"))
}

// Connections

#[test]
fn full_server_refuses_connections_until_one_ends() {
    let server = server_with("connections_max = 3");
    let mut pair = Pair::login(&server);
    let third = TestClient::connect(&server);
    for _ in 0..3 {
        check_too_many(TestClient::connect(&server), "3 connections are open (connections_max)");
        pair.exchange();
    }
    drop(third);
    // A connection counts whether it is logged in or not.
    let mut alice = login_once_there_is_room(&server, "alice");
    check_too_many(TestClient::connect(&server), "(connections_max)");
    alice.expect_nothing();
    alice.quit();
    login_once_there_is_room(&server, "bob").expect_nothing();
    pair.exchange();
}

#[test]
fn crowd_that_a_full_server_refuses_disturbs_no_other_client() {
    let server = server_with("connections_max = 2");
    let mut pair = Pair::login(&server);
    thread::scope(|scope| {
        let crowd = scope.spawn(|| {
            for _ in 0..10 {
                let crowd = Vec::from_iter((0..100).map(|_| TestClient::connect(&server)));
                for refused in crowd {
                    // In a flood, not every client gets the refusal.
                    let words = String::from_utf8(refused.read_to_end()).unwrap();
                    assert!(words.is_empty() || words.starts_with("! too_many_connections: "), "{words}");
                }
            }
        });
        pair.chat_until(|exchanges| exchanges >= 20 && crowd.is_finished());
    });
    drop(pair);
    login_once_there_is_room(&server, "alice").expect_nothing();
}

/// To the server, each address of the loopback network is another host.
#[cfg(target_os = "linux")]
#[test]
fn connections_of_one_address_are_limited() {
    let server = server_with("connections_per_address_max = 2");
    let mut pair = Pair::login(&server);
    check_too_many(TestClient::connect(&server), "2 connections from 127.0.0.1 are open (connections_per_address_max)");

    let mut others = Vec::from_iter((0..2).map(|_| TestClient::connect_from("127.0.0.2", &server)));
    for (number, other) in others.iter_mut().enumerate() {
        other.log_in(&format!("other{number}"));
    }
    check_too_many(
        TestClient::connect_from("127.0.0.2", &server),
        "2 connections from 127.0.0.2 are open (connections_per_address_max)",
    );
    pair.exchange();
    drop(pair);
    login_once_there_is_room(&server, "alice").expect_nothing();
    for mut other in others {
        other.expect_nothing();
    }
}

/// Checks that the connection gets this refusal, and is closed.
#[track_caller]
fn check_too_many(mut refused: TestClient, why: &str) {
    // The server reads none of its lines.
    refused.try_send_bytes(b"mallory\n").unwrap();
    let error = refused.expect_error("too_many_connections");
    assert!(error.contains(why), "{error}");
    assert!(refused.expect_closed().is_empty(), "the client reads more than the refusal");
}

/// Logs in once the server has noticed that another connection has ended.
#[track_caller]
fn login_once_there_is_room(server: &TestServer, name: &str) -> TestClient {
    let mut came_in = None;
    eventually("a connection is accepted", || {
        let mut client = TestClient::connect(server);
        client.try_send_bytes(format!("{name}\n").as_bytes()).unwrap();
        came_in = client.next_line().is_some_and(|line| is_notice(&line)).then_some(client);
        came_in.is_some()
    });
    came_in.expect("the condition came true")
}

// Logging in

/// Login timeout of the next tests.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Input that a client may send forever without logging in.
const NO_LOGINS: [&[u8]; 4] = [b"", b"x", b" \n\n", b"\xff\n"];

#[test]
fn client_that_does_not_log_in_in_time_gets_an_error_and_is_disconnected() {
    let server = server_with("login_timeout_s = 2");
    let mut pair = Pair::login(&server);
    thread::scope(|scope| {
        for bytes in NO_LOGINS {
            let server = &server;
            scope.spawn(move || check_timed_out(server, bytes));
        }
    });
    // A logged-in client may be silent for any time: these connected before those that were disconnected.
    pair.exchange();
}

/// Sends these bytes repeatedly until the server closes the connection.
#[track_caller]
fn check_timed_out(server: &TestServer, bytes: &[u8]) {
    let start = Instant::now();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut output = Vec::new();
    loop {
        // At the end the connection is closed already.
        let _ = stream.write_all(bytes);
        match stream.read_to_end(&mut output) {
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        assert!(start.elapsed() < 10 * LOGIN_TIMEOUT, "who sends {} is never closed", bytes.escape_ascii());
    }
    let output = String::from_utf8(output).unwrap();
    let last = output.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("! login_timeout: ") && last.contains("(login_timeout_s)"),
        "the client that sent {} read `{last}`",
        bytes.escape_ascii()
    );
    assert!(start.elapsed() >= LOGIN_TIMEOUT, "closed after {:?}", start.elapsed());
}

#[test]
fn client_whose_lines_end_with_cr_is_told_what_they_must_end_with() {
    let server = server_with("login_timeout_s = 1");
    for (bytes, is_told) in [("alice\rbob: hi\r", true), ("alice", false)] {
        let mut alice = TestClient::connect(&server);
        alice.send_bytes(bytes.as_bytes());
        let last = alice.expect_closed().pop().unwrap();
        let hint =
            "(login_timeout_s): your line ends with CR (\\r), and lines must end with LF (\\n); connection closed";
        assert!(last.starts_with("! login_timeout: you did not log in within 1 s"), "{last}");
        assert_eq!(last.ends_with(hint), is_told, "{last}");
    }
}

#[test]
fn without_a_login_timeout_a_client_may_wait() {
    let server = server_with("login_timeout_s = 0");
    let mut slow = TestClient::connect(&server);
    slow.send_bytes(b"al");
    // Meanwhile the server does other things; a timeout of no seconds would be over.
    Pair::login(&server).exchange();
    slow.send_bytes(b"ice\n");
    slow.expect_notice("alice");
}

// Names

#[test]
fn line_with_too_many_recipients_is_refused_and_the_connection_continues() {
    let server = server_with("destinations_max = 3");
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    for line in ["alice, bob, carol, dave: hi", "a, b, c, d, e, f, alice, bob: hi"] {
        alice.send(line);
        let error = alice.expect_error("bad_request");
        assert!(error.contains("3 names (destinations_max)") && error.ends_with("not sent"), "{error}");
    }
    alice.send("bob, carol, BOB, dave, bob, carol: three, however often they are named");
    bob.expect("from alice: three, however often they are named");
    alice.expect_nothing();
    bob.expect_nothing();
    assert_eq!(server.sqlite("select recipients from history"), "bob,carol,dave");
}

#[test]
fn line_may_have_256_recipients_by_default() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send(&format!("{}: hi", names(257)));
    assert!(alice.expect_error("bad_request").contains("256 names (destinations_max)"));
    alice.send(&format!("{}: hi", names(256)));
    alice.expect_nothing();
    assert_eq!(server.sqlite("select count(*) from waiting"), "256");
}

#[test]
fn without_a_limit_a_line_may_have_any_number_of_recipients() {
    let server = server_with("destinations_max = 0");
    let mut alice = TestClient::login(&server, "alice");
    alice.send(&format!("{}: hi", names(1500)));
    alice.expect_nothing();
    assert_eq!(server.sqlite("select count(*) from waiting"), "1500");
}

fn names(count: usize) -> String {
    Vec::from_iter((0..count).map(|number| format!("n{number}"))).join(",")
}

#[test]
fn unknown_names_are_limited_and_known_ones_are_not() {
    let mut server = server_with("unknown_names_max = 3");
    let mut alice = TestClient::login(&server, "alice");
    TestClient::login(&server, "known").quit();
    server.wait_until_gone("known");
    alice.send("n1: hi\nn2, n3: hi");
    alice.expect_nothing();
    for line in ["n4: hi", "known, n4, alice: hi", "n1, n4: hi"] {
        alice.send(line);
        let error = alice.expect_error("mailbox_full");
        assert!(error.contains("unknown_names_max (3)") && error.contains("n4"), "{error}");
    }
    // Names with waiting messages may get more, and names that have logged in do not count.
    alice.send("n1, n2, n3, known, alice: more");
    alice.expect("from alice: more");
    alice.expect_nothing();
    assert_eq!(server.sqlite("select count(*) from waiting where recipient = 'n4'"), "0");

    // The same holds after a restart, until one of them logs in.
    alice.quit();
    server.restart();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("n4: hi");
    alice.expect_error("mailbox_full");
    assert_eq!(messages(&TestClient::login(&server, "n2").ping()), ["from alice: hi", "from alice: more"]);
    alice.send("n4: hi\nn5: hi");
    assert!(alice.expect_error("mailbox_full").contains("n5"));
    alice.expect_nothing();
}

// Rates

#[test]
fn rate_limit_slows_fast_senders_and_refuses_nothing() {
    let (per_s, count) = (200, 500);
    let server = server_with(&format!("messages_per_s = {per_s}"));
    let mut bob = TestClient::login(&server, "bob");
    let mut alice = TestClient::login(&server, "alice");
    let start = Instant::now();
    alice.send_bytes(&flood("bob", 0..count, 10));
    assert_eq!(bob.read_flood("alice", count - 1), Vec::from_iter(0..count));
    // A second's worth of lines is processed at once.
    let at_least = Duration::from_secs(1) * (count as u32 - per_s) / per_s;
    assert!(start.elapsed() >= at_least, "{count} messages in {:?}, at {per_s} a second", start.elapsed());
    alice.expect_nothing();
    bob.expect_nothing();
}

#[test]
fn sender_that_is_slowed_down_delays_no_other_sender() {
    let server = server_with("messages_per_s = 20");
    let mut carol = TestClient::login(&server, "carol");
    let fast = TcpStream::connect(server.address()).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| send_without_end(&fast, "fast"));
        eventually("the flood has begun", || server.sqlite("select count(*) > 20 from history") == "1");
        // Lines for hours wait.
        for number in 0..10 {
            carol.send(&format!("carol: {number}"));
            carol.expect(&format!("from carol: {number}"));
        }
        fast.shutdown(Shutdown::Both).unwrap();
    });
}

// Fairness

/// Exchanges of the pair during the floods.
const EXCHANGES: usize = 15;

#[test]
fn one_flood_does_not_starve_another_sender() {
    check_fairness(1);
}

#[test]
fn fifty_floods_do_not_starve_another_sender() {
    check_fairness(50);
}

/// Maximum number of lines before a line of the pair, while many clients flood: those of some turns, namely the one in
/// flight, the one that is already decided, and its own before it is read. A round of fifty floods, each with the
/// largest batch of one connection, is 51,200.
const GAP_MAX: usize = 40_000;

/// Lets two clients chat while others flood. The number of lines before theirs counts, not the time.
#[track_caller]
fn check_fairness(floods: usize) {
    let server = TestServer::with_config("durability = \"crash\"\n[limits]\nmailbox_max = 0\n");
    let mut pair = Pair::login(&server);
    let calm: usize = server.sqlite("select max(seq) from history").parse().unwrap();
    let streams = Vec::from_iter((0..floods).map(|_| TcpStream::connect(server.address()).unwrap()));
    thread::scope(|scope| {
        for (number, stream) in streams.iter().enumerate() {
            scope.spawn(move || send_without_end(stream, &format!("flood{number}")));
        }
        let under_way = format!("select count(distinct sender) > {} from history where seq > {calm}", floods / 2);
        eventually("the floods have begun", || server.sqlite(&under_way) == "1");
        for _ in 0..EXCHANGES {
            pair.exchange();
        }
        for stream in &streams {
            stream.shutdown(Shutdown::Both).unwrap();
        }
    });
    let gap = median_gap(&server);
    println!("the median line of the two had {gap} lines of {floods} floods before it");
    assert!(gap < GAP_MAX, "the median line of the two had {gap} lines of others before it");
}

/// Sends until the connection is shut down.
fn send_without_end(mut stream: &TcpStream, name: &str) {
    let mut sent = stream.write_all(format!("{name}\n").as_bytes());
    let lines = flood("sink", 0..2000, 20);
    while sent.is_ok() {
        sent = stream.write_all(&lines);
    }
}

/// Median number of lines between two lines of the pair in the log.
fn median_gap(server: &TestServer) -> usize {
    let seqs = "select seq from history where sender in ('carol', 'dave') order by seq desc limit ";
    let seqs = server.sqlite(&format!("{seqs}{}", 2 * EXCHANGES));
    let seqs = Vec::from_iter(seqs.lines().map(|seq| seq.parse::<usize>().unwrap()));
    let mut gaps = Vec::from_iter(seqs.windows(2).map(|pair| pair[0] - pair[1]));
    gaps.sort();
    gaps[gaps.len() / 2]
}
