//! `holdline doctor` on data directories that were damaged on purpose, and beside running servers: its findings, and
//! that its commands fix them. Owns the command; never how a server handles a damaged database.

mod support;

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use support::{TestClient, TestServer, eventually, flood, holdline, wait_for_exit};
use tempfile::TempDir;

/// A user other than the superuser; usually nobody.
const OTHER_USER: u32 = 65534;

// Sound databases

#[test]
fn database_of_a_running_server_has_no_fault() {
    let server = TestServer::start();
    a_few_messages(&server);
    let found = examine(&server.data());
    found.expect_all_well();
    found.expect(&format!("ok: a server is running, process {}", server.pid()));
    found.expect("ok: 5 messages, seq 1 to 5");
    found.expect("ok: 3 peers, 1 never logged in; 3 messages wait for 1 of them");
    assert!(!found.text.contains("room,"), "{found:?}");
}

#[test]
fn rooms_of_a_running_server_have_no_fault() {
    let mut server = TestServer::start();
    messages_in_rooms(&server);
    let counts = [
        "ok: every member of a room is a peer, and joined at a message of the log",
        "ok: every earlier membership ended after it began",
        "ok: every room counts its members correctly",
        "ok: every observer is a peer, and its cursor lies within the log and the events",
        "ok: 3 messages, seq 1 to 3",
        "ok: 3 peers, 0 never logged in; 4 messages wait for 2 of them",
        "ok: 2 rooms, 4 members",
    ];
    for _ in 0..2 {
        let found = examine(&server.data());
        found.expect_all_well();
        counts.iter().for_each(|count| found.expect(count));
        // The index is up to date then.
        server.restart();
    }
}

#[test]
fn doctor_changes_nothing_and_leaves_no_files() {
    let data = at_rest();
    let before = snapshot(data.path());
    let found = examine(data.path());
    found.expect_all_well();
    found.expect("ok: no server is running");
    assert_eq!(snapshot(data.path()), before);
}

#[test]
fn files_of_a_killed_server_are_examined_and_not_changed() {
    let mut server = TestServer::start();
    a_few_messages(&server);
    server.kill();
    for has_index in [true, false] {
        if !has_index {
            fs::remove_file(server.data().join("holdline.db-shm")).unwrap();
        }
        let before = snapshot(&server.data());
        let found = examine(&server.data());
        assert_eq!(found.code, 0, "{found:?}");
        found.expect("note: the last server did not shut down cleanly");
        found.expect("ok: 5 messages, seq 1 to 5");
        assert_eq!(snapshot(&server.data()), before, "with an index: {has_index}");
    }
    server.start_again();
    TestClient::login(&server, "alice").expect_nothing();
}

