use std::net::TcpListener;

use expect_test::{Expect, expect};

use super::*;
use crate::client::scripted::{Peer, Scripted};

const KEPT: &str = r#"{"type":"ping","id":"kept"}"#;

/// Writes down what it hears.
#[derive(Default)]
struct Notes {
    notes: Vec<String>,
    /// After how many messages it takes no more.
    full_after: Option<usize>,
}

impl Sink for &mut Notes {
    fn message(&mut self, message: &Message, _line: &str) -> io::Result<()> {
        if self.full_after == Some(0) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.full_after = self.full_after.map(|left| left - 1);
        self.notes.push(message.seq.to_string());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.notes.push("flush".to_owned());
        Ok(())
    }

    fn lost(&mut self, why: &str) {
        self.notes.push(why.split_once("127.0.0.1").expect("it says where").0.trim().to_owned());
    }

    fn back(&mut self) {
        self.notes.push("back".to_owned());
    }
}

fn check(script: impl FnOnce(&TcpListener) + Send + 'static, after: i64, count: u64, expected: Expect) {
    let server = Scripted::start(script);
    let mut notes = Notes::default();
    let range = Range { after, count: Some(count) };
    let end = smol::block_on(tail(server.account.clone(), range, &mut notes));
    server.join();
    end.unwrap();
    expected.assert_eq(&notes.notes.join(", "));
}

fn messages(seqs: std::ops::RangeInclusive<i64>) -> String {
    let line = |seq| format!(r#"{{"type":"message","seq":{seq},"at":"…","from":"bob","to":["alice"],"text":"hi"}}"#);
    seqs.map(line).collect::<Vec<_>>().join("\n")
}

fn ack(seq: i64) -> String {
    format!(r#"{{"type":"ack","seq":{seq}}}"#)
}

fn pong(id: &str) -> String {
    format!(r#"{{"type":"pong","id":"{id}"}}"#)
}

#[test]
fn what_was_taken_is_acknowledged_and_the_last_of_it_is_known_to_be_kept() {
    let script = |listener: &TcpListener| {
        let mut alice = Peer::welcome(listener);
        alice.say(&messages(4..=4));
        alice.expect(&ack(4));
        alice.say(r#"{"type":"presence","name":"bob","here":false}"#);
        alice.say(&messages(7..=7));
        alice.expect(&ack(7));
        alice.expect(KEPT);
        alice.say(&messages(8..=9));
        alice.expect(&ack(7));
        alice.expect(KEPT);
        alice.say(&pong("kept"));
        assert_eq!(alice.next_line(), None);
    };
    check(script, 0, 2, expect!["4, flush, 7, flush, flush"]);
}

#[test]
fn what_came_before_is_dropped_and_acknowledged_again() {
    let script = |listener: &TcpListener| {
        let mut alice = Peer::welcome(listener);
        alice.say(&messages(1..=1));
        alice.expect(&ack(1));
        drop(alice);
        let mut alice = Peer::welcome(listener);
        alice.say(&messages(1..=1));
        alice.expect(&ack(1));
        alice.say(&messages(2..=2));
        alice.expect(&ack(2));
        alice.expect(KEPT);
        alice.say(&pong("kept"));
    };
    check(script, 0, 2, expect!["1, flush, the server at, back, flush, 2, flush"]);
}

#[test]
fn what_was_known_before_the_run_is_dropped_and_acknowledged() {
    let script = |listener: &TcpListener| {
        let mut alice = Peer::welcome(listener);
        alice.say(&messages(5..=5));
        alice.expect(&ack(5));
        alice.say(&messages(6..=6));
        alice.expect(&ack(6));
        alice.expect(KEPT);
        alice.say(&pong("kept"));
    };
    check(script, 5, 1, expect!["flush, 6, flush"]);
}

#[test]
fn an_acknowledgement_that_may_be_lost_is_repeated() {
    let script = |listener: &TcpListener| {
        let mut alice = Peer::welcome(listener);
        alice.say(&messages(1..=1));
        alice.expect(&ack(1));
        alice.expect(KEPT);
        drop(alice);
        let mut alice = Peer::accept(listener);
        alice.line();
        alice.say(r#"{"type":"welcome","name":"alice","protocol":1,"waiting":1}"#);
        alice.say(&messages(1..=1));
        alice.expect(&ack(1));
        alice.expect(KEPT);
        alice.say(&pong("kept"));
    };
    check(script, 0, 1, expect!["1, flush, the server at, back, flush"]);
}

#[test]
fn an_acknowledgement_that_was_kept_is_not_repeated() {
    let script = |listener: &TcpListener| {
        let mut alice = Peer::welcome(listener);
        alice.say(&messages(1..=1));
        alice.expect(&ack(1));
        alice.expect(KEPT);
        drop(alice);
        let mut alice = Peer::welcome(listener);
        assert_eq!(alice.next_line(), None);
    };
    check(script, 0, 1, expect!["1, flush, the server at, back"]);
}

#[test]
fn a_message_that_was_not_taken_is_not_acknowledged() {
    let script = |listener: &TcpListener| {
        let mut alice = Peer::welcome(listener);
        alice.say(&messages(1..=1));
        alice.expect(&ack(1));
        alice.say(&messages(2..=2));
        assert_eq!(alice.next_line(), None);
    };
    let server = Scripted::start(script);
    let mut notes = Notes { full_after: Some(1), ..Notes::default() };
    let end = smol::block_on(tail(server.account.clone(), Range::default(), &mut notes));
    server.join();
    assert!(matches!(end, Err(TailError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe));
    assert_eq!(notes.notes, ["1", "flush"]);
}

#[test]
fn a_refused_login_ends_it() {
    let script = |listener: &TcpListener| {
        let mut alice = Peer::accept(listener);
        alice.line();
        alice.say(r#"{"type":"error","code":"bad_name","message":"of a test"}"#);
    };
    let server = Scripted::start(script);
    let end = smol::block_on(tail(server.account.clone(), Range::default(), &mut Notes::default()));
    server.join();
    assert!(matches!(end, Err(TailError::Refused(Refused::Login { .. }))));
}

#[test]
fn many_are_acknowledged_together() {
    let script = |listener: &TcpListener| {
        let mut alice = Peer::welcome(listener);
        alice.say(&messages(1..=3000));
        let mut acks = 0;
        loop {
            acks += 1;
            if alice.line() == ack(3000) {
                break;
            }
        }
        assert!(acks < 300, "{acks} acknowledgements");
        alice.expect(KEPT);
        alice.say(&pong("kept"));
    };
    let server = Scripted::start(script);
    let mut notes = Notes::default();
    smol::block_on(tail(server.account.clone(), Range { after: 0, count: Some(3000) }, &mut notes)).unwrap();
    server.join();
    let seqs: Vec<i64> = notes.notes.iter().filter_map(|note| note.parse().ok()).collect();
    assert_eq!(seqs, Vec::from_iter(1..=3000));
}
