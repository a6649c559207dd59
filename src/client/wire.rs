//! What goes over the wire, as `protocol.md`, "JSON lines", has it: the requests that these clients make and the answers that
//! they understand. Owns their form; never reads or writes a socket.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a client sends.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Request<'a> {
    /// Asks to be let in; messages count as delivered only when they are acknowledged.
    Login {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        password: Option<&'a str>,
        acks: bool,
    },
    /// Sends a text; repeated with the same id it is sent once.
    Send { id: &'a str, to: Vec<&'a str>, text: &'a str },
    /// Everything up to here was taken.
    Ack { seq: i64 },
    /// Is answered when all before it is dealt with.
    Ping { id: &'a str },
}

impl Request<'_> {
    /// The request as a line, without its end.
    pub(super) fn encode(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers can always be encoded")
    }
}

/// What the server sends, as far as these clients care.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Answer {
    /// The login was accepted.
    Welcome {
        /// How many messages are about to come that came before the login.
        #[serde(default)]
        waiting: u64,
    },
    /// A text is on disk.
    Accepted { id: String },
    /// A message has come.
    Message(Message),
    /// The barrier is reached.
    Pong {
        #[serde(default)]
        id: Option<String>,
    },
    /// A request, or the connection, is refused.
    Error {
        #[serde(default)]
        id: Option<String>,
        #[serde(flatten)]
        refusal: Refusal,
    },
    /// Presence, what other connections sent, and what later servers may say.
    #[serde(other)]
    Unknown,
}

impl Answer {
    /// Understands a line; none: no holdline has sent it. A server that is full says so before it knows how it is spoken to,
    /// as it does on plain lines.
    pub(super) fn parse(line: &str) -> Option<Self> {
        match line.strip_prefix("! ") {
            Some(plain) => {
                let (code, message) = plain.split_once(": ")?;
                let refusal = Refusal::new(code, message);
                Some(Answer::Error { id: None, refusal })
            }
            None => serde_json::from_str(line).ok(),
        }
    }
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Message {
    /// Its place in the log.
    pub seq: i64,
    /// Who sent it.
    pub from: String,
    /// The room that it was sent to, with its `#`, unless it was sent to us.
    pub room: Option<String>,
    /// What it says, newlines and all.
    pub text: String,
}

/// Why a line was not accepted: a code of `protocol.md`, and words. It is one line, safe for a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// The code.
    code: String,
    /// The words.
    #[serde(default)]
    message: String,
}

impl Refusal {
    pub(super) fn new(code: &str, message: impl Into<String>) -> Self {
        Refusal { code: code.to_owned(), message: message.into() }
    }

    /// Its code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Whether it is over by itself, so that the same may be tried again.
    pub(super) fn is_passing(&self) -> bool {
        matches!(
            self.code.as_str(),
            "shutting_down" | "storage_full" | "internal" | "too_many_connections" | "rate_limited" | "login_timeout"
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{}: {}", self.code, self.message).replace(char::is_control, " "))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check_answer(line: &str, expected: Expect) {
        expected.assert_eq(&format!("{:?}", Answer::parse(line)));
    }

    #[test]
    fn requests_are_what_the_protocol_says() {
        let login = Request::Login { name: "alice", password: None, acks: true };
        expect![[r#"{"type":"login","name":"alice","acks":true}"#]].assert_eq(&login.encode());
        let login = Request::Login { name: "alice", password: Some("s\"t"), acks: true };
        expect![[r#"{"type":"login","name":"alice","password":"s\"t","acks":true}"#]].assert_eq(&login.encode());
        let send = Request::Send { id: "c-1", to: vec!["bob", "#kitchen"], text: "hi\n" };
        expect![[r##"{"type":"send","id":"c-1","to":["bob","#kitchen"],"text":"hi\n"}"##]].assert_eq(&send.encode());
        expect![[r#"{"type":"ack","seq":42}"#]].assert_eq(&Request::Ack { seq: 42 }.encode());
        expect![[r#"{"type":"ping","id":"p"}"#]].assert_eq(&Request::Ping { id: "p" }.encode());
    }

    #[test]
    fn answers_are_understood() {
        check_answer(
            r#"{"type":"welcome","name":"alice","server":"holdline 0.1.0","protocol":1,"waiting":3}"#,
            expect!["Some(Welcome { waiting: 3 })"],
        );
        check_answer(
            r#"{"type":"accepted","id":"c-1","seq":42,"at":"2026-11-23T06:18:35.123Z"}"#,
            expect![[r#"Some(Accepted { id: "c-1" })"#]],
        );
        check_answer(
            r##"{"type":"message","seq":4,"at":"…","from":"alice","to":["#k"],"room":"#k","text":"a\u00e4\n","new":1}"##,
            expect![[r##"Some(Message(Message { seq: 4, from: "alice", room: Some("#k"), text: "aä\n" }))"##]],
        );
        check_answer(r#"{"type":"pong","id":"p"}"#, expect![[r#"Some(Pong { id: Some("p") })"#]]);
        check_answer(
            r#"{"type":"error","id":"c-1","code":"mailbox_full","message":"bob's mailbox is full"}"#,
            expect![[
                r#"Some(Error { id: Some("c-1"), refusal: Refusal { code: "mailbox_full", message: "bob's mailbox is full" } })"#
            ]],
        );
    }

    #[test]
    fn what_these_clients_do_not_know_is_no_mistake() {
        check_answer(r#"{"type":"presence","name":"bob","here":true}"#, expect!["Some(Unknown)"]);
        check_answer(r#"{"type":"sent","seq":4,"text":"hi"}"#, expect!["Some(Unknown)"]);
    }

    #[test]
    fn a_server_that_is_full_may_say_so_on_a_plain_line() {
        check_answer(
            "! too_many_connections: the server is full",
            expect![[
                r#"Some(Error { id: None, refusal: Refusal { code: "too_many_connections", message: "the server is full" } })"#
            ]],
        );
    }

    #[test]
    fn what_is_no_object_with_a_type_is_none() {
        for line in ["", "* hello", "HTTP/1.1 400 Bad Request", "{}", "[]", r#"{"type":4}"#, "! oh"] {
            check_answer(line, expect!["None"]);
        }
    }

    #[test]
    fn a_refusal_is_one_line() {
        assert_eq!(Refusal::new("rejected", "no\n\u{1b}[2J").to_string(), "rejected: no  [2J");
    }
}
