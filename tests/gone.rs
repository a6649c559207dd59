//! Files of the database that are removed, moved or replaced while the server has them open. Owns what is refused, what is found later, and
//! what the server leaves alone; never a disk that fails.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use support::{TestClient, TestServer, flood, holdline, messages};

const REFUSAL: &str = "! internal: a file of the server's database was removed, moved or replaced; not sent";
const UNKNOWN: &str =
    "! internal: a file of the server's database was removed, moved or replaced while this was stored; it may be lost";

#[test]
fn server_whose_directory_was_removed_refuses_says_so_once_and_recreates_nothing() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: before");
    alice.expect_nothing();
    fs::remove_dir_all(server.data()).unwrap();
    for _ in 0..3 {
        alice.send("bob: after");
        assert_eq!(messages(&alice.ping()), [REFUSAL]);
    }
    let mut carol = TestClient::login(&server, "carol");
    carol.send("/join #room");
    assert_eq!(carol.next_message(), REFUSAL.replace("not sent", "not joined"));
    assert_eq!(server.terminate().code(), Some(1), "{}", server.log());
    // The end of its output may be on its way.
    server.wait_for_log("all that was accepted");
    let (log, path) = (server.log(), server.database());
    let named =
        format!("{} was removed, moved or replaced while the server had it open (nothing is there)", path.display());
    let errors = Vec::from_iter(log.lines().filter(|line| line.contains(" ERROR ")));
    assert_eq!(errors.len(), 1, "{log}");
    assert!(
        errors[0].contains(&named) && errors[0].ends_with("move it back, or stop the server and restore a backup"),
        "{log}"
    );
    assert!(log.lines().last().unwrap().starts_with(&format!("holdline: {named}; all that was accepted")), "{log}");
    assert!(!server.data().exists());
}

#[test]
fn server_goes_on_once_its_directory_is_moved_back() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: 1");
    alice.expect_nothing();
    for number in 2..4 {
        let away = moved_away(&server);
        alice.send("bob: never");
        assert_eq!(messages(&alice.ping()), [REFUSAL]);
        fs::rename(away, server.data()).unwrap();
        alice.send(&format!("bob: {number}"));
        alice.expect_nothing();
    }
    assert_eq!(server.terminate().code(), Some(0), "{}", server.log());
    server.start_again();
    let mut bob = TestClient::login(&server, "bob");
    (1..4).for_each(|number| bob.expect(&format!("from alice: {number}")));
    bob.expect_nothing();
}

#[test]
fn server_whose_directory_was_replaced_leaves_the_files_of_the_other_server_alone() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: old");
    alice.expect_nothing();
    let away = moved_away(&server);
    let other = TestServer::with_data(&server.data(), "");
    let mut carol = TestClient::login(&other, "carol");
    carol.send("bob: new");
    carol.expect_nothing();
    alice.send("bob: never");
    assert_eq!(messages(&alice.ping()), [REFUSAL]);
    assert_eq!(server.terminate().code(), Some(1));
    assert!(server.log().contains("(another file is there)"), "{}", server.log());
    carol.send("bob: newer");
    carol.expect_nothing();
    assert_eq!(other.sqlite("select text from history"), "new\nnewer");
    drop(other);
    fs::remove_dir_all(server.data()).unwrap();
    fs::rename(away, server.data()).unwrap();
    server.start_again();
    assert_eq!(server.sqlite("select text from history"), "old");
}

#[test]
fn link_that_is_pointed_at_another_database_is_noticed() {
    let mut server = TestServer::start();
    assert!(server.terminate().success());
    let real = server.path("real");
    fs::rename(server.data(), &real).unwrap();
    std::os::unix::fs::symlink(&real, server.data()).unwrap();
    server.start_again();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: hi");
    alice.expect_nothing();
    fs::remove_file(server.data()).unwrap();
    fs::create_dir(server.path("other")).unwrap();
    std::os::unix::fs::symlink(server.path("other"), server.data()).unwrap();
    alice.send("bob: hi");
    assert_eq!(messages(&alice.ping()), [REFUSAL]);
}

