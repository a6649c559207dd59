//! The words of a text, as the index of the search holds them, and what a question asks of that index. Owns what counts as a
//! word; never where words are kept.
//!
//! Case and the ways to write the same character are no difference: a text is brought into Unicode's form NFKC and folded.
//! A word is a run of letters, digits and marks. Where a script is written without blanks nobody can tell the words of a run:
//! there each character is a token, and each two in a row, so that any piece of a run is found. Characters are code points:
//! a piece may begin or end between a letter of Thai and the vowel above it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write;

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};
use unicode_script::{Script, UnicodeScript};

use crate::limits::{SEARCH_TERMS_MAX, SEARCH_TOKEN_BYTES_MAX};

/// What a text must hold to be found: all of it, in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// Whole words.
    words: BTreeSet<String>,
    /// Pieces of runs in scripts written without blanks.
    pieces: BTreeSet<String>,
}

impl Question {
    /// `None` if there is no word in it.
    pub(crate) fn parse(question: &str) -> Option<Self> {
        let (mut words, mut pieces) = (BTreeSet::new(), BTreeSet::new());
        let folded = fold(question);
        for Run { chars, kind } in runs(&folded) {
            match kind {
                Kind::Word => words.insert(chars.to_owned()),
                Kind::Unbroken => pieces.insert(chars.to_owned()),
            };
        }
        (!words.is_empty() || !pieces.is_empty()).then_some(Question { words, pieces })
    }

    /// Whether a text holds all of it.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let folded = fold(text);
        let is_word = |word: &String| runs(&folded).any(|run| run.kind == Kind::Word && run.chars == *word);
        let is_piece =
            |piece: &String| runs(&folded).any(|run| run.kind == Kind::Unbroken && run.chars.contains(piece.as_str()));
        self.words.iter().all(is_word) && self.pieces.iter().all(is_piece)
    }

    /// What it asks of the index, in FTS5's words: every text that matches has these tokens.
    pub(crate) fn expression(&self) -> String {
        let tokens = Vec::from_iter(self.tokens().into_iter().take(SEARCH_TERMS_MAX));
        format!("\"{}\"", tokens.join("\" AND \""))
    }

    /// Whether every text that has these tokens matches: a longer piece is more than each two characters of it, and of very
    /// many words the index is asked for some.
    pub(crate) fn is_all_in_index(&self) -> bool {
        self.pieces.iter().all(|piece| piece.chars().nth(2).is_none()) && self.tokens().len() <= SEARCH_TERMS_MAX
    }

    /// Characters of a longer piece are left out, as they are in its pairs.
    fn tokens(&self) -> BTreeSet<Cow<'_, str>> {
        let words = self.words.iter().map(|word| token(word));
        let pieces = self.pieces.iter().flat_map(|piece| {
            let single = piece.chars().nth(1).is_none().then_some(piece.as_str());
            single.into_iter().chain(pairs(piece)).map(Cow::Borrowed)
        });
        words.chain(pieces).collect()
    }
}

/// Names the rules by which words are made: by others, some of what the index holds would not be found. They are these here,
/// numbered, and Unicode's, which everyone who knows a part of them has in a version of its own.
pub(super) fn rules() -> String {
    let normal = unicode_normalization::UNICODE_VERSION;
    let category = unicode_properties::UNICODE_VERSION;
    let script = unicode_script::UNICODE_VERSION;
    format!("1 {:?} {normal:?} {category:?} {script:?}", char::UNICODE_VERSION)
}

/// Appends the tokens of a text, each with a blank behind it. They hold no ASCII but lower case letters, digits, and `#` in
/// the middle.
pub(super) fn write_tokens(tokens: &mut String, text: &str) {
    let folded = fold(text);
    for Run { chars, kind } in runs(&folded) {
        match kind {
            Kind::Word => push(tokens, &token(chars)),
            Kind::Unbroken => singles(chars).chain(pairs(chars)).for_each(|part| push(tokens, part)),
        }
    }
}

fn push(tokens: &mut String, token: &str) {
    tokens.push_str(token);
    tokens.push(' ');
}

/// Characters of the hash of a word, with what stands before it.
const HASH_CHARS: usize = "#0123456789abcdef".len();

