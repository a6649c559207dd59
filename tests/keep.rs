//! Delivery: accepted messages are neither lost nor reordered by absence, replay, restarts, crashes, several connections
//! of one name, floods, or readers that do not read. Owns what becomes of messages; never how lines are parsed.

mod support;

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread;

use support::{
    LARGE_FLOOD, LARGE_PADDING, TestClient, TestServer, assert_contiguous, chat, eventually, flood, flood_number,
    is_notice, messages,
};

/// Default number of messages that may wait for one peer.
const MAILBOX_MESSAGES_DEFAULT: usize = 10_000;

// Offline recipients

#[test]
fn message_for_an_offline_peer_is_stored_and_the_sender_notified() {
    let server = TestServer::start();
    chat(
        &server,
        "
        bob   > bob
        bob   > /quit
        alice > alice
        alice > bob: one
        alice * bob
        alice > bob: two
        alice * bob
        bob   > bob
        bob   < from alice: one
        bob   < from alice: two
        alice > bob: three
        bob   < from alice: three
        ",
    );
    server.wait_until_delivered("bob");
    chat(&server, "bob > bob");
}

#[test]
fn notice_about_many_offline_recipients_takes_one_line_or_a_few() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(&flood("bob", 0..100, 0));
    let notices = alice.ping();
    assert!((1..=100).contains(&notices.len()), "{} notices", notices.len());
    assert!(notices.iter().all(|line| is_notice(line) && line.contains("bob")), "{notices:?}");
}

#[test]
fn line_reaches_online_recipients_now_and_offline_ones_later() {
    let server = TestServer::start();
    chat(
        &server,
        "
        alice > alice
        bob   > bob
        alice > bob, carol: both of you
        alice * carol
        bob   < from alice: both of you
        carol > carol
        carol < from alice: both of you
        ",
    );
}

#[test]
fn replay_keeps_the_order_of_all_senders() {
    let server = TestServer::start();
    let mut sent = Vec::new();
    let mut senders = ["alice", "carol", "dave"].map(|name| TestClient::login(&server, name));
    for number in 0..300 {
        let sender = &mut senders[number % 3];
        sender.send(&format!("bob: {number}"));
        sender.ping();
        sent.push(format!("from {}: {number}", ["alice", "carol", "dave"][number % 3]));
    }
    let mut bob = TestClient::login(&server, "bob");
    assert_eq!(messages(&bob.ping()), sent);
}

#[test]
fn pong_after_a_login_comes_after_what_waited() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    // So many readers at once that the page of each takes several turns.
    let names: Vec<String> = (0..40).map(|number| format!("reader{number}")).collect();
    alice.send_bytes(&flood(&names.join(", "), 0..900, 0));
    alice.ping();
    let mut readers: Vec<TestClient> = names.iter().map(|_| TestClient::connect(&server)).collect();
    for (reader, name) in readers.iter_mut().zip(&names) {
        reader.send(&format!("{name}\n/ping"));
    }
    for reader in &mut readers {
        let lines = std::iter::from_fn(|| Some(reader.expect_line()).filter(|line| line != "* pong"));
        assert_eq!(messages(&lines.collect::<Vec<_>>()).len(), 900);
    }
}

#[test]
fn replay_of_many_pages_is_complete_and_in_order() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(&flood("bob", 0..4000, 100));
    alice.ping();
    let mut bob = TestClient::login(&server, "bob");
    assert_eq!(bob.read_flood("alice", 3999), Vec::from_iter(0..4000));
    bob.expect_nothing();
    server.wait_until_delivered("bob");
    TestClient::login(&server, "bob").expect_nothing();
}

#[test]
fn waiting_messages_arrive_before_new_ones() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(&flood("bob", 0..2000, 50));
    alice.ping();
    let sender = thread::spawn(move || {
        alice.send_bytes(&flood("bob", 2000..4000, 50));
        alice.ping();
    });
    let mut bob = TestClient::login(&server, "bob");
    assert_eq!(bob.read_flood("alice", 3999), Vec::from_iter(0..4000));
    sender.join().unwrap();
    bob.expect_nothing();
}

