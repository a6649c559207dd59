//! Characters that reach a screen: replaces those that a terminal obeys, that hide, or that reorder what stands around them. Owns the rule
//! for texts, and for all that is logged or printed; never trims or shortens anything.

use std::borrow::Cow;

/// Base of the flags of regions, such as Scotland's; a sequence of tags follows it.
const BLACK_FLAG: char = '\u{1F3F4}';

/// Last character of a sequence of tags.
const END_OF_TAGS: char = '\u{E007F}';

/// Letters and digits of the region of a flag: two for the country, up to four for its part.
const REGION_CHARS: std::ops::RangeInclusive<usize> = 3..=6;

/// Makes one line of any text that is printed or logged: a newline becomes a blank, and each hidden character except tabs becomes U+FFFD.
pub fn printable(text: &str) -> Cow<'_, str> {
    replace_hidden(text, " ")
}

/// Escapes the hidden characters of a line of JSON, which keeps its meaning.
pub fn printable_json(line: &str) -> Cow<'_, str> {
    if !may_hold_hidden(line) {
        return line.into();
    }
    let mut escaped = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            // Between two tokens; a string holds none.
            '\0'..' ' => escaped.push(' '),
            c if is_hidden(c) => {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}")));
            }
            c => escaped.push(c),
        }
    }
    escaped.into()
}

/// Replaces each hidden character by U+FFFD, and a newline by `newline`.
pub(super) fn replace_hidden<'a>(text: &'a str, newline: &str) -> Cow<'a, str> {
    if !may_hold_hidden(text) || !text.contains(is_hidden) {
        return text.into();
    }
    let (mut shown, mut rest) = (String::with_capacity(text.len() + 16), text);
    while let Some(found) = rest.find(is_hidden) {
        shown.push_str(&rest[..found]);
        rest = &rest[found..];
        let flag = flag_tag_bytes(&shown, rest);
        if flag > 0 {
            shown.push_str(&rest[..flag]);
            rest = &rest[flag..];
        } else if let Some(behind) = rest.strip_prefix('\n') {
            shown.push_str(newline);
            rest = behind;
        } else {
            shown.push(char::REPLACEMENT_CHARACTER);
            rest = rest.split_at(rest.chars().next().map_or(0, char::len_utf8)).1;
        }
    }
    shown.push_str(rest);
    shown.into()
}

/// Whether the character is a control except a tab, or a bidirectional override or isolate, a separator of lines or paragraphs, a tag, or
/// another character that is ignored by default. Joiners, direction marks and variation selectors are not hidden: scripts and emoji need them.
pub(super) const fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{8}'
            | '\n'..='\u{1F}'
            | '\u{7F}'..='\u{9F}'
            | '\u{AD}'
            | '\u{34F}'
            | '\u{115F}'..='\u{1160}'
            | '\u{17B4}'..='\u{17B5}'
            | '\u{180E}'
            | '\u{200B}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{3164}'
            | '\u{FEFF}'
            | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFF8}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E00FF}'
            | '\u{E01F0}'..='\u{E0FFF}'
    )
}

/// Whether the text may hold hidden characters. Tests bytes without a branch for each; most texts are ASCII.
pub(super) fn may_hold_hidden(text: &str) -> bool {
    text.bytes().fold(false, |found, byte| found | ((byte < b' ') & (byte != b'\t')) | (byte >= 0x7F))
}

