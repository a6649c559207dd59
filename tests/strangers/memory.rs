//! Memory: answers and replays that nobody reads take little of it, however much there is to show.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;

use super::support::{JsonClient, Pair, TestClient, TestServer, forget_peak, peak_kib, resident_kib};

/// Address space of the server in which the strangers must not end it.
const ADDRESS_SPACE_BYTES: u64 = 512 * 1024 * 1024;

/// A letter of four bytes, of which a name may have 32.
const LETTER: char = '\u{20000}';

fn long_name(number: usize) -> String {
    format!("{}{number:03}", LETTER.to_string().repeat(29))
}

fn room(number: usize) -> String {
    format!("#{}", long_name(number))
}

/// Checks that the server takes at most this much more memory while the pair chats beside an attack, whose connections stay open.
#[track_caller]
fn withstand<H>(server: &TestServer, growth_kib: u64, attack: impl FnOnce() -> H) {
    let mut pair = Pair::login(server);
    forget_peak(server);
    let before_kib = resident_kib(server);
    let held = attack();
    pair.chat(100);
    let peak_kib = peak_kib(server);
    println!("{before_kib} KiB of memory before the attack, {peak_kib} KiB at most");
    assert!(peak_kib < before_kib + growth_kib, "{peak_kib} KiB, {before_kib} KiB before the attack");
    drop(held);
    pair.chat(10);
}

fn limit_address_space(server: &TestServer) {
    let limit = Rlimit { current: Some(ADDRESS_SPACE_BYTES), maximum: Some(ADDRESS_SPACE_BYTES) };
    let pid = Pid::from_raw(server.pid().try_into().expect("an id")).expect("not 0");
    prlimit(Some(pid), Resource::As, limit).expect("the server belongs to this user");
}

#[test]
fn histories_and_replays_of_messages_to_many_long_names_take_little_memory() {
    const MESSAGES: usize = 1000;
    let server = TestServer::start();
    let mut alice = JsonClient::login(&server, "alice");
    let names = (0..254).map(|number| format!("{}{number:03}", "n".repeat(29)));
    let names: Vec<String> = names.chain(["bob".to_owned()]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for number in 0..MESSAGES {
        alice.say(&number.to_string(), &names, "x");
    }
    alice.send(json!({"type": "history", "id": "h", "limit": 1000}));
    let history = alice.answer("history");
    let shown = history["messages"].as_array().unwrap();
    assert!((10..MESSAGES / 10).contains(&shown.len()) && history["more"] == true, "{} messages", shown.len());
    assert!(shown.iter().all(|message| message["to"].as_array().unwrap().len() == 255));
    limit_address_space(&server);
    withstand(&server, 64 * 1024, || {
        let askers = (0..12).map(|_| {
            let mut asker = JsonClient::login(&server, "alice");
            for _ in 0..3 {
                asker.send(json!({"type": "history", "limit": 1000}));
                asker.send(json!({"type": "search", "text": "x", "limit": 1000}));
            }
            asker
        });
        let replays = (0..12).map(|_| JsonClient::login_with_acks(&server, "bob"));
        (Vec::from_iter(askers), Vec::from_iter(replays))
    });
    let mut bob = JsonClient::login_with_acks(&server, "bob");
    for _ in 0..MESSAGES {
        assert_eq!(bob.expect("message")["to"].as_array().unwrap().len(), 255, "each message is replayed whole");
    }
}

/// Makes rooms with topics, in which as many members are online, and bob, who is not.
fn fill_rooms(server: &TestServer, rooms: usize, members: usize) -> Vec<TestClient> {
    let join_all = |name: &str| {
        let mut member = TestClient::login(server, name);
        for number in 0..rooms {
            member.send(&format!("/join {}", room(number)));
        }
        member.ping();
        member
    };
    let mut members = Vec::from_iter((0..members).map(|number| join_all(&long_name(number))));
    for number in 0..rooms {
        members[0].send(&format!("/topic {} {}", room(number), "t".repeat(500)));
    }
    members[0].ping();
    join_all("bob").quit();
    server.wait_until_gone("bob");
    members
}

#[test]
fn answer_to_who_comes_in_parts_as_it_is_read() {
    const ROOMS: usize = 250;
    const MEMBERS: usize = 30;
    let server = TestServer::start();
    let members = fill_rooms(&server, ROOMS, MEMBERS);
    withstand(&server, 16 * 1024, || {
        Vec::from_iter((0..24).map(|_| {
            let mut bob = TestClient::login(&server, "bob");
            for _ in 0..3 {
                bob.send("/who");
            }
            bob
        }))
    });
    let mut bob = TestClient::login(&server, "bob");
    bob.send("/who");
    let lines = bob.ping();
    assert_eq!(
        lines.iter().filter(|line| line.starts_with("* here: ")).flat_map(|line| line.split(", ")).count(),
        MEMBERS + 1
    );
    for number in 0..ROOMS {
        let room = room(number);
        let prefix = format!("* {room}: ");
        let listed = lines.iter().filter_map(|line| line.strip_prefix(&prefix)).flat_map(|names| names.split(", "));
        let listed = Vec::from_iter(listed);
        assert_eq!(listed.len(), MEMBERS + 1, "{room} has all members and bob, each once");
        assert!(listed.is_sorted());
        let topic = lines.iter().filter(|line| line.starts_with(&format!("* the topic of {room}: "))).count();
        assert_eq!(topic, 1);
    }
    drop(members);
}

#[test]
fn frame_of_who_is_bounded_and_says_that_there_is_more() {
    const ROOMS: usize = 500;
    let server = TestServer::start();
    let members = fill_rooms(&server, ROOMS, 1);
    let mut bob = JsonClient::login(&server, "bob");
    bob.send(json!({"type": "who", "id": "w"}));
    let who = bob.answer("who");
    assert_eq!((who["rooms"].as_array().unwrap().len(), &who["more"]), (ROOMS, &json!(true)));
    assert!((100..ROOMS).contains(&who["topics"].as_object().unwrap().len()));
    assert!(who.to_string().len() <= 256 * 1024);
    assert_eq!(who["here"], json!(["bob", long_name(0)]));
    drop(members);
    let mut alice = JsonClient::login(&server, "alice");
    let who = alice.ask(json!({"type": "who", "id": "w"}));
    assert!(who.get("more").is_none(), "{who}");
}
