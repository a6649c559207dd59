//! The properties that the fuzzer in `tests/fuzz` tries to break, held against the inputs in `inputs`: seeds, and what the
//! fuzzer found. Owns no property and no input: each has a file of its own.

mod config;
mod connection;
mod json;
mod name;
mod plain;
#[path = "../support/mod.rs"]
mod support;
mod words;

use std::fs;
use std::path::Path;

use support::TestServer;

#[test]
fn bytes_become_the_same_lines_wherever_they_are_cut() {
    each("plain", plain::check);
}

#[test]
fn bytes_become_the_same_json_lines_wherever_they_are_cut() {
    each("json", json::check);
}

#[test]
fn a_text_is_refused_in_words_or_is_a_name() {
    each("name", name::check);
}

#[test]
fn a_file_is_refused_in_one_line_or_means_what_it_says() {
    each("config", config::check);
}

/// The lines of `plain` and of `json` are whole conversations too.
#[test]
fn a_client_is_answered_line_by_line_whatever_it_sends() {
    let server = TestServer::start();
    for target in ["connection", "plain", "json"] {
        each(target, |input| connection::check(server.address(), input));
    }
}

/// Checks each input of a target; the last that is named is the one that failed.
fn each(target: &str, check: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/inputs").join(target);
    let entries = fs::read_dir(&directory).expect("a directory of inputs");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an input").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no inputs in {}", directory.display());
    for path in paths {
        println!("{}", path.display());
        check(&fs::read(&path).expect("an input can be read"));
    }
}