/// Returns the bytes of the tags that `rest` begins with, if they complete a flag that ends `shown`; otherwise 0.
fn flag_tag_bytes(shown: &str, rest: &str) -> usize {
    if !shown.strip_suffix('\u{FE0F}').unwrap_or(shown).ends_with(BLACK_FLAG) {
        return 0;
    }
    let is_region = |c: &char| matches!(c, '\u{E0030}'..='\u{E0039}' | '\u{E0061}'..='\u{E007A}');
    let region = rest.chars().take_while(is_region).count();
    let is_flag = REGION_CHARS.contains(&region) && rest.chars().nth(region) == Some(END_OF_TAGS);
    if is_flag { (region + 1) * END_OF_TAGS.len_utf8() } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex_syntax::hir::{Class, HirKind};

    use super::*;

    const SCOTLAND: &str = "\u{1F3F4}\u{E0067}\u{E0062}\u{E0073}\u{E0063}\u{E0074}\u{E007F}";

    /// Characters of a class, as a regular expression writes it.
    fn class(pattern: &str) -> Vec<char> {
        match regex_syntax::parse(pattern).expect("a class").into_kind() {
            HirKind::Class(Class::Unicode(class)) => class.ranges().iter().flat_map(|r| r.start()..=r.end()).collect(),
            other => panic!("{pattern} is {other:?}"),
        }
    }

    #[test]
    fn hidden_characters_are_those_of_the_standard() {
        let mut expected = class(r"[\p{Default_Ignorable_Code_Point}--[\p{Variation_Selector}\u200C-\u200F\u061C]]");
        expected.extend(class(r"[\p{Cc}\u2028-\u202E\u2066-\u2069\uFEFF--\t]"));
        expected.sort_unstable();
        expected.dedup();
        let hidden = Vec::from_iter(('\0'..=char::MAX).filter(|c| is_hidden(*c)));
        assert!(hidden == expected, "{:x?}", hidden.iter().filter(|c| !expected.contains(c)).collect::<Vec<_>>());
    }

    #[test]
    fn scripts_and_emoji_stay_as_they_are() {
        for text in [
            "grüße, ‘quotes’ and £ 5",
            "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}",
            SCOTLAND,
            "\u{1F3F4}\u{FE0F}\u{E0075}\u{E0073}\u{E0074}\u{E0078}\u{E007F}",
            "\u{1F3F4}\u{200D}\u{2620}\u{FE0F} 1\u{FE0F}\u{20E3}",
            "\u{1F1E9}\u{1F1EA}",
            "می\u{200C}خواهم",
            "क्\u{200D}ष",
            "שלום\u{200E} (abc)\u{200F} \u{61C}",
            "ᠠ\u{180B}",
            "葛\u{E0100}",
            "a\tb",
        ] {
            assert!(matches!(replace_hidden(text, "\n"), Cow::Borrowed(_)) || text.contains(BLACK_FLAG), "{text:?}");
            assert_eq!(printable(text), text, "{text:?}");
        }
    }

    #[test]
    fn hidden_characters_are_replaced() {
        let tags = &SCOTLAND[BLACK_FLAG.len_utf8()..];
        for (text, shown) in [
            ("a\u{202E}b", "a\u{FFFD}b".to_owned()),
            ("\u{2067}a\u{2069}", "\u{FFFD}a\u{FFFD}".to_owned()),
            ("a\u{2028}b\u{2029}\u{FEFF}", "a\u{FFFD}b\u{FFFD}\u{FFFD}".to_owned()),
            ("\u{1B}[2J\u{9B}\u{85}", "\u{FFFD}[2J\u{FFFD}\u{FFFD}".to_owned()),
            ("one\ntwo\r\n", "one two\u{FFFD} ".to_owned()),
            (tags, "\u{FFFD}".repeat(6)),
            (&format!("\u{1F642}{tags}"), format!("\u{1F642}{}", "\u{FFFD}".repeat(6))),
            (&SCOTLAND[..SCOTLAND.len() - 4], format!("{BLACK_FLAG}{}", "\u{FFFD}".repeat(5))),
            (&format!("{SCOTLAND}{tags}"), format!("{SCOTLAND}{}", "\u{FFFD}".repeat(6))),
            (
                &format!("{BLACK_FLAG}{}{END_OF_TAGS}", "\u{E0061}".repeat(7)),
                format!("{BLACK_FLAG}{}", "\u{FFFD}".repeat(8)),
            ),
        ] {
            assert_eq!(printable(text), shown, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_printed_and_nothing_else_is_changed(text in "(\\PC|\\p{Cc}|\\p{Cf}|[a-z\u{AD}]|\u{1F3F4}|[\u{E0061}-\u{E0070}\u{E007F}]{4}){0,20}") {
            let shown = printable(&text);
            prop_assert_eq!(printable(&shown), &*shown);
            let is_tag = |c: char| ('\u{E0020}'..='\u{E007F}').contains(&c);
            prop_assert!(!shown.contains(|c| is_hidden(c) && !is_tag(c)));
            prop_assert_eq!(shown.chars().count(), text.chars().count());
            for (shown, written) in shown.chars().zip(text.chars()) {
                prop_assert!(shown == written || is_hidden(written), "{written:?} became {shown:?}");
            }
        }

        #[test]
        fn escaped_json_means_the_same(text in "(\\PC|\\p{Cc}|\\p{Cf}|[a-z\u{AD}\u{7F}]){0,20}") {
            let line = format!("{{\"text\":{}}}", serde_json::to_string(&text).unwrap());
            let printed = printable_json(&line);
            prop_assert!(!printed.contains(is_hidden));
            let read: serde_json::Value = serde_json::from_str(&printed).unwrap();
            prop_assert_eq!(read["text"].as_str(), Some(&*text));
        }
    }
}
