//! A write-ahead log that was deleted, or not copied with its database. Owns what the server and `doctor` say, and what is in the database
//! file alone; never what happens to a log while the server runs.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use support::{TestClient, TestServer, eventually, flood, holdline, refusal};

/// Starts a server that was killed after it has stored 300 messages, with few of them in the database file.
fn crashed(toml: &str) -> TestServer {
    let mut server = TestServer::with_config(toml);
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(&flood("bob", 0..300, 100));
    alice.expect_nothing();
    server.kill();
    server
}

#[test]
fn server_without_the_log_of_a_crashed_one_refuses_until_the_log_is_back_or_the_loss_is_accepted() {
    let mut server = crashed("");
    let wal = wal_of(&server);
    let saved = wal.with_extension("saved");
    fs::rename(&wal, &saved).unwrap();
    let lock = server.data().join("holdline.lock");
    for _ in 0..2 {
        let line = refused(&server);
        let missing =
            "holdline.db lacks 300 messages: the newest that was stored has seq 300, and the newest in it seq 0";
        assert!(line.contains(missing), "{line}");
        let advice = format!("put that back, or remove {} to go on without them", lock.display());
        assert!(line.contains(&wal.display().to_string()) && line.trim_end().ends_with(&advice), "{line}");
        let (report, code) = doctor(&server.data());
        assert!(report.contains("problem: ") && report.contains(missing), "{report}");
        assert!(report.contains(&format!("\n    rm {}\n", lock.display())), "{report}");
        assert_eq!(code, Some(1), "{report}");
    }
    // An empty log is none, as after `: >holdline.db-wal`.
    fs::write(&wal, "").unwrap();
    assert!(refused(&server).contains("lacks 300 messages: "));
    fs::rename(&saved, &wal).unwrap();
    server.start_again();
    assert_eq!(server.sqlite("select count(*) from history"), "300");
    let before = identity(&server);

    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: more");
    alice.expect_nothing();
    server.kill();
    fs::remove_file(&wal).unwrap();
    assert!(refused(&server).contains("lacks 1 message: "));
    fs::remove_file(&lock).unwrap();
    server.start_again();
    assert_eq!(server.sqlite("select count(*) from history"), "300");
    assert_ne!(identity(&server), before, "programs may have seen the message whose seq is given again");
    assert!(server.terminate().success());
    assert_eq!(doctor(&server.data()).1, Some(0));
}

#[test]
fn database_file_has_the_schema_at_once_and_the_messages_once_the_server_is_idle() {
    let server = TestServer::start();
    let alone = tempfile::tempdir().unwrap();
    fs::set_permissions(alone.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let copy = alone.path().join("holdline.db");
    let count = || {
        fs::copy(server.database(), &copy).unwrap();
        let query = count_in(&copy);
        fs::remove_file(&copy).unwrap();
        query
    };
    eventually("the schema is in the file", || count().is_some());
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(&flood("bob", 0..300, 100));
    alice.expect_nothing();
    eventually("the messages are in the file", || count().as_deref() == Some("300"));

    fs::copy(server.database(), &copy).unwrap();
    let (report, code) = doctor(alone.path());
    let words = "holdline.db-wal is missing: if it was deleted or not copied, the messages after seq 300 are lost";
    assert!(report.contains("warning: no server has closed") && report.contains(words), "{report}");
    assert_eq!(code, Some(0), "{report}");
    let other = TestServer::with_data(alone.path(), "");
    other.wait_for_log(words);
    assert_ne!(identity(&other), identity(&server));
}

#[test]
fn healthy_databases_start_without_a_word() {
    // After a crash, and after a clean stop.
    let mut server = crashed("");
    server.start_again();
    server.restart();
    quiet(&server);
    // A backup that is put over the database of a crashed server.
    let backup = server.path("backup.db");
    let mut command = holdline();
    assert!(command.args(["backup", "--data"]).arg(server.data()).arg(&backup).status().unwrap().success());
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: after the backup");
    alice.expect_nothing();
    server.kill();
    let _ = fs::remove_file(wal_of(&server));
    fs::copy(&backup, server.database()).unwrap();
    server.start_again();
    quiet(&server);
    assert_eq!(server.sqlite("select count(*) from history"), "300");
    // With this, a power cut may take messages, and the log of a crashed server is no evidence.
    let mut server = crashed("durability = \"crash\"");
    fs::write(wal_of(&server), "").unwrap();
    server.start_again();
    quiet(&server);
}

#[test]
fn without_syncs_a_log_that_is_missing_is_a_warning() {
    let mut server = crashed("durability = \"crash\"");
    server.start_again();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: more");
    alice.expect_nothing();
    server.kill();
    fs::remove_file(wal_of(&server)).unwrap();
    let (report, code) = doctor(&server.data());
    assert!(
        report.contains("warning: no server has closed") && report.contains("the messages after seq 300 are lost"),
        "{report}"
    );
    assert_eq!(code, Some(0), "{report}");
    server.start_again();
    server.wait_for_log("the messages after seq 300 are lost");
}

#[test]
fn another_program_may_recover_the_database_of_a_crashed_server() {
    let mut server = crashed("");
    assert_eq!(server.sqlite_write("pragma wal_checkpoint(truncate)"), "0|0|0");
    let _ = fs::remove_file(wal_of(&server));
    server.start_again();
    assert_eq!(server.sqlite("select count(*) from history"), "300");
}

fn quiet(server: &TestServer) {
    TestClient::login(server, "carol").expect_nothing();
    assert!(!server.log().contains("WARN") && !server.log().contains("ERROR"), "{}", server.log());
}

/// Number of messages in a database file without its log; `None` if it has no schema.
fn count_in(database: &Path) -> Option<String> {
    let mut command = std::process::Command::new("sqlite3");
    command.arg(format!("file:{}?immutable=1", database.display())).arg("select count(*) from message");
    let output = command.output().expect("the sqlite3 shell is installed");
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

fn identity(server: &TestServer) -> String {
    server.sqlite("select database from identity")
}

fn wal_of(server: &TestServer) -> PathBuf {
    server.data().join("holdline.db-wal")
}

#[track_caller]
fn refused(server: &TestServer) -> String {
    refusal(holdline().args(["--listen", "127.0.0.1:0", "--data"]).arg(server.data()).current_dir(server.path("")))
}

/// Returns what `holdline doctor` prints, and its exit code.
fn doctor(data: &Path) -> (String, Option<i32>) {
    let output = holdline().args(["doctor", "--data"]).arg(data).stdout(Stdio::piped()).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}
