//! Situations of a long life: no free descriptors, clients that end their input and read slowly or not at all, a long
//! history, floods, crowds. Owns endurance; the rules of messages are in `plain.rs` and `keep.rs`.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionread;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{
    LARGE_FLOOD, LARGE_PADDING, TestClient, TestServer, assert_contiguous, eventually, flood, flood_number, is_notice,
    messages, resident_kib,
};

/// Time that a client that ended its input may read nothing of its backlog.
const STALL: Duration = Duration::from_secs(10);

/// Time limit for work that a server with a long history does at once: many times the usual time.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Maximum that an idle connection may add to the server's resident memory.
const IDLE_CONNECTION_BYTES: u64 = 4 * 1024;

/// Maximum that a history may add to the server's resident memory.
const HISTORY_MEMORY_KIB: u64 = 4 * 1024;

/// Minimum that an idle server releases after a flood: most of the memory of its database.
const GIVEN_BACK_KIB: u64 = 1024;

/// Limits that allow a crowd from one address.
const CROWDS_ALLOWED: &str = "limits.connections_per_address_max = 0\nlimits.connects_per_address_per_s = 0\n";

/// More connections than there are descriptors. By default, a server counts its descriptors, and refuses the connections
/// for which it has none.
const MORE_ALLOWED: &str = "limits.connections_max = 1000";

// Descriptors

#[test]
fn without_free_descriptors_connected_clients_chat_on_and_new_ones_wait() {
    let server = TestServer::with_descriptors(MORE_ALLOWED, 40);
    let start = Instant::now();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    let guests = more_guests_than_descriptors(&server);
    assert!(!alice.is_online("guest39"), "40 guests, alice and bob have more than 40 descriptors");

    for number in 0..100 {
        alice.send(&format!("bob: {number}"));
        bob.expect(&format!("from alice: {number}"));
        bob.send(&format!("alice, absent: {number}"));
        alice.expect(&format!("from bob: {number}"));
    }
    // Accepted in the order in which they connected: the last ones because the first ones left.
    for (number, mut guest) in guests.into_iter().enumerate() {
        guest.expect_notice(&format!("guest{number:02}"));
        guest.send("bob: at last");
        bob.expect(&format!("from guest{number:02}: at last"));
        guest.quit();
    }
    alice.expect_nothing();
    assert_waits_double(&warned_waits_ms(&server), start.elapsed());
}

#[test]
fn without_free_descriptors_the_server_shuts_down_cleanly() {
    let mut server = TestServer::with_descriptors(MORE_ALLOWED, 40);
    let mut alice = TestClient::login(&server, "alice");
    let _guests = more_guests_than_descriptors(&server);
    alice.send_bytes(&flood("bob", 0..500, 100));
    alice.ping();
    assert_eq!(server.terminate().code(), Some(0), "{}", server.log());
    assert!(!server.data().join("holdline.db-wal").exists(), "holdline.db-wal is left over");
    assert_eq!(server.sqlite("select count(*) from waiting where recipient = 'bob'"), "500");
}

/// Clients that log in until the server has tried several times to accept one more.
#[track_caller]
fn more_guests_than_descriptors(server: &TestServer) -> Vec<TestClient> {
    let guests = (0..40).map(|number| {
        let mut guest = TestClient::connect(server);
        guest.send(&format!("guest{number:02}"));
        guest
    });
    let guests = guests.collect();
    eventually("the server is out of descriptors", || warned_waits_ms(server).len() >= 4);
    // No client has left yet.
    assert_eq!(warned_waits_ms(server)[..4], [10, 20, 40, 80]);
    guests
}

/// Waiting times in the warnings that no connection can be accepted.
fn warned_waits_ms(server: &TestServer) -> Vec<u64> {
    let log = server.log();
    let warnings = log.lines().filter(|line| line.contains(" WARN ") && line.contains("cannot accept"));
    let waits = warnings.map(|line| line.split(" ms").next()?.rsplit(' ').next()?.parse().ok());
    waits.map(|wait| wait.unwrap_or_else(|| panic!("a warning without its wait:\n{log}"))).collect()
}

/// Checks that each wait is twice the one before, up to a second, or the first one again after a connection was
/// accepted; and that the server waited that long.
#[track_caller]
fn assert_waits_double(waits_ms: &[u64], elapsed: Duration) {
    for pair in waits_ms.windows(2) {
        assert!(pair[1] == waits_ms[0] || pair[1] == 1000.min(2 * pair[0]), "{waits_ms:?}");
    }
    let (_, waited) = waits_ms.split_last().expect("there was a warning");
    assert!(Duration::from_millis(waited.iter().sum()) <= elapsed, "{waits_ms:?} in {elapsed:?}");
}

