//! Shares: a stranger with many names, and a neighbour with one, use up each limit that all share; the others find their share of it.

use serde_json::json;

use super::support::{JsonClient, TestClient, TestServer, connect_from, flood};

/// Address of a stranger with many names.
const STRANGER: &str = "127.0.0.2";

/// Limit of the tests: what one sender alone gets.
const LIMIT: usize = 20;

fn server(limit: &str) -> TestServer {
    TestServer::with_config(&format!("limits.{limit} = {LIMIT}\n"))
}

/// Lets a client send lines. Returns how many were not refused.
fn accepted(client: &mut TestClient, lines: impl Iterator<Item = String>, code: &str) -> usize {
    let lines = Vec::from_iter(lines);
    client.send(&lines.join("\n"));
    let answers = client.ping();
    let refused = answers.iter().filter(|answer| answer.starts_with('!'));
    let refused = refused.inspect(|error| assert!(error.starts_with(&format!("! {code}: ")), "{error}"));
    lines.len() - refused.count()
}

/// Lets a stranger take all that it gets, under many names, and a neighbour of the others under one.
fn besiege(server: &TestServer, line: impl Fn(&str, usize) -> String, code: &str) -> (usize, usize) {
    let take =
        |mut client: TestClient, name: &str| accepted(&mut client, (0..2 * LIMIT).map(|item| line(name, item)), code);
    let neighbour = take(TestClient::login(server, "neighbour"), "neighbour");
    let names = (0..LIMIT).map(|name| format!("stranger{name}"));
    let stranger = names.map(|name| take(TestClient::login_from(STRANGER, server, &name), &name)).sum();
    (neighbour, stranger)
}

fn room(name: &str, item: usize) -> String {
    format!("/join #{name}-{item}")
}

fn unknown_name(name: &str, item: usize) -> String {
    format!("{name}-{item}: hi")
}

fn mail(_name: &str, item: usize) -> String {
    format!("bob: {item}")
}

#[test]
fn rooms_are_left_for_others_also_after_a_restart() {
    let mut server = server("rooms_max");
    let (neighbour, stranger) = besiege(&server, room, "storage_full");
    assert_eq!(neighbour, LIMIT, "a sender alone gets the limit");
    assert!((LIMIT..=2 * LIMIT).contains(&stranger), "{stranger} rooms");
    let mut alice = TestClient::login(&server, "alice");
    let rooms = accepted(&mut alice, (0..2 * LIMIT).map(|item| room("alice", item)), "storage_full");
    assert!(rooms >= LIMIT / 4, "alice could create {rooms} rooms");
    server.restart();
    let stranger = accepted(
        &mut TestClient::login_from(STRANGER, &server, "stranger0"),
        (LIMIT..2 * LIMIT).map(|item| room("stranger0", item)),
        "storage_full",
    );
    assert_eq!(stranger, 0, "the share of a stranger is still used up");
}

#[test]
fn unknown_names_are_left_for_others_also_after_a_restart() {
    let mut server = server("unknown_names_max");
    let (neighbour, stranger) = besiege(&server, unknown_name, "mailbox_full");
    assert_eq!(neighbour, LIMIT);
    assert!((LIMIT..=2 * LIMIT).contains(&stranger), "{stranger} names");
    let mut alice = TestClient::login(&server, "alice");
    let names = accepted(&mut alice, (0..2 * LIMIT).map(|item| unknown_name("alice", item)), "mailbox_full");
    assert!(names >= LIMIT / 4, "alice could write to {names} new names");
    server.restart();
    let stranger = accepted(
        &mut TestClient::login_from(STRANGER, &server, "stranger0"),
        (LIMIT..2 * LIMIT).map(|item| unknown_name("again", item)),
        "mailbox_full",
    );
    assert_eq!(stranger, 0);
    // A name that is used is no longer unknown: its first sender has room for another.
    drop(TestClient::login(&server, "neighbour-0"));
    let mut neighbour = TestClient::login(&server, "neighbour");
    let names = accepted(&mut neighbour, (0..2 * LIMIT).map(|item| unknown_name("once-more", item)), "mailbox_full");
    assert!(names <= 1, "{names} names");
}

