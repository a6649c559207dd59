//! `[retention]`: what is removed when, what is never removed, and that the server continues meanwhile. Owns the removal
//! of messages; their delivery before that is in `keep.rs`.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use support::{TestClient, TestServer, assert_contiguous, eventually, flood, holdline, wait_until_steady};

/// Messages in the log, and in inboxes.
const ROWS: &str = "select (select count(*) from message), (
    select count(*) from (
        select seq from unindexed
        union all
        select entry.value from inbox join json_each(seqs) as entry join message on message.seq = entry.value))";

/// Bytes of the database in use.
const USED_BYTES: &str = "select (page_count - freelist_count) * page_size
    from pragma_page_count, pragma_freelist_count, pragma_page_size";

fn with_retention(keys: &str) -> TestServer {
    TestServer::with_config(&format!("[retention]\n{keys}\n"))
}

fn configuration(server: &TestServer) -> PathBuf {
    server.data().with_file_name("empty").join("holdline.toml")
}

/// Ends a server, and starts it again with a retention for which all that is there is too old.
#[track_caller]
fn restart_with_all_too_old(server: &mut TestServer) {
    server.terminate();
    let young = "select count(*) from history where julianday('now') - julianday(at) < 1.0 / 86400";
    eventually("every message is a second old", || server.sqlite(young) == "0");
    fs::write(configuration(server), "[retention]\nmax_age = \"1s\"\n").unwrap();
    server.start_again();
}

fn number(server: &TestServer, sql: &str) -> u64 {
    server.sqlite(sql).parse().unwrap()
}

/// Returns the lines of the server's log that contain these words.
fn log_lines(server: &TestServer, words: &str) -> Vec<String> {
    server.log().lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
}

/// Lets alice send this many messages to bob, who receives them. Every tenth is also for carol, who is offline.
fn delivered_flood(server: &TestServer, messages: usize, padding: usize) {
    let mut alice = TestClient::login(server, "alice");
    let mut bob = TestClient::login(server, "bob");
    for start in (0..messages).step_by(1000) {
        for ten in (start..messages.min(start + 1000)).step_by(10) {
            alice.send_bytes(&flood("bob", ten..ten + 9, padding));
            alice.send_bytes(&flood("bob, carol", ten + 9..ten + 10, padding));
        }
        let last = messages.min(start + 1000) - 1;
        assert_contiguous(&bob.read_flood("alice", last));
        alice.ping();
    }
    alice.quit();
    bob.quit();
    server.wait_until_delivered("bob");
}

// Removal

#[test]
fn old_messages_are_removed_while_the_server_is_idle() {
    let server = with_retention("max_age = \"1s\"");
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send("bob, alice: one");
    alice.send("bob: two");
    bob.expect("from alice: one");
    bob.expect("from alice: two");
    eventually("both messages are removed", || server.sqlite(ROWS) == "0|0");
    eventually("the removal is logged", || log_lines(&server, "removed ").len() == 1);
}

#[test]
fn waiting_messages_are_removed_only_after_their_delivery() {
    let server = with_retention("max_age = \"1s\"");
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send("bob: before");
    alice.send("bob, carol: for both");
    alice.send("carol: for one");
    alice.send("bob: after");
    alice.ping();
    bob.expect("from alice: before");
    bob.expect("from alice: for both");
    bob.expect("from alice: after");
    eventually("delivered messages are removed", || server.sqlite("select count(*) from history") == "2");
    assert_eq!(server.sqlite("select recipient, text from waiting order by seq"), "carol|for both\ncarol|for one");
    assert_eq!(server.sqlite("select text, waiting_for from history"), "for both|carol\nfor one|carol");

    let mut carol = TestClient::login(&server, "carol");
    carol.expect("from alice: for both");
    carol.expect("from alice: for one");
    eventually("every message is removed", || server.sqlite(ROWS) == "0|0");
    carol.expect_nothing();
}

