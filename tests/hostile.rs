//! Hostile or broken clients: crowds that send nothing, lines without an end, noise, floods of requests whose replies
//! are never read, connections that break at every stage. Owns the proof that others notice nothing, and that nothing is
//! left behind.

#![cfg(target_os = "linux")]

mod support;

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::net::{SendFlags, send, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{
    Pair, TestClient, TestServer, descriptors, eventually, forget_peak, is_notice, messages, peak_kib, resident_kib,
    wait_for_descriptors, wait_until_at_rest,
};

/// Time that a hostile client waits for the server to read more.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time in which a server closes the sockets of clients that left: it gives a client 2 s to close its side, and 10 s to
/// read what is written to it.
const ALL_GONE: Duration = Duration::from_secs(8);

/// Time in which a server stops while no client has anything to receive: it gives those that have 5 s.
const SHUTDOWN: Duration = Duration::from_secs(4);

/// Exchanges of the pair during an attack that continues as long as they chat.
const EXCHANGES: usize = 30;

/// The crowds come from one address. That these limits hold them off by themselves is the subject of `strangers`.
const CROWDS_ALLOWED: &str = "limits.connections_per_address_max = 0\nlimits.connects_per_address_per_s = 0\n";

/// Server under attack, and a pair that chats.
struct Siege {
    server: TestServer,
    pair: Pair,
    descriptors: usize,
    before_kib: u64,
    /// Lock for one siege at a time, because the effect on the pair's time is measured.
    _alone: MutexGuard<'static, ()>,
}

/// Knowledge of an attacker.
struct Besieged<'s> {
    server: &'s TestServer,
    is_over: &'s AtomicBool,
}

impl Besieged<'_> {
    /// Whether an attack has lasted long enough: for this many exchanges.
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

impl Siege {
    #[track_caller]
    fn start() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        raise_descriptor_limit();
        let server = TestServer::with_config(CROWDS_ALLOWED);
        let pair = Pair::login(&server);
        let descriptors = descriptors(&server);
        forget_peak(&server);
        let before_kib = resident_kib(&server);
        Siege { server, pair, descriptors, before_kib, _alone: alone }
    }

    /// Lets the pair chat during the attack, while it holds what it returns, and after that is dropped. The server may
    /// use this much more memory for a moment, and no descriptor for longer than the attack holds its other end.
    #[track_caller]
    fn withstand<H: Send>(mut self, growth_kib: u64, attack: impl FnOnce(&Besieged) -> H + Send) -> TestServer {
        let is_over = AtomicBool::new(false);
        let held = thread::scope(|scope| {
            // If the pair fails, the attack ends too.
            let over = SetAtLast(&is_over);
            let besieged = Besieged { server: &self.server, is_over: &is_over };
            let attack = scope.spawn(move || attack(&besieged));
            self.pair.chat_until(|exchanges| {
                over.set_if(exchanges >= EXCHANGES);
                attack.is_finished()
            });
            attack.join().expect("an attack fails in words")
        });
        self.pair.chat(EXCHANGES / 3);
        self.check_memory(growth_kib);
        drop(held);
        let start = Instant::now();
        wait_for_descriptors(&self.server, self.descriptors);
        assert!(start.elapsed() < ALL_GONE, "the sockets came back after {:?}", start.elapsed());
        wait_until_at_rest(&self.server);
        self.pair.chat(EXCHANGES / 3);
        self.check_memory(growth_kib);
        assert!(!self.server.log().contains("ERROR"), "{}", self.server.log());
        self.server
    }

    #[track_caller]
    fn check_memory(&self, growth_kib: u64) {
        let (before_kib, peak_kib) = (self.before_kib, peak_kib(&self.server));
        println!("{before_kib} KiB of memory before the attack, {peak_kib} KiB at most");
        assert!(peak_kib < before_kib + growth_kib, "{peak_kib} KiB, {before_kib} KiB before the attack");
    }
}