#[test]
fn mailbox_has_room_for_others_also_after_a_restart() {
    let mut server = server("mailbox_max");
    TestClient::login(&server, "bob").quit();
    let (neighbour, stranger) = besiege(&server, mail, "mailbox_full");
    assert_eq!(neighbour, LIMIT);
    assert!((LIMIT / 2..=2 * LIMIT).contains(&stranger), "{stranger} messages");
    let mut alice = TestClient::login(&server, "alice");
    let messages = accepted(&mut alice, (0..LIMIT).map(|item| format!("bob: alice {item}")), "mailbox_full");
    assert!((LIMIT / 8..LIMIT).contains(&messages), "alice could send {messages} messages");
    server.restart();
    let taken = accepted(
        &mut TestClient::login_from(STRANGER, &server, "stranger0"),
        (0..LIMIT).map(|item| mail("", item)),
        "mailbox_full",
    );
    assert!(taken <= LIMIT / 2, "the stranger, whose share was used up, could send {taken} messages");
    let mut carol = TestClient::login_from("127.0.0.3", &server, "carol");
    let messages = accepted(&mut carol, (0..LIMIT).map(|item| format!("bob: carol {item}")), "mailbox_full");
    assert!(messages >= LIMIT / 8, "carol could send {messages} messages");
    // Everything accepted arrives.
    let mut bob = TestClient::login(&server, "bob");
    let waiting: usize = server.sqlite("select count(*) from history where recipients = 'bob'").parse().unwrap();
    (0..waiting).for_each(|_| drop(bob.next_message()));
}

#[test]
fn last_part_of_max_size_is_left_for_others() {
    // The last eighth has 250 kB: a source may take half of them.
    let server = TestServer::with_config("retention.max_size = \"2 MB\"\n");
    let refused = |client: &mut TestClient, to: &str, messages: usize| {
        client.send_bytes(&flood(to, 0..messages, 1000));
        let answers = client.ping();
        let errors = Vec::from_iter(answers.into_iter().filter(|answer| answer.starts_with('!')));
        errors.iter().for_each(|error| assert!(error.starts_with("! storage_full: the database "), "{error}"));
        errors
    };
    let mut strangers =
        Vec::from_iter((0..20).map(|name| TestClient::login_from(STRANGER, &server, &format!("s{name}"))));
    // Twice what fits, and some more until every name is refused.
    let mut last = Vec::new();
    for _ in 0..20 {
        last = strangers.iter_mut().flat_map(|stranger| refused(stranger, "carol", 10)).collect();
    }
    assert_eq!(last.len(), 200, "every name of the stranger is refused");
    assert!(last[0].ends_with("your share of what is left is used up; not sent"), "{}", last[0]);
    let mut alice = TestClient::login(&server, "alice");
    assert_eq!(refused(&mut alice, "dave", 40), [""; 0], "a quiet sender goes on");
    // One that is as loud gets a share, too.
    let refused = refused(&mut alice, "dave", 200).len();
    assert!((60..200).contains(&refused), "{refused} messages of alice were refused");
}

