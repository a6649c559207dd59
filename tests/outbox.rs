//! The table `outbox`: rows that are inserted with the `sqlite3` shell are sent. Owns which rows are sent, and what
//! becomes of the others; never another way to send.

mod support;

use std::fs;
use std::time::{Duration, Instant};

use support::{TestClient, TestServer, eventually, wait_until_at_rest, wait_until_steady};

/// Rows of the table, and of the one with what could not be sent.
const ROWS: &str = "select (select count(*) from outbox), (select count(*) from outbox_refused)";

#[track_caller]
fn wait_until_dealt_with(server: &TestServer) {
    eventually("the table outbox is empty", || server.sqlite("select count(*) from outbox") == "0");
}

/// Rows with the numbers of a range as their texts, in one transaction.
#[track_caller]
fn insert_numbers(server: &TestServer, to: &str, first: usize, last: usize) {
    server.sqlite_write(&format!(
        "with recursive number (n) as (select {first} union all select n + 1 from number where n < {last})
         insert into outbox select 'counter', '{to}', 'number ' || n from number"
    ));
}

/// Returns the messages from rows of [`insert_numbers`], in the order of the log.
fn numbers_sent(server: &TestServer) -> Vec<usize> {
    let sent = server.sqlite("select substr(text, 8) from history where sender = 'counter' order by seq");
    sent.lines().map(|number| number.parse().unwrap()).collect()
}

// Sent rows

#[test]
fn row_is_sent_in_the_name_of_its_sender_and_removed() {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    server.sqlite_write("insert into outbox values ('Backup', ' bob , carol', 'done')");
    bob.expect("from backup: done");
    server.wait_until_delivered("bob");
    assert_eq!(server.sqlite(ROWS), "0|0");
    assert_eq!(
        server.sqlite("select seq, sender, recipients, text, waiting_for from history"),
        "1|backup|bob,carol|done|carol"
    );
    let mut carol = TestClient::login(&server, "carol");
    carol.expect("from backup: done");
    carol.send("backup: thanks");
    let mut backup = TestClient::login(&server, "backup");
    backup.expect("from carol: thanks");
    assert_eq!(backup.history(""), ["to bob, carol: done", "from carol: thanks"]);
}

#[test]
fn a_row_is_sent_within_a_second() {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    // The machine may have other things to do for once.
    let took = (0..5).map(|_| {
        wait_until_at_rest(&server);
        let start = Instant::now();
        server.sqlite_write("insert into outbox values ('alice', 'bob', 'now')");
        bob.expect("from alice: now");
        start.elapsed()
    });
    let took = took.min().unwrap();
    assert!(took < Duration::from_secs(1), "it took {took:?}");
}

#[test]
fn row_may_be_sent_into_any_room() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    for client in [&mut alice, &mut bob] {
        client.send("/join #home");
        client.ping();
    }
    server.sqlite_write("insert into outbox values ('door', '#home', 'somebody rings')");
    alice.expect("from door in #home: somebody rings");
    bob.expect("from door in #home: somebody rings");
    server.sqlite_write("insert into outbox values ('alice', '#home, bob', 'I go')");
    bob.expect("from alice: I go");
    alice.expect_nothing();
    assert_eq!(
        server.sqlite("select recipients, text from history order by seq"),
        "#home|somebody rings\n#home,bob|I go"
    );
    assert_eq!(server.sqlite(ROWS), "0|0");
}

#[test]
fn text_keeps_newlines_and_loses_control_characters() {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    server.sqlite_write("insert into outbox values ('alice', 'bob', 'one' || char(10) || 'two' || char(27) || '[2J')");
    bob.expect("from alice: one two\u{fffd}[2J");
    assert_eq!(server.sqlite("select text from message"), "one\ntwo\u{fffd}[2J");
}

#[test]
fn numbers_are_sent_as_text() {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    server.sqlite_write("insert into outbox values ('sensor', 'bob', 21.5), ('sensor', 'bob', 7)");
    bob.expect("from sensor: 21.5");
    bob.expect("from sensor: 7");
}

#[test]
fn a_thousand_rows_of_one_transaction_arrive_once_each_and_in_order() {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    insert_numbers(&server, "bob, carol", 1, 1000);
    for number in 1..=1000 {
        bob.expect(&format!("from counter: number {number}"));
    }
    wait_until_dealt_with(&server);
    assert_eq!(numbers_sent(&server), Vec::from_iter(1..=1000));
    bob.expect_nothing();
}

#[test]
fn large_rows_are_sent_as_well() {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    let text = "x".repeat(8000);
    server.sqlite_write(&format!(
        "with recursive number (n) as (select 1 union all select n + 1 from number where n < 200)
         insert into outbox select 'alice', 'bob', n || ' {text}' from number"
    ));
    assert_eq!(bob.read_flood("alice", 200), Vec::from_iter(1..=200));
    wait_until_dealt_with(&server);
}

