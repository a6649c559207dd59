use std::io::{Cursor, Write};
use std::net::TcpListener;

use expect_test::{Expect, expect};

use super::*;
use crate::client::input::LineForm;
use crate::client::outgoing::Addressing;
use crate::client::scripted::{ScriptedConnection, ScriptedServer};
use crate::message::Destination;

const MINUTE: Duration = Duration::from_secs(60);

fn to_bob() -> LineForm {
    let addressing = Addressing::To(vec![Destination::parse("bob").unwrap()]);
    LineForm { addressing, ids: prefix() }
}

fn prefix() -> IdPrefix {
    IdPrefix::parse("i").unwrap()
}

/// Runs a job. Returns its end and the errors of single lines.
fn run(account: &Account, input: LineSource, give_up_after: Duration) -> (Result<Summary, String>, Vec<String>) {
    let mut errors = Vec::new();
    let job = SendJob { give_up_after: Some(give_up_after), resumption: Resumption::Ids(prefix()), input };
    let report = |number, outcome: LineOutcome<'_>| {
        if let LineOutcome::Failed(error) = outcome {
            errors.push(format!("line {number}: {error}"));
        }
        Ok(())
    };
    let end = smol::block_on(send(account.clone(), job, report));
    (end.map_err(|error| error.to_string()), errors)
}

fn check(script: impl FnOnce(&TcpListener) + Send + 'static, input: &'static str, expected: Expect) {
    let server = ScriptedServer::start(script);
    let (end, errors) = run(&server.account, lines(input), MINUTE);
    server.join();
    let port = server_port_in(&end);
    expected.assert_eq(&format!("{end:?} {errors:?}").replace(&port, "PORT"));
}

