//! Random visits of plain and JSON clients, checked step by step against a small model: which messages each reads, in
//! which form and when again, what histories and searches show, and what an id does, across restarts and crashes. Owns
//! the model; concurrency is checked by the simulation.
//!
//! A failing run prints its seed: `HOLDLINE_SEED=0x… cargo test --test model` runs it alone.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};

use support::{JsonClient, TestClient, TestServer, eventually};

const NAMES: [&str; 5] = ["ann", "ben", "cat", "dan", "eve"];
const ROOMS: [&str; 4] = ["#a", "#b", "#c", "#d"];
const WORDS: [&str; 6] = ["boiler", "Dinner", "BREAD", "straße", "日本語", "ok"];

/// Steps of a run.
const STEPS: usize = 80;

/// Time during which new runs are started.
const TIME: Duration = Duration::from_secs(8);

#[test]
fn every_peer_reads_what_the_model_predicts() {
    if let Ok(seed) = std::env::var("HOLDLINE_SEED") {
        return run(u64::from_str_radix(seed.trim_start_matches("0x"), 16).expect("a seed in hexadecimal digits"));
    }
    let began = Instant::now();
    let mut seeds = Rng::with_seed(1);
    for _ in (0..40).take_while(|_| began.elapsed() < TIME) {
        let seed = seeds.u64(..);
        let ran = std::panic::catch_unwind(|| run(seed));
        if let Err(panic) = ran {
            eprintln!("HOLDLINE_SEED={seed:#x} cargo test --test model");
            std::panic::resume_unwind(panic);
        }
    }
}

fn run(seed: u64) {
    let mut world = World {
        server: TestServer::start(),
        rng: Rng::with_seed(seed),
        log: Vec::new(),
        members: BTreeMap::new(),
        cursors: BTreeMap::new(),
        ids: Vec::new(),
        visits: BTreeMap::new(),
    };
    for _ in 0..STEPS {
        world.step();
    }
    world.everyone_leaves();
    for name in NAMES {
        world.come(name, Kind::Acking);
    }
}

/// Message of the model; its `seq` is its index and one.
struct LoggedMessage {
    sender: &'static str,
    to: Vec<String>,
    text: String,
}

/// Message that a program sent with an id; its index is the id.
struct WithId {
    sender: &'static str,
    to: Vec<String>,
    text: String,
    seq: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Json,
    Acking,
}

enum Client {
    Plain(TestClient),
    Json(JsonClient),
}

/// Client that is online.
struct Visit {
    kind: Kind,
    client: Client,
    /// Number of messages up to which it has read.
    read: usize,
}

struct World {
    server: TestServer,
    rng: Rng,
    log: Vec<LoggedMessage>,
    /// Members of rooms, with the time when they joined.
    members: BTreeMap<(&'static str, &'static str), usize>,
    /// Number of messages up to which everything is delivered.
    cursors: BTreeMap<&'static str, usize>,
    ids: Vec<WithId>,
    visits: BTreeMap<&'static str, Visit>,
}

impl World {
    fn step(&mut self) {
        let name = NAMES[self.rng.usize(..NAMES.len())];
        if !self.visits.contains_key(name) {
            let kind = [Kind::Plain, Kind::Json, Kind::Acking][self.rng.usize(..3)];
            return self.come(name, kind);
        }
        match self.rng.u32(..40) {
            0..3 => self.go(name),
            3..8 => self.join(name),
            8..10 => self.leave(name),
            10..26 => self.send(name),
            26..30 => self.repeat(name),
            30..32 => self.post(),
            32..35 => self.acknowledge(name),
            35..37 => self.check_history(name),
            37..39 => self.check_search(name),
            _ => self.end_server(),
        }
    }

    // Expected state

    /// Returns the way in which a message reaches a peer: through a room, or directly. `None` if it does not.
    fn way(&self, name: &str, seq: usize) -> Option<Option<&str>> {
        let LoggedMessage { sender, to, .. } = &self.log[seq - 1];
        if to.iter().any(|to| to == name) {
            return Some(None);
        }
        let is_reached = |room: &&String| {
            let joined = self.members.iter().find(|((member, other), _)| *member == name && *other == room.as_str());
            *sender != name && joined.is_some_and(|(_, joined)| *joined < seq)
        };
        to.iter().find(is_reached).map(|room| Some(room.as_str()))
    }

    fn waiting(&self, name: &str, after: usize) -> Vec<usize> {
        (after + 1..=self.log.len()).filter(|seq| self.way(name, *seq).is_some()).collect()
    }

