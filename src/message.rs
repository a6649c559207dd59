//! Names, ids, texts and times: valid by construction, so that nothing behind the parser checks them again.
//! Owns what they mean; never how they are written on a wire or in a table.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use precis_profiles::UsernameCaseMapped;
use precis_profiles::precis_core::Error as PrecisError;
use precis_profiles::precis_core::profile::PrecisFastInvocation;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

use crate::limits::NAME_CHARS_MAX;

/// Characters of a name before it is mapped: no mapping makes one of more than four, and the library looks through a whole
/// name again for some of its characters.
const UNMAPPED_CHARS_MAX: usize = 4 * NAME_CHARS_MAX;

/// Characters of a value that an error repeats.
const QUOTED_CHARS_MAX: usize = 40;

/// The last millisecond of the year 9999, the last that is written with a year of four digits.
const SHOWN_MILLIS_MAX: i64 = 253_402_300_799_999;

/// The name of a peer, mapped by RFC 8265's UsernameCaseMapped: 1 to 32 letters, marks, digits, `-`, `_`, `.`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerName(Arc<str>);

impl PeerName {
    /// Maps and checks a name. Blanks around it are not trimmed: they belong to no name.
    pub fn parse(name: &str) -> Result<Self, BadName> {
        if is_mapped_ascii_name(name) {
            return Ok(PeerName(name.into()));
        }
        let mapped = map_name(name)?;
        check_name(name, &mapped)?;
        Ok(PeerName(mapped.into()))
    }

    /// A name that was parsed before it was stored.
    pub fn stored(name: &str) -> Self {
        debug_assert_eq!(Self::parse(name).as_ref().map(Self::as_str), Ok(name), "a stored name is its own parse");
        PeerName(name.into())
    }

    /// The name as it is compared and shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The name of a room: `#` and a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Room(Arc<str>);

impl Room {
    /// Maps and checks the name of a room, which is written with its `#`.
    pub fn parse(room: &str) -> Result<Self, BadName> {
        let name =
            room.strip_prefix('#').ok_or_else(|| BadName::of(room, "does not start with \"#\" as a room does"))?;
        PeerName::parse(name).map(|name| Room(format!("#{name}").into()))
    }

    /// The name as it is compared and shown, with its `#`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whom a message is addressed to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Destination {
    /// One peer.
    Peer(PeerName),
    /// Everyone in a room.
    Room(Room),
}

impl Destination {
    /// A room where it starts with `#`, else a peer.
    pub fn parse(name: &str) -> Result<Self, BadName> {
        if name.starts_with('#') {
            Room::parse(name).map(Destination::Room)
        } else {
            PeerName::parse(name).map(Destination::Peer)
        }
    }

    /// The name as it is compared and shown.
    pub fn as_str(&self) -> &str {
        match self {
            Destination::Peer(name) => name.as_str(),
            Destination::Room(room) => room.as_str(),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Says in one line, safe for a terminal, why a name is none and what a name is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{fault}; a name is 1 to {NAME_CHARS_MAX} letters or digits of any script, \"-\", \"_\" or \".\", and starts with a \
     letter or a digit"
)]
pub struct BadName {
    fault: String,
}

impl BadName {
    fn missing() -> Self {
        BadName { fault: "a name is missing".to_owned() }
    }

    fn of(name: &str, fault: impl fmt::Display) -> Self {
        BadName { fault: format!("{} {fault}", quoted(name)) }
    }

    fn too_long(name: &str) -> Self {
        BadName::of(name, "is too long")
    }

    fn refused(name: &str, error: PrecisError) -> Self {
        match error {
            PrecisError::BadCodepoint(found) => match char::from_u32(found.cp) {
                Some(c) if is_name_char(c) => {
                    BadName::of(name, format_args!("holds {}, which RFC 8265 keeps out of names", quoted_char(c)))
                }
                Some(c) => BadName::of(name, format_args!("holds {}", quoted_char(c))),
                None => BadName::of(name, "is refused by RFC 8265"),
            },
            _ => {
                BadName::of(name, "is refused by RFC 8265, perhaps by its rule for scripts written from right to left")
            }
        }
    }
}

/// What a message says: never empty, and with no control characters but tabs, and newlines where a protocol can send them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Text(Box<str>);

impl Text {
    /// Trims white space and replaces every control character but the tab; `None` if nothing is left.
    pub fn clean(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            None
        } else if may_hold_control(text) {
            Some(Text(text.chars().map(without_control).collect()))
        } else {
            Some(Text(text.into()))
        }
    }

