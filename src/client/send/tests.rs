use std::io::{Cursor, Write};
use std::net::TcpListener;

use expect_test::{Expect, expect};

use super::*;
use crate::client::scripted::{Peer, Scripted};
use crate::message::Destination;

const MINUTE: Duration = Duration::from_secs(60);

/// What became of a run: its end, and what was told of single lines.
fn run(account: &Account, input: Input, patience: Duration) -> (Result<Summary, String>, Vec<String>) {
    let mut told = Vec::new();
    let addressing = Addressing::To(vec![Destination::parse("bob").unwrap()]);
    let job = SendJob { addressing, ids: IdPrefix::parse("i").unwrap(), patience, input };
    let tell = |number, refusal: &Refusal| told.push(format!("line {number}: {refusal}"));
    let end = smol::block_on(send(account.clone(), job, tell));
    (end.map_err(|error| error.to_string()), told)
}

fn check(script: impl FnOnce(&TcpListener) + Send + 'static, input: &'static str, expected: Expect) {
    let server = Scripted::start(script);
    let (end, told) = run(&server.account, lines(input), MINUTE);
    server.join();
    let port = server_port_in(&end);
    expected.assert_eq(&format!("{end:?} {told:?}").replace(&port, "PORT"));
}

/// The port differs from run to run.
fn server_port_in(end: &Result<Summary, String>) -> String {
    let said = end.as_ref().err().and_then(|error| error.split_once("127.0.0.1:"));
    said.map_or_else(|| "no port".to_owned(), |(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect())
}

fn lines(input: &'static str) -> Input {
    Input::read(Cursor::new(input)).unwrap()
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
fn many_lines_are_on_their_way_at_once() {
    let script = |listener: &TcpListener| {
        let mut alice = Peer::welcome(listener);
        alice.expect(&sent(1, "one"));
        alice.expect(&sent(3, "two"));
        alice.expect(&sent(4, "three"));
        alice.say(r#"{"type":"presence","name":"alice","here":true}"#);
        alice.say(&accepted(1));
        alice.say(&accepted(3));
        alice.say(&accepted(4));
        assert_eq!(alice.next_line(), None);
    };
    check(script, "one\n\ntwo\nthree\n", expect!["Ok(Summary { accepted: 3, failed: 0 }) []"]);
}

#[test]
fn what_had_no_answer_is_sent_again_with_the_same_ids() {
    let script = |listener: &TcpListener| {
        let mut alice = Peer::welcome(listener);
        alice.expect(&sent(1, "one"));
        alice.expect(&sent(2, "two"));
        alice.expect(&sent(3, "three"));
        alice.say(&accepted(1));
        drop(alice);
        let mut alice = Peer::welcome(listener);
        alice.expect(&sent(2, "two"));
        drop(alice);
        drop(Peer::accept(listener));
        let mut alice = Peer::welcome(listener);
        alice.expect(&sent(2, "two"));
        alice.expect(&sent(3, "three"));
        alice.say(&accepted(2));
        alice.say(&accepted(3));
    };
    check(script, "one\ntwo\nthree", expect!["Ok(Summary { accepted: 3, failed: 0 }) []"]);
}

#[test]
fn a_line_that_fails_is_told_and_the_rest_is_sent() {
    let script = |listener: &TcpListener| {
        let mut alice = Peer::welcome(listener);
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
            r#"Ok(Summary { accepted: 2, failed: 2 }) ["line 3: too_long: it is longer than 8192 bytes", "line 2: mailbox_full: of a test"]"#
        ]],
    );
}

#[test]
fn an_error_that_passes_is_waited_out() {
    let script = |listener: &TcpListener| {
        let mut alice = Peer::welcome(listener);
        alice.expect(&sent(1, "one"));
        alice.say(&error(1, "storage_full"));
        assert_eq!(alice.next_line(), None);
        let mut alice = Peer::accept(listener);
        alice.say("! too_many_connections: the server is full");
        let mut alice = Peer::welcome(listener);
        alice.say(r#"{"type":"error","code":"shutting_down","message":"of a test"}"#);
        let mut alice = Peer::welcome(listener);
        alice.expect(&sent(1, "one"));
        alice.say(&accepted(1));
    };
    check(script, "one", expect!["Ok(Summary { accepted: 1, failed: 0 }) []"]);
}

#[test]
fn a_refused_login_ends_it() {
    let script = |listener: &TcpListener| {
        let mut alice = Peer::accept(listener);
        alice.line();
        alice.say(r#"{"type":"error","code":"bad_password","message":"alice has one"}"#);
    };
    check(
        script,
        "one",
        expect![[
            r#"Err("the server at 127.0.0.1:PORT does not let alice in: bad_password: alice has one; 0 lines were accepted, without an answer is line 1; the same once more with --id=i sends nothing twice") []"#
        ]],
    );
}

#[test]
fn what_is_no_holdline_is_not_asked_again() {
    let script = |listener: &TcpListener| {
        let mut alice = Peer::accept(listener);
        alice.line();
        alice.say("HTTP/1.1 400 Bad Request");
    };
    check(
        script,
        "one",
        expect![[
            r#"Err("127.0.0.1:PORT does not answer as a holdline server does; it sent \"HTTP/1.1 400 Bad Request\"; 0 lines were accepted, without an answer is line 1; the same once more with --id=i sends nothing twice") []"#
        ]],
    );
}

#[test]
fn it_is_given_up_when_no_line_gets_an_answer() {
    let script = |listener: &TcpListener| {
        let mut alice = Peer::welcome(listener);
        alice.line();
        alice.say(&accepted(1));
        while alice.next_line().is_some() {}
    };
    let server = Scripted::start(script);
    let (end, told) = run(&server.account, lines("one\ntwo\nthree"), Duration::from_secs(1));
    server.join();
    let port = server_port_in(&end);
    expect![[
        r#"Err("given up after 1 s: the server at 127.0.0.1:PORT does not answer; 1 line was accepted, without an answer are lines 2 to 3; the same once more with --id=i sends nothing twice") []"#
    ]]
    .assert_eq(&format!("{end:?} {told:?}").replace(&port, "PORT"));
}

#[test]
fn a_server_that_never_comes_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let server = crate::client::ServerAddress::parse(&address.to_string()).unwrap();
    let name = crate::message::PeerName::parse("alice").unwrap();
    let account = Account { server, name, password: None };
    let (end, _) = run(&account, lines("one"), Duration::from_millis(300));
    let said = end.unwrap_err();
    assert!(said.starts_with("given up after 0 s: cannot connect to 127.0.0.1:"), "{said}");
}

#[test]
fn a_slow_input_is_sent_line_by_line() {
    let (input, mut sensor) = std::io::pipe().unwrap();
    let script = move |listener: &TcpListener| {
        sensor.write_all(b"one\n").unwrap();
        let mut alice = Peer::welcome(listener);
        alice.expect(&sent(1, "one"));
        alice.say(&accepted(1));
        // What is idle may be closed: it is opened again when there is something to say.
        drop(alice);
        sensor.write_all(b"two\n").unwrap();
        let mut alice = Peer::welcome(listener);
        alice.expect(&sent(2, "two"));
        alice.say(&accepted(2));
        sensor.write_all(b"three").unwrap();
        drop(sensor);
        alice.expect(&sent(3, "three"));
        alice.say(&accepted(3));
    };
    let server = Scripted::start(script);
    let (end, told) = run(&server.account, Input::read(input).unwrap(), MINUTE);
    server.join();
    assert_eq!((end, told), (Ok(Summary { accepted: 3, failed: 0 }), vec![]));
}

#[test]
fn nothing_to_send_needs_no_server() {
    let server = Scripted::start(|_| {});
    let account = server.account.clone();
    server.join();
    assert_eq!(run(&account, lines(" \n\n"), MINUTE), (Ok(Summary::default()), vec![]));
}

#[test]
fn a_flood_goes_through_a_window_while_messages_come() {
    const LINES: u64 = 5000;
    let script = |listener: &TcpListener| {
        let mut alice = Peer::welcome(listener);
        for number in 1..=LINES {
            alice.expect(&sent(number, "reading"));
            let text = "x".repeat(1000);
            alice.say(&format!(r#"{{"type":"message","seq":{number},"at":"…","from":"bob","text":"{text}"}}"#));
            alice.say(&accepted(number));
        }
    };
    let server = Scripted::start(script);
    let input = Cursor::new("reading\n".repeat(LINES as usize));
    let (end, told) = run(&server.account, Input::read(input).unwrap(), MINUTE);
    server.join();
    assert_eq!((end, told), (Ok(Summary { accepted: LINES, failed: 0 }), vec![]));
}
