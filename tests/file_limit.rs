//! A limit of the size of files (`ulimit -f`), which ends a program that does not expect it. Owns that it is answered as a full disk is;
//! never a disk that is full.

mod support;

use std::fs;
use std::process::Stdio;

use support::{TestClient, TestServer, eventually, flood, holdline_with, installed, messages};

/// Blocks of 512 bytes that a file may have: 1 MiB.
const BLOCKS: u64 = 2048;

const PLUGINS: &str = r#"
[[plugin]]
name = "recorder"
kind = "process"
path = "recorder.sh"
"#;

/// Writes the signals that it ignores and blocks, then waits for the end of its input.
const RECORDER: &str =
    "#!/bin/sh\ngrep -E '^Sig(Ign|Blk)' /proc/self/status >signals.new\nmv signals.new signals\nexec cat >/dev/null";

/// Bit of SIGXFSZ in the masks of `/proc/PID/status`.
const XFSZ: u64 = 1 << 24;

#[test]
fn files_that_may_not_grow_refuse_messages_as_a_full_disk_does_and_nothing_accepted_is_lost() {
    let toml = "durability = \"crash\"\n[limits]\nmailbox_max = 0\n";
    let mut server = TestServer::with_file_limit(&[("holdline.toml", toml)], BLOCKS);
    let mut alice = TestClient::login(&server, "alice");
    let (mut accepted, mut refused) = (0, Vec::new());
    while refused.is_empty() {
        alice.send_bytes(&flood("bob", accepted..accepted + 1, 4000));
        refused = messages(&alice.ping()).into_iter().map(str::to_owned).collect();
        accepted += usize::from(refused.is_empty());
    }
    let words = "disk I/O error; a file may have 1.0 MiB here, see ulimit -f); not sent";
    assert!(refused[0].starts_with("! storage_full: ") && refused[0].ends_with(words), "{refused:?}");
    // The database file has most of them, so the write-ahead log was copied on the way.
    assert!(accepted > 200, "{accepted} were accepted");
    let read = |server: &TestServer| TestClient::login(server, "bob").read_flood("alice", accepted - 1);
    assert_eq!(read(&server), Vec::from_iter(0..accepted));
    assert!(server.terminate().success(), "{}", server.log());
    let other = TestServer::with_data(&server.data(), toml);
    assert_eq!(other.sqlite("select count(*) from history"), accepted.to_string());
    let mut alice = TestClient::login(&other, "alice");
    alice.send("bob: more");
    alice.expect_nothing();
}

/// A signal that is ignored stays so in the programs that a process starts.
#[cfg(target_os = "linux")]
#[test]
fn programs_of_plugins_end_at_the_limit_as_everywhere() {
    let files = [("plugins.toml", PLUGINS), ("recorder.sh", RECORDER)];
    let server = TestServer::with_file_limit(&files, BLOCKS);
    let file = server.path("signals");
    eventually("the program runs", || file.exists());
    let signals = fs::read_to_string(file).unwrap();
    let masks = Vec::from_iter(signals.lines().map(|line| u64::from_str_radix(line[7..].trim(), 16).unwrap()));
    assert!(masks.len() == 2 && masks.iter().all(|mask| mask & XFSZ == 0), "{signals}");
}

#[test]
fn backup_and_queue_say_that_a_file_may_not_grow() {
    let Some(_) = installed("sqlite3") else { return };
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(&flood("bob", 0..300, 4000));
    alice.expect_nothing();
    let copy = server.path("copy.db");
    let mut backup = holdline_with(&format!("-f {BLOCKS}"));
    backup.args(["backup", "--data"]).arg(server.data()).arg(&copy);
    let output = backup.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{} {stderr}", output.status);
    assert!(stderr.contains("disk"), "{stderr}");
    assert!(!copy.exists());

    let queue = server.path("queue");
    let mut code = Some(0);
    for number in 0..40 {
        let mut send = holdline_with("-f 128");
        send.args(["send", "--to=bob", "--queue"]).arg(&queue).arg(format!("{number} {}", "x".repeat(4000)));
        let output = send.stdout(Stdio::null()).output().unwrap();
        code = output.status.code();
        if code != Some(0) {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(code, Some(1), "{} {stderr}", output.status);
            assert!(stderr.contains("cannot use the queue in"), "{stderr}");
            break;
        }
    }
    assert_eq!(code, Some(1), "the limit is reached");
}
