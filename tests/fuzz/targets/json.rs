//! Runs the property of `tests/corpus/json.rs`.

#![no_main]

#[path = "../../corpus/json.rs"]
mod json;
#[path = "../../corpus/words.rs"]
#[allow(dead_code, reason = "used by the other targets")]
mod words;

libfuzzer_sys::fuzz_target!(|input: &[u8]| json::check(input));
