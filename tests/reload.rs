//! `holdline reload`: it reloads the server of a data directory, and no other process. Owns what the command does and prints.

mod support;

use std::fs;
use std::process::Output;

use rustix::process::Signal;
use support::{TestServer, eventually, holdline};

const ENTRY: &str = "[[plugin]]\nname = 'p'\nkind = 'luau'\npath = 'p.luau'\nhooks = ['start']\n";

fn script(word: &str) -> String {
    format!("function start() log('it is {word}') end")
}

fn reload(server: &TestServer) -> Output {
    let mut command = holdline();
    command.current_dir(server.path("")).arg("reload").arg("--data").arg(server.data());
    command.stdout(std::process::Stdio::piped()).output().expect("holdline can be started")
}

fn expect_failure(server: &TestServer, code: i32, words: &str) {
    let output = reload(server);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), stderr.contains(words)), (Some(code), true), "{stderr}");
}

#[test]
fn running_server_of_the_directory_reloads_its_plugins() {
    let server = TestServer::with_files(&[("plugins.toml", ENTRY), ("p.luau", &script("one"))]);
    let other = TestServer::with_files(&[("plugins.toml", ENTRY), ("p.luau", &script("another"))]);
    server.wait_for_log("it is one");
    server.write_file("p.luau", &script("two or more"));
    let output = reload(&server);
    let words = format!("the server (process {}) reloads its plugins; its log says what came of it\n", server.pid());
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()), (Some(0), words.as_str()));
    server.wait_for_log("it is two or more");
    assert!(!other.log().contains("reloaded"), "{}", other.log());
}

#[test]
fn plugin_with_a_mistake_is_reported_and_the_server_is_not_signalled() {
    let server = TestServer::with_files(&[("plugins.toml", ENTRY), ("p.luau", &script("one"))]);
    server.write_file("p.luau", "function start(");
    expect_failure(&server, 2, "p.luau:1:");
    server.write_file("plugins.toml", "[[plugin]]\nnam = 'p'\n");
    expect_failure(&server, 2, "unknown key `plugin.nam`");
    assert!(!server.log().contains("cannot reload"), "{}", server.log());
}

#[test]
fn process_that_holds_no_lock_is_not_signalled() {
    let mut server = TestServer::start();
    server.signal(Signal::KILL);
    server.wait();
    // The id in the file may belong to another process by now, such as this one, which SIGHUP would end.
    fs::write(server.data().join("holdline.lock"), format!("{}\n", std::process::id())).unwrap();
    expect_failure(&server, 1, "no server runs on");
    fs::remove_dir_all(server.data()).unwrap();
    expect_failure(&server, 1, "no server runs on");
}

#[test]
fn server_is_found_through_a_linked_database_and_after_others_have_read_the_directory() {
    let mut server = TestServer::start();
    server.terminate();
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("holdline.db");
    fs::rename(server.database(), &moved).unwrap();
    std::os::unix::fs::symlink(&moved, server.database()).unwrap();
    server.start_again();
    let doctor = holdline().arg("doctor").arg("--data").arg(server.data()).status().unwrap();
    assert!(doctor.success());
    assert_eq!(reload(&server).status.code(), Some(0));
    eventually("the plugins are reloaded", || server.log().contains("reloaded the plugins"));
}
