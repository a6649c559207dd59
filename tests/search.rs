//! Search in both protocols: all words, any script, own messages only, newest first. Owns which messages are found;
//! speed is measured by the benchmarks.

mod support;

use std::process::Stdio;

use serde_json::{Value, json};

use support::{JsonClient, TestClient, TestServer, flood, holdline, refusal};

/// Returns the lines of a reply to `/search`, each without its `* TIME `.
#[track_caller]
fn search(client: &mut TestClient, words: &str) -> Vec<String> {
    // Lines before the reply are skipped.
    client.ping();
    client.send(&format!("/search {words}"));
    let lines = client.ping();
    lines.iter().map(|line| line.splitn(3, ' ').nth(2).unwrap_or_else(|| panic!("`{line}`")).to_owned()).collect()
}

#[track_caller]
fn search_json(client: &mut JsonClient, mut frame: Value) -> (Vec<String>, bool) {
    frame["type"] = json!("search");
    frame["id"] = json!("s");
    client.send(frame);
    let answer = client.expect("search");
    assert_eq!(answer["id"], "s");
    let texts = answer["messages"].as_array().unwrap().iter().map(|past| past["text"].as_str().unwrap().to_owned());
    (texts.collect(), answer["more"].as_bool().unwrap())
}

#[test]
fn search_finds_own_messages_with_all_words_newest_first() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    let mut eve = TestClient::login(&server, "eve");
    bob.send("/join #home");
    alice.send("/join #home");
    bob.sync();
    alice.sync();
    for line in ["bob: the boiler is broken", "bob: the boiler is fine", "#home: Boiler, again!", "eve: what boiler?"] {
        alice.send(line);
        alice.ping();
    }
    bob.send("alice: is the BOILER mended?");
    bob.sync();
    alice.sync();
    let all = [
        "to alice: is the BOILER mended?",
        "from alice in #home: Boiler, again!",
        "from alice: the boiler is fine",
        "from alice: the boiler is broken",
    ];
    assert_eq!(search(&mut bob, "boiler"), all);
    assert_eq!(
        search(&mut bob, "IS boiler the"),
        ["to alice: is the BOILER mended?", "from alice: the boiler is fine", "from alice: the boiler is broken"]
    );
    assert_eq!(search(&mut eve, "boiler"), ["from alice: what boiler?"]);
    bob.send("/search boil");
    assert_eq!(bob.ping(), ["* no messages contain that"]);
    bob.send("/search !!!");
    assert_eq!(bob.expect_line().split("; ").last(), Some("nothing is shown"));
}

#[test]
fn words_of_any_script_are_found_in_any_case() {
    let server = TestServer::start();
    let mut alice = JsonClient::login(&server, "alice");
    for (id, text) in [
        "Grüße aus der STRASSE",
        "今日は天気がいいですね",
        "สวัสดีครับ",
        "Ελλάδος ΟΔΟΣ",
        "مرحبا بالعالم",
        "naïve 日本 text",
        "우유를 사 왔어 🎉",
    ]
    .iter()
    .enumerate()
    {
        alice.say(&id.to_string(), &["bob"], text);
    }
    for (words, found) in [
        ("grüße straße", "Grüße aus der STRASSE"),
        ("天気", "今日は天気がいいですね"),
        ("です いい", "今日は天気がいいですね"),
        ("สดี", "สวัสดีครับ"),
        ("οδος", "Ελλάδος ΟΔΟΣ"),
        ("بالعالم", "مرحبا بالعالم"),
        ("NAÏVE 本", "naïve 日本 text"),
        ("naive", "naïve 日本 text"),
        ("우유", "우유를 사 왔어 🎉"),
        ("🎉", "우유를 사 왔어 🎉"),
    ] {
        assert_eq!(search_json(&mut alice, json!({"text": words})), (vec![found.to_owned()], false), "{words}");
    }
    alice.say("plain", &["bob"], "naive");
    let both = ["naive", "naïve 日本 text"].map(str::to_owned).to_vec();
    assert_eq!(search_json(&mut alice, json!({"text": "naive"})), (both, false));
    assert_eq!(search_json(&mut alice, json!({"text": "naïve"})).0, ["naïve 日本 text"]);
    for words in ["天今", "gruse", "\" OR \"", "text*", "NEAR(a b)"] {
        alice.send(json!({"type": "search", "id": "s", "text": words}));
        let answer = alice.next_frame();
        let is_none = answer["messages"] == json!([]);
        assert!(is_none || answer["code"] == "bad_request" || words == "text*", "{words}: {answer}");
    }
    alice.send(json!({"type": "search", "id": "s", "text": " "}));
    alice.expect_error("empty");
    alice.send(json!({"type": "search", "id": "s", "text": "… !!!"}));
    alice.expect_error("bad_request");
}

#[test]
fn limited_result_says_whether_there_is_more() {
    let server = TestServer::start();
    let mut alice = JsonClient::login(&server, "alice");
    for number in 0..5 {
        alice.say(&number.to_string(), &["bob"], &format!("word {number}"));
    }
    assert_eq!(
        search_json(&mut alice, json!({"text": "word", "limit": 2})),
        (vec!["word 4".into(), "word 3".into()], true)
    );
    assert!(!search_json(&mut alice, json!({"text": "word", "limit": 5})).1);
}

