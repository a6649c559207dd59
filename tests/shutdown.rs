//! Shutdown: signals, what is still processed and delivered, and what is left on disk. Owns the last seconds of the
//! server; crashes are in `keep.rs`.

mod support;

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::{
    LARGE_FLOOD, LARGE_PADDING, TestClient, TestServer, assert_contiguous, eventually, flood, flood_number, holdline,
    messages, wait_for_exit,
};

/// Time that clients get to read their queued output.
const SHUTDOWN: Duration = Duration::from_secs(5);

#[test]
fn sigterm_and_sigint_end_the_server_with_exit_code_0() {
    let mut server = TestServer::start();
    for signal in [Signal::TERM, Signal::INT] {
        let mut alice = TestClient::login(&server, "alice");
        let mut silent = TestClient::connect(&server);
        server.signal(signal);
        assert!(messages(&alice.expect_closed()).iter().all(|line| line.starts_with("! shutting_down: ")));
        assert!(messages(&silent.expect_closed()).iter().all(|line| line.starts_with("! shutting_down: ")));
        drop((alice, silent));
        assert_eq!(server.wait().code(), Some(0), "{}", server.log());
        server.start_again();
    }
}

#[test]
fn server_without_clients_ends_at_once() {
    let mut server = TestServer::start();
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn lines_that_were_read_are_committed() {
    let mut server = TestServer::with_config("[limits]\nmailbox_max = 0\n");
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    // At some point the server reads no more, and drops the rest.
    let sender = thread::spawn(move || alice.try_send_bytes(&flood("bob", 0..20_000, 100)));
    let mut read = bob.read_flood("alice", 500);
    server.signal(Signal::TERM);
    read.extend(numbers(&bob.read_to_end()));
    assert_eq!(server.wait().code(), Some(0));
    let _ = sender.join().unwrap();

    let stored: usize = server.sqlite("select count(*) from history").parse().unwrap();
    assert_eq!(read, Vec::from_iter(0..read.len()));
    assert!(stored >= read.len(), "bob read {} messages, {stored} are on disk", read.len());
    server.start_again();
    let mut bob = TestClient::connect(&server);
    bob.send("bob");
    bob.shutdown_write();
    let replayed = numbers(&bob.read_to_end());
    // Nothing is missing between what was delivered and what is replayed.
    let first = replayed.first().copied().unwrap_or(stored);
    assert!(first <= read.len(), "{} were read, {stored} are on disk, {first} came next", read.len());
    assert_eq!(replayed, Vec::from_iter(first..stored));
}

#[test]
fn clients_that_read_get_all_messages() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let bob = TestClient::login(&server, "bob");
    alice.send_bytes(&flood("bob", 0..200, 500));
    alice.quit();
    server.signal(Signal::TERM);
    assert_eq!(numbers(&bob.read_to_end()), Vec::from_iter(0..200));
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.sqlite("select count(*) from waiting"), "0");
}

#[test]
fn a_client_that_falls_behind_gets_the_rest_while_it_reads() {
    let mut server = TestServer::start();
    // A busy machine may stall a reader until its time is up; it hardly does so three times in a row.
    let was_whole = (0..3).any(|round| {
        let name = format!("bob{round}");
        let mut alice = TestClient::login(&server, "alice");
        let bob = TestClient::login(&server, &name);
        alice.send_bytes(&flood(&name, 0..LARGE_FLOOD, LARGE_PADDING));
        alice.quit();
        server.signal(Signal::TERM);
        let read = numbers(&bob.read_to_end());
        assert_eq!(server.wait().code(), Some(0));
        assert_eq!(read, Vec::from_iter(0..read.len()));
        server.start_again();
        read.len() == LARGE_FLOOD
    });
    assert!(was_whole, "a reader was cut off");
}

