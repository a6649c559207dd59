//! holdline as part of another program, with plugins that are types of that program. Owns what an embedding program can
//! do; never the meaning of the hooks.

mod support;

use std::thread;
use std::time::Duration;

use holdline::config::Config;
use holdline::message::{Destination, PeerName};
use holdline::plugin::{Answer, Call, Effect, Failure, Hook, Pending, Plugin, PluginConfig, Verdict};
use holdline::server::{Server, Stopper};
use support::TestClient;

/// Echoes what is written to it, filters what others write, and answers a command.
struct Echo;

impl Plugin for Echo {
    fn call(&self, call: Call) -> Pending<'_, Result<Answer, Failure>> {
        Box::pin(async move {
            match call {
                Call::Message(draft) if draft.text.as_str() == "hang" => std::future::pending().await,
                Call::Message(draft) if draft.text.as_str() == "heck" => {
                    Ok(Verdict::Reject("mind your language".to_owned()).into())
                }
                Call::Mail(mail) => {
                    let to = vec![Destination::Peer(mail.from)];
                    Ok(Answer { effects: vec![Effect::Send { id: None, to, text: mail.text }], ..Answer::default() })
                }
                Call::Command(typed) => {
                    let set = Effect::Set { key: typed.from.to_string(), value: Some(typed.arguments.clone().into()) };
                    Ok(Answer { verdict: Verdict::Reply(typed.arguments), effects: vec![set] })
                }
                _ => Ok(Answer::default()),
            }
        })
    }
}

/// A server within this process, stopped when it is dropped.
struct Embedded {
    address: std::net::SocketAddr,
    stopper: Stopper,
    thread: Option<thread::JoinHandle<()>>,
    data: tempfile::TempDir,
}

impl Embedded {
    fn start(hooks: &[Hook], prepare: impl FnOnce(&mut PluginConfig)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let config = Config {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            data: data.path().to_owned(),
            plugins: data.path().join("plugins.toml"),
            ..Config::default()
        };
        let mut server = Server::bind(&config).unwrap();
        let mut entry = PluginConfig::embedded(PeerName::parse("echo").unwrap(), hooks);
        prepare(&mut entry);
        server.add_plugin(entry, Box::new(Echo));
        let (address, stopper) = (server.addresses()[0], server.stopper());
        let thread = Some(thread::spawn(move || server.run().unwrap()));
        Embedded { address, stopper, thread, data }
    }

    fn login(&self, name: &str) -> TestClient {
        let mut client = TestClient::connect_to(self.address);
        client.log_in(name);
        client
    }

    fn stop(&mut self) {
        self.stopper.stop();
        self.thread.take().into_iter().for_each(|thread| thread.join().expect("the server ends without a panic"));
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.stop();
        }
    }
}

#[test]
fn embedded_plugin_has_the_same_hooks() {
    let mut server = Embedded::start(&[Hook::Message, Hook::Mail, Hook::Command], |entry| {
        entry.commands = vec![("say".to_owned(), "TEXT: says it".to_owned())];
    });
    let mut alice = server.login("alice");
    alice.send("echo: hello");
    assert_eq!(alice.next_message(), "from echo: hello");
    alice.send("echo: heck");
    assert_eq!(alice.next_message(), "! rejected: mind your language (echo); not sent");
    alice.send("/say something");
    alice.expect_notice("something");
    alice.send("/plugins");
    alice.expect_notice("echo (embedded, message, mail, command): runs");
    alice.quit();
    server.stop();
    let database = rusqlite::Connection::open(server.data.path().join("holdline.db")).unwrap();
    let value = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    let stored: String = database.query_row("select value from value where key = 'alice'", [], value).unwrap();
    assert_eq!(stored, "\"something\"");
}

#[test]
fn embedded_plugin_that_hangs_is_skipped_after_its_timeout() {
    let server = Embedded::start(&[Hook::Message], |entry| entry.timeout = Duration::from_millis(100));
    let mut alice = server.login("alice");
    alice.send("alice: hang");
    assert_eq!(alice.next_message(), "from alice: hang");
    alice.send("/plugins");
    alice.expect_notice("echo (embedded, message): runs, 1 failure within 600 s");
}
