//! Topics of rooms, in both protocols: which members may set one, which clients read it and when, and that it is stored.
//! Owns the lines and frames about topics.

mod support;

use serde_json::json;

use support::{JsonClient, TestClient, TestServer, chat};

#[test]
fn member_sets_the_topic_and_everybody_who_asks_sees_it() {
    let server = TestServer::start();
    chat(
        &server,
        "
        alice > alice
        bob   > bob
        alice > /join #home
        alice > /topic #home
        alice * #home has no topic
        bob   > /join #home
        alice > /topic #home   dinner \t at 7
        alice * the topic of #home: dinner \t at 7
        bob   * alice set the topic of #home: dinner \t at 7
        bob   > /topic #HOME
        bob   * the topic of #home: dinner \t at 7
        bob   > /who
        bob   * #home: alice, bob
        bob   * the topic of #home: dinner \t at 7
        carol > carol
        carol > /join #home
        carol * you are in #home now
        carol * the topic of #home: dinner \t at 7
        carol > /topic #home -
        carol * #home has no topic
        alice * carol cleared the topic of #home
        bob   * carol cleared the topic of #home
        ",
    );
}

#[test]
fn only_members_set_or_see_a_topic() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send("/join #home");
    alice.send("/topic #home secret");
    alice.ping();
    for (line, code, words) in [
        ("/topic #home", "not_a_member", "you are not in #home; nothing is shown"),
        ("/topic #home mine", "not_a_member", "you are not in #home; nothing was done"),
        ("/topic #nowhere mine", "not_a_member", "you are not in #nowhere; nothing was done"),
        ("/topic", "bad_request", "/topic takes a #ROOM, such as /topic #home; nothing was done"),
        ("/topic home", "bad_name", "\"home\" does not start with \"#\""),
        (
            &format!("/topic #home {}", "x".repeat(513)),
            "too_long",
            "the topic is longer than 512 bytes; nothing was done",
        ),
    ] {
        bob.send(line);
        let error = bob.expect_error(code);
        assert!(error.contains(words), "{error}");
    }
    bob.send("/who");
    let rooms = bob.ping();
    assert!(!rooms.iter().any(|line| line.contains("secret")), "{rooms:?}");
    alice.send(&format!("/topic #home {}", "x".repeat(512)));
    alice.expect_notice(&"x".repeat(512));
}

#[test]
fn programs_set_and_see_topics_too() {
    let server = TestServer::start();
    let mut alice = JsonClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    assert_eq!(
        alice.ask(json!({"type": "join", "id": "j", "room": "#home"})),
        json!({"type": "joined", "id": "j", "room": "#home"})
    );
    bob.send("/join #home");
    bob.ping();
    assert_eq!(
        alice.ask(json!({"type": "topic", "id": "t", "room": "#Home", "text": "dinner\u{1B} at 7"})),
        json!({"type": "topic", "id": "t", "room": "#home", "text": "dinner\u{FFFD} at 7"})
    );
    bob.expect_notice("alice set the topic of #home: dinner\u{FFFD} at 7");
    let mut other = JsonClient::login(&server, "alice");
    other.ping();
    bob.send("/topic #home lunch");
    bob.ping();
    let announced = json!({"type": "topic", "room": "#home", "name": "bob", "text": "lunch"});
    assert_eq!(alice.expect("topic"), announced);
    assert_eq!(other.expect("topic"), announced);
    assert_eq!(
        alice.ask(json!({"type": "topic", "id": "s", "room": "#home"})),
        json!({"type": "topic", "id": "s", "room": "#home", "text": "lunch"})
    );
    assert_eq!(
        alice.ask(json!({"type": "who", "id": "w"})),
        json!({"type": "who", "id": "w", "here": ["alice", "bob"], "rooms": ["#home"], "topics": {"#home": "lunch"}})
    );
    assert_eq!(
        alice.ask(json!({"type": "join", "id": "j", "room": "#home"})),
        json!({"type": "joined", "id": "j", "room": "#home", "topic": "lunch"})
    );
    assert_eq!(
        alice.ask(json!({"type": "topic", "id": "c", "room": "#home", "text": ""})),
        json!({"type": "topic", "id": "c", "room": "#home", "text": ""})
    );
    // The announcement to her other session has no id.
    assert_eq!(other.expect("topic"), json!({"type": "topic", "room": "#home", "name": "alice", "text": ""}));
    let error = alice.ask(json!({"type": "topic", "id": "l", "room": "#home", "text": "x".repeat(513)}));
    assert_eq!(
        (&error["code"], &error["message"]),
        (&json!("too_long"), &json!("the topic is longer than 512 bytes; nothing was done"))
    );
}

#[test]
fn topic_survives_a_restart_and_empty_rooms() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    for line in ["/join #home", "/topic #home dinner at 7", "/join #garden", "/topic #garden seeds", "/topic #garden -"]
    {
        alice.send(line);
    }
    alice.ping();
    drop(alice);
    assert_eq!(server.sqlite("select name, topic from room order by name"), "#garden|\n#home|dinner at 7");
    server.restart();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/topic #home");
    alice.expect_notice("the topic of #home: dinner at 7");
    alice.send("/topic #garden");
    alice.expect_notice("#garden has no topic");
    // A room without members and messages would be removed.
    alice.send("#home: see you");
    alice.send("/leave #home");
    alice.ping();
    let mut bob = TestClient::login(&server, "bob");
    bob.send("/join #home");
    bob.expect_notice("the topic of #home: dinner at 7");
}

#[test]
fn each_reply_shows_the_topic_that_was_set_last_before_it() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/join #a");
    alice.ping();
    // One packet, so that one turn takes them all.
    let lines = "/topic #a\n/topic #a one\n/topic #a\n/join #a\n/topic #a two\n/who\n/topic #a three\n/topic #a -\n";
    alice.send_bytes(lines.as_bytes());
    let replies = alice.ping();
    let topics: Vec<_> = replies.iter().filter(|line| line.contains("topic")).map(String::as_str).collect();
    let one = "* the topic of #a: one";
    let two = "* the topic of #a: two";
    assert_eq!(
        topics,
        ["* #a has no topic", one, one, one, two, two, "* the topic of #a: three", "* #a has no topic"],
        "{replies:?}"
    );
}
