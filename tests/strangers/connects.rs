//! Connects: an address that opens connections without end waits, and is refused in the end; the others notice nothing.

use std::time::{Duration, Instant};

use super::support::{Pair, TestClient, TestServer};

/// Address of the stranger.
const STRANGER: &str = "127.0.0.2";

#[test]
fn address_that_connects_too_fast_waits_and_loses_nothing() {
    let server = TestServer::with_config("limits.connects_per_address_per_s = 10");
    let mut bob = TestClient::login(&server, "bob");
    let started = Instant::now();
    // Four seconds of connects at once, and ten that wait.
    let clients: Vec<_> = (0..50).map(|_| TestClient::connect_from(STRANGER, &server)).collect();
    for (number, client) in clients.into_iter().enumerate() {
        let mut client = client;
        client.send(&format!("stranger{number}\nbob: {number}\n/quit"));
        drop(client.read_to_end());
    }
    let mut texts: Vec<String> = (0..50).map(|_| bob.next_message()).collect();
    assert!(started.elapsed() >= Duration::from_millis(900), "ten connects waited for a tenth of a second each");
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 50, "each message arrived once");
}

#[test]
fn flood_of_connects_is_refused_and_the_pair_chats_on() {
    let server = TestServer::with_config("limits.connects_per_address_per_s = 2");
    let mut pair = Pair::login(&server);
    let mut clients: Vec<_> = (0..8 + 20).map(|_| TestClient::connect_from(STRANGER, &server)).collect();
    pair.chat(20);
    let error = TestClient::connect_from(STRANGER, &server).expect_error("rate_limited");
    assert!(error.contains("127.0.0.2 (connects_per_address_per_s); not logged in"), "{error}");
    clients[0].log_in("stranger");
    TestClient::connect_from("127.0.0.3", &server).log_in("guest");
    pair.chat(20);
}

#[test]
fn one_address_leaves_connections_to_the_others() {
    let server = TestServer::start();
    let mut pair = Pair::login(&server);
    let clients: Vec<_> = (0..512).map(|_| TestClient::connect_from(STRANGER, &server)).collect();
    let error = TestClient::connect_from(STRANGER, &server).expect_error("too_many_connections");
    assert!(error.contains("512 connections from 127.0.0.2 are open (connections_per_address_max)"), "{error}");
    TestClient::connect_from("127.0.0.3", &server).log_in("guest");
    pair.chat(20);
    drop(clients);
}
