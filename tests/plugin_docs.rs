//! Examples of docs/plugins.md: they run as written, and the numbers there are those of this version. Owns what counts
//! as an example; never tests other behaviour of plugins.

mod support;

use std::fs;

use holdline::limits::*;
use holdline::message::{Destination, PeerName};
use holdline::plugin::{Answer, Call, Effect, Failure, Hook, Pending, Plugin, PluginConfig};
use holdline::server::Server;
use support::{TestClient, TestServer, eventually, installed};

const DOCUMENTATION: &str = include_str!("../docs/plugins.md");

/// Fenced block: its language and its lines.
type Block<'a> = (&'a str, &'a str);

fn blocks() -> Vec<Block<'static>> {
    let mut parts = DOCUMENTATION.split("```");
    parts.next();
    let inside = parts.step_by(2);
    inside.map(|block| block.split_once('\n').expect("a block has lines")).collect()
}

/// Returns the value of a key in an entry of `plugins.toml`.
fn value<'a>(entry: &'a str, key: &str) -> &'a str {
    let line = entry.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
    line.unwrap_or_else(|| panic!("no {key} in {entry}")).trim_matches('"')
}

/// Returns the entries that follow a plugin, each with the plugin and with the chat behind it, if there is one.
fn examples() -> Vec<(&'static str, &'static str, Option<&'static str>)> {
    let blocks = blocks();
    let is_plugin = |(language, _): &Block| matches!(*language, "luau" | "sh" | "python");
    let is_chat = |(_, text): &Block| text.starts_with("$ nc ");
    let entries = blocks.iter().enumerate().filter(|(_, (language, _))| *language == "toml");
    let example = |(place, (_, entry)): (usize, &Block<'static>)| {
        let plugin =
            blocks[..place].iter().rev().find(|block| is_plugin(block)).expect("a plugin stands before its entry");
        let chat = blocks[place..].iter().skip(1).find(|block| is_chat(block) || is_plugin(block));
        (*entry, plugin.1, chat.filter(|block| is_chat(block)).map(|block| block.1))
    };
    entries.map(example).collect()
}

#[test]
fn each_example_of_the_documentation_runs_as_written() {
    let examples = examples();
    assert_eq!(examples.len(), 4);
    for (entry, plugin, chat) in examples {
        let needed = [("#!/bin/sh", "jq"), ("#!/usr/bin/env python3", "python3")];
        let needed = needed.into_iter().find(|(start, _)| plugin.starts_with(start));
        if needed.is_some_and(|(_, program)| installed(program).is_none()) {
            continue;
        }
        let server = TestServer::with_files(&[("plugins.toml", entry), (value(entry, "path"), plugin)]);
        play(&server, chat.unwrap_or_else(|| panic!("no chat with {}", value(entry, "name"))));
    }
}

/// Types what stands behind `>`, and reads the rest: of the server, or of a file. `…` stands for whatever there is.
#[track_caller]
fn play(server: &TestServer, chat: &str) {
    let mut client = TestClient::connect(server);
    let (talk, file) = chat.split_once("$ cat ").unwrap_or((chat, ""));
    for line in talk.lines().skip(1) {
        match line.strip_prefix("> ") {
            Some(typed) => client.send(typed),
            None => {
                let read = client.expect_line();
                let is_it = line.strip_suffix('…').map_or(read == line, |start| read.starts_with(start));
                assert!(is_it, "expected `{line}`, and read `{read}`");
            }
        }
    }
    if let Some((name, text)) = file.split_once('\n') {
        let read = || fs::read_to_string(server.path(name)).unwrap_or_default();
        eventually(&format!("{name} contains {text}"), || read() == text);
    }
}

#[test]
fn each_script_of_the_documentation_loads() {
    let scripts = blocks().into_iter().filter(|(language, _)| *language == "luau").map(|(_, text)| text);
    let (mut list, mut files) = (String::new(), Vec::new());
    for (nth, script) in scripts.enumerate() {
        let hooks =
            Hook::ALL.iter().map(|hook| hook.as_str()).filter(|hook| script.contains(&format!("function {hook}(")));
        let hooks: Vec<_> = hooks.collect();
        assert!(!hooks.is_empty(), "no hook in {script}");
        list += &format!("[[plugin]]\nname = \"p{nth}\"\nkind = \"luau\"\npath = \"p{nth}.luau\"\nhooks = {hooks:?}\n");
        if hooks.contains(&"command") {
            list += &format!("[plugin.commands]\np{nth} = \"counts\"\n");
        }
        files.push((format!("p{nth}.luau"), script));
    }
    let mut files: Vec<_> = files.iter().map(|(path, script)| (path.as_str(), *script)).collect();
    files.push(("plugins.toml", &list));
    let server = TestServer::with_files(&files);
    let counter = files.iter().find(|(_, script)| script.contains("times")).expect("one script counts").0;
    let counter = counter.trim_end_matches(".luau");
    let mut alice = TestClient::login(&server, "alice");
    for times in 1..=2 {
        alice.send(&format!("/{counter}"));
        assert_eq!(alice.expect_line(), format!("* you were here {times} times"));
    }
    let mut bob = TestClient::login(&server, "bob");
    bob.expect(&format!("from {counter}: alice was here"));
}

