//! Messages on a disk that loses power, is full or fails. The server's binary runs on a disk that the test controls.
//! Owns what the medium may do; crashes of the server alone are in `keep.rs`.
#![cfg(target_os = "linux")]

mod faulty_disk;
mod support;

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastrand::Rng;
use faulty_disk::{Errno, FaultyDisk, Operation};
use support::{
    TestClient, TestServer, assert_contiguous, eventually, flood, flood_number, holdline, messages, wait_for_exit,
};

/// Default durability, without a limit for waiting messages.
const POWER_LOSS: &str = "[limits]\nmailbox_max = 0\n";

/// A commit survives the end of the process, and not a power cut.
const CRASH: &str = "durability = \"crash\"\n[limits]\nmailbox_max = 0\n";

/// Senders in a [`Chat`].
const SENDERS: [&str; 2] = ["alice", "carol"];

/// Pages of the write-ahead log at which it is checkpointed.
const CHECKPOINT_WAL_PAGES: u64 = 1000;

/// Bytes of a page in the write-ahead log, with its header.
const WAL_FRAME_BYTES: u64 = 24 + 4096;

/// Time to wait for lines that must not come.
const SILENCE: Duration = Duration::from_millis(100);

// Model of the disk

#[test]
fn faulty_disk_keeps_synced_bytes_and_nothing_else() {
    let Some(mut disk) = FaultyDisk::mount(0) else { return };
    disk.set_luck(0.0);
    let directory = disk.path("directory");
    fs::create_dir(&directory).unwrap();
    let mut file = File::create(directory.join("kept")).unwrap();
    file.write_all(b"synced").unwrap();
    file.sync_all().unwrap();
    for synced in [&directory, &disk.path("")] {
        File::open(synced).unwrap().sync_all().unwrap();
    }
    file.write_all(b", and this is not").unwrap();
    File::create(directory.join("nameless")).unwrap().sync_all().unwrap();
    assert_eq!(fs::read(directory.join("kept")).unwrap(), b"synced, and this is not");
    drop(file);

    disk.cut();
    assert!(fs::write(directory.join("late"), "no power").is_err());
    disk.restore_power();
    assert_eq!(fs::read(directory.join("kept")).unwrap(), b"synced");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
}

#[test]
fn faulty_disk_loses_bytes_that_it_failed_to_sync() {
    let Some(mut disk) = FaultyDisk::mount(0) else { return };
    disk.set_luck(0.0);
    let mut file = File::create(disk.path("file")).unwrap();
    file.set_len(8192).unwrap();
    file.sync_all().unwrap();
    File::open(disk.path("")).unwrap().sync_all().unwrap();

    disk.fail_times(Operation::Sync, Errno::EIO, 1);
    file.write_all(&[b'x'; 8192]).unwrap();
    assert!(file.sync_all().is_err());
    file.write_all(b"behind").unwrap();
    file.sync_all().expect("nothing is left that fails");
    drop(file);
    disk.cut();
    disk.restore_power();
    let left = fs::read(disk.path("file")).unwrap();
    assert!(left[..8192].iter().all(|byte| *byte == 0) && &left[8192..] == b"behind");
}

// Power cuts

#[test]
fn accepted_messages_survive_repeated_power_cuts() {
    for seed in 0..8 {
        let Some(mut chat) = Chat::start(seed, POWER_LOSS, "bob, dave") else { return };
        for _ in 0..6 {
            let operations = chat.random.usize(1..400);
            chat.cut_while_they_talk(|disk| disk.cut_at(operations));
            chat.expect_surviving();
        }
        chat.end();
    }
}

#[test]
fn accepted_messages_survive_power_cuts_during_checkpoints() {
    for seed in 0..2 {
        let Some(mut chat) = Chat::start(seed, POWER_LOSS, &format!("bob, dave, {}", crowd())) else { return };
        for _ in 0..2 {
            let pages = chat.random.usize(1..200);
            chat.cut_while_they_talk(|disk| disk.cut_at_file("holdline.db", pages));
            chat.expect_surviving();
        }
        // And soon after the write-ahead log has restarted.
        let operations = chat.random.usize(1..100);
        chat.cut_while_they_talk(|disk| {
            disk.wait_for_sync_of("holdline.db");
            disk.cut_at(operations);
        });
        chat.expect_surviving();
        chat.end();
    }
}

