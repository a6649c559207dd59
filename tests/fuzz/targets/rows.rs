//! Runs the property of `tests/corpus/rows.rs`, with a server in this process for each input.

#![no_main]

#[path = "../../corpus/rows.rs"]
#[allow(dead_code, reason = "the tests also use the names of the columns")]
mod rows;

libfuzzer_sys::fuzz_target!(|input: &[u8]| rows::check(input));
