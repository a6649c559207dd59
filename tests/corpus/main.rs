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
mod rows;
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
    // A name that registers would need its password in later inputs.
    let server = TestServer::with_config("[accounts]\nregistration = \"closed\"\n");
    for target in ["connection", "plain", "json"] {
        each(target, |input| connection::check(server.address(), input));
    }
}

#[test]
fn no_row_written_by_hand_stops_the_server_or_concerns_other_peers() {
    each("rows", rows::check);
}

/// Values that no server writes into some columns.
const VALUES: [&str; 12] = [
    "null",
    "''",
    "'x'",
    "x'ff00'",
    "0.5",
    "-1",
    "0",
    "9223372036854775807",
    "-9223372036854775808",
    "4611686018427387904",
    "'[9223372036854775807,-9223372036854775808,0,null,\"x\",1.5]'",
    "char(27) || '[2J'",
];

/// Each column of each table gets one of the values, and with `HOLDLINE_ROWS=all` each of them: a few hundred databases.
#[test]
fn any_value_in_any_column_concerns_no_other_peers() {
    let is_long = std::env::var_os("HOLDLINE_ROWS").is_some();
    let columns = rows::columns();
    let statements = columns.iter().enumerate().flat_map(|(nth, (table, column))| {
        let values = VALUES.iter().enumerate().filter(move |(value, _)| is_long || *value == 5 * nth % VALUES.len());
        values.map(move |(_, value)| format!("update or ignore {table} set {column} = {value}"))
    });
    let mut failures = Vec::new();
    for sql in statements {
        println!("{sql}");
        if std::panic::catch_unwind(|| rows::check(sql.as_bytes())).is_err() {
            failures.push(sql);
        }
    }
    assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), failures.join("\n"));
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