#[test]
fn with_durability_crash_a_power_cut_loses_only_the_newest_messages() {
    let mut lost = 0;
    for seed in 0..4 {
        let Some(mut chat) = Chat::start(seed, CRASH, "bob, dave") else { return };
        for _ in 0..4 {
            let operations = chat.random.usize(100..800);
            chat.cut_while_they_talk(|disk| disk.cut_at(operations));
            lost += chat.lost();
        }
        chat.end();
    }
    assert!(lost > 0, "nothing was lost: the disk does not do what it is for");
}

#[test]
fn power_cut_at_any_moment_of_the_first_start_loses_nothing() {
    let Some(disk) = FaultyDisk::mount(0) else { return };
    drop(TestServer::with_data(&disk.path("data"), ""));
    for operations in 1..=disk.operations() {
        let mut disk = FaultyDisk::mount(operations as u64).expect("the disk can be mounted again");
        disk.cut_at(operations);
        let mut process = on(&mut holdline(), &disk.path("data")).spawn().expect("the server can be started");
        disk.wait_until_cut();
        process.kill().expect("the process is a child of the test");
        process.wait().expect("the process is a child of the test");
        disk.restore_power();

        let server = TestServer::with_data(&disk.path("data"), "");
        let mut alice = TestClient::login(&server, "alice");
        alice.send("alice: first");
        alice.expect("from alice: first");
        assert_eq!(server.sqlite("pragma integrity_check"), "ok", "cut at {operations}");
    }
}

#[test]
fn power_cut_at_any_moment_of_the_shutdown_loses_nothing() {
    let Some(disk) = FaultyDisk::mount(0) else { return };
    let (mut server, started) = with_some_messages(&disk);
    assert_eq!(server.terminate().code(), Some(0), "{}", server.log());
    for operations in 1..=disk.operations() - started {
        let mut disk = FaultyDisk::mount(operations as u64).expect("the disk can be mounted again");
        let (mut server, _) = with_some_messages(&disk);
        disk.cut_at(operations);
        server.terminate();
        disk.restore_power();
        server.start_again();
        assert_eq!(server.sqlite("pragma integrity_check"), "ok", "cut at {operations}");
        let mut bob = TestClient::login(&server, "bob");
        assert_eq!(bob.read_flood("alice", 9), Vec::from_iter(0..10), "cut at {operations}");
    }
}

/// A server with ten messages that wait for bob, and the number of operations that took.
fn with_some_messages(disk: &FaultyDisk) -> (TestServer, usize) {
    let server = TestServer::with_data(&disk.path("data"), "");
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(&flood("bob", 0..10, 0));
    alice.quit();
    (server, disk.operations())
}

#[test]
fn new_data_directory_and_its_parents_survive_a_power_cut() {
    let Some(mut disk) = FaultyDisk::mount(0) else { return };
    disk.set_luck(0.0);
    let mut server = TestServer::with_data(&disk.path("var/lib/holdline"), "");
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: first");
    alice.ping();
    disk.cut();
    server.kill();
    disk.restore_power();
    server.start_again();
    TestClient::login(&server, "bob").expect("from alice: first");
}

#[test]
fn message_is_neither_acknowledged_nor_delivered_before_it_is_synced() {
    let Some(disk) = FaultyDisk::mount(0) else { return };
    let server = TestServer::with_data(&disk.path("data"), "");
    let (mut alice, alice_hears) = login_and_listen(&server, "alice");
    let (mut bob, bob_hears) = login_and_listen(&server, "bob");
    for round in 0..5 {
        bob.sync();
        let syncs = disk.hold_syncs();
        alice.send_bytes(format!("bob: {round}\n/ping {round}\n").as_bytes());
        syncs.wait_for_one();
        expect_silence(&alice_hears);
        expect_silence(&bob_hears);
        drop(syncs);
        bob.expect(&format!("from alice: {round}"));
        alice.expect_notice(&format!("pong {round}"));
    }
}

