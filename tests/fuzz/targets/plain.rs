//! Runs the property of `tests/corpus/plain.rs`.

#![no_main]

#[path = "../../corpus/plain.rs"]
mod plain;
#[path = "../../corpus/words.rs"]
mod words;

libfuzzer_sys::fuzz_target!(|input: &[u8]| plain::check(input));