    /// Messages that a peer may read, newest first.
    fn past(&self, name: &str) -> Vec<usize> {
        let is_part = |seq: &usize| self.log[seq - 1].sender == name || self.way(name, *seq).is_some();
        (1..=self.log.len()).rev().filter(is_part).collect()
    }

    fn is_member(&self, name: &'static str, room: &str) -> bool {
        self.members.keys().any(|(member, other)| *member == name && *other == room)
    }

    fn line(&self, name: &str, seq: usize) -> String {
        let LoggedMessage { sender, text, .. } = &self.log[seq - 1];
        let text = text.replace('\n', " ");
        match self.way(name, seq).expect("the message reaches this peer") {
            Some(room) => format!("from {sender} in {room}: {text}"),
            None => format!("from {sender}: {text}"),
        }
    }

    fn frame(&self, name: &str, seq: usize) -> Value {
        let LoggedMessage { sender, to, text } = &self.log[seq - 1];
        let mut frame = json!({"type": "message", "seq": seq, "from": sender, "to": to, "text": text});
        if let Some(room) = self.way(name, seq).expect("the message reaches this peer") {
            frame["room"] = json!(room);
        }
        frame
    }

    // Actions

    fn come(&mut self, name: &'static str, kind: Kind) {
        let cursor = self.cursors.get(name).copied().unwrap_or_default();
        let waiting = self.waiting(name, cursor).len();
        let client = match kind {
            Kind::Plain => {
                let mut client = TestClient::connect(&self.server);
                client.send(name);
                let greeting = match waiting {
                    0 => format!("* hello {name}, /help lists the commands"),
                    1 => format!("* hello {name}, 1 message waits for you"),
                    _ => format!("* hello {name}, {waiting} messages wait for you"),
                };
                assert_eq!(client.expect_line(), greeting);
                Client::Plain(client)
            }
            Kind::Json | Kind::Acking => {
                let mut client = JsonClient::connect(&self.server);
                assert_eq!(client.log_in(name, kind == Kind::Acking)["waiting"], waiting, "for {name}");
                Client::Json(client)
            }
        };
        self.visits.insert(name, Visit { kind, client, read: cursor });
        self.everyone_reads();
    }

    /// Reads for every online client: everything that it should get, in order, and nothing else.
    fn everyone_reads(&mut self) {
        let mut visits = std::mem::take(&mut self.visits);
        for (name, visit) in &mut visits {
            let expected = self.waiting(name, visit.read);
            match &mut visit.client {
                Client::Plain(client) => {
                    let mut lines: Vec<String> = expected.iter().map(|_| client.next_message()).collect();
                    lines.extend(client.ping().into_iter().filter(|line| !line.starts_with("* ")));
                    let expected: Vec<String> = expected.iter().map(|seq| self.line(name, *seq)).collect();
                    assert_eq!(lines, expected, "for {name}");
                }
                Client::Json(client) => {
                    let message =
                        |client: &mut JsonClient| client.wait_for("message").expect("the client is connected");
                    let mut frames: Vec<Value> = expected.iter().map(|_| message(client)).collect();
                    frames.extend(client.ping().into_iter().filter(|frame| frame["type"] != "sent"));
                    for frame in &mut frames {
                        frame.as_object_mut().expect("an object").remove("at");
                    }
                    let expected: Vec<Value> = expected.iter().map(|seq| self.frame(name, *seq)).collect();
                    assert_eq!(frames, expected, "for {name}");
                }
            }
            visit.read = self.log.len();
        }
        self.visits = visits;
    }

    /// Notes as delivered what was received by clients whose systems acknowledge for them.
    fn settle(&mut self) {
        for (name, visit) in &self.visits {
            if visit.kind != Kind::Acking {
                self.server.wait_until_delivered(name);
                self.cursors.insert(name, self.log.len());
            }
        }
    }

    fn go(&mut self, name: &'static str) {
        self.settle();
        let visit = self.visits.remove(name).expect("the peer has this connection");
        match visit.client {
            Client::Plain(client) => client.reset(),
            Client::Json(client) => client.reset(),
        }
        self.server.wait_until_gone(name);
    }

    fn everyone_leaves(&mut self) {
        for name in NAMES.iter().filter(|name| self.visits.contains_key(**name)).copied().collect::<Vec<_>>() {
            self.go(name);
        }
    }

