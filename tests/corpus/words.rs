//! Rules for every refusal: one line, safe for a terminal, and with the value that was wrong. Owns the rules; never the
//! texts.

use holdline::limits::QUOTED_CHARS_MAX;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// Most characters of a refusal, with its quotation: far more than the longest of today.
const REFUSAL_CHARS_MAX: usize = 300;

/// Checks that a refusal is safe to print, and begins with one of the values that it may quote, or with the command whose argument is
/// missing.
pub(crate) fn check_refusal<'v>(refusal: &str, mut values: impl Iterator<Item = &'v str>) {
    check_shown(refusal);
    assert!(refusal.chars().count() <= REFUSAL_CHARS_MAX, "the refusal is too long: {refusal:?}");
    if refusal.starts_with('"') {
        assert!(values.any(|value| opens_with(refusal, value)), "the refusal quotes another value: {refusal:?}");
    } else if refusal.starts_with('/') {
        let is_missing = refusal.contains(" takes ") && values.any(str::is_empty);
        assert!(is_missing, "the refusal names a missing argument, but there is one: {refusal:?}");
    } else {
        let has_reason = refusal.starts_with("a name is missing; ") || refusal.starts_with("more than ");
        assert!(has_reason, "the refusal does not say what was wrong: {refusal:?}");
    }
}

/// Checks that a text is one line, without characters that a terminal would interpret or hide.
pub(crate) fn check_shown(text: &str) {
    assert!(!text.contains(is_unseen), "not safe for a terminal: {text:?}");
    assert!(!text.trim().is_empty(), "the text is blank");
}

/// Whether a refusal begins with this value in quotes.
fn opens_with(refusal: &str, value: &str) -> bool {
    let mut rest = refusal.chars();
    let mut value = value.chars();
    let shown = |c: char| if is_unseen(c) { char::REPLACEMENT_CHARACTER } else { c };
    let mut repeated = value.by_ref().take(QUOTED_CHARS_MAX).map(shown);
    let is_there = rest.next() == Some('"') && repeated.all(|c| rest.next() == Some(c));
    is_there && rest.as_str().starts_with(if value.next().is_some() { "…\"" } else { "\"" })
}

/// Whether a terminal would interpret or hide a character.
fn is_unseen(c: char) -> bool {
    !(' '..='~').contains(&c) && c.general_category_group() == GeneralCategoryGroup::Other
}
