//! Plugins that misbehave: the chat continues around each of them. Owns the effect on the chat; never the texts in the
//! log.

mod support;

use std::fs;
use std::path::PathBuf;

use support::{TestClient, TestServer, eventually, forget_peak, peak_kib, resident_kib};

/// A server with one program, `p`.
fn with_program(hooks: &str, more: &str, script: &str) -> TestServer {
    let entry = format!("[[plugin]]\nname = \"p\"\nkind = \"process\"\npath = \"p.sh\"\nhooks = [{hooks}]\n{more}\n");
    TestServer::with_files(&[("plugins.toml", &entry), ("p.sh", &format!("#!/bin/sh\n{script}\n"))])
}

/// Checks that a message is sent and read.
#[track_caller]
fn exchange(client: &mut TestClient, text: &str) {
    client.send(&format!("alice: {text}"));
    assert_eq!(client.next_message(), format!("from alice: {text}"));
}

/// Returns the process whose number the program wrote into this file.
#[track_caller]
fn process(server: &TestServer, file: &str) -> PathBuf {
    let mut pid = String::new();
    eventually("the program has logged in", || {
        pid = fs::read_to_string(server.path(file)).unwrap_or_default();
        pid.ends_with('\n')
    });
    PathBuf::from(format!("/proc/{}", pid.trim()))
}

#[test]
fn plugin_that_hangs_slows_only_its_clients_and_is_quarantined() {
    let server = with_program("\"message\"", "timeout_ms = 100", "echo $$ > pid; exec sleep 1000");
    let program = process(&server, "pid");
    let mut alice = TestClient::login(&server, "alice");
    for nth in 0..10 {
        exchange(&mut alice, &nth.to_string());
    }
    server.wait_for_log("no answer to message within 100 ms (timeout_ms)");
    server.wait_for_log("quarantined after");
    eventually("the program is killed", || !program.exists());
    exchange(&mut alice, "at once");
}

#[test]
fn clients_without_hooks_are_not_delayed_by_a_plugin_that_hangs() {
    let commands = "timeout_ms = 60000\n[plugin.commands]\nhang = \"never answers\"";
    let server = with_program("\"command\"", commands, "exec sleep 1000");
    let mut bob = TestClient::login(&server, "bob");
    bob.send("/hang");
    let mut alice = TestClient::login(&server, "alice");
    for nth in 0..100 {
        exchange(&mut alice, &nth.to_string());
    }
}

#[test]
fn plugin_that_floods_its_output_delays_no_other_client() {
    for flood in [r#"yes '{"type":"who"}'"#, "yes garbage", "cat /dev/zero", "yes garbage >&2"] {
        let server = with_program("", "", &format!("exec {flood}"));
        let mut alice = TestClient::login(&server, "alice");
        for nth in 0..200 {
            exchange(&mut alice, &nth.to_string());
        }
        let resident = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let resident = resident.lines().find(|line| line.starts_with("VmHWM:")).unwrap().to_owned();
        let kib: u64 = resident.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(kib < 100 * 1024, "{flood}: {resident}");
    }
}