#[test]
fn message_whose_directory_went_away_during_the_sync_is_not_acknowledged() {
    let Some(disk) = FaultyDisk::mount(0) else { return };
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    fs::create_dir(disk.path("data")).unwrap();
    std::os::unix::fs::symlink(disk.path("data"), &data).unwrap();
    let mut server = TestServer::with_data(&data, "");
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: kept");
    alice.expect_nothing();
    let mut bob = TestClient::login(&server, "bob");
    bob.expect("from alice: kept");
    let syncs = disk.hold_syncs();
    alice.send("bob: lost");
    syncs.wait_for_one();
    fs::remove_file(&data).unwrap();
    drop(syncs);
    assert!(alice.expect_error("internal").ends_with("while this was stored; it may be lost"));
    bob.expect_nothing();
    // That it is back changes nothing: the server does not know what is in it.
    std::os::unix::fs::symlink(disk.path("data"), &data).unwrap();
    alice.send("bob: never");
    assert!(alice.expect_error("internal").ends_with("; not sent"));
    assert_eq!(server.terminate().code(), Some(1));
    server.start_again();
    assert_eq!(server.sqlite("select text from history"), "kept\nlost");
}

#[test]
fn only_messages_are_synced_once_per_turn() {
    let Some(disk) = FaultyDisk::mount(0) else { return };
    let server = TestServer::with_data(&disk.path("data"), "");
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send("bob: the first sync makes the log's header too");
    bob.expect("from alice: the first sync makes the log's header too");
    server.wait_until_delivered("bob");
    for round in 0..5 {
        disk.forget_syncs();
        alice.send("bob: hi");
        alice.ping();
        bob.expect("from alice: hi");
        server.wait_until_delivered("bob");
        TestClient::login(&server, &format!("guest{round}")).quit();
        assert_eq!(disk.syncs(), ["holdline.db-wal"], "round {round}");
    }
}

// Full disk

#[test]
fn on_a_full_disk_senders_are_refused_and_readers_continue() {
    // Room for nothing, for a part of a page, and for a part of a commit.
    for room_bytes in [0, 1000, 6000] {
        let Some(disk) = FaultyDisk::mount(0) else { return };
        let mut server = TestServer::with_data(&disk.path("data"), "");
        let mut alice = TestClient::login(&server, "alice");
        let mut bob = TestClient::login(&server, "bob");
        alice.send_bytes(&flood("carol", 0..10, 0));
        alice.ping();

        disk.fill_up_to(room_bytes);
        for _ in 0..3 {
            alice.send_bytes(&flood("bob, dave", 0..20, 500));
            expect_refused(&alice.ping(), 20);
        }
        bob.expect_nothing();
        let mut carol = TestClient::login(&server, "carol");
        assert_eq!(carol.read_flood("alice", 9), Vec::from_iter(0..10));
        assert_eq!(carol.history("").len(), 10);
        TestClient::login(&server, "newcomer").expect_nothing();

        disk.make_room();
        alice.send("bob, carol: at last");
        assert_eq!(messages(&alice.ping()), [""; 0]);
        bob.expect("from alice: at last");
        carol.expect("from alice: at last");
        server.wait_until_delivered("carol");
        server.restart();
        assert_eq!(server.sqlite("select count(*), max(seq) from history"), "11|11");
        assert_eq!(server.sqlite("pragma integrity_check"), "ok");
        TestClient::login(&server, "carol").expect_nothing();
        TestClient::login(&server, "dave").expect_nothing();
    }
}

#[test]
fn messages_delivered_on_a_full_disk_are_repeated_after_a_crash_without_loss() {
    let Some(disk) = FaultyDisk::mount(0) else { return };
    let mut server = TestServer::with_data(&disk.path("data"), "");
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(&flood("bob", 0..10, 0));
    alice.ping();
    disk.fill_up_to(0);
    let mut bob = TestClient::login(&server, "bob");
    assert_eq!(bob.read_flood("alice", 9), Vec::from_iter(0..10));
    bob.quit();
    TestClient::login(&server, "bob").expect_nothing();

    server.kill();
    disk.make_room();
    server.start_again();
    let mut bob = TestClient::login(&server, "bob");
    assert_eq!(bob.read_flood("alice", 9), Vec::from_iter(0..10));
    bob.expect_nothing();
}

