//! Browsers and HTTP tools that reach the chat's port: whatever a page or a tool makes them send, it neither logs in nor sends a message. Owns
//! what they can send; the methods that are detected by the first bytes are in `plain.rs`.

mod support;

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use support::{TestClient, TestServer, installed};

/// Body that a page may send: names, messages, and lines of JSON.
const BODY: &str = "alice\nbob: evil\n/ping\n\
    {\"type\":\"login\",\"name\":\"alice\"}\n{\"type\":\"send\",\"to\":[\"bob\"],\"text\":\"evil\"}\nbob: evil\n";

/// Sends these bytes, and checks that the connection ends without a greeting, and that nothing was taken.
#[track_caller]
fn check_taken_for_http(server: &TestServer, bytes: &[u8]) {
    let client = {
        let mut client = TestClient::connect(server);
        // The server may close the connection before it has all.
        let _ = client.try_send_bytes(bytes);
        client
    };
    let answer = client.read_to_end();
    let is_greeted = answer.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"* "));
    assert!(!is_greeted, "{} was answered {}", bytes.escape_ascii(), answer.escape_ascii());
}

/// Starts a server that logs who logs in.
fn start() -> TestServer {
    TestServer::with_environment(&[("HOLDLINE_LOG", "debug")])
}

/// Checks that nobody has logged in, and that no message was sent.
#[track_caller]
fn check_nothing_taken(server: &TestServer) {
    assert_eq!(server.sqlite("select count(*) from message"), "0");
    assert!(!server.log().contains(" joined as "), "somebody logged in");
    TestClient::login(server, "onlooker").quit();
    server.wait_for_log(" joined as onlooker");
}

fn request(first: &str) -> Vec<u8> {
    format!(
        "{first}\r\nHost: localhost:7878\r\nAccept: */*\r\nbob: evil\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    )
    .into_bytes()
}

#[test]
fn request_with_any_method_logs_nobody_in() {
    let server = start();
    for method in ["POST", "post", "Get", "QUERY", "PROPFIND", "alice", "M-SEARCH", "NICK", "USER", "CAP", "-", "!"] {
        for target in ["/", "/?bob: evil", "*", "http://localhost/", "bob:80"] {
            for version in ["HTTP/1.1", "HTTP/1.0", "HTTP/2.0"] {
                check_taken_for_http(&server, &request(&format!("{method} {target} {version}")));
            }
        }
    }
    check_nothing_taken(&server);
}

#[test]
fn blanks_and_line_ends_before_a_request_change_nothing() {
    let server = start();
    for before in ["\r\n", "\n\n\n", " ", "\t ", "\u{3000}", "\r\n \r\n"] {
        check_taken_for_http(&server, &request(&format!("{before}POST / HTTP/1.1")));
    }
    check_nothing_taken(&server);
}

#[test]
fn header_named_host_is_enough() {
    let server = start();
    let long = "x".repeat(9000);
    for before in ["?\r\n", "\u{feff}?\n-\n", &format!("QUERY /{long} HTTP/1.1\r\n")] {
        for host in ["Host: localhost", "host:x", "HOST:", " Host: x"] {
            check_taken_for_http(&server, format!("{before}{host}\r\n\r\n{BODY}").as_bytes());
        }
    }
    check_nothing_taken(&server);
}

#[test]
fn name_before_a_request_logs_nobody_in() {
    let server = start();
    for before in ["alice\n", "alice\r\n\r\n", "\nalice \n \n", "alice "] {
        for method in ["POST", "post", "PROPFIND", "bob"] {
            check_taken_for_http(&server, &request(&format!("{before}{method} /x?bob: evil HTTP/1.1")));
        }
    }
    check_taken_for_http(&server, &request("{\"type\":\"login\",\"name\":\"alice\"}\nPOST / HTTP/1.1"));
    check_nothing_taken(&server);
}

#[test]
fn request_that_comes_later_than_the_name_sends_nothing() {
    let server = start();
    for blank in ["", "\r\n \n"] {
        let mut client = TestClient::login(&server, "alice");
        client.send_bytes(blank.as_bytes());
        let _ = client.try_send_bytes(&request("POST / HTTP/1.1"));
        assert_eq!(client.expect_closed(), [""; 0]);
    }
    assert_eq!(server.sqlite("select count(*) from message"), "0");
}

#[test]
fn message_about_http_is_a_message() {
    let server = start();
    let mut bob = TestClient::login(&server, "bob");
    for first in ["bob: use HTTP/1.1", "bob : HTTP/1.1", "bob, carol: GET / HTTP/1.1", "/ping HTTP/1.1"] {
        let mut alice = TestClient::connect(&server);
        alice.send_bytes(format!("alice\n{first}\nGET / HTTP/1.1\nhost: a name\n/ping end\n").as_bytes());
        alice.expect_error("bad_request");
        alice.ping();
    }
    for text in ["use HTTP/1.1", "HTTP/1.1", "GET / HTTP/1.1"] {
        bob.expect(&format!("from alice: {text}"));
    }
    let mut host = TestClient::login(&server, "host");
    for _ in 0..4 {
        host.expect("from alice: a name");
    }
}

#[test]
fn third_bad_name_closes() {
    let server = start();
    let mut client = TestClient::connect(&server);
    client.send_bytes(b"?\nb/b\na:\nalice\nbob: evil\n");
    for end in ["try again", "try again", "connection closed"] {
        assert!(client.expect_error("bad_name").ends_with(end));
    }
    assert_eq!(client.expect_closed(), [""; 0]);
    check_nothing_taken(&server);
}

#[test]
fn curl_logs_nobody_in() {
    let Some(program) = installed("curl") else { return };
    let server = start();
    let shots: [&[&str]; 13] = [
        &["-X", "alice"],
        &["-X", "post"],
        &["-X", "QUERY"],
        &["-X", "PROPFIND"],
        &["-X", "NICK"],
        &["-X", "\r\nPOST"],
        &["-X", "alice\nPOST"],
        &["-X", "{\"type\":\"login\",\"name\":\"alice\"}"],
        &["-X", "alice", "--http1.0", "-H", "Host:"],
        &["-X", "alice", "--request-target", "bob: evil"],
        &["-X", "alice", "--request-target", "/ bob: evil"],
        &["-X", "alice", "-H", "bob: evil", "-H", "Host:"],
        &["--http2-prior-knowledge"],
    ];
    for options in shots {
        curl(program, options, server.address());
    }
    check_nothing_taken(&server);
}

fn curl(program: &str, options: &[&str], server: SocketAddr) {
    let mut command = Command::new(program);
    command.args(["-s", "--max-time", "5", "--data-binary", BODY]).args(options).arg(format!("http://{server}/"));
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(!status.expect("curl is installed").success(), "curl {options:?} got an answer");
}
