//! `holdline send` and `holdline tail` on a machine that loses power. Owns what their own disk may do; the server's disk is in `disk.rs`.
#![cfg(target_os = "linux")]
#![allow(dead_code, reason = "the disk has more functions than these tests need")]

mod faulty_disk;
mod support;

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::process::Stdio;

use faulty_disk::{Errno, FaultyDisk, Operation};
use support::{TestClient, TestServer, eventually, flood, holdline, wait_for_exit};

/// Messages that wait for bob.
const MESSAGES: usize = 50;

#[test]
fn messages_that_tail_acknowledged_are_in_its_file_after_a_power_cut() {
    let Some(mut disk) = FaultyDisk::mount(0) else { return };
    disk.set_luck(0.0);
    let server = server_with_messages();
    let log = new_file(&disk, "messages.jsonl");
    let mut tail = start_tail(&server, &log);
    eventually("everything is delivered", || waiting(&server) == 0);
    disk.cut();
    tail.kill().unwrap();
    tail.wait().unwrap();
    disk.restore_power();
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), MESSAGES);
}

#[test]
fn messages_that_cannot_be_synced_are_not_acknowledged() {
    let Some(disk) = FaultyDisk::mount(0) else { return };
    let server = server_with_messages();
    let log = new_file(&disk, "messages.jsonl");
    disk.fail(Operation::Sync, Errno::EIO);
    assert_eq!(wait_for_exit(&mut start_tail(&server, &log)).code(), Some(1));
    assert_eq!(waiting(&server), MESSAGES);
    disk.mend();
    let mut tail = start_tail(&server, &log);
    eventually("everything is delivered", || waiting(&server) == 0);
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn message_in_a_new_queue_survives_a_power_cut() {
    let Some(mut disk) = FaultyDisk::mount(0) else { return };
    disk.set_luck(0.0);
    let queue = disk.path("spool").join("motion");
    let run = holdline().args(["send", "--to=bob", "--queue"]).arg(&queue).arg("motion in the hall").output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    disk.cut();
    disk.restore_power();
    let server = TestServer::start();
    let address = format!("--server={}", server.address());
    let run = holdline().args(["send", "--once", "--as=motion", &address, "--drain"]).arg(&queue).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(server.sqlite("select text from history"), "motion in the hall");
}

fn server_with_messages() -> TestServer {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(&flood("bob", 0..MESSAGES, 0));
    alice.ping();
    server
}

fn waiting(server: &TestServer) -> usize {
    server.sqlite("select count(*) from waiting").parse().unwrap()
}

/// Makes an empty file that a power cut does not take.
fn new_file(disk: &FaultyDisk, name: &str) -> std::path::PathBuf {
    let path = disk.path(name);
    File::create(&path).unwrap().sync_all().unwrap();
    File::open(disk.path("")).unwrap().sync_all().unwrap();
    path
}

fn start_tail(server: &TestServer, log: &Path) -> std::process::Child {
    let address = format!("--server={}", server.address());
    let file = OpenOptions::new().append(true).open(log).unwrap();
    let mut tail = holdline();
    tail.args(["tail", "--json", "--as=bob", &address]).stdout(file).stderr(Stdio::null()).spawn().unwrap()
}
