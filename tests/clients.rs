//! Real clients: OpenBSD's and the traditional `nc`, `ncat`, `socat` and `telnet`. Each logs in, reads its waiting
//! messages, sends and receives. If `CI` is set each must be installed; otherwise a missing one is skipped with a
//! message.

mod support;

use std::net::SocketAddr;
use std::process::Command;

use support::{Program, TestClient, TestServer, installed, messages};

#[test]
fn nc_openbsd_chats() {
    let Some(program) = installed("nc.openbsd") else { return };
    check_chat(|address| with_address(program, &[], address));
    check_script(|address| with_address(program, &["-N"], address));
}

#[test]
fn nc_traditional_chats() {
    let Some(program) = installed("nc.traditional") else { return };
    check_chat(|address| with_address(program, &[], address));
}

#[test]
fn ncat_chats() {
    let Some(program) = installed("ncat") else { return };
    check_chat(|address| with_address(program, &[], address));
    check_script(|address| with_address(program, &[], address));
    // Lines ended by a carriage return and a newline.
    check_chat(|address| with_address(program, &["-C"], address));
}

#[test]
fn socat_chats() {
    let Some(program) = installed("socat") else { return };
    let socat = |address| {
        let mut command = Command::new(program);
        command.args(["-t", "30", "-", &format!("TCP:{address}")]);
        command
    };
    check_chat(socat);
    check_script(socat);
}

#[test]
fn telnet_chats() {
    let Some(program) = installed("telnet") else { return };
    check_chat(|address| with_address(program, &[], address));
}

/// A person at a terminal.
#[track_caller]
fn check_chat(client: impl Fn(SocketAddr) -> Command) {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    bob.send("alice: it waited");
    bob.ping();

    let mut alice = Program::start(&mut client(server.address()));
    alice.write("alice\n");
    alice.expect("a greeting", |line| line.starts_with("* ") && line.contains("alice"));
    alice.expect_line("from bob: it waited");
    alice.write("bob: grüße from a program\n");
    bob.expect("from alice: grüße from a program");
    bob.send("alice: and back, ünï");
    alice.expect_line("from bob: and back, ünï");
    alice.write("bob: last\n/ping all of it\n");
    alice.expect_line("* pong all of it");
    bob.expect("from alice: last");
    alice.write("/quit\n");
    alice.wait();
    server.wait_until_gone("alice");
}

/// A script that writes its lines and ends its input: `printf … | nc -N`.
#[track_caller]
fn check_script(client: impl Fn(SocketAddr) -> Command) {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    bob.send("alice: it waited");
    bob.ping();

    let mut alice = Program::start(&mut client(server.address()));
    alice.write("alice\nbob: from a script\n/ping done\nbob: without its newline");
    let lines = Vec::from_iter(alice.wait().lines().map(str::to_owned));
    assert_eq!(messages(&lines), ["from bob: it waited"]);
    assert!(lines.contains(&"* pong done".to_owned()), "{lines:?}");
    bob.expect("from alice: from a script");
    bob.expect("from alice: without its newline");
}

fn with_address(program: &str, options: &[&str], address: SocketAddr) -> Command {
    let mut command = Command::new(program);
    command.args(options).args([address.ip().to_string(), address.port().to_string()]);
    command
}