/// Flag that is set when this is dropped.
struct SetAtLast<'f>(&'f AtomicBool);

impl SetAtLast<'_> {
    fn set_if(&self, is_so: bool) {
        self.0.fetch_or(is_so, Ordering::Relaxed);
    }
}

impl Drop for SetAtLast<'_> {
    fn drop(&mut self) {
        self.set_if(true);
    }
}

// Crowds

#[test]
fn crowd_that_sends_nothing_or_single_bytes_uses_little_memory() {
    Siege::start().withstand(24 * 1024, |besieged| {
        let server = besieged.server;
        let mut silent = Vec::from_iter((0..500).map(|_| connect(server)));
        let mut slow = Vec::from_iter((0..500).map(|_| connect(server)));
        // The names never end, and neither do the lines of logged-in clients.
        slow.extend((0..100).map(|number| log_in(server, &format!("slow{number}"))));
        for byte in b"someone-types: very slowly, if at" {
            slow.iter_mut().for_each(|slow| slow.write_all(&[*byte]).unwrap());
        }
        silent.drain(..250).for_each(reset);
        slow.drain(..250).for_each(reset);
        (silent, slow)
    });
}

#[test]
fn crowd_with_unfinished_lines_before_the_login_uses_little_memory() {
    Siege::start().withstand(16 * 1024, |besieged| {
        let crowd = Vec::from_iter((0..500).map(|_| connect(besieged.server)));
        for (bytes, mut stream) in [8191, 60_000].into_iter().cycle().zip(&crowd) {
            stream.write_all(format!("{{\"type\":\"{}", "x".repeat(bytes - 9)).as_bytes()).unwrap();
        }
        crowd
    });
}

#[test]
fn crowds_that_connect_and_disconnect_delay_no_other_client() {
    Siege::start().withstand(16 * 1024, |besieged| {
        thread::scope(|scope| {
            for leave in [reset, drop] {
                scope.spawn(move || come_and_go(besieged, leave));
            }
        });
    });
}

fn come_and_go(besieged: &Besieged, leave: fn(TcpStream)) {
    while !besieged.is_over() {
        let crowd = Vec::from_iter((0..100).map(|_| connect(besieged.server)));
        crowd.into_iter().for_each(leave);
    }
}

// Bytes without end

#[test]
fn endless_blank_lines_before_the_login_delay_no_other_client() {
    check_flood(b"", b"\n");
}

#[test]
fn endless_invalid_lines_before_the_login_delay_no_other_client() {
    check_flood(b"", b"\xff\n");
}

#[test]
fn endless_blank_lines_delay_no_other_client() {
    check_flood(b"alice\n", b"\n");
}

#[test]
fn endless_line_delays_no_other_client() {
    check_flood(b"alice\n", b"x");
}

/// Sends something repeatedly, as fast as the server reads it, and reads the replies as fast as they come.
#[track_caller]
fn check_flood(first: &[u8], again: &[u8]) {
    Siege::start().withstand(4 * 1024, |besieged| {
        let flood = connect(besieged.server);
        (&flood).write_all(first).unwrap();
        let again = again.repeat(100_000);
        thread::scope(|scope| {
            scope.spawn(|| io::copy(&mut &flood, &mut io::sink()));
            while !besieged.is_over() {
                (&flood).write_all(&again).unwrap();
            }
            flood.shutdown(Shutdown::Both).unwrap();
        });
        reset(flood);
    });
}