#[test]
fn read_only_medium_is_examined() {
    for was_killed in [false, true] {
        let data = if was_killed { after_a_crash() } else { at_rest() };
        let unprivileged = Unprivileged::new();
        unprivileged.give(data.path());
        for file in fs::read_dir(data.path()).unwrap() {
            fs::set_permissions(file.unwrap().path(), Permissions::from_mode(0o400)).unwrap();
        }
        fs::set_permissions(data.path(), Permissions::from_mode(0o500)).unwrap();
        let found = examine_with(unprivileged.command(), data.path());
        found.expect("ok: 5 messages, seq 1 to 5");
        found.expect("problem: ");
        found.expect("is closed to its own user (mode 400)");
        fs::set_permissions(data.path(), Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn messages_in_flight_are_not_a_fault() {
    let server = TestServer::start();
    let flood = thread::spawn({
        let mut alice = TestClient::login(&server, "alice");
        let mut bob = TestClient::login(&server, "bob");
        move || {
            for hundred in 0..30 {
                alice.send_bytes(&flood("bob, carol, alice", hundred * 100..(hundred + 1) * 100, 50));
                bob.send_bytes(&flood("alice, dave", hundred * 100..(hundred + 1) * 100, 50));
                alice.ping();
                bob.ping();
            }
        }
    });
    while !flood.is_finished() {
        examine(&server.data()).expect_all_well();
    }
    flood.join().unwrap();
}

#[test]
fn server_may_start_or_stop_during_the_examination() {
    let mut server = TestServer::start();
    a_few_messages(&server);
    let data = server.data();
    let is_over = Arc::new(AtomicBool::new(false));
    let until = is_over.clone();
    let examining = thread::spawn(move || {
        while !until.load(Ordering::Relaxed) {
            let found = examine(&data);
            assert_eq!(found.code, 0, "{found:?}");
        }
    });
    for _ in 0..5 {
        server.restart();
        TestClient::login(&server, "bob").ping();
        server.kill();
        server.start_again();
    }
    is_over.store(true, Ordering::Relaxed);
    examining.join().unwrap();
}

#[test]
fn program_that_has_the_database_open_is_named() {
    let data = at_rest();
    let mut shell = Command::new("sqlite3");
    shell.arg(data.path().join("holdline.db")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = shell.spawn().expect("the sqlite3 shell is installed");
    writeln!(shell.stdin.as_mut().unwrap(), "select count(*) from message;").unwrap();
    shell.stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
    examine(data.path()).expect(&format!("note: no server is running, but process {} has", shell.id()));
    drop(shell.stdin.take());
    assert!(wait_for_exit(&mut shell).success());
}

// Wrong contents

/// Faults: SQL that damages a database, the expected verdict and words, and whether the command shown fixes it.
const FAULTS: &[(&str, &str, &str, bool)] = &[
    (
        "update inbox set last = 3, seqs = '[2,3]' where recipient = (select id from peer where name = 'carol')",
        "problem: 1 waiting message is missing in the inbox of its recipient, and would never be delivered (seq 4)",
        "delete from inbox; update indexed",
        true,
    ),
    (
        "delete from inbox",
        "problem: 3 waiting messages are missing in the inboxes of their recipients, and would never be delivered (seq 2, 3, 4)",
        "delete from inbox; update indexed",
        true,
    ),
    (
        "update inbox set seqs = replace(seqs, '[1,', '[') where recipient = (select id from peer where name = 'bob')",
        "warning: 1 older message is missing in the inbox",
        "delete from inbox; update indexed",
        true,
    ),
    (
        "delete from message where seq = 4",
        "problem: 1 inbox entry has no message; it counts as waiting",
        "delete from inbox; update indexed",
        true,
    ),
    (
        "update inbox set seqs = replace(seqs, '[', '[1,') where recipient = (select id from peer where name = 'carol')",
        "problem: 1 message is in the inbox of a recipient to which it was not sent (seq 1)",
        "delete from inbox; update indexed",
        true,
    ),
    (
        "update inbox set last = 5 where recipient = (select id from peer where name = 'carol')",
        "problem: 1 inbox row does not end with its last message",
        "delete from inbox; update indexed",
        true,
    ),
    (
        "update peer set cursor = 6 where name = 'bob'",
        "problem: 1 peer has a cursor beyond the newest message; the next messages to it would count as delivered already (\"bob\")",
        "update peer set cursor",
        true,
    ),
    ("update peer set cursor = -1 where name = 'carol'", "problem: 1 peer has a cursor or", "max(cursor, 0)", true),
    (
        "update peer set sent = 1 where name = 'alice'",
        "problem: 2 messages are newer than",
        "update peer set sent",
        true,
    ),
    (
        "update peer set sent = 5 where name = 'alice'",
        "problem: 1 peer has a newest message in the table peer that another peer sent; its /history starts in the wrong place (\"alice\")",
        "update peer set sent",
        true,
    ),
    (
        "update message set previous = 2 where seq = 4",
        "problem: 1 message does not refer to an earlier message of its sender",
        "update message set previous",
        true,
    ),
    ("update message set previous = 4 where seq = 4", "problem: 1 message does not refer to", "set previous", true),
    (
        "delete from peer where name = 'bob'",
        "problem: 2 messages have a sender that is not in the table peer, and would never be delivered (seq 2, 5)",
        "insert into peer (id, name, sent)",
        true,
    ),
    (
        "delete from peer where name = 'carol'",
        "problem: 3 messages are addressed to a peer that is not in the table peer, so nobody can log in and receive them (seq 2, 3, 4)",
        "insert into peer (id, name)",
        true,
    ),
    (
        "update message set text = cast(x'6869ff' as text) where seq in (2, 3)",
        "problem: 2 messages have a text that is not UTF-8, or none; they are shown with replacement characters (seq 2, 3)",
        "update message set text = '(unreadable)' where seq in (2, 3)",
        true,
    ),
    (
        "update message set recipients = 'bob' where seq = 1",
        "problem: 1 message has a value of the wrong type; its time, its sender or its recipients are wrong or missing (seq 1)",
        "restore a backup",
        false,
    ),
    (
        "update message set at = 'noon' where seq = 1",
        "problem: 1 message has a value of the wrong type",
        "restore a backup",
        false,
    ),
    ("insert into message values (-3, 0, 1, 0, '[]', 'hi')", "problem: 1 message has a seq below 1", "(seq -3)", false),
    (
        "update peer set name = 'The Boss' where name = 'carol'",
        "problem: 1 peer has an invalid name; nobody can log in with it (\"The Boss\")",
        "change it in the table peer",
        false,
    ),
    (
        "update indexed set seq = 99",
        "problem: 1 row of the table indexed is beyond the newest message",
        "delete from inbox; update indexed",
        true,
    ),
    (
        "update peer set seen = 'yes', cursor = null where name = 'nobody'; update peer set cursor = 'x' where name = 'bob'",
        "problem: 1 peer has a seen, cursor or sent that is no number; it gets its messages once more, or its /history lacks some (\"bob\")",
        "update peer set seen = iif(seen is 0, 0, 1)",
        true,
    ),
    (
        "insert into peer (id, name, seen) values (-7, 'mallory', 1)",
        "problem: 1 peer has an id that no server gives; nobody can log in by this name or write to it",
        "(\"mallory\")",
        false,
    ),
    (
        "insert into room (id, name) values (9223372036854775807, '#far')",
        "problem: 1 room has an id that no server gives; nobody can join it or write to it",
        "(\"#far\")",
        false,
    ),
    (
        "insert into room (id, name, topic) values (7, '#far', x'00')",
        "warning: 1 room has a topic that is no text",
        "set topic = null",
        true,
    ),
    (
        "insert into room (id, name, members) values (7, '#far', 1); insert into member values (7, 1, 'x')",
        "problem: 1 member has a room, peer or joined that is no number",
        "update member set joined",
        true,
    ),
    (
        "insert into sent_id values (1, 1, 'a', 1, 'x', 0, 0)",
        "warning: 1 message id has a value of the wrong type",
        "delete from sent_id",
        true,
    ),
    ("insert into indexed values (1)", "warning: 1 table, indexed, has not exactly one row", "(rows 2)", false),
    ("delete from searched", "warning: 1 table, searched, does not say", "(rows 0)", false),
    ("drop view waiting", "problem: the view waiting is missing", "CREATE VIEW waiting", true),
    ("drop table inbox", "problem: the table inbox is missing", "restore a backup", false),
    (
        "pragma auto_vacuum = none; vacuum",
        "warning: the database cannot return the space of removed messages",
        "pragma auto_vacuum = incremental; vacuum",
        true,
    ),
];

/// Faults of a database with rooms.
const FAULTS_OF_ROOMS: &[(&str, &str, &str, bool)] = &[
    (
        "delete from room where name = '#home'",
        "problem: 2 messages were sent to a room that is not in the table room; the room's members may never receive them (seq 1, 2)",
        "insert into room",
        true,
    ),
    (
        "delete from room where name = '#home'",
        "problem: 3 members are in a room that is not in the table room, and may not receive its messages (\"alice\", \"bob\", \"carol\")",
        "insert into room",
        true,
    ),
    (
        "insert into member select 99, id, 0 from peer where name = 'bob'",
        "problem: 1 member is in a room that is not in the table room, and may not receive its messages (\"bob\")",
        "insert into room",
        true,
    ),
    (
        "insert into member select id, 99, 0 from room where name = '#cellar'; update room set members = members + 1 where name = '#cellar'",
        "problem: 1 member of a room is not in the table peer; a new peer with the same number would be in the room (\"peer 99\")",
        "delete from member where peer not in",
        true,
    ),
    (
        "update member set joined = 99 where peer = (select id from peer where name = 'carol')",
        "problem: 1 member joined a room beyond the newest message; it would miss the room's next messages (\"carol\")",
        "update member set joined",
        true,
    ),
    (
        "update room set members = 0 where name = '#home'",
        "problem: 1 room counts its members wrongly",
        "update room set members",
        true,
    ),
    (
        "delete from member where peer = (select id from peer where name = 'carol')",
        "problem: 1 room counts its members wrongly; messages to it may be refused, or accepted without a recipient (\"#home\")",
        "update room set members",
        true,
    ),
    (
        "update room set floor = 99 where name = '#home'",
        "problem: 1 room has a floor beyond the newest message; members who are offline would miss its next messages (\"#home\")",
        "update room set floor",
        true,
    ),
    (
        "update room set name = 'home' where name = '#home'",
        "problem: 1 room has an invalid name; nobody can send to it (\"home\")",
        "change it in the table room",
        false,
    ),
    (
        "delete from inbox where recipient = -(select id from room where name = '#home')",
        "problem: 2 waiting messages are missing in the inboxes of their recipients, and would never be delivered (seq 1, 2)",
        "delete from inbox; update indexed",
        true,
    ),
    // Only its sender has not received it.
    (
        "delete from inbox where recipient < 0;
         update peer set cursor = 3 where name <> 'alice'; update peer set cursor = 0 where name = 'alice'",
        "warning: 3 older messages are missing in the inboxes of their recipients",
        "delete from inbox; update indexed",
        true,
    ),
    (
        "update inbox set seqs = '[1,2,3]', last = 3 where recipient = -(select id from room where name = '#home')",
        "problem: 1 message is in the inbox of a recipient to which it was not sent (seq 3)",
        "delete from inbox; update indexed",
        true,
    ),
    (
        "delete from message where seq = 1; update message set previous = 0 where seq = 2",
        "problem: 1 inbox entry has no message; it counts as waiting but is never delivered (seq 1)",
        "delete from inbox; update indexed",
        true,
    ),
    (
        "update inbox set last = 7 where recipient < 0",
        "problem: 2 inbox rows do not end with their last message",
        "delete from inbox; update indexed",
        true,
    ),
    (
        "insert into sent_id values (1, 99, 'x1', 2, 0, 0, 0)",
        "warning: 1 message id belongs to a sender that is not in the table peer; a new peer with the same number could not use it (\"x1\")",
        "delete from sent_id where sender",
        true,
    ),
    (
        "insert into sent_id select 1, id, 'x1', 99, 0, 0, 0 from peer where name = 'bob'",
        "problem: 1 message id belongs to a message that does not exist; a sender that repeats it would get accepted, and nothing would be sent (\"x1\")",
        "delete from sent_id where seq",
        true,
    ),
];

/// Faults in the data of plugins: SQL that causes them, the expected words, and whether they can be fixed.
const FAULTS_OF_PLUGINS: &[(&str, &str, &str, bool)] = &[
    (
        "insert into observer values (77, 1, 0)",
        "warning: 1 observer",
        "is not in the table peer; events are stored for it in vain (\"peer 77\")",
        true,
    ),
    ("insert into observer values (1, 99, null)", "problem: 1 observer", "a cursor beyond the newest message", true),
    ("insert into observer values (1, null, 5)", "problem: 1 observer", "a cursor beyond the newest event", true),
    (
        "insert into event values (7, 0, 'join', 77, 1, null), (8, 0, 'leave', 77, 1, null)",
        "warning: 2 events",
        "no plugin gets them (id 7, 8)",
        true,
    ),
    (
        "insert into value values (77, 'tea', '20')",
        "warning: 1 value",
        "belongs to a peer that is not in the table peer",
        true,
    ),
    ("insert into value values (1, 'tea', 'green')", "warning: 1 value of a plugin is not JSON", "(\"tea\")", true),
    (
        "insert into observer values (1, 0.5, null)",
        "warning: 1 observer has a cursor that is no number",
        "set seq",
        true,
    ),
    (
        "insert into event values (7, 0, 'party', 1, 1, null)",
        "warning: 1 event has a value that no server writes",
        "delete from event",
        true,
    ),
];

#[test]
fn each_fault_is_found_and_fixed_by_the_command_shown() {
    check_faults(FAULTS, at_rest);
}

#[test]
fn each_fault_of_rooms_is_found_and_fixed_by_the_command_shown() {
    check_faults(FAULTS_OF_ROOMS, at_rest_with_rooms);
}

#[test]
fn each_fault_of_plugin_data_is_found_and_fixed_by_the_command_shown() {
    check_faults(FAULTS_OF_PLUGINS, at_rest);
}

#[track_caller]
fn check_faults(faults: &[(&str, &str, &str, bool)], whole: fn() -> TempDir) {
    for (sql, verdict, words, is_mended) in faults {
        let data = whole();
        let database = data.path().join("holdline.db");
        // In WAL mode a vacuum changes no setting.
        sqlite(&database, &format!("pragma journal_mode = delete; {sql}; pragma journal_mode = wal"));
        let found = examine(data.path());
        found.expect(verdict);
        found.expect(words);
        assert_eq!(found.code, i32::from(verdict.starts_with("problem")), "{sql}:\n{found:?}");
        assert_eq!(found.commands().is_empty(), !is_mended, "{sql}:\n{found:?}");
        if *is_mended {
            found.commands().iter().for_each(|command| shell(command));
            let mended = examine(data.path());
            assert_eq!(mended.code, 0, "{sql}, after {:?}:\n{mended:?}", found.commands());
            assert!(!mended.text.contains("warning"), "{sql}, after {:?}:\n{mended:?}", found.commands());
        }
    }
}

#[test]
fn messages_missed_in_a_room_are_delivered_after_the_fix() {
    let mut server = TestServer::start();
    messages_in_rooms(&server);
    assert!(server.terminate().success());
    server.sqlite_write("delete from inbox; delete from room; update member set joined = 99 where joined = 1");
    let found = examine(&server.data());
    found.commands().iter().for_each(|command| shell(command));
    server.start_again();
    let mut carol = TestClient::login(&server, "carol");
    let room = server.sqlite("select '#unknown-' || id from room order by members desc limit 1");
    carol.expect(&format!("from alice in {room}: one"));
    carol.expect(&format!("from alice in {room}: two"));
    carol.expect_nothing();
}

#[test]
fn room_messages_removed_by_retention_are_not_a_fault() {
    let data = at_rest_with_rooms();
    let database = data.path().join("holdline.db");
    // All have received it but its sender.
    sqlite(
        &database,
        "update peer set cursor = 3 where name <> 'alice'; update peer set cursor = 0 where name = 'alice';
         delete from message where seq < 3",
    );
    examine(data.path()).expect_all_well();
    sqlite(&database, "delete from message; delete from inbox");
    examine(data.path()).expect_all_well();
}

#[test]
fn rows_waiting_in_the_table_outbox_are_reported() {
    for (rows, words) in [
        ("('alice', 'bob', 'hi')", "note: 1 row of the table outbox waits; the next start of the server sends it"),
        ("('alice', 'bob', 'hi'), ('x', 'y', 'z')", "note: 2 rows of the table outbox wait"),
    ] {
        let data = at_rest();
        sqlite(&data.path().join("holdline.db"), &format!("insert into outbox values {rows}"));
        let found = examine(data.path());
        found.expect(words);
        found.expect("\nall is well\n");
        assert_eq!(found.code, 0, "{found:?}");
    }
}

#[test]
fn refused_rows_are_reported_with_a_query_that_shows_them() {
    let server = TestServer::start();
    server.sqlite_write("insert into outbox values ('alice', '#nowhere', 'one'), (null, 'bob', 'two')");
    eventually("both rows are refused", || server.sqlite("select count(*) from outbox_refused") == "2");
    let found = examine(&server.data());
    found.expect(
        "note: 2 rows of the table outbox could not be sent; reason of the last: bad_request: sender is NULL; not sent",
    );
    found.expect("\nall is well\n");
    assert_eq!(found.code, 0, "{found:?}");
    let [shows] = &found.commands()[..] else { panic!("{found:?}") };
    let shown = Command::new("sh").args(["-c", shows]).output().unwrap();
    assert!(shown.status.success(), "{shown:?}");
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("|alice|#nowhere|one|not_a_member: #nowhere has no members; not sent"), "{shown}");
}

#[test]
fn undeliverable_message_is_delivered_after_the_fix() {
    let mut server = TestServer::start();
    a_few_messages(&server);
    assert!(server.terminate().success());
    server.sqlite_write("update inbox set seqs = '[2,4]' where recipient = (select id from peer where name = 'carol')");
    let found = examine(&server.data());
    found.expect("problem: 1 waiting message is missing in the inbox of its recipient");
    found.expect("before you run sqlite3, stop the server and keep a copy of the directory");
    found.commands().iter().for_each(|command| shell(command));
    server.start_again();
    let mut carol = TestClient::login(&server, "carol");
    carol.expect("from bob: two");
    carol.expect("from alice: three");
    carol.expect("from alice: four");
}

#[test]
fn messages_removed_by_retention_are_not_a_fault() {
    let data = at_rest();
    sqlite(&data.path().join("holdline.db"), "delete from message where seq in (1, 5)");
    examine(data.path()).expect_all_well();
    let data = at_rest();
    sqlite(
        &data.path().join("holdline.db"),
        "delete from message; delete from inbox; update peer set cursor = 5 where name = 'bob'",
    );
    examine(data.path()).expect_all_well();
}

#[test]
fn oddities_are_reported_as_notes() {
    for (sql, words) in [
        ("update message set at = at + 86400000 where seq > 3", "note: 2 messages have a time in the future"),
        ("create index mine on message (at)", "note: the index \"mine\" does not belong to holdline"),
        ("pragma journal_mode = delete", "note: the database is not in WAL mode"),
    ] {
        let data = at_rest();
        sqlite(&data.path().join("holdline.db"), sql);
        let found = examine(data.path());
        found.expect(words);
        assert_eq!(found.code, 0, "{found:?}");
        assert_eq!(found.commands(), [""; 0], "{found:?}");
    }
}

// Wrong or damaged files

#[test]
fn foreign_databases_are_reported_as_such() {
    let home = tempfile::tempdir().unwrap();
    for data in [home.path().to_owned(), home.path().join("missing")] {
        let found = examine(&data);
        found.expect("problem: there is no database");
        found.expect(data.to_str().unwrap());
        assert_eq!(found.code, 1);
    }
    for (sql, words) in [("pragma application_id = 7", "another program"), ("pragma user_version = 999", "999")] {
        let data = at_rest();
        sqlite(&data.path().join("holdline.db"), sql);
        let found = examine(data.path());
        found.expect("problem: ");
        found.expect(words);
        assert_eq!(found.code, 1, "{found:?}");
    }
}

#[test]
fn damaged_bytes_are_found() {
    let whole = fs::read(at_rest().path().join("holdline.db")).unwrap();
    let without_header = [&[0xff; 100], &whole[100..]].concat();
    let without_content = [&whole[..4096], &vec![0xa5; whole.len() - 4096]].concat();
    for (words, bytes) in [
        ("is damaged or not an SQLite database", without_header),
        ("damaged", without_content),
        ("damaged", whole[..whole.len() / 2].to_owned()),
        ("is empty: no server has used it yet", Vec::new()),
    ] {
        let data = at_rest();
        fs::write(data.path().join("holdline.db"), &bytes).unwrap();
        let found = examine(data.path());
        found.expect(words);
        assert_eq!(found.code, i32::from(!bytes.is_empty()), "{found:?}");
        assert!(!found.text.contains("ok: every"), "{found:?}");
        assert_eq!(fs::read(data.path().join("holdline.db")).unwrap(), bytes);
    }
}

#[test]
fn index_that_does_not_match_its_table_is_rebuilt() {
    let data = at_rest();
    let database = data.path().join("holdline.db");
    let mut bytes = fs::read(&database).unwrap();
    let names = sqlite(&database, "select (rootpage - 1) * 4096 from sqlite_schema where name = 'peer'");
    let page = &mut bytes[names.parse().unwrap()..][..4096];
    let carol = page.windows(5).position(|name| name == b"carol").unwrap();
    page[carol..][..5].copy_from_slice(b"clara");
    fs::write(&database, bytes).unwrap();

    let found = examine(data.path());
    found.expect("an index does not match its table; this rebuilds it");
    assert_eq!(found.code, 1, "{found:?}");
    found.commands().iter().for_each(|command| shell(command));
    examine(data.path()).expect_all_well();
}

#[test]
fn readable_part_of_a_damaged_database_is_saved() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send_bytes(&flood("bob", 0..1000, 100));
    assert_eq!(bob.read_flood("alice", 999).len(), 1000);
    alice.quit();
    bob.quit();
    assert!(server.terminate().success());
    // A page in the middle of the messages.
    let text = "500 xxxxxxxx";
    let mut bytes = fs::read(server.database()).unwrap();
    let place = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap() / 4096 * 4096;
    bytes[place..][..4096].fill(0xa5);
    fs::write(server.database(), bytes).unwrap();

    let found = examine(&server.data());
    found.expect("is damaged");
    found.expect("restore a backup; without one, save what can still be read");
    assert_eq!(found.code, 1, "{found:?}");
    let elsewhere = tempfile::tempdir().unwrap();
    let [saving] = &found.commands()[..] else { panic!("{found:?}") };
    shell_in(elsewhere.path(), saving);
    let saved = elsewhere.path().join("recovered");
    for command in examine(&saved).commands() {
        shell_in(elsewhere.path(), &command);
    }
    assert_eq!(examine(&saved).code, 0);
    fs::remove_dir_all(server.data()).unwrap();
    fs::rename(&saved, server.data()).unwrap();
    server.start_again();
    let count: usize = server.sqlite("select count(*) from history").parse().unwrap();
    assert!((900..1000).contains(&count), "{count} messages of 1000 are left");
    TestClient::login(&server, "bob").expect_nothing();
}

#[test]
fn directory_or_file_that_others_can_read_is_found() {
    for (name, mode) in [("", 0o755), ("holdline.db", 0o644), ("holdline.lock", 0o640)] {
        let data = at_rest();
        let path = if name.is_empty() { data.path().to_owned() } else { data.path().join(name) };
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let found = examine(data.path());
        found.expect(&format!("{} is open to other users (mode {mode:o})", path.display()));
        assert_eq!(found.code, 1, "{found:?}");
        found.commands().iter().for_each(|command| shell(command));
        examine(data.path()).expect_all_well();
    }
}

#[test]
fn directory_without_a_database_needs_no_permissions_fix() {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
    let found = examine(home.path());
    assert_eq!(found.commands(), [""; 0], "{found:?}");
}

#[test]
fn file_of_another_user_is_found() {
    if is_skipped(is_root(), "a file of another user") {
        return;
    }
    let data = at_rest();
    let database = data.path().join("holdline.db");
    std::os::unix::fs::chown(&database, Some(OTHER_USER), None).unwrap();
    let found = examine(data.path());
    found.expect(&format!("problem: {} belongs to user nobody (mode 600), but only root", database.display()));
    assert_eq!(found.code, 1, "{found:?}");
    found.commands().iter().for_each(|command| shell(command));
    examine(data.path()).expect_all_well();
}

#[test]
fn user_without_read_permission_reads_which_user_has_it() {
    if is_skipped(is_root(), "a directory of another user") {
        return;
    }
    let data = at_rest();
    let found = examine_with(Unprivileged::new().command(), data.path());
    found.expect("problem: cannot read");
    found.expect("run this as the user of the server, or as root");
    assert_eq!(found.code, 1, "{found:?}");
}

#[test]
fn nearly_full_disk_is_a_warning() {
    let mount = tempfile::tempdir().unwrap();
    if is_skipped(shell_in_a_mount(mount.path(), "true").status().unwrap().success(), "a disk that is nearly full") {
        return;
    }
    let data = at_rest();
    let mut command = shell_in_a_mount(mount.path(), "cp -p \"$1\"/holdline.db . && exec \"$2\" doctor --data .");
    let found = Examined::of(command.arg(data.path()).arg(env!("CARGO_BIN_EXE_holdline")));
    found.expect("warning: only 3");
    found.expect("MiB are free on the disk; free some space");
    assert_eq!(found.code, 0, "{found:?}");
}

// Helpers

/// Output of the command.
struct Examined {
    text: String,
    code: i32,
}

impl Examined {
    #[track_caller]
    fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.stdout(Stdio::piped()).output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert!(stderr.is_empty(), "{stderr}");
        Examined { text: String::from_utf8(stdout).unwrap(), code: status.code().expect("the process exits by itself") }
    }

    #[track_caller]
    fn expect(&self, words: &str) {
        assert!(self.text.contains(words), "`{words}` is not in the output:\n{self:?}");
    }

    #[track_caller]
    fn expect_all_well(&self) {
        assert_eq!(self.code, 0, "{self:?}");
        let (findings, conclusion) = self.text.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(conclusion, "all is well", "{self:?}");
        assert!(findings.lines().all(|line| line.starts_with("ok: ")), "{self:?}");
    }

    /// Commands that it shows.
    fn commands(&self) -> Vec<String> {
        self.text.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
    }
}

impl fmt::Debug for Examined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}exit code {}", self.text, self.code)
    }
}