#[test]
fn rows_written_without_a_server_are_sent_at_its_start() {
    let mut server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    bob.send("/join #home");
    bob.quit();
    assert!(server.terminate().success());
    server.sqlite_write("insert into outbox values ('alice', '#home', 'one'), ('alice', 'bob', 'two')");
    server.start_again();
    wait_until_dealt_with(&server);
    let mut bob = TestClient::login(&server, "bob");
    bob.expect("from alice in #home: one");
    bob.expect("from alice: two");
    bob.expect_nothing();
}

#[test]
fn rows_are_sent_while_others_chat() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    insert_numbers(&server, "carol", 1, 500);
    for round in 0..50 {
        alice.send(&format!("bob: {round}"));
        bob.expect(&format!("from alice: {round}"));
    }
    wait_until_dealt_with(&server);
    assert_eq!(numbers_sent(&server), Vec::from_iter(1..=500));
    assert_eq!(server.sqlite("select count(*) from history"), "550");
}

// Crashes

#[test]
fn server_killed_among_many_rows_sends_each_once() {
    const INSERTED: usize = 8000;
    let mut server = TestServer::start();
    let number = |server: &TestServer, sql: &str| server.sqlite(sql).parse::<usize>().unwrap();
    insert_numbers(&server, "bob", 1, INSERTED);
    let (mut sent, mut kills) = (0, 0);
    while sent < INSERTED && kills < 5 {
        eventually("more rows are sent", || number(&server, "select count(*) from history") > sent);
        server.kill();
        kills += 1;
        sent = number(&server, "select count(*) from history");
        let left = number(&server, "select count(*) from outbox");
        assert_eq!(sent + left, INSERTED, "a row goes with the commit of its message");
        assert!(kills > 1 || left > 0, "it was killed too late");
        server.start_again();
    }
    wait_until_dealt_with(&server);
    assert_eq!(numbers_sent(&server), Vec::from_iter(1..=INSERTED));
    let mut bob = TestClient::login(&server, "bob");
    for number in 1..=INSERTED {
        bob.expect(&format!("from counter: number {number}"));
    }
}

// Refused rows

#[test]
fn refused_rows_are_stored_with_the_reason() {
    let server = TestServer::start();
    let text = "x".repeat(8193);
    for (row, reason) in [
        ("(null, 'bob', 'hi')", "bad_request: sender is NULL"),
        ("('alice', null, 'hi')", "bad_request: recipients is NULL"),
        ("('alice', 'bob', null)", "bad_request: text is NULL"),
        ("('', 'bob', 'hi')", "bad_name: "),
        ("('two words', 'bob', 'hi')", "bad_name: "),
        ("('alice', '', 'hi')", "bad_name: "),
        ("('alice', 'bob,,carol', 'hi')", "bad_name: "),
        ("('alice', '#', 'hi')", "bad_name: "),
        ("('#home', 'bob', 'hi')", "bad_name: "),
        ("('alice', '#nowhere', 'hi')", "not_a_member: #nowhere has no members"),
        ("('alice', 'bob, #nowhere', 'hi')", "not_a_member: #nowhere has no members"),
        ("('alice', 'bob', ' ' || char(9, 10) || ' ')", "empty: "),
        (&format!("('alice', 'bob', '{text}')"), "too_long: a text of more than 8192 bytes"),
        ("('alice', 'bob', cast(x'6869ff' as text))", "not_utf8: text is not UTF-8"),
        ("(x'ff', 'bob', 'hi')", "not_utf8: sender is not UTF-8"),
    ] {
        server.sqlite_write(&format!("delete from outbox_refused; insert into outbox values {row}"));
        eventually(&format!("{row} is processed"), || server.sqlite(ROWS) == "0|1");
        let found = server.sqlite("select reason from outbox_refused");
        assert!(found.starts_with(reason) && found.ends_with("not sent"), "{row}: {found}");
        let same = format!(
            "select count(*) from outbox_refused as refused
             join (select column1 as sender, column2 as recipients, column3 as text from (values {row})) as row
             on refused.sender is row.sender and refused.recipients is row.recipients and refused.text is row.text
             where abs(julianday('now') - julianday(refused.at)) * 24 < 1"
        );
        assert_eq!(server.sqlite(&same), "1", "{row} is stored as it was");
    }
    assert_eq!(server.sqlite("select count(*) from history"), "0", "to none of several where one cannot be");
}

#[test]
fn refused_row_holds_back_no_other() {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    server.sqlite_write(
        "insert into outbox values ('alice', 'bob', 'one'), ('alice', '#nowhere', 'two'), ('alice', 'bob', 'three')",
    );
    bob.expect("from alice: one");
    bob.expect("from alice: three");
    wait_until_dealt_with(&server);
    assert_eq!(server.sqlite("select text from outbox_refused"), "two");
}

