//! Runs the property of `tests/corpus/connection.rs` at a server in this process, so that all of the server is covered.

#![no_main]

#[path = "../../corpus/connection.rs"]
mod connection;
#[path = "../../corpus/plain.rs"]
#[allow(dead_code, reason = "only its lines are used here")]
mod plain;
#[path = "../../corpus/words.rs"]
#[allow(dead_code, reason = "used by the unused part of `plain`")]
mod words;

use std::net::{SocketAddr, TcpListener};
use std::sync::OnceLock;
use std::{fs, thread};

use holdline::config::{Config, Flags};
use holdline::server::Server;
use tempfile::TempDir;

/// Configuration without limits on waiting messages: recipients that never log in must not cause refusals.
const CONFIGURATION: &str = r#"
data = "data"
durability = "crash"
limits = { mailbox_max = 0, unknown_names_max = 0 }
"#;

libfuzzer_sys::fuzz_target!(|input: &[u8]| connection::check(server(), input));

/// Returns the address of the server in this process, which serves until the process ends.
fn server() -> SocketAddr {
    static SERVER: OnceLock<(SocketAddr, TempDir)> = OnceLock::new();
    SERVER.get_or_init(start).0
}

fn start() -> (SocketAddr, TempDir) {
    let home = tempfile::tempdir().expect("a temporary directory");
    let file = home.path().join("holdline.toml");
    fs::write(&file, CONFIGURATION).expect("the file can be written");
    let address = free_address();
    let flags = Flags { listen: vec![address.to_string()], config: Some(file), ..Flags::default() };
    let server = Server::bind(&Config::load(&flags).expect("the configuration is valid")).expect("the server starts");
    thread::spawn(|| server.run());
    (address, home)
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free")
}