#[test]
fn disk_that_fills_up_in_a_flood_keeps_and_delivers_exactly_the_accepted_messages() {
    for seed in 0..5 {
        let Some(disk) = FaultyDisk::mount(seed) else { return };
        let server = TestServer::with_data(&disk.path("data"), POWER_LOSS);
        let mut alice = TestClient::login(&server, "alice");
        let mut bob = TestClient::login(&server, "bob");
        disk.fill_up_to(Rng::with_seed(seed).usize(1000..500_000));
        alice.send_bytes(&flood("bob", 0..2000, 200));
        let refused = messages(&alice.ping()).len();
        assert!(refused > 0, "seed {seed}: the disk was not full");
        disk.make_room();
        alice.send_bytes(&flood("bob", 2000..2100, 200));
        alice.expect_nothing();

        let numbers = bob.read_flood("alice", 2099);
        assert_eq!(numbers.len(), 2100 - refused, "seed {seed}");
        assert!(numbers.is_sorted(), "seed {seed}: {numbers:?}");
        let stored = server.sqlite("select text from history order by seq");
        assert_eq!(Vec::from_iter(stored.lines().map(number_of)), numbers, "seed {seed}");
    }
}

// Failing disk

#[test]
fn failing_disk_refuses_messages_and_recovers_by_itself() {
    for operation in [Operation::Write, Operation::Sync] {
        for error in [Errno::EIO, Errno::EROFS, Errno::ENOSPC] {
            let Some(disk) = FaultyDisk::mount(0) else { return };
            check_failing(disk, operation, error);
        }
    }
}

fn check_failing(mut disk: FaultyDisk, operation: Operation, error: Errno) {
    let mut server = TestServer::with_data(&disk.path("data"), "");
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send("bob, carol: before");
    bob.expect("from alice: before");
    server.wait_until_delivered("bob");

    // Until the disk is repaired.
    disk.fail(operation, error);
    for _ in 0..3 {
        alice.send("bob, carol: never");
        expect_refused(&alice.ping(), 1);
    }
    bob.expect_nothing();
    assert_eq!(bob.history(""), ["from alice: before"]);
    TestClient::login(&server, "bob").expect_nothing();
    disk.mend();
    alice.send("bob, carol: between");
    alice.expect_nothing();
    bob.expect("from alice: between");
    server.wait_until_delivered("bob");

    // Once only.
    disk.fail_times(operation, error, 1);
    alice.send("bob, carol: never");
    expect_refused(&alice.ping(), 1);
    alice.send("bob, carol: after");
    alice.expect_nothing();
    bob.expect("from alice: after");

    disk.cut();
    server.kill();
    disk.restore_power();
    server.start_again();
    assert_eq!(server.sqlite("pragma integrity_check"), "ok");
    let mut carol = TestClient::login(&server, "carol");
    for text in ["before", "between", "after"] {
        carol.expect(&format!("from alice: {text}"));
    }
    carol.expect_nothing();
}

#[test]
fn messages_accepted_after_a_failed_sync_survive_a_power_cut() {
    for seed in 0..6 {
        let Some(mut disk) = FaultyDisk::mount(seed) else { return };
        disk.set_luck([0.0, 0.5][seed as usize % 2]);
        let mut server = TestServer::with_data(&disk.path("data"), "");
        for round in 0..3 {
            let mut alice = TestClient::login(&server, "alice");
            let mut bob = TestClient::login(&server, "bob");
            // Bob's cursor is written after the message and not synced: a failed sync loses it, and later pages depend
            // on it.
            alice.send(&format!("bob: {round} before"));
            bob.expect(&format!("from alice: {round} before"));
            server.wait_until_delivered("bob");
            disk.fail_times(Operation::Sync, Errno::EIO, 1);
            alice.send("bob: never");
            expect_refused(&alice.ping(), 1);
            if round == 2 {
                // The next server does not know of the failure.
                server.kill();
                server.start_again();
                alice = TestClient::login(&server, "alice");
                bob = TestClient::login(&server, "bob");
            }
            alice.send(&format!("bob: {round} after"));
            alice.expect_nothing();
            bob.expect(&format!("from alice: {round} after"));
            server.wait_until_delivered("bob");
        }
        disk.cut();
        server.kill();
        disk.restore_power();
        server.start_again();
        let expected = (0..3).flat_map(|round| [format!("{round} before"), format!("{round} after")]);
        let stored = server.sqlite("select text from history order by seq");
        assert_eq!(Vec::from_iter(stored.lines()), Vec::from_iter(expected), "seed {seed}");
        assert_eq!(server.sqlite("pragma integrity_check"), "ok", "seed {seed}");
    }
}

