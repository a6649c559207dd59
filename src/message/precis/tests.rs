//! Tests of the profile: compared with a library that has tables of Unicode 6.3, which decided about names before. Owns the list of what changed.

use precis_profiles::UsernameCaseMapped;
use precis_profiles::precis_core::profile::PrecisFastInvocation;
use proptest::prelude::*;
use regex_syntax::hir::{Class, HirKind};

use super::*;

/// Code points that names may contain since the tables are those of Unicode 18, and that they could not contain before: `FIRST-LAST` or one
/// code point, in hexadecimal. No name that was valid before is invalid now.
const ADDED: &str = include_str!("added.txt");

/// Maps a name as the library does.
fn by_unicode_6(name: &str) -> Option<String> {
    let mapped = UsernameCaseMapped::enforce(name).ok()?;
    let again = UsernameCaseMapped::enforce(&*mapped).ok()?;
    (again == mapped && mapped.chars().all(super::super::is_name_char)).then(|| mapped.into_owned())
}

/// Whether a mapped name may contain the character: alone, or beside a letter that its script allows.
fn may_stand(c: char, map: impl Fn(&str) -> Option<String>) -> bool {
    let names = [format!("{c}"), format!("a{c}"), format!("א{c}"), format!("א{c}א")];
    names.iter().any(|name| map(name).as_ref() == Some(name))
}

fn added() -> Vec<char> {
    let number = |hex: &str| u32::from_str_radix(hex, 16).expect("a number");
    let ranges = ADDED.split_whitespace().map(|range| range.split_once('-').unwrap_or((range, range)));
    ranges.flat_map(|(first, last)| number(first)..=number(last)).filter_map(char::from_u32).collect()
}

/// Tries all characters, except those of the planes without letters.
#[test]
fn newer_tables_only_add_characters() {
    let (mut found, mut lost) = (Vec::new(), Vec::new());
    for c in '\0'..='\u{3FFFF}' {
        match (may_stand(c, by_unicode_6), may_stand(c, |name| enforce(name).ok())) {
            (false, true) => found.push(c),
            (true, false) => lost.push(c),
            _ => {}
        }
    }
    assert_eq!(lost, []);
    let added = added();
    let first = found.iter().zip(&added).find(|(found, added)| found != added);
    assert!(found == added, "{} instead of {} code points, first {first:x?}", found.len(), added.len());
}

#[test]
fn letters_with_a_dot_are_those_of_the_standard() {
    let HirKind::Class(Class::Unicode(class)) = regex_syntax::parse(r"\p{Soft_Dotted}").expect("a class").into_kind()
    else {
        panic!("not a class");
    };
    for c in class.ranges().iter().flat_map(|range| range.start()..=range.end()).filter(|c| is_allowed(*c)) {
        assert!(is_dotted(c) || c.to_lowercase().ne([c]), "{c:?}");
    }
}

#[test]
fn second_dot_is_found() {
    for name in ["i\u{307}pek", "xi\u{307}", "i\u{301}\u{307}", "\u{456}\u{307}", "\u{131}\u{307}"] {
        assert!(has_second_dot(name), "{name:?}");
    }
    assert!(enforce("İpek").is_ok_and(|name| has_second_dot(&name)));
    for name in ["ipek", "\u{131}pek", "a\u{307}", "ì", "e\u{307}i", "\u{307}"] {
        assert!(!has_second_dot(name), "{name:?}");
    }
}

#[test]
fn marks_may_stand_within_right_to_left_names() {
    for name in ["שָׁרָה", "مُحَمَّد", "ދިވެހި"] {
        assert_eq!(enforce(name).as_deref(), Ok(name));
    }
    for name in ["אb", "bא", "א-", "٣א", "ا٣۳", "א1٣"] {
        assert!(enforce(name).is_err(), "{name:?}");
    }
}

proptest! {
    #[test]
    fn each_name_that_was_valid_is_mapped_as_before(
        name in "[a-zA-Zà-öÀ-ÖΑ-ΡΣ-Ωα-ωА-Яа-яＡ-Ｚｦ-ﾟİı\u{300}-\u{315}0-9._-]{1,9}|[א-תء-ي٠-٩۰-۹0-9._\u{5B0}-\u{5B9}-]{1,9}|\\PC{1,6}|\\p{L}{1,3}\\p{M}{0,3}\\p{L}{0,2}"
    ) {
        if let Some(mapped) = by_unicode_6(&name) {
            prop_assert_eq!(enforce(&name), Ok(mapped));
        }
    }
}
