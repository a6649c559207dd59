//! The plugins in `plugins/`, each through a real server and with the service that it talks to. Owns their behaviour;
//! never that of plugins in general.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::{JsonClient, Output, TestClient, TestServer, chat, eventually, installed, wait_for_exit};
use tempfile::TempDir;

/// List of plugins in this repository.
const LIST: &str = include_str!("../plugins.toml");

/// Files of all plugins.
const FILES: [(&str, &str); 6] = [
    ("plugins/greeter.luau", include_str!("../plugins/greeter.luau")),
    ("plugins/manners.luau", include_str!("../plugins/manners.luau")),
    ("plugins/mqtt.py", include_str!("../plugins/mqtt.py")),
    ("plugins/push.sh", include_str!("../plugins/push.sh")),
    ("plugins/remind.luau", include_str!("../plugins/remind.luau")),
    ("plugins/sensor.sh", include_str!("../plugins/sensor.sh")),
];

/// Starts a server with this list.
fn serve(list: &str) -> TestServer {
    TestServer::with_files(&with_files(list))
}

fn with_files(list: &str) -> Vec<(&str, &str)> {
    [&[("plugins.toml", list)], &FILES[..]].concat()
}

/// Whether all of these programs are installed.
fn are_installed(programs: &[&'static str]) -> bool {
    programs.iter().all(|program| installed(program).is_some())
}

// plugins.toml

#[test]
fn shipped_list_is_silent_by_default() {
    let server = serve(LIST);
    chat(
        &server,
        "
        alice > alice
        alice > /plugins
        alice * remind (luau, mail, tick): runs
        alice > bob: hi
        alice * kept for later
        bob   > bob
        bob   < from alice: hi
        ",
    );
    assert_eq!(server.sqlite("select count(*) from history"), "1");
}

#[test]
fn every_entry_of_the_list_runs_once_uncommented() {
    if !are_installed(&["jq", "curl", "python3", "mosquitto_sub"]) {
        return;
    }
    // A comment has a blank after its mark.
    let is_switched_off = |line: &str| line.starts_with('#') && line[1..].starts_with(|next: char| next != ' ');
    let lines = LIST.lines().map(|line| if is_switched_off(line) { &line[1..] } else { line });
    let server = serve(&lines.map(|line| format!("{line}\n")).collect::<String>());
    let mut alice = TestClient::login(&server, "alice");
    alice.expect("from greeter: welcome, alice; write `remind: 20m tea` and see");
    alice.send("bob: dang");
    alice.expect("! rejected: mind your language (manners); not sent");
    alice.send("/plugins");
    let lines = alice.ping();
    let states: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("* ")?.split_once(" (")).collect();
    let names: Vec<_> = states.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["remind", "greeter", "manners", "push", "home", "thermometer"]);
    assert!(states.iter().all(|(_, state)| state.ends_with("): runs")), "{states:?}");
}

// remind

fn reminding(tick_s: u32, settings: &str) -> String {
    format!(
        r#"
        [[plugin]]
        name = "remind"
        kind = "luau"
        path = "plugins/remind.luau"
        hooks = ["mail", "tick"]
        tick_s = {tick_s}
        [plugin.settings]
        {settings}
        "#
    )
}

