//! Tests of the lines that the server writes, word for word.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::message::{DatabaseId, Room, Seq, Text, Timestamp};
use crate::protocol::Code;

fn name(name: &str) -> PeerName {
    PeerName::parse(name).expect("a name")
}

fn names(names: &[&str]) -> Vec<PeerName> {
    names.iter().copied().map(name).collect()
}

fn text(text: &str) -> Text {
    Text::clean(text).expect("a text")
}

fn encoded(reply: Reply) -> String {
    let mut out = Vec::new();
    encode_reply(&reply, &mut out);
    String::from_utf8(out).expect("UTF-8")
}

fn check(reply: Reply, expected: Expect) {
    expected.assert_eq(&encoded(reply));
}

fn message(text: Text) -> String {
    delivered(&said(text, &[], None))
}

fn said(text: Text, to: &[&str], room: Option<&str>) -> Message {
    Message {
        seq: Seq::new(1),
        at: Timestamp::from_millis(1_795_414_715_123),
        sender: name("alice"),
        to: to.iter().map(|to| Destination::parse(to).expect("a destination")).collect(),
        room: room.map(Room::stored),
        text,
    }
}

fn delivered(message: &Message) -> String {
    let mut out = b"before\n".to_vec();
    encode_message(message, &mut out);
    String::from_utf8(out).expect("UTF-8").strip_prefix("before\n").expect("appended").to_owned()
}

#[test]
fn message_in_a_room_names_the_room() {
    assert_eq!(delivered(&said(text("hi"), &[], Some("#home"))), "from alice in #home: hi\n");
}

#[test]
fn message_is_one_line() {
    assert_eq!(message(text("hi!")), "from alice: hi!\n");
    assert_eq!(message(text("a: b\tc")), "from alice: a: b\tc\n");
    let stored = |text: &str| message(Text::stored(text.to_owned()));
    assert_eq!(stored("a\nb\r\nc\n\nd\n"), "from alice: a b c  d \n");
    assert_eq!(stored("\r\na\r"), "from alice:  a\u{FFFD}\n");
}

