//! `holdline send` and `holdline tail` as scripts use them: exit codes, messages, and every line exactly once while the
//! server or the command is killed. Owns what scripts see; never what is sent over the network.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread;

use serde_json::Value;
use support::{Output, TestClient, TestServer, eventually, holdline, wait_for_exit};

/// Enough messages that a kill comes in the middle.
const MANY: u64 = 5000;

/// Lines between two kills.
const PART: u64 = 1000;

#[test]
fn send_prints_nothing_on_success() {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    send(&server, &["--to=bob", "dinner at 7"], "").expect_success();
    bob.expect("from alice: dinner at 7");
    send(&server, &["--to=bob", "--to=alice", "two\nlines"], "").expect_success();
    bob.expect("from alice: two lines");
    send(&server, &["bob, carol: to whom it may concern"], "").expect_success();
    bob.expect("from alice: to whom it may concern");
    bob.expect_nothing();
}

#[test]
fn every_line_of_the_input_is_sent() {
    let server = TestServer::start();
    send(&server, &["--to=bob"], "one\n\n  two  \r\nlast").expect_success();
    send(&server, &[], "bob: three\n  Carol,bob :  four: 4  \n").expect_success();
    assert_eq!(texts(&server), "one\n  two  \nlast\nthree\nfour: 4");
    send(&server, &["--to=bob"], "").expect_success();
    assert_eq!(server.sqlite("select count(*) from history"), "5");
}

#[test]
fn send_reaches_a_room() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/join #home");
    alice.ping();
    alice.quit();
    let mut bob = TestClient::login(&server, "bob");
    bob.send("/join #home");
    bob.ping();
    send(&server, &["--to=#home", "dinner at 7"], "").expect_success();
    bob.expect("from alice in #home: dinner at 7");
}

#[test]
fn failed_line_is_reported_and_the_others_are_sent() {
    let server = TestServer::start();
    let long = "x".repeat(8193);
    let input = format!("bob: one\nbob\n{long}\n#nowhere: two\na b: three\nbob:\nbob: four\n");
    let run = send(&server, &[], &input);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert_eq!(texts(&server), "one\nfour");
    let mut refusals: Vec<_> = run.stderr.lines().map(|line| line.splitn(4, ": ").collect::<Vec<_>>()).collect();
    refusals.sort();
    let refusals: Vec<_> = refusals.iter().map(|words| format!("{} {}", words[1], words[2])).collect();
    let expected = ["line 2 bad_request", "line 3 too_long", "line 4 not_a_member", "line 5 bad_name", "line 6 empty"];
    assert_eq!(refusals, expected, "{}", run.stderr);
}

#[test]
fn failed_text_is_reported() {
    let server = TestServer::start();
    let run = send(&server, &["--to=#nowhere", "hi"], "");
    assert_eq!(run.code, 1);
    assert!(run.stderr.starts_with("holdline: not sent: not_a_member: "), "{}", run.stderr);
}

#[test]
fn mistakes_on_the_command_line_are_reported_before_anything_is_sent() {
    let server = TestServer::start();
    let mistakes: &[&[&str]] = &[
        &["--to=a b", "hi"],
        &["--to=bob", "dinner", "at", "7"],
        &["--to=bob", " "],
        &["--id=", "hi"],
        &["--id=a b", "hi"],
        &["--timeout=0", "hi"],
        &["--as=a b", "hi"],
        &["--server=nowhere", "hi"],
    ];
    for arguments in mistakes {
        let mut command = holdline();
        let run = finish(command.arg("send").env("USER", "alice").args(*arguments), "");
        assert_eq!((run.code, run.stderr.lines().count()), (2, 1), "{arguments:?}: {}", run.stderr);
    }
    let anonymous = finish(holdline().args(["send", "bob: hi"]).env_remove("USER").env_remove("LOGNAME"), "");
    assert_eq!(anonymous.code, 2);
    assert!(anonymous.stderr.contains("--as"), "{}", anonymous.stderr);
    assert_eq!(server.sqlite("select count(*) from history"), "0");
}

#[test]
fn name_comes_from_the_environment() {
    let server = TestServer::start();
    let address = format!("--server={}", server.address());
    for (variable, name) in [("USER", "Alice"), ("LOGNAME", "cron")] {
        let mut command = holdline();
        command.env_remove("USER").env_remove("LOGNAME").env(variable, name);
        finish(command.args(["send", &address, "bob: hi"]), "").expect_success();
    }
    assert_eq!(
        server.sqlite("select group_concat(sender) from (select sender from history order by seq)"),
        "alice,cron"
    );
}