#[test]
fn delivered_messages_are_not_replayed() {
    let server = TestServer::start();
    for round in 0..5 {
        chat(
            &server,
            &format!(
                "
                bob   > bob
                alice > alice
                alice > bob: round {round}
                bob   < from alice: round {round}
                alice > bob: and again
                bob   < from alice: and again
                "
            ),
        );
        server.wait_until_delivered("bob");
    }
}

#[test]
fn client_that_half_closes_at_once_gets_the_whole_backlog() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(&flood("bob", 0..2000, 1000));
    alice.ping();
    let mut bob = TestClient::connect(&server);
    bob.send("bob");
    bob.shutdown_write();
    let lines = bob.expect_closed();
    assert_eq!(numbers(&lines), Vec::from_iter(0..2000));
    server.wait_until_delivered("bob");
    TestClient::login(&server, "bob").expect_nothing();
}

// Restarts and crashes

#[test]
fn waiting_messages_survive_a_restart() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: before one\nbob: before two");
    alice.quit();
    server.restart();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: after");
    alice.quit();
    server.restart();
    let mut bob = TestClient::login(&server, "bob");
    assert_eq!(messages(&bob.ping()), ["from alice: before one", "from alice: before two", "from alice: after"]);
}

#[test]
fn delivered_messages_are_not_replayed_after_a_restart() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send("bob: one");
    bob.expect("from alice: one");
    server.wait_until_delivered("bob");
    alice.quit();
    bob.quit();
    server.restart();
    TestClient::login(&server, "bob").expect_nothing();
}

#[test]
fn messages_before_a_pong_survive_a_crash() {
    let mut server = TestServer::start();
    for round in 0..5 {
        let mut alice = TestClient::login(&server, "alice");
        alice.send_bytes(&flood("bob", round * 100..(round + 1) * 100, 20));
        alice.ping();
        server.kill();
        server.start_again();
    }
    assert_eq!(server.sqlite("pragma integrity_check"), "ok");
    let mut bob = TestClient::login(&server, "bob");
    assert_eq!(bob.read_flood("alice", 499), Vec::from_iter(0..500));
    bob.expect_nothing();
}

#[test]
fn crash_in_the_middle_of_a_flood_loses_nothing_before_the_last_pong() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut lines = Vec::new();
    for hundred in 0..40 {
        lines.extend(flood("bob", hundred * 100..(hundred + 1) * 100, 50));
        lines.extend(format!("/ping {hundred}\n").into_bytes());
    }
    alice.send_bytes(&lines);
    let answered = 20;
    while alice.expect_line() != format!("* pong {answered}") {}
    server.kill();
    server.start_again();

    let mut bob = TestClient::login(&server, "bob");
    let stored: usize = server.sqlite("select count(*) from history").parse().unwrap();
    assert!(stored >= (answered + 1) * 100, "{stored} messages are left");
    assert_eq!(bob.read_flood("alice", stored - 1), Vec::from_iter(0..stored));
    bob.expect_nothing();
}

#[test]
fn messages_read_before_a_crash_are_on_disk() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send_bytes(&flood("bob", 0..3000, 20));
    let read = bob.read_flood("alice", 1000).len();
    server.kill();
    server.start_again();
    let stored: usize = server.sqlite("select count(*) from history").parse().unwrap();
    assert!(stored >= read, "bob read {read} messages, {stored} are on disk");
}

// Several connections of one name

#[test]
fn every_connection_of_a_name_gets_every_live_message() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut phone = TestClient::login(&server, "bob");
    let mut laptop = TestClient::login(&server, "bob");
    alice.send("bob: to both");
    phone.expect("from alice: to both");
    laptop.expect("from alice: to both");

    phone.quit();
    alice.send("bob: to one");
    laptop.expect("from alice: to one");
    server.wait_until_delivered("bob");

    let mut phone = TestClient::login(&server, "bob");
    alice.send("bob: to both again");
    phone.expect("from alice: to both again");
    laptop.expect("from alice: to both again");
    server.wait_until_delivered("bob");

    phone.quit();
    laptop.quit();
    server.wait_until_gone("bob");
    alice.send("bob: to none");
    alice.expect_notice("bob");
    for name in ["bob", "alice"] {
        let mut again = TestClient::login(&server, name);
        let expected: &[&str] = if name == "bob" { &["from alice: to none"] } else { &[] };
        assert_eq!(messages(&again.ping()), expected, "{name}");
    }
}