#[test]
fn room_messages_are_removed_only_after_delivery_to_each_member() {
    let server = with_retention("max_age = \"1s\"");
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    let mut carol = TestClient::login(&server, "carol");
    for client in [&mut alice, &mut bob, &mut carol] {
        client.send("/join #home");
        client.ping();
    }
    carol.quit();
    alice.send("#home: one");
    alice.send("bob: two");
    alice.send("bob, #home: three");
    alice.ping();
    bob.expect("from alice in #home: one");
    bob.expect("from alice: two");
    bob.expect("from alice: three");
    eventually("delivered messages are removed", || server.sqlite("select count(*) from history") == "2");
    assert_eq!(server.sqlite("select recipient, text from waiting order by seq"), "carol|one\ncarol|three");
    // A member that joins now need not receive it.
    let mut dave = TestClient::login(&server, "dave");
    dave.send("/join #home");
    dave.quit();

    let mut carol = TestClient::login(&server, "carol");
    carol.expect("from alice in #home: one");
    carol.expect("from alice in #home: three");
    eventually("every message is removed", || server.sqlite(ROWS) == "0|0");
    carol.expect_nothing();
    TestClient::login(&server, "dave").expect_nothing();
}

#[test]
fn sequence_numbers_of_removed_messages_are_not_reused() {
    let mut server = with_retention("max_age = \"1s\"");
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/join #empty");
    alice.send("#empty: nobody hears me");
    alice.ping();
    assert_eq!(server.sqlite("select seq, text from history"), "1|nobody hears me");
    eventually("the message is removed", || server.sqlite(ROWS) == "0|0");
    server.restart();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("alice: next");
    alice.expect("from alice: next");
    assert_eq!(server.sqlite("select seq, text from history"), "2|next");
}

#[test]
fn database_stays_within_its_size_limit_under_a_flood() {
    let (messages, max_size) = (30_000, 1_000_000);
    let server = with_retention("max_size = \"1 MB\"");
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    let mut largest = 0;
    for start in (0..messages).step_by(500) {
        alice.send_bytes(&flood("bob", start..start + 500, 100));
        assert_eq!(bob.read_flood("alice", start + 499), Vec::from_iter(start..start + 500));
        alice.expect_nothing();
        largest = largest.max(fs::metadata(server.database()).unwrap().len());
    }
    // All of it would take five times as much.
    assert!(largest < 2 * max_size, "the file had {largest} bytes");
    server.wait_until_delivered("bob");
    eventually("the database is below its limit", || number(&server, USED_BYTES) <= max_size);
    assert!(number(&server, USED_BYTES) > max_size / 2, "more was removed than had to be");
    assert_eq!(
        server.sqlite("select max(seq), max(seq) - min(seq) + 1 = count(*) from history"),
        format!("{messages}|1")
    );
    assert_eq!(log_lines(&server, "removed ").len(), 1, "a steady flow is logged once: {}", server.log());
    assert_eq!(server.sqlite("pragma integrity_check"), "ok");
}

#[test]
fn without_retention_no_message_is_removed() {
    let mut server = TestServer::start();
    delivered_flood(&server, 1000, 100);
    server.restart();
    TestClient::login(&server, "bob").expect_nothing();
    assert_eq!(server.sqlite(ROWS), "1000|1100");
    assert_eq!(log_lines(&server, "removed "), [""; 0]);
}

// Messages that stay

#[test]
fn when_waiting_messages_fill_the_database_the_loudest_sender_is_refused_and_the_others_are_not() {
    let max_size = 400_000;
    let server = with_retention("max_size = \"400 kB\"");
    let mut alice = TestClient::login(&server, "alice");
    let mut errors = Vec::new();
    for start in (0..4000).step_by(250) {
        alice.send_bytes(&flood("carol", start..start + 250, 200));
        errors.extend(alice.ping().into_iter().filter(|line| line.starts_with('!')));
    }
    assert!(errors[0].starts_with("! storage_full: ") && errors[0].ends_with("; not sent"), "{}", errors[0]);
    assert_eq!(errors.len() + server.sqlite("select count(*) from waiting").parse::<usize>().unwrap(), 4000);
    let used = || number(&server, USED_BYTES);
    assert!((max_size * 7 / 8..=max_size + 100_000).contains(&used()), "{} bytes are used", used());
    eventually("the log says who holds back the messages", || !log_lines(&server, "and cannot shrink").is_empty());
    let warning = log_lines(&server, "and cannot shrink").concat();
    assert!(warning.contains(" for carol); senders are refused"), "{warning}");

    // A quiet sender, logins, rooms and acknowledgements go on.
    let mut dave = TestClient::login(&server, "dave");
    let mut erin = TestClient::login(&server, "erin");
    // Unless a turn that was under way when the share was used up has filled that, too.
    if used() + 20_000 < max_size {
        for _ in 0..20 {
            dave.send("erin: still here");
            erin.expect("from dave: still here");
        }
    }
    dave.send("/join #home");
    dave.ping();
    assert!(alice.ping().is_empty());

    let mut carol = TestClient::login(&server, "carol");
    let accepted = 4000 - errors.len();
    for _ in 0..accepted {
        assert!(carol.next_message().starts_with("from alice: "));
    }
    eventually("the database is below its limit", || used() <= max_size * 7 / 8);
    alice.send("carol: one more");
    carol.expect("from alice: one more");
    assert_eq!(log_lines(&server, "and cannot shrink").len(), 1, "it is logged once: {}", server.log());
}

