//! `holdline peer remove` and `holdline room remove`, with a running server and without one. Owns that nothing is left of what was removed, in
//! every table and in the search index, and that everything else is there; never how it is removed.

mod support;

use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use support::{JsonClient, TestClient, TestServer, eventually, holdline, refusal, wait_for_exit};

/// Queries for everything that names a peer by its id.
const OF_PEER: &str = "
    select (select count(*) from peer where id = ID) + (select count(*) from member where peer = ID) + (select count(*) from past_member where peer = ID)
         + (select count(*) from inbox where recipient = ID) + (select count(*) from unindexed where recipient = ID)
         + (select count(*) from message where sender = ID) + (select count(*) from sent_id where sender = ID)
         + (select count(*) from value where peer = ID) + (select count(*) from observer where peer = ID)
         + (select count(*) from event where peer = ID) + (select count(*) from room where creator = ID)
         + (select count(*) from purge where target = ID or name is not null)
         + (select count(*) from message, json_each(recipients) as addressed where addressed.value = ID)";

/// Queries for everything that names a room by its id.
const OF_ROOM: &str = "
    select (select count(*) from room where id = ID) + (select count(*) from member where room = ID) + (select count(*) from past_member where room = ID)
         + (select count(*) from inbox where recipient = -ID) + (select count(*) from unindexed where recipient = -ID)
         + (select count(*) from purge where target = -ID or name is not null)
         + (select count(*) from message, json_each(recipients) as addressed where addressed.value = -ID)";

