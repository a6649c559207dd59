//! Rooms on plain lines: which members get which messages, and which notices others get. Owns what becomes of messages in
//! rooms; never the number of rooms and members.

mod support;

use std::process::Stdio;

use serde_json::json;
use support::{JsonClient, TestClient, TestServer, assert_contiguous, chat, eventually, flood, holdline, messages};

/// Returns the number of a message of a flood into a room.
fn number_in_room(line: &str, sender: &str, room: &str) -> usize {
    let text = line.strip_prefix(&format!("from {sender} in {room}: ")).unwrap_or_else(|| panic!("`{line}`"));
    text.split(' ').next().unwrap().parse().unwrap()
}

// Recipients

#[test]
fn members_read_messages_of_other_members() {
    let server = TestServer::start();
    chat(
        &server,
        "
        alice > alice
        bob   > bob
        carol > carol
        alice > /join #kitchen
        alice * you are in #kitchen now
        bob   > /join #kitchen
        alice > #kitchen: dinner at 7
        bob   < from alice in #kitchen: dinner at 7
        bob   > #Kitchen: yes
        alice < from bob in #kitchen: yes
        carol > /join #garden
        carol > #garden: anybody?
        carol * nobody else is in #garden
        ",
    );
}

#[test]
fn new_member_gets_later_messages_and_a_former_member_none() {
    let server = TestServer::start();
    chat(
        &server,
        "
        alice > alice
        bob   > bob
        alice > /join #a
        alice > #a: before
        bob   > /join #a
        alice > #a: after
        bob   < from alice in #a: after
        bob   > /leave #a
        bob   * you are no longer in #a
        alice > #a: later
        bob   > /join #a
        alice > #a: again
        bob   < from alice in #a: again
        bob   > /history #a
        bob   * from alice in #a: again
        ",
    );
}

#[test]
fn offline_member_reads_missed_messages_of_all_rooms_in_order_and_once() {
    let mut server = TestServer::start();
    chat(
        &server,
        "
        bob   > bob
        bob   > /join #a
        bob   > /join #b
        bob   > /quit
        alice > alice
        alice > /join #a
        alice > /join #b
        alice > #a: one
        alice > bob: two
        alice > #b: three
        alice > #a: four
        ",
    );
    server.restart();
    let mut bob = TestClient::connect(&server);
    bob.send("bob");
    assert_eq!(bob.expect_line(), "* hello bob, 4 messages wait for you");
    for line in ["from alice in #a: one", "from alice: two", "from alice in #b: three", "from alice in #a: four"] {
        bob.expect(line);
    }
    bob.expect_nothing();
    server.wait_until_delivered("bob");
    TestClient::login(&server, "bob").expect_nothing();
}

#[test]
fn recipient_addressed_directly_and_through_rooms_gets_one_direct_message() {
    let server = TestServer::start();
    chat(
        &server,
        "
        alice > alice
        bob   > bob
        carol > carol
        alice > /join #a
        alice > /join #b
        bob   > /join #a
        carol > /join #b
        carol > /join #a
        alice > #b, #a, bob: hello
        bob   < from alice: hello
        carol < from alice in #b: hello
        alice > #a, alice: to myself too
        alice < from alice: to myself too
        bob   < from alice in #a: to myself too
        carol < from alice in #a: to myself too
        ",
    );
}

#[test]
fn replay_addresses_recipients_like_live_delivery() {
    let server = TestServer::start();
    chat(
        &server,
        "
        bob   > bob
        bob   > /join #a
        bob   > /join #b
        bob   > /quit
        alice > alice
        alice > /join #a
        alice > /join #b
        alice > #b, #a, bob: direct
        alice > #b, #a: first
        alice > #a, alice: own
        alice < from alice: own
        ",
    );
    let mut bob = TestClient::connect(&server);
    bob.send("bob");
    assert_eq!(bob.expect_line(), "* hello bob, 3 messages wait for you");
    for line in ["from alice: direct", "from alice in #b: first", "from alice in #a: own"] {
        bob.expect(line);
    }
    bob.expect_nothing();
    server.wait_until_delivered("alice");
    TestClient::login(&server, "alice").expect_nothing();
}

#[test]
fn each_connection_of_a_member_gets_every_message_except_the_senders_own() {
    let server = TestServer::start();
    let mut alice = [TestClient::login(&server, "alice"), TestClient::login(&server, "alice")];
    let mut bob = [TestClient::login(&server, "bob"), TestClient::login(&server, "bob")];
    alice[0].send("/join #a");
    alice[0].sync();
    bob[0].send("/join #a");
    bob[0].sync();
    alice[1].send("#a: hello");
    alice[1].expect_nothing();
    bob.iter_mut().for_each(|bob| bob.expect("from alice in #a: hello"));
    alice[0].expect_nothing();
}

// Refusals

