//! A clock that jumps, as on devices without a battery: messages are in the order of `seq`, whatever the time is. Owns
//! the clock, by way of libfaketime. If `CI` is set it must be installed; otherwise the tests are skipped with a
//! message.

#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::json;
use support::{JsonClient, TestClient, TestServer, eventually, holdline, messages};
use tempfile::TempDir;

/// Clock that a test sets, and that runs on from there.
struct Clock {
    /// File in which libfaketime looks up the time at each call.
    file: PathBuf,
    library: PathBuf,
    _directory: TempDir,
}

impl Clock {
    /// `None`: the library is not installed.
    fn at(time: &str) -> Option<Self> {
        let library = installed_library()?;
        let directory = tempfile::tempdir().expect("a temporary directory can be created");
        let clock = Clock { file: directory.path().join("time"), library, _directory: directory };
        clock.set(time);
        Some(clock)
    }

    fn set(&self, time: &str) {
        // In one step: the server may look at any time.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("@{time}\n")).and_then(|()| fs::rename(&new, &self.file)).expect("a file of ours");
    }

    /// Starts a server with this clock. Times that it measures by the monotonic clock, such as timeouts, are not affected: that one
    /// does not jump on a real system either.
    fn server(&self) -> TestServer {
        self.server_with("")
    }

