//! `holdline send --queue` and `--drain` as scripts use them: what was queued arrives exactly once, whatever is killed. Owns what scripts
//! see of a queue; never how lines are sent.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use support::{TestClient, TestServer, eventually, holdline};
use tempfile::TempDir;

/// Writers that append at the same time.
const WRITERS: usize = 4;

/// Messages of each writer.
const MESSAGES: usize = 25;

#[test]
fn queued_message_is_sent_when_there_is_a_server() {
    let queue = TestQueue::new();
    queue.append(&["--to=bob", "motion in the hall"]);
    queue.append(&["--to=bob", "two\nlines"]);
    queue.append(&["carol: hi"]);
    assert_eq!(queue.rows("queued"), "3");
    let server = TestServer::start();
    expect_success(&queue.drain(&server).arg("--once").output().unwrap());
    assert_eq!(queue.rows("queued"), "0");
    let mut bob = TestClient::login(&server, "bob");
    bob.expect("from motion: motion in the hall");
    bob.expect("from motion: two lines");
    assert_eq!(server.sqlite("select count(*) from history"), "3");
}

#[test]
fn message_is_sent_as_soon_as_it_is_queued_while_the_queue_is_drained() {
    let (queue, server) = (TestQueue::new(), TestServer::start());
    let mut bob = TestClient::login(&server, "bob");
    let mut drain = start(&mut queue.drain(&server));
    for text in ["one", "two"] {
        queue.append(&["--to=bob", text]);
        bob.expect(&format!("from motion: {text}"));
    }
    eventually("the messages leave the queue", || queue.rows("queued") == "0");
    let other = queue.drain(&server).arg("--once").output().unwrap();
    assert_eq!(other.status.code(), Some(1));
    let words = format!("holdline: another process drains the queue in {}\n", queue.path().display());
    assert_eq!(String::from_utf8_lossy(&other.stderr), words);
    drain.kill().unwrap();
    drain.wait().unwrap();
}

#[test]
fn refused_message_goes_aside_with_its_reason_and_can_be_queued_again() {
    let (queue, server) = (TestQueue::new(), TestServer::start());
    queue.append(&["--to=#home", "two"]);
    queue.append(&["--to=bob", "three"]);
    let drained = queue.drain(&server).arg("--once").output().unwrap();
    assert_eq!(drained.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&drained.stderr);
    assert!(
        stderr.starts_with("holdline: message 1 is not sent, and moved to the table refused: not_a_member: "),
        "{stderr}"
    );
    assert_eq!(server.sqlite("select text from history"), "three");
    assert_eq!(queue.sql("select recipients, text, code from refused"), "#home|two|not_a_member");

    let mut motion = TestClient::login(&server, "motion");
    motion.send("/join #home");
    motion.ping();
    let rows = "insert into queued (recipients, text) select recipients, text from refused; delete from refused";
    queue.sql(&format!("begin immediate; {rows}; commit"));
    expect_success(&queue.drain(&server).arg("--once").output().unwrap());
    assert_eq!(server.sqlite("select text from history"), "three\ntwo");
}