/// A word as the index holds it: of a very long one its begin, and a hash of all.
fn token(word: &str) -> Cow<'_, str> {
    if word.len() <= SEARCH_TOKEN_BYTES_MAX {
        return Cow::Borrowed(word);
    }
    let ends = word.char_indices().map(|(at, c)| at + c.len_utf8());
    let begin = ends.take_while(|end| *end <= SEARCH_TOKEN_BYTES_MAX - HASH_CHARS).last().unwrap_or(0);
    let mut token = word[..begin].to_owned();
    write!(token, "#{:016x}", fnv_1a(word.as_bytes())).expect("a string takes all");
    Cow::Owned(token)
}

/// The hash FNV-1a, of 64 bits: what is in a file must be found by every later version.
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn singles(run: &str) -> impl Iterator<Item = &str> {
    run.char_indices().map(|(at, c)| &run[at..at + c.len_utf8()])
}

fn pairs(run: &str) -> impl Iterator<Item = &str> {
    let seconds = run.char_indices().skip(1);
    run.char_indices().zip(seconds).map(|((begin, _), (at, c))| &run[begin..at + c.len_utf8()])
}

/// Characters in a row that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run<'t> {
    chars: &'t str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Of a script that has blanks between its words.
    Word,
    /// Of a script that has none.
    Unbroken,
}

impl Kind {
    /// The kind of the run that a character begins.
    fn begun_by(c: char) -> Option<Self> {
        if c.is_ascii() {
            return c.is_ascii_alphanumeric().then_some(Kind::Word);
        }
        (is_of_words(c) && !leans(c)).then(|| if is_written_without_blanks(c) { Kind::Unbroken } else { Kind::Word })
    }

    fn goes_on_with(self, c: char) -> bool {
        Kind::begun_by(c) == Some(self) || leans(c)
    }
}

fn runs(folded: &str) -> impl Iterator<Item = Run<'_>> {
    let mut rest = folded;
    std::iter::from_fn(move || {
        let (begin, kind) = rest.char_indices().find_map(|(at, c)| Some((at, Kind::begun_by(c)?)))?;
        let run = &rest[begin..];
        let end = run.find(|c| !kind.goes_on_with(c)).unwrap_or(run.len());
        rest = &run[end..];
        Some(Run { chars: &run[..end], kind })
    })
}

fn is_of_words(c: char) -> bool {
    c.is_alphanumeric() || is_mark(c)
}

fn is_mark(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Mark
}

/// Whether it is a mark of no script of its own: it belongs to what it stands on, whatever that is.
fn leans(c: char) -> bool {
    is_mark(c) && matches!(c.script(), Script::Inherited | Script::Common)
}

fn is_written_without_blanks(c: char) -> bool {
    match c.script() {
        // Such as the sign for a long vowel in Hiragana and Katakana.
        Script::Inherited | Script::Common => {
            let scripts = c.script_extension();
            !scripts.is_common() && !scripts.is_inherited() && scripts.iter().all(has_no_blanks)
        }
        script => has_no_blanks(script),
    }
}

/// Scripts in whose lines words are not told apart; mostly those that UAX #14 breaks anywhere or by a dictionary.
fn has_no_blanks(script: Script) -> bool {
    use Script::*;

    matches!(
        script,
        Ahom | Balinese
            | Bopomofo
            | Han
            | Hiragana
            | Javanese
            | Katakana
            | Khitan_Small_Script
            | Khmer
            | Lao
            | Myanmar
            | New_Tai_Lue
            | Nushu
            | Tai_Le
            | Tai_Tham
            | Tai_Viet
            | Tangut
            | Thai
            | Tibetan
            | Yi
    )
}

/// Removes what is no difference.
fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().filter(|c| !is_ignorable(*c)).nfkc().flat_map(without_case).nfkc().collect()
}

/// There and back, so that `ẞ`, `ß` and `SS` are one, and both forms of the small sigma.
fn without_case(c: char) -> impl Iterator<Item = char> {
    c.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

/// What only tells how to show the text around it: joiners, soft hyphens, variation selectors; Unicode's
/// Default_Ignorable_Code_Point, and all else of the category Format.
fn is_ignorable(c: char) -> bool {
    c.general_category() == GeneralCategory::Format
        || matches!(c,
            '\u{34F}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180D}' | '\u{180F}'
            | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FFA0}' | '\u{E0100}'..='\u{E01EF}')
}

#[cfg(test)]
mod tests;