#[test]
fn endless_sender_does_not_delay_the_shutdown() {
    let mut server = TestServer::with_config("[limits]\nmailbox_max = 0\n");
    let floods: [(&[u8], &[u8]); 3] = [(b"", b"\n"), (b"alice\n", b"bob: hi\n"), (b"carol\n", b"x")];
    let streams = floods.map(|_| connect(&server));
    thread::scope(|scope| {
        for (stream, (first, again)) in streams.iter().zip(floods) {
            scope.spawn(move || send_until_closed(stream, first, again));
        }
        eventually("the floods have begun", || server.sqlite("select count(*) > 1000 from history") == "1");
        let start = Instant::now();
        assert_eq!(server.terminate().code(), Some(0), "{}", server.log());
        assert!(start.elapsed() < SHUTDOWN, "it took {:?}", start.elapsed());
    });
}

fn send_until_closed(mut stream: &TcpStream, first: &[u8], again: &[u8]) {
    let again = again.repeat(10_000);
    let mut sent = stream.write_all(first);
    while sent.is_ok() {
        sent = stream.write_all(&again);
    }
}

#[test]
fn a_hundred_megabytes_without_a_newline_are_one_error() {
    let server = Siege::start().withstand(2 * 1024, |&Besieged { server, .. }| {
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut nameless = TestClient::connect(server);
                send_megabytes(&mut nameless, 100);
                nameless.expect_error("too_long");
                nameless.log_in("nameless");
                nameless.expect_nothing();
            });
            let mut alice = TestClient::login(server, "alice");
            alice.send_bytes(b"alice: ");
            send_megabytes(&mut alice, 100);
            alice.expect_error("too_long");
            alice.expect_nothing();
        });
    });
    assert_eq!(server.sqlite("select count(*) from history where sender not in ('carol', 'dave')"), "0");
}

/// Sends this many megabytes, and only then a newline.
#[track_caller]
fn send_megabytes(client: &mut TestClient, megabytes: usize) {
    let megabyte = vec![b'x'; 1_000_000];
    for _ in 0..megabytes {
        client.send_bytes(&megabyte);
    }
    client.send_bytes(b"\n");
}

#[test]
fn noise_is_answered_with_clean_lines() {
    let seed = fastrand::u64(0..1_000_000);
    println!("the noise is that of seed {seed}");
    // A line of two words before the login is a password, and checking one takes 7 MiB.
    Siege::start().withstand((4 + 7) * 1024, |&Besieged { server, .. }| {
        thread::scope(|scope| {
            for number in 0..4 {
                let mut rng = Rng::with_seed(seed + number);
                scope.spawn(move || {
                    // Two of them are logged in, where a line may be anything.
                    if number >= 2 {
                        let answers = check_answers_to_noise(log_in(server, &format!("noisy{number}")), rng);
                        assert!(answers > 1000, "only {answers} answers");
                        return;
                    }
                    // The others may begin again: the noise may contain three bad names, which close a connection.
                    let mut answers = 0;
                    while answers <= 1000 {
                        answers += check_answers_to_noise(connect(server), rng.fork());
                    }
                });
            }
        });
    });
}

/// Sends noise, and checks every line of the replies. Returns the number of replies.
#[track_caller]
fn check_answers_to_noise(stream: TcpStream, mut rng: Rng) -> usize {
    let mut writing = stream.try_clone().unwrap();
    let writer = thread::spawn(move || {
        let mut noise = vec![0; 100_000];
        // The first byte makes it plain lines.
        let mut written = writing.write_all(b"?");
        for _ in 0..40 {
            rng.fill(&mut noise);
            written = written.and_then(|()| writing.write_all(&noise));
        }
        written.and_then(|()| writing.shutdown(Shutdown::Write)).expect("the server reads everything");
    });
    let mut answers = 0;
    for line in BufReader::new(stream).lines() {
        let line = line.expect("lines in UTF-8, and an orderly end");
        // The noise may contain a name, and even a message.
        assert!(["! ", "* ", "from "].iter().any(|start| line.starts_with(start)), "noise was answered `{line}`");
        assert_printable(&line);
        answers += 1;
    }
    writer.join().unwrap();
    answers
}

