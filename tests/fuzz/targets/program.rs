//! Runs the property of `tests/corpus/program.rs`.

#![no_main]

#[path = "../../corpus/answers.rs"]
mod answers;
#[path = "../../corpus/json.rs"]
#[allow(dead_code, reason = "only its lines are used here")]
mod json;
#[path = "../../corpus/program.rs"]
mod program;
#[path = "../../corpus/words.rs"]
#[allow(dead_code, reason = "used by the unused part of `json`")]
mod words;

libfuzzer_sys::fuzz_target!(|input: &[u8]| program::check(input));
