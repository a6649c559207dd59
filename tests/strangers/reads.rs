//! Reads: searches, histories and logins that have much to read take turns with the others.

use std::sync::atomic::{AtomicBool, Ordering};

use super::support::{Pair, TestClient, TestServer, flood};

fn is_over(is_over: &AtomicBool) -> bool {
    is_over.load(Ordering::Relaxed)
}

/// Sends messages that are numbered from 0, and waits until they are accepted.
fn send(server: &TestServer, sender: &str, to: &str, messages: usize) {
    let mut client = TestClient::login(server, sender);
    for first in (0..messages).step_by(1000) {
        client.send_bytes(&flood(to, first..messages.min(first + 1000), 0));
        client.ping();
    }
    client.quit();
}

fn words(count: usize) -> String {
    Vec::from_iter((0..count).map(|number| format!("w{number:03x}"))).join(" ")
}

#[test]
fn search_for_many_words_is_refused_or_takes_turns() {
    let server = TestServer::start();
    let mut mallory = TestClient::login(&server, "mallory");
    for _ in 0..20 {
        mallory.send(&format!("mallory: {}", words(1500)));
    }
    mallory.ping();
    Pair::login(&server).withstand(4, |_, over| {
        let mut mallory = TestClient::login(&server, "mallory");
        mallory.ping();
        while !is_over(over) {
            mallory.send(&format!("/search {}", words(1500)));
            let error = mallory.expect_error("bad_request");
            assert!(error.contains("1500 words are too many to search for; give at most 128"), "{error}");
            mallory.send(&format!("/search {}", words(128)));
            let found = mallory.ping().iter().filter(|line| line.contains("w000 w001")).count();
            assert_eq!(found, 20);
        }
    });
}

#[test]
fn login_with_many_own_messages_takes_turns_and_none_of_them_waits() {
    let server = TestServer::start();
    let mut sensor = TestClient::login(&server, "sensor");
    sensor.send("/join #home");
    sensor.ping();
    send(&server, "sensor", "#home", 40_000);
    // A session that is still there did not take the messages: they count as waiting for the name until it leaves.
    Pair::login(&server).withstand(4, |_, over| {
        while !is_over(over) {
            let mut client = TestClient::connect(&server);
            client.send("sensor");
            assert_eq!(client.expect_line(), "* hello sensor, /help lists the commands");
            client.ping();
            client.reset();
        }
    });
}

#[test]
fn login_after_everything_was_received_scans_nothing_again() {
    let server = TestServer::start();
    let mut sensor = TestClient::login(&server, "sensor");
    sensor.send("/join #home\nsensor: hi");
    sensor.expect("from sensor: hi");
    sensor.send_bytes(&flood("#home", 0..100, 0));
    sensor.ping();
    server.wait_until_delivered("sensor");
    sensor.quit();
    server.wait_until_gone("sensor");
    let cursor = || server.sqlite("select cursor from peer where name = 'sensor'");
    super::support::eventually("the cursor passes the own messages", || cursor() == "101");
}

#[test]
fn history_without_a_message_takes_turns() {
    let server = TestServer::with_config("limits.mailbox_max = 0");
    TestClient::login(&server, "nobody1").quit();
    send(&server, "mallory", "mallory, target", 20_000);
    Pair::login(&server).withstand(8, |_, over| {
        let mut mallory = TestClient::login(&server, "mallory");
        mallory.ping();
        while !is_over(over) {
            mallory.send("/history nobody1");
            mallory.ping();
            mallory.send("/history target 3");
            let lines = mallory.ping();
            let past = lines.iter().filter(|line| line.contains("to mallory, target: ")).count();
            assert_eq!(past, 3, "{lines:?}");
        }
    });
}

#[test]
fn login_with_many_waiting_messages_takes_turns() {
    let server = TestServer::start();
    let names = ["absent0", "absent1", "absent2", "absent3"];
    for name in names {
        let mut client = TestClient::login(&server, name);
        client.send("/join #big");
        client.ping();
        client.quit();
    }
    let mut talker = TestClient::login(&server, "talker");
    talker.send("/join #big");
    talker.ping();
    send(&server, "talker", "#big", 20_000);
    Pair::login(&server).withstand(names.len(), |stranger, over| {
        while !is_over(over) {
            let mut client = TestClient::connect(&server);
            client.send(names[stranger]);
            let greeting = client.expect_line();
            assert!(greeting.starts_with(&format!("* hello {}", names[stranger])), "{greeting}");
            client.reset();
        }
    });
}
