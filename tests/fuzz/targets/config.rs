//! Runs the property of `tests/corpus/config.rs`.

#![no_main]

#[path = "../../corpus/config.rs"]
mod config;
#[path = "../../corpus/words.rs"]
#[allow(dead_code, reason = "used by the other targets")]
mod words;

libfuzzer_sys::fuzz_target!(|input: &[u8]| config::check(input));
