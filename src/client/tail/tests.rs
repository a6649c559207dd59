use std::net::TcpListener;

use expect_test::{Expect, expect};

use super::*;
use crate::client::scripted::{ScriptedConnection, ScriptedServer};

const FINAL: &str = r#"{"type":"ping","id":"final"}"#;

/// Sink that records its calls.
#[derive(Default)]
struct Recorder {
    calls: Vec<String>,
    /// Number of messages after which it takes no more.
    full_after: Option<usize>,
}

impl MessageSink for &mut Recorder {
    fn message(&mut self, message: &MessageFrame<'_>, _line: &str) -> io::Result<()> {
        if self.full_after == Some(0) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.full_after = self.full_after.map(|left| left - 1);
        self.calls.push(message.seq.to_string());
        Ok(())
    }

    fn missed(&mut self, room: &str, count: u64) {
        self.calls.push(format!("missed {count} in {room}"));
    }

    fn flush(&mut self) -> io::Result<()> {
        self.calls.push("flush".to_owned());
        Ok(())
    }

    async fn closed(&mut self) {
        future::pending().await
    }

    fn entered(&mut self, _database: Option<DatabaseId>) {}

    fn started_anew(&mut self, reason: &str) {
        self.calls.push(reason.to_owned());
    }

    fn waiting(&mut self, _: &str) {
        self.calls.push("waiting".to_owned());
    }

    fn disconnected(&mut self, reason: &str) {
        self.calls.push(reason.split_once("127.0.0.1").expect("the reason names the server").0.trim().to_owned());
    }

    fn reconnected(&mut self) {
        self.calls.push("reconnected".to_owned());
    }
}