#[test]
fn messages_accepted_after_a_failed_sync_of_the_database_survive_a_power_cut() {
    let Some(mut disk) = FaultyDisk::mount(0) else { return };
    disk.set_luck(0.0);
    let mut server = TestServer::with_data(&disk.path("data"), POWER_LOSS);
    let wal = disk.path("data/holdline.db-wal");
    let wal_pages = || fs::metadata(&wal).unwrap().len() / WAL_FRAME_BYTES;
    let mut alice = TestClient::login(&server, "alice");
    let to = format!("bob, {}", crowd());
    let mut sent = 0;
    while wal_pages() < CHECKPOINT_WAL_PAGES - 300 {
        alice.send_bytes(&flood(&to, sent..sent + 1, 0));
        alice.expect_nothing();
        sent += 1;
    }
    // Guests are written and not synced, until the log is checkpointed in their turn.
    disk.fail_times(Operation::Sync, Errno::EIO, 1);
    for guest in 0.. {
        TestClient::login(&server, &format!("guest{guest}")).quit();
        if wal_pages() >= CHECKPOINT_WAL_PAGES {
            break;
        }
    }
    // This message is checkpointed with them. Its pages in the log come after theirs.
    alice.send_bytes(&flood(&to, sent..sent + 1, 0));
    alice.expect_nothing();
    disk.cut();
    server.kill();
    disk.restore_power();
    server.start_again();
    assert_eq!(server.sqlite("pragma integrity_check"), "ok");
    let mut bob = TestClient::login(&server, "bob");
    assert_eq!(bob.read_flood("alice", sent), Vec::from_iter(0..=sent));
}

#[test]
fn shutdown_after_a_failed_sync_leaves_a_sound_database_after_a_power_cut() {
    let Some(mut disk) = FaultyDisk::mount(0) else { return };
    disk.set_luck(0.0);
    let mut server = TestServer::with_data(&disk.path("data"), POWER_LOSS);
    let guests = |server: &TestServer, kind: &str| {
        for guest in 0..200 {
            TestClient::login(server, &format!("bo{guest}-{kind}-with-a-long-name")).quit();
        }
    };
    guests(&server, "one");
    server.restart();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: kept");
    alice.expect_nothing();
    // These move other rows to new pages, bob's among them, and none of that is synced.
    guests(&server, "two");
    disk.fail_times(Operation::Sync, Errno::EIO, 1);
    alice.send("bob: never");
    expect_refused(&alice.ping(), 1);
    assert_eq!(server.terminate().code(), Some(0), "{}", server.log());
    disk.cut();
    disk.restore_power();
    server.start_again();
    assert_eq!(server.sqlite("pragma integrity_check"), "ok");
    let mut bob = TestClient::login(&server, "bob");
    bob.expect("from alice: kept");
    bob.expect_nothing();
}

#[test]
fn messages_refused_for_a_failed_sync_are_absent_after_a_shutdown_or_a_crash() {
    for is_crash in [false, true] {
        let Some(disk) = FaultyDisk::mount(0) else { return };
        let mut server = TestServer::with_data(&disk.path("data"), "");
        let mut alice = TestClient::login(&server, "alice");
        alice.send("bob: kept");
        alice.expect_nothing();
        disk.fail(Operation::Sync, Errno::EIO);
        alice.send_bytes(&flood("bob", 0..20, 1000));
        expect_refused(&alice.ping(), 20);
        if is_crash {
            server.kill();
        } else {
            assert_eq!(server.terminate().code(), Some(0), "{}", server.log());
        }
        disk.mend();
        server.start_again();
        let mut bob = TestClient::login(&server, "bob");
        bob.expect("from alice: kept");
        bob.expect_nothing();
    }
}

