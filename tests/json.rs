//! JSON lines: every frame of the contract, errors of a line after which the connection continues, and chats between
//! JSON and plain clients. Owns what a program reads; persistence across crashes is in `exactly_once.rs`.

mod support;

use serde_json::{Value, json};

use support::{JsonClient, TestClient, TestServer, eventually};

/// Checks that this is a time as every frame writes it.
#[track_caller]
fn assert_time(at: &Value) {
    let at = at.as_str().unwrap_or_else(|| panic!("{at} is no time"));
    let form: String = at.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(form, "0000-00-00T00:00:00.000Z", "{at}");
}

/// Returns the keys of a frame, in their order.
fn keys(frame: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut rest = frame;
    while let Some((_, after)) = rest.split_once('"') {
        let Some((key, after)) = after.split_once('"') else { break };
        if after.starts_with(':') {
            keys.push(key.to_owned());
        }
        rest = after;
    }
    keys
}

// Login

#[test]
fn welcome_has_the_number_of_waiting_messages() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: one");
    alice.send("bob: two");
    alice.ping();
    let mut bob = JsonClient::connect(&server);
    let welcome = bob.log_in("Bob", false);
    let server_name = welcome["server"].as_str().unwrap().to_owned();
    assert!(server_name.starts_with("holdline "), "{server_name}");
    let database = server.sqlite("select database from identity");
    let expected = json!({
        "type": "welcome", "name": "bob", "server": server_name, "protocol": 1, "waiting": 2, "database": database, "newest": 2,
    });
    assert_eq!(welcome, expected);
    bob.expect_message("one");
    bob.expect_message("two");
    bob.expect_nothing();
}