fn check(script: impl FnOnce(&TcpListener) + Send + 'static, after: i64, count: u64, expected: Expect) {
    let server = ScriptedServer::start(script);
    let mut recorder = Recorder::default();
    let after = TailPosition { database: None, seq: after };
    let range = TailRange { after, count: Some(count) };
    let end = smol::block_on(tail(server.account.clone(), range, &mut recorder));
    server.join();
    end.unwrap();
    expected.assert_eq(&recorder.calls.join(", "));
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
fn messages_are_acknowledged_and_a_ping_confirms_the_last() {
    let script = |listener: &TcpListener| {
        let mut alice = ScriptedConnection::welcome(listener);
        alice.say(&messages(4..=4));
        alice.expect(&ack(4));
        alice.say(r#"{"type":"presence","name":"bob","here":false}"#);
        alice.say(&messages(7..=7));
        alice.expect(&ack(7));
        alice.expect(FINAL);
        alice.say(&messages(8..=9));
        alice.expect(&ack(7));
        alice.expect(FINAL);
        alice.say(&pong("final"));
        assert_eq!(alice.next_line(), None);
    };
    check(script, 0, 2, expect!["4, flush, 7, flush, flush"]);
}

#[test]
fn message_that_comes_again_is_dropped_and_acknowledged_again() {
    let script = |listener: &TcpListener| {
        let mut alice = ScriptedConnection::welcome(listener);
        alice.say(&messages(1..=1));
        alice.expect(&ack(1));
        drop(alice);
        let mut alice = ScriptedConnection::welcome(listener);
        alice.say(&messages(1..=1));
        alice.expect(&ack(1));
        alice.say(&messages(2..=2));
        alice.expect(&ack(2));
        alice.expect(FINAL);
        alice.say(&pong("final"));
    };
    check(script, 0, 2, expect!["1, flush, the server at, reconnected, flush, 2, flush"]);
}

#[test]
fn message_from_before_the_run_is_dropped_and_acknowledged() {
    let script = |listener: &TcpListener| {
        let mut alice = ScriptedConnection::welcome(listener);
        alice.say(&messages(5..=5));
        alice.expect(&ack(5));
        alice.say(&messages(6..=6));
        alice.expect(&ack(6));
        alice.expect(FINAL);
        alice.say(&pong("final"));
    };
    check(script, 5, 1, expect!["flush, 6, flush"]);
}

#[test]
fn acknowledgement_is_repeated_if_the_message_waits_again() {
    let script = |listener: &TcpListener| {
        let mut alice = ScriptedConnection::welcome(listener);
        alice.say(&messages(1..=1));
        alice.expect(&ack(1));
        alice.expect(FINAL);
        drop(alice);
        let mut alice = ScriptedConnection::accept(listener);
        alice.line();
        alice.say(r#"{"type":"welcome","name":"alice","protocol":1,"waiting":1}"#);
        alice.say(&messages(1..=1));
        alice.expect(&ack(1));
        alice.expect(FINAL);
        alice.say(&pong("final"));
    };
    check(script, 0, 1, expect!["1, flush, the server at, reconnected, flush"]);
}

#[test]
fn acknowledgement_is_not_repeated_if_no_message_waits() {
    let script = |listener: &TcpListener| {
        let mut alice = ScriptedConnection::welcome(listener);
        alice.say(&messages(1..=1));
        alice.expect(&ack(1));
        alice.expect(FINAL);
        drop(alice);
        let mut alice = ScriptedConnection::welcome(listener);
        assert_eq!(alice.next_line(), None);
    };
    check(script, 0, 1, expect!["1, flush, the server at, reconnected"]);
}

#[test]
fn message_that_the_sink_did_not_take_is_not_acknowledged() {
    let script = |listener: &TcpListener| {
        let mut alice = ScriptedConnection::welcome(listener);
        alice.say(&messages(1..=2));
        alice.expect(&ack(1));
        alice.expect(FINAL);
        alice.say(r#"{"type":"pong","id":"final"}"#);
        assert_eq!(alice.next_line(), None);
    };
    let server = ScriptedServer::start(script);
    let mut recorder = Recorder { full_after: Some(1), ..Recorder::default() };
    let end = smol::block_on(tail(server.account.clone(), TailRange::default(), &mut recorder));
    server.join();
    end.unwrap();
    assert_eq!(recorder.calls, ["1", "flush"]);
}

#[test]
fn refused_login_ends_the_run() {
    let script = |listener: &TcpListener| {
        let mut alice = ScriptedConnection::accept(listener);
        alice.line();
        alice.say(r#"{"type":"error","code":"bad_name","message":"of a test"}"#);
    };
    let server = ScriptedServer::start(script);
    let end = smol::block_on(tail(server.account.clone(), TailRange::default(), &mut Recorder::default()));
    server.join();
    assert!(matches!(end, Err(TailError::Permanent(PermanentError::Login { .. }))));
}

fn welcome(database: &str, newest: i64) -> String {
    let database = database.repeat(32);
    format!(r#"{{"type":"welcome","name":"alice","protocol":1,"waiting":1,"database":"{database}","newest":{newest}}}"#)
}

fn enter(listener: &TcpListener, database: &str, newest: i64) -> ScriptedConnection {
    let mut alice = ScriptedConnection::accept(listener);
    alice.line();
    alice.say(&welcome(database, newest));
    alice
}

#[test]
fn numbers_of_another_database_are_taken_again() {
    let script = |listener: &TcpListener| {
        let mut alice = enter(listener, "a", 5);
        alice.say(&messages(5..=5));
        alice.expect(&ack(5));
        drop(alice);
        let mut alice = enter(listener, "a", 5);
        alice.say(&messages(5..=5));
        alice.expect(&ack(5));
        drop(alice);
        let mut alice = enter(listener, "b", 9);
        alice.say(&messages(3..=4));
        alice.expect(&ack(4));
        drop(alice);
        // A disk that was set back has the same database with fewer messages.
        let mut alice = enter(listener, "b", 3);
        alice.say(&messages(3..=3));
        alice.expect(&ack(3));
        alice.expect(FINAL);
        alice.say(&pong("final"));
    };
    check(
        script,
        0,
        4,
        expect![
            "5, flush, the server at, reconnected, flush, the server at, reconnected, the server has another database than before: it was restored, copied or started anew, 3, 4, flush, the server at, reconnected, seq 4 is beyond the newest message of the server, 3: its database was restored or started anew, 3, flush"
        ],
    );
}

#[test]
fn nothing_is_acknowledged_in_another_database_once_all_is_taken() {
    let script = |listener: &TcpListener| {
        let mut alice = enter(listener, "a", 5);
        alice.say(&messages(5..=5));
        alice.expect(&ack(5));
        alice.expect(FINAL);
        drop(alice);
        let mut alice = enter(listener, "b", 9);
        alice.say(&messages(5..=5));
        assert_eq!(alice.next_line(), None);
    };
    check(script, 0, 1, expect!["5, flush, the server at, reconnected"]);
}

#[test]
fn server_without_an_identity_is_another_one_than_before() {
    let script = |listener: &TcpListener| {
        let mut alice = enter(listener, "a", 5);
        alice.say(&messages(5..=5));
        alice.expect(&ack(5));
        drop(alice);
        let mut alice = ScriptedConnection::welcome(listener);
        alice.say(&messages(5..=5));
        alice.expect(&ack(5));
        alice.expect(FINAL);
        alice.say(&pong("final"));
    };
    check(
        script,
        0,
        2,
        expect![
            "5, flush, the server at, reconnected, the server has another database than before: it was restored, copied or started anew, 5, flush"
        ],
    );
}

#[test]
fn many_messages_are_acknowledged_together() {
    let script = |listener: &TcpListener| {
        let mut alice = ScriptedConnection::welcome(listener);
        alice.say(&messages(1..=3000));
        let mut acks = 0;
        loop {
            acks += 1;
            if alice.line() == ack(3000) {
                break;
            }
        }
        assert!(acks < 300, "{acks} acknowledgements");
        alice.expect(FINAL);
        alice.say(&pong("final"));
    };
    let server = ScriptedServer::start(script);
    let mut recorder = Recorder::default();
    let range = TailRange { count: Some(3000), ..TailRange::default() };
    smol::block_on(tail(server.account.clone(), range, &mut recorder)).unwrap();
    server.join();
    let seqs: Vec<i64> = recorder.calls.iter().filter_map(|call| call.parse().ok()).collect();
    assert_eq!(seqs, Vec::from_iter(1..=3000));
}