#[test]
fn messages_before_joining_and_of_other_rooms_are_not_found() {
    let server = TestServer::start();
    let mut alice = JsonClient::login(&server, "alice");
    let mut bob = JsonClient::login(&server, "bob");
    for room in ["#a", "#b"] {
        alice.send(json!({"type": "join", "room": room}));
        alice.expect("joined");
    }
    alice.say("1", &["#a"], "secret early");
    alice.say("2", &["#b"], "secret elsewhere");
    bob.send(json!({"type": "join", "room": "#a"}));
    bob.expect("joined");
    alice.say("3", &["#a"], "secret late");
    bob.expect_message("secret late");
    assert_eq!(search_json(&mut bob, json!({"text": "secret"})).0, ["secret late"]);
    bob.send(json!({"type": "leave", "room": "#a"}));
    bob.expect("left");
    assert_eq!(search_json(&mut bob, json!({"text": "secret"})).0, [""; 0]);
    assert_eq!(search_json(&mut alice, json!({"text": "secret"})).0.len(), 3);
}

#[test]
fn index_catches_up_in_steps_during_traffic_and_across_crashes() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    for _ in 0..3 {
        alice.send_bytes(&flood("alice", 0..8000, 30));
        alice.ping();
    }
    alice.send("alice: needle");
    alice.ping();
    assert_eq!(server.sqlite("select max(seq) from searched"), "0", "no client has searched");
    // Lines behind a search wait for it; others do not.
    alice.send("/search needle");
    alice.send("bob: after the search");
    let mut carol = TestClient::login(&server, "carol");
    carol.ping();
    let lines = alice.ping();
    assert!(lines[0].ends_with(" to alice: needle"), "{lines:?}");
    assert!(lines[1].contains("bob"), "{lines:?}");
    server.kill();
    server.start_again();
    let mut alice = TestClient::login(&server, "alice");
    assert_eq!(search(&mut alice, "needle"), ["to alice: needle"]);
    assert_eq!(search(&mut alice, "search after"), ["to bob: after the search"]);
}

#[test]
fn client_that_leaves_during_a_search_disturbs_no_other_client() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(&flood("alice", 0..20_000, 30));
    alice.ping();
    for _ in 0..20 {
        let mut client = TestClient::login(&server, "alice");
        client.send("/search 7");
        client.reset();
    }
    alice.expect_nothing();
    let mut last = TestClient::connect(&server);
    last.send_bytes(b"alice\n/search 19999\n");
    last.shutdown_write();
    let lines = last.expect_closed();
    assert!(
        lines.iter().any(|line| line.contains(" to alice: 19999 ")),
        "the last line is dealt with: {}",
        lines.len()
    );
}

// holdline search

/// Returns the output of `holdline search`, each line without its time.
#[track_caller]
fn shell(server: &TestServer, arguments: &[&str]) -> Vec<String> {
    let mut command = holdline();
    command.args(["search", "--data"]).arg(server.data()).args(arguments).stdout(Stdio::piped());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

#[test]
fn owner_of_the_file_finds_all_messages_indexed_or_not() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send("/join #home");
    alice.send("bob: the boiler is broken");
    alice.send("#home: boiler!");
    alice.ping();
    // The index contains these messages, and not the next ones.
    search(&mut alice, "boiler");
    bob.send("carol: boiler 日本語");
    bob.send("alice: nothing");
    bob.ping();
    alice.quit();
    bob.quit();
    server.wait_until_delivered("alice");
    server.wait_until_delivered("bob");
    let all = [
        "bob → carol: boiler 日本語  (waiting for carol)",
        "alice → #home: boiler!",
        "alice → bob: the boiler is broken",
    ];
    for _ in 0..2 {
        assert_eq!(shell(&server, &["BOILER"]), all);
        assert_eq!(shell(&server, &["boiler", "--last=2"]), all[..2]);
        assert_eq!(shell(&server, &["boiler", "--before=3"]), all[1..]);
        assert_eq!(shell(&server, &["the", "boiler"]), all[2..]);
        assert_eq!(shell(&server, &["--with=#home", "boiler"]), all[1..2]);
        assert_eq!(shell(&server, &["--with=carol", "本語"]), all[..1]);
        assert_eq!(shell(&server, &["--with=bob", "boiler"]), [all[0], all[2]]);
        assert_eq!(shell(&server, &["--with=nobody", "boiler"]), [""; 0]);
        // Without a server too, and no file is left.
        server.terminate();
        let files = || std::fs::read_dir(server.data()).unwrap().count();
        let before = files();
        assert_eq!(shell(&server, &["boiler"]), all);
        assert_eq!(files(), before);
        server.start_again();
    }
    let json = shell_json(&server, &["--json", "--last=1", "boiler"]);
    assert_eq!((&json["seq"], &json["from"], &json["to"]), (&json!(3), &json!("bob"), &json!(["carol"])));
    let refused = refusal(holdline().args(["search", "--data"]).arg(server.data()).arg("!!!"));
    assert!(refused.contains("no word"), "{refused}");
}

#[track_caller]
fn shell_json(server: &TestServer, arguments: &[&str]) -> Value {
    let mut command = holdline();
    command.args(["search", "--data"]).arg(server.data()).args(arguments).stdout(Stdio::piped());
    serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
}
