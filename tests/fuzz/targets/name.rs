//! Runs the property of `tests/corpus/name.rs`.

#![no_main]

#[path = "../../corpus/name.rs"]
mod name;
#[path = "../../corpus/words.rs"]
mod words;

libfuzzer_sys::fuzz_target!(|input: &[u8]| name::check(input));
