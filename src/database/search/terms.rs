//! Tokens of texts and queries for the full-text index. Owns the definition of a word; never stores tokens.
//!
//! Case does not matter, nor do different encodings of the same character: texts are normalized to NFKC and case-folded. A
//! word is a run of letters, digits and marks. A word with diacritics has a second token without them, so a query without
//! them finds both spellings, and a query with them finds its own alone.
//!
//! In scripts that are written without blanks the words of a run are not marked; there every character and every pair of
//! adjacent characters is a token, so that any piece of a run is found. The same holds for scripts whose words take endings
//! (in Korean, `우유를` is milk as an object), and for emoji. Characters are code points: a piece may begin or end between a
//! Thai letter and the vowel above it.

mod diacritics;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeEmoji, UnicodeGeneralCategory};
use unicode_script::{Script, UnicodeScript};

use self::diacritics::without_diacritics;
use crate::limits::{SEARCH_TERMS_MAX, SEARCH_TOKEN_BYTES_MAX};

/// Words of a search query; a text matches if it contains all of them, in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WordQuery {
    /// Whole words.
    words: BTreeSet<String>,
    /// Pieces of unbroken runs.
    pieces: BTreeSet<String>,
}

impl WordQuery {
    /// Parses a query. `None` if it contains no word.
    pub(crate) fn parse(query: &str) -> Option<Self> {
        let (mut words, mut pieces) = (BTreeSet::new(), BTreeSet::new());
        let folded = fold(query);
        for TextRun { chars, kind } in runs(&folded) {
            match kind {
                Kind::Word => words.insert(chars.to_owned()),
                Kind::Unbroken => pieces.insert(chars.to_owned()),
            };
        }
        (!words.is_empty() || !pieces.is_empty()).then_some(WordQuery { words, pieces })
    }

    /// Returns the number of words and pieces.
    pub(crate) fn words(&self) -> usize {
        self.words.len() + self.pieces.len()
    }

    /// Whether a text contains all words and pieces. Reads the text once for all words, and once for each piece.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let folded = fold(text);
        let mut words: HashSet<&str> = self.words.iter().map(String::as_str).collect();
        let mut unbroken = Vec::new();
        for TextRun { chars, kind } in runs(&folded) {
            match kind {
                Kind::Word => {
                    words.remove(chars);
                    if let Some(plain) = without_diacritics(chars) {
                        words.remove(&*plain);
                    }
                }
                Kind::Unbroken => unbroken.push(chars),
            }
        }
        let is_piece = |piece: &String| unbroken.iter().any(|chars| chars.contains(piece.as_str()));
        words.is_empty() && self.pieces.iter().all(is_piece)
    }

    /// Returns the FTS5 expression for the query. Every matching text has these tokens; if there are too many, the first
    /// [`SEARCH_TERMS_MAX`] of them.
    pub(crate) fn expression(&self) -> String {
        let tokens = Vec::from_iter(self.tokens().into_iter().take(SEARCH_TERMS_MAX));
        format!("\"{}\"", tokens.join("\" AND \""))
    }

    /// Returns the FTS5 expression for the longest token alone: a long word is often a rare one.
    pub(crate) fn longest_token(&self) -> String {
        let tokens = self.tokens();
        let longest = tokens.iter().max_by_key(|token| token.len()).expect("a query has a token");
        format!("\"{longest}\"")
    }

    /// Whether every text that the FTS5 expression finds matches. It may not if a piece has more than two characters, as its
    /// pairs may occur apart, or if there are more tokens than the expression contains.
    pub(crate) fn is_all_in_index(&self) -> bool {
        self.pieces.iter().all(|piece| piece.chars().nth(2).is_none()) && self.tokens().len() <= SEARCH_TERMS_MAX
    }

    /// Returns the tokens of the query. Pieces of two or more characters are looked up by their pairs alone.
    fn tokens(&self) -> BTreeSet<Cow<'_, str>> {
        let words = self.words.iter().map(|word| token(word));
        let pieces = self.pieces.iter().flat_map(|piece| {
            let single = piece.chars().nth(1).is_none().then_some(piece.as_str());
            single.into_iter().chain(pairs(piece)).map(Cow::Borrowed)
        });
        words.chain(pieces).collect()
    }
}

/// Returns the version of the rules that make tokens: a number for the rules of this file, and the Unicode version of every
/// library that they use. An index made by other rules would miss messages, and is made again.
pub(crate) fn rules() -> String {
    let normal = unicode_normalization::UNICODE_VERSION;
    let category = unicode_properties::UNICODE_VERSION;
    let script = unicode_script::UNICODE_VERSION;
    format!("2 {:?} {normal:?} {category:?} {script:?}", char::UNICODE_VERSION)
}

/// Appends the tokens of a text, each followed by a blank. The only ASCII in them is lower case letters, digits, and `#` in
/// the middle.
pub(crate) fn write_tokens(tokens: &mut String, text: &str) {
    let folded = fold(text);
    for TextRun { chars, kind } in runs(&folded) {
        match kind {
            Kind::Word => {
                push(tokens, &token(chars));
                if let Some(plain) = without_diacritics(chars) {
                    push(tokens, &token(&plain));
                }
            }
            Kind::Unbroken => singles(chars).chain(pairs(chars)).for_each(|part| push(tokens, part)),
        }
    }
}

