//! Rows that somebody wrote by hand: whatever they contain, the server starts, stops, and serves everybody whom they do not name; and
//! the commands that read the database come to an end. Owns a sound database, to which the statements are applied; never what becomes
//! of the peers that they name.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use holdline::archive::{Backup, LogReader, ReadError, Selection, examine};
use holdline::config::{Config, Durability, Retention};
use holdline::message::{Destination, PeerName, Seq};
use holdline::plugin::{Answer, Call, Failure, Hook, Pending, Plugin, PluginConfig};
use holdline::server::{Server, Stopper};
use rusqlite::Connection;
use tempfile::TempDir;

/// How long a server may take to write the next line. It only ends checks that fail.
const PATIENCE: Duration = Duration::from_secs(20);

/// Statements of an input, which are one line each. Others are skipped: what is in the schema itself is not a row.
const STATEMENTS: [&str; 4] = ["insert", "update", "delete", "replace"];

/// Peers of the sound database.
const NAMED: [&str; 3] = ["alice", "bob", "carol"];

/// Applies the statements of an input to a sound database, and uses it.
pub(crate) fn check(input: &[u8]) {
    let home = tempfile::tempdir().expect("a temporary directory");
    let data = home.path().join("data");
    fs::create_dir(&data).expect("a directory");
    fs::write(data.join("holdline.db"), sound()).expect("a database");
    apply(&data.join("holdline.db"), input);
    commands(&data);
    for _ in 0..2 {
        let mut server = Running::start(&data);
        witnesses(server.address);
        for name in NAMED {
            named(server.address, name);
        }
        witnesses(server.address);
        commands(&data);
        server.stop();
    }
}

/// Returns the tables of a sound database with their columns.
pub(crate) fn columns() -> Vec<(String, String)> {
    let home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().join("holdline.db");
    fs::write(&path, sound()).expect("a database");
    let database = Connection::open(path).expect("the database can be opened");
    let sql = "select sqlite_schema.name, info.name from sqlite_schema, pragma_table_info(sqlite_schema.name) as info
               where sqlite_schema.type = 'table' and sqlite_schema.name <> 'sqlite_sequence'";
    let mut statement = database.prepare(sql).expect("valid SQL");
    let columns = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("tables");
    columns.collect::<Result<_, _>>().expect("names")
}

fn apply(path: &Path, input: &[u8]) {
    let database = Connection::open(path).expect("the database can be opened");
    for line in String::from_utf8_lossy(input).lines() {
        let word = line.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        if STATEMENTS.contains(&&*word) {
            // Most inputs of a fuzzer are no SQL.
            let _ = database.execute_batch(line);
        }
    }
    let _ = database.pragma_update(None, "journal_mode", "delete");
}

/// Runs what `history`, `search`, `doctor` and `backup` run. Each may fail, with an error.
fn commands(data: &Path) {
    examine(data);
    let nobody = PeerName::parse("alice").map(Destination::Peer).ok();
    let room = Destination::parse("#tea").ok();
    for with in [None, nobody, room] {
        let selection = Selection { with, before: Seq::MAX, count: 10 };
        let reader = || LogReader::open(data);
        let _ = reader().and_then(|log| log.history(&selection, |_| Ok::<_, ReadError>(())));
        let _ = reader().and_then(|log| log.search("tea", &selection, |_| Ok::<_, ReadError>(())));
    }
    let copy = data.with_file_name("copy.db");
    let _ = Backup::prepare(data, &copy).and_then(Backup::make);
    let _ = fs::remove_file(copy);
}

/// Two peers who have nothing to do with the rows: everything works for them.
fn witnesses(server: SocketAddr) {
    let mut one = Client::connect(server, "witness-one").expect("a login");
    let mut other = Client::connect(server, "witness-two").expect("a login");
    for (client, lines) in [(&mut one, ["/join #witnesses", "/who"]), (&mut other, ["/join #witnesses", "/who"])] {
        let answers = client.ask(&lines).expect("an answer");
        assert!(answers.iter().all(|line| !line.starts_with("! ")), "{answers:?}");
    }
    let answers =
        one.ask(&["witness-two: hello", "#witnesses: all", "/history 2", "/search hello"]).expect("an answer");
    assert!(answers.iter().any(|line| line.contains("to witness-two: hello")), "{answers:?}");
    let received = other.ask(&["/history witness-one 1"]).expect("an answer");
    for expected in ["from witness-one: hello", "from witness-one in #witnesses: all"] {
        assert!(received.iter().any(|line| line == expected), "{expected:?} is not in {received:?}");
    }
}

/// A peer whom the rows may name: each line is answered, or the connection ends.
fn named(server: SocketAddr, name: &str) {
    let Some(mut client) = Client::connect(server, name) else { return };
    let lines = [
        "/who",
        "/history",
        "/history alice 5",
        "/history #tea",
        "/search tea",
        "/join #tea",
        "alice, bob, #tea: more tea",
        "/topic #tea",
        "/leave #tea",
    ];
    client.ask(&lines);
    if let Some(mut program) = Client::open(server) {
        program.write(&format!(
            "{{\"type\":\"login\",\"name\":\"{name}\",\"acks\":true}}\n\
             {{\"type\":\"send\",\"id\":\"1\",\"to\":[\"bob\"],\"text\":\"tea\"}}\n\
             {{\"type\":\"history\",\"id\":\"h\",\"before\":9223372036854775807}}\n\
             {{\"type\":\"ack\",\"seq\":9223372036854775807}}\n"
        ));
        program.until_pong("{\"type\":\"ping\",\"id\":\"p\"}\n", |line| line == "{\"type\":\"pong\",\"id\":\"p\"}");
    }
}

