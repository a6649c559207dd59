//! Tests of the tokens of texts, and of which queries match which texts.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn check_tokens(text: &str, expected: &Expect) {
    let mut tokens = String::new();
    write_tokens(&mut tokens, text);
    expected.assert_eq(tokens.trim_end());
}

fn is_found(query: &str, text: &str) -> bool {
    WordQuery::parse(query).unwrap_or_else(|| panic!("{query} contains a word")).matches(text)
}

#[track_caller]
fn assert_match(query: &str, text: &str) {
    assert!(is_found(query, text), "{query} must match {text}");
}

#[track_caller]
fn assert_no_match(query: &str, text: &str) {
    assert!(!is_found(query, text), "{query} must not match {text}");
}

#[test]
fn word_is_a_run_of_letters_digits_and_marks() {
    check_tokens("Hello, World: it's 7_up (x²)!", &expect!["hello world it s 7 up x2"]);
    check_tokens("Grüße, АЛЁНА; हिन्दी مرحبا", &expect!["grüsse grusse алёна алена हिन्दी مرحبا"]);
    check_tokens(" … !? ´ €", &expect![""]);
}

#[test]
fn run_without_blanks_becomes_characters_and_pairs() {
    check_tokens("日本語", &expect!["日 本 語 日本 本語"]);
    check_tokens("猫", &expect!["猫"]);
    check_tokens("食べるラーメン、一々", &expect!["食 べ る ラ ー メ ン 食べ べる るラ ラー ーメ メン 一 々 一々"]);
    check_tokens("ที่นี่", &expect!["ท ี ่ น ี ่ ที ี่ ่น นี ี่"]);
}

#[test]
fn run_is_split_where_a_script_without_blanks_starts_or_ends() {
    check_tokens("日本語abc", &expect!["日 本 語 日本 本語 abc"]);
    check_tokens("10月15日", &expect!["10 月 15 日"]);
    check_tokens("x\u{303}ไทย", &expect!["x\u{303} x ไ ท ย ไท ทย"]);
}

#[test]
fn case_does_not_matter() {
    for (one, other) in [
        ("boiler", "The BOILER is cold"),
        ("STRASSE", "Straße"),
        ("straße", "STRASSE"),
        ("STRAẞE", "strasse"),
        ("ΣΊΣΥΦΟΣ", "Σίσυφος"),
        ("σίσυφοσ", "ΣΊΣΥΦΟΣ"),
        ("\u{390}", "\u{3AA}\u{301}"),
        ("İ", "i\u{307}"),
        ("жук", "ЖУК"),
    ] {
        assert_match(one, other);
    }
}

#[test]
fn encoding_of_a_character_does_not_matter() {
    for (one, other) in [
        ("cafe\u{301}", "caf\u{e9}"),
        ("ＡＢＣ", "abc"),
        ("ﾗｰﾒﾝ", "ラーメン"),
        ("ガ", "ｶﾞ"),
        ("ﬁn", "FIN"),
        ("한", "\u{1112}\u{1161}\u{11AB}"),
        ("soft\u{AD}hyphen", "softhyphen"),
        ("می\u{200C}خواهم", "میخواهم"),
        ("葛城", "葛\u{E0100}城"),
        ("ไทย", "ไ\u{200B}ทย"),
    ] {
        assert_match(one, other);
        assert_match(other, one);
    }
}

#[test]
fn text_must_contain_all_words_in_any_order() {
    assert_match("cold boiler", "the boiler is cold");
    assert_no_match("cold boiler", "the boiler is warm");
    assert_no_match("boil", "the boiler is cold");
    assert_match("boiler! (boiler)", "boiler");
    assert_match("日本 coffee", "coffee from 日本");
    assert_no_match("日本 coffee", "coffee from 中国");
}

#[test]
fn query_matches_any_piece_of_a_run_and_nothing_else() {
    let text = "東京都庁へ行く";
    for piece in ["東", "京都", "庁へ", "東京都庁", "く", text] {
        assert_match(piece, text);
    }
    for piece in ["東都", "庁京", "西", "行くよ"] {
        assert_no_match(piece, text);
    }
    assert_no_match("日本語", "日本と本語");
    assert_match("ーメン", "ラーメン");
    assert_match("ท", "ที่");
}

#[test]
fn diacritics_count_only_where_the_query_has_them() {
    for (plain, marked) in [
        ("cafe", "Café"),
        ("resume", "RÉSUMÉ"),
        ("grusse", "Grüße"),
        ("duong", "Đường"),
        ("smorrebrod", "Smørrebrød"),
        ("lodz", "Łódź"),
        ("αθηνα", "Αθήνα"),
        ("елка", "Ёлка"),
        ("محمد", "مُحَمَّد"),
        ("שלום", "שָׁלוֹם"),
        ("1", "1\u{FE0F}\u{20E3}"),
    ] {
        assert_match(plain, marked);
        assert_match(plain, plain);
        assert_match(marked, marked);
        assert_no_match(marked, plain);
    }
    assert_no_match("resumé", "résumé");
    assert_match("cafe\u{301} noir", "un CAFÉ noir");
    // Another letter, and another word.
    assert_no_match("か", "が");
    assert_no_match("कल", "काल");
    assert_no_match("cafe", "cafés");
}

#[test]
fn words_are_found_with_their_endings_in_scripts_that_join_them() {
    check_tokens("우유를 마셔요", &expect!["우 유 를 우유 유를 마 셔 요 마셔 셔요"]);
    for (word, text) in
        [("우유", "우유를 샀어"), ("학교", "학교에서만"), ("வீடு", "வீடுகளில்"), ("పుస్తక", "పుస్తకాలు"), ("pc", "PC를")]
    {
        assert_match(word, text);
        assert_no_match(text, word);
    }
    assert_no_match("우를", "우유를");
    assert_no_match("우유를", "우유 를");
}