#[test]
fn unreadable_messages_arrive_by_themselves_once_the_disk_can_be_read() {
    let Some(disk) = FaultyDisk::mount(0) else { return };
    let server = TestServer::with_data(&disk.path("data"), "");
    let mut alice = TestClient::login(&server, "alice");
    // More than SQLite keeps in memory.
    let count = 1000;
    alice.send_bytes(&flood("bob", 0..count, 8000));
    // Everything that the server needs to store a message and a cursor is still in memory after that.
    alice.send("alice: before");
    alice.expect("from alice: before");
    server.wait_until_delivered("alice");
    for file in ["holdline.db", "holdline.db-wal"] {
        disk.forget_read(file);
    }
    disk.fail(Operation::Read, Errno::EIO);
    let (mut bob, bob_hears) = login_and_listen(&server, "bob");
    bob.send("/history 1000");
    bob.expect_error("internal");
    alice.send("alice: who reads nothing chats on");
    alice.expect("from alice: who reads nothing chats on");
    expect_silence(&bob_hears);
    // Nothing is sent any more.
    disk.mend();
    assert_eq!(bob.read_flood("alice", count - 1), Vec::from_iter(0..count));
    assert_eq!(log_lines(&server, "cannot read the log").len(), 1, "{}", server.log());
}

#[test]
fn outages_are_logged_when_they_begin_and_end() {
    let Some(disk) = FaultyDisk::mount(0) else { return };
    let server = TestServer::with_data(&disk.path("data"), "");
    let mut alice = TestClient::login(&server, "alice");
    disk.fail(Operation::Write, Errno::ENOSPC);
    alice.send_bytes(&flood("bob", 0..10_000, 0));
    expect_refused(&alice.ping(), 10_000);
    for _ in 0..100 {
        alice.send("bob: hi");
        expect_refused(&alice.ping(), 1);
        TestClient::login(&server, "guest").quit();
    }
    let lines = log_lines(&server, "cannot commit");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(" ERROR ") && lines[0].contains("full"), "{lines:?}");
    assert_eq!(server.log().lines().count(), 2, "that it listens, and that it fails:\n{}", server.log());

    disk.mend();
    eventually("the recovery is logged", || {
        alice.send("alice: hi");
        alice.expect("from alice: hi");
        !log_lines(&server, "can commit again").is_empty()
    });
    assert_eq!(server.log().lines().count(), 3, "{}", server.log());
}

// Starts

#[test]
fn start_on_a_full_or_failing_disk_is_refused_with_the_reason() {
    let io_error = "Input/output error|disk I/O error|disk image is malformed";
    let faults = [
        (Operation::Write, Errno::ENOSPC, "No space left on device"),
        (Operation::Write, Errno::EROFS, "Read-only file system"),
        (Operation::Write, Errno::EIO, io_error),
        (Operation::Sync, Errno::EIO, io_error),
        (Operation::Read, Errno::EIO, io_error),
    ];
    for (operation, error, words) in faults {
        for is_first in [true, false] {
            let Some(disk) = FaultyDisk::mount(0) else { return };
            if !is_first {
                assert_eq!(TestServer::with_data(&disk.path("data"), "").terminate().code(), Some(0));
            } else if operation == Operation::Read {
                // Nothing can be read yet.
                continue;
            }
            disk.fail(operation, error);
            let line = refused_on(&disk);
            assert!(words.split('|').any(|words| line.contains(words)), "{operation:?} {error:?}: {line}");
            disk.mend();
            TestClient::login(&TestServer::with_data(&disk.path("data"), ""), "alice").expect_nothing();
        }
    }
}

