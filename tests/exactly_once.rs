//! Exactly-once delivery: ids of sends and acknowledgements of receivers, across reconnects, restarts and crashes. Owns
//! these two rules; other JSON lines are in `json.rs`.

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use support::{JsonClient, TestClient, TestServer, assert_contiguous};

/// Returns the texts of the next messages.
#[track_caller]
fn texts(client: &mut JsonClient, count: usize) -> Vec<String> {
    (0..count).map(|_| client.expect("message")["text"].as_str().unwrap().to_owned()).collect()
}

// Ids

#[test]
fn send_with_the_same_id_is_accepted_again_and_sent_once() {
    let mut server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    let send = json!({"type": "send", "id": "c1", "to": ["bob", "carol"], "text": "once"});
    let mut alice = JsonClient::login(&server, "alice");
    alice.send(send.clone());
    let accepted = alice.expect("accepted");
    alice.send(send.clone());
    assert_eq!(alice.expect("accepted"), accepted, "the same in another turn");
    let mut again = send.clone();
    again["to"] = json!(["Carol", "bob", "carol"]);
    alice.send(again);
    assert_eq!(alice.expect("accepted"), accepted, "the same destinations, named otherwise");
    alice.reset();
    let mut alice = JsonClient::login(&server, "alice");
    alice.send(send.clone());
    assert_eq!(alice.expect("accepted"), accepted, "over another connection");
    bob.expect("from alice: once");
    bob.expect_nothing();
    for restart in [TestServer::restart, crash] {
        restart(&mut server);
        let mut alice = JsonClient::login(&server, "alice");
        alice.send(send.clone());
        assert_eq!(alice.expect("accepted"), accepted);
    }
    assert_eq!(server.sqlite("select count(*) from history"), "1");
}

fn crash(server: &mut TestServer) {
    server.kill();
    server.start_again();
}

#[test]
fn the_same_id_twice_in_one_write_is_one_message() {
    let server = TestServer::start();
    let mut alice = JsonClient::login(&server, "alice");
    let line = json!({"type": "send", "id": "x", "to": ["bob"], "text": "hi"}).to_string() + "\n";
    let other = json!({"type": "send", "id": "y", "to": ["bob"], "text": "hi"}).to_string() + "\n";
    alice.send_bytes([&*line, &*other, &*line].concat().as_bytes());
    let seqs: Vec<_> =
        (0..3).map(|_| alice.expect("accepted")).map(|frame| (frame["id"].clone(), frame["seq"].clone())).collect();
    assert_eq!(seqs, [(json!("x"), json!(1)), (json!("y"), json!(2)), (json!("x"), json!(1))]);
    assert_eq!(server.sqlite("select count(*) from history"), "2");
}

#[test]
fn ids_of_different_senders_are_independent() {
    let server = TestServer::start();
    for (name, seq) in [("alice", 1), ("bob", 2)] {
        assert_eq!(JsonClient::login(&server, name).say("x", &["carol"], "hi"), seq);
    }
}

#[test]
fn same_id_with_a_different_message_is_refused_as_reused() {
    let server = TestServer::start();
    let mut alice = JsonClient::login(&server, "alice");
    alice.say("x", &["bob"], "hi");
    for (to, text) in [(json!(["bob"]), "hi "), (json!(["carol"]), "hi"), (json!(["bob", "carol"]), "hi")] {
        alice.send(json!({"type": "send", "id": "x", "to": to, "text": text}));
        assert_eq!(alice.expect_error("id_reused")["id"], "x");
    }
    assert_eq!(server.sqlite("select count(*) from history"), "1");
}

#[test]
fn id_of_a_refused_message_can_be_used_again() {
    let server = TestServer::start();
    let mut alice = JsonClient::login(&server, "alice");
    alice.send(json!({"type": "send", "id": "x", "to": ["#home"], "text": "hi"}));
    alice.expect_error("not_a_member");
    alice.send(json!({"type": "join", "room": "#home"}));
    alice.expect("joined");
    alice.say("x", &["#home"], "something else");
}