#[test]
fn nul_bytes_and_escape_sequences_reach_neither_terminals_nor_the_log() {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    let traps = [
        "\u{1b}[2J",
        "\u{1b}]0;owned\u{7}",
        "\u{9b}31m",
        "\u{90}q\u{9c}",
        "\u{8}\u{8}",
        "\u{7f}",
        "\u{0}",
        "a\rb\u{1b}",
    ];
    for trap in traps {
        let mut stranger = TestClient::connect(&server);
        stranger.send(&format!("name-{trap}"));
        assert_printable(&stranger.next_message());
    }
    let mut alice = TestClient::login(&server, "alice");
    for trap in traps {
        for line in [
            format!("bob: before {trap} after"),
            format!("bob{trap}: text"),
            format!("bob,{trap}: text"),
            trap.to_owned(),
            format!("{trap}: text"),
            format!("/ping {trap}"),
            format!("/{trap}"),
            format!("/who {trap}"),
            format!("/history {trap}"),
            format!("/history bob {trap}"),
            format!("/quit {trap}"),
        ] {
            alice.send(&line);
        }
    }
    alice.send("/history 1000\n/who");
    alice.ping().iter().for_each(|line| assert_printable(line));
    let read = bob.ping();
    assert_eq!(messages(&read).len(), traps.len(), "one line in eleven is a message: {read:?}");
    read.iter().for_each(|line| assert_printable(line));
    assert_printable(&server.sqlite("select text from history").replace('\n', " "));
    assert_printable(&server.log().replace('\n', " "));
}

/// Checks that it contains nothing that a terminal would interpret.
#[track_caller]
fn assert_printable(line: &str) {
    assert!(!line.chars().any(char::is_control), "{line:?} contains a control character");
}

// Requests

#[test]
fn line_with_thousands_of_destinations_is_refused_and_creates_no_peers() {
    let server = Siege::start().withstand(4 * 1024, |&Besieged { server, .. }| {
        let mut alice = TestClient::login(server, "alice");
        let names = |count| Vec::from_iter((0..count).map(|number| format!("n{number}"))).join(",");
        let many_names = format!("{}: hi\n", names(1500));
        let many_commas = format!("{}: hi\n", ",".repeat(8000));
        let many_rooms = format!("{}: hi\n", "#x,".repeat(2000));
        for _ in 0..100 {
            for (line, code) in [(&many_names, "bad_request"), (&many_commas, "bad_name"), (&many_rooms, "bad_name")] {
                alice.send_bytes(line.as_bytes());
                alice.expect_error(code);
            }
        }
        // One name is one destination, however often it is named.
        alice.send(&format!("{}alice: once", "alice, ".repeat(1000)));
        alice.expect("from alice: once");
        alice.expect_nothing();
        alice
    });
    assert_eq!(server.sqlite("select count(*) from history where sender = 'alice'"), "1");
    assert_eq!(server.sqlite("select count(*) from waiting where recipient not in ('carol', 'dave')"), "0");
}

#[test]
fn endless_requests_with_unread_replies_use_one_outbox_each() {
    let siege = Siege::start();
    let crowd = Vec::from_iter((0..200).map(|number| log_in(&siege.server, &format!("{}{number}", "x".repeat(28)))));
    siege.withstand(24 * 1024, |&Besieged { server, .. }| {
        let hogs = thread::scope(|scope| {
            let hogs = Vec::from_iter((0..8).map(|number| scope.spawn(move || ask_without_end(server, number))));
            Vec::from_iter(hogs.into_iter().map(|hog| hog.join().unwrap()))
        });
        (hogs, crowd)
    });
}

/// Requests large replies until the server reads no more requests.
#[track_caller]
fn ask_without_end(server: &TestServer, number: usize) -> TcpStream {
    let name = format!("hog{number}");
    let mut hog = log_in(server, &name);
    let line = format!("{name}: {}\n", "x".repeat(1000));
    hog.write_all(line.repeat(300).as_bytes()).unwrap();
    hog.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    loop {
        match hog.write(&b"/history 1000\n/who\n/help\n".repeat(100)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return hog,
            Err(error) => panic!("the server closed {name}: {error}"),
        }
    }
}