#[test]
fn send_does_not_receive_messages_of_the_sender() {
    let server = TestServer::start();
    send(&server, &["--to=alice", "for alice herself"], "").expect_success();
    send(&server, &["--to=bob"], &"line\n".repeat(100)).expect_success();
    let mut alice = TestClient::login(&server, "alice");
    alice.expect("from alice: for alice herself");
}

#[test]
fn send_waits_for_a_server_that_has_not_started() {
    let mut server = TestServer::start();
    server.terminate();
    let run = start_send(&server, &["--to=bob"], "one\ntwo\n");
    let mut tail = Tail::start(&server, &["--as=bob", "--count=2"]);
    server.start_again_in_place();
    run.finish().expect_success();
    assert_eq!(tail.finish(), ["from alice: one", "from alice: two"]);
    assert_eq!(tail.stderr().lines().count() % 2, 0, "lost and back come in pairs: {}", tail.stderr());
}

#[test]
fn send_gives_up_if_no_server_starts() {
    let mut server = TestServer::start();
    server.terminate();
    let run = send(&server, &["--to=bob", "--timeout=1", "--id=batch"], "one\ntwo\n");
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("0 lines were accepted"), "{}", run.stderr);
    assert!(run.stderr.contains("line") && run.stderr.contains("--id=batch"), "{}", run.stderr);
    server.start_again_in_place();
    send(&server, &["--to=bob", "--id=batch"], "one\ntwo\n").expect_success();
    assert_eq!(texts(&server), "one\ntwo");
}

#[test]
fn slow_input_is_sent_line_by_line() {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    let (run, mut input) = Run::open(&mut command(&server, "send", &["--as=sensor", "--to=bob"]));
    for reading in ["20.5", "20.6", "20.7"] {
        writeln!(input, "{reading}").expect("the program reads its input");
        bob.expect(&format!("from sensor: {reading}"));
    }
    drop(input);
    run.finish().expect_success();
}

/// Plugin that answers once there is a file `open`, and lists its calls.
const GATE: &str = r#"#!/bin/sh
while read -r call; do
    echo "$call" >> calls
    until [ -e open ]; do sleep 0.1; done
    echo "$call" | sed 's/.*"id":"\([0-9]*\)".*/{"id":"\1"}/'
done
"#;

const GATE_ENTRY: &str =
    "[[plugin]]\nname = 'gate'\nkind = 'process'\npath = 'gate.sh'\nhooks = ['message']\ntimeout_ms = 60000\n";

#[test]
fn send_waits_for_a_slow_plugin_and_says_so() {
    let server = TestServer::with_files(&[("plugins.toml", GATE_ENTRY), ("gate.sh", GATE)]);
    let run = start_send(&server, &["--to=bob", "hi"], "");
    run.stderr.wait_until(|text| text.contains('\n'));
    server.write_file("open", " ");
    let ended = run.finish();
    let waiting = format!(
        "holdline: no reply for 10 s, but the server at {} is still connected: it is busy, or one of its plugins is slow; waiting\n",
        server.address()
    );
    assert_eq!((ended.code, ended.stderr), (0, waiting));
    assert_eq!(texts(&server), "hi");
    assert_eq!(fs::read_to_string(server.path("calls")).unwrap().lines().count(), 1);
}

#[test]
fn every_line_arrives_once_and_in_order_despite_crashes_of_the_server() {
    let mut server = TestServer::start();
    let mut tail = Tail::start(&server, &["--as=bob", &format!("--count={MANY}")]);
    let (run, mut input) = Run::open(&mut command(&server, "send", &["--as=alice", "--to=bob"]));
    for (part, lines) in parts() {
        // The parts before are accepted, or were repeated; this part is in flight when the server dies.
        eventually("the part before is accepted", || count(&server) == part * PART);
        input.write_all(lines.as_bytes()).expect("the program reads its input");
        server.kill();
        server.start_again_in_place();
    }
    drop(input);
    run.finish().expect_success();
    assert_eq!(tail.finish(), numbered("from alice: "));
    assert_eq!(texts(&server), numbered("").join("\n"));
    assert_eq!(server.sqlite("select count(*) from waiting"), "0");
}