#[test]
fn log_names_the_peers_that_hold_back_old_messages() {
    let server = with_retention("max_age = \"1s\"");
    let mut alice = TestClient::login(&server, "alice");
    for _ in 0..3 {
        alice.send("carol: hi");
    }
    alice.send("dave: hi");
    alice.ping();
    let held = || log_lines(&server, "cannot be removed before delivery");
    eventually("the log says who holds back the messages", || !held().is_empty());
    let words = "4 messages cannot be removed before delivery (3 for carol, 1 for dave): let these peers log in, or, for messages of \
                 rooms, lower room_waiting_max";
    assert!(held()[0].ends_with(words), "{:?}", held());
    let mut carol = TestClient::login(&server, "carol");
    (0..3).for_each(|_| carol.expect("from alice: hi"));
    eventually("three are removed", || server.sqlite("select count(*) from history") == "1");
    assert_eq!(held().len(), 1, "it is logged once: {}", server.log());
}

#[test]
fn waiting_messages_are_replayed_completely_while_others_are_removed() {
    let mut server = TestServer::start();
    delivered_flood(&server, 20_000, 100);
    restart_with_all_too_old(&mut server);
    let mut carol = TestClient::login(&server, "carol");
    let numbers = carol.read_flood("alice", 19_999);
    assert_eq!(numbers, Vec::from_iter((9..20_000).step_by(10)));
    eventually("every message is removed", || server.sqlite(ROWS) == "0|0");
    carol.expect_nothing();
}

// Service during removal

#[test]
fn emptied_log_continues_with_the_next_sequence_number() {
    let mut server = with_retention("max_age = \"1s\"");
    let mut alice = TestClient::login(&server, "alice");
    alice.send_bytes(&flood("alice", 0..10, 0));
    alice.read_flood("alice", 9);
    eventually("every message is removed", || server.sqlite(ROWS) == "0|0");
    server.restart();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("carol: kept");
    alice.expect_nothing();
    assert_eq!(server.sqlite("select seq, text from history"), "11|kept");
}

#[test]
fn history_shows_all_remaining_messages() {
    let server = with_retention("max_age = \"1s\"");
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send("carol: waits, the first");
    alice.send("bob: goes");
    alice.send("carol: waits, the second");
    alice.send("bob: goes too");
    alice.ping();
    bob.expect("from alice: goes");
    bob.expect("from alice: goes too");
    eventually("delivered messages are removed", || server.sqlite("select count(*) from history") == "2");
    assert_eq!(alice.history(""), ["to carol: waits, the first", "to carol: waits, the second"]);
    alice.send("dave: and a new one");
    alice.ping();
    assert_eq!(
        alice.history(""),
        ["to carol: waits, the first", "to carol: waits, the second", "to dave: and a new one"]
    );
    assert_eq!(alice.history("2"), ["to carol: waits, the second", "to dave: and a new one"]);
    assert_eq!(alice.history("carol"), ["to carol: waits, the first", "to carol: waits, the second"]);
    assert_eq!(bob.history(""), [""; 0]);

    let mut command = holdline();
    let output = command.args(["history", "--with=alice", "--data"]).arg(server.data()).stdout(Stdio::piped()).output();
    let printed = String::from_utf8(output.unwrap().stdout).unwrap();
    let texts = Vec::from_iter(printed.lines().filter_map(|line| line.split_once(": ")).map(|(_, text)| text));
    assert_eq!(
        texts,
        [
            "waits, the first  (waiting for carol)",
            "waits, the second  (waiting for carol)",
            "and a new one  (waiting for dave)"
        ]
    );
}