#[track_caller]
fn examine(data: &Path) -> Examined {
    examine_with(holdline(), data)
}

#[track_caller]
fn examine_with(mut command: Command, data: &Path) -> Examined {
    Examined::of(command.args(["doctor", "--data"]).arg(data))
}

/// Sends messages between alice, bob, and carol, who never logs in: three messages wait for her.
fn a_few_messages(server: &TestServer) {
    let mut alice = TestClient::login(server, "alice");
    let mut bob = TestClient::login(server, "bob");
    let messages = [
        (true, "bob: one"),
        (false, "alice, carol: two"),
        (true, "carol: three"),
        (true, "bob, carol: four"),
        (false, "alice: five"),
    ];
    for (is_alice, line) in messages {
        let sender = if is_alice { &mut alice } else { &mut bob };
        sender.send(line);
        sender.ping();
    }
    alice.quit();
    bob.quit();
    server.wait_until_delivered("alice");
    server.wait_until_delivered("bob");
}

/// Alice, bob and carol are in one room, and alice alone in another: two messages wait for bob, and for carol too.
fn messages_in_rooms(server: &TestServer) {
    for name in ["bob", "carol"] {
        let mut client = TestClient::login(server, name);
        client.send("/join #home");
        client.quit();
    }
    let mut alice = TestClient::login(server, "alice");
    for line in ["/join #home", "/join #cellar", "#home: one", "#home: two", "#cellar: three"] {
        alice.send(line);
        alice.ping();
    }
    alice.quit();
}

