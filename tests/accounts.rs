//! Accounts: names with a password, on plain lines and in JSON. Owns who may log in by which name; TLS is in `tls.rs`.

mod support;

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{JsonClient, TestClient, TestServer};

const REQUIRED: &str = "[accounts]\nrequired = true\n";

/// Registers a name with the password `secret`, and logs out.
fn register(server: &TestServer, name: &str) {
    let mut client = TestClient::login(server, name);
    client.send("/register secret");
    client.expect_notice("has a password now");
    client.quit();
}

#[test]
fn registered_name_needs_its_password_also_after_a_crash() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/register secret");
    alice.expect_notice("alice has a password now");
    server.kill();
    server.start_again();
    let mut bob = TestClient::login(&server, "bob");
    bob.send("alice: for your eyes only");
    bob.ping();

    let mut stranger = TestClient::connect(&server);
    stranger.send("alice");
    assert_eq!(stranger.expect_line(), "* password for alice?");
    stranger.send("guess");
    stranger.expect_error("bad_password");
    assert_eq!(stranger.expect_line(), "* password for alice?");
    stranger.send("alice");
    stranger.expect_error("bad_password");
    assert_eq!(stranger.expect_line(), "* password for alice?");
    stranger.send("secre");
    assert!(stranger.expect_error("bad_password").ends_with(", connection closed"));
    assert_eq!(stranger.expect_closed(), [""; 0]);

    let mut alice = TestClient::connect_from("127.0.0.2", &server);
    alice.send("Alice");
    assert_eq!(alice.expect_line(), "* password for alice?");
    alice.send("secret");
    alice.expect_notice("hello alice");
    alice.expect("from bob: for your eyes only");
    let mut elsewhere = TestClient::connect_from("127.0.0.2", &server);
    elsewhere.send("alice secret");
    elsewhere.expect_notice("hello alice");
    assert_eq!(server.sqlite("select count(*) from message where text like '%secret%'"), "0");
}

#[test]
fn name_is_registered_before_the_login_if_nobody_has_used_it() {
    let server = TestServer::start();
    let mut bob = TestClient::login(&server, "bob");
    bob.send("alice, bob: it waited");
    bob.expect("from bob: it waited");
    let mut alice = TestClient::connect(&server);
    alice.send("/help");
    for form in ["NAME", "NAME PASSWORD", "/register NAME PASSWORD", "/quit"] {
        alice.expect_notice(form);
    }
    alice.send("/register alice secret");
    alice.expect_notice("alice has a password now");
    alice.expect_notice("hello alice, 1 message waits for you");
    alice.expect("from bob: it waited");
    for taken in ["alice", "bob"] {
        let mut other = TestClient::connect(&server);
        other.send(&format!("/register {taken} mine"));
        let error = other.expect_error("bad_name");
        assert!(error.contains(&format!("{taken} is used by somebody already")), "{error}");
    }
    let mut quitting = TestClient::connect(&server);
    quitting.send("/quit");
    assert_eq!(quitting.expect_closed(), [""; 0]);
    let mut malformed = TestClient::connect(&server);
    malformed.send("/register carol two words");
    malformed.expect_error("bad_request");
}

#[test]
fn programs_register_log_in_and_change_the_password() {
    let server = TestServer::start();
    let mut lamp = JsonClient::connect(&server);
    lamp.send(json!({"type": "register", "id": "r", "name": "lamp", "password": "pw one"}));
    assert_eq!(lamp.answer("error")["code"], "bad_password", "a password holds no blanks");
    lamp.send(json!({"type": "register", "id": "r", "name": "lamp", "password": "one"}));
    assert_eq!(lamp.answer("registered")["id"], "r");
    assert_eq!(lamp.answer("welcome")["name"], "lamp");
    lamp.send(json!({"type": "register", "id": "s", "password": "two"}));
    assert_eq!(lamp.answer("error")["code"], "bad_request");
    lamp.send(json!({"type": "password", "id": "p", "old": "wrong", "new": "two"}));
    assert_eq!(lamp.answer("error")["code"], "bad_password");
    lamp.send(json!({"type": "password", "id": "p", "old": "one", "new": "two"}));
    assert_eq!(lamp.answer("password_changed")["id"], "p");

    let mut other = JsonClient::connect(&server);
    other.send(json!({"type": "login", "id": "l", "name": "lamp"}));
    let error = other.answer("error");
    assert_eq!((&error["id"], &error["code"]), (&json!("l"), &json!("bad_password")));
    other.send(json!({"type": "login", "name": "lamp", "password": "one"}));
    assert_eq!(other.answer("error")["code"], "bad_password");
    other.send(json!({"type": "login", "name": "lamp", "password": "two"}));
    other.answer("welcome");
}

