//! Rules for every refusal: one line, safe for a terminal, and with the value that was wrong. Owns the rules; never the
//! texts.

use holdline::limits::QUOTED_CHARS_MAX;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// Characters of a refusal of which none of the sentences we have comes near, its quotation at its longest included.
const REFUSAL_CHARS_MAX: usize = 300;

/// Checks that a refusal can be shown as it is, and opens with one of the values that it can be about.
pub(crate) fn check_refusal<'v>(said: &str, mut about: impl Iterator<Item = &'v str>) {
    check_shown(said);
    assert!(said.chars().count() <= REFUSAL_CHARS_MAX, "too much is repeated: {said:?}");
    if said.starts_with('"') {
        assert!(about.any(|value| opens_with(said, value)), "quotes nothing that was there: {said:?}");
    } else {
        let says_what = said.starts_with("a name is missing; ") || said.starts_with("more than ");
        assert!(says_what, "does not say what was wrong: {said:?}");
    }
}

/// Checks that words are one line, in which a terminal finds nothing to obey or to hide.
pub(crate) fn check_shown(said: &str) {
    assert!(!said.contains(is_unseen), "not safe for a terminal: {said:?}");
    assert!(!said.trim().is_empty(), "nothing is said");
}

/// Whether this value stands in quotes there, as a refusal repeats it.
fn opens_with(said: &str, value: &str) -> bool {
    let mut said = said.chars();
    let mut value = value.chars();
    let shown = |c: char| if is_unseen(c) { char::REPLACEMENT_CHARACTER } else { c };
    let mut repeated = value.by_ref().take(QUOTED_CHARS_MAX).map(shown);
    let is_there = said.next() == Some('"') && repeated.all(|c| said.next() == Some(c));
    is_there && said.as_str().starts_with(if value.next().is_some() { "…\"" } else { "\"" })
}

/// Whether a terminal obeys a character, or does not show it at all.
fn is_unseen(c: char) -> bool {
    !(' '..='~').contains(&c) && c.general_category_group() == GeneralCategoryGroup::Other
}