#[test]
fn message_to_a_room_without_membership_is_refused_and_reaches_no_member() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send("/join #a");
    alice.sync();
    for (line, words) in [
        ("#a: hello", "you are not in #a; type /join #a first; not sent"),
        ("#b: hello", "you are not in #b; type /join #b first; not sent"),
        ("alice, #a: hello", "you are not in #a; type /join #a first; not sent"),
        ("/leave #a", "you are not in #a; nothing was done"),
        ("/leave #b", "you are not in #b; nothing was done"),
        ("/history #a", "you are not in #a; nothing is shown"),
    ] {
        bob.send(line);
        assert_eq!(bob.expect_error("not_a_member"), format!("! not_a_member: {words}"), "{line}");
    }
    alice.send("/leave #a");
    alice.sync();
    alice.send("#a: hello");
    alice.expect_error("not_a_member");
    bob.expect_nothing();
    assert_eq!(server.sqlite("select count(*) from history"), "0");
}

#[test]
fn joining_twice_changes_nothing() {
    let server = TestServer::start();
    chat(
        &server,
        "
        alice > alice
        bob   > bob
        alice > /join #a
        bob   > /join #a
        alice > #a: one
        bob   < from alice in #a: one
        bob   > /join #a
        bob   * you are in #a now
        bob   > /history #a
        bob   * from alice in #a: one
        ",
    );
    assert_eq!(server.sqlite("select members from room"), "2");
}

#[test]
fn number_of_rooms_is_limited() {
    let server = TestServer::with_config("limits.rooms_max = 2");
    let mut alice = TestClient::login(&server, "alice");
    for room in ["#a", "#b", "#c"] {
        alice.send(&format!("/join {room}"));
    }
    let error = alice.expect_error("storage_full");
    assert!(error.contains("rooms_max (2)") && error.contains("not joined"), "{error}");
    alice.send("/join #a");
    alice.expect_notice("you are in #a now");
}

// Restarts and crashes

#[test]
fn joining_and_leaving_survive_a_crash() {
    let mut server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    bob.send("/join #a");
    bob.send("/join #b");
    bob.send("/leave #b");
    bob.ping();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/join #a");
    alice.send("/join #b");
    alice.ping();
    server.kill();
    server.start_again();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("#a: still there?");
    alice.send("#b: and here?");
    alice.expect_notice("nobody else is in #b");
    alice.ping();
    let mut bob = TestClient::login(&server, "bob");
    bob.expect("from alice in #a: still there?");
    bob.expect_nothing();
}

#[test]
fn flood_into_a_room_reaches_online_and_offline_members_complete_and_in_order() {
    let server = TestServer::start();
    let mut absent = TestClient::login(&server, "absent");
    absent.send("/join #a");
    absent.ping();
    absent.quit();
    let mut bob = TestClient::login(&server, "bob");
    bob.send("/join #a");
    bob.sync();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/join #a");
    let flood = flood("#a", 0..6000, 100);
    let sender = std::thread::spawn(move || {
        alice.send_bytes(&flood);
        alice.ping();
    });
    let read = |client: &mut TestClient| {
        let numbers: Vec<_> = (0..6000).map(|_| number_in_room(&client.next_message(), "alice", "#a")).collect();
        assert_contiguous(&numbers);
        client.expect_nothing();
    };
    read(&mut bob);
    sender.join().unwrap();
    read(&mut TestClient::login(&server, "absent"));
    server.wait_until_delivered("absent");
    // One row each, however many members there are.
    assert_eq!(server.sqlite("select count(*), min(recipients), max(recipients) from message"), "6000|[-1]|[-1]");
}

// Replies and notices

#[test]
fn who_lists_own_rooms_with_their_online_members() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    for line in ["/join #b", "/join #a"] {
        alice.send(line);
        alice.sync();
    }
    bob.send("/join #a");
    bob.sync();
    let mut carol = TestClient::login(&server, "carol");
    carol.send("/join #a");
    carol.ping();
    carol.quit();
    server.wait_until_gone("carol");
    let shown = ["* here: alice, bob", "* #a: alice, bob", "* #b: alice"];
    eventually("the onlooker is offline", || {
        alice.send("/who");
        alice.ping() == shown
    });
}

#[test]
fn the_views_show_rooms_by_name_and_members_one_by_one() {
    let server = TestServer::start();
    for name in ["bob", "carol"] {
        let mut client = TestClient::login(&server, name);
        client.send("/join #a");
        client.ping();
        client.quit();
    }
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/join #a");
    alice.send("#a, carol: hello");
    alice.ping();
    assert_eq!(
        server.sqlite("select sender, recipients, text, waiting_for from history"),
        "alice|#a,carol|hello|bob,carol"
    );
    assert_eq!(
        server.sqlite("select recipient, sender, text from waiting order by 1"),
        "bob|alice|hello\ncarol|alice|hello"
    );
    TestClient::login(&server, "bob").expect("from alice in #a: hello");
    server.wait_until_delivered("bob");
    assert_eq!(server.sqlite("select waiting_for from history"), "carol");
}

