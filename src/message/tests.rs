//! Tests of names, texts and times, and of the errors about bad names.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn name(name: &str) -> String {
    PeerName::parse(name).unwrap_or_else(|bad| panic!("{bad}")).to_string()
}

fn check_refused(name: &str, expected: Expect) {
    let bad = PeerName::parse(name).expect_err("the name is not valid").to_string();
    expected.assert_eq(bad.strip_suffix(RULE).unwrap_or(&bad));
}

const RULE: &str = "; a name is 1 to 32 letters, marks or digits of any script, \"-\", \"_\" or \".\", and starts with a letter or a digit";

#[test]
fn names_are_mapped() {
    for (written, mapped) in [
        ("alice", "alice"),
        ("Alice", "alice"),
        ("ＡＬＩＣＥ", "alice"),
        ("0-._-", "0-._-"),
        ("A\u{30A}sa", "\u{E5}sa"),
        ("ΟΔΥΣΣΕΥΣ", "οδυσσευσ"),
        ("Иван", "иван"),
        ("さくら", "さくら"),
        ("שרה", "שרה"),
        ("अनिता", "अनिता"),
        ("ا٣", "ا٣"),
    ] {
        assert_eq!(PeerName::parse(written).as_ref().map(PeerName::as_str), Ok(mapped), "{written:?}");
    }
}

#[test]
fn name_has_up_to_32_characters_after_the_mapping() {
    assert_eq!(name(&"a".repeat(32)), "a".repeat(32));
    assert_eq!(name(&"A".repeat(32)), "a".repeat(32));
    assert_eq!(name(&"a\u{30A}".repeat(32)), "\u{E5}".repeat(32));
    // No character decomposes into more than these four.
    assert_eq!(name(&"\u{3B1}\u{313}\u{300}\u{345}".repeat(32)), "\u{1F82}".repeat(32));
    for long in ["a", "A", "a\u{30A}", "\u{E5}", "\u{3B1}\u{313}\u{300}\u{345}"] {
        let bad = PeerName::parse(&long.repeat(33)).expect_err("33 characters").to_string();
        assert!(bad.contains("\" is too long; "), "{bad}");
    }
}

