//! Properties that the fuzzer in `tests/fuzz` tries to break, checked on the inputs in `inputs`: seeds, and what the
//! fuzzer found. Owns no property and no input: each has a file of its own.

mod answers;
mod config;
mod connection;
mod json;
mod luau;
mod name;
mod plain;
mod program;
#[path = "../support/mod.rs"]
mod support;
mod words;

use std::fs;
use std::path::Path;

use support::TestServer;

#[test]
fn plain_lines_do_not_depend_on_how_the_bytes_are_split() {
    each("plain", plain::check);
}

#[test]
fn json_lines_do_not_depend_on_how_the_bytes_are_split() {
    each("json", json::check);
}

#[test]
fn text_is_a_valid_name_or_refused_with_the_reason() {
    each("name", name::check);
}

#[test]
fn configuration_is_valid_or_refused_in_one_line() {
    each("config", config::check);
}

#[test]
fn results_of_a_script_are_allowed_and_bounded() {
    each("luau", luau::check);
}

#[test]
fn lines_of_a_program_are_answers_or_requests_or_dropped() {
    each("program", program::check);
}

/// Inputs of `plain` and `json` are whole conversations, too.
#[test]
fn any_input_of_a_client_is_answered_line_by_line() {
    let server = TestServer::start();
    for target in ["connection", "plain", "json"] {
        each(target, |input| connection::check(server.address(), input));
    }
}

/// Checks each input of a target. The last one that is printed is the one that failed.
fn each(target: &str, check: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/inputs").join(target);
    let entries = fs::read_dir(&directory).expect("the inputs can be listed");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the inputs can be listed").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no inputs in {}", directory.display());
    for path in paths {
        println!("{}", path.display());
        check(&fs::read(&path).expect("the input can be read"));
    }
}