#[test]
fn stranger_with_a_million_ids_makes_no_message_of_others_be_sent_twice() {
    let mut server = TestServer::start();
    let seq = JsonClient::login(&server, "alice").say("once", &["bob"], "exactly once");
    let names = Vec::from_iter((0..4).map(|name| format!("stranger{name}")));
    let login = |server: &TestServer, name: &str| {
        let mut client = JsonClient::over(connect_from(STRANGER, server));
        client.log_in(name, false);
        client
    };
    let first = Vec::from_iter(names.iter().map(|name| login(&server, name).say("first", &["bob"], "first")));
    // Over a socket, so many would take minutes. Earlier versions remembered a million ids of all senders together.
    server.terminate();
    server.sqlite_write(
        "with recursive number (n) as (select 1 union all select n + 1 from number where n < 1100000)
         insert into sent_id (sender, id, seq, at, fingerprint)
         select peer.id, 'id ' || n, 1, strftime('%s', 'now') * 1000, 0
         from number join peer on peer.name = 'stranger' || (n % 4)",
    );
    server.start_again();
    for name in &names {
        let mut stranger = login(&server, name);
        for number in 0..500 {
            stranger.send(json!({"type": "send", "id": format!("new {number}"), "to": ["bob"], "text": "hi"}));
        }
        stranger.ping();
    }
    assert_eq!(JsonClient::login(&server, "alice").say("once", &["bob"], "exactly once"), seq);
    assert_eq!(server.sqlite("select count(*) from history where sender = 'alice'"), "1");
    // Each new id takes the place of two of the stranger's own, as it has more than its share.
    let ids = "select count(*) from sent_id join peer on peer.id = sender where name like 'stranger%'";
    assert_eq!(server.sqlite(ids), (1_100_004 - names.len() * 500).to_string());
    for (name, first) in names.iter().zip(first) {
        assert_ne!(login(&server, name).say("first", &["bob"], "first"), first, "{name} forgot its oldest id");
    }
}

#[test]
fn refusal_names_the_limit_and_the_share() {
    let server =
        TestServer::with_config("limits.rooms_max = 1\nlimits.unknown_names_max = 1\nlimits.mailbox_max = 1\n");
    TestClient::login(&server, "bob").quit();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/join #one\n/join #two\nx: hi\ny: hi\nbob: hi\nbob: hi");
    let errors = Vec::from_iter(alice.ping().into_iter().filter(|line| line.starts_with('!')));
    assert_eq!(
        errors,
        [
            "! storage_full: there are 1 rooms, and your share of rooms_max (1) is used up; not joined",
            "! mailbox_full: nobody has ever logged in as y, messages wait for 1 such names, and your share of \
             unknown_names_max (1) is used up; not sent",
            "! mailbox_full: 1 messages wait for bob, and your share of mailbox_max (1) is used up; not sent",
        ]
    );
}

#[test]
fn empty_rooms_without_messages_are_removed_and_others_stay() {
    let mut server = server("rooms_max");
    let mut alice = TestClient::login(&server, "alice");
    for number in 0..3 * LIMIT {
        let lines = [format!("/join #{number}"), format!("/leave #{number}")];
        assert_eq!(accepted(&mut alice, lines.into_iter(), "storage_full"), 2, "room {number}");
    }
    alice.send("/join #told\n#told: hi\n/leave #told\n/join #left\n/leave #left\n/join #left");
    alice.ping();
    assert_eq!(server.sqlite("select name, members from room order by id"), "#told|0\n#left|1");
    let last: i64 = server.sqlite("select max(id) from room").parse().unwrap();
    // A database of an earlier version may hold empty rooms; messages may be removed by hand.
    server.terminate();
    server.sqlite_write("insert into room (id, name) values (9999, '#old'); delete from message; delete from inbox");
    server.start_again();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/join #new");
    alice.ping();
    assert_eq!(server.sqlite("select name from room order by id"), "#left\n#new");
    let new: i64 = server.sqlite("select id from room where name = '#new'").parse().unwrap();
    assert!(last < 9999 && new == 10_000, "ids of removed rooms are not given again: {new}");
}

#[test]
fn mail_of_a_removed_name_is_not_handed_to_the_next_new_name() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: for bob alone");
    alice.ping();
    server.terminate();
    server.sqlite_write("delete from peer where name = 'bob'");
    server.start_again();
    let mut carol = TestClient::connect(&server);
    carol.send("carol");
    assert_eq!(carol.expect_line(), "* hello carol, /help lists the commands");
    carol.expect_nothing();
}