/// Writes to `remind`, and returns its reply without the time in it.
#[track_caller]
fn remind(client: &mut TestClient, line: &str) -> String {
    client.send(&format!("remind: {line}"));
    let answer = client.next_message();
    answer.strip_prefix("from remind: ").unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[test]
fn reminder_arrives_exactly_once_despite_repeated_crashes() {
    let mut server = serve(&reminding(1, ""));
    let mut alice = TestClient::login(&server, "alice");
    for after_s in 1..=6 {
        let answer = remind(&mut alice, &format!("{after_s}s tea {after_s}"));
        assert!(answer.starts_with(&format!("number {after_s}, at 20")), "{answer}");
        assert!(answer.ends_with(&format!(" UTC: tea {after_s}")), "{answer}");
    }
    let sent = "select text from history where sender = 'remind' and text like 'tea%' order by seq";
    for count in [1, 3, 5] {
        eventually("a reminder is sent", || server.sqlite(sent).lines().count() >= count);
        server.kill();
        server.start_again();
    }
    eventually("every reminder is sent", || server.sqlite(sent).lines().count() == 6);
    let mut alice = TestClient::login(&server, "alice");
    alice.send("remind: list");
    while alice.next_message() != "from remind: you have no reminders" {}
    assert_eq!(server.sqlite(sent), "tea 1\ntea 2\ntea 3\ntea 4\ntea 5\ntea 6");
    assert_eq!(server.sqlite("select key from value order by key"), "asked\ndue");
}

#[test]
fn repeated_request_creates_one_reminder() {
    let mut server = serve(&reminding(60, ""));
    let mut alice = TestClient::login(&server, "alice");
    let answer = remind(&mut alice, "1h tea");
    server.wait_until_delivered("remind");
    server.terminate();
    // As if the power had failed before its cursor was committed.
    server.sqlite_write("update peer set cursor = 0 where name = 'remind'");
    server.start_again();
    let mut alice = TestClient::login(&server, "alice");
    assert_eq!(remind(&mut alice, "list"), answer);
    assert_eq!(server.sqlite("select count(*) from history where sender = 'remind'"), "2");
    alice.expect_nothing();
}

#[test]
fn reminder_due_while_the_server_was_down_arrives_late_and_says_so() {
    let mut server = serve(&reminding(1, ""));
    let mut alice = TestClient::login(&server, "alice");
    remind(&mut alice, "1h tea");
    alice.quit();
    server.terminate();
    server.sqlite_write("update value set value = '[[1,1700000000]]' where key = 'due'");
    server.start_again();
    let mut alice = TestClient::login(&server, "alice");
    alice.expect("from remind: tea (this was due at 2023-11-14 22:13:20 UTC)");
}

#[test]
fn reminders_are_listed_and_cancelled_by_their_owner() {
    let server = serve(&reminding(60, "per_person = 3\ndays_max = 100000"));
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    let at = |answer: &str| answer.split_once(", at ").expect("a time").1.to_owned();
    let late = at(&remind(&mut alice, "2w3d late"));
    let soon = at(&remind(&mut alice, "1h30m soon"));
    let bobs = at(&remind(&mut bob, "AT 2100-12-24 18:30 gifts for \"all\""));
    assert_eq!(bobs, "2100-12-24 18:30 UTC: gifts for \"all\"");
    let christmas = at(&remind(&mut alice, "at 2100-12-24 18:30 gifts"));
    assert!(remind(&mut alice, "1h one more").starts_with("you have 3 reminders already"));

    assert_eq!(remind(&mut alice, "list"), format!("number 2, at {soon}"));
    assert_eq!(alice.next_message(), format!("from remind: number 1, at {late}"));
    assert_eq!(alice.next_message(), format!("from remind: number 4, at {christmas}"));
    assert_eq!(remind(&mut alice, "cancel 3"), "you have no reminder with number 3; \"list\" shows your reminders");
    assert_eq!(remind(&mut alice, "cancel 2"), "number 2 is cancelled: soon");
    assert_eq!(remind(&mut alice, "LIST"), format!("number 1, at {late}"));
    assert_eq!(alice.next_message(), format!("from remind: number 4, at {christmas}"));
    // Its number is free again.
    assert!(remind(&mut bob, "90s x").starts_with("number 2, at "));
    assert_eq!(remind(&mut bob, "list").split(',').next(), Some("number 2"));
    assert_eq!(bob.next_message(), format!("from remind: number 3, at {bobs}"));
    alice.expect_nothing();
    bob.expect_nothing();
}

#[test]
fn invalid_request_is_answered_with_the_right_form() {
    let server = serve(&reminding(60, ""));
    let mut alice = TestClient::login(&server, "alice");
    let unreadable = [
        "tea",
        "20m",
        "20 tea",
        "20y tea",
        "m tea",
        "at tea",
        "at 24:00 tea",
        "at 12:60 tea",
        "at 2100-06-31 12:00 tea",
        "at 2100-13-01 12:00 tea",
        "at 2100-00-00 12:00 tea",
        "cancel",
        "cancel tea",
        "list all",
    ];
    for line in unreadable {
        let answer = remind(&mut alice, line);
        assert!(answer.starts_with("cannot read this reminder; write \"20m tea\""), "{line}: {answer}");
    }
    for line in ["0s tea", "at 2001-01-01 12:00 tea", "at 1970-01-01 00:00 tea"] {
        assert_eq!(remind(&mut alice, line), "that time is not in the future; no reminder was set", "{line}");
    }
    for line in ["367d tea", "99999999999999999999w tea", "at 2100-01-01 12:00 tea", "at 9999-12-31 23:59 tea"] {
        assert_eq!(remind(&mut alice, line), "that is more than 366 days ahead; no reminder was set", "{line}");
    }
    let long = "x".repeat(501);
    assert_eq!(
        remind(&mut alice, &format!("1h {long}")),
        "the text has 501 bytes, and at most 500 are allowed; no reminder was set"
    );
    assert_eq!(remind(&mut alice, "list"), "you have no reminders");
}

#[test]
fn time_of_day_is_local_time() {
    let files = reminding(60, "days_max = 100000");
    // Central European time, without a time zone database.
    let zone = [("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")];
    let server = TestServer::with_files_and_environment(&with_files(&files), &zone);
    let mut alice = TestClient::login(&server, "alice");
    let due = |number| {
        let sql = format!(
            "select datetime(json_extract(entry.value, '$[1]'), 'unixepoch') from value, json_each(value.value) as entry
             where value.key = 'due' and json_extract(entry.value, '$[0]') = {number}"
        );
        server.sqlite(&sql)
    };
    let cases = [
        ("2100-07-01 12:00", "2100-07-01 12:00 CEST", "2100-07-01 10:00:00"),
        ("2100-12-24 00:30", "2100-12-24 00:30 CET", "2100-12-23 23:30:00"),
        // The day on which the clock is put back.
        ("2100-10-31 12:00", "2100-10-31 12:00 CET", "2100-10-31 11:00:00"),
    ];
    for (number, (written, shown, utc)) in (1..).zip(cases) {
        let answer = remind(&mut alice, &format!("at {written} x"));
        assert_eq!(answer, format!("number {number}, at {shown}: x"));
        assert_eq!(due(number), utc, "{written}");
    }
    // Today or tomorrow, and always in the future.
    for (number, time) in (4..).zip(["00:00", "6:07", "12:00", "23:59"]) {
        let answer = remind(&mut alice, &format!("at {time} x"));
        let padded = format!("{time:0>5}");
        assert!(answer.contains(&format!(" {padded} CE")), "{answer}");
        let ahead =
            format!("select '{}' between datetime('now', '-1 minute') and datetime('now', '1 day')", due(number));
        assert_eq!(server.sqlite(&ahead), "1", "{answer}");
    }
}

// greeter

const GREETER: &str = r#"
    [[plugin]]
    name = "greeter"
    kind = "luau"
    path = "plugins/greeter.luau"
    hooks = ["join", "tick"]
    tick_s = 1
    [plugin.settings]
    first = "welcome, {name}"
    back = "{name} is back"
    after_days = 30
"#;

#[test]
fn greeter_greets_new_and_long_absent_peers_once() {
    let remind = reminding(60, "");
    let list = format!("{GREETER}\n{remind}");
    let mut server = serve(&list);
    let mut alice = TestClient::login(&server, "alice");
    alice.expect("from greeter: welcome, alice");
    let mut bob = TestClient::login(&server, "bob");
    bob.expect("from greeter: welcome, bob");
    alice.quit();
    server.wait_until_gone("alice");
    let seen = |server: &TestServer| server.sqlite("select value from value where key = 'seen'");
    let greeted = |server: &TestServer| {
        server.sqlite("select recipients, text from history where sender = 'greeter' and recipients <> 'onlooker'")
    };
    let all = "alice|welcome, alice\nbob|welcome, bob";
    TestClient::login(&server, "alice").quit();
    server.restart();
    TestClient::login(&server, "alice").quit();
    // Carol logs in after alice, and reads her greeting after hers.
    TestClient::login(&server, "carol").expect("from greeter: welcome, carol");
    assert_eq!(greeted(&server), format!("{all}\ncarol|welcome, carol"));

    server.terminate();
    let old: Value = serde_json::from_str(&seen(&server)).expect("the text is JSON");
    let days_ago = |days: i64| old["alice"].as_i64().expect("the time is in seconds") - days * 24 * 60 * 60;
    let changed = json!({"alice": days_ago(31), "bob": days_ago(29), "carol": days_ago(29), "onlooker": days_ago(0)});
    server.sqlite_write(&format!("update value set value = '{changed}' where key = 'seen'"));
    server.start_again();
    let mut alice = TestClient::login(&server, "alice");
    alice.expect("from greeter: alice is back");
    TestClient::login(&server, "bob").quit();
    TestClient::login(&server, "dave").expect("from greeter: welcome, dave");
    assert_eq!(greeted(&server).lines().last(), Some("dave|welcome, dave"));
    assert_eq!(greeted(&server).lines().count(), 5);
    alice.expect_nothing();
    // A peer that stays is not absent.
    let was_seen = seen(&server);
    eventually("peers that are online are recorded again", || {
        let now: Value = serde_json::from_str(&seen(&server)).expect("the text is JSON");
        let before: Value = serde_json::from_str(&was_seen).expect("the text is JSON");
        now["alice"].as_i64() > before["alice"].as_i64() && now["bob"] == before["bob"]
    });
}

// manners

#[test]
fn manners_refuses_whole_words_in_any_case_and_disguise() {
    let list = r#"
        [[plugin]]
        name = "manners"
        kind = "luau"
        path = "plugins/manners.luau"
        hooks = ["message"]
        [plugin.settings]
        words = ["heck", "Ärger", "дурак", "b4d"]
    "#;
    let server = serve(list);
    let mut alice = TestClient::login(&server, "alice");
    let refused = [
        "heck",
        "what the HECK!",
        "(heck)",
        "“heck”",
        "«Heck»",
        "h3ck it",
        "he¢k… heck…",
        "h e c k",
        "well, h.e.c.k.",
        "H-E-C-K",
        "so ärger",
        "kein ÄRGER",
        "ДУРАК",
        "bad",
        "B4D",
    ];
    for text in refused {
        alice.send(&format!("alice: {text}"));
        assert_eq!(alice.next_message(), "! rejected: mind your language (manners); not sent", "{text}");
    }
    for text in ["check", "hecks", "the hec k", "a h e c k", "3", "b 4", "ärgern", "@home $5", "he ck", "1337 443"] {
        alice.send(&format!("alice: {text}"));
        assert_eq!(alice.next_message(), format!("from alice: {text}"));
    }
}

#[test]
fn manners_masks_words_and_leaves_the_rest_as_it_is() {
    let list = r#"
        [[plugin]]
        name = "manners"
        kind = "luau"
        path = "plugins/manners.luau"
        hooks = ["message"]
        [plugin.settings]
        words = ["heck", "dang"]
        mask = true
    "#;
    let server = serve(list);
    chat(
        &server,
        "
        alice > alice
        alice > alice: Heck, what the “hêck” h e c k — dang! grüße
        alice < from alice: ***, what the “hêck” *** — ***! grüße
        alice > alice: heck
        alice < from alice: ***
        alice > alice: fine — as it is
        alice < from alice: fine — as it is
        ",
    );
}

#[test]
fn manners_without_words_does_not_load() {
    let mut command = support::holdline();
    let home = tempfile::tempdir().expect("a temporary directory can be created");
    for (path, text) in FILES {
        let path = home.path().join(path);
        std::fs::create_dir_all(path.parent().expect("the directory can be created"))
            .expect("the directory can be created");
        std::fs::write(path, text).expect("the file can be written");
    }
    let list = "[[plugin]]\nname = \"m\"\nkind = \"luau\"\npath = \"plugins/manners.luau\"\nhooks = [\"message\"]";
    std::fs::write(home.path().join("plugins.toml"), list).expect("the file can be written");
    command.args(["--listen", "127.0.0.1:0"]).current_dir(home.path());
    let refusal = support::refusal(&mut command);
    assert!(refusal.contains(r#"settings.words must be a list, such as ["heck"]"#), "{refusal}");
}

// push

/// Server that receives pushes as ntfy does.
struct Phones {
    url: String,
    /// Status of its responses.
    status: Arc<AtomicU16>,
    /// Requests: the line of `Authorization`, and the body.
    taken: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Phones {
    fn start() -> Phones {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let phones = Phones { url, status: Arc::new(AtomicU16::new(200)), taken: Arc::default() };
        let (status, taken) = (Arc::clone(&phones.status), Arc::clone(&phones.taken));
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that is killed during a request sends an incomplete one.
                let Some(request) = read_request(&stream.expect("a connection"), status.load(Ordering::SeqCst)) else {
                    continue;
                };
                taken.lock().expect("no holder of the lock panics").push(request);
            }
        });
        phones
    }

    /// Requests so far, each as `topic: title: message`.
    fn taken(&self) -> Vec<String> {
        let taken = self.taken.lock().expect("no holder of the lock panics");
        let field = |body: &Value, key: &str| body[key].as_str().unwrap_or("?").to_owned();
        let shown = |(_, body): &(String, Value)| ["topic", "title", "message"].map(|key| field(body, key)).join(": ");
        taken.iter().map(shown).collect()
    }

    #[track_caller]
    fn wait_for(&self, what: &[&str]) {
        eventually(&format!("the phones ring: {what:?}"), || self.taken() == what);
    }
}

fn read_request(stream: &TcpStream, status: u16) -> Option<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let (mut authorization, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((key, value)) if key.eq_ignore_ascii_case("authorization") => authorization = value.to_owned(),
            Some((key, value)) if key.eq_ignore_ascii_case("content-length") => length = value.parse().ok()?,
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    write!(&mut &*stream, "HTTP/1.1 {status} Whatever\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()?;
    Some((authorization, serde_json::from_slice(&body).expect("the text is JSON")))
}

fn pushing(phones: &Phones, settings: &str) -> String {
    format!(
        r#"
        [[plugin]]
        name = "push"
        kind = "process"
        path = "plugins/push.sh"
        hooks = ["logged"]
        [plugin.settings]
        server = "{}"
        {settings}
        [plugin.settings.topics]
        bob = "t-bob"
        carol = "t-carol"
        "#,
        phones.url
    )
}

#[test]
fn push_goes_to_offline_peers_with_a_topic() {
    if !are_installed(&["jq", "curl"]) {
        return;
    }
    let phones = Phones::start();
    let list = pushing(&phones, "show_text = true\ncurl_config = \"ntfy.curl\"");
    let secret = ("ntfy.curl", "header = \"Authorization: Bearer tk_secret\"\n");
    let server = TestServer::with_files(&[&with_files(&list)[..], &[secret]].concat());
    let join = |name: &str| {
        let mut client = TestClient::login(&server, name);
        client.send("/join #home");
        client.ping();
        client
    };
    for name in ["carol", "dave"] {
        join(name).quit();
        server.wait_until_gone(name);
    }
    let _bob = join("bob");
    let mut alice = join("alice");
    alice.send("#home: \"grüße\" \\n \\ 'all' $(id) {}");
    alice.send("bob, carol, dave: hi");
    phones.wait_for(&["t-carol: alice in #home: \"grüße\" \\n \\ 'all' $(id) {}", "t-carol: alice: hi"]);
    let mut program = JsonClient::login(&server, "program");
    program.say("1", &["carol"], "two\nlines\tand a tab");
    phones.wait_for(&[
        "t-carol: alice in #home: \"grüße\" \\n \\ 'all' $(id) {}",
        "t-carol: alice: hi",
        "t-carol: program: two\nlines\tand a tab",
    ]);
    let taken = phones.taken.lock().expect("no holder of the lock panics");
    assert!(taken.iter().all(|(authorization, _)| authorization == "Bearer tk_secret"));
}

#[test]
fn push_hides_the_text_and_is_rate_limited() {
    if !are_installed(&["jq", "curl"]) {
        return;
    }
    let phones = Phones::start();
    let server = serve(&pushing(&phones, "quiet_s = 3600"));
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: secret");
    alice.send("bob: secret too");
    alice.send("carol, bob: secret as well");
    let hidden = "alice: a message is waiting for you";
    phones.wait_for(&[&format!("t-bob: {hidden}"), &format!("t-carol: {hidden}")]);
}

#[test]
fn failed_push_is_repeated_and_a_refused_one_delays_no_other_client() {
    if !are_installed(&["jq", "curl"]) {
        return;
    }
    let phones = Phones::start();
    let mut server = serve(&pushing(&phones, "show_text = true\npatience_s = 3"));
    phones.status.store(503, Ordering::SeqCst);
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: one");
    alice.send("alice: nobody waits");
    alice.expect("from alice: nobody waits");
    eventually("the push is repeated", || phones.taken().len() >= 2);
    eventually("the call has failed and was repeated", || server.log().contains("could not be reached for 3 s"));
    // Unfinished pushes survive as well.
    server.kill();
    phones.status.store(200, Ordering::SeqCst);
    let before = phones.taken().len();
    server.start_again();
    eventually("the message is pushed", || phones.taken().len() > before);
    assert!(phones.taken().iter().all(|push| push == "t-bob: alice: one"));

    phones.status.store(403, Ordering::SeqCst);
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: two");
    server.wait_for_log("answers with 403: not pushed");
    phones.status.store(200, Ordering::SeqCst);
    alice.send("bob: three");
    eventually("the next message is pushed", || {
        phones.taken().last().is_some_and(|push| push == "t-bob: alice: three")
    });
    assert_eq!(phones.taken().iter().filter(|push| push.ends_with("two")).count(), 1);
}

#[test]
fn failed_push_does_not_count_for_the_rate_limit() {
    if !are_installed(&["jq", "curl"]) {
        return;
    }
    let phones = Phones::start();
    let server = serve(&pushing(&phones, "quiet_s = 3600\npatience_s = 1"));
    phones.status.store(503, Ordering::SeqCst);
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: one");
    server.wait_for_log("could not be reached for 1 s");
    phones.status.store(200, Ordering::SeqCst);
    let before = phones.taken().len();
    eventually("the message is pushed", || phones.taken().len() > before);
}

// mqtt

/// Broker mosquitto for one test, on a socket of its own.
struct Broker {
    home: TempDir,
    running: Option<(Child, Arc<Output>)>,
}

impl Broker {
    fn new() -> Broker {
        let home = tempfile::tempdir().expect("a temporary directory can be created");
        let path = home.path().display();
        let config = format!(
            "listener 0 {path}/socket\nallow_anonymous true\npersistence true\npersistence_location {path}/\nuser root\n\
             log_dest stderr\nlog_type all\n"
        );
        std::fs::write(home.path().join("mosquitto.conf"), config).expect("the configuration can be written");
        Broker { home, running: None }
    }

    fn socket(&self) -> PathBuf {
        self.home.path().join("socket")
    }

    #[track_caller]
    fn start(&mut self) {
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(self.home.path().join("mosquitto.conf")).stderr(Stdio::piped()).stdout(Stdio::null());
        let mut process = command.spawn().expect("mosquitto can be started");
        let log = Output::of(process.stderr.take().expect("stderr is a pipe"));
        self.running = Some((process, log));
        self.wait_for_log(" running");
    }

    /// Ends it with SIGTERM, so that it saves its state.
    #[track_caller]
    fn stop(&mut self) {
        let (mut process, _) = self.running.take().expect("mosquitto runs");
        kill_process(Pid::from_child(&process), Signal::TERM).expect("mosquitto runs");
        wait_for_exit(&mut process);
    }

    #[track_caller]
    fn wait_for_log(&self, what: &str) {
        let (_, log) = self.running.as_ref().expect("mosquitto runs");
        let text = log.wait_until(|text| text.contains(what));
        assert!(text.contains(what), "mosquitto never logged `{what}`:\n{text}");
    }

    fn publish(&self, topic: &str, payload: &str) {
        let mut command = client("mosquitto_pub", &self.socket());
        let status =
            command.args(["-q", "1", "-t", topic, "-m", payload]).status().expect("mosquitto_pub can be started");
        assert!(status.success());
    }

    /// Subscribes, or continues a subscription. Returns this many messages, as `TOPIC PAYLOAD`.
    fn read(&self, count: usize) -> String {
        let mut command = client("mosquitto_sub", &self.socket());
        command.args(["-q", "1", "-c", "-i", "test", "-v", "-t", "home/+/set"]);
        if count == 0 {
            command.arg("-E")
        } else {
            command.args(["-W", "30", "-C", &count.to_string()])
        };
        let output = command.output().expect("mosquitto_sub can be started");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("the output is text")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some((process, _)) = &mut self.running {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn client(program: &str, socket: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("--unix").arg(socket);
    command
}

fn bridging(broker: &Broker) -> String {
    format!(
        r##"
        [[plugin]]
        name = "home"
        kind = "process"
        path = "plugins/mqtt.py"
        hooks = ["mail"]
        [plugin.settings]
        room = "#home"
        subscribe = ["home/#"]
        publish = "home/{{name}}/set"
        arguments = ["--unix", "{}"]
        "##,
        broker.socket().display()
    )
}

/// Waits until the lamp could not be reached this many times.
#[track_caller]
fn wait_until_tried(server: &TestServer, times: usize) {
    eventually("the publication is tried", || {
        server.log().matches("home/lamp/set is not published yet").count() >= times
    });
}

#[test]
fn mqtt_bridge_works_in_both_directions_across_restarts() {
    if !are_installed(&["python3", "mosquitto", "mosquitto_sub", "mosquitto_pub"]) {
        return;
    }
    let mut broker = Broker::new();
    broker.start();
    broker.read(0);
    broker.stop();

    // The broker is not running at the start.
    let mut server = serve(&bridging(&broker));
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/join #home");
    eventually("the plugin is in the room", || server.sqlite("select count(*) from member") == "2");
    alice.send("#home: lamp: on");
    alice.send("#home: nothing to publish");
    alice.send("home: lamp/kitchen: dimmed \"50 %\"");
    wait_until_tried(&server, 1);
    broker.start();
    assert_eq!(broker.read(1), "home/lamp/set on\n");
    broker.wait_for_log("Received SUBSCRIBE from holdline-home");
    broker.publish("home/door", "open");
    // No echo of what was published from here.
    alice.expect("from home in #home: home/door: open");
    broker.publish("home/door", "two\nlines");
    alice.expect("from home in #home: home/door: two lines");

    // The broker stops in the middle, and comes back.
    broker.stop();
    alice.send("#home: lamp: off");
    wait_until_tried(&server, 2);
    broker.start();
    assert_eq!(broker.read(1), "home/lamp/set off\n");
    broker.publish("home/door", "shut");
    alice.expect("from home in #home: home/door: shut");

    // Both stop.
    broker.stop();
    alice.send("#home: lamp: green");
    wait_until_tried(&server, 3);
    alice.quit();
    server.wait_until_gone("alice");
    assert_eq!(server.sqlite("select text from waiting where recipient = 'home'"), "lamp: green");
    server.kill();
    broker.start();
    broker.publish("home/door", "kept by the broker");
    server.start_again();
    let mut alice = TestClient::login(&server, "alice");
    loop {
        // Messages read before the crash may be repeated, and so may published ones.
        let line = alice.next_message();
        if line == "from home in #home: home/door: kept by the broker" {
            break;
        }
        assert!(line.starts_with("from home in #home: home/"), "{line}");
    }
    while !broker.read(1).ends_with("home/lamp/set green\n") {}
}

// sensor

fn sensing(settings: &str) -> String {
    format!(
        r##"
        [[plugin]]
        name = "thermometer"
        kind = "process"
        path = "plugins/sensor.sh"
        hooks = ["tick"]
        tick_s = 1
        [plugin.settings]
        to = ["#home", "alice"]
        {settings}
        "##
    )
}

#[test]
fn sensor_reports_when_a_limit_is_crossed_and_when_it_is_back() {
    if !are_installed(&["jq"]) {
        return;
    }
    // Each reading leaves a trace.
    let settings = r#"
        command = "echo look >> looks; cat number"
        divide = 1000
        limit = 70
        back = 65
        what = "the processor"
        unit = " °C"
    "#;
    let list = sensing(settings);
    let mut server = TestServer::with_files(&[&with_files(&list)[..], &[("number", "40000\n")]].concat());
    let looks = |server: &TestServer| std::fs::read_to_string(server.path("looks")).unwrap_or_default().lines().count();
    // Two readings: one may have begun before.
    let look = |server: &TestServer| {
        let before = looks(server);
        eventually("the plugin has looked", || looks(server) >= before + 2);
    };
    let mut alice = TestClient::login(&server, "alice");
    look(&server);
    server.write_file("number", "70500\n");
    alice.expect("from thermometer: the processor: 70.5 °C, past the limit of 70 °C");
    server.write_file("number", "66000\n");
    look(&server);
    server.write_file("number", "71000\n");
    look(&server);
    alice.quit();
    server.kill();
    server.start_again();
    look(&server);
    server.write_file("number", "64900\n");
    let texts = "select text from history where sender = 'thermometer' order by seq";
    let all = ["the processor: 70.5 °C, past the limit of 70 °C", "the processor: 64.9 °C, fine again"];
    eventually("the recovery is sent", || server.sqlite(texts).lines().count() == 2);
    assert_eq!(server.sqlite(texts), all.join("\n"));
    server.write_file("number", "n/a\n");
    eventually("the failure is sent", || server.sqlite(texts).ends_with("the processor cannot be read"));
    look(&server);
    server.write_file("number", "69000\n");
    eventually("the next reading is sent", || server.sqlite(texts).ends_with("the processor: 69 °C, fine again"));
    assert_eq!(server.sqlite(texts).lines().count(), 4);
}

#[test]
fn a_sensor_watches_what_must_not_fall_too() {
    if !are_installed(&["jq"]) {
        return;
    }
    let list = sensing("file = \"cellar\"\nlimit = 2\nback = 4");
    let server = TestServer::with_files(&[&with_files(&list)[..], &[("cellar", "6.5")]].concat());
    let mut alice = TestClient::login(&server, "alice");
    server.write_file("cellar", "-1.5");
    alice.expect("from thermometer: cellar: -1.5, past the limit of 2");
    server.write_file("cellar", "4.01");
    alice.expect("from thermometer: cellar: 4.01, fine again");
}

#[test]
fn sensor_report_that_could_not_be_sent_is_sent_once_after_a_restart() {
    if !are_installed(&["jq"]) {
        return;
    }
    let list = sensing("file = \"cellar\"\nlimit = 2");
    let mute = r#"
        [[plugin]]
        name = "mute"
        kind = "luau"
        path = "mute.luau"
        hooks = ["message"]
    "#;
    let with_mute = format!("{list}{mute}");
    let script = "function message(m) return { reject = 'hush' } end";
    let others = [("cellar", "3\n"), ("mute.luau", script)];
    let mut server = TestServer::with_files(&[&with_files(&with_mute)[..], &others].concat());
    let stored_state = |server: &TestServer| server.sqlite("select value from value where key = 'state'");
    eventually("the value is stored", || {
        stored_state(&server).contains(r#""unsaid":"cellar: 3, past the limit of 2""#)
    });
    server.wait_for_log("hush");
    server.kill();
    server.write_file("cellar", "1\n");
    server.write_file("plugins.toml", &list);
    server.start_again();
    let texts = "select text from history where sender = 'thermometer' order by seq";
    let all = "cellar: 3, past the limit of 2\ncellar: 1, fine again";
    eventually("the messages are sent", || server.sqlite(texts) == all);
    eventually("the state is stored", || stored_state(&server).contains(r#""changes":2,"state":"fine","unsaid":"""#));

    // As if it had been killed before it knew; and as if its settings had changed since.
    for unsaid in ["cellar: 1, fine again", "in other words"] {
        server.terminate();
        let state = json!({"state": "fine", "changes": 2, "unsaid": unsaid});
        server.sqlite_write(&format!("update value set value = '{state}' where key = 'state'"));
        server.start_again();
        eventually("the state is stored again", || {
            stored_state(&server).contains(r#""changes":2,"state":"fine","unsaid":"""#)
        });
        assert_eq!(server.sqlite(texts), all);
    }
}
