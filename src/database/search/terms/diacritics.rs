//! Words without their diacritics. Owns which marks are diacritics; never splits a text.

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use unicode_script::{Script, UnicodeScript};

/// Returns a folded word without its diacritics; `None` if it has none, or consists of nothing else.
pub(super) fn without_diacritics(word: &str) -> Option<String> {
    if word.is_ascii() {
        return None;
    }
    let plain: String = word.nfd().filter(|c| !is_diacritic(*c)).map(without_stroke).nfc().collect();
    (plain != word && !plain.is_empty()).then_some(plain)
}

/// Whether a mark is added to a letter that is also written without it: accents, and the vowels of Arabic and Hebrew. A vowel sign of
/// Hindi is none, nor is the mark that makes か to が: without it, the word is another one.
fn is_diacritic(c: char) -> bool {
    let is_mark = matches!(c.general_category(), GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark);
    is_mark
        && match c.script() {
            Script::Inherited | Script::Common => !matches!(c, '\u{3099}'..='\u{309A}'),
            script => matches!(script, Script::Arabic | Script::Cyrillic | Script::Greek | Script::Hebrew),
        }
}

/// Replaces a letter with a stroke, which Unicode does not decompose.
fn without_stroke(c: char) -> char {
    match c {
        'đ' => 'd',
        'ħ' => 'h',
        'ł' => 'l',
        'ø' => 'o',
        'ŧ' => 't',
        other => other,
    }
}