fn push(tokens: &mut String, token: &str) {
    tokens.push_str(token);
    tokens.push(' ');
}

/// Characters of the hash of a long word, with the `#` before it.
const HASH_CHARS: usize = "#0123456789abcdef".len();

/// Returns the token of a word: the word, or the start of a very long one and a hash of all of it.
fn token(word: &str) -> Cow<'_, str> {
    if word.len() <= SEARCH_TOKEN_BYTES_MAX {
        return Cow::Borrowed(word);
    }
    let ends = word.char_indices().map(|(at, c)| at + c.len_utf8());
    let start = ends.take_while(|end| *end <= SEARCH_TOKEN_BYTES_MAX - HASH_CHARS).last().unwrap_or(0);
    let mut token = word[..start].to_owned();
    write!(token, "#{:016x}", fnv_1a(word.as_bytes())).expect("writing to a string cannot fail");
    Cow::Owned(token)
}

/// 64-bit FNV-1a. Its value is stored in the database, so it must never change.
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn singles(run: &str) -> impl Iterator<Item = &str> {
    run.char_indices().map(|(at, c)| &run[at..at + c.len_utf8()])
}

fn pairs(run: &str) -> impl Iterator<Item = &str> {
    let seconds = run.char_indices().skip(1);
    run.char_indices().zip(seconds).map(|((start, _), (at, c))| &run[start..at + c.len_utf8()])
}

/// Longest sequence of adjacent characters that make up one word or one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TextRun<'t> {
    chars: &'t str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Word, found as a whole.
    Word,
    /// Run of which any piece is found: in a script without blanks between words, in one whose words take endings, or of emoji.
    Unbroken,
}

impl Kind {
    /// Returns the kind of a run that starts with this character; `None` if none does.
    fn of_first(c: char) -> Option<Self> {
        if c.is_ascii() {
            return c.is_ascii_alphanumeric().then_some(Kind::Word);
        }
        if !is_word_char(c) {
            return c.is_emoji_char().then_some(Kind::Unbroken);
        }
        let kind = if is_found_in_pieces(c) { Kind::Unbroken } else { Kind::Word };
        (!is_scriptless_mark(c)).then_some(kind)
    }

    fn continues_with(self, c: char) -> bool {
        Kind::of_first(c) == Some(self) || is_scriptless_mark(c)
    }
}

fn runs(folded: &str) -> impl Iterator<Item = TextRun<'_>> {
    let mut rest = folded;
    std::iter::from_fn(move || {
        let (start, kind) = rest.char_indices().find_map(|(at, c)| Some((at, Kind::of_first(c)?)))?;
        let run = &rest[start..];
        let end = run.find(|c| !kind.continues_with(c)).unwrap_or(run.len());
        rest = &run[end..];
        Some(TextRun { chars: &run[..end], kind })
    })
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || is_mark(c)
}

fn is_mark(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Mark
}

/// Whether a character is a mark without a script of its own: it belongs to the run of the character before it.
fn is_scriptless_mark(c: char) -> bool {
    is_mark(c) && matches!(c.script(), Script::Inherited | Script::Common)
}

fn is_found_in_pieces(c: char) -> bool {
    match c.script() {
        // Example: the sign for a long vowel, used in Hiragana and Katakana.
        Script::Inherited | Script::Common => {
            let scripts = c.script_extension();
            !scripts.is_common() && !scripts.is_inherited() && scripts.iter().all(has_pieces)
        }
        script => has_pieces(script),
    }
}

fn has_pieces(script: Script) -> bool {
    has_no_blanks(script) || has_endings(script)
}

/// Whether the languages of a script join endings to words that a search names without them.
fn has_endings(script: Script) -> bool {
    matches!(script, Script::Hangul | Script::Kannada | Script::Malayalam | Script::Tamil | Script::Telugu)
}

/// Whether a script has no blanks between words: mostly the scripts whose lines UAX #14 breaks anywhere or by a dictionary.
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

/// Normalizes a text, so that spellings that count as equal become equal.
fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().filter(|c| !is_ignorable(*c)).nfkc().flat_map(without_case).nfkc().collect()
}

/// Folds case by mapping to lower, upper and lower case, so that `ẞ`, `ß` and `SS` become equal, and both forms of the small
/// sigma.
fn without_case(c: char) -> impl Iterator<Item = char> {
    c.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

/// Whether a character only controls how its neighbours are shown, such as joiners, soft hyphens and variation selectors:
/// Unicode's Default_Ignorable_Code_Point, and the rest of the category Format.
fn is_ignorable(c: char) -> bool {
    c.general_category() == GeneralCategory::Format
        || matches!(c,
            '\u{34F}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180D}' | '\u{180F}'
            | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FFA0}' | '\u{E0100}'..='\u{E01EF}')
}

#[cfg(test)]
mod tests;