    /// A text that was cleaned before it was stored.
    pub fn stored(text: String) -> Self {
        debug_assert!(!text.is_empty(), "a stored text is not empty");
        Text(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its bytes.
    #[expect(clippy::len_without_is_empty, reason = "a text is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The place of a message in the log; the first one is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seq(i64);

impl Seq {
    /// Before the first message.
    pub const ZERO: Seq = Seq(0);

    /// The place with this number.
    pub const fn new(seq: i64) -> Self {
        Seq(seq)
    }

    /// Its number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The place after it.
    pub const fn next(self) -> Self {
        Seq(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A peer, as the store numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(i64);

impl PeerId {
    /// The peer with this number.
    pub const fn new(id: i64) -> Self {
        PeerId(id)
    }

    /// Its number.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One connection of a peer; no two in the life of a server have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

impl SessionId {
    /// The session with this number.
    pub const fn new(id: u64) -> Self {
        SessionId(id)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds since the beginning of 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// What the system's clock says; a clock before 1970 counts as its beginning.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// The time this many milliseconds after the beginning of 1970.
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis)
    }

    /// Milliseconds since the beginning of 1970.
    pub const fn millis(self) -> i64 {
        self.0
    }
}

/// As in `2026-11-23T06:18:35.123Z`; what is before 1970 or after 9999 is shown as the nearest time between.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = Duration::from_millis(self.0.clamp(0, SHOWN_MILLIS_MAX).unsigned_abs());
        match UNIX_EPOCH.checked_add(since) {
            Some(time) => humantime::format_rfc3339_millis(time).fmt(f),
            // A system whose clock ends earlier, as with 32 bits, can still hold a log with any time in it.
            None => write!(f, "{} ms", self.0),
        }
    }
}

/// A message as a feed delivers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its place in the log.
    pub seq: Seq,
    /// When it was accepted.
    pub at: Timestamp,
    /// Who sent it.
    pub sender: PeerName,
    /// What it says.
    pub text: Text,
}

/// A value from outside as an error repeats it: in quotes, in one line, cut when it is long, and safe for a terminal.
pub(crate) fn quoted(value: &str) -> String {
    let mut chars = value.chars();
    let shown: String = chars.by_ref().take(QUOTED_CHARS_MAX).map(without_control).collect();
    let cut = if chars.next().is_some() { "…" } else { "" };
    format!("\"{shown}{cut}\"")
}

/// A character as an error names it: by its number where it would not be seen.
fn quoted_char(c: char) -> String {
    match c.general_category_group() {
        _ if c.is_whitespace() => "a blank".to_owned(),
        GeneralCategoryGroup::Mark | GeneralCategoryGroup::Separator | GeneralCategoryGroup::Other => {
            format!("U+{:04X}", u32::from(c))
        }
        _ => format!("\"{c}\""),
    }
}

/// Whether this is a name that the mapping leaves as it is: most are, and it costs as much as all else about a message.
fn is_mapped_ascii_name(name: &str) -> bool {
    let letter_or_digit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.len() <= NAME_CHARS_MAX
        && bytes.first().is_some_and(|&first| letter_or_digit(first))
        && bytes.iter().all(|&byte| letter_or_digit(byte) || matches!(byte, b'-' | b'_' | b'.'))
}

fn map_name(name: &str) -> Result<Cow<'_, str>, BadName> {
    if name.is_empty() {
        return Err(BadName::missing());
    }
    if name.chars().nth(UNMAPPED_CHARS_MAX).is_some() {
        return Err(BadName::too_long(name));
    }
    let refused = |error| BadName::refused(name, error);
    let mapped = UsernameCaseMapped::enforce(name).map_err(refused)?;
    // RFC 8264, section 7: what changes when it is mapped again is not a name.
    let again = UsernameCaseMapped::enforce(&*mapped).map_err(refused)?;
    if again == mapped { Ok(mapped) } else { Err(refused(PrecisError::Invalid)) }
}

fn check_name(name: &str, mapped: &str) -> Result<(), BadName> {
    if let Some(stranger) = mapped.chars().find(|&c| !is_name_char(c)) {
        return Err(BadName::of(name, format_args!("holds {}", quoted_char(stranger))));
    }
    if let Some(first) = mapped.chars().next().filter(|&c| !is_letter_or_digit(c)) {
        return Err(BadName::of(name, format_args!("starts with {}", quoted_char(first))));
    }
    if mapped.chars().count() > NAME_CHARS_MAX { Err(BadName::too_long(name)) } else { Ok(()) }
}

fn is_name_char(c: char) -> bool {
    matches!(c, '-' | '_' | '.') || is_letter_or_digit(c) || c.general_category_group() == GeneralCategoryGroup::Mark
}

fn is_letter_or_digit(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Letter || c.general_category() == GeneralCategory::DecimalNumber
}

/// Whether a closer look is needed; it looks at bytes, without a branch for each, and 0xC2 begins a C1 control among others.
fn may_hold_control(text: &str) -> bool {
    text.bytes().fold(false, |found, byte| found | (byte < b' ' && byte != b'\t') | (byte == 0x7F) | (byte == 0xC2))
}

fn without_control(c: char) -> char {
    if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    fn name(name: &str) -> String {
        PeerName::parse(name).unwrap_or_else(|bad| panic!("{bad}")).to_string()
    }

    fn check_refused(name: &str, expected: Expect) {
        let bad = PeerName::parse(name).expect_err("a name that is none").to_string();
        expected.assert_eq(bad.strip_suffix(RULE).unwrap_or(&bad));
    }

    const RULE: &str = "; a name is 1 to 32 letters or digits of any script, \"-\", \"_\" or \".\", and starts with a letter or a digit";

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
    fn a_name_has_32_characters_after_it_is_mapped() {
        assert_eq!(name(&"a".repeat(32)), "a".repeat(32));
        assert_eq!(name(&"A".repeat(32)), "a".repeat(32));
        assert_eq!(name(&"a\u{30A}".repeat(32)), "\u{E5}".repeat(32));
        // As many as any character is made of.
        assert_eq!(name(&"\u{3B1}\u{313}\u{300}\u{345}".repeat(32)), "\u{1F82}".repeat(32));
        for long in ["a", "A", "a\u{30A}", "\u{E5}", "\u{3B1}\u{313}\u{300}\u{345}"] {
            let bad = PeerName::parse(&long.repeat(33)).expect_err("33 characters").to_string();
            assert!(bad.contains("\" is too long; "), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_name_is_said() {
        assert_eq!(PeerName::parse("").expect_err("no name").to_string(), format!("a name is missing{RULE}"));
        check_refused(" alice", expect![[r#"" alice" holds a blank"#]]);
        check_refused("al ice", expect![[r#""al ice" holds a blank"#]]);
        check_refused("al\u{3000}ice", expect![[r#""al　ice" holds a blank"#]]);
        check_refused("al\tice", expect![[r#""al	ice" holds a blank"#]]);
        check_refused("al:ice", expect![[r#""al:ice" holds ":""#]]);
        check_refused("al\u{FF1A}ice", expect![[r#""al：ice" holds ":""#]]);
        check_refused("al,ice", expect![[r#""al,ice" holds ",""#]]);
        check_refused("#kitchen", expect![[r##""#kitchen" holds "#""##]]);
        check_refused("/help", expect![[r#""/help" holds "/""#]]);
        check_refused("a\"b", expect![[r#""a"b" holds """"#]]);
        check_refused("-alice", expect![[r#""-alice" starts with "-""#]]);
        check_refused(".alice", expect![[r#"".alice" starts with ".""#]]);
        check_refused("\u{301}alice", expect![[r#""́alice" starts with U+0301"#]]);
        check_refused("क\u{94D}\u{200D}ष", expect![[r#""क्‍ष" holds U+200D"#]]);
        check_refused("a\u{200D}b", expect![[r#""a‍b" holds U+200D"#]]);
        check_refused("\u{FEFF}alice", expect![[r#""﻿alice" holds U+FEFF"#]]);
        check_refused("🙂", expect![[r#""🙂" holds "🙂""#]]);
        check_refused("a❤\u{FE0F}", expect![[r#""a❤️" holds "❤""#]]);
        check_refused("½", expect![[r#""½" holds "½""#]]);
        check_refused("Ⅷ", expect![[r#""Ⅷ" holds "Ⅷ""#]]);
        check_refused("l·l", expect![[r#""l·l" holds "·""#]]);
        check_refused("ﬁsh", expect![[r#""ﬁsh" holds "ﬁ", which RFC 8265 keeps out of names"#]]);
        check_refused(
            "אb",
            expect![[r#""אb" is refused by RFC 8265, perhaps by its rule for scripts written from right to left"#]],
        );
        check_refused("\u{1B}[2J", expect![[r#""�[2J" holds U+001B"#]]);
        check_refused("a\nb", expect![[r#""a�b" holds a blank"#]]);
        check_refused(&"x".repeat(9000), expect![[r#""xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…" is too long"#]]);
    }

    #[test]
    fn a_room_is_its_sign_and_a_name() {
        let room = Room::parse("#Kitchen").expect("a room");
        assert_eq!((room.as_str(), room.to_string()), ("#kitchen", "#kitchen".to_owned()));
        let refusal = |room| Room::parse(room).expect_err("no room").to_string().replace(RULE, "");
        expect![[r##""kitchen" does not start with "#" as a room does"##]].assert_eq(&refusal("kitchen"));
        expect![[r#"a name is missing"#]].assert_eq(&refusal("#"));
        expect![[r##""#home" holds "#""##]].assert_eq(&refusal("##home"));
        expect![[r#"" home" holds a blank"#]].assert_eq(&refusal("# home"));
    }

    #[test]
    fn a_destination_is_a_room_or_a_peer() {
        assert_eq!(Destination::parse("#A"), Ok(Destination::Room(Room("#a".into()))));
        assert_eq!(Destination::parse("A"), Ok(Destination::Peer(PeerName("a".into()))));
        assert!(Destination::parse("").is_err() && Destination::parse("#").is_err());
        assert_eq!(Destination::parse("#A").expect("a room").to_string(), "#a");
        let bad = Destination::parse("a#b").expect_err("neither").to_string();
        expect![[r##""a#b" holds "#""##]].assert_eq(bad.strip_suffix(RULE).unwrap_or(&bad));
    }

    /// Every character there is, but for the planes that have no letters.
    #[test]
    fn every_character_is_mapped_once_and_for_all() {
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
        fn the_library_leaves_plain_ascii_names_as_they_are(name in "[a-z0-9][a-z0-9._-]{0,31}") {
            prop_assert!(is_mapped_ascii_name(&name));
            let mapped = UsernameCaseMapped::enforce(&*name);
            prop_assert_eq!(mapped.as_deref(), Ok(&*name));
        }

        #[test]
        fn the_fast_path_makes_no_difference(name in "[ -~]{0,34}|[a-zA-Z0-9._-]{0,34}") {
            let slow = map_name(&name).and_then(|mapped| check_name(&name, &mapped).map(|()| mapped));
            prop_assert_eq!(PeerName::parse(&name).map(|name| name.to_string()), slow.map(Cow::into_owned));
        }

        #[test]
        fn a_name_is_its_own_parse(
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
        fn what_is_said_of_a_name_is_one_safe_line(written in any::<String>()) {
            if let Err(bad) = Destination::parse(&written) {
                let bad = bad.to_string();
                prop_assert!(!bad.contains(|c: char| c.is_control() && c != '\t'), "{bad:?}");
                prop_assert!(bad.chars().count() < 300);
            }
        }

        #[test]
        fn a_text_is_trimmed_and_its_controls_replaced(written in "(\\PC|\\p{Cc}|\\s|é|\u{85}){0,30}") {
            let replaced = |c: char| if c.is_control() && c != '\t' { '\u{FFFD}' } else { c };
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
        assert_eq!(Text::stored("kept".to_owned()).as_str(), "kept");
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
    fn ids_count() {
        assert_eq!(Seq::ZERO.next(), Seq::new(1));
        assert_eq!((Seq::new(41).next().get(), Seq::new(7).to_string()), (42, "7".to_owned()));
        assert_eq!((PeerId::new(3).get(), PeerId::new(3).to_string()), (3, "3".to_owned()));
        assert_eq!((SessionId::new(4).get(), SessionId::new(4).to_string()), (4, "4".to_owned()));
    }
}
