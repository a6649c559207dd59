//! Tests of the lines that clients write: each rule, and the refusal of a line that breaks it.

use expect_test::{Expect, expect};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::limits::DESTINATIONS_DEFAULT;
use crate::message::{Destination, Text};
use crate::protocol::{Draft, HistoryRequest};

fn parse(line: &str) -> Option<ParsedRequest> {
    super::parse(line, DESTINATIONS_DEFAULT)
}

fn check(line: &str, expected: Expect) {
    expected.assert_eq(&shown(parse(line)));
}

fn check_login(line: &str, expected: Expect) {
    expected.assert_eq(&match parse_login(line) {
        None => "nothing".to_owned(),
        Some(Ok(Login { name, password, registers, .. })) => {
            let verb = if registers { "registers " } else { "" };
            format!("{verb}{name} {:?}", password.as_ref().map(Password::as_str))
        }
        Some(Err(rejected)) => shown_refusal(rejected.refusal),
    });
}

fn shown(parsed: Option<ParsedRequest>) -> String {
    let request = match parsed {
        None => return "nothing".to_owned(),
        Some(Err(rejected)) => return shown_refusal(rejected.refusal),
        Some(Ok(request)) => request.request,
    };
    match request {
        Request::Send(Draft { to, text }) => {
            format!("{} <- {text}", to.iter().map(Destination::as_str).collect::<Vec<_>>().join(" + "))
        }
        Request::Join { room } => format!("join {room}"),
        Request::Leave { room } => format!("leave {room}"),
        Request::ShowTopic { room } => format!("topic of {room}"),
        Request::SetTopic { room, topic } => format!("topic of {room} is {:?}", topic.as_ref().map(Text::as_str)),
        Request::Search { words, count } => format!("search {words} up to {count}"),
        Request::History(HistoryRequest { with, count, .. }) => {
            format!("history with {} up to {count}", with.as_ref().map_or("anyone", Destination::as_str))
        }
        Request::Ping { token } => format!("ping {:?}", token.as_ref().map(Text::as_str)),
        Request::Ack { .. } | Request::Who | Request::Help | Request::Command { .. } => format!("{request:?}"),
        Request::Register { password } => format!("register {}", password.as_str()),
        Request::ChangePassword { old, new } => format!("password {} to {}", old.as_str(), new.as_str()),
        Request::Plugins | Request::Quit => format!("{request:?}"),
    }
}

/// Returns the message that a line sends.
fn sent(line: &str) -> Draft {
    match parse(line) {
        Some(Ok(ClientRequest { request: Request::Send(draft), .. })) => draft,
        other => panic!("{line} sends nothing: {other:?}"),
    }
}

fn shown_refusal(refusal: Refusal) -> String {
    let missing = PeerName::parse("").expect_err("no name").to_string();
    let rule = missing.strip_prefix("a name is missing; ").expect("what a name is");
    format!("{}: {}", refusal.code.as_str(), refusal.message.replace(rule, "RULE"))
}