#[test]
fn messages_received_by_no_connection_are_replayed_and_a_slow_connection_misses_nothing() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut phone = TestClient::login(&server, "bob");
    alice.send_bytes(&flood("bob", 0..LARGE_FLOOD, LARGE_PADDING));
    alice.ping();

    let mut laptop = TestClient::login(&server, "bob");
    let replayed = laptop.read_flood("alice", LARGE_FLOOD - 1);
    assert_contiguous(&replayed);
    assert_eq!(phone.read_flood("alice", LARGE_FLOOD - 1), Vec::from_iter(0..LARGE_FLOOD));

    alice.send("bob: live");
    phone.expect("from alice: live");
    laptop.expect("from alice: live");
}

#[test]
fn message_received_by_one_connection_counts_as_delivered() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let phone = TestClient::login(&server, "bob");
    let mut laptop = TestClient::login(&server, "bob");
    let sender = thread::spawn(move || {
        alice.send_bytes(&flood("bob", 0..LARGE_FLOOD, LARGE_PADDING));
        alice.ping();
    });
    assert_eq!(laptop.read_flood("alice", LARGE_FLOOD - 1), Vec::from_iter(0..LARGE_FLOOD));
    sender.join().unwrap();
    server.wait_until_delivered("bob");
    TestClient::login(&server, "bob").expect_nothing();
    drop(phone);
}

/// Lines that the server has written may still be in its own system, and are lost with the connection.
#[cfg(target_os = "linux")]
#[test]
fn messages_that_a_broken_connection_did_not_receive_are_replayed() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let bob = TestClient::login(&server, "bob");
    // The system of a client that never reads holds 64 KiB or a little more for it; the server's system holds the rest.
    let (count, taken_at_most) = (2500, 1500);
    alice.send_bytes(&flood("bob", 0..count, 1000));
    alice.ping();
    bob.reset();
    server.wait_until_gone("bob");
    let mut bob = TestClient::login(&server, "bob");
    bob.send("bob: the end");
    let mut replayed = Vec::new();
    loop {
        let line = bob.next_message();
        if line == "from bob: the end" {
            break;
        }
        replayed.extend(flood_number(&line, "alice"));
    }
    let first = replayed.first().copied().unwrap_or(count);
    assert!(first <= taken_at_most, "{first} of {count} messages were counted as delivered");
    assert_eq!(replayed, Vec::from_iter(first..count));
}

// Leaving and coming back

#[test]
fn reconnecting_during_a_flood_loses_nothing() {
    let server = TestServer::start();
    let count = 4000;
    let mut alice = TestClient::login(&server, "alice");
    let sender = thread::spawn(move || {
        alice.send_bytes(&flood("bob", 0..count, 100));
        alice.ping();
    });
    // Number after the newest message that bob has read.
    let mut next = 0;
    loop {
        let is_last_visit = sender.is_finished();
        let mut bob = TestClient::connect(&server);
        bob.send("bob");
        bob.shutdown_write();
        let read = numbers(&bob.expect_closed());
        assert_contiguous(&read);
        // Lines that a connection received in its last moment may be repeated; nothing may be missing.
        assert!(read.first().is_none_or(|first| *first <= next), "{next} was due, and {read:?} came");
        next = next.max(read.last().map_or(0, |last| last + 1));
        if is_last_visit {
            break;
        }
    }
    sender.join().unwrap();
    assert_eq!(next, count);
}

#[test]
fn short_connections_leave_nothing_behind() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    for round in 0..30 {
        let mut old = TestClient::login(&server, "bob");
        // The old connection ends while the new one begins, in every way to end.
        let mut new = TestClient::connect(&server);
        match round % 3 {
            0 => old.send("/quit"),
            1 => drop(old),
            _ => old.reset(),
        }
        new.log_in("bob");
        alice.send(&format!("bob: {round}"));
        new.expect(&format!("from alice: {round}"));
        new.quit();
        server.wait_until_delivered("bob");
        eventually("bob is offline", || !alice.is_online("bob"));
    }
}

