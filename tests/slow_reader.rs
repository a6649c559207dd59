//! A client that is connected and does not read during a flood. Owns the cost in memory and in other clients' time;
//! delivery of its messages is in `keep.rs`, and checked here with a large number.

#![cfg(target_os = "linux")]

mod support;

use std::thread;
use std::time::Instant;

use support::{Pair, TestClient, TestServer, assert_contiguous, flood, forget_peak, peak_kib, resident_kib};

/// Messages of the flood.
const MESSAGES: usize = 300_000;

/// Bytes of each, besides its number.
const PADDING: usize = 200;

/// Messages that are sent before the sender waits for its barrier.
const ROUND: usize = 30_000;

/// Bytes that the flood may add to the server's resident memory at any moment.
const GROWTH_KIB: u64 = 4 * 1024;

#[test]
fn flood_for_a_client_that_does_not_read_uses_little_memory_and_delays_no_other_client() {
    let server = TestServer::with_config("[limits]\nmailbox_max = 0\n");
    let mut stuck = TestClient::login(&server, "stuck");
    let mut alice = TestClient::login(&server, "alice");
    let mut pair = Pair::login(&server);
    // By now the server has allocated what it needs once, for any traffic.
    alice.send_bytes(&flood("alice", 0..1000, PADDING));
    alice.read_flood("alice", 999);

    forget_peak(&server);
    let before_kib = resident_kib(&server);
    let start = Instant::now();
    let sender = thread::spawn(move || send_all(&mut alice));
    pair.chat_until(|_| sender.is_finished());
    sender.join().unwrap();
    println!("{MESSAGES} messages were taken in {:?}", start.elapsed());
    check_growth(&server, before_kib);

    let start = Instant::now();
    let numbers = stuck.read_flood("alice", MESSAGES - 1);
    println!("all of them were read in {:?}", start.elapsed());
    assert_contiguous(&numbers);
    assert_eq!(numbers.len(), MESSAGES, "it began with number {}", numbers[0]);
    stuck.expect_nothing();
    server.wait_until_delivered("stuck");
    check_growth(&server, before_kib);
}

#[track_caller]
fn send_all(alice: &mut TestClient) {
    for start in (0..MESSAGES).step_by(ROUND) {
        alice.send_bytes(&flood("stuck", start..start + ROUND, PADDING));
        alice.expect_nothing();
    }
}

#[track_caller]
fn check_growth(server: &TestServer, before_kib: u64) {
    let (now_kib, peak_kib) = (resident_kib(server), peak_kib(server));
    println!("{before_kib} KiB of memory before, {now_kib} KiB now, {peak_kib} KiB at most");
    assert!(peak_kib < before_kib + GROWTH_KIB, "{peak_kib} KiB, {before_kib} KiB before the flood");
}
