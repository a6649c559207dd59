//! The profile UsernameCaseMapped of RFC 8265, over current tables of Unicode. Owns the mapping and the rules for the characters of a name:
//! letters, marks, decimal digits, `-`, `_` and `.`. The profile allows a few others, which names never hold. Never limits a name's length.

use unicode_bidi::{BidiClass, bidi_class};
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use super::printable::is_hidden;

/// Reason why a name breaks the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PrecisError {
    /// The name contains this character.
    Disallowed(char),
    /// The name breaks the rule for right-to-left scripts, RFC 5893, or a second mapping changes it.
    Invalid,
}

/// Maps a name and checks it; RFC 8265, section 3.3.
pub(super) fn enforce(name: &str) -> Result<String, PrecisError> {
    let mapped = map(name)?;
    // RFC 8264, section 7: a name that a second mapping changes is not valid.
    let is_stable = mapped == name || map(&mapped)? == mapped;
    if is_stable && follows_bidi_rule(&mapped) { Ok(mapped) } else { Err(PrecisError::Invalid) }
}

/// Returns whether a character may stand in a name, before or after the mapping; RFC 8264, sections 4.2 and 8.
pub(super) fn is_allowed(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => true,
        // Exceptions of RFC 8264, section 9.6.
        '\u{DF}' | '\u{3C2}' => true,
        '\u{640}' | '\u{7FA}' | '\u{302E}' | '\u{302F}' | '\u{3031}'..='\u{3035}' | '\u{303B}' => false,
        // Old Hangul Jamo.
        '\u{1100}'..='\u{11FF}' | '\u{A960}'..='\u{A97C}' | '\u{D7B0}'..='\u{D7FB}' => false,
        // Variation selectors are not hidden in texts.
        '\u{180B}'..='\u{180F}' | '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}' => false,
        c => !c.is_ascii() && !is_hidden(c) && is_letter_digit(c) && is_compatible(c),
    }
}

/// Whether the name has a letter with a dot, such as `i`, and another dot above it: nobody sees the difference to the name without that dot.
pub(super) fn has_second_dot(name: &str) -> bool {
    let mut base = None;
    name.chars().any(|c| match c {
        '\u{307}' => base.is_some_and(is_dotted),
        c => {
            let is_mark =
                matches!(c.general_category(), GeneralCategory::NonspacingMark | GeneralCategory::SpacingMark);
            base = if is_mark { base } else { Some(c) };
            false
        }
    })
}

fn map(name: &str) -> Result<String, PrecisError> {
    let wide: String = name.chars().map(map_width).collect();
    check_characters(&wide)?;
    let mapped: String = wide.chars().flat_map(char::to_lowercase).nfc().collect();
    check_characters(&mapped)?;
    Ok(mapped)
}

fn check_characters(name: &str) -> Result<(), PrecisError> {
    let has_persian_digits = name.contains(|c| matches!(c, '\u{6F0}'..='\u{6F9}'));
    // RFC 5892, appendix A.8: both kinds of Arabic digits do not mix.
    let is_mixed = |c| has_persian_digits && matches!(c, '\u{660}'..='\u{669}');
    name.chars().find(|c| !is_allowed(*c) || is_mixed(*c)).map_or(Ok(()), |c| Err(PrecisError::Disallowed(c)))
}

/// Maps a fullwidth or halfwidth character; RFC 8264, section 5.2.1.
fn map_width(c: char) -> char {
    let mut mapped = [c].into_iter().nfkc();
    match (c, mapped.next(), mapped.next()) {
        ('\u{FF01}'..='\u{FFEE}' | '\u{3000}', Some(only), None) => only,
        _ => c,
    }
}

/// RFC 8264, section 9.1. An uppercase letter whose lowercase is not known yet would be mapped later, so it is left out.
fn is_letter_digit(c: char) -> bool {
    match c.general_category() {
        GeneralCategory::UppercaseLetter => !c.to_lowercase().eq([c]),
        GeneralCategory::LowercaseLetter
        | GeneralCategory::OtherLetter
        | GeneralCategory::ModifierLetter
        | GeneralCategory::DecimalNumber
        | GeneralCategory::NonspacingMark
        | GeneralCategory::SpacingMark => true,
        _ => false,
    }
}

/// RFC 8264, section 9.17.
fn is_compatible(c: char) -> bool {
    [c].into_iter().nfkc().eq([c])
}

/// RFC 5893, section 2, for a name; it holds for every name without letters or digits of a right-to-left script.
fn follows_bidi_rule(name: &str) -> bool {
    use BidiClass::{AL, AN, BN, CS, EN, ES, ET, NSM, ON, R};
    let classes = Vec::from_iter(name.chars().map(bidi_class));
    if !classes.iter().any(|class| matches!(class, R | AL | AN)) {
        return true;
    }
    let last = classes.iter().rev().find(|class| **class != NSM);
    matches!(classes.first(), Some(R | AL))
        && classes.iter().all(|class| matches!(class, R | AL | AN | EN | ES | CS | ET | ON | BN | NSM))
        && matches!(last, Some(R | AL | EN | AN))
        && !(classes.contains(&EN) && classes.contains(&AN))
}

/// Whether the letter has a dot that another one above it would cover, or looks like such a letter with it.
fn is_dotted(c: char) -> bool {
    matches!(
        c,
        'i' | 'j'
            | '\u{12F}'
            | '\u{131}'
            | '\u{237}'
            | '\u{249}'
            | '\u{268}'
            | '\u{29D}'
            | '\u{3F3}'
            | '\u{456}'
            | '\u{458}'
            | '\u{1D96}'
            | '\u{1DA4}'
            | '\u{1E2D}'
            | '\u{1ECB}'
            | '\u{1DF1A}'
    )
}

#[cfg(test)]
mod tests;