// Floods

#[test]
fn login_in_the_middle_of_a_flood_reads_without_gap_duplicate_or_reordering() {
    let server = TestServer::start();
    let last = 6000;
    let mut alice = TestClient::login(&server, "alice");
    let mut first = TestClient::login(&server, "bob");
    let sender = thread::spawn(move || {
        alice.send_bytes(&flood("bob", 0..last, 100));
        alice.ping();
        alice
    });
    let mut read = Vec::new();
    let others = [100, 1000, 2500, 4000].map(|number| {
        read.extend(first.read_flood("alice", number));
        let mut other = TestClient::login(&server, "bob");
        thread::spawn(move || other.read_flood("alice", last))
    });
    // Only when all have joined: a connection that joins may find everything before it delivered.
    sender.join().unwrap().send(&format!("bob: {last} "));
    read.extend(first.read_flood("alice", last));
    assert_eq!(read, Vec::from_iter(0..=last));
    for other in others {
        assert_contiguous(&other.join().unwrap());
    }
}

#[test]
fn two_peers_see_two_senders_in_one_order() {
    let server = TestServer::start();
    let count = 1500;
    let mut readers = ["bob", "dave"].map(|name| TestClient::login(&server, name));
    let senders = ["alice", "carol"].map(|name| {
        let mut sender = TestClient::login(&server, name);
        thread::spawn(move || {
            sender.send_bytes(&flood("bob, dave", 0..count, 10));
            sender.ping();
        })
    });
    let [bobs, daves] = readers.each_mut().map(|reader| Vec::from_iter((0..2 * count).map(|_| reader.next_message())));
    for sender in senders {
        sender.join().unwrap();
    }
    assert_eq!(bobs, daves);
    for sender in ["alice", "carol"] {
        let numbers: Vec<_> = bobs.iter().filter_map(|line| flood_number(line, sender)).collect();
        assert_eq!(numbers, Vec::from_iter(0..count), "from {sender}");
    }
}

#[test]
fn many_senders_reach_one_peer_each_in_its_order() {
    let server = TestServer::start();
    let names = Vec::from_iter((0..20).map(|number| format!("sender{number:02}")));
    let mut bob = TestClient::login(&server, "bob");
    let senders = Vec::from_iter(names.iter().map(|name| {
        let mut sender = TestClient::login(&server, name);
        thread::spawn(move || {
            sender.send_bytes(&flood("bob", 0..100, 10));
            sender.ping();
        })
    }));
    let lines = Vec::from_iter((0..20 * 100).map(|_| bob.next_message()));
    for (name, sender) in names.iter().zip(senders) {
        sender.join().unwrap();
        let numbers: Vec<_> = lines.iter().filter_map(|line| flood_number(line, name)).collect();
        assert_eq!(numbers, Vec::from_iter(0..100), "from {name}");
    }
    bob.expect_nothing();
}

#[test]
fn peer_that_does_not_read_delays_no_other_client() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut stuck = TestClient::login(&server, "stuck");
    alice.send_bytes(&flood("stuck", 0..LARGE_FLOOD, LARGE_PADDING));
    alice.expect_nothing();

    let mut carol = TestClient::login(&server, "carol");
    let mut dave = TestClient::login(&server, "dave");
    for number in 0..200 {
        carol.send(&format!("dave, stuck: {number}"));
        dave.expect(&format!("from carol: {number}"));
    }
    carol.expect_nothing();
    assert_eq!(stuck.read_flood("alice", LARGE_FLOOD - 1), Vec::from_iter(0..LARGE_FLOOD));
    for number in 0..200 {
        stuck.expect(&format!("from carol: {number}"));
    }
    stuck.expect_nothing();
}

