//! The database as operators see it with the `sqlite3` shell, and its directory: views, permissions, the lock, and what
//! is refused at the start. Owns what is on disk; never what is sent to clients.

mod support;

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use support::{TestClient, TestServer, eventually, flood, holdline, installed, refusal};

// Views

#[test]
fn the_views_keep_their_columns() {
    let server = TestServer::start();
    let columns =
        |view: &str| server.sqlite(&format!("select group_concat(name, ', ') from pragma_table_info('{view}')"));
    assert_eq!(columns("history"), "seq, at, sender, recipients, text, waiting_for");
    assert_eq!(columns("waiting"), "recipient, seq, at, sender, text");
    assert_eq!(columns("outbox"), "sender, recipients, text");
    assert_eq!(columns("outbox_refused"), "at, sender, recipients, text, reason");
    assert_eq!(
        server.sqlite("select count(*) from sqlite_schema where type = 'view' and name in ('history', 'waiting')"),
        "2"
    );
}

/// Returns the output of a command that succeeds; its input is this text.
#[track_caller]
fn output(command: &mut Command, input: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn dumps_of_the_shell_and_of_python_hold_every_message() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: it's tea\n/join #home\n#home: hello");
    alice.send("/search tea");
    alice.ping();
    let history = server.sqlite("select * from history order by seq");
    let documentation = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/database.md")).unwrap();
    let recipe = documentation.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let recipe = recipe.replace("holdline-data", server.data().to_str().unwrap());
    let home = tempfile::tempdir().unwrap();
    let database = server.data().join("holdline.db");
    let mut dumps = vec![("shell.db", output(Command::new("sqlite3").arg("-readonly").arg(database).arg(".dump"), ""))];
    if installed("python3").is_some() {
        dumps.push(("python.db", output(&mut Command::new("python3"), &recipe)));
    }
    for (copy, dump) in dumps {
        let copy = home.path().join(copy);
        output(Command::new("sqlite3").arg("-bail").arg(&copy), &dump);
        let copied = output(Command::new("sqlite3").arg(copy).arg("select * from history order by seq"), "");
        assert_eq!(copied.trim_end(), history);
    }
}

#[test]
fn server_opens_a_dump_with_its_two_numbers() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: tea");
    alice.ping();
    let version = server.sqlite("pragma user_version");
    let dump = server.sqlite(".dump");
    server.terminate();
    let database = server.data().join("holdline.db");
    fs::remove_file(&database).unwrap();
    output(Command::new("sqlite3").arg("-bail").arg(&database), &dump);
    fs::set_permissions(&database, Permissions::from_mode(0o600)).unwrap();
    server.sqlite_write(&format!("pragma application_id = 1752132708; pragma user_version = {version}"));
    server.start_again();
    let mut bob = TestClient::login(&server, "bob");
    bob.expect("from alice: tea");
    bob.send("/search tea");
    assert!(bob.ping()[0].ends_with("from alice: tea"));
}

#[test]
fn views_show_messages_and_the_peers_that_have_not_received_them() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send("carol, bob, dave: to three");
    alice.send("bob: to one");
    alice.ping();
    bob.send("alice, carol: it's \"quoted\", | and ünï");
    bob.ping();
    server.wait_until_delivered("bob");
    server.wait_until_delivered("alice");

    assert_eq!(
        server.sqlite("select seq, sender, recipients, text, waiting_for from history order by seq"),
        "1|alice|carol,bob,dave|to three|carol,dave\n\
         2|alice|bob|to one|\n\
         3|bob|alice,carol|it's \"quoted\", | and ünï|carol"
    );
    assert_eq!(server.sqlite("select quote(waiting_for) from history where seq = 2"), "''");
    assert_eq!(
        server.sqlite("select recipient, seq, sender, text from waiting order by recipient, seq"),
        "carol|1|alice|to three\n\
         carol|3|bob|it's \"quoted\", | and ünï\n\
         dave|1|alice|to three"
    );
    assert_eq!(server.sqlite("select count(*) from waiting join history using (seq, at, sender, text)"), "3");

    let mut carol = TestClient::login(&server, "carol");
    carol.expect("from alice: to three");
    server.wait_until_delivered("carol");
    assert_eq!(server.sqlite("select waiting_for from history order by seq"), "dave\n\n");
    assert_eq!(server.sqlite("select recipient, seq from waiting"), "dave|1");
}