#[test]
fn file_shrinks_and_the_log_reports_removed_messages() {
    let mut server = TestServer::start();
    delivered_flood(&server, 4_000, 1000);
    restart_with_all_too_old(&mut server);
    let mut alice = TestClient::login(&server, "alice");
    // 4 MB of texts were in it.
    eventually("the file gets smaller", || fs::metadata(server.database()).unwrap().len() < 1_500_000);
    alice.expect_nothing();
    assert_eq!(server.sqlite(ROWS), "400|800", "every tenth waits for carol");
    // The store reports what it removed after the file became smaller.
    eventually("the removal is logged", || !log_lines(&server, "removed ").is_empty());
    let removed = log_lines(&server, "removed ");
    assert_eq!(removed.len(), 1, "{}", server.log());
    for words in
        ["removed 3600 messages, up to seq 3999 of 20", "3600 for max_age, 0 for max_size", "400 wait for a recipient"]
    {
        assert!(removed[0].contains(words), "`{words}` is not in {}", removed[0]);
    }
    assert_eq!(server.sqlite("pragma integrity_check"), "ok");
}

#[test]
fn retention_continues_after_a_crash_at_any_time() {
    let mut server = TestServer::start();
    delivered_flood(&server, 10_000, 300);
    restart_with_all_too_old(&mut server);
    for pause_ms in [0, 5, 20, 50] {
        // The time of the crash varies: before the first step, and after more and more of them.
        thread::sleep(Duration::from_millis(pause_ms));
        server.kill();
        server.start_again();
    }
    let all_but_waiting = "select count(*) from history where waiting_for = ''";
    eventually("every message that does not wait is removed", || server.sqlite(all_but_waiting) == "0");
    assert_eq!(server.sqlite("select count(*) from waiting"), "1000");
    assert_eq!(server.sqlite("pragma integrity_check"), "ok");
    let mut carol = TestClient::login(&server, "carol");
    assert_eq!(carol.read_flood("alice", 9_999).len(), 1000);
}

#[test]
fn concurrent_writer_delays_retention_and_is_logged_once() {
    let server = with_retention("max_age = \"1s\"");
    let mut alice = TestClient::login(&server, "alice");
    alice.send("alice: goes");
    alice.expect("from alice: goes");
    server.wait_until_delivered("alice");
    let mut shell = Command::new("sqlite3");
    shell.arg("-batch").arg(server.database()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = shell.spawn().expect("the sqlite3 shell is installed");
    let mut output = BufReader::new(shell.stdout.take().unwrap()).lines();
    writeln!(shell.stdin.as_mut().unwrap(), "begin immediate; select 'locked';").unwrap();
    assert_eq!(output.next().unwrap().unwrap(), "locked");
    eventually("the failure is logged", || !log_lines(&server, "cannot remove old messages").is_empty());
    assert_eq!(server.sqlite("select count(*) from history"), "1");
    drop(shell.stdin.take());
    shell.wait().unwrap();
    eventually("the message is removed", || server.sqlite(ROWS) == "0|0");
    assert_eq!(log_lines(&server, "cannot remove old messages").len(), 1, "{}", server.log());
}

#[test]
fn retention_does_not_wake_while_nothing_is_due() {
    let configurations = ["", "[retention]\nmax_age = \"90 days\"\nmax_size = \"1 MB\""];
    let servers = configurations.map(|toml| {
        let server = TestServer::with_config(toml);
        let mut alice = TestClient::login(&server, "alice");
        alice.send("alice, carol: hello");
        alice.expect("from alice: hello");
        server.wait_until_delivered("alice");
        (server, alice)
    });
    let sleeps = || servers.iter().map(|(server, _)| store_sleeps(server)).collect::<Vec<_>>();
    wait_until_steady("the wakeups of the stores", Duration::from_millis(1200), sleeps);
}

/// Returns the number of times that the store's thread has gone to sleep.
fn store_sleeps(server: &TestServer) -> String {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().map(|task| task.unwrap().path());
    let mut stores = tasks.filter(|task| fs::read_to_string(task.join("comm")).unwrap() == "store\n");
    let status = fs::read_to_string(stores.next().expect("a thread of this name").join("status")).unwrap();
    status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:")).unwrap().to_owned()
}