#[test]
fn sender_that_does_not_read_its_replies_delays_no_other_client() {
    let server = TestServer::start();
    let mut stuck = TcpStream::connect(server.address()).unwrap();
    let stop = stuck.try_clone().unwrap();
    // Every line is answered, and no reply is read: at some point the server reads no more lines.
    let sender = thread::spawn(move || {
        let mut written = stuck.write_all(b"stuck\n");
        while written.is_ok() {
            written = stuck.write_all(&b"/help\n".repeat(1000));
        }
    });
    let mut carol = TestClient::login(&server, "carol");
    let mut dave = TestClient::login(&server, "dave");
    for number in 0..200 {
        carol.send(&format!("dave: {number}"));
        dave.expect(&format!("from carol: {number}"));
    }
    stop.shutdown(Shutdown::Both).unwrap();
    drop(stop);
    sender.join().unwrap();
    eventually("stuck is offline", || !carol.is_online("stuck"));
}

// Mailboxes

#[test]
fn full_mailbox_refuses_the_whole_line_and_loses_nothing() {
    let mut server = TestServer::with_config("[limits]\nmailbox_max = 3\n");
    let mut alice = TestClient::login(&server, "alice");
    let mut carol = TestClient::login(&server, "carol");
    for number in 1..=3 {
        alice.send(&format!("bob: {number}"));
    }
    assert!(messages(&alice.ping()).is_empty());
    for line in ["bob: 4", "carol, bob: 4", "bob, carol: 4"] {
        alice.send(line);
        let error = alice.expect_error("mailbox_full");
        assert!(error.contains("bob"), "{error}");
    }
    // Carol has a share of her own, a smaller one than if bob's mailbox were empty.
    carol.send("bob: 4");
    carol.send("bob: 5");
    carol.expect_error("mailbox_full");
    carol.expect_nothing();
    alice.send("carol, dave: others are not full");
    carol.expect("from alice: others are not full");

    alice.quit();
    carol.quit();
    server.restart();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: 4");
    alice.expect_error("mailbox_full");

    let mut bob = TestClient::login(&server, "bob");
    assert_eq!(messages(&bob.ping()), ["from alice: 1", "from alice: 2", "from alice: 3", "from carol: 4"]);
    server.wait_until_delivered("bob");
    alice.send("bob: 6");
    bob.expect("from alice: 6");
    alice.expect_nothing();
}

#[test]
fn lines_of_one_read_fill_a_mailbox_exactly() {
    let server = TestServer::with_config("[limits]\nmailbox_max = 3\n");
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(b"bob: 1\nbob: 2\nbob, bob: 3\nbob: 4\nbob, carol: 5\ncarol: 6\n");
    let lines = alice.ping();
    let errors = messages(&lines);
    assert_eq!(errors.len(), 2, "{lines:?}");
    assert!(errors.iter().all(|line| line.starts_with("! mailbox_full: ")), "{lines:?}");
    assert_eq!(server.sqlite("select text from history order by seq"), "1\n2\n3\n6");
}

#[test]
fn messages_for_a_peer_that_keeps_up_are_never_refused() {
    let server = TestServer::with_config("[limits]\nmailbox_max = 3\n");
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    // Many more than three are in flight before bob's system can have acknowledged one.
    alice.send_bytes(&flood("bob", 0..200, 0));
    alice.expect_nothing();
    assert_eq!(bob.read_flood("alice", 199), Vec::from_iter(0..200));
}

#[test]
fn mailbox_holds_ten_thousand_messages_by_default() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(&flood("bob", 0..MAILBOX_MESSAGES_DEFAULT, 0));
    alice.expect_nothing();
    alice.send("bob: one more");
    alice.expect_error("mailbox_full");
    let mut bob = TestClient::login(&server, "bob");
    assert_eq!(bob.read_flood("alice", MAILBOX_MESSAGES_DEFAULT - 1), Vec::from_iter(0..MAILBOX_MESSAGES_DEFAULT));
    bob.expect_nothing();
}

#[test]
fn mailbox_without_a_limit_holds_more() {
    let server = TestServer::with_config("[limits]\nmailbox_max = 0\n");
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(&flood("bob", 0..MAILBOX_MESSAGES_DEFAULT + 1, 0));
    alice.expect_nothing();
    assert_eq!(server.sqlite("select count(*) from waiting"), (MAILBOX_MESSAGES_DEFAULT + 1).to_string());
}

/// Numbers of a flood from alice among the lines that a client has read.
fn numbers(lines: &[String]) -> Vec<usize> {
    lines.iter().filter_map(|line| flood_number(line, "alice")).collect()
}