#[test]
fn plugin_with_invalid_answers_is_skipped() {
    let server = with_program("\"message\"", "timeout_ms = 200", r#"while read -r line; do echo '{"id":1}'; done"#);
    let mut alice = TestClient::login(&server, "alice");
    exchange(&mut alice, "hi");
    server.wait_for_log("plugin p: ");
    let server = with_program(
        "\"message\"",
        "on_failure = \"reject\"",
        r#"jq --unbuffered -c '{id, answer: "x", reject: "y"}'"#,
    );
    let mut alice = TestClient::login(&server, "alice");
    alice.send("alice: hi");
    assert_eq!(alice.next_message(), "! rejected: the plugin does not answer; try again later (p); not sent");
    server.wait_for_log("the answer to message has two verdicts");
}

#[test]
fn late_answer_is_not_taken_for_the_answer_to_the_next_call() {
    // The program answers each call when the next one comes.
    let script = r#"
        last=
        while read -r line; do
            id=${line#*'"id":"'}
            id=${id%%'"'*}
            [ -z "$last" ] || echo '{"id":"'$last'","text":"late"}'
            last=$id
        done"#;
    let server = with_program("\"message\"", "timeout_ms = 100", script);
    let mut alice = TestClient::login(&server, "alice");
    for nth in 0..4 {
        exchange(&mut alice, &nth.to_string());
    }
}

#[test]
fn plugin_that_dies_in_the_middle_of_a_line_is_restarted() {
    let script = r#"[ -e again ] && exec jq --unbuffered -c '{id, text: "back"}'; touch again; read -r line; printf '{"id":"1","te'; exit 3"#;
    let server = with_program("\"message\"", "", script);
    let mut alice = TestClient::login(&server, "alice");
    exchange(&mut alice, "hi");
    server.wait_for_log("exit status 3");
    eventually("the program is restarted", || {
        alice.send("alice: and now?");
        alice.next_message() == "from alice: back"
    });
}

#[test]
fn command_of_a_program_that_ends_fails_and_plugins_shows_why() {
    let commands = "timeout_ms = 60000\n[plugin.commands]\ndisk = \"how full it is\"";
    let server = with_program("\"command\"", commands, "read -r line; rm p.sh; exit 3");
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/disk");
    let reason = "/disk failed; the log of the server has the reason";
    assert_eq!(alice.next_message(), format!("! rejected: {reason} (p); it may have been carried out"));
    server.wait_for_log("the program ended with exit status 3; restarting");
    server.wait_for_log("the program could not be started");
    let reason = "/disk failed, because its plugin does not run at the moment; try again later";
    eventually("the asker is told", || {
        alice.send("/disk");
        alice.next_message() == format!("! rejected: {reason} (p); nothing was done")
    });
    eventually("the state is shown", || {
        alice.send("/plugins");
        let state = alice.expect_line();
        state.starts_with("* p (process, command): restarts in ")
            && state.contains(" s: the program could not be started: No such file or directory")
            && state.ends_with("failures within 600 s")
    });
}

#[test]
fn command_of_a_script_that_fails_has_done_nothing() {
    let script = "function command(c) chat.send('alice', 'hi') store.set('k', 1) error('secret') end";
    let entry = "[[plugin]]\nname = \"p\"\nkind = \"luau\"\npath = \"p.luau\"\nhooks = [\"command\"]\n[plugin.commands]\nx = \"x\"\n";
    let server = TestServer::with_files(&[("plugins.toml", entry), ("p.luau", script)]);
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/x");
    let reason = "/x failed; the log of the server has the reason";
    assert_eq!(alice.next_message(), format!("! rejected: {reason} (p); nothing was done"));
    server.wait_for_log("command failed: ");
}

#[test]
fn child_processes_end_with_their_plugin() {
    let script = "sleep 1000 & echo $! > child; sleep 1000 & echo $$ > pid; read -r line; exit 1";
    let server = with_program("\"message\"", "", script);
    let child = process(&server, "child");
    let mut alice = TestClient::login(&server, "alice");
    assert!(child.exists());
    exchange(&mut alice, "hi");
    eventually("the forked process has ended", || !child.exists());
    exchange(&mut alice, "ho");
}

#[test]
fn plugin_that_uses_too_much_memory_is_stopped_at_its_limit() {
    let script = "read -r line; x=x; while :; do x=$x$x; done";
    let server = with_program("\"message\"", "memory_max = \"64 MB\"", script);
    let mut alice = TestClient::login(&server, "alice");
    exchange(&mut alice, "hi");
    server.wait_for_log("restarting in");
    exchange(&mut alice, "ho");
}

#[test]
fn killed_server_leaves_no_plugin_processes() {
    let script = "trap '' TERM HUP; exec <&-; echo $$ > pid; while :; do sleep 0.05; done";
    let mut server = with_program("", "", script);
    let program = process(&server, "pid");
    server.kill();
    eventually("the program has ended with its server", || !program.exists());
}

#[test]
fn stopped_server_leaves_no_plugin_processes_even_if_they_ignore_signals() {
    let script = "trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done";
    let mut server = with_program("", "", script);
    let program = process(&server, "pid");
    assert_eq!(server.terminate().code(), Some(0));
    assert!(!program.exists());
}

#[test]
fn script_that_uses_too_much_memory_or_never_ends_is_stopped_at_its_limits() {
    let script = r#"
        function message(m)
            if m.text == "eat" then local t = {} while true do table.insert(t, string.rep("x", 100000) .. #t) end end
            if m.text == "match" then string.rep("a", 40):find(string.rep("a?", 40) .. string.rep("a", 40)) end
            if m.text == "deep" then local function f() return 1 + f() end f() end
        end
    "#;
    let entry =
        "[[plugin]]\nname = \"p\"\nkind = \"luau\"\npath = \"p.luau\"\nhooks = [\"message\"]\ntimeout_ms = 200\n";
    let server = TestServer::with_files(&[("plugins.toml", entry), ("p.luau", script)]);
    let mut alice = TestClient::login(&server, "alice");
    for (text, reason) in [("eat", "(memory_max)"), ("match", "200 ms (timeout_ms)"), ("deep", "overflow")] {
        exchange(&mut alice, text);
        server.wait_for_log(reason);
    }
    exchange(&mut alice, "fine");
}

/// Each would copy 100 MB or more out of a VM of 16 MiB.
const LARGE: [(&str, &str); 11] = [
    ("a string that is returned many times", "return { to = table.create(25, huge) }"),
    ("a table of many entries", "return { to = table.create(6e5, '') }"),
    ("a table nested deeply", "local t = huge for _ = 1, 1e5 do t = { to = t } end return t"),
    ("a key", "return { [huge] = huge }"),
    ("an error", "error(huge)"),
    ("an error that describes itself", "error(setmetatable({}, { __tostring = function() return huge end }))"),
    ("log lines", "for _ = 1, 30 do log(huge) end"),
    ("a stored value", "store.set('k', table.create(25, huge))"),
    ("recipients", "chat.send(table.create(25, huge), 'x')"),
    ("options", "chat.history({ with = huge })"),
    ("texts", "for _ = 1, 25 do pcall(chat.send, 'bob', huge) pcall(store.set, huge, huge) end error('done')"),
];

#[test]
fn script_copies_nothing_large_out_of_its_memory() {
    for (what, body) in LARGE {
        let script =
            format!("local huge = ('x'):rep(5e6)\nfunction message(m) if m.text ~= 'go' then return end {body} end");
        let entry =
            "[[plugin]]\nname = \"p\"\nkind = \"luau\"\npath = \"p.luau\"\nhooks = [\"message\"]\ntimeout_ms = 5000\n";
        let server = TestServer::with_files(&[("plugins.toml", entry), ("p.luau", &script)]);
        let mut alice = TestClient::login(&server, "alice");
        exchange(&mut alice, "calm");
        forget_peak(&server);
        let calm = resident_kib(&server);
        exchange(&mut alice, "go");
        let added = peak_kib(&server).saturating_sub(calm);
        // The script itself may use 16 MiB, and has taken 5 of them before.
        assert!(added < 16 * 1024, "{what}: {added} KiB beyond {calm} KiB");
        exchange(&mut alice, "calm");
    }
}