    fn end_server(&mut self) {
        self.settle();
        self.visits.clear();
        if self.rng.bool() {
            self.server.restart();
        } else {
            self.server.kill();
            self.server.start_again();
        }
    }

    fn join(&mut self, name: &'static str) {
        let room = ROOMS[self.rng.usize(..ROOMS.len())];
        let joined = self.log.len();
        self.members.entry((name, room)).or_insert(joined);
        match &mut self.visits.get_mut(name).expect("the peer has this connection").client {
            Client::Plain(client) => {
                client.send(&format!("/join {room}"));
                client.expect_notice(&format!("you are in {room} now"));
            }
            Client::Json(client) => {
                client.send(json!({"type": "join", "id": "j", "room": room}));
                assert_eq!(client.wait_for("joined"), Some(json!({"type": "joined", "id": "j", "room": room})));
            }
        }
    }

    fn leave(&mut self, name: &'static str) {
        let room = ROOMS[self.rng.usize(..ROOMS.len())];
        let was_member = self.members.remove(&(name, room)).is_some();
        match &mut self.visits.get_mut(name).expect("the peer has this connection").client {
            Client::Plain(client) => {
                client.send(&format!("/leave {room}"));
                if was_member {
                    client.expect_notice(&format!("you are no longer in {room}"));
                } else {
                    client.expect_error("not_a_member");
                }
            }
            Client::Json(client) => {
                client.send(json!({"type": "leave", "room": room}));
                if was_member {
                    client.wait_for("left");
                } else {
                    client.expect_error("not_a_member");
                }
            }
        }
    }

    fn any_destinations(&mut self) -> Vec<String> {
        let all: Vec<&str> = NAMES.into_iter().chain(ROOMS).collect();
        let mut to: Vec<String> = Vec::new();
        for _ in 0..self.rng.usize(1..=3) {
            let one = all[self.rng.usize(..all.len())].to_owned();
            if !to.contains(&one) {
                to.push(one);
            }
        }
        to
    }

    fn any_text(&mut self) -> String {
        let words: Vec<&str> = (0..self.rng.usize(1..=3)).map(|_| WORDS[self.rng.usize(..WORDS.len())]).collect();
        format!("{} {}", words.join(" "), self.log.len())
    }

    fn send(&mut self, name: &'static str) {
        let (to, mut text) = (self.any_destinations(), self.any_text());
        let may = to.iter().all(|to| !to.starts_with('#') || self.is_member(name, to));
        let id = self.rng.bool().then_some(self.ids.len());
        match &mut self.visits.get_mut(name).expect("the peer has this connection").client {
            Client::Plain(client) => {
                client.send(&format!("{}: {text}", to.join(", ")));
                if !may {
                    client.expect_error("not_a_member");
                    return;
                }
            }
            Client::Json(client) => {
                text.push_str("\nsecond line");
                let mut frame = json!({"type": "send", "to": to, "text": text});
                if let Some(id) = id {
                    frame["id"] = json!(id.to_string());
                }
                client.send(frame);
                if !may {
                    client.expect_error("not_a_member");
                    return;
                }
                let accepted = client.answer("accepted");
                assert_eq!(accepted["seq"], self.log.len() + 1);
                if id.is_some() {
                    let seq = self.log.len() + 1;
                    self.ids.push(WithId { sender: name, to: to.clone(), text: text.clone(), seq });
                }
            }
        }
        self.log.push(LoggedMessage { sender: name, to, text });
        self.everyone_reads();
    }

    /// Sends a message again, or another one with the same id.
    fn repeat(&mut self, name: &'static str) {
        let own: Vec<usize> = (0..self.ids.len()).filter(|id| self.ids[*id].sender == name).collect();
        let visit = self.visits.get_mut(name).expect("the peer has this connection");
        let Client::Json(client) = &mut visit.client else { return };
        if own.is_empty() {
            return;
        }
        let id = own[self.rng.usize(..own.len())];
        let WithId { to, text, seq, .. } = &self.ids[id];
        let is_same = self.rng.bool();
        let text = if is_same { text.clone() } else { format!("{text}!") };
        client.send(json!({"type": "send", "id": id.to_string(), "to": to, "text": text}));
        if is_same {
            assert_eq!(client.answer("accepted")["seq"], *seq);
        } else {
            assert_eq!(client.answer("error")["code"], "id_reused");
        }
        self.everyone_reads();
    }