#[test]
fn line_that_cannot_be_sent_is_refused_when_it_is_queued() {
    let queue = TestQueue::new();
    let run = queue.command("--queue").arg("bob").output().unwrap();
    assert_eq!(run.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(stderr.starts_with("holdline: not queued: bad_request: the line has no colon"), "{stderr}");
    assert_eq!(queue.rows("queued"), "0");
}

#[test]
fn row_that_was_written_by_hand_does_not_hold_up_the_queue() {
    let (queue, server) = (TestQueue::new(), TestServer::start());
    queue.append(&["--to=bob", "first"]);
    queue.sql(
        "insert into queued (recipients, text) values ('a b', 'no name'), ('bob', cast(x'ff' as text));
         insert into queued (recipients, text, nonce) values ('bob', 'no nonce', '')",
    );
    queue.append(&["--to=bob", "last"]);
    assert_eq!(queue.drain(&server).arg("--once").output().unwrap().status.code(), Some(1));
    assert_eq!(server.sqlite("select text from history"), "first\nlast");
    assert_eq!(queue.sql("select code from refused order by id"), "bad_name\nnot_utf8\nbad_request");
}

#[test]
fn restored_queue_sends_nothing_twice_and_loses_nothing_new() {
    let (queue, server) = (TestQueue::new(), TestServer::start());
    queue.append(&["--to=bob", "before the backup"]);
    let copy = queue.home.path().join("copy");
    queue.sql(&format!("vacuum into '{}'", copy.display()));
    expect_success(&queue.drain(&server).arg("--once").output().unwrap());
    queue.append(&["--to=bob", "same words"]);
    expect_success(&queue.drain(&server).arg("--once").output().unwrap());

    std::fs::rename(copy, queue.path().join("queue.db")).unwrap();
    queue.append(&["--to=bob", "same words"]);
    expect_success(&queue.drain(&server).arg("--once").output().unwrap());
    assert_eq!(server.sqlite("select text from history"), "before the backup\nsame words\nsame words");
}

#[test]
fn every_message_arrives_once_while_writers_drain_and_server_are_killed() {
    let (queue, mut server) = (TestQueue::new(), TestServer::start());
    // From here on there is a queue to look into.
    queue.append(&["--to=bob", "first"]);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let path = queue.path();
            thread::spawn(move || {
                for message in 0..MESSAGES {
                    append_to(&path, &["--to=bob", &format!("{writer} {message}")]);
                }
            })
        })
        .collect();
    while !writers.iter().all(|writer| writer.is_finished()) || queue.rows("queued") != "0" {
        let mut drain = start(&mut queue.drain(&server));
        let before = queue.rows("queued");
        eventually("a message leaves the queue or enters it", || {
            let rows = queue.rows("queued");
            rows != before || rows == "0"
        });
        drain.kill().unwrap();
        drain.wait().unwrap();
        server.kill();
        server.start_again();
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let arrived = server.sqlite("select text from history order by seq");
    for writer in 0..WRITERS {
        let of_writer = arrived.lines().filter(|text| text.starts_with(&format!("{writer} ")));
        let expected = (0..MESSAGES).map(|message| format!("{writer} {message}"));
        assert!(of_writer.eq(expected), "writer {writer}: {arrived}");
    }
}

/// Queue in a directory of its own.
struct TestQueue {
    home: TempDir,
}

impl TestQueue {
    fn new() -> Self {
        TestQueue { home: TempDir::new().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("queue")
    }

    fn append(&self, arguments: &[&str]) {
        append_to(&self.path(), arguments);
    }

    /// Returns a `holdline send` with this flag for the directory.
    fn command(&self, flag: &str) -> Command {
        command(flag, &self.path())
    }

    fn drain(&self, server: &TestServer) -> Command {
        let mut drain = self.command("--drain");
        drain.args(["--as=motion", &format!("--server={}", server.address())]);
        drain
    }

    fn rows(&self, table: &str) -> String {
        self.sql(&format!("select count(*) from {table}"))
    }

    fn sql(&self, sql: &str) -> String {
        let mut shell = Command::new("sqlite3");
        let run = shell.args(["-cmd", ".timeout 5000"]).arg(self.path().join("queue.db")).arg(sql).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8_lossy(&run.stdout).trim_end().to_owned()
    }
}

fn command(flag: &str, directory: &Path) -> Command {
    let mut command = holdline();
    command.arg("send").arg(format!("{flag}={}", directory.display())).env_remove("USER").env_remove("LOGNAME");
    command.stdin(Stdio::null());
    command
}

#[track_caller]
fn append_to(directory: &Path, arguments: &[&str]) {
    expect_success(&command("--queue", directory).args(arguments).output().unwrap());
}

fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[track_caller]
fn expect_success(run: &Output) {
    let printed = [&run.stdout[..], &run.stderr[..]].concat();
    assert_eq!(String::from_utf8_lossy(&printed), "");
    assert!(run.status.success(), "{}", run.status);
}