#[test]
fn every_line_is_sent_once_despite_crashes_of_the_sender() {
    let server = TestServer::start();
    let arguments = ["--as=alice", "--to=bob", "--id=batch-7"];
    let (mut run, mut input) = Run::open(&mut command(&server, "send", &arguments));
    for (part, lines) in parts().take(2) {
        eventually("the part before is accepted", || count(&server) == part * PART);
        input.write_all(lines.as_bytes()).expect("the program reads its input");
    }
    run.kill();
    assert!(count(&server) < MANY);
    let arguments = &arguments[1..];
    send(&server, arguments, &numbered_lines()).expect_success();
    assert_eq!(texts(&server), numbered("").join("\n"));
    let changed = send(&server, arguments, "something else");
    assert_eq!(changed.code, 1);
    assert!(changed.stderr.starts_with("holdline: line 1: id_reused: "), "{}", changed.stderr);
}

#[test]
fn every_message_is_printed_once_despite_crashes_of_the_reader() {
    let server = TestServer::start();
    let mut printed: Vec<Value> = Vec::new();
    for (_, lines) in parts() {
        let mut tail = Tail::start(&server, &["--as=bob", "--json", &after(&printed)]);
        let run = start_send(&server, &["--to=bob"], &lines);
        tail.wait_for_lines(10);
        printed.extend(tail.kill().iter().map(|line| object(line)));
        run.finish().expect_success();
    }
    let left = MANY - printed.len() as u64;
    if left > 0 {
        let mut tail = Tail::start(&server, &["--as=bob", "--json", &after(&printed), &format!("--count={left}")]);
        printed.extend(tail.finish().iter().map(|line| object(line)));
    }
    let texts: Vec<_> = printed.iter().map(|message| message["text"].as_str().expect("a text")).collect();
    assert_eq!(texts, numbered(""));
}

#[test]
fn messages_are_printed_in_order() {
    let server = TestServer::start();
    for name in ["alice", "bob"] {
        let mut client = TestClient::login(&server, name);
        client.send("/join #home");
        client.ping();
        client.quit();
    }
    send(&server, &["--to=bob,carol", "two\nlines"], "").expect_success();
    send(&server, &["--to=#home", "dinner"], "").expect_success();
    let printed = Tail::start(&server, &["--as=bob", "--json", "--count=2"]).finish();
    let direct = object(&printed[0]);
    assert_eq!((&direct["type"], &direct["from"], &direct["seq"]), (&"message".into(), &"alice".into(), &1.into()));
    assert_eq!((&direct["to"], &direct["text"]), (&vec!["bob", "carol"].into(), &"two\nlines".into()));
    assert_eq!(direct.get("room"), None);
    assert!(direct["at"].as_str().is_some_and(|at| at.len() == 24 && at.ends_with('Z')), "{direct}");
    let in_room = object(&printed[1]);
    assert_eq!((&in_room["room"], &in_room["text"]), (&"#home".into(), &"dinner".into()));
}

#[test]
fn printed_messages_are_not_repeated_and_the_others_wait() {
    let server = TestServer::start();
    send(&server, &["--to=bob"], "one\ntwo\nthree\n").expect_success();
    assert_eq!(Tail::start(&server, &["--as=bob", "--count=1"]).finish(), ["from alice: one"]);
    assert_eq!(server.sqlite("select text from waiting where recipient = 'bob' order by seq"), "two\nthree");
    assert_eq!(Tail::start(&server, &["--as=bob", "--count=2"]).finish(), ["from alice: two", "from alice: three"]);
    assert_eq!(server.sqlite("select count(*) from waiting"), "0");
}

