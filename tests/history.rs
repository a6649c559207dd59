//! `holdline history`, beside a running server and without one. Owns the command; never the server's `/history`.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;

use support::{TestClient, TestServer, assert_contiguous, eventually, flood, holdline};

/// Returns the command `holdline history` on the data of a server.
fn command(server: &TestServer, flags: &[&str]) -> Command {
    let mut command = holdline();
    command.args(["history", "--data"]).arg(server.data()).args(flags).stdout(Stdio::piped());
    command
}

/// Returns the lines that the command prints.
#[track_caller]
fn printed(server: &TestServer, flags: &[&str]) -> Vec<String> {
    let output = command(server, flags).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Returns the lines that the command prints, each without its time, which must be there.
#[track_caller]
fn history(server: &TestServer, flags: &[&str]) -> Vec<String> {
    printed(server, flags).iter().map(|line| without_time(line)).collect()
}

/// Returns the objects that the command prints for programs, each without its time.
#[track_caller]
fn objects(server: &TestServer, flags: &[&str]) -> Vec<serde_json::Value> {
    let lines = printed(server, &[&["--json"], flags].concat());
    lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

fn seqs(server: &TestServer, flags: &[&str]) -> Vec<u64> {
    objects(server, flags).iter().map(|object| object["seq"].as_u64().unwrap()).collect()
}

/// Names and sizes of what lies in the data directory.
fn files(server: &TestServer) -> Vec<(String, u64)> {
    let files = fs::read_dir(server.data()).unwrap().map(Result::unwrap);
    let mut files =
        Vec::from_iter(files.map(|file| (file.file_name().into_string().unwrap(), file.metadata().unwrap().len())));
    files.sort();
    files
}

fn without_time(line: &str) -> String {
    let (time, rest) = line.split_once(' ').unwrap();
    let form: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(form, "0000-00-00T00:00:00.000Z", "{line}");
    rest.to_owned()
}

fn a_few_messages() -> TestServer {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send("bob: hello");
    alice.ping();
    bob.send("alice, carol: dinner at 7");
    bob.ping();
    alice.send("alice: buy bread");
    alice.ping();
    alice.quit();
    bob.quit();
    server.wait_until_delivered("alice");
    server.wait_until_delivered("bob");
    server
}

#[test]
fn newest_messages_are_printed_oldest_first_with_waiting_recipients() {
    let server = a_few_messages();
    let expected =
        ["alice → bob: hello", "bob → alice, carol: dinner at 7  (waiting for carol)", "alice → alice: buy bread"];
    assert_eq!(history(&server, &[]), expected);
    assert_eq!(history(&server, &["--last=2"]), expected[1..]);
    assert_eq!(history(&server, &["--last=1"]), expected[2..]);
}

#[test]
fn history_of_a_name_shows_messages_sent_or_received_by_it() {
    let server = a_few_messages();
    assert_eq!(history(&server, &["--with=carol"]), ["bob → alice, carol: dinner at 7  (waiting for carol)"]);
    assert_eq!(
        history(&server, &["--with", "Bob"]),
        ["alice → bob: hello", "bob → alice, carol: dinner at 7  (waiting for carol)"]
    );
    assert_eq!(history(&server, &["--with=alice", "--last=1"]), ["alice → alice: buy bread"]);
    assert_eq!(history(&server, &["--with=nobody"]), [""; 0]);
}

#[test]
fn history_of_a_sender_survives_restarts() {
    let mut server = a_few_messages();
    server.restart();
    let mut bob = TestClient::login(&server, "bob");
    bob.send("carol: again");
    bob.ping();
    assert_eq!(
        history(&server, &["--with=bob", "--last=2"]),
        ["bob → alice, carol: dinner at 7  (waiting for carol)", "bob → carol: again  (waiting for carol)",]
    );
}

// Rooms

/// Alice and bob are in #home; carol joins it later, and dave is in #cellar with alice.
fn messages_in_rooms() -> TestServer {
    let server = TestServer::start();
    let mut clients = ["alice", "bob", "carol", "dave"].map(|name| TestClient::login(&server, name));
    for (nth, line) in [
        (0, "/join #home"),
        (1, "/join #home"),
        (0, "/join #cellar"),
        (3, "/join #cellar"),
        (0, "#home: one"),
        (3, "#cellar: two"),
        (2, "/join #home"),
        (1, "#home: three"),
        (0, "bob, #home: four"),
        (2, "dave: five"),
    ] {
        clients[nth].send(line);
        clients[nth].ping();
    }
    clients.into_iter().for_each(TestClient::quit);
    eventually("every message is delivered", || server.sqlite("select count(*) from waiting") == "0");
    server
}

#[test]
fn history_of_a_room_shows_its_messages() {
    let mut server = messages_in_rooms();
    for _ in 0..2 {
        let expected = ["alice → #home: one", "bob → #home: three", "alice → bob, #home: four"];
        assert_eq!(history(&server, &["--with=#home"]), expected);
        assert_eq!(history(&server, &["--with", "#HOME", "--last=2"]), expected[1..]);
        assert_eq!(history(&server, &["--with=#cellar"]), ["dave → #cellar: two"]);
        assert_eq!(history(&server, &["--with=#nowhere"]), [""; 0]);
        // The index is up to date then.
        server.restart();
    }
}

#[test]
fn history_of_a_name_includes_room_messages_that_it_could_read() {
    let mut server = messages_in_rooms();
    for _ in 0..2 {
        assert_eq!(seqs(&server, &["--with=alice"]), [1, 2, 3, 4]);
        assert_eq!(seqs(&server, &["--with=bob"]), [1, 3, 4]);
        assert_eq!(seqs(&server, &["--with=carol"]), [3, 4, 5], "what came before it joined is not for it");
        assert_eq!(seqs(&server, &["--with=dave"]), [2, 5]);
        assert_eq!(seqs(&server, &["--with=alice", "--last=2"]), [3, 4]);
        assert_eq!(seqs(&server, &["--with=alice", "--before=3", "--last=1"]), [2]);
        server.restart();
    }
}

// Programs

#[test]
fn json_output_is_one_object_per_line_with_the_text_as_stored() {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    bob.send("/join #home");
    bob.ping();
    server.sqlite_write("insert into outbox values ('alice', 'carol, #home', ' one' || char(10) || '\"two\"	ü ')");
    bob.expect("from alice in #home:  one \"two\"	ü ");
    server.wait_until_delivered("bob");
    let [line] = &printed(&server, &["--json"])[..] else { panic!("one message is one line") };
    let at = server.sqlite("select at from history");
    assert_eq!(
        *line,
        format!(
            r##"{{"seq":1,"at":"{at}","from":"alice","to":["carol","#home"],"text":" one\n\"two\"\tü ","waiting_for":["carol"]}}"##
        )
    );
    let mut carol = TestClient::login(&server, "carol");
    carol.next_message();
    server.wait_until_delivered("carol");
    assert_eq!(objects(&server, &[])[0]["waiting_for"], serde_json::json!([]));
}

#[test]
fn programs_page_by_the_seq_of_the_oldest_that_they_have() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/join #home");
    for ten in 0..10 {
        alice.send_bytes(&flood("bob, #home", ten * 10..ten * 10 + 9, 0));
        alice.send_bytes(&flood("carol", ten * 10 + 9..ten * 10 + 10, 0));
    }
    alice.ping();
    for (flags, whole) in [
        (&[][..], Vec::from_iter(1..=100)),
        (&["--with=carol"], Vec::from_iter((1..=10).map(|ten| 10 * ten))),
        (&["--with=#home"], Vec::from_iter((1..=100).filter(|seq| seq % 10 != 0))),
        (&["--with=alice"], Vec::from_iter(1..=100)),
    ] {
        let mut pages = Vec::new();
        let mut before = u64::MAX / 2;
        loop {
            let page = seqs(&server, &[flags, &["--last=7", &format!("--before={before}")]].concat());
            let Some(oldest) = page.first() else { break };
            before = *oldest;
            pages.splice(..0, page);
        }
        assert_eq!(pages, whole, "{flags:?}");
    }
    assert_eq!(history(&server, &["--before=1"]), [""; 0]);
    assert_eq!(seqs(&server, &["--before=3"]), [1, 2]);
}

// Side effects

#[test]
fn history_without_a_server_leaves_no_files() {
    let mut server = a_few_messages();
    assert!(server.terminate().success());
    let before = files(&server);
    assert_eq!(before.len(), 2, "{before:?}");
    assert_eq!(history(&server, &[]).len(), 3);
    assert_eq!(history(&server, &["--with=bob"]).len(), 2);
    assert_eq!(files(&server), before);
}

#[test]
fn history_after_a_crash_is_complete_and_changes_no_files() {
    let mut server = a_few_messages();
    server.kill();
    let before = files(&server);
    assert_eq!(history(&server, &[]).len(), 3);
    assert_eq!(files(&server), before);
}

#[test]
fn messages_without_an_index_are_shown() {
    let mut server = messages_in_rooms();
    assert!(server.terminate().success());
    server.sqlite_write("delete from inbox; update indexed set seq = 0");
    assert_eq!(seqs(&server, &["--with=alice"]), [1, 2, 3, 4]);
    assert_eq!(seqs(&server, &["--with=#home"]), [1, 3, 4]);
}

#[test]
fn chain_broken_by_removed_messages_is_shown_as_far_as_it_exists() {
    let mut server = messages_in_rooms();
    assert!(server.terminate().success());
    server.sqlite_write("delete from message where seq = 4");
    assert_eq!(seqs(&server, &["--with=alice"]), [1, 2, 3]);
    assert_eq!(seqs(&server, &["--with=alice", "--before=2"]), [1]);
    assert_eq!(seqs(&server, &["--with=alice", "--last=2"]), [2, 3]);
}

/// Messages of a long history.
const MANY: usize = 20_000;

fn long_history() -> TestServer {
    let server = TestServer::with_config("[limits]\nmailbox_max = 0\n");
    let mut alice = TestClient::login(&server, "alice");
    for start in (0..MANY).step_by(1000) {
        alice.send_bytes(&flood("carol", start..start + 1000, 100));
        alice.ping();
    }
    server
}

#[test]
fn long_history_is_complete_and_uses_little_memory() {
    let server = long_history();
    let check = |flags: &[&str], first: usize| {
        let lines = history(&server, flags);
        let numbers = Vec::from_iter(lines.iter().map(|line| line.split(' ').nth(3).unwrap().parse().unwrap()));
        assert_eq!((numbers.first(), numbers.last()), (Some(&first), Some(&(MANY - 1))), "{flags:?}");
        assert_contiguous(&numbers);
    };
    check(&["--last=100000"], 0);
    check(&["--last=100000", "--with=carol"], 0);
    check(&["--last=1500", "--with=alice"], MANY - 1500);

    let peak_kib = |flags: &[&str]| {
        let mut reading = command(&server, flags).spawn().unwrap();
        let mut lines = BufReader::new(reading.stdout.take().unwrap()).lines();
        // The command cannot end yet: a pipe holds less than the rest of the output.
        lines.by_ref().take(MANY - 2000).for_each(|line| drop(line.unwrap()));
        let status = fs::read_to_string(format!("/proc/{}/status", reading.id())).unwrap();
        lines.for_each(|line| drop(line.unwrap()));
        assert!(reading.wait().unwrap().success());
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
    };
    let (all, few) = (peak_kib(&["--last=100000"]), peak_kib(&["--last=18500"]));
    assert!(all < few + 2048, "{all} KiB, and {few} for less");
    assert!(all < 20 * 1024, "{all} KiB");
}

#[test]
fn slow_reader_delays_no_other_client_and_sees_no_later_messages() {
    let mut server = long_history();
    let mut reading = command(&server, &["--last=100000"]).spawn().unwrap();
    let mut lines = BufReader::new(reading.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("carol: 0 x"), "{first}");
    let mut alice = TestClient::login(&server, "alice");
    alice.send("carol: meanwhile");
    alice.ping();
    alice.quit();
    // Nobody reads: all of the write-ahead log can be copied.
    assert!(server.terminate().success());
    assert!(!server.data().join("holdline.db-wal").exists());
    server.start_again();
    let rest = Vec::from_iter(lines.map(Result::unwrap));
    assert!(reading.wait().unwrap().success());
    assert_eq!(rest.len(), MANY - 1);
    assert!(rest[MANY - 2].contains(&format!("carol: {} x", MANY - 1)), "{}", rest[MANY - 2]);
}

#[test]
fn history_shows_complete_messages_in_order_during_traffic_and_restarts() {
    let mut server = TestServer::start();
    let mut shown = 0;
    for round in 0..5 {
        let mut alice = TestClient::login(&server, "alice");
        let sender = thread::spawn(move || {
            for hundred in 0..10 {
                let start = round * 1000 + hundred * 100;
                alice.send_bytes(&flood("bob, carol", start..start + 100, 50));
                alice.ping();
            }
        });
        while !sender.is_finished() {
            let all = seqs(&server, &["--last=100000"]);
            assert_eq!(all, Vec::from_iter(1..=all.len() as u64));
            assert!(all.len() >= shown, "{} after {shown}", all.len());
            shown = all.len();
        }
        sender.join().unwrap();
        if round % 2 == 0 {
            server.kill();
            server.start_again();
        } else {
            server.restart();
        }
    }
    assert_eq!(seqs(&server, &["--last=100000", "--with=bob"]).len(), 5000);
}
