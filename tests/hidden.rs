//! Characters that a terminal obeys, that hide, or that reorder a line: neither clients nor commands show them, wherever they come from. Owns
//! the ways by which they come; the exact set of characters is tested in the library.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::{Value, json};
use support::{JsonClient, TestClient, TestServer, holdline};

/// One of each kind, and what is shown instead.
const HIDDEN: &str = "a\u{1b}[2J\u{9b}b\u{202e}c\u{2066}d\u{2028}e\u{feff}f\u{ad}g\u{e0041}h\u{3164}i\u{7f}j";
const SHOWN: &str = "a\u{fffd}[2J\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}e\u{fffd}f\u{fffd}g\u{fffd}h\u{fffd}i\u{fffd}j";

/// Texts whose characters are needed: a family, Scotland's flag, a Persian and a Hindi word with joiners, and Hebrew with direction marks.
const NEEDED: [&str; 5] = [
    "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{200d}\u{1f466} \u{2764}\u{fe0f}",
    "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}!",
    "می\u{200c}خواهم",
    "क्\u{200d}ष",
    "שלום\u{200f} (a)\u{200e}",
];

/// Waits for this line; others may come before it.
#[track_caller]
fn wait_for(client: &mut TestClient, line: &str) {
    while client.expect_line() != line {}
}

#[test]
fn texts_topics_and_tokens_hide_nothing() {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    let mut carol = JsonClient::login(&server, "carol");
    let mut alice = TestClient::login(&server, "alice");
    bob.send("/join #room");
    bob.ping();
    alice.send("/join #room");
    alice.ping();
    alice.send(&format!("bob, carol: {HIDDEN}"));
    bob.expect(&format!("from alice: {SHOWN}"));
    carol.expect_message(SHOWN);
    carol.say("1", &["bob"], HIDDEN);
    bob.expect(&format!("from carol: {SHOWN}"));
    alice.send(&format!("/topic #room {HIDDEN}"));
    wait_for(&mut bob, &format!("* alice set the topic of #room: {SHOWN}"));
    alice.send(&format!("/ping {HIDDEN}"));
    wait_for(&mut alice, &format!("* pong {SHOWN}"));
    for text in NEEDED {
        alice.send(&format!("bob, carol: {text}"));
        bob.expect(&format!("from alice: {text}"));
        carol.expect_message(text);
    }
    assert_eq!(server.sqlite("select text from message where seq = 1"), SHOWN);
}

#[test]
fn plugins_hide_nothing() {
    let script = r#"
        function message(m)
            if m.text == "no" then return { reject = "r\27[2J\u{202e}" } end
            return { text = m.text .. "\27[2J\u{202e}\u{1f468}\u{200d}\u{1f469}" }
        end
        function command(c) log("l\27[2J\u{202e}") return { answer = "c\27[2J\u{202e}" } end
    "#;
    let entry = "[[plugin]]\nname = \"p\"\nkind = \"luau\"\npath = \"p.luau\"\nhooks = [\"message\", \"command\"]\n\
        commands = { c = \"a command\" }\n";
    let server = TestServer::with_files(&[("plugins.toml", entry), ("p.luau", script)]);
    let mut alice = TestClient::login(&server, "alice");
    alice.send("alice: text");
    alice.expect("from alice: text\u{fffd}[2J\u{fffd}\u{1f468}\u{200d}\u{1f469}");
    alice.send("alice: no");
    assert_eq!(alice.next_message(), "! rejected: r\u{fffd}[2J\u{fffd} (p); not sent");
    alice.send("/c");
    wait_for(&mut alice, "* c\u{fffd}[2J\u{fffd}");
    server.wait_for_log("plugin p: l\u{fffd}[2J\u{fffd}");
}