#[test]
fn errors_say_what_is_wrong_with_a_name() {
    assert_eq!(PeerName::parse("").expect_err("the name is empty").to_string(), format!("a name is missing{RULE}"));
    check_refused(" alice", expect![[r#"" alice" contains a blank"#]]);
    check_refused("al ice", expect![[r#""al ice" contains a blank"#]]);
    check_refused("al\u{3000}ice", expect![[r#""al　ice" contains a blank"#]]);
    check_refused("al\tice", expect![[r#""al�ice" contains a blank"#]]);
    check_refused("al:ice", expect![[r#""al:ice" contains ":""#]]);
    check_refused("al\u{FF1A}ice", expect![[r#""al：ice" contains ":""#]]);
    check_refused("al,ice", expect![[r#""al,ice" contains ",""#]]);
    check_refused("#kitchen", expect![[r##""#kitchen" contains "#""##]]);
    check_refused("/help", expect![[r#""/help" contains "/""#]]);
    check_refused("a\"b", expect![[r#""a"b" contains """"#]]);
    check_refused("-alice", expect![[r#""-alice" starts with "-""#]]);
    check_refused(".alice", expect![[r#"".alice" starts with ".""#]]);
    check_refused("\u{301}alice", expect![[r#""́alice" starts with U+0301"#]]);
    check_refused("क\u{94D}\u{200D}ष", expect![[r#""क्�ष" contains U+200D"#]]);
    check_refused("a\u{200D}b", expect![[r#""a�b" contains U+200D"#]]);
    check_refused(
        "\u{FEFF}alice",
        expect![[r#""�alice" contains a byte order mark (U+FEFF): send UTF-8 without one"#]],
    );
    check_refused("🙂", expect![[r#""🙂" contains "🙂""#]]);
    check_refused("a❤\u{FE0F}", expect![[r#""a❤️" contains "❤""#]]);
    check_refused("½", expect![[r#""½" contains "½""#]]);
    check_refused("Ⅷ", expect![[r#""Ⅷ" contains "Ⅷ""#]]);
    check_refused("l·l", expect![[r#""l·l" contains "·""#]]);
    check_refused("ﬁsh", expect![[r#""ﬁsh" contains "ﬁ", which RFC 8265 does not allow in names"#]]);
    check_refused("אb", expect![[r#""אb" is not allowed by RFC 8265, perhaps by its rule for right-to-left scripts"#]]);
    check_refused("\u{1B}[2J", expect![[r#""�[2J" contains U+001B"#]]);
    check_refused("a\nb", expect![[r#""a�b" contains a blank"#]]);
    check_refused(&"x".repeat(9000), expect![[r#""xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…" is too long"#]]);
}

#[test]
fn room_is_a_number_sign_and_a_name() {
    let room = Room::parse("#Kitchen").expect("the room is valid");
    assert_eq!((room.as_str(), room.to_string()), ("#kitchen", "#kitchen".to_owned()));
    let refusal = |room| Room::parse(room).expect_err("the room is not valid").to_string().replace(RULE, "");
    expect![[r##""kitchen" does not start with "#", as every room does"##]].assert_eq(&refusal("kitchen"));
    expect![[r#"a name is missing"#]].assert_eq(&refusal("#"));
    expect![[r##""#home" contains "#""##]].assert_eq(&refusal("##home"));
    expect![[r#"" home" contains a blank"#]].assert_eq(&refusal("# home"));
}

#[test]
fn destination_is_a_room_or_a_peer() {
    assert_eq!(Destination::parse("#A"), Ok(Destination::Room(Room("#a".into()))));
    assert_eq!(Destination::parse("A"), Ok(Destination::Peer(PeerName("a".into()))));
    assert!(Destination::parse("").is_err() && Destination::parse("#").is_err());
    assert_eq!(Destination::parse("#A").expect("the room is valid").to_string(), "#a");
    let bad = Destination::parse("a#b").expect_err("the destination is not valid").to_string();
    expect![[r##""a#b" contains "#""##]].assert_eq(bad.strip_suffix(RULE).unwrap_or(&bad));
}

/// Tries all characters, except those of the planes without letters.
#[test]
fn second_mapping_changes_no_name() {
    let mut names = 0;
    for c in '\0'..='\u{3FFFF}' {
        let written = c.to_string();
        let Ok(name) = PeerName::parse(&written) else { continue };
        assert_eq!(PeerName::parse(name.as_str()), Ok(name), "{written:?}");
        names += 1;
    }
    assert!(names > 50_000, "{names}");
}

proptest! {
    #[test]
    fn mapping_does_not_change_mapped_ascii_names(name in "[a-z0-9][a-z0-9._-]{0,31}") {
        prop_assert!(is_mapped_ascii_name(&name));
        prop_assert_eq!(precis::enforce(&name), Ok(name));
    }

    #[test]
    fn fast_path_returns_the_same_as_the_mapping(name in "[ -~]{0,34}|[a-zA-Z0-9._-]{0,34}") {
        let slow = map_name(&name).and_then(|mapped| check_name(&name, &mapped).map(|()| mapped));
        prop_assert_eq!(PeerName::parse(&name).map(|name| name.to_string()), slow);
    }

    #[test]
    fn parsed_name_parses_as_itself(
        written in "[a-zA-Zà-öÀ-ÖΑ-ΡΣ-Ωα-ωА-Яа-яＡ-Ｚ\u{300}-\u{315}0-9._-]{1,34}|[א-תء-ي٠-٩۰-۹0-9._\u{5B0}-\u{5B9}-]{1,12}|\\PC{1,9}"
    ) {
        if let Ok(name) = PeerName::parse(&written) {
            prop_assert!((1..=NAME_CHARS_MAX).contains(&name.as_str().chars().count()));
            prop_assert!(name.as_str().starts_with(is_letter_or_digit));
            prop_assert!(name.as_str().chars().all(is_name_char));
            prop_assert_eq!(PeerName::stored(name.as_str()), name);
        }
    }

    #[test]
    fn error_about_a_name_is_one_safe_line(written in any::<String>()) {
        if let Err(bad) = Destination::parse(&written) {
            let bad = bad.to_string();
            prop_assert_eq!(printable(&bad), &*bad);
            prop_assert!(bad.chars().count() < 300);
        }
    }

    #[test]
    fn text_is_trimmed_and_its_hidden_characters_replaced(written in "(\\PC|\\p{Cc}|\\p{Cf}|\\s|é|\u{85}){0,30}") {
        let replaced = |c: char| if is_hidden(c) { '\u{FFFD}' } else { c };
        let expected: String = written.trim().chars().map(replaced).collect();
        prop_assert_eq!(Text::clean(&written).map_or(String::new(), |text| text.to_string()), expected);
    }

    #[test]
    fn every_time_can_be_shown(millis in any::<i64>()) {
        prop_assert_eq!(Timestamp::from_millis(millis).to_string().len(), "2026-11-23T06:18:35.123Z".len());
    }
}

#[test]
fn texts_are_cleaned() {
    let cleaned = |text| Text::clean(text).map(|text| text.to_string());
    assert_eq!(cleaned("hi"), Some("hi".to_owned()));
    assert_eq!(cleaned(" \t\u{3000}\u{85}hi there \r\n"), Some("hi there".to_owned()));
    assert_eq!(cleaned("a\tb"), Some("a\tb".to_owned()));
    assert_eq!(cleaned("\u{1B}[31mred\u{7F}"), Some("\u{FFFD}[31mred\u{FFFD}".to_owned()));
    assert_eq!(cleaned("a\u{0}b\u{9B}c\u{80}d"), Some("a\u{FFFD}b\u{FFFD}c\u{FFFD}d".to_owned()));
    assert_eq!(cleaned("a\u{7F}"), Some("a\u{FFFD}".to_owned()));
    assert_eq!(cleaned("a\nb\rc"), Some("a\u{FFFD}b\u{FFFD}c".to_owned()));
    assert_eq!(cleaned("£ é \u{A0}x 🙂"), Some("£ é \u{A0}x 🙂".to_owned()));
    assert_eq!(cleaned(""), None);
    assert_eq!(cleaned(" \t \u{2003}\u{85}\n"), None);
    assert_eq!(Text::clean("é").expect("a text").len(), 2);
    assert_eq!(Text::stored("hi".to_owned()).as_str(), "hi");
}

#[test]
fn stored_texts_are_cleaned() {
    let stored = |text: &str| Text::stored(text.to_owned()).to_string();
    assert_eq!(stored("one\ntwo\tthree"), "one\ntwo\tthree");
    assert_eq!(stored("\u{1B}[2J\u{202E}"), "\u{FFFD}[2J\u{FFFD}");
    assert_eq!(Text::verbatim("one\r\ntwo\r\u{2028}").expect("a text").as_str(), "one\ntwo\u{FFFD}\u{FFFD}");
}

#[test]
fn times_are_shown_in_utc() {
    let shown = |millis| Timestamp::from_millis(millis).to_string();
    assert_eq!(shown(1_795_414_715_123), "2026-11-23T06:18:35.123Z");
    assert_eq!(shown(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(shown(-1), "1970-01-01T00:00:00.000Z");
    assert_eq!(shown(i64::MAX), "9999-12-31T23:59:59.999Z");
    assert!(Timestamp::now() > Timestamp::from_millis(1_700_000_000_000));
}

#[test]
fn ids_have_successors() {
    assert_eq!(Seq::ZERO.next(), Seq::new(1));
    assert_eq!((Seq::new(41).next().get(), Seq::new(7).to_string()), (42, "7".to_owned()));
    assert_eq!((PeerId::new(3).get(), PeerId::new(3).to_string()), (3, "3".to_owned()));
    assert_eq!((SessionId::new(4).get(), SessionId::new(4).to_string()), (4, "4".to_owned()));
}