#[test]
fn refused_login_may_be_tried_again() {
    let server = TestServer::start();
    let mut client = JsonClient::connect(&server);
    for (line, code, id) in [
        (r#"{"type":"send","id":"1","to":["bob"],"text":"hi"}"#, "not_logged_in", json!("1")),
        (r#"{"type":"ping","id":"2"}"#, "not_logged_in", json!("2")),
        (r#"{"type":"frob","id":"3"}"#, "unknown_type", json!("3")),
        (r#"{"type":"login","id":"4"}"#, "bad_request", json!("4")),
        (r#"{"type":"login","id":"5","name":"b ob"}"#, "bad_name", json!("5")),
        (r#"{"type":"login","id":"6","name":" bob"}"#, "bad_name", json!("6")),
        (r#"{"type":"login","id":"7","name":7}"#, "bad_request", json!("7")),
        (r#"{"type":"login","name":"#, "bad_request", Value::Null),
        ("hello", "bad_request", Value::Null),
    ] {
        client.send_line(line);
        let error = client.expect_error(code);
        assert_eq!(error["id"], id, "{line} → {error}");
        assert!(error["message"].as_str().is_some_and(|words| !words.is_empty()), "{error}");
    }
    client.log_in("bob", false);
    client.send(json!({"type": "login", "id": "x", "name": "carol"}));
    assert_eq!(client.expect_error("logged_in_already")["id"], "x");
    client.expect_nothing();
}

#[test]
fn line_may_be_longer_once_the_client_is_logged_in() {
    let server = TestServer::start();
    let mut client = JsonClient::connect(&server);
    let ignored = |bytes: usize| format!(r#""ignored":"{}""#, "x".repeat(bytes));
    let login = |bytes: usize| {
        let line = format!(r#"{{"type":"login","name":"bob",{}}}"#, ignored(0));
        line.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - line.len())))
    };
    client.send_line(&login(8193));
    let error = client.expect_error("too_long");
    let words = "the line is longer than 8192 bytes; not logged in, try again";
    assert_eq!(error, json!({"type": "error", "code": "too_long", "message": words}));
    client.send_line(&login(8192));
    assert_eq!(client.expect("welcome")["name"], "bob");
    client.send_line(&format!(r#"{{"type":"ping","id":"p",{}}}"#, ignored(60_000)));
    assert_eq!(client.expect("pong")["id"], "p");
}

#[test]
fn error_repeats_little_of_a_long_line() {
    let server = TestServer::start();
    let mut bob = JsonClient::login(&server, "bob");
    let long = "x".repeat(60_000);
    let lines = [
        format!("\"{long}\""),
        format!("\"{}\"", "é\\u001b\\\"`".repeat(4000)),
        format!("[\"{long}\"]"),
        long.clone(),
        format!("{{\"{long}\":1,\"{long}"),
        format!("{{\"{0}\":1,\"{0}\":2}}", &long[..30_000]),
        format!(r#"{{"type":"{long}"}}"#),
        format!(r#"{{"type":["{long}"]}}"#),
        format!(r#"{{"type":"who","id":"{long}"}}"#),
        format!(r#"{{"type":"who","id":{{"a":"{long}"}}}}"#),
        format!(r#"{{"type":"send","to":["{long}"],"text":"hi"}}"#),
        format!(r#"{{"type":"send","to":"{long}","text":"hi"}}"#),
        format!(r#"{{"type":"send","to":["bob"],"text":["{long}"]}}"#),
        format!(r##"{{"type":"join","room":"#{long}"}}"##),
        format!(r#"{{"type":"topic","room":"{long}"}}"#),
        format!(r#"{{"type":"history","limit":"{long}"}}"#),
        format!(r#"{{"type":"history","before":{}}}"#, "9".repeat(60_000)),
        format!(r#"{{"type":"history","with":"{long}"}}"#),
        format!(r#"{{"type":"search","text":"{}"}}"#, "?".repeat(60_000)),
        format!(r#"{{"type":"command","name":"{long}"}}"#),
        format!(r#"{{"type":"ack","seq":"{long}"}}"#),
    ];
    for line in lines {
        bob.send_line(&line);
        let error = bob.answer("error");
        let words = error["message"].as_str().expect("words");
        assert!(words.chars().count() < 300, "{words}");
        assert!(!words.contains(&"x".repeat(41)) && !words.contains(&"9".repeat(41)), "{words}");
    }
    bob.expect_nothing();
}

#[test]
fn password_for_a_name_without_one_is_refused_and_the_third_attempt_closes() {
    let server = TestServer::start();
    let mut client = JsonClient::connect(&server);
    for _ in 0..3 {
        client.send(json!({"type": "login", "name": "bob", "password": "secret"}));
        client.expect_error("bad_password");
    }
    assert_eq!(client.expect_closed(), [0; 0]);
}

// Messages

#[test]
fn message_has_all_fields_in_the_order_of_the_contract() {
    let server = TestServer::start();
    let mut alice = JsonClient::login(&server, "alice");
    let mut bob = JsonClient::login(&server, "bob");
    alice.send(json!({"type": "send", "id": "c1", "to": ["bob", "carol"], "text": "hi"}));
    let accepted = alice.expect("accepted");
    assert_time(&accepted["at"]);
    assert_eq!(accepted, json!({"type": "accepted", "id": "c1", "seq": 1, "at": accepted["at"]}));
    let message = bob.expect("message");
    let expected = json!({"type": "message", "seq": 1, "at": accepted["at"], "from": "alice", "to": ["bob", "carol"], "text": "hi"});
    assert_eq!(message, expected);
}

#[test]
fn frames_are_written_as_in_the_contract() {
    let server = TestServer::start();
    let mut raw = TestClient::connect(&server);
    raw.send(r#"{"type":"login","name":"alice"}"#);
    assert_eq!(keys(&raw.expect_line()), ["type", "name", "server", "protocol", "waiting", "database", "newest"]);
    raw.send(r##"{"type":"join","id":"j","room":"#A"}"##);
    let mut next = || loop {
        let line = raw.expect_line();
        if !line.starts_with(r#"{"type":"presence""#) {
            return line;
        }
    };
    assert_eq!(next(), r##"{"type":"joined","id":"j","room":"#a"}"##);
    let mut bob = TestClient::login(&server, "bob");
    bob.send("/join #a");
    bob.send("#a: hi");
    let message = next();
    assert!(message.starts_with(r#"{"type":"message","seq":1,"at":"2"#), "{message}");
    assert_eq!(keys(&message), ["type", "seq", "at", "from", "to", "room", "text"]);
}

#[test]
fn plain_and_json_clients_talk_with_each_other() {
    let server = TestServer::start();
    let mut alice = JsonClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send(json!({"type": "join", "id": "j", "room": "#home"}));
    assert_eq!(alice.expect("joined"), json!({"type": "joined", "id": "j", "room": "#home"}));
    bob.send("/join #home");
    bob.sync();
    alice.say("1", &["bob"], "two\nlines\r\nand a \u{1b}[31m tab\t");
    bob.expect("from alice: two lines and a \u{fffd}[31m tab\t");
    alice.say("2", &["#home"], "  kept as sent  ");
    bob.expect("from alice in #home:   kept as sent  ");
    bob.send("alice: direct");
    bob.send("#home: in the room");
    let direct = alice.expect("message");
    assert_eq!(
        (&direct["text"], &direct["from"], &direct["to"], &direct["room"]),
        (&json!("direct"), &json!("bob"), &json!(["alice"]), &Value::Null)
    );
    let in_room = alice.expect("message");
    assert_eq!(
        (&in_room["text"], &in_room["to"], &in_room["room"]),
        (&json!("in the room"), &json!(["#home"]), &json!("#home"))
    );
    bob.send("#home, alice: both");
    let both = alice.expect("message");
    assert_eq!((&both["to"], &both["room"]), (&json!(["#home", "alice"]), &Value::Null), "it came directly");
    // The tables store newlines; the views show one line.
    let texts = server.sqlite("select count(*) from message where text = 'two' || char(10) || 'lines' || char(10) || 'and a ' || char(65533) || '[31m tab' || char(9)");
    assert_eq!(texts, "1");
    assert_eq!(server.sqlite("select text from history where seq = 1"), "two lines and a \u{fffd}[31m tab\t");
}

#[test]
fn replayed_frames_equal_live_frames() {
    let server = TestServer::start();
    let mut bob = JsonClient::login_with_acks(&server, "bob");
    let mut alice = JsonClient::login(&server, "alice");
    for client in [&mut bob, &mut alice] {
        client.send(json!({"type": "join", "id": "j", "room": "#home"}));
        client.expect("joined");
    }
    alice.say("1", &["bob", "carol"], "direct\n€ 𝄞");
    alice.say("2", &["#home"], "in the room");
    alice.say("3", &["#home", "bob"], "both");
    let read = |bob: &mut JsonClient| (0..3).map(|_| bob.expect("message")).collect::<Vec<_>>();
    let live = read(&mut bob);
    bob.reset();
    let mut bob = JsonClient::connect(&server);
    assert_eq!(bob.log_in("bob", true)["waiting"], 3);
    assert_eq!(read(&mut bob), live);
    bob.expect_nothing();
}

#[test]
fn invalid_send_is_refused_with_the_reason_and_sends_nothing() {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    let mut alice = JsonClient::login(&server, "alice");
    let long = "x".repeat(8193);
    for (frame, code) in [
        (json!({"to": ["bob"], "text": ""}), "empty"),
        (json!({"to": ["bob"], "text": " \n\t"}), "empty"),
        (json!({"to": ["bob"], "text": long}), "too_long"),
        (json!({"to": ["bob"]}), "bad_request"),
        (json!({"text": "hi"}), "bad_request"),
        (json!({"to": [], "text": "hi"}), "bad_request"),
        (json!({"to": "bob", "text": "hi"}), "bad_request"),
        (json!({"to": ["bob", 1], "text": "hi"}), "bad_request"),
        (json!({"to": ["bob"], "text": ["hi"]}), "bad_request"),
        (json!({"to": ["bob", ""], "text": "hi"}), "bad_name"),
        (json!({"to": [" bob"], "text": "hi"}), "bad_name"),
        (json!({"to": ["bob", "#"], "text": "hi"}), "bad_name"),
        (json!({"to": ["bob", "#garden"], "text": "hi"}), "not_a_member"),
    ] {
        let mut frame = frame;
        frame["type"] = json!("send");
        frame["id"] = json!("x");
        alice.send(frame.clone());
        let error = alice.expect_error(code);
        assert_eq!(error["id"], "x", "{frame} → {error}");
        assert!(error["message"].as_str().unwrap().ends_with("not sent"), "{error}");
    }
    for id in [json!(""), json!("x".repeat(65)), json!(5), json!(["x"])] {
        alice.send(json!({"type": "send", "id": id, "to": ["bob"], "text": "hi"}));
        assert_eq!(alice.expect_error("bad_request").get("id"), None);
    }
    alice.expect_nothing();
    bob.expect_nothing();
    let largest = "€".repeat(2730);
    alice.say("x", &["bob", "Bob"], &largest);
    bob.expect(&format!("from alice: {largest}"));
    bob.expect_nothing();
}

#[test]
fn hostile_lines_are_answered_with_their_id_and_the_connection_continues() {
    let server = TestServer::start();
    let mut client = JsonClient::login(&server, "alice");
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    for (line, code, id) in [
        (r#"{"type":"ping","id":"a""#.to_owned(), "bad_request", json!("a")),
        (r#"{"type":"ping","id":"b"}}"#.to_owned(), "bad_request", json!("b")),
        (r#"{"id":"c"}"#.to_owned(), "bad_request", json!("c")),
        (r#"{"type":"frob","id":"d"}"#.to_owned(), "unknown_type", json!("d")),
        (r#"{"type":7,"id":"e"}"#.to_owned(), "bad_request", json!("e")),
        (r#"{"id":"f","type":"ping","type":"ping"}"#.to_owned(), "bad_request", json!("f")),
        (r#"{"id":"g","type":"send","to":["bob"],"text":"a","text":"b"}"#.to_owned(), "bad_request", json!("g")),
        (r#"{"id":"h","type":"send","to":["bob"],"text":"\ud800"}"#.to_owned(), "bad_request", json!("h")),
        (format!(r#"{{"id":"i","type":"send","to":{deep},"text":"a"}}"#), "bad_request", json!("i")),
        (r#"{"id":"j","type":"history","limit":1e999}"#.to_owned(), "bad_request", json!("j")),
        (r#"{"id":"k","type":"history","limit":123456789012345678901234567890}"#.to_owned(), "bad_request", json!("k")),
        (r#"{"id":"l","type":"history","limit":-1}"#.to_owned(), "bad_request", json!("l")),
        (r#"{"id":"m","type":"history","before":1.5}"#.to_owned(), "bad_request", json!("m")),
        (r#"{"id":"n","type":"join","room":"kitchen"}"#.to_owned(), "bad_name", json!("n")),
        ("[]".to_owned(), "bad_request", Value::Null),
        ("null".to_owned(), "bad_request", Value::Null),
        ("\u{feff}{}".to_owned(), "bad_request", Value::Null),
        (format!("{{\"type\":\"ping\",\"x\":\"{}\"}}", "x".repeat(70_000)), "too_long", Value::Null),
    ] {
        client.send_line(&line);
        let shown: String = line.chars().take(60).collect();
        let error = client.expect("error");
        assert_eq!((&error["code"], &error["id"]), (&json!(code), &id), "{shown} → {error}");
    }
    client.send_bytes(b"{\"type\":\"ping\",\"id\":\"\xff\"}\n");
    client.expect_error("not_utf8");
    client.send_line("");
    client.send_line("  \t ");
    // Unknown keys are ignored, whatever their values.
    client.send_line(&format!(r#"{{"future":{deep},"more":1e999,"type":"ping","id":"ok","again":{{"x":1,"x":2}}}}"#));
    assert_eq!(client.expect("pong"), json!({"type": "pong", "id": "ok"}));
    client.expect_nothing();
}

#[test]
fn last_line_without_a_newline_counts_and_the_backlog_is_written_before_the_close() {
    let server = TestServer::start();
    let mut alice = JsonClient::login(&server, "alice");
    alice.send_bytes(br#"{"type":"send","id":"1","to":["alice"],"text":"to myself"}"#);
    alice.shutdown_write();
    let frames = alice.expect_closed();
    let kinds: Vec<_> =
        frames.iter().map(|frame| frame["type"].as_str().unwrap()).filter(|kind| *kind != "presence").collect();
    assert_eq!(kinds.len(), 2, "{frames:?}");
    assert!(kinds.contains(&"accepted") && kinds.contains(&"message"), "{frames:?}");
}

// Sent, presence, who

#[test]
fn message_is_copied_to_other_programs_of_its_sender() {
    let server = TestServer::start();
    let mut first = JsonClient::login(&server, "alice");
    let mut second = JsonClient::login(&server, "alice");
    let mut plain = TestClient::login(&server, "alice");
    first.send(json!({"type": "join", "id": "j", "room": "#home"}));
    first.expect("joined");
    first.say("1", &["bob"], "hi");
    let sent = second.expect("sent");
    assert_eq!(sent, json!({"type": "sent", "seq": 1, "at": sent["at"], "from": "alice", "to": ["bob"], "text": "hi"}));
    first.expect_nothing();
    plain.send("#home: from nc");
    for client in [&mut first, &mut second] {
        let sent = client.expect("sent");
        assert_eq!(
            (&sent["text"], &sent["to"], &sent["room"]),
            (&json!("from nc"), &json!(["#home"]), &json!("#home"))
        );
    }
    plain.expect_nothing();
}

#[test]
fn programs_receive_presence_once_for_each_name() {
    let server = TestServer::start();
    let mut alice = JsonClient::login(&server, "alice");
    alice.ping();
    let bob = TestClient::login(&server, "bob");
    let other_bob = TestClient::login(&server, "bob");
    assert_eq!(alice.next_frame(), json!({"type": "presence", "name": "bob", "here": true}));
    bob.quit();
    let carol = JsonClient::login(&server, "carol");
    assert_eq!(alice.next_frame(), json!({"type": "presence", "name": "carol", "here": true}));
    other_bob.reset();
    assert_eq!(alice.next_frame(), json!({"type": "presence", "name": "bob", "here": false}));
    drop(carol);
    assert_eq!(alice.next_frame(), json!({"type": "presence", "name": "carol", "here": false}));
}

#[test]
fn who_lists_online_peers_and_own_rooms() {
    let server = TestServer::start();
    let mut alice = JsonClient::login(&server, "alice");
    let _bob = TestClient::login(&server, "bob");
    for room in ["#b", "#a"] {
        alice.send(json!({"type": "join", "room": room}));
        assert_eq!(alice.expect("joined"), json!({"type": "joined", "room": room}));
    }
    alice.send(json!({"type": "who", "id": "w"}));
    assert_eq!(alice.expect("who"), json!({"type": "who", "id": "w", "here": ["alice", "bob"], "rooms": ["#a", "#b"]}));
    alice.send(json!({"type": "leave", "id": "l", "room": "#b"}));
    assert_eq!(alice.expect("left"), json!({"type": "left", "id": "l", "room": "#b"}));
    alice.send(json!({"type": "leave", "id": "l", "room": "#b"}));
    assert_eq!(alice.expect_error("not_a_member")["id"], "l");
}

// History

/// Asks for a page of a history. Gives the texts, and whether there is more.
#[track_caller]
fn page(client: &mut JsonClient, mut frame: Value) -> (Vec<String>, bool, Vec<i64>) {
    frame["type"] = json!("history");
    frame["id"] = json!("h");
    client.send(frame);
    let answer = client.wait_for("history").unwrap();
    assert_eq!(answer["id"], "h");
    let messages = answer["messages"].as_array().unwrap();
    let texts = messages.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect();
    let seqs = messages.iter().map(|message| message["seq"].as_i64().unwrap()).collect();
    (texts, answer["more"].as_bool().unwrap(), seqs)
}

#[test]
fn history_is_paged_from_newest_to_oldest_without_gaps_or_duplicates() {
    let server = TestServer::start();
    let mut alice = JsonClient::login(&server, "alice");
    let mut bob = JsonClient::login(&server, "bob");
    for client in [&mut alice, &mut bob] {
        client.send(json!({"type": "join", "room": "#home"}));
        client.expect("joined");
    }
    for number in 0..120 {
        let (sender, to) = match number % 3 {
            0 => (&mut alice, "bob"),
            1 => (&mut bob, "alice"),
            _ => (&mut alice, "#home"),
        };
        sender.send(json!({"type": "send", "to": [to], "text": number.to_string()}));
        sender.wait_for("accepted");
        sender.ping();
    }
    for (with, numbers) in [
        (Value::Null, Vec::from_iter(0..120)),
        (json!("bob"), Vec::from_iter((0..120).filter(|number| number % 3 < 2))),
        (json!("#home"), Vec::from_iter((0..120).filter(|number| number % 3 == 2))),
    ] {
        let mut all: Vec<String> = Vec::new();
        let mut before = Value::Null;
        loop {
            let (texts, more, seqs) = page(&mut alice, json!({"with": with, "before": before, "limit": 7}));
            assert!(texts.len() == 7 || !more, "{texts:?}");
            all.splice(0..0, texts);
            if !more {
                break;
            }
            before = json!(seqs[0]);
        }
        assert_eq!(all, Vec::from_iter(numbers.iter().map(i32::to_string)), "with {with}");
    }
}

#[test]
fn history_shows_only_own_conversations() {
    let server = TestServer::start();
    let mut alice = JsonClient::login(&server, "alice");
    let mut bob = JsonClient::login(&server, "bob");
    let mut eve = JsonClient::login(&server, "eve");
    for client in [&mut alice, &mut bob] {
        client.send(json!({"type": "join", "room": "#home"}));
        client.expect("joined");
    }
    alice.say("1", &["bob"], "secret");
    alice.say("2", &["#home"], "in the room");
    for (with, code) in
        [(json!("alice"), None), (json!("bob"), None), (Value::Null, None), (json!("#home"), Some("not_a_member"))]
    {
        match code {
            None => assert_eq!(page(&mut eve, json!({"with": with})), (vec![], false, vec![])),
            Some(code) => {
                eve.send(json!({"type": "history", "id": "h", "with": with}));
                assert_eq!(eve.expect_error(code)["id"], "h");
            }
        }
    }
    eve.send(json!({"type": "join", "room": "#home"}));
    eve.expect("joined");
    assert_eq!(page(&mut eve, json!({"with": "#home"})), (vec![], false, vec![]));
    alice.say("3", &["#home"], "welcome");
    assert_eq!(page(&mut eve, json!({"with": "#home"})).0, ["welcome"]);
    let whole = page(&mut alice, json!({}));
    assert_eq!(whole.0, ["secret", "in the room", "welcome"]);
}

#[test]
fn programs_receive_no_plain_notices() {
    let server = TestServer::start();
    let mut alice = JsonClient::login(&server, "alice");
    alice.say("1", &["nobody"], "kept");
    alice.send(json!({"type": "join", "room": "#alone"}));
    alice.expect("joined");
    alice.say("2", &["#alone"], "nobody hears");
    alice.expect_nothing();
}

#[test]
fn shutdown_is_announced_as_an_error_with_its_code() {
    let mut server = TestServer::start();
    let mut alice = JsonClient::login(&server, "alice");
    alice.ping();
    server.signal(rustix::process::Signal::TERM);
    let frames = alice.expect_closed();
    assert_eq!(frames.last().map(|frame| &frame["code"]), Some(&json!("shutting_down")), "{frames:?}");
    assert_eq!(server.wait().code(), Some(0));
    eventually("the log contains no panic", || !server.log().contains("panicked"));
}
