//! Faults of the network between hosts: cables that are pulled or cut, that pass packets in one direction only, or that
//! lose packets. No message is lost or out of order. Owns what the network may do to a chat; faults of the server are in
//! `keep.rs`.
//!
//! The hosts are network namespaces, their users run OpenBSD's `nc`. Where namespaces are not permitted the tests are
//! skipped with a message; if `CI` is set they are required.

#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use support::bad_line::BadLine;
use support::hosts::{Host, Lan};
use support::residents::{HostServer, Nc};
use support::{Output, TestClient, TestServer, comes_true_within, eventually, flood_number, holdline, installed};

/// Messages read before something happens to the cable.
const BEFORE: usize = 10;

/// Messages in total: 200 after those.
const ALL: usize = BEFORE + 200;

/// Bytes of large messages: 200 of them fill what the server's system holds for a client, and an outbox.
const LARGE: usize = 8000;

/// Large messages that exceed what a system holds for a client that does not read.
const WINDOWFUL: usize = 40;

/// Time that a cable is out while the clients wait for it.
const OUTAGE: Duration = Duration::from_millis(1500);

/// Seconds of silence after which a connection counts as dead, in tests that wait for it.
const DEAD_AFTER: Duration = Duration::from_secs(4);

/// Configuration with that value.
const DEAD_AFTER_4_S: &str = "[limits]\ndead_after_s = 4\n";

/// Default of that value in seconds.
const DEAD_AFTER_S_DEFAULT: u64 = 150;

/// Tolerance: the pause between two polls, and a busy machine. The system's own timers may be late by a small part of
/// their time besides.
const MARGIN: Duration = Duration::from_secs(3);

/// Configuration with a certificate: clients may use TLS.
const SELF_SIGNED: &str = "[tls]\nself_signed = true\n";