// The end of input

#[test]
fn client_that_ended_its_input_and_reads_nothing_is_disconnected() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let stuck = half_closed_with_a_backlog(&server, &mut alice, "stuck");
    let start = Instant::now();
    eventually("stuck is disconnected", || !alice.is_online("stuck"));
    let given_up_after = start.elapsed();
    assert!(given_up_after > STALL * 9 / 10 && given_up_after < STALL * 3 / 2, "given up after {given_up_after:?}");

    // Only what its own system holds for it was received.
    let taken_bytes = ioctl_fionread(&stuck).expect("the socket is open") as usize;
    drop(stuck);
    let mut stuck = TestClient::login(&server, "stuck");
    let replayed = stuck.read_flood("alice", LARGE_FLOOD - 1);
    assert_contiguous(&replayed);
    let taken = taken_bytes / LARGE_PADDING;
    // Elsewhere, written bytes count as delivered.
    if cfg!(target_os = "linux") {
        assert!(replayed[0] <= taken, "{taken} messages were taken, {} came next", replayed[0]);
    }
    stuck.expect_nothing();
}

#[test]
fn client_that_ended_its_input_and_reads_slowly_gets_the_whole_backlog() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut slow = half_closed_with_a_backlog(&server, &mut alice, "slow");
    let mut bytes = Vec::new();
    // Each pause is far shorter than the time limit of a client; all together are longer.
    let start = Instant::now();
    while start.elapsed() < STALL * 23 / 20 {
        // Reading slowly is the subject.
        thread::sleep(STALL / 10);
        (&slow).take(64 * 1024).read_to_end(&mut bytes).expect("the connection is open");
    }
    bytes.extend(read_to_an_orderly_end(&mut slow));
    assert_whole(&numbers(&bytes), 0..LARGE_FLOOD);
    server.wait_until_delivered("slow");
    TestClient::login(&server, "slow").expect_nothing();
}

/// Logs in where more waits than all systems in between can hold, and ends the input once the replay has begun.
#[track_caller]
fn half_closed_with_a_backlog(server: &TestServer, alice: &mut TestClient, name: &str) -> TcpStream {
    alice.send_bytes(&flood(name, 0..LARGE_FLOOD, LARGE_PADDING));
    alice.ping();
    let mut stream = connect(server);
    stream.write_all(format!("{name}\n").as_bytes()).unwrap();
    eventually("the replay has begun", || ioctl_fionread(&stream).unwrap() > 0);
    stream.shutdown(Shutdown::Write).unwrap();
    stream
}

#[test]
fn lines_after_a_quit_are_not_sent_and_the_connection_closes_cleanly() {
    let server = TestServer::start();
    let mut carol = TestClient::login(&server, "carol");
    carol.send_bytes(&flood("alice", 0..2000, 1000));
    carol.ping();

    let mut alice = connect(&server);
    alice.write_all(b"alice\nbob: before\n/quit\nbob: after\n/ping after\nbob: without its end").unwrap();
    let read = read_to_an_orderly_end(&mut alice);
    assert_whole(&numbers(&read), 0..2000);
    let lines = lines(&read);
    assert!(lines.iter().any(|line| is_notice(line) && line.contains("bob")), "alice got no notice that bob is away");
    assert!(!lines.contains(&"* pong after".to_owned()), "a line after /quit was answered");
    assert_eq!(server.sqlite("select text from history where sender = 'alice'"), "before");
    server.wait_until_delivered("alice");
}

#[test]
fn bytes_after_a_quit_do_not_reset_the_connection() {
    let server = TestServer::start();
    let mut alice = connect(&server);
    let mut bytes = b"alice\nalice: before\n/quit\n".to_vec();
    bytes.extend(flood("alice", 0..LARGE_FLOOD, LARGE_PADDING));
    let mut writing = alice.try_clone().unwrap();
    let writer = thread::spawn(move || writing.write_all(&bytes));
    let read = read_to_an_orderly_end(&mut alice);
    // More than all systems in between can hold: if the server did not read on, there would be a reset.
    writer.join().unwrap().expect("all of it is taken");
    assert_eq!(messages(&lines(&read)), ["from alice: before"]);
    assert_eq!(server.sqlite("select text from history"), "before");
}

// A long history