#[test]
fn views_show_rooms_as_addressed_and_waiting_members_by_name() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    for (name, rooms) in [("bob", &["#home", "#cellar"][..]), ("carol", &["#home"]), ("dave", &[])] {
        let mut client = TestClient::login(&server, name);
        rooms.iter().for_each(|room| client.send(&format!("/join {room}")));
        client.quit();
    }
    for line in ["/join #home", "/join #cellar", "#home: one", "#cellar, #home, dave: two", "#home, carol: three"] {
        alice.send(line);
        alice.ping();
    }
    let mut dave = TestClient::login(&server, "dave");
    dave.expect("from alice: two");
    dave.send("/join #home");
    dave.send("#home: four");
    dave.ping();
    alice.expect("from dave in #home: four");
    alice.send("#home: five");
    alice.ping();
    dave.expect("from alice in #home: five");
    for name in ["alice", "dave"] {
        server.wait_until_delivered(name);
    }
    alice.quit();
    dave.quit();
    // What waits is in the tail of the log first, and in the inboxes when the server has stopped.
    for _ in 0..2 {
        assert_eq!(
            server.sqlite("select seq, sender, recipients, text, waiting_for from history order by seq"),
            "1|alice|#home|one|bob,carol\n\
             2|alice|#cellar,#home,dave|two|bob,carol\n\
             3|alice|#home,carol|three|bob,carol\n\
             4|dave|#home|four|bob,carol\n\
             5|alice|#home|five|bob,carol"
        );
        assert_eq!(
            server.sqlite("select recipient, seq from waiting order by recipient, seq"),
            "bob|1\nbob|2\nbob|3\nbob|4\nbob|5\ncarol|1\ncarol|2\ncarol|3\ncarol|4\ncarol|5",
            "each message once, through however many rooms it comes"
        );
        server.restart();
    }
    let mut bob = TestClient::login(&server, "bob");
    for message in ["from alice in #home: one", "from alice in #cellar: two", "from alice in #home: three"] {
        bob.expect(message);
    }
    bob.expect("from dave in #home: four");
    bob.expect("from alice in #home: five");
    bob.send("/leave #home");
    bob.ping();
    server.wait_until_delivered("bob");
    assert_eq!(server.sqlite("select group_concat(waiting_for, ';') from history"), "carol;carol;carol;carol;carol");
    let mut carol = TestClient::login(&server, "carol");
    carol.send("/leave #home");
    carol.ping();
    eventually("no message waits", || server.sqlite("select count(*) from waiting") == "0");
    assert_eq!(server.sqlite("select group_concat(waiting_for, ';') from history"), ";;;;");
}

#[test]
fn times_are_iso_8601_in_utc_with_milliseconds() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: hi");
    alice.ping();
    let digit = "[0-9]";
    let (two, three, four) = (digit.repeat(2), digit.repeat(3), digit.repeat(4));
    let form = format!("{four}-{two}-{two}T{two}:{two}:{two}.{three}Z");
    for view in ["history", "waiting"] {
        let sql =
            format!("select typeof(at), at glob '{form}', abs(julianday('now') - julianday(at)) * 24 < 1 from {view}");
        assert_eq!(server.sqlite(&sql), "text|1|1", "{view}: {}", server.sqlite(&format!("select at from {view}")));
    }
}

#[test]
fn events_are_shown_with_names_and_times() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: hi");
    alice.ping();
    assert!(server.terminate().success());
    server.sqlite_write(
        "insert into event values
            (7, 1764000000000, 'join', (select id from peer where name = 'alice'), 0, null),
            (8, 1764000001500, 'delivered', (select id from peer where name = 'bob'), 9, 1),
            (9, 1764000002000, 'leave', 77, 1, null)",
    );
    let events = server.sqlite("select id, at, kind, name, seq from events order by id");
    assert_eq!(events, "7|2025-11-24T16:00:00.000Z|join|alice|0\n8|2025-11-24T16:00:01.500Z|delivered|bob|1");
}