#[test]
fn welcome_counts_the_waiting_messages() {
    let (database, newest) = (DatabaseId::default(), Seq::new(42));
    let welcome = |waiting| Reply::Welcome { name: name("alice"), waiting, database, newest };
    check(
        welcome(0),
        expect![[r#"
        * hello alice, /help lists the commands
    "#]],
    );
    check(
        welcome(1),
        expect![[r#"
        * hello alice, 1 message waits for you
    "#]],
    );
    check(
        welcome(3),
        expect![[r#"
        * hello alice, 3 messages wait for you
    "#]],
    );
}

#[test]
fn notices_say_what_happened() {
    check(
        Reply::StoredForLater { peer: name("bob"), seen: true },
        expect![[r#"
        * bob is away, kept for later
    "#]],
    );
    check(
        Reply::StoredForLater { peer: name("bob"), seen: false },
        expect![[r#"
        * nobody has used the name bob yet, kept for later
    "#]],
    );
    check(
        Reply::Pong { token: Some(text("now then")) },
        expect![[r#"
        * pong now then
    "#]],
    );
    check(
        Reply::Pong { token: None },
        expect![[r#"
        * pong
    "#]],
    );
    check(
        Reply::ShuttingDown,
        expect![[r#"
        * the server is shutting down, what waits for you is stored
    "#]],
    );
}

#[test]
fn error_has_its_code() {
    check(
        Reply::Refused(Refusal::new(Code::TooLong, "8192 bytes at most; not sent")),
        expect![[r#"
        ! too_long: 8192 bytes at most; not sent
    "#]],
    );
    check(
        Reply::Refused(Refusal::new(Code::Internal, "the disk\nfailed")),
        expect![[r#"
        ! internal: the disk failed
    "#]],
    );
}

#[test]
fn help_fits_a_terminal() {
    check(
        Reply::Help { commands: Vec::new() },
        expect![[r#"
            * NAME, #ROOM: TEXT                 send TEXT to each of them, online or not
            * /help                             list the commands
            * /who                              who is online, and your rooms
            * /join #ROOM                       get what is sent there, until you leave
            * /leave #ROOM                      leave the room
            * /topic #ROOM [TEXT]               show the topic, or set it; - clears it
            * /history [NAME or #ROOM] [COUNT]  your newest messages: 20, or COUNT to 1000
            * /search WORDS                     your newest messages that contain all WORDS
            * /register PASSWORD                from now on, your name needs this password
            * /password OLD NEW                 change your password
            * /ping [TOKEN]                     reply once everything you sent is stored
            * /plugins                          list the plugins and their states
            * /quit                             write what is queued for you, then close
        "#]],
    );
    assert!(encoded(Reply::Help { commands: Vec::new() }).lines().all(|line| line.len() <= 80));
    let commands = [("weather", "PLACE: the weather there"), ("joke", "tells one")];
    let commands = commands.map(|(name, help)| (name.to_owned(), help.to_owned())).to_vec();
    let help = encoded(Reply::Help { commands });
    let of_plugins: Vec<&str> = help.lines().skip_while(|line| !line.contains("/weather")).collect();
    assert_eq!(
        of_plugins,
        ["* /weather PLACE                    the weather there", "* /joke                             tells one"]
    );
}

fn here(room: Option<&str>, here: &[&str]) -> Reply {
    Reply::Here { room: room.map(Room::stored), names: names(here) }
}

#[test]
fn who_lists_peers_and_rooms() {
    check(
        here(None, &["alice", "bob"]),
        expect![[r#"
        * here: alice, bob
    "#]],
    );
    check(
        here(Some("#a"), &["alice", "bob"]),
        expect![[r#"
        * #a: alice, bob
    "#]],
    );
    check(
        here(Some("#b"), &[]),
        expect![[r#"
        * #b: nobody is here
    "#]],
    );
    check(
        here(None, &[]),
        expect![[r#"
        * nobody is here
    "#]],
    );
}

#[test]
fn long_list_is_split_into_lines() {
    let here: Vec<_> = (0..1000).map(|nth| name(&format!("peer-{nth}{}", "é".repeat(nth % 20)))).collect();
    let listed = encoded(Reply::Here { room: None, names: here.clone() });
    assert!(listed.lines().count() > 10);
    assert!(
        listed
            .lines()
            .all(|line| (400..=WHO_LINE_BYTES_MAX).contains(&(line.len() + 1)) || listed.trim_end().ends_with(line))
    );
    let read: Vec<_> =
        listed.lines().flat_map(|line| line.strip_prefix("* here: ").expect("a notice").split(", ")).collect();
    assert_eq!(read, here.iter().map(PeerName::as_str).collect::<Vec<_>>());
}

#[test]
fn history_shows_who_sent_and_when() {
    let past = |sent, recipients: &[&str], room, words: &str| PastMessage {
        sent,
        message: said(Text::stored(words.to_owned()), recipients, room),
    };
    check(
        Reply::Found { messages: vec![], more: false },
        expect![[r#"
        * no messages contain that
    "#]],
    );
    check(
        Reply::History { messages: vec![], more: false },
        expect![[r#"
        * no messages
    "#]],
    );
    check(
        Reply::History {
            messages: vec![
                past(false, &["bob", "carol"], None, "hi"),
                past(true, &["bob"], None, "a: b"),
                past(true, &["bob", "#home"], Some("#home"), "two\r\nlines"),
                past(false, &["#home"], Some("#home"), "in the room"),
            ],
            more: true,
        },
        expect![[r#"
            * 2026-11-23T06:18:35.123Z from alice: hi
            * 2026-11-23T06:18:35.123Z to bob: a: b
            * 2026-11-23T06:18:35.123Z to bob, #home: two lines
            * 2026-11-23T06:18:35.123Z from alice in #home: in the room
        "#]],
    );
}

proptest! {
    #[test]
    fn any_text_is_one_safe_line(said in "(\\PC|\\p{Cc}|[a-z]){1,40}") {
        let Some(text) = Text::clean(&said) else { return Ok(()) };
        let line = message(text.clone());
        prop_assert_eq!(&line, &format!("from alice: {text}\n"));
        prop_assert_eq!(line.find(|c: char| c.is_control() && c != '\t'), Some(line.len() - 1));
    }
}