#[test]
fn messages_of_a_client_that_does_not_read_are_stored_and_delay_nothing() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let stuck = TestClient::login(&server, "stuck");
    let mut bob = TestClient::login(&server, "bob");
    alice.send_bytes(&flood("stuck", 0..LARGE_FLOOD, LARGE_PADDING));
    alice.send("bob: hi");
    alice.ping();
    assert_eq!(server.terminate().code(), Some(0), "{}", server.log());
    assert_eq!(messages(&bob.expect_closed())[0], "from alice: hi");

    // Bytes that the systems in between had accepted are still read; the rest is replayed.
    let taken = numbers(&stuck.read_to_end());
    assert_eq!(taken, Vec::from_iter(0..taken.len()));
    server.start_again();
    let replayed = TestClient::login(&server, "stuck").read_flood("alice", LARGE_FLOOD - 1);
    assert_contiguous(&replayed);
    assert!(replayed[0] <= taken.len(), "{} messages were taken, {} came next", taken.len(), replayed[0]);
}

#[test]
fn second_signal_ends_the_server_at_once_without_loss() {
    let mut server = TestServer::start();
    let mut sent = 0;
    // A busy machine may stall us for any time; it hardly does so three times in a row.
    let was_at_once = (0..3).any(|_| {
        let mut alice = TestClient::login(&server, "alice");
        let _stuck = TestClient::login(&server, "stuck");
        alice.send_bytes(&flood("stuck", sent..sent + LARGE_FLOOD, LARGE_PADDING));
        alice.ping();
        sent += LARGE_FLOOD;
        let start = Instant::now();
        server.signal(Signal::TERM);
        let address = server.address();
        eventually("no connection is accepted any more", || TcpStream::connect(address).is_err());
        server.signal(Signal::TERM);
        server.wait();
        let was_at_once = start.elapsed() < SHUTDOWN;
        server.start_again();
        was_at_once
    });
    assert!(was_at_once, "the second signal changed nothing");
    assert_eq!(server.sqlite("pragma integrity_check"), "ok");
    assert_eq!(server.sqlite("select count(*) from history"), sent.to_string());
    let replayed = TestClient::login(&server, "stuck").read_flood("alice", sent - 1);
    assert_contiguous(&replayed);
}

#[test]
fn no_files_are_left_beside_the_database() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(&flood("bob", 0..500, 100));
    alice.ping();
    assert!(server.data().join("holdline.db-wal").exists(), "a running server writes ahead");
    alice.quit();
    assert_eq!(server.terminate().code(), Some(0));
    for name in ["holdline.db-wal", "holdline.db-shm"] {
        assert!(!server.data().join(name).exists(), "{name} is left over");
    }
    assert_eq!(server.sqlite("select count(*) from history"), "500");
    assert_eq!(server.sqlite("pragma integrity_check"), "ok");
}

/// On Linux all of 127.0.0.0/8 is the machine itself: an address of our own, whose port no other process has.
#[cfg(target_os = "linux")]
#[test]
fn signal_right_after_the_first_connection_ends_the_server_cleanly() {
    for round in 0..10 {
        let [_, .., high, low] = std::process::id().to_be_bytes();
        let address: SocketAddr = format!("127.{}.{high}.{low}:7878", 100 + round).parse().unwrap();
        let home = tempfile::tempdir().unwrap();
        let mut command = holdline();
        command
            .args(["--listen", &address.to_string(), "--data"])
            .arg(home.path().join("data"))
            .current_dir(home.path());
        let mut process = command.spawn().unwrap();
        eventually("the server listens", || TcpStream::connect(address).is_ok());
        kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
        let status = wait_for_exit(&mut process);
        assert_eq!(status.code(), Some(0), "{status}");
        assert!(!home.path().join("data/holdline.db-wal").exists(), "holdline.db-wal is left over");
    }
}

/// Returns the numbers of a flood from alice in the bytes that a client has read, without an unfinished last line.
fn numbers(bytes: &[u8]) -> Vec<usize> {
    let whole = &bytes[..bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)];
    let text = std::str::from_utf8(whole).expect("lines are UTF-8");
    text.lines().filter_map(|line| flood_number(line, "alice")).collect()
}