#[test]
fn login_is_a_name_with_an_optional_password() {
    check_login("/register bob secret", expect![[r#"registers bob Some("secret")"#]]);
    check_login(
        "/register bob",
        expect!["bad_request: /register takes a name and a password without blanks; not registered"],
    );
    check_login(
        "/register bob two words",
        expect!["bad_request: /register takes a name and a password without blanks; not registered"],
    );
    check_login("", expect!["nothing"]);
    check_login(" \t\u{3000}\r", expect!["nothing"]);
    check_login("alice", expect!["alice None"]);
    check_login("  Alice\u{A0}", expect!["alice None"]);
    check_login("alice geheim", expect![[r#"alice Some("geheim")"#]]);
    check_login("alice \t two  words ", expect![[r#"alice Some("two  words")"#]]);
    check_login("alice:", expect![[r#"bad_name: "alice:" contains ":"; RULE; not logged in"#]]);
    check_login("/help", expect![[r#"bad_name: "/help" contains "/"; RULE; not logged in"#]]);
    check_login("#kitchen", expect![[r##"bad_name: "#kitchen" contains "#"; RULE; not logged in"##]]);
    check_login(
        "\u{FEFF}alice",
        expect![[
            r#"bad_name: "�alice" contains a byte order mark (U+FEFF): send UTF-8 without one; RULE; not logged in"#
        ]],
    );
    check_login("\u{1B}[2Jalice geheim", expect![[r#"bad_name: "�[2Jalice" contains U+001B; RULE; not logged in"#]]);
}

#[test]
fn line_of_blanks_does_nothing() {
    for blank in ["", " ", "\t", "\r", "\u{3000}\u{85} "] {
        check(blank, expect![["nothing"]]);
    }
}

#[test]
fn message_has_names_and_a_text() {
    check("bob: hello", expect!["bob <- hello"]);
    check("  BOB\t:hello \r", expect!["bob <- hello"]);
    check("alice, bob: hi!", expect!["alice + bob <- hi!"]);
    check("alice,bob ,\u{3000}#Kitchen:hi", expect!["alice + bob + #kitchen <- hi"]);
    check("bob: a:b, c: d", expect!["bob <- a:b, c: d"]);
    check("bob: /help", expect!["bob <- /help"]);
    check("bob: \u{1B}[31mred\ttab", expect!["bob <- �[31mred	tab"]);
    check("bob, carol, BOB, ＢＯＢ, bob: once", expect!["bob + carol <- once"]);
}

#[test]
fn bad_message_is_refused_with_the_reason() {
    check(
        "hello there",
        expect![[r#"bad_request: "hello there" has no ":"; write NAME: TEXT, or /help for the commands; not sent"#]],
    );
    check(": hi", expect!["bad_name: a name is missing; RULE; not sent"]);
    check("bob,: hi", expect!["bad_name: a name is missing; RULE; not sent"]);
    check("bob,,carol: hi", expect!["bad_name: a name is missing; RULE; not sent"]);
    check(",: hi", expect!["bad_name: a name is missing; RULE; not sent"]);
    check("#: hi", expect!["bad_name: a name is missing; RULE; not sent"]);
    check("bob smith: hi", expect![[r#"bad_name: "bob smith" contains a blank; RULE; not sent"#]]);
    check("bob, carol!: hi", expect![[r#"bad_name: "carol!" contains "!"; RULE; not sent"#]]);
    check("bob:", expect![[r#"empty: "bob:" has no text after the ":"; write NAME: TEXT; not sent"#]]);
    check(
        "bob, carol: \u{3000}\t",
        expect![[r#"empty: "bob, carol:" has no text after the ":"; write NAME: TEXT; not sent"#]],
    );
    check(
        "\u{1B}[2J",
        expect![[r#"bad_request: "�[2J" has no ":"; write NAME: TEXT, or /help for the commands; not sent"#]],
    );
    check(
        &"blah ".repeat(1000),
        expect![[
            r#"bad_request: "blah blah blah blah blah blah blah blah …" has no ":"; write NAME: TEXT, or /help for the commands; not sent"#
        ]],
    );
    check(
        &format!("{}: hi", "x".repeat(8000)),
        expect![[r#"bad_name: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…" is too long; RULE; not sent"#]],
    );
}

#[test]
fn line_has_at_most_256_destinations() {
    let names = |count: usize| (0..count).map(|nth| format!("n{nth}")).collect::<Vec<_>>().join(",");
    let to = sent(&format!("{}: hi", names(256))).to;
    assert_eq!((to.len(), to[0].as_str(), to[255].as_str()), (256, "n0", "n255"));
    let twice = format!("{},{}: hi", names(256), names(256));
    assert_eq!(sent(&twice).to.len(), 256);
    check(
        &format!("{}: hi", names(257)),
        expect![[
            r#"bad_request: more than 256 names (destinations_max) before the ":"; write to fewer at a time; not sent"#
        ]],
    );
    check(
        &format!("{}: hi", names(4000)),
        expect![[
            r#"bad_request: more than 256 names (destinations_max) before the ":"; write to fewer at a time; not sent"#
        ]],
    );
}

#[test]
fn commands_are_recognized_by_their_names() {
    check("/help", expect!["Help"]);
    check(" /who ", expect!["Who"]);
    check("/quit\r", expect!["Quit"]);
    check("/join #Kitchen", expect!["join #kitchen"]);
    check("/leave  #a ", expect!["leave #a"]);
    check("/search two  words", expect!["search two  words up to 20"]);
    check(
        "/search",
        expect![[r#"bad_request: /search takes words to look for, such as /search dinner; nothing was done"#]],
    );
    check("/join", expect!["bad_request: /join takes a #ROOM, such as /join #home; nothing was done"]);
    check("/topic #a", expect!["topic of #a"]);
    check("/topic #A  two  words ", expect![[r##"topic of #a is Some("two  words")"##]]);
    check("/topic #a -", expect!["topic of #a is None"]);
    check("/join #a #b", expect![[r##"bad_request: "#a #b" after /join, which takes one #ROOM; nothing was done"##]]);
    check(
        "/leave home",
        expect![[r##"bad_name: "home" does not start with "#", as every room does; RULE; nothing was done"##]],
    );
    check("/help me", expect![[r#"bad_request: "me" after /help, which takes no arguments; nothing was done"#]]);
    check("/who bob", expect![[r#"bad_request: "bob" after /who, which takes no arguments; nothing was done"#]]);
    check("/quit now", expect![[r#"bad_request: "now" after /quit, which takes no arguments; nothing was done"#]]);
    for unknown in ["/", "/HELP", "/help_me", "/ help", "/bob: hi", "/7", "/käse"] {
        let Some(Err(rejected)) = parse(unknown) else { panic!("{unknown} is known") };
        assert_eq!(rejected.refusal.code, Code::UnknownCommand, "{unknown}");
    }
    for (known, name, arguments) in
        [("/weather oslo", "weather", "oslo"), ("/a-1  b  c ", "a-1", "b  c"), ("/x", "x", "")]
    {
        let command = Request::Command { name: name.to_owned(), arguments: arguments.to_owned() };
        assert_eq!(parse(known), Some(Ok(command.into())), "a plugin may know it");
    }
    check(
        &format!("/{}", "\u{9B}".repeat(100)),
        expect![[
            r#"unknown_command: "/���������������������������������������…" is not a command; /help lists the commands; nothing was done"#
        ]],
    );
}

#[test]
fn history_takes_a_name_and_a_count() {
    check("/history", expect!["history with anyone up to 20"]);
    check("/history 5", expect!["history with anyone up to 5"]);
    check("/history Bob", expect!["history with bob up to 20"]);
    check("/history #Kitchen 1000", expect!["history with #kitchen up to 1000"]);
    check("/history  123\t5", expect!["history with 123 up to 5"]);
    check("/history 1.5", expect!["history with 1.5 up to 20"]);
    check(
        "/history 0",
        expect![[
            r#"bad_request: "0" is not a valid count for /history: give a number from 1 to 1000; nothing was done"#
        ]],
    );
    check(
        "/history 1001",
        expect![[
            r#"bad_request: "1001" is not a valid count for /history: give a number from 1 to 1000; nothing was done"#
        ]],
    );
    check(
        "/history -1",
        expect![[
            r#"bad_request: "-1" is not a valid count for /history: give a number from 1 to 1000; nothing was done"#
        ]],
    );
    check(
        "/history 99999999999999999999999",
        expect![[
            r#"bad_request: "99999999999999999999999" is not a valid count for /history: give a number from 1 to 1000; nothing was done"#
        ]],
    );
    check(
        "/history bob 0",
        expect![[
            r#"bad_request: "0" is not a valid count for /history: give a number from 1 to 1000; nothing was done"#
        ]],
    );
    check(
        "/history bob carol",
        expect![[
            r#"bad_request: "carol" is not a valid count for /history: give a number from 1 to 1000; nothing was done"#
        ]],
    );
    check(
        "/history bob 5 6",
        expect![[
            r#"bad_request: "bob 5 6" after /history, which takes a name or #ROOM and a count at most; nothing was done"#
        ]],
    );
    check("/history bob: 5", expect![[r#"bad_name: "bob:" contains ":"; RULE; nothing was done"#]]);
    check("/history #", expect!["bad_name: a name is missing; RULE; nothing was done"]);
}

#[test]
fn ping_keeps_its_token() {
    check("/ping", expect!["ping None"]);
    check("/ping \u{3000} ", expect!["ping None"]);
    check("/ping 1", expect![[r#"ping Some("1")"#]]);
    check("/ping  two  words \r", expect![[r#"ping Some("two  words")"#]]);
    check("/ping \u{7}", expect![[r#"ping Some("�")"#]]);
}

/// Generates lines that resemble valid ones.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-c#/:, \t]{0,20}",
        "/(help|who|history|ping|quit|x)? ?[a-c0-9#: ]{0,12}",
        "[a-zA-Zé,# ]{0,9}:\\PC{0,9}",
    ]
}

proptest! {
    #[test]
    fn any_line_is_parsed_or_refused(line in line()) {
        let parsed = parse(&line);
        prop_assert_eq!(parsed.is_none(), line.trim().is_empty());
        match parsed {
            Some(Err(Rejected { refusal, .. })) => {
                let end = if line.trim().starts_with('/') { "; nothing was done" } else { "; not sent" };
                prop_assert!(refusal.message.ends_with(end));
                prop_assert!(!refusal.message.contains(|c: char| c.is_control() && c != '\t'));
                prop_assert!(refusal.message.chars().count() < 300);
            }
            Some(Ok(ClientRequest { request: Request::Send(Draft { to, .. }), .. })) => {
                prop_assert!((1..=DESTINATIONS_DEFAULT).contains(&(to.len() as u64)));
            }
            Some(Ok(_)) | None => {}
        }
        prop_assert_eq!(parse_login(&line).is_none(), line.trim().is_empty());
    }

    #[test]
    fn sent_text_is_the_written_text(
        names in vec("#?[a-zA-Zà-ö0-9][a-zA-Zà-ö0-9._-]{0,9}", 1..9),
        said in "[^\\p{Cc} ](\\PC{0,40}[^\\p{Cc} ])?",
        blanks in "[ \t\u{3000}]{0,3}",
    ) {
        let mut to: Vec<Destination> = Vec::new();
        for name in &names {
            let destination = Destination::parse(name).expect("a name");
            if !to.contains(&destination) {
                to.push(destination);
            }
        }
        let list = names.join(&format!("{blanks},{blanks}"));
        let sent = parse(&format!("{blanks}{list}{blanks}:{blanks}{said}{blanks}"));
        prop_assume!(!said.trim().is_empty());
        let draft = Draft { to, text: Text::clean(said.trim()).expect("a text") };
        prop_assert_eq!(sent, Some(Ok(Request::Send(draft).into())));
    }
}
