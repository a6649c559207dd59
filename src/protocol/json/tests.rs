//! Tests of the frames in both directions: each rule, and the refusal of a frame that breaks it.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::limits::{DESTINATIONS_DEFAULT, LINE_BYTES_MAX};
use crate::message::{DatabaseId, Destination, Message, Room, Seq, Text, Timestamp};
use crate::protocol::{PastMessage, Reply, RoomSummary};
use crate::wire::ServerFrame;

fn check(line: &str, expected: Expect) {
    expected.assert_eq(&shown(parse(line, DESTINATIONS_DEFAULT)));
}

fn check_login(line: &str, expected: Expect) {
    expected.assert_eq(&match parse_login(line) {
        None => "nothing".to_owned(),
        Some(Ok(Login { id, name, password, registers, acks })) => {
            let verb = if registers { "registers " } else { "" };
            format!("{verb}{id:?} {name} {:?} {acks}", password.as_ref().map(Password::as_str))
        }
        Some(Err(Rejected { id, refusal })) => refused(id, &refusal),
    });
}

fn shown(parsed: Option<ParsedRequest>) -> String {
    match parsed {
        None => "nothing".to_owned(),
        Some(Err(Rejected { id, refusal })) => refused(id, &refusal),
        Some(Ok(ClientRequest { id, request })) => {
            format!("{} {request:?}", id.as_ref().map_or("-", RequestId::as_str))
        }
    }
}

fn refused(id: Option<RequestId>, refusal: &Refusal) -> String {
    let missing = PeerName::parse("").expect_err("no name").to_string();
    let rule = missing.strip_prefix("a name is missing; ").expect("what a name is");
    let words = refusal.message.replace(rule, "RULE");
    format!("{} {}: {words}", id.as_ref().map_or("-", RequestId::as_str), refusal.code.as_str())
}