#[test]
fn history_includes_own_rooms_since_joining() {
    let server = TestServer::start();
    chat(
        &server,
        "
        alice > alice
        bob   > bob
        alice > /join #a
        alice > #a: early
        bob   > /join #a
        alice > #a: late
        bob   < from alice in #a: late
        bob   > #a: answer
        alice < from bob in #a: answer
        alice > bob: aside
        bob   < from alice: aside
        ",
    );
    let mut bob = TestClient::login(&server, "bob");
    let whole = ["from alice in #a: late", "to #a: answer", "from alice: aside"];
    assert_eq!(bob.history(""), whole);
    assert_eq!(bob.history("#a"), whole[..2]);
    assert_eq!(bob.history("#a 1"), whole[1..2]);
    assert_eq!(bob.history("alice"), whole[2..]);
    let mut alice = TestClient::login(&server, "alice");
    assert_eq!(alice.history("#a"), ["to #a: early", "to #a: late", "from bob in #a: answer"]);
    bob.send("/leave #a");
    bob.ping();
    assert_eq!(bob.history(""), ["to #a: answer", "from alice: aside"], "what it sent stays its own");
}

#[test]
fn member_who_joined_again_reads_in_the_history_what_it_could_read_before() {
    let mut server = TestServer::start();
    let [mut alice, mut bob] = ["alice", "bob"].map(|name| TestClient::login(&server, name));
    alice.send("/join #a");
    // Somebody stays, so that the room has a recipient while bob is out.
    let mut carol = TestClient::login(&server, "carol");
    carol.send("/join #a");
    carol.ping();
    let mut say = |bob: &mut TestClient, change: &str, text: &str| {
        bob.send(change);
        bob.ping();
        alice.send(&format!("#a: {text}"));
        alice.ping();
        Vec::from_iter(messages(&bob.ping()).into_iter().map(str::to_owned))
    };
    assert_eq!(say(&mut bob, "/join #a", "first"), ["from alice in #a: first"]);
    assert_eq!(say(&mut bob, "/leave #a", "hidden 1"), [""; 0]);
    assert_eq!(say(&mut bob, "/join #a", "second"), ["from alice in #a: second"]);
    assert_eq!(say(&mut bob, "/leave #a", "hidden 2"), [""; 0]);
    assert_eq!(bob.history(""), [""; 0], "who is outside sees nothing of the room");
    assert_eq!(say(&mut bob, "/join #a", "third"), ["from alice in #a: third"]);
    let seen = ["from alice in #a: first", "from alice in #a: second", "from alice in #a: third"];
    for _ in 0..2 {
        assert_eq!(bob.history("#a"), seen);
        assert_eq!(bob.history(""), seen);
        assert_eq!(bob.history("#a 2"), seen[1..]);
        bob.send("/search hidden");
        bob.expect_notice("no messages contain that");
        bob.send("/search first");
        bob.expect_notice("from alice in #a: first");
        bob.quit();
        server.wait_until_delivered("bob");
        server.restart();
        bob = TestClient::login(&server, "bob");
        bob.expect_nothing();
    }
    server.terminate();
    let mut history = holdline();
    history.arg("history").arg("--data").arg(server.data()).arg("--with=bob").stdout(Stdio::piped());
    let printed = String::from_utf8(history.output().unwrap().stdout).unwrap();
    assert_eq!(printed.matches("alice → #a: ").count(), 3, "{printed}");
}

#[test]
fn message_that_waited_when_a_member_left_is_history_and_not_replayed() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/join #a");
    alice.ping();
    let mut bob = JsonClient::login_with_acks(&server, "bob");
    let change = |bob: &mut JsonClient, change: &str, done: &str| {
        bob.send(json!({"type": change, "room": "#a"}));
        bob.expect(done);
    };
    change(&mut bob, "join", "joined");
    alice.send("#a: waits");
    bob.expect_message("waits");
    assert_eq!(server.sqlite("select text from waiting"), "waits");
    change(&mut bob, "leave", "left");
    change(&mut bob, "join", "joined");
    assert_eq!(server.sqlite("select count(*) from waiting"), "0");
    drop(bob);
    let mut bob = TestClient::login(&server, "bob");
    bob.expect_nothing();
    assert_eq!(bob.history("#a"), ["from alice in #a: waits"]);
}

#[test]
fn mailbox_limit_does_not_count_room_messages() {
    let server = TestServer::with_config("limits.mailbox_max = 3");
    let mut bob = TestClient::login(&server, "bob");
    bob.send("/join #a");
    bob.ping();
    bob.quit();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/join #a");
    alice.send_bytes(&flood("#a", 0..10, 0));
    alice.send_bytes(&flood("bob", 0..4, 0));
    let lines = alice.ping();
    let refused = messages(&lines);
    assert_eq!(
        refused,
        ["! mailbox_full: 3 messages wait for bob, and your share of mailbox_max (3) is used up; not sent"]
    );
    let mut bob = TestClient::connect(&server);
    bob.send("bob");
    assert_eq!(bob.expect_line(), "* hello bob, 13 messages wait for you");
    assert_eq!(messages(&bob.ping()).len(), 13);
}