#[test]
fn new_password_ends_the_other_connections_of_the_name_and_no_others() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut other = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send("/register one");
    alice.expect_notice("alice has a password now");
    other.expect_error("bad_password");
    assert_eq!(other.expect_closed(), [""; 0]);
    let mut other = TestClient::connect(&server);
    other.send("alice one");
    other.expect_notice("hello alice");
    alice.send("/password one two");
    alice.expect_notice("your password is changed");
    let error = other.expect_error("bad_password");
    assert!(error.contains("log in again"), "{error}");
    assert_eq!(other.expect_closed(), [""; 0]);
    bob.send("alice: still here?");
    alice.expect("from bob: still here?");
    let mut late = TestClient::connect(&server);
    late.send("alice one");
    late.expect_error("bad_password");
    late.send("two");
    late.expect_notice("hello alice");
}

#[test]
fn where_accounts_are_required_free_names_stay_outside() {
    let server = TestServer::with_config(REQUIRED);
    let mut alice = TestClient::connect(&server);
    alice.send("alice");
    let error = alice.expect_error("account_required");
    assert!(error.contains("/register NAME PASSWORD"), "{error}");
    let mut lamp = JsonClient::connect(&server);
    lamp.send(json!({"type": "login", "name": "lamp"}));
    assert_eq!(lamp.answer("error")["code"], "account_required");
    alice.send("/register alice secret");
    alice.expect_notice("alice has a password now");
    alice.expect_notice("hello alice");
    // A row of the table `outbox` is from whoever has the file.
    server.sqlite_write("insert into outbox values ('backup', 'alice', 'done')");
    alice.expect("from backup: done");
    // A name without a password and a wrong password look the same.
    let answers = ["alice", "nobody"].map(|name| {
        let mut guesser = TestClient::connect(&server);
        guesser.send(&format!("{name} guess"));
        let answers = [guesser.expect_line(), guesser.expect_line()];
        answers.map(|line| line.replace(name, "NAME"))
    });
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn closed_registration_lets_nobody_register() {
    let server = TestServer::with_config("[accounts]\nregistration = \"closed\"\n");
    let mut alice = TestClient::connect(&server);
    alice.send("/register alice secret");
    alice.expect_error("not_allowed");
    alice.log_in("alice");
    alice.send("/register secret");
    alice.expect_error("not_allowed");
    assert_eq!(server.sqlite("select count(*) from account"), "0");
}

#[test]
fn of_many_who_register_one_name_at_once_one_gets_it() {
    let server = TestServer::start();
    let address = server.address();
    let racers: Vec<_> = (0..4)
        .map(|number| {
            thread::spawn(move || {
                let mut racer = TestClient::connect_to(address);
                racer.send(&format!("/register alice password{number}"));
                let line = racer.expect_line();
                (number, line)
            })
        })
        .collect();
    let lines: Vec<(usize, String)> = racers.into_iter().map(|racer| racer.join().expect("it reads a line")).collect();
    let winners: Vec<usize> =
        lines.iter().filter(|(_, line)| line.starts_with("* alice has")).map(|(number, _)| *number).collect();
    assert_eq!(winners.len(), 1, "{lines:?}");
    let mut alice = TestClient::connect(&server);
    alice.send(&format!("alice password{}", winners[0]));
    alice.expect_notice("hello alice");
}

#[cfg(target_os = "linux")]
#[test]
fn guessing_delays_the_guessers_and_neither_the_owner_nor_a_pair_that_chats() {
    let server = TestServer::start();
    let mut owner = TestClient::login_from("127.0.0.2", &server, "alice");
    owner.send("/register secret");
    owner.expect_notice("has a password now");
    let stop = Instant::now() + Duration::from_secs(3);
    let guess = |host: &str| {
        let (mut limited, mut wrong) = (0, 0);
        while Instant::now() < stop {
            let mut guesser = TestClient::connect_from(host, &server);
            guesser.send("alice guess");
            match guesser.expect_line() {
                line if line.starts_with("! rate_limited: ") => limited += 1,
                line => wrong += usize::from(line.starts_with("! bad_password: ")),
            }
        }
        (limited, wrong)
    };
    let mut logins = 0;
    let counts: Vec<(usize, usize)> = thread::scope(|scope| {
        let guessers: Vec<_> = (10..20).map(|host| scope.spawn(move || guess(&format!("127.0.0.{host}")))).collect();
        while Instant::now() < stop {
            let mut again = TestClient::connect_from("127.0.0.2", &server);
            again.send("alice secret");
            again.expect_notice("hello alice");
            again.quit();
            logins += 1;
        }
        guessers.into_iter().map(|guesser| guesser.join().expect("it guesses")).collect()
    });
    let wrong: usize = counts.iter().map(|count| count.1).sum();
    let limited: usize = counts.iter().map(|count| count.0).sum();
    assert!(limited > wrong && wrong < 60, "{wrong} guesses were checked, {limited} were not");
    assert!(logins > 3, "the owner logged in {logins} times");
}

#[test]
fn passwords_are_neither_logged_nor_stored() {
    let mut server = TestServer::with_environment(&[("HOLDLINE_LOG", "trace")]);
    let mut alice = TestClient::connect(&server);
    alice.send("/register alice hunter-two");
    alice.expect_notice("hello alice");
    alice.send("/password hunter-two hunter-three");
    alice.expect_notice("your password is changed");
    let mut other = TestClient::connect(&server);
    other.send("alice hunter-four");
    other.expect_error("bad_password");
    server.terminate();
    server.wait_for_log("stopped");
    assert!(!server.log().contains("hunter-"), "{}", server.log());
    let database = std::fs::read(server.database()).expect("the database is there");
    assert!(!database.windows(7).any(|bytes| bytes == b"hunter-"));
    assert!(server.sqlite("select password from account").starts_with("$argon2id$v=19$m=7168,t=5,p=1$"));
}

#[test]
fn client_on_another_machine_must_use_tls_where_accounts_are_required() {
    let Some(address) = own_address() else {
        return eprintln!("skipped: this machine has no other address than loopback");
    };
    let toml = format!("listen = [\"127.0.0.1:0\", \"{address}:0\"]\n{REQUIRED}[tls]\nself_signed = true\n");
    let server = TestServer::with_config(&toml);
    assert!(server.log().contains("over TLS and by names with a password"), "{}", server.log());
    let log = server.log();
    let (_, listed) = log.split_once(&format!(", {address}:")).expect("the log says where it listens");
    let port: String = listed.chars().take_while(char::is_ascii_digit).collect();
    let port = port.parse().expect("a port");
    let mut from_afar = TestClient::connect_to(SocketAddr::new(address, port));
    from_afar.send("/register alice secret");
    from_afar.expect_error("tls_required");
    assert_eq!(from_afar.expect_closed(), [""; 0]);
    let mut local = TestClient::connect(&server);
    local.send("/register alice secret");
    local.expect_notice("hello alice");
}

/// Returns an address of this machine that is not loopback: a connection to it comes from it, as if from another machine.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    let listener = std::net::TcpListener::bind((address, 0)).ok()?;
    TcpStream::connect(listener.local_addr().ok()?).ok()?;
    (!address.is_loopback()).then_some(address)
}

#[test]
fn registered_name_is_the_same_for_send_and_tail() {
    let server = TestServer::start();
    register(&server, "alice");
    let address = server.address().to_string();
    let run = |arguments: &[&str], password: Option<&str>| {
        let mut command = support::holdline();
        command.args(arguments).args(["--as=alice", "--server", &address]).env_remove("HOLDLINE_PASSWORD");
        command.envs(password.map(|password| ("HOLDLINE_PASSWORD", password)));
        command.stdout(std::process::Stdio::piped()).output().expect("holdline runs")
    };
    assert!(run(&["send", "--to=alice", "note"], Some("secret")).status.success());
    let refused = run(&["send", "--to=alice", "note"], None);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("bad_password"), "{refused:?}");
    let tail = run(&["tail", "--count=1"], Some("secret"));
    assert_eq!(String::from_utf8_lossy(&tail.stdout), "from alice: note\n");
}
