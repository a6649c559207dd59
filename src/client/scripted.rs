//! A server for the tests of the clients that does what a test tells it, line by line. Owns its sockets; never knows a message.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Account, ServerAddress};
use crate::message::PeerName;

/// How long a script waits for a line; it only ends tests that fail.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a login gets.
pub(super) const WELCOME: &str = r#"{"type":"welcome","name":"alice","server":"a test","protocol":1,"waiting":0}"#;

/// A server that plays a script in a thread.
pub(super) struct Scripted {
    /// Whoever is to connect to it.
    pub(super) account: Account,
    thread: JoinHandle<()>,
}

impl Scripted {
    /// Plays this.
    pub(super) fn start(script: impl FnOnce(&TcpListener) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = ServerAddress::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        let account = Account { server, name: PeerName::parse("alice").unwrap(), password: None };
        Scripted { account, thread: thread::spawn(move || script(&listener)) }
    }

    /// Waits until the script is played to its end.
    pub(super) fn join(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// A client that has connected.
pub(super) struct Peer {
    output: TcpStream,
    input: BufReader<TcpStream>,
}

impl Peer {
    /// Accepts the next one.
    pub(super) fn accept(listener: &TcpListener) -> Self {
        let (output, _) = listener.accept().unwrap();
        output.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer { input: BufReader::new(output.try_clone().unwrap()), output }
    }

    /// Accepts the next one, and lets it in.
    pub(super) fn welcome(listener: &TcpListener) -> Self {
        let mut peer = Peer::accept(listener);
        peer.expect(r#"{"type":"login","name":"alice","acks":true}"#);
        peer.say(WELCOME);
        peer
    }

    /// The next line.
    pub(super) fn line(&mut self) -> String {
        let line = self.next_line();
        line.expect("the client has closed the connection")
    }

    /// The next line, unless the client has closed the connection.
    pub(super) fn next_line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.input.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.strip_suffix('\n').expect("a whole line").to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no line: {error}"),
        }
    }

    /// Reads exactly this line.
    #[track_caller]
    pub(super) fn expect(&mut self, line: &str) {
        assert_eq!(self.line(), line);
    }

    /// Writes a line.
    pub(super) fn say(&mut self, line: &str) {
        self.output.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}
