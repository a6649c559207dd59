//! Databases that are restored, copied or replaced while clients go on: the `seq` of one means nothing in another, and nothing is lost. Owns the
//! identity of the database as its users see it; never checks how messages are delivered otherwise.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::Value;
use support::{JsonClient, Output, Program, TestClient, TestServer, eventually, holdline, installed, wait_for_exit};
use tempfile::TempDir;

/// Words of a client whose server has another database.
const REPLACED: &str = "holdline: the server has another database than before: it was restored, copied or started anew";

/// Sends numbered messages to lamp: `old 1`, `old 2`.
fn say(server: &TestServer, words: &str, count: usize) {
    let mut alice = TestClient::login(server, "alice");
    (1..=count).for_each(|n| alice.send(&format!("lamp: {words} {n}")));
    alice.ping();
}

fn lines(words: &str, count: usize) -> String {
    (1..=count).map(|n| format!("from alice: {words} {n}\n")).collect()
}

fn identity(server: &TestServer) -> String {
    server.sqlite("select database from identity")
}

/// Makes a backup in a directory of its own.
fn back_up(server: &TestServer) -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let backup = home.path().join("backup.db");
    let status = holdline().arg("backup").arg("--data").arg(server.data()).arg(&backup).status().unwrap();
    assert!(status.success());
    (home, backup)
}

/// Restores a backup as docs/database.md says, and starts the server again.
fn restore(server: &mut TestServer, backup: &Path) {
    server.terminate();
    fs::remove_dir_all(server.data()).unwrap();
    create_private(&server.data());
    fs::copy(backup, server.database()).unwrap();
    server.start_again_in_place();
}

fn create_private(directory: &Path) {
    fs::create_dir(directory).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
}

/// `holdline tail` or `holdline send`, with what it writes.
struct Client {
    process: Child,
    stdout: Arc<Output>,
    stderr: Arc<Output>,
}

impl Client {
    fn start(server: &TestServer, subcommand: &str, name: &str, arguments: &[&str]) -> Self {
        let mut command = holdline();
        command.args([subcommand, &format!("--as={name}"), &format!("--server={}", server.address())]).args(arguments);
        let mut process = command.stdout(Stdio::piped()).stdin(Stdio::piped()).spawn().unwrap();
        let stdout = Output::of(process.stdout.take().unwrap());
        let stderr = Output::of(process.stderr.take().unwrap());
        Client { process, stdout, stderr }
    }

    fn tail(server: &TestServer, arguments: &[&str]) -> Self {
        Self::start(server, "tail", "lamp", arguments)
    }

    #[track_caller]
    fn expect_printed(&self, expected: &str) {
        let printed = self.stdout.wait_until(|text| text.len() >= expected.len());
        assert_eq!(printed, expected, "{}", self.stderr.text());
    }