#[test]
fn accepted_message_is_accepted_again_even_if_it_could_not_be_sent_now() {
    let server = TestServer::with_config("limits.mailbox_max = 1");
    let mut alice = JsonClient::login(&server, "alice");
    alice.send(json!({"type": "join", "room": "#home"}));
    alice.expect("joined");
    let to_bob = alice.say("1", &["bob"], "fills it");
    let to_home = alice.say("2", &["#home"], "in the room");
    alice.send(json!({"type": "leave", "room": "#home"}));
    alice.expect("left");
    alice.send(json!({"type": "send", "id": "3", "to": ["bob"], "text": "too much"}));
    alice.expect_error("mailbox_full");
    assert_eq!(alice.say("1", &["bob"], "fills it"), to_bob);
    assert_eq!(alice.say("2", &["#home"], "in the room"), to_home);
}

// Acknowledgements

#[test]
fn only_acknowledged_messages_count_as_delivered() {
    let mut server = TestServer::start();
    let mut alice = JsonClient::login(&server, "alice");
    let seqs: Vec<i64> = (0..5).map(|number| alice.say(&number.to_string(), &["bob"], &number.to_string())).collect();
    let mut bob = JsonClient::login_with_acks(&server, "bob");
    assert_eq!(texts(&mut bob, 5), ["0", "1", "2", "3", "4"]);
    bob.ack(seqs[1]);
    bob.ping();
    bob.reset();
    let mut bob = JsonClient::connect(&server);
    assert_eq!(bob.log_in("bob", true)["waiting"], 3);
    assert_eq!(texts(&mut bob, 3), ["2", "3", "4"]);
    bob.ack(seqs[3]);
    bob.ping();
    crash(&mut server);
    let mut bob = JsonClient::login_with_acks(&server, "bob");
    assert_eq!(texts(&mut bob, 1), ["4"], "an acknowledgement before a pong survives a crash");
    bob.ack(seqs[4]);
    bob.expect_nothing();
    server.wait_until_delivered("bob");
    JsonClient::login_with_acks(&server, "bob").expect_nothing();
}

#[test]
fn acknowledgement_never_covers_messages_that_were_not_written() {
    let server = TestServer::start();
    let mut bob = JsonClient::login_with_acks(&server, "bob");
    bob.ack(1_000_000);
    bob.ping();
    let mut alice = JsonClient::login(&server, "alice");
    alice.say("1", &["bob"], "one");
    alice.say("2", &["bob"], "two");
    assert_eq!(texts(&mut bob, 2), ["one", "two"]);
    bob.ping();
    bob.reset();
    let mut bob = JsonClient::login_with_acks(&server, "bob");
    assert_eq!(texts(&mut bob, 2), ["one", "two"]);
    for seq in [-1, 0] {
        bob.ack(seq);
    }
    let answers = bob.ping();
    assert!(answers.len() <= 1, "a number below 0 is an error, 0 is none: {answers:?}");
    bob.reset();
    let mut bob = JsonClient::login_with_acks(&server, "bob");
    assert_eq!(texts(&mut bob, 2), ["one", "two"]);
    bob.ack(1_000_000);
    bob.ping();
    bob.reset();
    JsonClient::login_with_acks(&server, "bob").expect_nothing();
}

#[test]
fn many_unacknowledged_messages_are_all_repeated() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(&support::flood("bob", 0..9000, 20));
    alice.ping();
    // The seq of number n is n + 1: so many are acknowledged, and so many had been before.
    for (before, acknowledged) in [(0, 0), (0, 5000), (5000, 9000)] {
        let mut bob = JsonClient::connect(&server);
        assert_eq!(bob.log_in("bob", true)["waiting"], 9000 - before);
        let text = |message: Value| message["text"].as_str().unwrap().split(' ').next().unwrap().parse().unwrap();
        let numbers: Vec<usize> = (before..9000).map(|_| text(bob.expect("message"))).collect();
        assert_eq!(numbers.first(), Some(&before));
        assert_contiguous(&numbers);
        bob.ack(acknowledged);
        bob.ping();
        bob.reset();
    }
    JsonClient::login_with_acks(&server, "bob").expect_nothing();
}