    /// Sends as an operator at a shell.
    fn post(&mut self) {
        let sender = NAMES[self.rng.usize(..NAMES.len())];
        let (to, text) = (self.any_destinations(), self.any_text());
        let is_populated = |to: &String| self.members.keys().any(|(_, room)| room == to);
        let may = to.iter().all(|to| !to.starts_with('#') || is_populated(to));
        let refused =
            self.server.sqlite("select count(*) from outbox_refused").parse::<usize>().expect("the text is a number");
        let insert = format!("insert into outbox values ('{sender}', '{}', '{text}')", to.join(", "));
        self.server.sqlite_write(&insert);
        eventually("the row is sent", || self.server.sqlite("select count(*) from outbox") == "0");
        let now =
            self.server.sqlite("select count(*) from outbox_refused").parse::<usize>().expect("the text is a number");
        assert_eq!(now, refused + usize::from(!may), "{insert}");
        if may {
            self.log.push(LoggedMessage { sender, to, text });
        }
        self.everyone_reads();
    }

    fn acknowledge(&mut self, name: &'static str) {
        let visit = self.visits.get_mut(name).expect("the peer has this connection");
        let (Kind::Acking, Client::Json(client)) = (visit.kind, &mut visit.client) else { return };
        let cursor = self.cursors.get(name).copied().unwrap_or_default();
        let seq = self.rng.usize(cursor..=self.log.len());
        client.ack(seq as i64);
        client.ping();
        self.cursors.insert(name, seq);
        self.everyone_reads();
    }

    fn check_history(&mut self, name: &'static str) {
        let past = self.past(name);
        let with = match self.rng.u32(..3) {
            0 => None,
            1 => Some(NAMES[self.rng.usize(..NAMES.len())]),
            _ => Some(ROOMS[self.rng.usize(..ROOMS.len())]),
        };
        let is_with = |seq: &usize| {
            let LoggedMessage { sender, to, .. } = &self.log[seq - 1];
            let sent_to = |from: &str, name: &str| *sender == from && to.iter().any(|to| to == name);
            match with {
                None => true,
                Some(room) if room.starts_with('#') => {
                    let joined = self.members.get(&(name, room)).copied();
                    to.iter().any(|to| to == room) && joined.is_some_and(|joined| joined < *seq)
                }
                Some(other) => sent_to(name, other) || sent_to(other, name),
            }
        };
        let all: Vec<usize> = match with {
            // A member of a room sees all of its messages.
            Some(room) if room.starts_with('#') => (1..=self.log.len()).rev().filter(is_with).collect(),
            _ => past.into_iter().filter(is_with).collect(),
        };
        let may = with.is_none_or(|with| !with.starts_with('#') || self.is_member(name, with));
        let limit = self.rng.usize(1..30);
        let mut expected: Vec<usize> = all.iter().copied().take(limit).collect();
        expected.reverse();
        match &mut self.visits.get_mut(name).expect("the peer has this connection").client {
            Client::Plain(client) => {
                let lines = client.history(&format!("{} {limit}", with.unwrap_or_default()));
                assert!(may || lines.is_empty());
                if may {
                    assert_eq!(lines.len(), expected.len(), "{name} with {with:?}: {lines:?}");
                }
            }
            Client::Json(client) => {
                client.send(json!({"type": "history", "with": with, "limit": limit}));
                if !may {
                    client.expect_error("not_a_member");
                    return;
                }
                let history = client.answer("history");
                assert_eq!(seqs(&history), expected, "{name} with {with:?}");
                assert_eq!(history["more"], all.len() > limit);
            }
        }
    }

    fn check_search(&mut self, name: &'static str) {
        let word = WORDS[self.rng.usize(..WORDS.len())];
        let past = self.past(name);
        let found: Vec<usize> = past.into_iter().filter(|seq| self.log[seq - 1].text.contains(word)).collect();
        let limit = self.rng.usize(1..30);
        let expected: Vec<usize> = found.iter().copied().take(limit).collect();
        if let Client::Json(client) = &mut self.visits.get_mut(name).expect("the peer has this connection").client {
            client.send(json!({"type": "search", "text": word.to_uppercase(), "limit": limit}));
            let search = client.answer("search");
            assert_eq!(seqs(&search), expected, "{name} searches {word}");
            assert_eq!(search["more"], found.len() > limit);
        }
    }
}

fn seqs(page: &Value) -> Vec<usize> {
    let messages = page["messages"].as_array().expect("a list");
    messages.iter().map(|message| message["seq"].as_u64().expect("the text is a number") as usize).collect()
}