#[test]
fn login_has_a_name_and_options() {
    check_login(r#"{"type":"login","name":"Alice"}"#, expect!["None alice None false"]);
    check_login(
        r#"{"id":"l","acks":true,"name":"bob","password":"p","type":"login"}"#,
        expect![[r#"Some(RequestId("l")) bob Some("p") true"#]],
    );
    check_login(
        r#"{"type":"register","id":"r","name":"bob","password":"p"}"#,
        expect![[r#"registers Some(RequestId("r")) bob Some("p") false"#]],
    );
    check_login(
        r#"{"type":"register","name":"bob"}"#,
        expect![[r#"- bad_request: "password" is missing; not logged in"#]],
    );
    check_login(r#"{"type":"login","name":"bob","password":null,"acks":null}"#, expect!["None bob None false"]);
    check_login("  ", expect!["nothing"]);
    check_login(
        r#"{"type":"login","id":"l"}"#,
        expect![[r#"l bad_request: "name" is missing; expected a string; not logged in"#]],
    );
    check_login(
        r#"{"type":"login","name":"b ob"}"#,
        expect![[r#"- bad_name: "b ob" contains a blank; RULE; not logged in"#]],
    );
    check_login(
        r#"{"type":"login","name":"bob","acks":1}"#,
        expect![[r#"- bad_request: "acks" is "1"; expected true or false; not logged in"#]],
    );
    check_login(
        r#"{"type":"ping","id":"p"}"#,
        expect![[r#"p not_logged_in: "ping" needs a login; send {"type":"login","name":…} first; not logged in"#]],
    );
    check_login(
        r#"{"type":"frob"}"#,
        expect![[r#"- unknown_type: "frob" is not a type of this version; not logged in"#]],
    );
}

#[test]
fn send_has_destinations_and_an_untrimmed_text() {
    check(
        r##"{"type":"send","id":"c1","to":["bob","#Kitchen","Bob"],"text":" hi\r\n\u0007there\t"}"##,
        expect![[
            r##"c1 Send(Draft { to: [Peer(PeerName("bob")), Room(Room("#kitchen"))], text: Text(" hi\n�there\t") })"##
        ]],
    );
    check(
        r#"{"type":"send","to":["bob"],"text":"x","unknown":[{}]}"#,
        expect![[r#"- Send(Draft { to: [Peer(PeerName("bob"))], text: Text("x") })"#]],
    );
    check(
        r#"{"type":"send","id":"c","to":[],"text":"x"}"#,
        expect![[r#"c bad_request: "to" is empty; expected a name or a room; not sent"#]],
    );
    check(
        r#"{"type":"send","id":"c","to":["bob",1],"text":"x"}"#,
        expect![[r#"c bad_request: "to" is "["bob",1]"; expected a list of strings; not sent"#]],
    );
    check(r#"{"type":"send","id":"c","to":["bob"],"text":" "}"#, expect![[r#"c empty: "text" is empty; not sent"#]]);
    check(
        r#"{"type":"send","id":"c","to":["bob"],"text":"\udc00"}"#,
        expect![[r#"c bad_request: "text" is ""\udc00""; expected a string; not sent"#]],
    );
    let long = format!(r#"{{"type":"send","id":"c","to":["bob"],"text":"{}"}}"#, "x".repeat(LINE_BYTES_MAX + 1));
    check(&long, expect![[r#"c too_long: a "text" of more than 8192 bytes; not sent"#]]);
    let longest = parse(&long.replacen("xx", "x", 1), 1).unwrap().unwrap();
    assert!(matches!(longest.request, Request::Send(_)));
    let many = (0..3).map(|nth| format!("\"n{nth}\"")).collect::<Vec<_>>().join(",");
    let many = parse(&format!(r#"{{"type":"send","to":[{many}],"text":"x"}}"#), 2);
    expect![[r#"- bad_request: more than 2 names (destinations_max) in "to"; not sent"#]].assert_eq(&shown(many));
}

#[test]
fn each_request_has_its_fields() {
    check(r#"{"type":"ack","seq":42}"#, expect!["- Ack { seq: Seq(42) }"]);
    check(
        r#"{"type":"ack"}"#,
        expect![[r#"- bad_request: "seq" is missing; expected a whole number from 0; nothing was done"#]],
    );
    check(r##"{"type":"join","id":"j","room":"#a"}"##, expect![[r##"j Join { room: Room("#a") }"##]]);
    check(
        r#"{"type":"leave","room":"a"}"#,
        expect![[r##"- bad_name: "a" does not start with "#", as every room does; RULE; nothing was done"##]],
    );
    check(r#"{"type":"who","id":"w"}"#, expect!["w Who"]);
    check(r#"{"type":"history"}"#, expect!["- History(HistoryRequest { with: None, before: None, count: 20 })"]);
    check(
        r##"{"type":"history","with":"#a","before":42,"limit":50}"##,
        expect![[r##"- History(HistoryRequest { with: Some(Room(Room("#a"))), before: Some(Seq(42)), count: 50 })"##]],
    );
    check(
        r#"{"type":"history","limit":1001}"#,
        expect![[r#"- bad_request: "limit" is 1001; expected 1 to 1000; nothing was done"#]],
    );
    check(
        r#"{"type":"history","before":-1}"#,
        expect![[r#"- bad_request: "before" is "-1"; expected a whole number from 0; nothing was done"#]],
    );
    check(
        r#"{"type":"search","id":"s","text":" two  words "}"#,
        expect![[r#"s Search { words: Text("two  words"), count: 20 }"#]],
    );
    check(r#"{"type":"ping","id":"p"}"#, expect!["p Ping { token: None }"]);
    check(
        r#"{"type":"login","name":"x"}"#,
        expect!["- logged_in_already: you are logged in already; connect again to use another name; nothing was done"],
    );
    check(r#"{"type":"register","id":"r","password":"x"}"#, expect!["r Register { password: Password(…) }"]);
    check(
        r#"{"type":"password","old":"x","new":"y"}"#,
        expect!["- ChangePassword { old: Password(…), new: Password(…) }"],
    );
    check(
        r#"{"type":"password","old":"x"}"#,
        expect![[r#"- bad_request: "new" is missing; expected a string; nothing was done"#]],
    );
}

#[test]
fn mistake_leaves_the_id_known() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (line, id) in [
        (r#"{"id":"a","type":"who""#.to_owned(), Some("a")),
        (r#"{"id":"a","type":"who"} x"#.to_owned(), Some("a")),
        (r#"{"type":"who","x":1,"x":2,"id":"a"}"#.to_owned(), Some("a")),
        (r#"{"type":"who","type":"who","id":"a"}"#.to_owned(), Some("a")),
        (r#"{"id":"a","type":"who","id":"b"}"#.to_owned(), Some("a")),
        (format!(r#"{{"type":"send","to":{deep},"text":"x","id":"a"}}"#), Some("a")),
        (r#"{"type":"history","limit":1e999,"id":"a"}"#.to_owned(), Some("a")),
        (r#"{"type":{"a":1},"id":"a"}"#.to_owned(), Some("a")),
        (r#"{"type":null,"id":"a"}"#.to_owned(), Some("a")),
        (r#"{"type":"who","id":""}"#.to_owned(), None),
        (r#"{"type":"who","id":["a"]}"#.to_owned(), None),
        (format!(r#"{{"type":"who","id":"{}"}}"#, "x".repeat(65)), None),
        ("[1]".to_owned(), None),
        ("{".to_owned(), None),
        ("\u{feff}{}".to_owned(), None),
    ] {
        let shown: String = line.chars().take(50).collect();
        let Some(Err(Rejected { id: found, refusal })) = parse(&line, 1) else { panic!("{shown} is a request") };
        assert_eq!(found.as_ref().map(RequestId::as_str), id, "{shown}");
        assert_eq!(refusal.code, Code::BadRequest, "{shown}");
    }
    let ignored = format!(r#"{{"later":{deep},"number":1e999,"type":"who","id":"a"}}"#);
    check(&ignored, expect!["a Who"]);
}

fn message(text: &str, room: Option<&str>) -> Message {
    Message {
        seq: Seq::new(42),
        at: Timestamp::from_millis(1_795_414_715_123),
        sender: PeerName::stored("alice"),
        to: vec![Destination::Peer(PeerName::stored("bob")), Destination::Room(Room::stored("#kitchen"))],
        room: room.map(Room::stored),
        text: Text::stored(text.to_owned()),
    }
}

/// The message as it is written key by key, and by the type of the frame: both are the same.
fn delivered(message: &Message) -> String {
    let mut out = Vec::new();
    encode_message(message, &mut out);
    let line = String::from_utf8(out).unwrap();
    let frame = ServerFrame::Message(message.into());
    assert_eq!(line.trim_end(), serde_json::to_string(&frame).unwrap());
    line
}

#[test]
fn message_is_a_frame() {
    expect![[r##"
        {"type":"message","seq":42,"at":"2026-11-23T06:18:35.123Z","from":"alice","to":["bob","#kitchen"],"text":"hi"}
    "##]]
    .assert_eq(&delivered(&message("hi", None)));
    expect![[r##"
        {"type":"message","seq":42,"at":"2026-11-23T06:18:35.123Z","from":"alice","to":["bob","#kitchen"],"room":"#kitchen","text":"two\nlines \"quoted\" \\ €"}
    "##]]
    .assert_eq(&delivered(&message("two\nlines \"quoted\" \\ €", Some("#kitchen"))));
}

/// A message may be longer nowhere than the bytes that it counts for, or pages and outboxes would hold more than they may.
#[test]
fn message_counts_for_at_least_its_encoding() {
    let names = |count| (0..count).map(|nth| Destination::Peer(PeerName::stored(&format!("{nth}"))));
    for text in ["x", "\"\\\n\t", "\u{1b}\u{0}\u{8}\u{c}\r", "€é😀\u{7f}\u{fffd}"] {
        for (repeated, recipients, room) in [(1, 0, None), (8192, 1, Some("#kitchen")), (3, 255, None)] {
            let (seq, at) = (Seq::MAX, Timestamp::from_millis(i64::MAX));
            let to = names(recipients).collect();
            let message = Message { seq, at, to, ..message(&text.repeat(repeated), room) };
            let (mut line, mut plain) = (Vec::new(), Vec::new());
            encode_message(&message, &mut line);
            crate::protocol::plain::encode_message(&message, &mut plain);
            assert_eq!(message.text.json_bytes(), serde_json::to_string(message.text.as_str()).unwrap().len() - 2);
            let counted = message.counted_bytes();
            assert!(
                line.len().max(plain.len()) <= counted,
                "{} and {} bytes, counted {counted}",
                line.len(),
                plain.len()
            );
        }
    }
}

#[test]
fn replies_are_frames_or_nothing() {
    let alice = || PeerName::stored("alice");
    let kitchen = || Room::stored("#kitchen");
    let at = Timestamp::from_millis(1_795_414_715_123);
    let past = || vec![PastMessage { sent: false, message: message("hi", None) }];
    let replies = [
        Reply::Welcome { name: alice(), waiting: 3, database: DatabaseId::default(), newest: Seq::new(42) },
        Reply::Accepted { seq: Seq::new(42), at },
        Reply::Joined { room: kitchen(), topic: None },
        Reply::Joined { room: kitchen(), topic: Some(Text::stored("soup".to_owned())) },
        Reply::Topic { room: kitchen(), topic: None },
        Reply::Left { room: kitchen() },
        Reply::Who { here: vec![alice()], rooms: vec![RoomSummary { room: kitchen(), topic: None }], more: false },
        Reply::Who { here: vec![], rooms: vec![], more: true },
        Reply::Here { room: None, names: vec![alice()] },
        Reply::History { messages: past(), more: true },
        Reply::Found { messages: vec![], more: false },
        Reply::Pong { token: None },
        Reply::Presence { name: alice(), here: true },
        Reply::Sent(message("hi", None)),
        Reply::Refused(Refusal::new(Code::MailboxFull, "words")),
        Reply::ShuttingDown,
        Reply::StoredForLater { peer: alice(), seen: true },
        Reply::Alone { room: kitchen() },
        Reply::Help { commands: Vec::new() },
    ];
    let accepted = Reply::Accepted { seq: Seq::new(42), at };
    let (mut out, id) = (Vec::new(), RequestId::parse("i"));
    encode_reply(id.as_ref(), &accepted, &mut out);
    let frame = reply_frame(id.as_ref(), &accepted).unwrap();
    assert_eq!(String::from_utf8(out).unwrap().trim_end(), serde_json::to_string(&frame).unwrap());
    let mut out = Vec::new();
    for reply in &replies {
        encode_reply(RequestId::parse("i").as_ref(), reply, &mut out);
    }
    let version = concat!("holdline ", env!("CARGO_PKG_VERSION"));
    expect![[r##"
        {"type":"welcome","id":"i","name":"alice","server":"VERSION","protocol":1,"waiting":3,"database":"00000000000000000000000000000000","newest":42}
        {"type":"accepted","id":"i","seq":42,"at":"2026-11-23T06:18:35.123Z"}
        {"type":"joined","id":"i","room":"#kitchen"}
        {"type":"joined","id":"i","room":"#kitchen","topic":"soup"}
        {"type":"topic","id":"i","room":"#kitchen","text":""}
        {"type":"left","id":"i","room":"#kitchen"}
        {"type":"who","id":"i","here":["alice"],"rooms":["#kitchen"]}
        {"type":"who","id":"i","here":[],"rooms":[],"more":true}
        {"type":"history","id":"i","messages":[{"seq":42,"at":"2026-11-23T06:18:35.123Z","from":"alice","to":["bob","#kitchen"],"text":"hi"}],"more":true}
        {"type":"search","id":"i","messages":[],"more":false}
        {"type":"pong","id":"i"}
        {"type":"presence","name":"alice","here":true}
        {"type":"sent","seq":42,"at":"2026-11-23T06:18:35.123Z","from":"alice","to":["bob","#kitchen"],"text":"hi"}
        {"type":"error","id":"i","code":"mailbox_full","message":"words"}
        {"type":"error","id":"i","code":"shutting_down","message":"the server is shutting down, what waits for you is stored"}
    "##]]
    .assert_eq(&String::from_utf8(out).unwrap().replace(version, "VERSION"));
}

proptest! {
    #[test]
    fn each_line_is_parsed_or_refused(line in "(\\PC|\\p{Cc}|[\\[\\]{}\":,a-z0-9\\\\]){0,80}") {
        prop_assert_eq!(parse(&line, 2).is_none(), line.trim().is_empty());
        prop_assert_eq!(parse_login(&line).is_none(), line.trim().is_empty());
    }

    #[test]
    fn any_text_is_one_line_of_json(said in "(\\PC|\\p{Cc}|[a-z]){1,40}") {
        let Some(text) = Text::verbatim(&said) else { return Ok(()) };
        let line = delivered(&message(text.as_str(), None));
        prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
        let read: Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(read["text"].as_str(), Some(text.as_str()));
        let sent = format!(r#"{{"type":"send","to":["bob"],"text":{}}}"#, read["text"]);
        let Request::Send(again) = parse(&sent, 1).unwrap().unwrap().request else { panic!("{sent}") };
        prop_assert_eq!(again.text, text);
    }
}