/// Starts a server on this disk, which must refuse with code 1 and name its directory. Returns its output.
#[track_caller]
fn refused_on(disk: &FaultyDisk) -> String {
    let data = disk.path("data");
    let mut process = on(&mut holdline(), &data).spawn().expect("the server can be started");
    let status = wait_for_exit(&mut process);
    let mut output = String::new();
    process.stderr.take().expect("stderr is a pipe").read_to_string(&mut output).expect("stderr is text");
    assert_eq!((status.code(), output.lines().count()), (Some(1), 1), "{output}");
    assert!(output.contains(data.to_str().unwrap()), "the directory is not named: {output}");
    output
}

/// Returns the lines of the server's log that contain these words.
fn log_lines(server: &TestServer, words: &str) -> Vec<String> {
    server.log().lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
}

// Chat across power cuts

/// Two senders of numbered messages to bob and to dave, across many power cuts. Bob reads all the time, dave only at the
/// end.
struct Chat {
    /// Dropped before its disk.
    server: TestServer,
    disk: FaultyDisk,
    random: Rng,
    /// Recipients of every message.
    to: String,
    /// Messages that survived all power cuts so far.
    log: Vec<Numbered>,
    /// Number of each sender's messages that were acknowledged before the last power cut.
    answered: [usize; SENDERS.len()],
    /// Messages that bob has read in the last round.
    read: Vec<Numbered>,
    /// Length of the log that bob has read in any round.
    read_up_to: usize,
}

/// Message: its sender, and its number among that sender's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbered {
    sender: &'static str,
    number: usize,
}

impl Chat {
    fn start(seed: u64, config: &str, to: &str) -> Option<Chat> {
        let disk = FaultyDisk::mount(seed)?;
        let server = TestServer::with_data(&disk.path("data"), config);
        let random = Rng::with_seed(seed);
        let (to, log, read) = (to.to_owned(), Vec::new(), Vec::new());
        Some(Chat { server, disk, random, to, log, answered: [0; SENDERS.len()], read, read_up_to: 0 })
    }

    /// Logs everyone in, and lets the senders send until the power is cut; then restores it, with some luck.
    fn cut_while_they_talk(&mut self, cut: impl FnOnce(&FaultyDisk)) {
        let bob = TestClient::login(&self.server, "bob");
        let bob = thread::spawn(|| bob.read_to_end());
        self.disk.forget_syncs();
        let senders = SENDERS.map(|sender| self.begin_to_send(sender));
        cut(&self.disk);
        self.disk.wait_until_cut();
        self.server.kill();
        self.answered = senders.map(|sender| sender.join().unwrap());
        self.read = whole_lines(&bob.join().unwrap()).filter_map(numbered).collect();

        self.disk.set_luck(*self.random.choice(&[0.0, 0.2, 0.5, 0.9]).unwrap());
        self.disk.restore_power();
        self.server.start_again();
        self.log = self.read_log();
    }

    fn begin_to_send(&mut self, sender: &'static str) -> JoinHandle<usize> {
        let client = TestClient::login(&self.server, sender);
        let (to, from, lines) = (self.to.clone(), self.surviving(sender), self.random.usize(1..20));
        thread::spawn(move || send_until_gone(client, &to, from, lines))
    }

    /// Number of this sender's messages in the log.
    fn surviving(&self, sender: &str) -> usize {
        self.log.iter().filter(|message| message.sender == sender).count()
    }

    /// Reads the log, and checks that it is complete and that each sender's messages are in order from the first on.
    #[track_caller]
    fn read_log(&self) -> Vec<Numbered> {
        assert_eq!(self.server.sqlite("pragma integrity_check"), "ok");
        assert_eq!(self.server.sqlite("select count(*) = coalesce(max(seq), 0) from history"), "1");
        let lines = self.server.sqlite("select 'from ' || sender || ': ' || text from history order by seq");
        let log = Vec::from_iter(lines.lines().filter_map(numbered));
        for sender in SENDERS {
            let numbers = log.iter().filter(|message| message.sender == sender).map(|message| message.number);
            let numbers = Vec::from_iter(numbers);
            assert_eq!(numbers.first().copied().unwrap_or(0), 0, "the first of {sender}");
            assert_contiguous(&numbers);
        }
        log
    }