    /// Waits until it ends by itself. Returns its exit code, and what it wrote to standard error.
    fn finish(mut self) -> (Option<i32>, String) {
        let status = wait_for_exit(&mut self.process);
        (status.code(), self.stderr.wait_until(|_| false))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn tail_prints_what_a_restored_server_gets_although_it_has_seen_the_numbers() {
    let mut server = TestServer::start();
    say(&server, "before", 2);
    let (_home, backup) = back_up(&server);
    let tail = Client::tail(&server, &[]);
    say(&server, "after", 4);
    tail.expect_printed(&(lines("before", 2) + &lines("after", 4)));
    restore(&mut server, &backup);
    say(&server, "new", 5);
    // The backup does not know that the first two were delivered.
    let expected = lines("before", 2) + &lines("after", 4) + &lines("before", 2) + &lines("new", 5);
    tail.expect_printed(&expected);
    server.wait_until_delivered("lamp");
    let stderr = tail.stderr.text();
    assert!(stderr.contains(&format!("{REPLACED}; printing all that waits\n")), "{stderr}");
}

#[test]
fn tail_prints_what_a_server_with_a_new_directory_gets() {
    let mut server = TestServer::start();
    let tail = Client::tail(&server, &[]);
    say(&server, "old", 4);
    tail.expect_printed(&lines("old", 4));
    server.terminate();
    fs::remove_dir_all(server.data()).unwrap();
    server.start_again_in_place();
    say(&server, "new", 5);
    tail.expect_printed(&(lines("old", 4) + &lines("new", 5)));
    server.wait_until_delivered("lamp");
}

#[test]
fn restart_or_move_changes_no_identity_and_repeats_nothing() {
    for durability in ["power-loss", "crash"] {
        let mut server = TestServer::with_config(&format!("durability = \"{durability}\"\n"));
        let before = identity(&server);
        let tail = Client::tail(&server, &[]);
        say(&server, "old", 3);
        tail.expect_printed(&lines("old", 3));
        server.kill();
        server.start_again_in_place();
        server.terminate();
        let moved = server.data().with_extension("moved");
        fs::rename(server.data(), &moved).unwrap();
        fs::rename(moved, server.data()).unwrap();
        server.start_again_in_place();
        say(&server, "new", 1);
        tail.expect_printed(&(lines("old", 3) + &lines("new", 1)));
        assert_eq!(identity(&server), before);
    }
}

#[test]
fn restart_of_the_system_changes_the_identity_if_commits_may_be_lost() {
    for (durability, is_renewed) in [("power-loss", false), ("crash", true)] {
        let mut server = TestServer::with_config(&format!("durability = \"{durability}\"\n"));
        let before = identity(&server);
        server.restart();
        assert_eq!(identity(&server), before);
        server.terminate();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let other_boot = format!("update identity set file = replace(file, '{}', 'another')", boot.trim());
        server.sqlite_write(&other_boot);
        server.start_again();
        assert_eq!(identity(&server) != before, is_renewed, "{durability}");
    }
}

#[test]
fn copies_of_a_database_have_identities_of_their_own() {
    let mut server = TestServer::start();
    say(&server, "old", 1);
    let original = identity(&server);
    let (home, backup) = back_up(&server);
    server.terminate();
    let copy = |from: &Path, name: &str| {
        let data = home.path().join(name);
        create_private(&data);
        fs::copy(from, data.join("holdline.db")).unwrap();
        TestServer::with_data(&data, "")
    };
    let copies = [copy(&backup, "one"), copy(&backup, "two"), copy(&server.database(), "three")];
    let mut identities = Vec::from_iter(copies.iter().map(identity));
    // A backup over the file, which keeps its number.
    fs::copy(&backup, server.database()).unwrap();
    server.start_again();
    identities.extend([identity(&server), original]);
    identities.sort();
    identities.dedup();
    assert_eq!(identities.len(), 5);
}

#[test]
fn identity_that_somebody_wrote_by_hand_is_replaced() {
    let mut server = TestServer::start();
    for damage in ["delete from identity", "update identity set database = 'mine'", "update identity set file = 1"] {
        server.terminate();
        server.sqlite_write(damage);
        server.start_again();
        assert_eq!(server.sqlite("select count(*), max(length(database)) from identity"), "1|32", "{damage}");
    }
}

#[test]
fn position_beyond_the_newest_message_skips_nothing() {
    let server = TestServer::start();
    say(&server, "old", 3);
    let tail = Client::tail(&server, &["--after=500", "--count=3"]);
    tail.expect_printed(&lines("old", 3));
    let (code, stderr) = tail.finish();
    let words = "holdline: seq 500 is beyond the newest message of the server, 3: its database was restored or started anew; printing all that waits\n";
    assert_eq!((code, stderr.as_str()), (Some(0), words));
    server.wait_until_delivered("lamp");
}

#[test]
fn position_counts_only_in_its_database() {
    let server = TestServer::start();
    let database = identity(&server);
    say(&server, "old", 3);
    let tail = Client::tail(&server, &[&format!("--after={database}:2"), "--count=1"]);
    tail.expect_printed("from alice: old 3\n");
    assert_eq!(tail.finish(), (Some(0), String::new()));
    say(&server, "new", 3);
    let other = "0".repeat(32);
    let tail = Client::tail(&server, &[&format!("--after={other}:5"), "--count=3"]);
    tail.expect_printed(&lines("new", 3));
    assert_eq!(tail.finish(), (Some(0), format!("{REPLACED}; printing all that waits\n")));
    for bad in ["--after=x:1", "--after=:1", &format!("--after={other}:"), &format!("--after={other}:-1"), "--after=-1"]
    {
        let (code, stderr) = Client::tail(&server, &[bad]).finish();
        assert_eq!((code, stderr.lines().count()), (Some(2), 1), "{bad}: {stderr}");
    }
}

#[test]
fn printed_json_says_which_database_its_seq_belongs_to() {
    let server = TestServer::start();
    say(&server, "a \"}\"", 1);
    let mut tail = Client::tail(&server, &["--json", "--count=1"]);
    assert!(wait_for_exit(&mut tail.process).success());
    let line = tail.stdout.wait_until(|_| false);
    let message: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(message["database"], identity(&server));
    assert_eq!((&message["seq"], &message["text"]), (&1.into(), &"a \"}\" 1".into()));
    // The command of docs/programs.md.
    let sed = r#"s/.*"seq":([0-9]+).*"database":"([0-9a-f]+)".*/\2:\1/"#;
    let mut sed = Program::start(Command::new("sed").args(["-E", sed]));
    sed.write(&line);
    assert_eq!(sed.wait(), format!("{}:1\n", identity(&server)));
}

/// The client of docs/programs.md, which stores what it knows in the environment of the test.
#[test]
fn client_of_the_documentation_takes_what_a_restored_server_gets() {
    let Some(python) = installed("python3") else { return };
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/programs.md")).unwrap();
    let (_, client) = page.split_once("```python\n").unwrap();
    let (client, _) = client.split_once("```").unwrap();
    let mut server = TestServer::start();
    let (_home, backup) = back_up(&server);
    let run = |server: &TestServer, known: &str, count: usize| {
        let client = client.replace("database, seen = None, 0 ", &format!("database, seen = {known} "));
        let client = client.replace("7878", &server.address().port().to_string()).replace("robot", "lamp");
        assert!(client.contains(known), "{client}");
        let mut program = Program::start(Command::new(python).args(["-u", "-c", &client]));
        (1..=count).for_each(|n| program.expect(&format!("message {n}"), |line| line.ends_with(&format!(" {n}"))));
        let replies = format!("{count}");
        let replied = "select count(*) from history where sender = 'lamp' and text = 'done' and recipients = 'alice'";
        eventually("each message has its reply", || server.sqlite(replied) == replies);
        server.wait_until_delivered("lamp");
    };
    say(&server, "old", 4);
    run(&server, "None, 0", 4);
    let known = format!("\"{}\", 7", identity(&server));
    restore(&mut server, &backup);
    say(&server, "new", 3);
    run(&server, &known, 3);
}

#[test]
fn queue_sends_to_a_restored_server_what_the_old_one_had_not_accepted() {
    let mut server = TestServer::start();
    let home = tempfile::tempdir().unwrap();
    let queue = home.path().join("queue");
    let put = |text: &str| {
        let status = holdline().args(["send", "--to=lamp", text, "--queue"]).arg(&queue).status().unwrap();
        assert!(status.success());
    };
    let (_backups, backup) = back_up(&server);
    put("one");
    let drain = Client::start(&server, "send", "motion", &["--drain", queue.to_str().unwrap()]);
    eventually("the first message is sent", || server.sqlite("select count(*) from history") == "1");
    let left = || query_queue(&queue, "select count(*) from queued");
    eventually("the first message leaves the queue", || left() == "0");
    server.terminate();
    put("two");
    server.start_again_in_place();
    eventually("the second message leaves the queue", || left() == "0");
    restore(&mut server, &backup);
    put("three");
    eventually("the third message leaves the queue", || left() == "0");
    assert_eq!(server.sqlite("select text from history"), "three");
    let stderr = drain.stderr.text();
    assert!(
        stderr.contains(&format!("{REPLACED}, and may lack the 2 lines that it had accepted, which left the queue\n")),
        "{stderr}"
    );
}

fn query_queue(queue: &Path, sql: &str) -> String {
    let output =
        Command::new("sqlite3").args(["-cmd", ".timeout 5000"]).arg(queue.join("queue.db")).arg(sql).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn send_says_what_a_restored_server_may_lack_and_a_repetition_sends_only_that() {
    let mut server = TestServer::start();
    let home = tempfile::tempdir().unwrap();
    let mut send = Client::start(&server, "send", "alice", &["--to=lamp", "--id=batch"]);
    let mut input = send.process.stdin.take().unwrap();
    let mut write = |line: &str| std::io::Write::write_all(&mut input, line.as_bytes()).unwrap();
    let sent = |server: &TestServer, count: &str| {
        eventually("the line is accepted", || server.sqlite("select count(*) from history") == count);
    };
    write("one\n");
    sent(&server, "1");
    let backup = home.path().join("backup.db");
    assert!(holdline().arg("backup").arg("--data").arg(server.data()).arg(&backup).status().unwrap().success());
    write("two\n");
    sent(&server, "2");
    restore(&mut server, &backup);
    write("three\n");
    sent(&server, "2");
    drop(input);
    let (code, stderr) = send.finish();
    assert_eq!(code, Some(1), "{stderr}");
    let words = "and may lack the 2 lines that it had accepted; run this again with --id=batch and the same input: only what it lacks is sent\n";
    assert_eq!(stderr, format!("{REPLACED}, {words}"));

    let mut again = Client::start(&server, "send", "alice", &["--to=lamp", "--id=batch"]);
    std::io::Write::write_all(&mut again.process.stdin.take().unwrap(), b"one\ntwo\nthree\n").unwrap();
    assert_eq!(again.finish(), (Some(0), String::new()));
    assert_eq!(server.sqlite("select text from history order by seq"), "one\nthree\ntwo");
}

#[test]
fn welcome_tells_the_identity_and_the_newest_message() {
    let mut server = TestServer::start();
    let mut lamp = JsonClient::connect(&server);
    let welcome = lamp.log_in("lamp", true);
    assert_eq!((&welcome["database"], &welcome["newest"]), (&identity(&server).into(), &0.into()));
    say(&server, "old", 3);
    server.restart();
    let again = JsonClient::connect(&server).log_in("lamp", true);
    assert_eq!((&again["database"], &again["newest"]), (&welcome["database"], &3.into()));
}

#[test]
fn doctor_shows_the_identity_and_recognises_copies() {
    let mut server = TestServer::start();
    let (_home, backup) = back_up(&server);
    let doctor = |data: &Path| {
        let output = holdline().arg("doctor").arg("--data").arg(data).stdout(Stdio::piped()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let identity = identity(&server);
    let found = doctor(&server.data());
    assert!(found.contains(&format!("\nok: the identity of the database is {identity}\n")), "{found}");
    server.terminate();
    let copy = server.data().with_extension("copy");
    create_private(&copy);
    fs::copy(server.database(), copy.join("holdline.db")).unwrap();
    let found = doctor(&copy);
    assert!(found.contains(&format!("\nok: the database is a copy of {identity}")), "{found}");
    fs::copy(backup, copy.join("holdline.db")).unwrap();
    let found = doctor(&copy);
    assert!(found.contains("\nnote: the database has no identity, like a backup"), "{found}");
    assert!(found.ends_with("\nall is well\n"), "{found}");
}