/// Puts hidden characters everywhere into the database.
fn spoilt() -> TestServer {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    for line in ["/join #room", "#room: word", "bob: word", "/topic #room topic"] {
        alice.send(line);
    }
    alice.quit();
    server.terminate();
    let hidden = format!("cast(x'{}' as text)", HIDDEN.bytes().map(|byte| format!("{byte:02x}")).collect::<String>());
    for change in [
        format!("update message set text = 'word ' || {hidden}"),
        format!("update peer set name = 'bob' || {hidden} where name = 'bob'"),
        format!("update room set name = '#room' || {hidden}, topic = {hidden}"),
        format!(
            "insert into outbox_refused (at, sender, recipients, text, reason) values (0, {hidden}, 'x', 'y', {hidden})"
        ),
        format!("create table \"t{}\" (x)", HIDDEN.replace('\u{7f}', "")),
    ] {
        server.sqlite_write(&change);
    }
    server
}

/// Runs a command. Returns what it prints, which must be safe for a terminal.
#[track_caller]
fn printed(command: &mut Command) -> String {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let unsafe_char = |c: char| c != '\n' && (c.is_control() || HIDDEN.contains(c) && !SHOWN.contains(c));
    assert!(!printed.contains(unsafe_char), "{printed:?}");
    printed
}

#[test]
fn commands_print_nothing_hidden_of_a_database() {
    let server = spoilt();
    let run = |arguments: &[&str]| printed(holdline().args(arguments).arg("--data").arg(server.data()));
    assert!(run(&["history"]).contains(&format!("alice → bob{SHOWN}: word {SHOWN}  (waiting for bob{SHOWN})")));
    assert!(run(&["search", "word"]).contains(&format!("word {SHOWN}")));
    let object: Value = serde_json::from_str(run(&["history", "--json"]).lines().last().unwrap()).unwrap();
    assert_eq!(object["text"], format!("word {HIDDEN}"), "JSON escapes them");
    let examined = run(&["doctor"]);
    assert!(examined.contains(&format!("reason of the last: {SHOWN}")), "{examined}");
    assert!(examined.contains("does not belong to holdline"), "{examined}");
}

#[test]
fn path_is_printed_safely() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(HIDDEN);
    for command in ["history", "doctor", "backup"] {
        let to = directory.path().join(format!("backup{HIDDEN}"));
        let mut holdline = holdline();
        holdline.arg(command).arg("--data").arg(&path);
        if command == "backup" {
            holdline.arg(to);
        }
        assert!(printed(&mut holdline).contains("a\u{fffd}[2J"));
    }
    let mut log = holdline();
    log.args(["--listen", "nowhere\u{1b}[2J:1"]);
    assert!(printed(&mut log).contains("[2J"));
}

#[test]
fn clients_print_nothing_hidden_of_a_server() {
    let (from, room) = (format!("alice{HIDDEN}"), format!("#r{HIDDEN}"));
    let message = json!({"type": "message", "seq": 1, "at": "2026-11-23T06:18:35.123Z", "from": from, "to": ["x"],
        "room": room, "text": HIDDEN});
    let error = json!({"type": "error", "code": format!("c{HIDDEN}"), "message": HIDDEN});
    let refusal = json!({"type": "error", "id": "i-1", "code": "empty", "message": HIDDEN});
    let run = |arguments: &[&str], replies: &[&Value]| {
        printed(holdline().args(arguments).args(["--as=x", "--server", &fake_server(replies)]))
    };
    let welcome = json!({"type": "welcome", "name": "x", "server": "a test", "protocol": 1, "waiting": 1});
    let text = run(&["tail", "--count=1"], &[&welcome, &message]);
    assert_eq!(text, format!("from alice{SHOWN} in #r{SHOWN}: {SHOWN}\n"));
    let line = run(&["tail", "--count=1", "--json"], &[&welcome, &message]);
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["text"], HIDDEN);
    assert!(run(&["tail"], &[&error]).contains(&format!("c{SHOWN}: {SHOWN}")));
    assert!(run(&["send", "--id=i", "--to=bob", "hi"], &[&welcome, &refusal]).contains(SHOWN));
}

/// Starts a server that answers a login with these frames. Returns its address.
fn fake_server(replies: &[&Value]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let replies: String = replies.iter().map(|reply| format!("{reply}\n")).collect();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
        lines.next();
        (&stream).write_all(replies.as_bytes()).unwrap();
        // The last line that a client sends may be a barrier.
        lines.for_each(|_| drop((&stream).write_all(b"{\"type\":\"pong\",\"id\":\"final\"}\n")));
    });
    address
}
