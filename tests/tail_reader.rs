//! The reader of `holdline tail`'s standard output, as shells connect it: what it has not read is not acknowledged. Owns these pipelines; never
//! what is sent over the network.

mod support;

use std::process::{Command, Output, Stdio};

use support::{Program, TestClient, TestServer, holdline};

/// Messages that wait for bob.
const MESSAGES: usize = 20;

#[test]
fn messages_that_a_reader_left_in_the_pipe_wait_for_the_next() {
    let server = server_with_messages();
    let mut left = MESSAGES;
    for lines in [1, 2, 3, 7] {
        let run = shell(&server, &format!("$TAIL | head -{lines}; echo ${{PIPESTATUS[0]}}"));
        let first = MESSAGES - left + 1;
        let expected: String = (first..first + lines).map(|n| format!("from alice: {n}\n")).collect();
        assert_eq!(String::from_utf8_lossy(&run.stdout), format!("{expected}0\n"));
        left -= lines;
        assert_eq!(waiting(&server), left.to_string());
    }
}

#[test]
fn idle_tail_ends_as_soon_as_its_reader_does() {
    let server = TestServer::start();
    let run = shell(&server, "$TAIL | true; echo ${PIPESTATUS[0]}");
    assert_eq!(String::from_utf8_lossy(&run.stdout), "0\n");
}

#[test]
fn tail_without_standard_output_takes_nothing() {
    let server = server_with_messages();
    let run = shell(&server, "$TAIL >&-; echo $?");
    assert_eq!(String::from_utf8_lossy(&run.stdout), "1\n");
    assert_eq!(
        String::from_utf8_lossy(&run.stderr),
        "holdline: cannot print the messages: standard output is closed\n"
    );
    assert_eq!(waiting(&server), MESSAGES.to_string());
}

#[test]
fn tail_and_send_outlive_the_signal_that_reloads_the_server() {
    let server = TestServer::start();
    let mut tail = Program::start(&mut client(&server, "tail", "bob"));
    let mut send = Program::start(&mut client(&server, "send", "alice"));
    send.write("bob: before\n");
    tail.expect_line("from alice: before");
    let status = Command::new("kill").args(["-HUP", &tail.id(), &send.id()]).status().unwrap();
    assert!(status.success());
    send.write("bob: after\n");
    tail.expect_line("from alice: after");
    send.end_input();
    send.wait();
}

fn server_with_messages() -> TestServer {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    (1..=MESSAGES).for_each(|n| alice.send(&format!("bob: {n}")));
    alice.ping();
    server
}

fn waiting(server: &TestServer) -> String {
    server.sqlite("select count(*) from waiting")
}

/// Runs a script in which `$TAIL` prints bob's messages.
fn shell(server: &TestServer, script: &str) -> Output {
    shell_command(server, script).output().expect("bash can be started")
}

fn shell_command(server: &TestServer, script: &str) -> Command {
    let tail = client(server, "tail", "bob");
    let words = [tail.get_program()].into_iter().chain(tail.get_args()).map(|word| word.to_str().expect("UTF-8"));
    let mut shell = Command::new("timeout");
    shell.args(["20", "bash", "-c", script]).env("TAIL", words.collect::<Vec<_>>().join(" ")).stdin(Stdio::null());
    shell
}

fn client(server: &TestServer, subcommand: &str, user: &str) -> Command {
    let mut client = holdline();
    client.args([subcommand, &format!("--as={user}"), &format!("--server={}", server.address())]);
    client
}