/// Way in which a user logs in.
type LogIn = fn(&Host, &HostServer<'_>, &str) -> Nc;

/// Event that happens to the cable of a host.
type Befalls = fn(&Lan<2>, &Host);

// The next login

#[test]
fn messages_sent_into_a_pulled_cable_arrive_at_the_next_login() {
    check_next_login(0, Lan::pull, Lan::plug);
}

#[test]
fn messages_that_fill_the_buffers_of_a_pulled_cable_arrive_at_the_next_login() {
    check_next_login(LARGE, Lan::pull, Lan::plug);
}

#[test]
fn messages_lost_beyond_the_switch_arrive_at_the_next_login() {
    check_next_login(0, Lan::cut, Lan::mend);
}

#[test]
fn messages_held_back_by_the_servers_pulled_cable_arrive_at_the_next_login() {
    check_next_login(0, |lan, _| lan.pull(&lan.hosts[0]), |lan, _| lan.plug(&lan.hosts[0]));
}

#[test]
fn messages_over_tls_that_fill_the_buffers_of_a_pulled_cable_arrive_at_the_next_login() {
    if installed("openssl").is_none() {
        return;
    }
    check_next_login_by(Nc::log_in_over_tls, LARGE, Lan::pull, Lan::plug);
}

/// Alice, on the server's host, writes 200 messages to bob, whose line is lost; his `nc` is killed, and no packet says
/// so.
#[track_caller]
fn check_next_login(padding: usize, is_lost: Befalls, is_back: Befalls) {
    check_next_login_by(Nc::log_in, padding, is_lost, is_back);
}

#[track_caller]
fn check_next_login_by(log_in: LogIn, padding: usize, is_lost: Befalls, is_back: Befalls) {
    let Some(lan) = Lan::<2>::new() else { return };
    let [home, garden] = &lan.hosts;
    let server = HostServer::start(home, SELF_SIGNED);
    let mut alice = Nc::log_in(home, &server, "alice");
    let mut bob = log_in(garden, &server, "bob");
    chat_before(&server, &mut alice, &mut bob);

    is_lost(&lan, garden);
    alice.send("bob", BEFORE..ALL, padding);
    assert_eq!(server.waiting("bob"), 200);
    assert!(bob.kill().is_empty(), "nothing comes out of a pulled cable");
    is_back(&lan, garden);

    let mut bob = log_in(garden, &server, "bob");
    bob.expect_flood("alice", BEFORE..ALL);
    bob.expect_nothing();
    server.wait_until_delivered("bob");
}

#[test]
fn messages_sent_into_a_pulled_cable_arrive_at_once_at_a_login_elsewhere() {
    let Some(lan) = Lan::<3>::new() else { return };
    let [home, garden, shed] = &lan.hosts;
    let server = HostServer::start(home, "");
    let mut alice = Nc::log_in(home, &server, "alice");
    let mut bob = Nc::log_in(garden, &server, "bob");
    chat_before(&server, &mut alice, &mut bob);

    lan.pull(garden);
    alice.send("bob", BEFORE..ALL, 0);
    let mut elsewhere = Nc::log_in(shed, &server, "bob");
    elsewhere.expect_flood("alice", BEFORE..ALL);
    server.wait_until_delivered("bob");
    lan.plug(garden);

    // On each connection everything is there once, and in order.
    alice.send("bob", ALL..ALL + 1, 0);
    bob.expect_flood("alice", BEFORE..ALL + 1);
    elsewhere.expect_flood("alice", ALL..ALL + 1);
    bob.expect_nothing();
    elsewhere.expect_nothing();
}

#[test]
fn server_that_crashes_while_a_cable_is_out_delivers_everything_at_the_next_login() {
    let Some(lan) = Lan::<2>::new() else { return };
    let [home, garden] = &lan.hosts;
    let mut server = HostServer::start(home, "");
    let mut alice = Nc::log_in(home, &server, "alice");
    let mut bob = Nc::log_in(garden, &server, "bob");
    chat_before(&server, &mut alice, &mut bob);

    lan.pull(garden);
    alice.send("bob", BEFORE..ALL, 0);
    server.crash_and_start_again();
    lan.plug(garden);

    let mut bob = Nc::log_in(garden, &server, "bob");
    bob.expect_flood("alice", BEFORE..ALL);
    bob.expect_nothing();
}

// The same connection

#[test]
fn cable_that_was_out_for_a_while_delays_messages_without_loss_or_duplicates() {
    check_same_connection(0, Lan::pull, Lan::plug);
}

#[test]
fn cable_that_was_out_until_the_buffers_were_full_causes_no_loss_or_duplicates() {
    check_same_connection(LARGE, Lan::pull, Lan::plug);
}

#[test]
fn lost_acknowledgements_cause_no_duplicates_on_the_same_connection() {
    check_same_connection(0, Lan::mute, Lan::unmute);
}

/// Loses the line for a while; both ends continue.
#[track_caller]
fn check_same_connection(padding: usize, is_lost: Befalls, is_back: Befalls) {
    let Some(lan) = Lan::<2>::new() else { return };
    let [home, garden] = &lan.hosts;
    let server = HostServer::start(home, "");
    let mut alice = Nc::log_in(home, &server, "alice");
    let mut bob = Nc::log_in(garden, &server, "bob");
    chat_before(&server, &mut alice, &mut bob);

    let lost = Instant::now();
    is_lost(&lan, garden);
    bob.write("alice: 0 from the garden\n");
    alice.send("bob", BEFORE..ALL, padding);
    assert_eq!(server.waiting("bob"), 200);
    alice.expect_nothing();
    // The outage is the subject: both systems repeat what they sent, and neither gives up.
    thread::sleep(OUTAGE.saturating_sub(lost.elapsed()));
    is_back(&lan, garden);

    alice.expect_flood("bob", 0..1);
    bob.expect_flood("alice", BEFORE..ALL);
    bob.expect_nothing();
    server.wait_until_delivered("bob");
    Nc::log_in(garden, &server, "bob").expect_nothing();
}

#[test]
fn messages_with_lost_acknowledgements_may_be_repeated_and_are_never_lost() {
    let Some(lan) = Lan::<2>::new() else { return };
    let [home, garden] = &lan.hosts;
    let server = HostServer::start(home, "");
    let mut alice = Nc::log_in(home, &server, "alice");
    let mut bob = Nc::log_in(garden, &server, "bob");
    chat_before(&server, &mut alice, &mut bob);

    lan.mute(garden);
    alice.send("bob", BEFORE..ALL, LARGE);
    bob.read_until("the first of them", |line| flood_number(line, "alice") == Some(BEFORE));
    // Those he read and those he did not: the server cannot know.
    assert_eq!(server.waiting("bob"), 200);
    let read = bob.kill();
    assert!(
        !read.iter().any(|line| flood_number(line, "alice") == Some(ALL - 1)),
        "more came than a system sends at once"
    );
    lan.unmute(garden);

    let mut bob = Nc::log_in(garden, &server, "bob");
    bob.expect_flood("alice", BEFORE..ALL);
    server.wait_until_delivered("bob");
}

// Several connections of one name

#[test]
fn peer_with_a_second_connection_reads_on_there_and_its_messages_count_as_delivered() {
    let Some(lan) = Lan::<3>::new() else { return };
    let [home, garden, shed] = &lan.hosts;
    let server = HostServer::start(home, "");
    let mut alice = Nc::log_in(home, &server, "alice");
    let mut bob = Nc::log_in(garden, &server, "bob");
    let mut elsewhere = [Nc::log_in(home, &server, "bob"), Nc::log_in(shed, &server, "bob")];
    chat_before(&server, &mut alice, &mut bob);

    lan.pull(garden);
    alice.send("bob", BEFORE..ALL, 0);
    for bob in &mut elsewhere {
        bob.expect_flood("alice", 0..ALL);
    }
    server.wait_until_delivered("bob");
    bob.kill();
    lan.plug(garden);

    let mut bob = Nc::log_in(garden, &server, "bob");
    alice.send("bob", ALL..ALL + 1, 0);
    bob.expect_flood("alice", ALL..ALL + 1);
    for bob in &mut elsewhere {
        bob.expect_flood("alice", ALL..ALL + 1);
        bob.expect_nothing();
    }
}

#[test]
fn disconnected_peer_reads_the_same_order_as_a_connected_one() {
    let Some(lan) = Lan::<3>::new() else { return };
    let [home, garden, shed] = &lan.hosts;
    let server = HostServer::start(home, "");
    let mut alice = Nc::log_in(home, &server, "alice");
    let mut bob = Nc::log_in(garden, &server, "bob");
    let mut elsewhere = Nc::log_in(shed, &server, "bob");
    chat_before(&server, &mut alice, &mut bob);

    lan.pull(garden);
    alice.send("bob", BEFORE..ALL, LARGE);
    elsewhere.expect_flood("alice", 0..ALL);
    // The name's cursor is at the end, and this connection far behind it.
    server.wait_until_delivered("bob");
    lan.plug(garden);
    alice.send("bob", ALL..ALL + 1, 0);
    bob.expect_flood("alice", BEFORE..ALL + 1);
    elsewhere.expect_flood("alice", ALL..ALL + 1);
    bob.expect_nothing();
    elsewhere.expect_nothing();
}

#[test]
fn stuck_second_connection_takes_no_messages_from_a_disconnected_one() {
    let Some(lan) = Lan::<3>::new() else { return };
    let [home, garden, shed] = &lan.hosts;
    let server = HostServer::start(home, "");
    let mut alice = Nc::log_in(home, &server, "alice");
    let mut bob = Nc::log_in(garden, &server, "bob");
    let mut stuck = Nc::log_in(shed, &server, "bob");
    stuck.stop();
    alice.send("bob", 0..ALL, LARGE);
    bob.expect_flood("alice", 0..ALL);
    server.wait_until_delivered("bob");

    lan.pull(garden);
    alice.send("bob", ALL..ALL + 200, 0);
    assert_eq!(server.waiting("bob"), 200);
    bob.kill();
    lan.plug(garden);
    let mut bob = Nc::log_in(garden, &server, "bob");
    bob.expect_flood("alice", ALL..ALL + 200);
    bob.expect_nothing();

    stuck.resume();
    stuck.expect_flood("alice", 0..ALL + 200);
    stuck.expect_nothing();
}

// A bad line

#[test]
fn flood_over_a_lossy_line_arrives_complete_and_in_order_in_both_directions() {
    let Some(line) = BadLine::new() else { return };
    let [home, garden] = &line.hosts;
    let server = HostServer::start(home, "");
    let mut alice = Nc::log_in(home, &server, "alice");
    let mut bob = Nc::log_in(garden, &server, "bob");
    let count = 5000;
    alice.flood("bob", 0..count, 100);
    bob.flood("alice", 0..count, 100);
    bob.expect_flood("alice", 0..count);
    alice.expect_flood("bob", 0..count);
    bob.expect_nothing();
    alice.expect_nothing();
    for name in ["alice", "bob"] {
        server.wait_until_delivered(name);
    }
    drop(server);
    for carried in line.take_down() {
        eprintln!("{carried:?}");
        assert!(carried.lost > 0 && carried.overtaken > 0, "the line was not that bad: {carried:?}");
    }
}

// Dead connections

#[test]
fn idle_connection_ends_in_time_after_its_cable_is_pulled() {
    let Some(lan) = Lan::<2>::new() else { return };
    let [home, garden] = &lan.hosts;
    let server = HostServer::start(home, DEAD_AFTER_4_S);
    let mut alice = Nc::log_in(home, &server, "alice");
    let mut bob = Nc::log_in(garden, &server, "bob");
    chat_before(&server, &mut alice, &mut bob);

    lan.pull(garden);
    wait_until_dead(&mut alice, "bob", DEAD_AFTER);
    alice.flood("bob", BEFORE..BEFORE + 1, 0);
    alice.read_until("that it is kept", |line| line.contains("bob is away, kept for later"));
    lan.plug(garden);
    // His system does not know until something is sent.
    bob.write("\n");
    bob.expect_end();
    Nc::log_in(garden, &server, "bob").expect_flood("alice", BEFORE..BEFORE + 1);
}

#[test]
fn connection_with_messages_in_flight_ends_in_time_after_its_cable_is_pulled() {
    let Some(lan) = Lan::<3>::new() else { return };
    let [home, garden, shed] = &lan.hosts;
    let server = HostServer::start(home, DEAD_AFTER_4_S);
    let mut alice = Nc::log_in(home, &server, "alice");
    let mut bob = Nc::log_in(garden, &server, "bob");
    let _carol = Nc::log_in(shed, &server, "carol");
    chat_before(&server, &mut alice, &mut bob);

    lan.pull(garden);
    lan.cut(shed);
    // Little, which the system takes from the server, and much, which keeps the server writing.
    alice.send("bob", BEFORE..ALL, 0);
    alice.send("carol", 0..ALL, LARGE);
    wait_until_dead(&mut alice, "bob", DEAD_AFTER);
    wait_until_dead(&mut alice, "carol", DEAD_AFTER);
    for name in ["bob", "carol"] {
        alice.flood(name, ALL..ALL + 1, 0);
        alice.read_until("that it is kept", |line| line.contains(&format!("{name} is away, kept for later")));
    }
    lan.plug(garden);
    lan.mend(shed);
    Nc::log_in(garden, &server, "bob").expect_flood("alice", BEFORE..ALL + 1);
    Nc::log_in(shed, &server, "carol").expect_flood("alice", 0..ALL + 1);
}

#[test]
fn send_connects_again_in_time_after_its_cable_is_cut() {
    let Some(lan) = Lan::<2>::new() else { return };
    let [home, garden] = &lan.hosts;
    let server = HostServer::start(home, "");
    let home = tempfile::tempdir().expect("a temporary directory can be created");
    let queue = |text: &str| {
        let append = holdline().current_dir(&home).args(["send", "--queue=q", "--to=bob", text]).status();
        assert!(append.expect("holdline can be started").success());
    };
    queue("before");
    let mut drain = garden.command(env!("CARGO_BIN_EXE_holdline"));
    drain.args(["send", "--drain=q", "--as=motion", &format!("--server={}", server.address())]).current_dir(&home);
    let mut drain = drain.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("holdline can be started");
    let stderr = Output::of(drain.stderr.take().expect("stderr is a pipe"));
    eventually("the first message is sent", || server.waiting("bob") == 1);

    lan.cut(garden);
    queue("after");
    let lost = format!("holdline: the server at {} does not answer; trying again\n", server.address());
    assert_eq!(stderr.wait_until(|text| text.ends_with('\n')), lost);
    lan.mend(garden);
    eventually("the second message is sent", || server.waiting("bob") == 2);
    assert_eq!(
        stderr.wait_until(|text| text.len() > lost.len() && text.ends_with('\n')),
        lost + "holdline: reconnected\n"
    );
    drain.kill().and_then(|()| drain.wait()).expect("holdline can be killed");
}

#[test]
fn live_client_that_neither_sends_nor_reads_is_not_disconnected() {
    let Some(lan) = Lan::<2>::new() else { return };
    let [home, garden] = &lan.hosts;
    let server = HostServer::start(home, DEAD_AFTER_4_S);
    let mut alice = Nc::log_in(home, &server, "alice");
    let mut silent = Nc::log_in(garden, &server, "silent");
    let mut stuck = Nc::log_in(garden, &server, "stuck");
    stuck.stop();
    alice.send("stuck", 0..WINDOWFUL, LARGE);
    // The silence is the subject. Later the probes of a closed window are further apart than this short time allows.
    thread::sleep(DEAD_AFTER + Duration::from_secs(1));
    assert!(alice.is_online("silent") && alice.is_online("stuck"));

    stuck.resume();
    stuck.expect_flood("alice", 0..WINDOWFUL);
    alice.send("silent", 0..1, 0);
    silent.expect_flood("alice", 0..1);
}

#[test]
fn by_default_the_system_probes_an_idle_connection_before_150_s_are_over() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.ping();
    // Another timer is set while the last reply is not acknowledged yet.
    let mut probed_in_s = None;
    eventually("the system will probe the connection", || {
        probed_in_s = seconds_until_probe(server.address());
        probed_in_s.is_some()
    });
    assert!(probed_in_s < Some(DEAD_AFTER_S_DEFAULT), "{probed_in_s:?}");
}