#[test]
fn tail_ends_with_its_output_and_unprinted_messages_wait() {
    let server = TestServer::start();
    send(&server, &["--to=bob", "one"], "").expect_success();
    let mut tail =
        command(&server, "tail", &["--as=bob"]).stdout(Stdio::piped()).spawn().expect("the program can be started");
    let mut output = BufReader::new(tail.stdout.take().expect("stdout is a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("the program writes a line");
    assert_eq!(line, "from alice: one\n");
    server.wait_until_delivered("bob");
    drop(output);
    send(&server, &["--to=bob", "two"], "").expect_success();
    assert_eq!(wait_for_exit(&mut tail).code(), Some(0));
    assert_eq!(server.sqlite("select text from waiting"), "two");
}

#[test]
fn messages_that_arrive_later_are_printed() {
    let server = TestServer::start();
    let mut tail = Tail::start(&server, &["--as=bob", "--count=2"]);
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: one");
    tail.wait_for_lines(1);
    alice.send("bob: two");
    assert_eq!(tail.finish(), ["from alice: one", "from alice: two"]);
}

fn numbered(before: &str) -> Vec<String> {
    (1..=MANY).map(|number| format!("{before}number {number}")).collect()
}

fn numbered_lines() -> String {
    numbered("").join("\n") + "\n"
}

/// Splits the lines into parts, each with its number from 0.
fn parts() -> impl Iterator<Item = (u64, String)> {
    let lines = numbered("");
    let parts: Vec<_> = lines.chunks(PART as usize).map(|part| part.join("\n") + "\n").collect();
    (0..).zip(parts)
}

/// Lines after those that were printed already.
fn after(printed: &[Value]) -> String {
    format!("--after={}", printed.last().map_or(0, seq))
}

/// Returns all texts of the log, one on each line.
fn texts(server: &TestServer) -> String {
    server.sqlite("select text from history order by seq")
}

fn count(server: &TestServer) -> u64 {
    server.sqlite("select count(*) from history").parse().expect("the text is a number")
}

fn object(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("`{line}`: {error}"))
}

fn seq(message: &Value) -> i64 {
    message["seq"].as_i64().expect("the seq is a number")
}

fn command(server: &TestServer, subcommand: &str, arguments: &[&str]) -> Command {
    let mut command = holdline();
    command.args([subcommand, &format!("--server={}", server.address())]).args(arguments);
    command
}

/// Sends as alice, and waits for the end.
#[track_caller]
fn send(server: &TestServer, arguments: &[&str], input: &str) -> Ended {
    start_send(server, arguments, input).finish()
}

fn start_send(server: &TestServer, arguments: &[&str], input: &str) -> Run {
    Run::start(command(server, "send", &["--as=alice"]).args(arguments), input)
}

#[track_caller]
fn finish(command: &mut Command, input: &str) -> Ended {
    Run::start(command, input).finish()
}

/// Program that reads its input and reports failures.
struct Run {
    process: Child,
    stderr: Arc<Output>,
}

/// Exit and output of a program.
struct Ended {
    code: i32,
    stderr: String,
}

impl Run {
    /// Starts a program with this input.
    fn start(command: &mut Command, input: &str) -> Self {
        let (run, mut stdin) = Run::open(command);
        let input = input.to_owned();
        // A program that ends early, or is killed, does not read all of it.
        thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        run
    }

    /// Starts a program whose input is still to be written.
    fn open(command: &mut Command) -> (Self, ChildStdin) {
        let mut process = command.stdin(Stdio::piped()).spawn().expect("holdline can be started");
        let stdin = process.stdin.take().expect("stdin is a pipe");
        let stderr = Output::of(process.stderr.take().expect("stderr is a pipe"));
        (Run { process, stderr }, stdin)
    }

    #[track_caller]
    fn finish(mut self) -> Ended {
        let status = wait_for_exit(&mut self.process);
        let stderr = self.stderr.wait_until(|_| false);
        Ended { code: status.code().unwrap_or_else(|| panic!("{status}: {stderr}")), stderr }
    }

    fn kill(&mut self) {
        self.process.kill().expect("the program can be killed");
        wait_for_exit(&mut self.process);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Ended {
    /// Checks that everything was accepted, and nothing printed.
    #[track_caller]
    fn expect_success(&self) {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""));
    }
}

/// Program that prints messages.
struct Tail {
    run: Run,
    stdout: Arc<Output>,
}

impl Tail {
    fn start(server: &TestServer, arguments: &[&str]) -> Self {
        let mut command = command(server, "tail", arguments);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("holdline can be started");
        let stdout = Output::of(process.stdout.take().expect("stdout is a pipe"));
        let stderr = Output::of(process.stderr.take().expect("stderr is a pipe"));
        Tail { run: Run { process, stderr }, stdout }
    }

    #[track_caller]
    fn wait_for_lines(&self, lines: usize) {
        let text = self.stdout.wait_until(|text| text.lines().count() >= lines);
        assert!(text.lines().count() >= lines, "it wrote only:\n{text}{}", self.stderr());
    }

    /// Returns all lines, once the program has ended by itself.
    #[track_caller]
    fn finish(&mut self) -> Vec<String> {
        let status = wait_for_exit(&mut self.run.process);
        assert_eq!(status.code(), Some(0), "{}", self.stderr());
        self.lines()
    }

    /// Complete lines that it wrote until it was killed.
    fn kill(&mut self) -> Vec<String> {
        self.run.kill();
        self.lines()
    }

    fn stderr(&self) -> String {
        self.run.stderr.text()
    }

    /// A line without a newline was cut off by a kill, and is not acknowledged.
    fn lines(&self) -> Vec<String> {
        let text = self.stdout.wait_until(|_| false);
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
    }
}