#[test]
fn message_received_by_a_plain_connection_of_the_same_name_counts_as_delivered() {
    let server = TestServer::start();
    let mut program = JsonClient::login_with_acks(&server, "bob");
    let mut person = TestClient::login(&server, "bob");
    let mut alice = JsonClient::login(&server, "alice");
    alice.say("1", &["bob"], "hi");
    assert_eq!(texts(&mut program, 1), ["hi"]);
    person.expect("from alice: hi");
    server.wait_until_delivered("bob");
}

#[test]
fn mailbox_of_a_client_that_never_acknowledges_fills_up() {
    let server = TestServer::with_config("limits.mailbox_max = 100");
    let mut bob = JsonClient::login_with_acks(&server, "bob");
    let mut alice = TestClient::login(&server, "alice");
    let mut accepted = 0;
    for _ in 0..10 {
        alice.send_bytes(&support::flood("bob", accepted..accepted + 500, 0));
        let refused = alice.ping().iter().filter(|line| line.starts_with("! mailbox_full: ")).count();
        for _ in 0..500 - refused {
            bob.expect("message");
        }
        accepted += 500 - refused;
        if refused > 0 {
            bob.ack(accepted as i64);
            bob.ping();
            alice.send("bob: there is room again");
            alice.expect_nothing();
            return;
        }
    }
    panic!("{accepted} messages were accepted");
}

// Ids and acknowledgements together

/// Sends everything that is not accepted yet, and notes what is, until the connection breaks or all is.
fn send_some(server: &TestServer, accepted: &mut BTreeMap<usize, i64>, total: usize, stop_after: usize) {
    let mut alice = JsonClient::login(server, "alice");
    let missing: Vec<usize> = (0..total).filter(|number| !accepted.contains_key(number)).take(stop_after).collect();
    let frames = missing.iter().map(|number| {
        json!({"type": "send", "id": format!("n{number}"), "to": ["bob"], "text": number.to_string()}).to_string()
            + "\n"
    });
    alice.send_bytes(frames.collect::<String>().as_bytes());
    // Half of the answers are never heard.
    for number in missing.iter().take(missing.len().div_ceil(2)) {
        let Some(frame) = alice.wait_for("accepted") else { break };
        assert_eq!(frame["id"], format!("n{number}"));
        accepted.insert(*number, frame["seq"].as_i64().unwrap());
    }
    alice.reset();
}

#[test]
fn messages_arrive_exactly_once_despite_crashes_of_server_sender_and_receiver() {
    const TOTAL: usize = 2000;
    let mut server = TestServer::start();
    let mut accepted = BTreeMap::new();
    let mut got: BTreeMap<i64, usize> = BTreeMap::new();
    for round in 0..10 {
        send_some(&server, &mut accepted, TOTAL, 400);
        // A receiver that takes some, acknowledges fewer, and drops what it has seen.
        let mut bob = JsonClient::login_with_acks(&server, "bob");
        let mut last = 0;
        for _ in 0..100 + 10 * round {
            let Some(frame) = bob.wait_for("message") else { break };
            last = frame["seq"].as_i64().unwrap();
            let number = frame["text"].as_str().unwrap().parse().unwrap();
            assert!(got.insert(last, number).is_none_or(|earlier| earlier == number), "seq {last} is one message");
        }
        bob.ack(last - 7);
        if round % 2 == 0 {
            bob.ping();
        }
        bob.reset();
        crash(&mut server);
    }
    while accepted.len() < TOTAL {
        send_some(&server, &mut accepted, TOTAL, TOTAL);
    }
    let mut bob = JsonClient::login_with_acks(&server, "bob");
    for frame in bob.ping() {
        let number = frame["text"].as_str().unwrap().parse().unwrap();
        got.insert(frame["seq"].as_i64().unwrap(), number);
    }
    while got.len() < TOTAL {
        let frame = bob.expect("message");
        got.insert(frame["seq"].as_i64().unwrap(), frame["text"].as_str().unwrap().parse().unwrap());
    }
    let mut numbers: Vec<usize> = got.values().copied().collect();
    numbers.sort_unstable();
    assert_eq!(numbers, Vec::from_iter(0..TOTAL), "each once");
    for (number, seq) in &accepted {
        assert_eq!(got[seq], *number, "it was accepted as {seq}");
    }
    assert_eq!(server.sqlite("select count(*) from history"), TOTAL.to_string());
}
