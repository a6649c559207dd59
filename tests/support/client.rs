//! Client of plain lines. Owns a blocking socket and the lines read from it; never waits without a limit.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::lines::{flood_number, is_notice, past_message};
use super::server::TestServer;

/// Time limit for reading a line, and for the server to take one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Plain client whose failures say which line is missing.
pub(crate) struct TestClient {
    /// Name in failure messages.
    pub(crate) label: String,
    stream: TcpStream,
    input: BufReader<TcpStream>,
    /// Lines that were read while the client waited for something else.
    pending: VecDeque<String>,
}

/// Connects from this loopback address. To the server, each address of the loopback network is another host.
#[cfg(target_os = "linux")]
#[track_caller]
pub(crate) fn connect_from(address: &str, server: &TestServer) -> TcpStream {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

    let address: std::net::IpAddr = address.parse().expect("an address");
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("a socket");
    bind(&socket, &SocketAddr::from((address, 0))).expect("all of 127.0.0.0/8 is this host");
    connect(&socket, &server.address()).expect("the server listens");
    TcpStream::from(socket)
}

impl TestClient {
    /// Connects, and sends nothing.
    #[track_caller]
    pub(crate) fn connect(server: &TestServer) -> Self {
        Self::connect_to(server.address())
    }

    /// Connects to an address, and sends nothing.
    #[track_caller]
    pub(crate) fn connect_to(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("the server listens"))
    }

    /// Connects from this loopback address, and sends nothing.
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub(crate) fn connect_from(address: &str, server: &TestServer) -> Self {
        Self::over(connect_from(address, server))
    }

    /// Connects from this loopback address, logs in, and waits for the greeting.
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub(crate) fn login_from(address: &str, server: &TestServer, name: &str) -> Self {
        let mut client = Self::connect_from(address, server);
        client.log_in(name);
        client
    }

    /// Takes over an open connection.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout can be set");
        stream.set_nodelay(true).expect("the option can be set");
        let input = BufReader::new(stream.try_clone().expect("the socket can be cloned"));
        TestClient { label: "a client".to_owned(), stream, input, pending: VecDeque::new() }
    }

    /// Connects, logs in, and waits for the greeting.
    #[track_caller]
    pub(crate) fn login(server: &TestServer, name: &str) -> Self {
        let mut client = Self::connect(server);
        client.log_in(name);
        client
    }

    /// Logs in, and waits for the greeting.
    #[track_caller]
    pub(crate) fn log_in(&mut self, name: &str) {
        self.label = name.to_owned();
        self.send(name);
        let greeting = self.expect_line();
        assert!(greeting.starts_with("* "), "{name} expected a greeting, and read `{greeting}`");
    }

    /// Sends a line.
    #[track_caller]
    pub(crate) fn send(&mut self, line: &str) {
        self.send_bytes(format!("{line}\n").as_bytes());
    }

    /// Sends bytes.
    #[track_caller]
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        if let Err(error) = self.try_send_bytes(bytes) {
            panic!("{} could not send {} bytes: {error}", self.label, bytes.len());
        }
    }

    /// Sends bytes, as far as the server takes them.
    pub(crate) fn try_send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads a line, without its newline. `None` if the server has closed the connection.
    #[track_caller]
    pub(crate) fn next_line(&mut self) -> Option<String> {
        if let Some(line) = self.pending.pop_front() {
            return Some(line);
        }
        let mut line = Vec::new();
        match self.input.read_until(b'\n', &mut line) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("{} waited for a line: {error}", self.label),
        }
        let line = String::from_utf8(line).unwrap_or_else(|error| panic!("{} read {error}", self.label));
        match line.strip_suffix('\n') {
            Some(line) => Some(line.to_owned()),
            None => panic!("{} read a line without its end: `{line}`", self.label),
        }
    }

    /// Reads a line of any kind.
    #[track_caller]
    pub(crate) fn expect_line(&mut self) -> String {
        self.next_line().unwrap_or_else(|| panic!("the connection of {} was closed", self.label))
    }

    /// Reads a line that is not a notice.
    #[track_caller]
    pub(crate) fn next_message(&mut self) -> String {
        loop {
            let line = self.expect_line();
            if !is_notice(&line) {
                return line;
            }
        }
    }

    /// Waits for this line; only notices may come before it.
    #[track_caller]
    pub(crate) fn expect(&mut self, line: &str) {
        let next = self.next_message();
        assert_eq!(next, line, "{} read another line", self.label);
    }

    /// Waits for a notice that contains this text; only other notices may come before it.
    #[track_caller]
    pub(crate) fn expect_notice(&mut self, containing: &str) -> String {
        loop {
            let line = self.expect_line();
            assert!(is_notice(&line), "{} waited for a notice with `{containing}`, and read `{line}`", self.label);
            if line.contains(containing) {
                return line;
            }
        }
    }

    /// Waits for an error with this code; only notices may come before it.
    #[track_caller]
    pub(crate) fn expect_error(&mut self, code: &str) -> String {
        let line = self.next_message();
        assert!(line.starts_with(&format!("! {code}: ")), "{} waited for `! {code}: `, and read `{line}`", self.label);
        line
    }

    /// Waits until everything sent so far is processed. Returns the lines that came before the pong.
    #[track_caller]
    pub(crate) fn ping(&mut self) -> Vec<String> {
        static PINGS: AtomicU64 = AtomicU64::new(0);
        let token = format!("barrier-{}", PINGS.fetch_add(1, Ordering::Relaxed));
        self.send(&format!("/ping {token}"));
        let pong = format!("* pong {token}");
        let mut lines = Vec::new();
        loop {
            let line = self.expect_line();
            if line == pong {
                return lines;
            }
            lines.push(line);
        }
    }

    /// Waits as [`ping`](Self::ping) does, and leaves the lines unread, behind those that were read before.
    #[track_caller]
    pub(crate) fn sync(&mut self) {
        let before = std::mem::take(&mut self.pending);
        let read = self.ping();
        self.pending = before;
        self.pending.extend(read);
    }

    /// Reads one line from the socket, and leaves it unread, behind those that were read before.
    #[track_caller]
    pub(crate) fn read_ahead(&mut self) -> String {
        let before = std::mem::take(&mut self.pending);
        let line = self.expect_line();
        self.pending = before;
        self.pending.push_back(line.clone());
        line
    }

    /// Waits as [`ping`](Self::ping) does, and checks that only notices came.
    #[track_caller]
    pub(crate) fn expect_nothing(&mut self) {
        let lines = self.ping();
        let read: Vec<_> = lines.iter().filter(|line| !is_notice(line)).collect();
        assert!(read.is_empty(), "{} expected nothing, and read {read:?}", self.label);
    }

    /// Reads until the server has closed the connection. Returns the lines.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.next_line() {
            lines.push(line);
        }
        lines
    }

    /// Reads the remaining bytes until the server has closed the connection.
    #[track_caller]
    pub(crate) fn read_to_end(mut self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.pending.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect();
        match self.input.read_to_end(&mut bytes) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{} waited: {error}", self.label),
            _ => bytes,
        }
    }

    /// Leaves with `/quit`, and waits until the server has closed the connection.
    #[track_caller]
    pub(crate) fn quit(mut self) {
        self.send("/quit");
        self.expect_closed();
    }

    /// Ends the input as `nc -N` does; the server's side stays open.
    #[track_caller]
    pub(crate) fn shutdown_write(&self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// Breaks the connection, as a crash of the system does: the server reads a reset.
    pub(crate) fn reset(self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))
            .expect("the linger time can be set");
    }

    /// Whether the reply to `/who` contains this name.
    #[track_caller]
    pub(crate) fn is_online(&mut self, name: &str) -> bool {
        self.who().iter().any(|here| here == name)
    }

    /// Words of the reply to `/who`, including the names.
    #[track_caller]
    pub(crate) fn who(&mut self) -> Vec<String> {
        self.send("/who");
        let is_part = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        let lines = self.ping();
        let words = lines.iter().flat_map(|line| line.split(|c| !is_part(c)));
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    /// Lines of the reply to `/history`, each without its `* TIME `.
    #[track_caller]
    pub(crate) fn history(&mut self, arguments: &str) -> Vec<String> {
        self.send(&format!("/history {arguments}"));
        self.ping().iter().filter_map(|line| past_message(line)).map(str::to_owned).collect()
    }

    /// Reads messages of a [`flood`] until number `last`. Returns the numbers in the order read.
    #[track_caller]
    pub(crate) fn read_flood(&mut self, sender: &str, last: usize) -> Vec<usize> {
        let mut numbers = Vec::new();
        while numbers.last() != Some(&last) {
            let line = self.next_message();
            let number = flood_number(&line, sender);
            numbers.push(number.unwrap_or_else(|| panic!("{} read `{line}` in a flood", self.label)));
        }
        numbers
    }
}