    /// Checks that the log contains every acknowledged message, and every message that bob has read, in the order read.
    #[track_caller]
    fn expect_surviving(&mut self) {
        assert_eq!(self.lost(), 0, "messages that were answered are lost; answered: {:?}", self.answered);
        let places = self.read.iter().map(|read| {
            let place = self.log.iter().position(|message| message == read);
            place.unwrap_or_else(|| panic!("bob has read {read:?}, which is not in the log"))
        });
        let places = Vec::from_iter(places);
        assert_contiguous(&places);
        if let (Some(first), Some(last)) = (places.first(), places.last()) {
            assert!(*first <= self.read_up_to, "bob had read {} messages, and then came {first}", self.read_up_to);
            self.read_up_to = self.read_up_to.max(last + 1);
        }
    }

    /// Number of acknowledged messages that are not in the log.
    fn lost(&self) -> usize {
        SENDERS
            .iter()
            .zip(self.answered)
            .map(|(sender, answered)| answered.saturating_sub(self.surviving(sender)))
            .sum()
    }

    /// Checks that a peer that logs in gets everything.
    #[track_caller]
    fn end(self) {
        let mut dave = TestClient::login(&self.server, "dave");
        for Numbered { sender, number } in self.log {
            dave.expect(&format!("from {sender}: {number}"));
        }
        dave.expect_nothing();
    }
}

/// Message in a line that bob reads, if it is one.
fn numbered(line: &str) -> Option<Numbered> {
    SENDERS.into_iter().find_map(|sender| Some(Numbered { sender, number: flood_number(line, sender)? }))
}

/// Lines among these bytes; the last one may be incomplete.
fn whole_lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let text = str::from_utf8(bytes).expect("lines are UTF-8");
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'))
}

/// Two hundred peers that never log in: a message to them is a few bytes, and soon two hundred pages of the write-ahead
/// log.
fn crowd() -> String {
    Vec::from_iter((0..200).map(|number| format!("absent{number}"))).join(", ")
}

/// Sends this many numbered messages before each ping. Returns the number up to which they were acknowledged.
fn send_until_gone(mut client: TestClient, to: &str, from: usize, lines: usize) -> usize {
    let mut answered = from;
    loop {
        let next = answered + lines;
        let batch = [flood(to, answered..next, 0), format!("/ping {next}\n").into_bytes()].concat();
        if client.try_send_bytes(&batch).is_err() || !is_answered(&mut client, &format!("* pong {next}")) {
            return answered;
        }
        answered = next;
    }
}

/// Returns whether this reply comes, and no error before it.
fn is_answered(client: &mut TestClient, answer: &str) -> bool {
    while let Some(line) = client.next_line() {
        if line == answer || line.starts_with("! ") {
            return line == answer;
        }
    }
    false
}

/// Number of a text of a [`flood`].
fn number_of(text: &str) -> usize {
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Logs in, and returns the client with another handle of its socket, to see whether anything has come.
fn login_and_listen(server: &TestServer, name: &str) -> (TestClient, TcpStream) {
    let stream = TcpStream::connect(server.address()).expect("the server listens");
    let mut client = TestClient::over(stream.try_clone().expect("the socket can be cloned"));
    client.log_in(name);
    client.sync();
    (client, stream)
}

/// Checks that nothing has come, and that nothing comes for a while.
#[track_caller]
fn expect_silence(socket: &TcpStream) {
    let patience = socket.read_timeout().unwrap();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    let mut bytes = [0; 100];
    match socket.peek(&mut bytes) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
        came => panic!("{came:?}: {}", String::from_utf8_lossy(&bytes)),
    }
    socket.set_read_timeout(patience).unwrap();
}

/// Checks that this many lines were refused because the storage cannot be written, and that only notices came besides.
#[track_caller]
fn expect_refused(lines: &[String], count: usize) {
    let refused = messages(lines);
    let is_refusal = |line: &&str| line.starts_with("! storage_full: ") && line.ends_with("; not sent");
    assert!(refused.iter().all(is_refusal) && refused.len() == count, "not {count} refusals: {refused:?}");
}

fn on<'c>(command: &'c mut std::process::Command, data: &Path) -> &'c mut std::process::Command {
    command.args(["--listen", "127.0.0.1:0", "--data"]).arg(data).current_dir("/")
}