// Connections that break

#[test]
fn connections_may_break_at_any_stage() {
    let stages: [&[u8]; 13] = [
        b"",
        b"\x16\x03\x01",
        b"{\"type\":",
        b"GET / HTTP/1.1\r\n\r\n",
        b"G",
        b"mallo",
        b"mallory",
        b"mallory\n",
        b"mallory\nmallory: to my",
        b"mallory\nmallory: to myself\n/history\n/ping\n",
        b"mallory\n/quit\nand on",
        b"mallory\n\xff\xfb",
        b"\0\0\0",
    ];
    Siege::start().withstand(4 * 1024, |&Besieged { server, .. }| {
        for stage in stages {
            for end in [Broken::Reset, Broken::Closed, Broken::Half, Broken::Urgent, Broken::UrgentReset] {
                for _ in 0..10 {
                    let mut stream = connect(server);
                    stream.write_all(stage).unwrap();
                    end.bring(stream);
                }
            }
        }
    });
}

/// Way in which a connection breaks.
#[derive(Clone, Copy)]
enum Broken {
    Reset,
    Closed,
    /// Only the input ends; all output is read.
    Half,
    /// An out-of-band byte, which is in no line, then the same.
    Urgent,
    UrgentReset,
}

impl Broken {
    #[track_caller]
    fn bring(self, mut stream: TcpStream) {
        match self {
            Broken::Reset => reset(stream),
            Broken::Closed => drop(stream),
            Broken::Half => {
                stream.shutdown(Shutdown::Write).unwrap();
                stream.read_to_end(&mut Vec::new()).unwrap();
            }
            Broken::Urgent => {
                send(&stream, b"!", SendFlags::OOB).unwrap();
                Broken::Half.bring(stream);
            }
            Broken::UrgentReset => {
                send(&stream, b"!", SendFlags::OOB).unwrap();
                reset(stream);
            }
        }
    }
}

#[test]
fn out_of_band_byte_is_ignored_and_causes_no_busy_loop() {
    Siege::start().withstand(1024, |&Besieged { server, .. }| {
        let mut alice = log_in(server, "alice");
        send(&alice, b"!", SendFlags::OOB).unwrap();
        // The byte is never read, and while it is pending the server must be idle.
        let mut bob = TestClient::login(server, "bob");
        bob.send("alice: hi");
        bob.ping();
        let mut line = String::new();
        BufReader::new(&alice).read_line(&mut line).unwrap();
        assert_eq!(line, "from bob: hi\n");
        alice.write_all(b"bob: and ").unwrap();
        send(&alice, b"!", SendFlags::OOB).unwrap();
        alice.write_all(b"hi\n").unwrap();
        bob.expect("from alice: and hi");
        (alice, bob)
    });
}

// Raw sockets

#[track_caller]
fn connect(server: &TestServer) -> TcpStream {
    let stream = TcpStream::connect(server.address()).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout can be set");
    stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout can be set");
    stream
}

/// Connects, logs in, and reads the greeting and not a byte more.
#[track_caller]
fn log_in(server: &TestServer, name: &str) -> TcpStream {
    let mut stream = connect(server);
    stream.write_all(format!("{name}\n").as_bytes()).unwrap();
    let mut greeting = Vec::new();
    while greeting.last() != Some(&b'\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        greeting.extend(byte);
    }
    let greeting = String::from_utf8(greeting).unwrap();
    assert!(is_notice(&greeting), "{name} expected a greeting, and read `{greeting}`");
    stream
}

fn reset(stream: TcpStream) {
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("the linger time can be set");
}

/// A crowd needs more descriptors than a process has at first on many systems.
fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the limit may be raised");
}