#[test]
fn emoji_are_words() {
    check_tokens("party🎉🎉 © 1️⃣ #", &expect!["party 🎉 🎉 🎉🎉 © 1\u{20E3} 1"]);
    for (query, text) in [
        ("🎉", "party🎉!"),
        ("❤️", "I ❤ it"),
        ("❤", "I ❤️ it"),
        ("👍", "👍🏽"),
        ("👍🏽", "ok 👍🏽"),
        ("👩\u{200D}🚀", "an 👩\u{200D}🚀"),
        ("🚀", "an 👩\u{200D}🚀"),
        ("🇰🇷", "🇯🇵🇰🇷"),
        ("🫠", "🫠"),
    ] {
        assert_match(query, text);
    }
    assert_no_match("👍🏽", "👍");
    assert_no_match("👍🏽", "👍🏿");
    assert_no_match("🎉", "🎊");
}

#[test]
fn query_without_a_word_is_none() {
    for query in ["", "!!!", " - ", "€", "\u{301}", "\u{200B}", "\"*\" ^ ( ) :"] {
        assert_eq!(WordQuery::parse(query), None, "{query}");
    }
}

#[test]
fn query_cannot_inject_fts5_syntax() {
    let check = |query, expected: Expect| {
        let query: WordQuery = WordQuery::parse(query).unwrap();
        expected.assert_eq(&query.expression());
    };
    check(
        r#"tokens:a* "b" OR c^ NEAR(d) #5 @7"#,
        expect![[r#""5" AND "7" AND "a" AND "b" AND "c" AND "d" AND "near" AND "or" AND "tokens""#]],
    );
    check("日本語 猫 犬", expect![[r#""日本" AND "本語" AND "犬" AND "猫""#]]);
}

#[test]
fn very_long_words_with_the_same_start_differ() {
    let long = "ä".repeat(12_000);
    check_tokens(
        &long,
        &expect![
            "äääääääääääääääääääääää#b65d5b6487df6825 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa#11bc14e8e14e42c5"
        ],
    );
    assert_match(&long, &format!("see {long}"));
    assert_no_match(&long, &format!("{long}b"));
    let longest = "x".repeat(SEARCH_TOKEN_BYTES_MAX);
    assert_eq!(token(&longest), longest);
    assert_eq!(token(&(longest + "x")).len(), SEARCH_TOKEN_BYTES_MAX);
}

#[test]
fn hash_of_a_long_word_is_standard_fnv_1a() {
    assert_eq!(fnv_1a(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv_1a(b"foobar"), 0x8594_4171_f739_67e8);
}

#[test]
fn expression_has_a_bounded_number_of_terms() {
    let words = |count| Vec::from_iter((0..count).map(|number| format!("w{number}"))).join(" ");
    let many = WordQuery::parse(&words(SEARCH_TERMS_MAX + 1)).unwrap();
    assert_eq!(many.expression().matches("\"w").count(), SEARCH_TERMS_MAX);
    assert!(!many.is_all_in_index());
    assert!(many.matches(&words(SEARCH_TERMS_MAX + 1)) && !many.matches(&words(SEARCH_TERMS_MAX)));
    assert!(WordQuery::parse(&words(SEARCH_TERMS_MAX)).unwrap().is_all_in_index());
}

proptest! {
    #[test]
    fn changing_case_does_not_change_the_folded_text(text in "\\PC{0,12}") {
        prop_assert_eq!(fold(&text.to_uppercase()), fold(&text));
        prop_assert_eq!(fold(&text.to_lowercase()), fold(&text));
    }

    #[test]
    fn folding_twice_equals_folding_once(text in "\\PC{0,12}") {
        let folded = fold(&text);
        prop_assert_eq!(fold(&folded), folded);
    }

    #[test]
    fn word_without_its_diacritics_is_found(word in "[a-zà-öø-ÿĀ-ſά-ώа-ёḀ-ỿ\u{300}-\u{36F}]{1,12}") {
        for TextRun { chars, .. } in runs(&fold(&word)) {
            let plain = without_diacritics(chars);
            if let Some(plain) = &plain {
                prop_assert_eq!(without_diacritics(plain), None);
                prop_assert_eq!(&fold(plain), plain, "it is one of the words that a query has");
                prop_assert!(is_found(plain, &word) && !is_found(chars, plain));
            }
            prop_assert!(is_found(chars, &word));
        }
    }

    #[test]
    fn query_matches_any_two_adjacent_characters(text in "[日本語ひらガーไที่ກາខ្មမြ]{2,12}", at in 0_usize..11) {
        // Normalization reorders marks of different scripts on one letter, so pairs are taken from the folded text.
        let chars = Vec::from_iter(fold(&text).chars());
        let at = at.min(chars.len() - 2);
        let two = String::from_iter(&chars[at..at + 2]);
        if let Some(query) = WordQuery::parse(&two) {
            prop_assert!(query.matches(&text), "{two} in {text}");
        }
    }

    #[test]
    fn fts5_splits_tokens_at_blanks_alone(text in "\\PC{0,40}") {
        let mut tokens = String::new();
        write_tokens(&mut tokens, &text);
        for token in tokens.split(' ').filter(|token| !token.is_empty()) {
            prop_assert!(token.len() <= SEARCH_TOKEN_BYTES_MAX);
            prop_assert!(token.chars().all(|c| !c.is_ascii() || c.is_ascii_lowercase() || c.is_ascii_digit()), "{token}");
        }
    }
}
