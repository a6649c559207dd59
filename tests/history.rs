//! `holdline history`, beside a running server: what a person at a shell reads. Owns that command; never the server's own
//! `/history`.

mod support;

use std::process::Stdio;

use support::{TestClient, TestServer, holdline};

/// What the command prints, each line without its time, which must be there.
fn history(server: &TestServer, flags: &[&str]) -> Vec<String> {
    let mut command = holdline();
    command.args(["history", "--data"]).arg(server.data()).args(flags).stdout(Stdio::piped());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.lines().map(without_time).collect()
}

fn without_time(line: &str) -> String {
    let (time, rest) = line.split_once(' ').unwrap();
    let form: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(form, "0000-00-00T00:00:00.000Z", "{line}");
    rest.to_owned()
}

fn a_few_messages() -> TestServer {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send("bob: hello");
    alice.ping();
    bob.send("alice, carol: dinner at 7");
    bob.ping();
    alice.send("alice: buy bread");
    alice.ping();
    alice.quit();
    bob.quit();
    server.wait_until_delivered("alice");
    server.wait_until_delivered("bob");
    server
}

#[test]
fn the_newest_come_oldest_first_with_whom_they_wait_for() {
    let server = a_few_messages();
    let expected =
        ["alice → bob: hello", "bob → alice, carol: dinner at 7  (waiting for carol)", "alice → alice: buy bread"];
    assert_eq!(history(&server, &[]), expected);
    assert_eq!(history(&server, &["--last=2"]), expected[1..]);
    assert_eq!(history(&server, &["--last=1"]), expected[2..]);
}

#[test]
fn with_a_name_it_is_what_that_one_sent_or_was_sent() {
    let server = a_few_messages();
    assert_eq!(history(&server, &["--with=carol"]), ["bob → alice, carol: dinner at 7  (waiting for carol)"]);
    assert_eq!(
        history(&server, &["--with", "Bob"]),
        ["alice → bob: hello", "bob → alice, carol: dinner at 7  (waiting for carol)"]
    );
    assert_eq!(history(&server, &["--with=alice", "--last=1"]), ["alice → alice: buy bread"]);
    assert_eq!(history(&server, &["--with=nobody"]), [""; 0]);
}

#[test]
fn a_sender_keeps_its_history_over_restarts() {
    let mut server = a_few_messages();
    server.restart();
    let mut bob = TestClient::login(&server, "bob");
    bob.send("carol: again");
    bob.ping();
    assert_eq!(
        history(&server, &["--with=bob", "--last=2"]),
        ["bob → alice, carol: dinner at 7  (waiting for carol)", "bob → carol: again  (waiting for carol)",]
    );
}