/// As the first version left it: Alice wrote to Bob and Carol, and Bob has got what is his.
const FIRST_VERSION: &str = concat!(
    "pragma auto_vacuum = incremental; pragma journal_mode = wal;",
    include_str!("../migrations/0001-log.sql"),
    "pragma application_id = 0x686f6c64; pragma user_version = 1;
    insert into peer values (1, 'alice', 1, 0, 2), (2, 'bob', 1, 2, 0), (3, 'carol', 0, 0, 0);
    insert into message values
        (1, 1764000000000, 1, 0, '[2,3]', 'to both'), (2, 1764000001000, 1, 1, '[2,3]', 'and again');
    insert into inbox values (2, 1, 1), (3, 1, 1), (2, 2, 1), (3, 2, 1);"
);

#[test]
fn database_of_the_first_version_is_migrated() {
    let mut server = TestServer::start();
    server.terminate();
    for file in ["holdline.db", "holdline.db-wal", "holdline.db-shm"] {
        let _ = fs::remove_file(server.data().join(file));
    }
    server.sqlite_write(FIRST_VERSION);
    let shown = holdline().args(["history", "--data"]).arg(server.data()).output().unwrap();
    let words = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(words.contains("has schema version 1") && words.contains("start the server once"), "{words}");

    server.start_again();
    let waiting = "select recipient, seq, text from waiting order by seq";
    assert_eq!(server.sqlite(waiting), "carol|1|to both\ncarol|2|and again");
    let mut alice = TestClient::login(&server, "alice");
    alice.send("carol: and now");
    alice.ping();
    assert_eq!(server.sqlite(waiting), "carol|1|to both\ncarol|2|and again\ncarol|3|and now");
    assert_eq!(alice.history("2"), ["to bob, carol: and again", "to carol: and now"]);
    let mut carol = TestClient::login(&server, "carol");
    for text in ["to both", "and again", "and now"] {
        carol.expect(&format!("from alice: {text}"));
    }
    server.wait_until_delivered("carol");
    assert_eq!(server.sqlite("select count(*) from waiting"), "0");
}

#[test]
fn messages_that_the_index_lags_behind_are_found_after_a_crash() {
    let mut server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    for (name, line) in [("alice", "bob, carol: one"), ("dave", "carol: two"), ("alice", "dave, bob: three")] {
        let mut client = TestClient::login(&server, name);
        client.send(line);
        client.quit();
    }
    server.wait_until_delivered("bob");
    assert_eq!(server.sqlite("select count(*), (select count(*) from unindexed) from inbox"), "0|5");
    let history = ["from alice: one", "from alice: three"];
    assert_eq!(bob.history(""), history);
    server.kill();
    let found = server.sqlite("select recipient, seq, sender, text from waiting order by recipient, seq");
    assert_eq!(found, "carol|1|alice|one\ncarol|2|dave|two\ndave|3|alice|three");
    server.start_again();
    let mut bob = TestClient::login(&server, "bob");
    assert_eq!(bob.history(""), history);
    assert_eq!(bob.history("alice"), history);
    assert_eq!(TestClient::login(&server, "alice").history(""), ["to bob, carol: one", "to dave, bob: three"]);
    let mut carol = TestClient::login(&server, "carol");
    carol.expect("from alice: one");
    carol.expect("from dave: two");
    server.wait_until_delivered("carol");
    server.terminate();
    let rest = "select (select count(*) from unindexed), (select count(*) from inbox join json_each(seqs))";
    assert_eq!(server.sqlite(rest), "0|5", "who stops in good order leaves nothing behind");
}

#[test]
fn seq_grows_over_restarts() {
    let mut server = TestServer::start();
    for round in 0..3 {
        let mut alice = TestClient::login(&server, "alice");
        alice.send_bytes(&flood("bob", round * 10..(round + 1) * 10, 0));
        alice.quit();
        server.restart();
    }
    assert_eq!(server.sqlite("select count(*), min(seq), max(seq) from history"), "30|1|30");
}