#[test]
fn messages_of_a_log_that_was_removed_are_in_the_database_once_that_is_noticed() {
    for suffix in ["-wal", "-shm"] {
        for ends_by_crash in [false, true] {
            let mut server = TestServer::start();
            let mut alice = TestClient::login(&server, "alice");
            alice.send_bytes(&flood("bob", 0..100, 100));
            alice.expect_nothing();
            fs::remove_file(beside(&server.database(), suffix)).unwrap();
            alice.send("bob: never");
            assert_eq!(messages(&alice.ping()), [REFUSAL]);
            let advice = "stop the server with SIGTERM, do not kill it, and start it again";
            server.wait_for_log(advice);
            if suffix == "-wal" {
                let report = holdline().args(["doctor", "--data"]).arg(server.data()).stdout(Stdio::piped()).output();
                let report = String::from_utf8(report.unwrap().stdout).unwrap();
                assert!(report.contains("holdline.db-wal was deleted; stop the server with SIGTERM"), "{report}");
            }
            assert!(server.log().contains(&format!("holdline.db{suffix} was removed")), "{}", server.log());
            if ends_by_crash {
                server.kill();
            } else {
                assert_eq!(server.terminate().code(), Some(0), "{}", server.log());
            }
            server.start_again();
            let mut bob = TestClient::login(&server, "bob");
            assert_eq!(bob.read_flood("alice", 99), Vec::from_iter(0..100));
            bob.expect_nothing();
            assert_eq!(server.sqlite("pragma integrity_check"), "ok");
        }
    }
}

#[test]
fn answers_are_true_while_the_directory_is_moved_in_the_middle_of_commits() {
    let mut server = TestServer::start();
    let mut stored = 0;
    for round in 0..12 {
        let alice = TestClient::login(&server, "alice");
        let sending = thread::spawn(|| send_until_refused(alice));
        // The instant of the move is the subject: it falls into another part of a commit each time.
        thread::sleep(Duration::from_millis(20 + 3 * round));
        let away = moved_away(&server);
        let Answers { accepted, refused, unknown } = sending.join().unwrap();
        assert!(refused + unknown > 0, "{accepted} of {} were accepted", accepted + refused + unknown);
        assert_eq!(server.terminate().code(), Some(1), "{}", server.log());
        fs::rename(away, server.data()).unwrap();
        server.start_again();
        let now: usize = server.sqlite("select count(*) from history").parse().unwrap();
        let range = accepted..=accepted + unknown;
        assert!(range.contains(&(now - stored)), "round {round}: {range:?} were accepted, {} are stored", now - stored);
        stored = now;
        eprintln!("{accepted} accepted, {refused} refused, {unknown} unknown");
    }
}

/// Number of lines with each answer.
#[derive(Default)]
struct Answers {
    accepted: usize,
    refused: usize,
    unknown: usize,
}

/// Sends messages until some of them are refused.
fn send_until_refused(mut client: TestClient) -> Answers {
    const BATCH: usize = 20;
    let mut answers = Answers::default();
    while answers.refused + answers.unknown == 0 {
        client.send_bytes(&flood("bob", 0..BATCH, 100));
        let lines = client.ping();
        let errors = messages(&lines);
        let refused = errors.iter().filter(|line| **line == REFUSAL).count();
        let unknown = errors.iter().filter(|line| **line == UNKNOWN).count();
        assert_eq!(errors.len(), refused + unknown, "{errors:?}");
        answers.accepted += BATCH - errors.len();
        answers.refused += refused;
        answers.unknown += unknown;
    }
    answers
}

/// Moves the data directory away. Returns its new path.
fn moved_away(server: &TestServer) -> PathBuf {
    let away = server.data().with_extension("away");
    fs::rename(server.data(), &away).unwrap();
    away
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