/// A data directory with a few messages whose server was stopped.
fn at_rest() -> TempDir {
    static FILES: OnceLock<Files> = OnceLock::new();
    directory_of(FILES.get_or_init(|| files_of(a_few_messages)))
}

/// A data directory with messages in rooms whose server was stopped.
fn at_rest_with_rooms() -> TempDir {
    static FILES: OnceLock<Files> = OnceLock::new();
    directory_of(FILES.get_or_init(|| files_of(messages_in_rooms)))
}

/// Files that a server leaves when it is stopped after this.
fn files_of(scene: fn(&TestServer)) -> Files {
    let mut server = TestServer::start();
    scene(&server);
    assert!(server.terminate().success());
    files_in(&server.data())
}

/// A data directory with a few messages whose server was killed, without an index of its `-wal`.
fn after_a_crash() -> TempDir {
    let mut server = TestServer::start();
    a_few_messages(&server);
    server.kill();
    fs::remove_file(server.data().join("holdline.db-shm")).unwrap();
    directory_of(&files_in(&server.data()))
}

/// File names and content.
type Files = Vec<(OsString, Vec<u8>)>;

fn files_in(directory: &Path) -> Files {
    let files = fs::read_dir(directory).unwrap().map(Result::unwrap);
    files.map(|file| (file.file_name(), fs::read(file.path()).unwrap())).collect()
}