#[test]
fn row_for_an_empty_room_is_refused() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    for command in ["/join #home", "/leave #home"] {
        alice.send(command);
        alice.ping();
    }
    server.sqlite_write("insert into outbox values ('door', '#home', 'somebody rings')");
    eventually("the row is refused", || server.sqlite(ROWS) == "0|1");
    assert!(server.sqlite("select reason from outbox_refused").starts_with("not_a_member: "));
}

#[test]
fn a_full_mailbox_refuses_rows_too() {
    let server = TestServer::with_config("[limits]\nmailbox_max = 3\n");
    insert_numbers(&server, "bob", 1, 5);
    wait_until_dealt_with(&server);
    assert_eq!(numbers_sent(&server), [1, 2, 3]);
    assert_eq!(
        server.sqlite("select text, substr(reason, 1, 13) from outbox_refused order by rowid"),
        "number 4|mailbox_full:\nnumber 5|mailbox_full:"
    );
}

#[test]
fn newest_thousand_refused_rows_are_stored() {
    let server = TestServer::start();
    insert_numbers(&server, "#nowhere", 1, 1200);
    wait_until_dealt_with(&server);
    assert_eq!(
        server.sqlite("select count(*), min(substr(text, 8) + 0), max(substr(text, 8) + 0) from outbox_refused"),
        "1000|201|1200"
    );
}

#[test]
fn refused_rows_take_little_room_however_long_they_are() {
    let server = TestServer::start();
    let size = |server: &TestServer| {
        server.sqlite("select sum(length(cast(text as blob))) from outbox_refused").parse::<u64>()
    };
    server.sqlite_write(
        "insert into outbox values ('backup', 'bob', hex(zeroblob(1500000)));
         insert into outbox values ('backup', 'bob', 'a' || hex(zeroblob(8190)) || 'äääää');
         insert into outbox values ('backup', 'bob,', 'short')",
    );
    wait_until_dealt_with(&server);
    assert_eq!(
        server.sqlite("select length(cast(text as blob)), substr(text, -2), substr(reason, 1, 9) from outbox_refused"),
        "16387|0…|too_long:\n16386|ä…|too_long:\n5|rt|bad_name:",
        "a long text is cut between two characters, and a short one is stored as it is"
    );
    server.sqlite_write(
        "with recursive number (n) as (select 1 union all select n + 1 from number where n < 200)
         insert into outbox select 'backup', 'bob', n || hex(zeroblob(9000)) from number",
    );
    wait_until_dealt_with(&server);
    assert!((900_000..=1_048_576).contains(&size(&server).unwrap()), "{:?}", size(&server));
    assert_eq!(server.sqlite("select substr(text, 1, 3) from outbox_refused order by rowid desc limit 1"), "200");
}

// Triggers

#[test]
fn trigger_can_reply() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    server.sqlite_write(
        "create trigger answer after insert on message when new.text like 'what time%' begin
             insert into outbox select 'clock', name, 'it is ' || datetime(new.at / 1000, 'unixepoch')
             from peer where id = new.sender;
         end",
    );
    for _ in 0..3 {
        alice.send("clock: what time is it?");
        let answer = alice.next_message();
        assert!(answer.starts_with("from clock: it is 2"), "{answer}");
    }
    alice.expect_nothing();
    assert_eq!(server.sqlite("select count(*) from history"), "6");
    assert_eq!(server.sqlite(ROWS), "0|0");
}

#[test]
fn trigger_that_replies_to_itself_delays_no_other_client() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    server.sqlite_write(
        "create trigger count after insert on message when new.text + 0 between 1 and 9 begin
             insert into outbox values ('counter', 'alice', new.text + 1);
         end",
    );
    alice.send("counter: 1");
    alice.ping();
    for number in 2..=10 {
        alice.expect(&format!("from counter: {number}"));
    }
    wait_until_dealt_with(&server);
    wait_until_at_rest(&server);
    alice.expect_nothing();
    assert_eq!(server.sqlite("select count(*) from history"), "10");
}

// Idle servers

#[test]
fn idle_server_does_not_poll_the_outbox() {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    server.sqlite_write("insert into outbox values ('alice', 'bob', 'hi'), ('alice', '#nowhere', 'hi')");
    bob.expect("from alice: hi");
    wait_until_dealt_with(&server);
    // The last thing that an idle server does, after a while, is to release memory.
    wait_until_steady("the wakeups of all threads", Duration::from_secs(1), || wakes(&server));
}

/// Returns the number of times that the server's threads have waited; proc(5), `voluntary_ctxt_switches`.
fn wakes(server: &TestServer) -> u64 {
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("the server runs, on Linux");
    let status = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).unwrap());
    let waits = |status: String| {
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.expect("a thread waits").trim().parse::<u64>().expect("the text is a number")
    };
    status.map(waits).sum()
}
