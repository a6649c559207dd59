//! Addresses to listen on that overlap. Owns which of them a client reaches; never what it says there.

mod support;

use std::net::{TcpListener, TcpStream};
use std::process::Child;
use std::sync::Arc;

use support::{Output, holdline};
use tempfile::TempDir;

#[test]
fn addresses_that_overlap_share_a_port() {
    for addresses in [
        &["0.0.0.0", "[::]"][..],
        &["[::]", "0.0.0.0"],
        &["[::]", "127.0.0.1"],
        &["127.0.0.1", "[::1]", "0.0.0.0", "0.0.0.0"],
        &["[::]"],
    ] {
        let (port, mut process, log, _home) = start(addresses);
        for host in ["127.0.0.1", "[::1]"] {
            let reached = TcpStream::connect(format!("{host}:{port}")).is_ok();
            let is_listed = host == "127.0.0.1" || addresses.iter().any(|address| ["[::]", "[::1]"].contains(address));
            assert_eq!(reached, is_listed, "{host} for {addresses:?}: {}", log.text());
        }
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

/// Starts a server at these addresses, with a free port. Another program may take the port meanwhile: then it is started at another one.
fn start(addresses: &[&str]) -> (u16, Child, Arc<Output>, TempDir) {
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let home = tempfile::tempdir().unwrap();
        let mut command = holdline();
        command.args(["--open", "--data"]).arg(home.path().join("data")).current_dir(home.path());
        command.args(addresses.iter().flat_map(|host| ["--listen".to_owned(), format!("{host}:{port}")]));
        let mut process = command.spawn().unwrap();
        let log = Output::of(process.stderr.take().unwrap());
        let text = log.wait_until(|log| log.contains("listening on"));
        if !text.contains("Address already in use") {
            return (port, process, log, home);
        }
        process.wait().unwrap();
    }
}