/// Returns the bytes of a database with a row in each table.
fn sound() -> &'static [u8] {
    static SOUND: OnceLock<Vec<u8>> = OnceLock::new();
    SOUND.get_or_init(make_sound)
}

fn make_sound() -> Vec<u8> {
    let home = tempfile::tempdir().expect("a temporary directory");
    let data = home.path().join("data");
    let mut server = Running::without_observer(&data);
    let mut alice = Client::connect(server.address, "alice").expect("a login");
    let mut bob = Client::connect(server.address, "bob").expect("a login");
    bob.ask(&["/join #tea"]).expect("an answer");
    alice.ask(&["/join #tea", "/topic #tea at four", "#tea: the tea", "bob, carol: tea"]).expect("an answer");
    alice.ask(&["carol: more", "carol: and more", "/search tea"]).expect("an answer");
    bob.ask(&["alice, carol: thanks"]).expect("an answer");
    let mut program = Client::open(server.address).expect("a connection");
    program.write(
        "{\"type\":\"login\",\"name\":\"alice\"}\n{\"type\":\"send\",\"id\":\"1\",\"to\":[\"bob\"],\"text\":\"tea\"}\n",
    );
    program
        .until_pong("{\"type\":\"ping\",\"id\":\"p\"}\n", |line| line == "{\"type\":\"pong\",\"id\":\"p\"}")
        .expect("a pong");
    drop((alice, bob, program));
    server.stop();
    Running::start(&data).stop();
    let path = data.join("holdline.db");
    let database = Connection::open(&path).expect("the database can be opened");
    let rows = "insert into event (at, kind, peer, seq) values (1, 'join', 1, 1), (1, 'delivered', 2, 1);
                insert into value select id, 'key', '1' from peer where name = 'observer';
                insert into outbox_refused values ('2026-01-01T00:00:00.000Z', 'a', 'b', 'c', 'd');
                update observer set seq = 1, event = 0;
                pragma journal_mode = delete;";
    database.execute_batch(rows).expect("rows");
    drop(database);
    fs::read(path).expect("the database can be read")
}

/// Observer of everything.
struct Observer;

impl Plugin for Observer {
    fn call(&self, _: Call) -> Pending<'_, Result<Answer, Failure>> {
        Box::pin(async { Ok(Answer::default()) })
    }
}

/// Server in this process, with retention and an observer.
struct Running {
    address: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
    _home: TempDir,
}

impl Running {
    fn start(data: &Path) -> Running {
        let (mut server, home) = Running::bound(data);
        let name = PeerName::parse("observer").expect("a name");
        let hooks = [Hook::Logged, Hook::Join, Hook::Leave, Hook::Delivered, Hook::Start];
        server.add_plugin(PluginConfig::embedded(name, &hooks), Box::new(Observer));
        Running::of(server, home)
    }

    fn without_observer(data: &Path) -> Running {
        let (server, home) = Running::bound(data);
        Running::of(server, home)
    }

    fn bound(data: &Path) -> (Server, TempDir) {
        let home = tempfile::tempdir().expect("a temporary directory");
        let config = Config {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            data: data.to_owned(),
            plugins: home.path().join("plugins.toml"),
            durability: Durability::Crash,
            // Nothing that the witnesses write is so old.
            retention: Retention { max_age: Some(Duration::from_secs(3600)), max_size_bytes: None },
            ..Config::default()
        };
        (Server::bind(&config).expect("no row keeps the server from starting"), home)
    }

    fn of(server: Server, home: TempDir) -> Running {
        let (address, stopper) = (server.addresses()[0], server.stopper());
        Running { address, stopper, thread: Some(thread::spawn(move || server.run().unwrap())), _home: home }
    }

    fn stop(&mut self) {
        self.stopper.stop();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_some_and(|ended| ended.is_ok()), "the server panicked");
    }
}

/// Connection of a client that writes lines.
struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    fn open(server: SocketAddr) -> Option<Client> {
        let stream = TcpStream::connect(server).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let reader = BufReader::new(stream.try_clone().ok()?);
        Some(Client { stream, reader })
    }

    /// Logs in. `None`: the server ended the connection.
    fn connect(server: SocketAddr, name: &str) -> Option<Client> {
        let mut client = Client::open(server)?;
        client.write(&format!("{name}\n"));
        client.ask(&[])?;
        Some(client)
    }

    /// Writes to the server, which may have ended the connection.
    fn write(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes());
    }

    /// Returns what the server writes until these lines are processed. `None`: it ended the connection.
    fn ask(&mut self, lines: &[&str]) -> Option<Vec<String>> {
        for line in lines {
            self.write(&format!("{line}\n"));
        }
        self.until_pong("/ping done\n", |line| line == "* pong done" || line.starts_with("! not_logged_in"))
    }

    fn until_pong(&mut self, ping: &str, is_pong: impl Fn(&str) -> bool) -> Option<Vec<String>> {
        self.write(ping);
        let mut answers = Vec::new();
        loop {
            let mut line = String::new();
            match self.reader.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) if is_pong(line.trim_end()) => return Some(answers),
                Ok(_) => answers.push(line.trim_end().to_owned()),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no answer ({error}) after {answers:?}"),
            }
        }
    }
}