fn start_command(data: &Path, what: &str, arguments: &[&str]) -> Child {
    let mut command = holdline();
    command.args([what, "remove", "--data"]).arg(data).args(arguments).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// Removes a peer or a room. Returns what the command prints.
#[track_caller]
fn remove(data: &Path, what: &str, name: &str) -> String {
    let mut process = start_command(data, what, &["--yes", name]);
    let status = wait_for_exit(&mut process);
    let (mut text, mut errors) = (String::new(), String::new());
    process.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    process.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(status.success(), "{status}\n{text}{errors}");
    text
}

/// Returns the error of a removal that is refused.
#[track_caller]
fn refused(data: &Path, what: &str, arguments: &[&str]) -> String {
    refusal(holdline().args([what, "remove", "--data"]).arg(data).args(arguments))
}

#[track_caller]
fn assert_well(server: &TestServer) {
    let output = holdline().arg("doctor").arg("--data").arg(server.data()).stdout(Stdio::piped()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with("\nall is well\n"), "{text}");
}

fn id_of(server: &TestServer, table: &str, name: &str) -> String {
    server.sqlite(&format!("select id from {table} where name = '{name}'"))
}

#[track_caller]
fn assert_gone(server: &TestServer, queries: &str, id: &str) {
    assert_eq!(server.sqlite(&queries.replace("ID", id)), "0", "rows that name {id}");
}

/// Words in the search index, after a search has brought it up to date.
fn indexed_words(server: &TestServer) -> String {
    let mut client = TestClient::login(server, "searcher");
    client.send("/search nothing");
    client.expect_notice("no messages contain that");
    client.quit();
    // The index is contentless, so only its vocabulary shows what is left. An older sqlite3 shell cannot read it.
    let database = Connection::open(server.database()).unwrap();
    database.execute_batch("create virtual table temp.word using fts5vocab(main, search, instance)").unwrap();
    let sql =
        "select coalesce(group_concat(term || ':' || doc, ' '), '') from (select * from temp.word order by doc, term)";
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// A server with messages from and to mallory and others, all delivered but one to carol.
fn populated() -> TestServer {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    let mut mallory = TestClient::login(&server, "mallory");
    for client in [&mut bob, &mut mallory] {
        client.send("/join #home");
        client.ping();
    }
    mallory.send("/join #lair");
    mallory.send("bob: zebra");
    mallory.send("#home: giraffe");
    mallory.send("carol: elephant");
    mallory.ping();
    bob.send("mallory: tiger");
    bob.send("mallory, carol: panther");
    bob.send("#home, mallory: lion");
    bob.send("bob: mouse");
    mallory.ping();
    bob.ping();
    server.wait_until_delivered("bob");
    server.wait_until_delivered("mallory");
    server
}

#[test]
fn nothing_is_left_of_a_peer_and_all_else_is_there() {
    let server = populated();
    let id = id_of(&server, "peer", "mallory");
    let mut bob = TestClient::login(&server, "bob");
    bob.send("/search zebra");
    bob.expect_notice("from mallory: zebra");
    let printed = remove(&server.data(), "peer", "mallory");
    assert!(printed.starts_with("mallory is in 2 rooms; 4 messages will be removed, from 2"), "{printed}");
    assert!(printed.contains("; 2 messages stay for their other recipients\n"), "{printed}");
    assert!(printed.ends_with("removed mallory and 4 messages\n"), "{printed}");
    assert_gone(&server, OF_PEER, &id);
    assert_eq!(
        server.sqlite("select sender, recipients, text, waiting_for from history order by seq"),
        "bob|carol|panther|carol\nbob|#home|lion|\nbob|bob|mouse|"
    );
    assert_eq!(server.sqlite("select recipient, text from waiting"), "carol|panther");
    assert_eq!(bob.history(""), ["to carol: panther", "to #home: lion", "to bob: mouse"]);
    let words = indexed_words(&server);
    assert_eq!(words, "@1:5 @3:5 panther:5 #1:6 @1:6 lion:6 @1:7 mouse:7", "the search index");
    assert_eq!(server.sqlite("select group_concat(name) from room"), "#home", "the room that it has left empty");
    assert_well(&server);
    let mut carol = TestClient::login(&server, "carol");
    carol.expect("from bob: panther");
    carol.expect_nothing();
}

#[test]
fn nothing_is_left_of_a_room_and_all_else_is_there() {
    let server = populated();
    let id = id_of(&server, "room", "#home");
    let mut bob = TestClient::login(&server, "bob");
    let mut program = JsonClient::login(&server, "bob");
    bob.send("#home: hippo");
    bob.ping();
    let printed = remove(&server.data(), "room", "#home");
    assert!(printed.starts_with("#home has 2 members; 2 messages will be removed, from 2"), "{printed}");
    assert!(printed.contains("; 1 message stays for its other recipients\n"), "{printed}");
    assert!(printed.ends_with("removed #home and 2 messages\n"), "{printed}");
    bob.expect_notice("the operator has removed #home");
    assert_eq!(program.answer("left")["room"], "#home");
    assert_gone(&server, OF_ROOM, &id);
    bob.send("#home: is anybody here?");
    bob.expect_error("not_a_member");
    assert_eq!(server.sqlite("select count(*) from history where recipients like '%home%'"), "0");
    assert_eq!(server.sqlite("select recipients from history where text = 'lion'"), "mallory");
    assert!(!indexed_words(&server).contains("giraffe"));
    assert_well(&server);
    // The same name is another room.
    bob.send("/join #home");
    bob.expect_notice("you are in #home now");
    assert_ne!(id_of(&server, "room", "#home"), id);
    assert_eq!(bob.history("#home"), Vec::<String>::new());
    assert_well(&server);
}

#[test]
fn sessions_of_a_removed_peer_end_with_the_reason_and_its_name_begins_anew() {
    let server = populated();
    let id = id_of(&server, "peer", "mallory");
    let mut mallory = TestClient::login(&server, "mallory");
    let mut onlooker = JsonClient::login(&server, "onlooker");
    remove(&server.data(), "peer", "mallory");
    mallory.expect_error("not_logged_in");
    mallory.expect_closed();
    eventually("the presence of mallory is announced", || {
        onlooker.wait_for("presence").is_some_and(|frame| frame["name"] == "mallory" && frame["here"] == false)
    });
    let mut bob = TestClient::login(&server, "bob");
    assert!(!bob.is_online("mallory"));
    bob.send("mallory: who are you?");
    bob.ping();
    let mut mallory = TestClient::login(&server, "mallory");
    mallory.expect("from bob: who are you?");
    mallory.expect_nothing();
    assert_eq!(mallory.history(""), ["from bob: who are you?"]);
    assert_ne!(id_of(&server, "peer", "mallory"), id);
    mallory.send("#home: still in?");
    mallory.expect_error("not_a_member");
    assert_well(&server);
}

#[test]
fn peer_and_room_are_removed_without_a_server() {
    let mut server = populated();
    let (peer, room) = (id_of(&server, "peer", "mallory"), id_of(&server, "room", "#home"));
    assert!(server.terminate().success());
    assert!(remove(&server.data(), "peer", "mallory").ends_with("removed mallory and 4 messages\n"));
    assert!(remove(&server.data(), "room", "#home").ends_with("removed #home and 1 message\n"));
    assert_gone(&server, OF_PEER, &peer);
    assert_gone(&server, OF_ROOM, &room);
    assert_well(&server);
    server.start_again();
    assert_eq!(TestClient::login(&server, "bob").history(""), ["to carol: panther", "to bob: mouse"]);
    let mut mallory = TestClient::login(&server, "mallory");
    mallory.expect_nothing();
    mallory.send("bob: seven and eight");
    mallory.ping();
    assert!(id_of(&server, "peer", "mallory").parse::<i64>().unwrap() > peer.parse().unwrap(), "no id is given again");
    assert_eq!(server.sqlite("select max(seq) from history"), "8", "a seq is never given again");
    assert_well(&server);
}

#[test]
fn removed_newest_message_does_not_give_its_number_again() {
    let mut server = TestServer::start();
    let mut mallory = TestClient::login(&server, "mallory");
    mallory.send("bob: one");
    mallory.ping();
    mallory.quit();
    assert!(server.terminate().success());
    assert!(remove(&server.data(), "peer", "mallory").ends_with("removed mallory and 1 message\n"));
    server.start_again();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("alice: two");
    alice.ping();
    assert_eq!(server.sqlite("select group_concat(seq) from history"), "2");
}

#[test]
fn removal_continues_after_a_crash() {
    let mut server = with_many_messages(20_000);
    let id = id_of(&server, "peer", "mallory");
    let mut command = start_command(&server.data(), "peer", &["--yes", "mallory"]);
    eventually("some messages are removed", || server.sqlite("select count(*) < 19500 from message") == "1");
    server.kill();
    assert_eq!(server.sqlite("select count(*) from history"), "0", "no message of it is seen meanwhile");
    assert_ne!(server.sqlite("select count(*) from message"), "0", "the server was killed in the middle");
    server.start_again();
    assert!(wait_for_exit(&mut command).success());
    assert_gone(&server, OF_PEER, &id);
    let mut bob = TestClient::login(&server, "bob");
    bob.expect_nothing();
    assert_well(&server);
}

#[test]
fn command_finishes_what_a_killed_server_began() {
    let mut server = with_many_messages(5_000);
    let id = id_of(&server, "peer", "mallory");
    let mut command = start_command(&server.data(), "peer", &["--yes", "mallory"]);
    eventually("some messages are removed", || server.sqlite("select count(*) from message") != "5000");
    server.kill();
    assert!(wait_for_exit(&mut command).success());
    assert_gone(&server, OF_PEER, &id);
    assert_well(&server);
}

#[test]
fn chat_goes_on_while_a_peer_is_removed() {
    let server = with_many_messages(20_000);
    let mut alice = TestClient::login(&server, "alice");
    let mut command = start_command(&server.data(), "peer", &["--yes", "mallory"]);
    eventually("the removal has begun", || server.sqlite("select count(*) from peer where name = 'mallory'") == "0");
    let (begin, mut sent) = (Instant::now(), 0);
    while command.try_wait().unwrap().is_none() && begin.elapsed() < Duration::from_secs(60) {
        sent += 1;
        alice.send(&format!("alice: {sent}"));
        alice.expect(&format!("from alice: {sent}"));
    }
    assert!(sent > 10, "{sent} messages while 20,000 were removed");
    assert_eq!(server.sqlite("select count(*) from message"), sent.to_string());
    assert_well(&server);
}

/// A server whose log holds this many messages from mallory to bob, written by hand.
fn with_many_messages(count: usize) -> TestServer {
    let mut server = TestServer::with_config("[limits]\nmailbox_max = 0");
    for name in ["bob", "mallory"] {
        TestClient::login(&server, name).quit();
    }
    assert!(server.terminate().success());
    server.sqlite_write(&format!(
        "with recursive n(n) as (select 1 union all select n + 1 from n where n < {count})
         insert into message select n, 1e12 + n, mallory.id, n - 1, '[' || bob.id || ']', 'number ' || n
         from n, peer as bob, peer as mallory where bob.name = 'bob' and mallory.name = 'mallory'"
    ));
    server.start_again();
    server
}

#[test]
fn names_that_are_not_there_and_removals_without_confirmation_are_refused() {
    let server = populated();
    let data = server.data();
    for (what, name) in [("peer", "nobody"), ("room", "#nowhere")] {
        let error = refused(&data, what, &["--yes", name]);
        assert_eq!(error, format!("holdline: there is no {name} in {}\n", data.display()));
    }
    let error = refused(&data, "peer", &["mallory"]);
    assert!(error.contains("standard input is not a terminal") && error.contains("add --yes"), "{error}");
    for (what, name, words) in [("peer", "#home", "not a name"), ("room", "home", "does not start with \"#\"")] {
        let error = refused(&data, what, &["--yes", name]);
        assert!(error.contains(words) || error.contains("name"), "{error}");
    }
    assert_eq!(server.sqlite("select count(*) from history"), "7", "nothing is removed");
    remove(&data, "peer", "mallory");
    assert!(refused(&data, "peer", &["--yes", "mallory"]).contains("there is no mallory in"), "removed once");
}

#[test]
fn mailbox_has_room_again_for_what_a_removed_peer_had_filled() {
    let server = TestServer::with_config("[limits]\nmailbox_max = 4");
    TestClient::login(&server, "bob").quit();
    let mut mallory = TestClient::login(&server, "mallory");
    (0..4).for_each(|number| mallory.send(&format!("bob: {number}")));
    mallory.ping();
    mallory.send("bob: too much");
    mallory.expect_error("mailbox_full");
    remove(&server.data(), "peer", "mallory");
    let mut alice = TestClient::login(&server, "alice");
    for number in 0..4 {
        alice.send(&format!("bob: from alice {number}"));
        alice.expect_notice("bob is away, kept for later");
    }
    alice.send("bob: too much");
    alice.expect_error("mailbox_full");
    let mut bob = JsonClient::connect(&server);
    assert_eq!(bob.log_in("bob", false)["waiting"], 4, "the count of the welcome");
}