#[test]
fn error_texts_match_the_documentation() {
    let (_, shown) = blocks()
        .into_iter()
        .find(|(_, text)| text.contains("cannot reload the plugins"))
        .expect("the page shows a failed reload");
    let (entry, script, _) = examples()[0];
    let server = TestServer::with_files(&[("plugins.toml", entry), ("echo.luau", script)]);
    server.write_file("echo.luau", &script.replace("\nend", "\n"));
    let log = server.reload();
    let mut rest = log.as_str();
    for part in shown.trim_end().split('…') {
        let place = rest.find(part).unwrap_or_else(|| panic!("`{part}` is not in {log}"));
        rest = &rest[place + part.len()..];
    }
}

#[test]
fn each_hook_and_each_limit_is_documented() {
    for hook in Hook::ALL.iter().map(|hook| hook.as_str()) {
        assert!(DOCUMENTATION.contains(&format!("`{hook}`")), "{hook}");
    }
    let kib = |bytes: usize| bytes / 1024;
    let mib = |bytes: u64| bytes / 1024 / 1024;
    let grouped = |number: usize| format!("{},{:03}", number / 1000, number % 1000);
    let rows = [
        format!("| plugins; commands of all of them | {PLUGINS_MAX}; {COMMANDS_MAX} |"),
        format!("| time for an answer | `timeout_ms`, {PLUGIN_TIMEOUT_MS_DEFAULT} ms |"),
        format!(
            "| memory of a script; its size | `memory_max`, {} MiB; {} KiB |",
            mib(SCRIPT_MEMORY_BYTES_DEFAULT),
            kib(SCRIPT_BYTES_MAX)
        ),
        format!("| a text that is answered or sent | {ANSWER_BYTES_MAX} bytes |"),
        format!("| effects of one call of a script | {EFFECTS_MAX}, {} KiB together |", kib(EFFECTS_BYTES_MAX)),
        format!("| lines that one call of a script logs | {SCRIPT_LOG_LINES_MAX} |"),
        format!(
            "| values that a plugin stores | {VALUES_MAX}; a key of 1 to {VALUE_KEY_BYTES_MAX} bytes, a value of {} KiB as JSON, {} MiB \
             together |",
            kib(VALUE_BYTES_MAX),
            mib(VALUES_BYTES_MAX as u64)
        ),
        format!("| a line of a program | {} KiB |", kib(JSON_LINE_BYTES_MAX)),
        format!("| calls in flight to a program | {PROCESS_CALLS_MAX} |"),
        format!("| settings of a program | {} KiB as JSON |", kib(PROCESS_SETTINGS_BYTES_MAX)),
        format!("| names and values in `env` | {} KiB together |", kib(PROCESS_ENVIRONMENT_BYTES_MAX)),
        format!(
            "| a table that a script returns | {} KiB, tables nested {VALUE_DEPTH_MAX} deep |",
            kib(SCRIPT_ANSWER_BYTES_MAX)
        ),
        format!("{PROCESS_USER_PROCESSES_DEFAULT} with a `user` of its own, else {PROCESS_SHARED_PROCESSES_DEFAULT} |"),
        format!(
            "| lines of standard error in the log | {PROCESS_ERROR_LINES_PER_S_MAX} a second, {} KiB each",
            kib(PROCESS_ERROR_LINE_BYTES_MAX)
        ),
        format!("| names in `away` | {AWAY_NAMES_MAX} |"),
        format!("| attempts of an observing call | {OBSERVATION_ATTEMPTS_MAX} |"),
        format!("| failures until a plugin is quarantined | {PLUGIN_FAILURES_MAX} within {PLUGIN_FAILURES_S} s |"),
        format!("(`join`, `leave`, `delivered`) | {}; the oldest are removed.", grouped(EVENTS_MAX)),
        format!("if it is done within {} s", PLUGIN_START_MS_MAX / 1000),
        format!("It has {} s |", PLUGIN_STOP_MS_MAX / 1000),
        format!("writes no line at all for {PROCESS_SILENCE_S_MAX} s"),
        format!("and SIGKILL {} s later", PROCESS_STOP_MS_MAX / 1000),
        format!("each an object of at most {} KiB", kib(JSON_LINE_BYTES_MAX)),
        format!("milliseconds that it may take for an answer, 1 to {PLUGIN_TIMEOUT_MS_MAX}"),
        format!("seconds between two ticks, 1 to {PLUGIN_TICK_S_MAX}"),
    ];
    for row in rows {
        assert!(DOCUMENTATION.contains(&row), "{row}");
    }
}

// Example in Rust: the test checks that each of its lines is in this file.

struct Echo;

impl Plugin for Echo {
    fn call(&self, call: Call) -> Pending<'_, Result<Answer, Failure>> {
        Box::pin(async move {
            match call {
                Call::Mail(mail) => {
                    let to = vec![Destination::Peer(mail.from)];
                    Ok(Answer { effects: vec![Effect::Send { id: None, to, text: mail.text }], ..Answer::default() })
                }
                _ => Ok(Answer::default()),
            }
        })
    }
}

fn embed(config: &holdline::config::Config) -> Result<(), Box<dyn std::error::Error>> {
    let mut server = Server::bind(config)?;
    server.add_plugin(PluginConfig::embedded(PeerName::parse("echo")?, &[Hook::Mail]), Box::new(Echo));
    server.run()?;
    Ok(())
}

#[test]
fn the_example_in_rust_compiles() {
    // Whether it also runs is a matter of tests/embedding.rs.
    let _: fn(&_) -> _ = embed;
    let (_, example) =
        blocks().into_iter().find(|(language, _)| *language == "rust").expect("the page has an example in Rust");
    let here: Vec<_> = include_str!("plugin_docs.rs").lines().map(str::trim).collect();
    for line in example.lines() {
        assert!(here.contains(&line.trim()), "not a line of this test: {line}");
    }
}