/// Alice and Bob have written to each other 990,000 times, then Carol 10,000 times to Dave, who has not logged in yet.
const A_MILLION: &str = "
    pragma synchronous = off;
    begin;
    insert into peer (id, name, seen, cursor, sent) values
        (1, 'alice', 1, 1000000, 989999), (2, 'bob', 1, 1000000, 990000),
        (3, 'carol', 1, 1000000, 1000000), (4, 'dave', 1, 0, 0);
    with recursive number (seq) as (select 1 union all select seq + 1 from number limit 1000000)
    insert into message (seq, at, sender, previous, recipients, text)
    select seq,
           1700000000000 + 1000 * seq,
           iif(seq > 990000, 3, 2 - seq % 2),
           iif(seq > 990000, iif(seq = 990001, 0, seq - 1), max(seq - 2, 0)),
           iif(seq > 990000, '[4]', iif(seq % 2, '[2]', '[1]')),
           seq || ' about the weather, the garden and the cat'
    from number;
    insert into inbox (recipient, last, seqs)
    select recipient, max(seq), json_group_array(seq)
    from (select iif(seq > 990000, 4, 1 + seq % 2) as recipient, seq from message order by 1, 2)
    group by recipient, seq / 800;
    update indexed set seq = 1000000;
    commit;
";

#[test]
fn a_million_messages_change_neither_the_start_nor_the_memory() {
    let empty = TestServer::start();
    let _alice = TestClient::login(&empty, "alice");
    let empty_kib = resident_kib(&empty);

    let mut server = TestServer::start();
    server.terminate();
    server.sqlite_write(A_MILLION);
    let (_, started) = timed(|| server.start_again());
    let (mut alice, logged_in) = timed(|| TestClient::login(&server, "alice"));
    let full_kib = resident_kib(&server);
    println!("a start with a million messages took {started:?}, a login {logged_in:?}");
    println!("it takes {full_kib} KiB of memory, without messages {empty_kib} KiB");
    assert!(started < AT_ONCE, "a start took {started:?}");
    assert!(logged_in < AT_ONCE, "a login took {logged_in:?}");
    assert!(full_kib <= empty_kib + HISTORY_MEMORY_KIB, "{full_kib} KiB, without messages {empty_kib} KiB");
    alice.expect_nothing();

    let (history, shown) = timed(|| alice.history(""));
    println!("/history took {shown:?}");
    assert_eq!(history, past(989_981..=990_000));
    let (history, shown) = timed(|| alice.history("bob 100"));
    println!("/history bob 100 took {shown:?}");
    assert_eq!(history, past(989_901..=990_000));
    let (history, shown) = timed(|| alice.history("carol"));
    println!("/history carol, who never wrote, took {shown:?}");
    assert!(history.is_empty(), "{history:?}");
    assert!(shown < AT_ONCE, "/history took {shown:?}");

    let mut dave = TestClient::connect(&server);
    dave.send("dave");
    let (replayed, read) = timed(|| dave.read_flood("carol", 1_000_000));
    println!("a replay of 10,000 messages took {read:?}");
    assert_whole(&replayed, 990_001..1_000_001);
    dave.expect_nothing();
    println!("after all that, it takes {} KiB", resident_kib(&server));
    alice.send("bob: and on it goes");
    alice.ping();
    assert_eq!(server.sqlite("select seq, text from history order by seq desc limit 1"), "1000001|and on it goes");
}

#[test]
fn lost_index_is_rebuilt_from_the_log() {
    let mut server = TestServer::start();
    server.terminate();
    server.sqlite_write(A_MILLION);
    server.sqlite_write("delete from inbox; delete from indexed; update peer set sent = 0");
    server.start_again();
    let found = "select (select count(*) from inbox join json_each(seqs)) + (select count(*) from unindexed)";
    assert_eq!(server.sqlite(found), "1000000");
    assert_eq!(TestClient::login(&server, "alice").history("bob 100"), past(989_901..=990_000));
    let replayed = TestClient::login(&server, "dave").read_flood("carol", 1_000_000);
    assert_whole(&replayed, 990_001..1_000_001);
}

/// Lines of Alice's history for these messages.
fn past(seqs: impl IntoIterator<Item = usize>) -> Vec<String> {
    let line = |seq| {
        let direction = if seq % 2 == 1 { "to bob" } else { "from bob" };
        format!("{direction}: {seq} about the weather, the garden and the cat")
    };
    seqs.into_iter().map(line).collect()
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}

// Floods and crowds