#[test]
fn the_shell_reads_while_messages_flow() {
    let server = TestServer::start();
    let count = 3000;
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    let sender = thread::spawn(move || {
        for hundred in 0..count / 100 {
            alice.send_bytes(&flood("bob, carol", hundred * 100..(hundred + 1) * 100, 50));
            alice.ping();
        }
    });
    let reader = thread::spawn(move || bob.read_flood("alice", count - 1));
    let mut seen = 0;
    loop {
        let is_last_look = sender.is_finished();
        let row = server.sqlite(
            "select count(*), coalesce(max(seq), 0), (select count(*) from waiting where recipient = 'carol') from history",
        );
        let row = Vec::from_iter(row.split('|').map(|number| number.parse::<usize>().unwrap()));
        assert!(row[0] >= seen && row[1] == row[0] && row[2] == row[0], "{row:?} after {seen}");
        seen = row[0];
        if is_last_look {
            break;
        }
    }
    sender.join().unwrap();
    assert_eq!(seen, count);
    assert_eq!(reader.join().unwrap(), Vec::from_iter(0..count));
}

#[test]
fn damaged_text_holds_back_no_other_message() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    for text in ["one", "two", "three"] {
        alice.send(&format!("bob: {text}"));
    }
    alice.ping();
    server.sqlite_write("update message set text = cast(x'74ff6f' as text) where seq = 2");
    let mut bob = TestClient::login(&server, "bob");
    for text in ["one", "t\u{fffd}o", "three"] {
        bob.expect(&format!("from alice: {text}"));
    }
    assert_eq!(bob.history(""), ["from alice: one", "from alice: t\u{fffd}o", "from alice: three"]);
    let mut shown = holdline();
    let shown = shown.args(["history", "--data"]).arg(server.data()).stdout(Stdio::piped()).output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("t\u{fffd}o"), "{shown:?}");
}

#[test]
fn long_read_in_a_shell_delays_no_other_client() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: before");
    alice.ping();

    let mut shell = Command::new("sqlite3");
    shell.args(["-readonly", "-batch"]).arg(server.database()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = shell.spawn().expect("the sqlite3 shell is installed");
    let mut output = BufReader::new(shell.stdout.take().unwrap()).lines();
    let mut count = |shell: &mut std::process::Child, sql: &str| {
        writeln!(shell.stdin.as_mut().unwrap(), "{sql}").unwrap();
        output.next().unwrap().unwrap()
    };
    assert_eq!(count(&mut shell, "begin; select count(*) from history;"), "1");
    alice.send_bytes(&flood("bob", 0..1000, 100));
    alice.expect_nothing();
    assert_eq!(count(&mut shell, "select count(*) from history;"), "1", "a transaction sees one moment");
    assert_eq!(count(&mut shell, "commit; select count(*) from history;"), "1001");
    drop(shell.stdin.take());
    assert!(shell.wait().unwrap().success());
}

#[test]
fn database_is_in_wal_mode() {
    let server = TestServer::start();
    TestClient::login(&server, "alice").ping();
    assert_eq!(server.sqlite("pragma journal_mode"), "wal");
    assert_eq!(server.sqlite("pragma integrity_check"), "ok");
    assert_ne!(server.sqlite("pragma user_version"), "0");
}

// Permissions

#[test]
fn the_directory_and_its_files_are_private() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: hi");
    alice.ping();
    check_private(&server.data());
}

#[test]
fn empty_directory_that_others_can_read_is_made_private() {
    let mut server = TestServer::start();
    assert!(server.terminate().success());
    fs::remove_dir_all(server.data()).unwrap();
    fs::create_dir(server.data()).unwrap();
    fs::set_permissions(server.data(), Permissions::from_mode(0o755)).unwrap();
    server.start_again();
    TestClient::login(&server, "alice").ping();
    check_private(&server.data());
}

#[track_caller]
fn check_private(directory: &Path) {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(format!("{:o}", mode(directory)), "700");
    let files = Vec::from_iter(fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()));
    assert!(files.contains(&directory.join("holdline.db")), "{files:?}");
    for file in files {
        assert_eq!(format!("{:o}", mode(&file)), "600", "{}", file.display());
    }
}