    /// Starts a server with this clock, and with this as `holdline.toml`.
    fn server_with(&self, toml: &str) -> TestServer {
        let text = |path: &PathBuf| path.to_str().expect("paths here are text").to_owned();
        let variables = [
            ("LD_PRELOAD", &*text(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE", &text(&self.file)),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("TZ", "UTC"),
        ];
        TestServer::with_files_and_environment(&[("holdline.toml", toml)], &variables)
    }
}

fn installed_library() -> Option<PathBuf> {
    // Debian and its kin have a directory for each architecture.
    let architectures = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let directories = ["/usr/lib".into(), "/usr/lib64".into()].into_iter().chain(architectures);
    let mut libraries = directories.map(|directory| directory.join("faketime/libfaketimeMT.so.1"));
    let library = libraries.find(|library| library.is_file());
    if library.is_none() {
        assert!(std::env::var_os("CI").is_none(), "libfaketime is not installed, and CI is to try every clock");
        eprintln!("skipped: libfaketime is not installed (Debian has it in the package faketime)");
    }
    library
}

/// Times in the order in which the clock shows them, and what is sent at each.
const JUMPS: [(&str, &str); 6] = [
    ("2026-11-23 20:00:30", "in the present"),
    ("2020-01-01 00:00:30", "six years ago"),
    ("1970-01-01 00:00:30", "in the beginning"),
    ("1960-01-01 00:00:30", "before it"),
    ("2037-12-31 23:59:30", "far ahead"),
    ("2026-11-23 20:00:30", "in the present again"),
];

/// Returns the texts of [`JUMPS`] as a reader gets them.
fn read_by_bob() -> Vec<String> {
    JUMPS.iter().map(|(_, text)| format!("from alice: {text}")).collect()
}

#[test]
fn live_messages_arrive_in_the_order_sent_whatever_the_clock_shows() {
    let Some(clock) = Clock::at(JUMPS[0].0) else { return };
    let server = clock.server();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    for (time, text) in JUMPS {
        clock.set(time);
        alice.send(&format!("bob: {text}"));
        bob.expect(&format!("from alice: {text}"));
        server.wait_until_delivered("bob");
        // To the minute; what is before 1970 is shown as its beginning.
        let at = server.sqlite("select at from history order by seq desc limit 1");
        let expected = time.replace(' ', "T").replace("1960", "1970");
        assert_eq!(at[..16], expected[..16], "the server has another clock");
    }
    alice.expect_nothing();
    // No message arrives twice.
    bob.quit();
    TestClient::login(&server, "bob").expect_nothing();
}

#[test]
fn replays_histories_and_views_are_in_the_order_of_seq() {
    let Some(clock) = Clock::at(JUMPS[0].0) else { return };
    let mut server = clock.server();
    let mut alice = TestClient::login(&server, "alice");
    for (time, text) in JUMPS {
        clock.set(time);
        alice.send(&format!("bob: {text}"));
        alice.ping();
    }
    let to_bob = JUMPS.map(|(_, text)| format!("to bob: {text}"));
    assert_eq!(alice.history(""), to_bob);
    assert_eq!(alice.history("bob 2"), to_bob[4..]);
    let texts = JUMPS.map(|(_, text)| text).join("\n");
    assert_eq!(server.sqlite("select text from history order by seq"), texts);
    assert_eq!(server.sqlite("select text from waiting where recipient = 'bob' order by seq"), texts);
    assert_eq!(printed_history(&server), JUMPS.map(|(_, text)| text));

    // A start at the beginning of time, as without a battery, before the network sets the time.
    clock.set("1970-01-01 00:00:30");
    server.restart();
    assert_eq!(messages(&TestClient::login(&server, "bob").ping()), read_by_bob());
}

/// Returns the texts that `holdline history` prints, under a clock of its own.
fn printed_history(server: &TestServer) -> Vec<String> {
    let mut command = holdline();
    command.args(["history", "--data"]).arg(server.data()).stdout(Stdio::piped());
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let text = |line: &str| line.split_once(": ")?.1.split_once("  (").map(|(text, _)| text.to_owned());
    printed.lines().map(|line| text(line).unwrap_or_else(|| panic!("no message: `{line}`"))).collect()
}

#[test]
fn crash_and_restart_in_1970_change_nothing() {
    let Some(clock) = Clock::at(JUMPS[0].0) else { return };
    let mut server = clock.server();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send("bob: read in 2026");
    bob.expect("from alice: read in 2026");
    server.wait_until_delivered("bob");
    bob.quit();
    server.wait_until_gone("bob");
    alice.send("bob: kept in 2026");
    alice.ping();

    clock.set("1970-01-01 00:00:30");
    server.kill();
    server.start_again();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: kept in 1970");
    alice.ping();
    let mut bob = TestClient::login(&server, "bob");
    assert_eq!(messages(&bob.ping()), ["from alice: kept in 2026", "from alice: kept in 1970"]);
    server.wait_until_delivered("bob");

    clock.set("2026-11-23 21:00:00");
    alice.send("bob: when the network came");
    bob.expect("from alice: when the network came");
    server.wait_until_delivered("bob");
    server.restart();
    TestClient::login(&server, "bob").expect_nothing();
    let seqs = "select group_concat(seq) from (select seq from history order by seq)";
    assert_eq!(server.sqlite(seqs), "1,2,3,4");
}

#[test]
fn starts_with_a_clock_that_is_years_ahead_remove_no_history() {
    let Some(clock) = Clock::at(JUMPS[0].0) else { return };
    let mut server = clock.server_with("[retention]\nmax_age = \"90 days\"\n");
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send("bob: read in 2026");
    bob.expect("from alice: read in 2026");
    server.wait_until_delivered("bob");
    for _ in 0..2 {
        clock.set("2031-12-01 10:00:00");
        server.restart();
        let removal_waits = "max_age removes no message by this time until the server has run for 6 hours with it";
        eventually("the retention has scanned the log", || server.log().contains(removal_waits));
        let mut alice = TestClient::login(&server, "alice");
        alice.send("alice: written with the wrong clock");
        alice.expect("from alice: written with the wrong clock");
        alice.ping();
    }
    assert_eq!(server.sqlite("select text from history where seq = 1"), "read in 2026");
    assert_eq!(server.sqlite("select count(*) from history"), "3");
}

/// Sends a message with an id. Returns the `seq` with which it is accepted.
fn send_with_id(server: &TestServer, id: &str) -> i64 {
    let mut sensor = JsonClient::login(server, "sensor");
    sensor.send(json!({"type": "send", "id": id, "to": ["bob"], "text": "once"}));
    sensor.expect("accepted")["seq"].as_i64().unwrap()
}

#[test]
fn ids_are_remembered_across_decades_of_the_clock_and_for_thirty_days_of_running_time() {
    let Some(clock) = Clock::at("1970-01-01 00:00:30") else { return };
    let mut server = clock.server();
    assert_eq!(send_with_id(&server, "boot"), 1);
    clock.set("2026-12-01 10:00:00");
    assert_eq!((send_with_id(&server, "other"), send_with_id(&server, "boot")), (2, 1));
    clock.set("2031-12-01 10:00:00");
    server.restart();
    assert_eq!((send_with_id(&server, "another"), send_with_id(&server, "boot")), (3, 1));

    for (days, seq) in [(29, 1), (31, 6)] {
        server.terminate();
        server.sqlite_write(&format!("update running set seconds = {days} * 86400"));
        server.start_again();
        send_with_id(&server, &format!("after {days} days"));
        assert_eq!(send_with_id(&server, "boot"), seq, "after {days} days");
    }
}