/// A private directory with these files.
fn directory_of(files: &Files) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o700)).unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    directory
}

/// File names, sizes, permissions, times and content.
fn snapshot(data: &Path) -> Vec<(PathBuf, u64, u32, i64, i64, Vec<u8>)> {
    let mut files = Vec::from_iter(fs::read_dir(data).unwrap().map(|file| {
        let path = file.unwrap().path();
        let metadata = path.metadata().unwrap();
        let content = fs::read(&path).unwrap();
        (path, metadata.len(), metadata.mode(), metadata.mtime(), metadata.mtime_nsec(), content)
    }));
    files.sort();
    files
}

#[track_caller]
fn sqlite(database: &Path, sql: &str) -> String {
    let output =
        Command::new("sqlite3").arg("-batch").arg(database).arg(sql).output().expect("the sqlite3 shell is installed");
    assert!(output.status.success() && output.stderr.is_empty(), "{sql}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Runs a command that was shown to the operator.
#[track_caller]
fn shell(command: &str) {
    shell_in(Path::new("/"), command);
}

#[track_caller]
fn shell_in(directory: &Path, command: &str) {
    let output = Command::new("sh").args(["-c", command]).current_dir(directory).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{command}: {output:?}");
}

/// A shell whose working directory is a small disk; its arguments are `$1` and so on.
fn shell_in_a_mount(mount: &Path, script: &str) -> Command {
    let script = format!("mount -t tmpfs -o size=32m,mode=700 none \"$0\" && cd \"$0\" && {script}");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]).arg(mount);
    command
}