/// Port of the server, which differs from run to run.
fn server_port_in(end: &Result<Summary, String>) -> String {
    let error = end.as_ref().err().and_then(|error| error.split_once("127.0.0.1:"));
    error.map_or_else(|| "no port".to_owned(), |(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect())
}

fn lines(input: &'static str) -> LineSource {
    LineSource::read(Cursor::new(input), to_bob()).unwrap()
}

fn sent(number: u64, text: &str) -> String {
    format!(r#"{{"type":"send","id":"i-{number}","to":["bob"],"text":"{text}"}}"#)
}

fn accepted(number: u64) -> String {
    format!(r#"{{"type":"accepted","id":"i-{number}","seq":{number},"at":"2026-11-23T06:18:35.123Z"}}"#)
}

fn error(number: u64, code: &str) -> String {
    format!(r#"{{"type":"error","id":"i-{number}","code":"{code}","message":"of a test"}}"#)
}

#[test]
fn many_lines_are_in_flight() {
    let script = |listener: &TcpListener| {
        let mut alice = ScriptedConnection::welcome(listener);
        alice.expect(&sent(1, "one"));
        alice.expect(&sent(3, "two"));
        alice.expect(&sent(4, "three"));
        alice.say(r#"{"type":"presence","name":"alice","here":true}"#);
        alice.say(&accepted(1));
        alice.say(&accepted(3));
        alice.say(&accepted(4));
        assert_eq!(alice.next_line(), None);
    };
    check(script, "one\n\ntwo\nthree\n", expect!["Ok(Summary { accepted: 3, failed: 0, uncertain: 0 }) []"]);
}

#[test]
fn lines_without_a_reply_are_sent_again_with_the_same_ids() {
    let script = |listener: &TcpListener| {
        let mut alice = ScriptedConnection::welcome(listener);
        alice.expect(&sent(1, "one"));
        alice.expect(&sent(2, "two"));
        alice.expect(&sent(3, "three"));
        alice.say(&accepted(1));
        drop(alice);
        let mut alice = ScriptedConnection::welcome(listener);
        alice.expect(&sent(2, "two"));
        drop(alice);
        drop(ScriptedConnection::accept(listener));
        let mut alice = ScriptedConnection::welcome(listener);
        alice.expect(&sent(2, "two"));
        alice.expect(&sent(3, "three"));
        alice.say(&accepted(2));
        alice.say(&accepted(3));
    };
    check(script, "one\ntwo\nthree", expect!["Ok(Summary { accepted: 3, failed: 0, uncertain: 0 }) []"]);
}

#[test]
fn line_that_fails_is_reported_and_the_rest_is_sent() {
    let script = |listener: &TcpListener| {
        let mut alice = ScriptedConnection::welcome(listener);
        alice.expect(&sent(1, "one"));
        alice.expect(&sent(2, "two"));
        alice.expect(&sent(4, "four"));
        alice.say(&accepted(1));
        alice.say(&error(2, "mailbox_full"));
        alice.say(&accepted(4));
    };
    let long = Box::leak(format!("one\ntwo\n{}\nfour", "x".repeat(8193)).into_boxed_str());
    check(
        script,
        long,
        expect![[
            r#"Ok(Summary { accepted: 2, failed: 2, uncertain: 0 }) ["line 3: too_long: the line is longer than 8192 bytes", "line 2: mailbox_full: of a test"]"#
        ]],
    );
}

#[test]
fn line_is_repeated_after_a_passing_error() {
    let script = |listener: &TcpListener| {
        let mut alice = ScriptedConnection::welcome(listener);
        alice.expect(&sent(1, "one"));
        alice.say(&error(1, "storage_full"));
        assert_eq!(alice.next_line(), None);
        let mut alice = ScriptedConnection::accept(listener);
        alice.say("! too_many_connections: the server is full");
        let mut alice = ScriptedConnection::welcome(listener);
        alice.say(r#"{"type":"error","code":"shutting_down","message":"of a test"}"#);
        let mut alice = ScriptedConnection::welcome(listener);
        alice.expect(&sent(1, "one"));
        alice.say(&accepted(1));
    };
    check(script, "one", expect!["Ok(Summary { accepted: 1, failed: 0, uncertain: 0 }) []"]);
}

#[test]
fn refused_login_ends_the_run() {
    let script = |listener: &TcpListener| {
        let mut alice = ScriptedConnection::accept(listener);
        alice.line();
        alice.say(r#"{"type":"error","code":"bad_password","message":"alice has one"}"#);
    };
    check(
        script,
        "one",
        expect![[
            r#"Err("the server at 127.0.0.1:PORT refused the login of alice: bad_password: alice has one; 0 lines were accepted, line 1 got no reply; run it again with --id=i and the same input: no line is sent twice") []"#
        ]],
    );
}

#[test]
fn another_program_at_the_address_ends_the_run() {
    let script = |listener: &TcpListener| {
        let mut alice = ScriptedConnection::accept(listener);
        alice.line();
        alice.say("HTTP/1.1 400 Bad Request");
    };
    check(
        script,
        "one",
        expect![[
            r#"Err("127.0.0.1:PORT is not a holdline server; it sent \"HTTP/1.1 400 Bad Request\"; 0 lines were accepted, line 1 got no reply; run it again with --id=i and the same input: no line is sent twice") []"#
        ]],
    );
}

#[test]
fn run_is_given_up_when_no_line_gets_a_reply() {
    let script = |listener: &TcpListener| {
        let mut alice = ScriptedConnection::welcome(listener);
        alice.line();
        alice.say(&accepted(1));
        while alice.next_line().is_some() {}
    };
    let server = ScriptedServer::start(script);
    let (end, errors) = run(&server.account, lines("one\ntwo\nthree"), Duration::from_secs(1));
    server.join();
    let port = server_port_in(&end);
    expect![[
        r#"Err("gave up after 1 s: the server at 127.0.0.1:PORT does not answer; 1 line was accepted, lines 2 to 3 got no reply; run it again with --id=i and the same input: no line is sent twice") []"#
    ]]
    .assert_eq(&format!("{end:?} {errors:?}").replace(&port, "PORT"));
}

#[test]
fn run_is_given_up_when_no_server_starts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let server = crate::client::ServerAddress::parse(&address.to_string()).unwrap();
    let name = crate::message::PeerName::parse("alice").unwrap();
    let account = Account { server, name, password: None, trust: crate::client::ServerTrust::SystemRoots };
    let (end, _) = run(&account, lines("one"), Duration::from_millis(300));
    let error = end.unwrap_err();
    assert!(error.starts_with("gave up after 0 s: cannot connect to 127.0.0.1:"), "{error}");
}

#[test]
fn slow_input_is_sent_line_by_line() {
    let (input, mut sensor) = std::io::pipe().unwrap();
    let script = move |listener: &TcpListener| {
        sensor.write_all(b"one\n").unwrap();
        let mut alice = ScriptedConnection::welcome(listener);
        alice.expect(&sent(1, "one"));
        alice.say(&accepted(1));
        // An idle connection may be closed: the next line opens another.
        drop(alice);
        sensor.write_all(b"two\n").unwrap();
        let mut alice = ScriptedConnection::welcome(listener);
        alice.expect(&sent(2, "two"));
        alice.say(&accepted(2));
        sensor.write_all(b"three").unwrap();
        drop(sensor);
        alice.expect(&sent(3, "three"));
        alice.say(&accepted(3));
    };
    let server = ScriptedServer::start(script);
    let (end, errors) = run(&server.account, LineSource::read(input, to_bob()).unwrap(), MINUTE);
    server.join();
    assert_eq!((end, errors), (Ok(Summary { accepted: 3, failed: 0, uncertain: 0 }), vec![]));
}

#[test]
fn empty_input_needs_no_server() {
    let server = ScriptedServer::start(|_| {});
    let account = server.account.clone();
    server.join();
    assert_eq!(run(&account, lines(" \n\n"), MINUTE), (Ok(Summary::default()), vec![]));
}

#[test]
fn flood_of_lines_passes_while_messages_arrive() {
    const LINES: u64 = 5000;
    let script = |listener: &TcpListener| {
        let mut alice = ScriptedConnection::welcome(listener);
        for number in 1..=LINES {
            alice.expect(&sent(number, "reading"));
            let text = "x".repeat(1000);
            alice.say(&format!(r#"{{"type":"message","seq":{number},"at":"…","from":"bob","text":"{text}"}}"#));
            alice.say(&accepted(number));
        }
    };
    let server = ScriptedServer::start(script);
    let input = Cursor::new("reading\n".repeat(LINES as usize));
    let (end, errors) = run(&server.account, LineSource::read(input, to_bob()).unwrap(), MINUTE);
    server.join();
    assert_eq!((end, errors), (Ok(Summary { accepted: LINES, failed: 0, uncertain: 0 }), vec![]));
}
