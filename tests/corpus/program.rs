//! Any bytes as the output of a program: each whole line is the answer to a call, a request, or dropped, as `docs/plugins.md` says, and what
//! is answered is allowed. Owns these properties; never which lines are tried.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use holdline::limits::{DESTINATIONS_DEFAULT, VALUE_BYTES_MAX, VALUE_KEY_BYTES_MAX};
use holdline::message::RequestId;
use holdline::plugin::{Answer, Failure, Host, Plugin, PluginKind, Process};
use holdline::protocol::{Code, ParsedRequest, json};
use serde::Deserialize;
use serde_json::Value;
use smol::future;
use tempfile::TempDir;

use crate::answers::{calls, check_answer, config};
use crate::json::{Seen, lines_by_the_rules};

/// Program that writes a file.
const CAT: &str = "/bin/cat";

/// Keys that say what a line is.
#[derive(Deserialize)]
struct Header {
    id: Option<Value>,
    r#type: Option<Value>,
}

/// `get` or `set`.
#[derive(Deserialize)]
struct ValueRequest {
    id: Option<String>,
    key: String,
    value: Option<Value>,
}

/// Checks the properties for these bytes.
pub(crate) fn check(input: &[u8]) {
    let (answers, requests) = run(input);
    let lines: Vec<(String, Header)> =
        whole_lines(input).filter_map(|line| Some((line.clone(), header(&line)?))).collect();
    for ((nth, call), answer) in (1..).zip(calls()).zip(&answers) {
        check_answer(call.hook(), answer);
        let is_answered = !matches!(answer, Err(failure) if failure.to_string().contains("; no answer to "));
        let has_line = lines.iter().any(|(_, header)| header.r#type.is_none() && answers_call(header, nth));
        assert_eq!(is_answered, has_line, "call {nth}: {answer:?}");
    }
    let mut requests = requests.into_iter();
    for (line, header) in &lines {
        let Some(kind) = &header.r#type else { continue };
        match kind.as_str() {
            Some("get" | "set") => {
                if !is_value_request(line) {
                    let refused = requests.next().unwrap_or_else(|| panic!("{line:?} is not refused"));
                    assert_eq!(refused.expect_err(line).refusal.code, Code::BadRequest, "{line:?}");
                }
            }
            _ => assert_eq!(requests.next(), json::parse(line, DESTINATIONS_DEFAULT), "{line:?}"),
        }
    }
    assert_eq!(requests.next(), None);
}

/// Runs a program that writes these bytes while it owes an answer to each call. Returns the answers, and its requests.
fn run(input: &[u8]) -> (Vec<Result<Answer, Failure>>, Vec<ParsedRequest>) {
    static PLACE: OnceLock<TempDir> = OnceLock::new();
    let place = PLACE.get_or_init(|| tempfile::tempdir().expect("a temporary directory can be created"));
    let path = place.path().join("output");
    fs::write(&path, input).expect("a file can be written");
    let mut config = config(PluginKind::Process, Path::new(CAT));
    (config.timeout, config.arguments) = (Duration::from_secs(60), vec![path.to_string_lossy().into_owned()]);
    let process = Process::load(&config).expect("the program exists");
    let (host, submitted) = Host::with_recorder(config.name.clone());
    let mut requests = Vec::new();
    let called = async {
        let answers = process.call_all(calls().to_vec(), None).await;
        // All calls may be answered before the last line is read.
        let [message, ..] = calls();
        while process.call(message.clone()).await.is_ok_and(|_| true) {}
        answers
    };
    let recorded = async {
        while let Ok(batch) = submitted.recv().await {
            requests.extend(batch);
        }
        future::pending().await
    };
    let lives = async {
        process.run(host).await;
        future::pending().await
    };
    let answers = smol::block_on(future::or(called, future::or(recorded, lives)));
    while let Ok(batch) = submitted.try_recv() {
        requests.extend(batch);
    }
    (answers, requests)
}

/// Lines that count: UTF-8, not too long, and with their end.
fn whole_lines(input: &[u8]) -> impl Iterator<Item = String> {
    let end = input.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    lines_by_the_rules(&input[..end]).into_iter().filter_map(|line| match line {
        Seen::Text(text) => Some(text),
        Seen::TooLong | Seen::NotUtf8 => None,
    })
}

fn header(line: &str) -> Option<Header> {
    // To serde, a list is an object without its keys.
    line.trim_start().starts_with('{').then(|| serde_json::from_str(line).ok()).flatten()
}

fn answers_call(header: &Header, nth: u64) -> bool {
    header.id.as_ref().and_then(Value::as_str).and_then(|id| id.parse().ok()) == Some(nth)
}

fn is_value_request(line: &str) -> bool {
    let Ok(ValueRequest { id, key, value }) = serde_json::from_str(line) else { return false };
    id.is_none_or(|id| RequestId::parse(&id).is_some())
        && (1..=VALUE_KEY_BYTES_MAX).contains(&key.len())
        && value.is_none_or(|value| value.to_string().len() <= VALUE_BYTES_MAX)
}