#[test]
fn eight_concurrent_floods_arrive_complete_and_each_in_order() {
    let server = TestServer::with_config("[limits]\nmailbox_max = 0\n");
    let count = 3000;
    let mut bob = TestClient::login(&server, "bob");
    let names = Vec::from_iter((1..=8).map(|number| format!("sender{number}")));
    let senders = Vec::from_iter(names.iter().map(|name| {
        let mut sender = TestClient::login(&server, name);
        thread::spawn(move || {
            sender.send_bytes(&flood("bob", 0..count, 200));
            sender.expect_nothing();
        })
    }));
    let lines = Vec::from_iter((0..names.len() * count).map(|_| bob.next_message()));
    for (name, sender) in names.iter().zip(senders) {
        sender.join().unwrap();
        let numbers = Vec::from_iter(lines.iter().filter_map(|line| flood_number(line, name)));
        assert_whole(&numbers, 0..count);
    }
    bob.expect_nothing();
    server.wait_until_delivered("bob");
}

#[test]
fn crowd_that_connects_at_once_is_greeted() {
    raise_descriptor_limit();
    let server = TestServer::with_config(CROWDS_ALLOWED);
    let count = 1000;
    let mut crowd = Vec::from_iter((0..count).map(|_| connect(&server)));
    for (number, guest) in crowd.iter_mut().enumerate() {
        guest.write_all(format!("guest{number:03}\n").as_bytes()).unwrap();
    }
    for (number, guest) in crowd.iter().enumerate() {
        let mut greeting = String::new();
        BufReader::new(guest).read_line(&mut greeting).expect("a greeting");
        assert!(
            is_notice(&greeting) && greeting.contains(&format!("guest{number:03}")),
            "guest {number} read `{greeting}`"
        );
    }
    let mut alice = TestClient::login(&server, "alice");
    let here = alice.who();
    assert_eq!(here.iter().filter(|word| word.starts_with("guest")).count(), count);
    alice.send("guest999: hi");
    TestClient::over(crowd.pop().unwrap()).expect("from alice: hi");
}

#[test]
fn idle_connection_uses_little_memory_after_much_traffic() {
    raise_descriptor_limit();
    let server = TestServer::with_config(CROWDS_ALLOWED);
    // The server has allocated by now what it needs for any number of connections.
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(&flood("alice", 0..1000, LARGE_PADDING));
    alice.read_flood("alice", 999);
    let before_kib = resident_kib(&server);
    let count = 1000;
    let guests = Vec::from_iter((0..count).map(|number| {
        let name = format!("guest{number:03}");
        let mut guest = TestClient::login(&server, &name);
        guest.send_bytes(&flood(&name, 0..5, LARGE_PADDING));
        assert_contiguous(&guest.read_flood(&name, 4));
        guest
    }));
    server.wait_until_delivered("guest999");
    let each_bytes = (resident_kib(&server) - before_kib) * 1024 / count;
    println!("each of {} idle connections takes {each_bytes} bytes", guests.len());
    assert!(each_bytes < IDLE_CONNECTION_BYTES, "{each_bytes} bytes each");
}

#[test]
fn server_uses_little_memory_after_a_flood() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    for round in 0..4 {
        let numbers = 1000 * round..1000 * (round + 1);
        alice.send_bytes(&flood("alice", numbers.clone(), LARGE_PADDING));
        assert_whole(&alice.read_flood("alice", numbers.end - 1), numbers);
    }
    let after_kib = resident_kib(&server);
    eventually("the server releases memory that it does not need", || {
        resident_kib(&server) + GIVEN_BACK_KIB <= after_kib
    });
    alice.send("alice: hi");
    alice.expect("from alice: hi");
}

/// A crowd needs more descriptors than a process has at first on many systems.
fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the limit may be raised");
}

// Raw sockets

#[track_caller]
fn connect(server: &TestServer) -> TcpStream {
    let stream = TcpStream::connect(server.address()).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a read timeout can be set");
    stream
}

/// Reads until the server has closed the connection; a reset is not a clean end.
#[track_caller]
fn read_to_an_orderly_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an orderly end");
    bytes
}

fn lines(bytes: &[u8]) -> Vec<String> {
    std::str::from_utf8(bytes).expect("lines are UTF-8").lines().map(str::to_owned).collect()
}

/// Checks that these numbers came, each once and in order; prints little if thousands are wrong.
#[track_caller]
fn assert_whole(numbers: &[usize], expected: Range<usize>) {
    assert_contiguous(numbers);
    assert_eq!((numbers.first(), numbers.len()), (Some(&expected.start), expected.len()), "the first, and how many");
}

/// Numbers of a flood from alice or carol.
fn numbers(bytes: &[u8]) -> Vec<usize> {
    let lines = lines(bytes);
    lines.iter().filter_map(|line| flood_number(line, "alice").or_else(|| flood_number(line, "carol"))).collect()
}
