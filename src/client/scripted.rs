//! Server for the tests of the clients. It follows the script of a test, line by line. Owns its sockets; never parses a message.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::account::{Account, ServerAddress, ServerTrust};
use crate::message::PeerName;

/// Longest wait of a script for a line. Only a test that fails reaches it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reply to a login.
pub(super) const WELCOME: &str = r#"{"type":"welcome","name":"alice","server":"a test","protocol":1,"waiting":0}"#;

/// Server that runs a script in a thread.
pub(super) struct ScriptedServer {
    /// Account of the client that is tested.
    pub(super) account: Account,
    thread: JoinHandle<()>,
}

impl ScriptedServer {
    /// Starts a server that runs `script`.
    pub(super) fn start(script: impl FnOnce(&TcpListener) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = ServerAddress::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        let account = Account {
            server,
            name: PeerName::parse("alice").unwrap(),
            password: None,
            trust: ServerTrust::SystemRoots,
        };
        ScriptedServer { account, thread: thread::spawn(move || script(&listener)) }
    }

    /// Waits until the script has ended, and panics if it did.
    pub(super) fn join(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Connection of a client.
pub(super) struct ScriptedConnection {
    output: TcpStream,
    input: BufReader<TcpStream>,
}

impl ScriptedConnection {
    /// Accepts the next connection.
    pub(super) fn accept(listener: &TcpListener) -> Self {
        let (output, _) = listener.accept().unwrap();
        output.set_read_timeout(Some(PATIENCE)).unwrap();
        ScriptedConnection { input: BufReader::new(output.try_clone().unwrap()), output }
    }

    /// Accepts the next connection, and its login.
    pub(super) fn welcome(listener: &TcpListener) -> Self {
        let mut connection = ScriptedConnection::accept(listener);
        connection.expect(r#"{"type":"login","name":"alice","acks":true}"#);
        connection.say(WELCOME);
        connection
    }

    /// Reads the next line.
    pub(super) fn line(&mut self) -> String {
        let line = self.next_line();
        line.expect("the client keeps the connection open")
    }

    /// Reads the next line. Returns `None` if the client has closed the connection.
    pub(super) fn next_line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.input.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.strip_suffix('\n').expect("a line has an end").to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no line: {error}"),
        }
    }

    /// Reads a line and checks it.
    #[track_caller]
    pub(super) fn expect(&mut self, line: &str) {
        assert_eq!(self.line(), line);
    }

    /// Writes a line.
    pub(super) fn say(&mut self, line: &str) {
        self.output.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}