/// Returns the time until the system probes the only connection of this address while it is idle; proc_pid_net(5).
fn seconds_until_probe(address: SocketAddr) -> Option<u64> {
    let SocketAddr::V4(address) = address else { panic!("{address} is not IPv4") };
    let local = format!("{:08X}:{:04X}", u32::from(*address.ip()).swap_bytes(), address.port());
    let connections = fs::read_to_string("/proc/net/tcp").expect("the system is Linux");
    let established = |line: &&str| line.split_whitespace().skip(1).step_by(2).take(2).eq([local.as_str(), "01"]);
    let connection = connections.lines().find(established)?;
    let timer = connection.split_whitespace().nth(5)?;
    // In hundredths of a second.
    timer.strip_prefix("02:").map(|when| u64::from_str_radix(when, 16).expect("a time is hexadecimal") / 100)
}

/// Waits until a peer is offline, and not for longer than documented.
#[track_caller]
fn wait_until_dead(onlooker: &mut Nc, name: &str, dead_after: Duration) {
    let start = Instant::now();
    let at_most = dead_after + dead_after / 20 + MARGIN;
    let is_offline = comes_true_within(at_most, || !onlooker.is_online(name));
    assert!(is_offline, "{name} is still here after {:?}", start.elapsed());
    eprintln!("{name} was gone after another {:.1} s", start.elapsed().as_secs_f64());
}

/// Sends some messages that arrive and count as delivered.
#[track_caller]
fn chat_before(server: &HostServer, alice: &mut Nc, bob: &mut Nc) {
    alice.send("bob", 0..BEFORE, 0);
    bob.expect_flood("alice", 0..BEFORE);
    server.wait_until_delivered("bob");
}
