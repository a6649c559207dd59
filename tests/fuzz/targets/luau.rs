//! Runs the property of `tests/corpus/luau.rs`.

#![no_main]

#[path = "../../corpus/answers.rs"]
mod answers;
#[path = "../../corpus/luau.rs"]
mod luau;
#[path = "../../corpus/words.rs"]
#[allow(dead_code, reason = "used by the other targets")]
mod words;

libfuzzer_sys::fuzz_target!(|input: &[u8]| luau::check(input));