/// Program, run as a user who may write only to their own files: the superuser may write everywhere.
struct Unprivileged {
    home: TempDir,
}

impl Unprivileged {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
        // It may be where no other user may start it.
        let program = home.path().join("holdline");
        if fs::hard_link(env!("CARGO_BIN_EXE_holdline"), &program).is_err() {
            fs::copy(env!("CARGO_BIN_EXE_holdline"), &program).unwrap();
        }
        Unprivileged { home }
    }

    fn command(&self) -> Command {
        if !is_root() {
            return holdline();
        }
        let mut command = Command::new("setpriv");
        let user = [format!("--reuid={OTHER_USER}"), format!("--regid={OTHER_USER}"), "--clear-groups".to_owned()];
        command.args(user).arg(self.home.path().join("holdline")).current_dir("/");
        command
    }

    /// Makes this user the owner of a directory and its files.
    fn give(&self, directory: &Path) {
        let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
        for path in files.chain([directory.to_owned()]).filter(|_| is_root()) {
            std::os::unix::fs::chown(path, Some(OTHER_USER), Some(OTHER_USER)).unwrap();
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says which test is skipped where it is not permitted. The gate permits all.
fn is_skipped(is_permitted: bool, what: &str) -> bool {
    assert!(is_permitted || std::env::var_os("CI").is_none(), "{what}: not permitted here");
    if !is_permitted {
        eprintln!("skipped: {what} cannot be had here");
    }
    !is_permitted
}
