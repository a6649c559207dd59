//! Any text as a name: it is refused with the reason, or normalized to a name that keeps every rule and normalizes to
//! itself. Owns these properties; never which texts are tried.

use holdline::limits::NAME_CHARS_MAX;
use holdline::message::{BadName, Destination, PeerName, Room};
use holdline::protocol::{ClientRequest, Draft, Login, Request, plain};
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

use crate::words::check_refusal;

/// Difference between the code points of an ASCII letter and of its full-width form.
const FULL_WIDTH: u32 = 0xFF01 - '!' as u32;

/// Checks the properties for this text.
pub(crate) fn check(input: &[u8]) {
    let Ok(written) = str::from_utf8(input) else { return };
    let parsed = PeerName::parse(written);
    match &parsed {
        Ok(name) => check_name(name),
        Err(bad) => check_bad_name(bad, written),
    }
    check_forms(written, &parsed);
    check_room(written, &parsed);
    check_destination(written, &parsed);
    check_lines(written, &parsed);
}

fn check_name(name: &PeerName) {
    let shown = name.as_str();
    assert_eq!(PeerName::parse(shown).as_ref(), Ok(name), "a parsed name parses to itself");
    assert_eq!(PeerName::stored(shown), *name);
    assert_eq!(name.to_string(), shown);
    assert!((1..=NAME_CHARS_MAX).contains(&shown.chars().count()), "{shown:?} has a wrong length");
    assert!(shown.starts_with(is_letter_or_digit), "{shown:?} begins with a wrong character");
    assert!(shown.chars().all(is_name_char), "{shown:?} contains a wrong character");
    assert_eq!(shown.to_lowercase(), shown, "a name is in lower case");
}

fn check_bad_name(bad: &BadName, written: &str) {
    let refusal = bad.to_string();
    assert_eq!(written.is_empty(), refusal.starts_with("a name is missing; "));
    check_refusal(&refusal, [written].into_iter());
}

/// Checks that a name in upper case or in full-width letters is the same name.
fn check_forms(written: &str, parsed: &Result<PeerName, BadName>) {
    assert_eq!(PeerName::parse(&written.to_ascii_uppercase()).ok().as_ref(), parsed.as_ref().ok(), "{written:?}");
    if written.bytes().all(|byte| byte.is_ascii_graphic()) {
        let wide =
            |c: char| char::from_u32(u32::from(c) + FULL_WIDTH).expect("every ASCII graphic has a full-width form");
        let wide: String = written.chars().map(wide).collect();
        assert_eq!(PeerName::parse(&wide).ok().as_ref(), parsed.as_ref().ok(), "{wide:?}");
    }
}

fn check_room(written: &str, parsed: &Result<PeerName, BadName>) {
    let room = Room::parse(&format!("#{written}"));
    assert_eq!(room.is_ok(), parsed.is_ok(), "a room is `#` and a name: {written:?}");
    if let (Ok(room), Ok(name)) = (&room, parsed) {
        assert_eq!(room.as_str(), format!("#{name}"));
        assert_eq!(Room::parse(room.as_str()).as_ref(), Ok(room));
    }
    if let Err(bad) = room {
        check_refusal(&bad.to_string(), [written].into_iter());
    }
}

fn check_destination(written: &str, parsed: &Result<PeerName, BadName>) {
    match Destination::parse(written) {
        Ok(Destination::Peer(name)) => assert_eq!(parsed.as_ref(), Ok(&name)),
        Ok(Destination::Room(room)) => assert_eq!(Room::parse(written), Ok(room)),
        Err(bad) => {
            assert!(parsed.is_err());
            check_refusal(&bad.to_string(), [written.strip_prefix('#').unwrap_or(written)].into_iter());
        }
    }
}

/// Checks that a login and a recipient accept the same names.
fn check_lines(written: &str, parsed: &Result<PeerName, BadName>) {
    if written.is_empty() || written.contains(|c: char| c.is_whitespace() || ",:/".contains(c)) {
        return;
    }
    match plain::parse_login(written) {
        Some(Ok(Login { name, password: None, .. })) => assert_eq!(parsed.as_ref(), Ok(&name)),
        other => assert!(parsed.is_err() && matches!(other, Some(Err(_))), "{other:?}"),
    }
    match plain::parse(&format!("{written}: hi"), 1) {
        Some(Ok(ClientRequest { request: Request::Send(Draft { to, .. }), .. })) => {
            assert_eq!(Destination::parse(written).map(|to| vec![to]), Ok(to));
        }
        other => assert!(Destination::parse(written).is_err(), "{other:?}"),
    }
}

fn is_name_char(c: char) -> bool {
    matches!(c, '-' | '_' | '.') || is_letter_or_digit(c) || c.general_category_group() == GeneralCategoryGroup::Mark
}

fn is_letter_or_digit(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Letter || c.general_category() == GeneralCategory::DecimalNumber
}