// Refusals

#[test]
fn second_server_on_the_same_directory_is_refused_with_the_pid_of_the_first() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let line = refused_on(&server.data());
    assert!(line.contains(&server.pid().to_string()), "process {} is not named: {line}", server.pid());
    alice.send("alice: still here");
    alice.expect("from alice: still here");
}

#[test]
fn a_lock_ends_with_its_holder() {
    let mut server = TestServer::start();
    server.kill();
    server.start_again();
    TestClient::login(&server, "alice").expect_nothing();
}

#[test]
fn newer_schema_is_refused_and_unchanged() {
    let mut server = TestServer::start();
    assert!(server.terminate().success());
    server.sqlite_write("pragma user_version = 999");
    let line = refused_on(&server.data());
    assert!(line.contains("999"), "the version is not named: {line}");
    assert_eq!(server.sqlite("pragma user_version"), "999");
    assert_eq!(server.sqlite("select count(*) from history"), "0");
}

#[test]
fn file_that_is_not_a_database_is_refused_and_unchanged() {
    let home = tempfile::tempdir().unwrap();
    let database = home.path().join("holdline.db");
    for content in [&b"These are my notes, and no database.\n"[..], &[0xa5; 8192]] {
        fs::write(&database, content).unwrap();
        refused_on(home.path());
        assert!(fs::read(&database).unwrap() == content, "the file was changed");
    }
}

#[test]
fn damaged_database_is_refused() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: hi");
    alice.quit();
    assert!(server.terminate().success());
    let mut content = fs::read(server.database()).unwrap();
    content[..100].fill(0xff);
    fs::write(server.database(), content).unwrap();
    refused_on(&server.data());
}

#[test]
fn database_of_another_program_is_refused_and_unchanged() {
    let home = tempfile::tempdir().unwrap();
    let database = home.path().join("holdline.db");
    let sql = "create table recipe (title); insert into recipe values ('bread')";
    assert!(Command::new("sqlite3").arg(&database).arg(sql).status().unwrap().success());
    let before = fs::read(&database).unwrap();
    refused_on(home.path());
    assert!(fs::read(&database).unwrap() == before, "the file was changed");
}

#[test]
fn directory_that_cannot_be_created_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    fs::write(&file, "in the way").unwrap();
    refused_on(&file);
    refused_on(&file.join("data"));
    assert_eq!(fs::read(&file).unwrap(), b"in the way");
}

#[test]
fn read_only_directory_is_refused() {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
    if !rustix::process::geteuid().is_root() {
        refused_on(Path::new("/usr"));
        refused_on(Path::new("/usr/holdline-data"));
        return;
    }
    // The superuser may write everywhere: the server is started as nobody, from where nobody may start it.
    let program = home.path().join("holdline");
    if fs::hard_link(env!("CARGO_BIN_EXE_holdline"), &program).is_err() {
        fs::copy(env!("CARGO_BIN_EXE_holdline"), &program).unwrap();
    }
    for data in ["empty", "missing/data"] {
        let data = home.path().join(data);
        fs::create_dir_all(home.path().join("empty")).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        let line = refusal(on(&mut command, &data).stderr(Stdio::piped()));
        assert!(line.contains(data.to_str().unwrap()), "{} is not named: {line}", data.display());
    }
}

#[test]
fn directory_with_other_files_is_not_made_private() {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), Permissions::from_mode(0o755)).unwrap();
    fs::write(home.path().join("holiday.jpg"), "a beach").unwrap();
    refused_on(home.path());
    assert_eq!(fs::metadata(home.path()).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

/// Starts a server on this directory, which must refuse and name it. Returns its output.
#[track_caller]
fn refused_on(data: &Path) -> String {
    let line = refusal(on(&mut holdline(), data));
    assert!(line.contains(data.to_str().unwrap()), "{} is not named: {line}", data.display());
    line
}

fn on<'c>(command: &'c mut Command, data: &Path) -> &'c mut Command {
    command.args(["--listen", "127.0.0.1:0", "--data"]).arg(data).current_dir("/")
}
