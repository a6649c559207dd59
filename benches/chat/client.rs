//! Client for every scenario: connects, logs in, and knows when the server has processed everything before. Owns login,
//! barrier and reading lines, the same for each contestant; never decides what is sent or expected.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use smol::Async;

/// Time without progress after which a message counts as lost.
pub(crate) const STALL: Duration = Duration::from_secs(10);

/// Connections that are opened before the first of them is read: fewer than any server's backlog.
const LOGINS_AT_ONCE: usize = 100;

/// Bytes of a client's buffer before its first line: thousands of idle clients are cheap for the benchmark, too.
const BUFFER_BYTES_MIN: usize = 512;

/// Bytes to which a client's buffer grows.
const BUFFER_BYTES_MAX: usize = 256 * 1024;

/// One logged-in connection.
pub(crate) struct Client {
    name: String,
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Part of the buffer that was read and not returned yet.
    unread: Range<usize>,
}

impl Client {
    /// Logs in one client for each name. Returns when all are logged in.
    pub(crate) fn login_all(address: SocketAddr, names: impl IntoIterator<Item = String>) -> Result<Vec<Client>> {
        let mut names = names.into_iter().peekable();
        let mut clients = Vec::new();
        while names.peek().is_some() {
            let first = clients.len();
            for name in names.by_ref().take(LOGINS_AT_ONCE) {
                clients.push(Client::connect(address, name)?);
            }
            Client::barrier(&mut clients[first..], "ready")?;
        }
        Ok(clients)
    }

    /// Starts to connect a client for each name, and waits for none of them: [`Client::log_in`] does.
    pub(crate) fn start_all(address: SocketAddr, names: impl IntoIterator<Item = String>) -> Result<Vec<Client>> {
        names.into_iter().map(|name| Client::start(address, name)).collect()
    }

    /// Waits until it is connected, logs in, and waits for holdline's greeting. Returns the socket for further waiting;
    /// lines that arrived with the greeting can be read before the first wait.
    pub(crate) async fn log_in(&mut self) -> Result<Async<TcpStream>> {
        let socket = self.socket()?;
        socket.writable().await?;
        if let Some(error) = self.stream.take_error()? {
            bail!("{} cannot connect: {error}", self.name);
        }
        self.say_name()?;
        let greeting = format!("* hello {},", self.name);
        loop {
            if let Some(line) = self.next_line() {
                ensure!(line.starts_with(greeting.as_bytes()), "not greeted: \"{}\"", line.escape_ascii());
                return Ok(socket);
            }
            socket.readable().await?;
            self.read()?;
        }
    }

    /// Returns when each client has received `word` from itself, and with it everything in flight to it. Fails on any
    /// other message.
    pub(crate) fn barrier<'a>(clients: impl IntoIterator<Item = &'a mut Client>, word: &str) -> Result<()> {
        let mut clients: Vec<_> = clients.into_iter().collect();
        for client in &mut clients {
            client.stream.set_nonblocking(false)?;
            let line = format!("{}: {word}\n", client.name);
            client.stream.write_all(line.as_bytes()).with_context(|| client.name.clone())?;
        }
        for client in clients {
            let expected = format!("from {}: {word}", client.name);
            client.expect(expected.as_bytes())?;
        }
        Ok(())
    }

    /// Name of the client.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Socket to wait for. From then on reads and writes do not block.
    pub(crate) fn socket(&self) -> Result<Async<TcpStream>> {
        Ok(Async::new(self.stream.try_clone()?)?)
    }

    /// Writes as much as the socket takes. Returns the number of bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match self.stream.write(bytes) {
            Ok(written) => Ok(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error).with_context(|| format!("{} cannot write", self.name)),
        }
    }

    /// Writes everything; only for a blocking socket.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).with_context(|| format!("{} cannot write", self.name))
    }

    /// Reads once. Returns false if there is nothing to read.
    pub(crate) fn read(&mut self) -> Result<bool> {
        self.make_room();
        match self.stream.read(&mut self.buffer[self.unread.end..]) {
            Ok(0) => bail!("the server closed the connection of {}", self.name),
            Ok(count) => self.unread.end += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).with_context(|| format!("{} cannot read", self.name)),
        }
        Ok(true)
    }

    /// Next message in the buffer. Skips notices; fails on a refusal.
    pub(crate) fn next_message(&mut self) -> Result<Option<&[u8]>> {
        while let Some(line) = self.next_line_range() {
            match &self.buffer[line.clone()] {
                [b'*', b' ', ..] => {}
                [b'!', b' ', ..] => bail!("{} was refused: {}", self.name, self.buffer[line].escape_ascii()),
                _ => return Ok(Some(&self.buffer[line])),
            }
        }
        Ok(None)
    }

    /// Next line of any kind in the buffer.
    pub(crate) fn next_line(&mut self) -> Option<&[u8]> {
        self.next_line_range().map(|line| &self.buffer[line])
    }

    /// Waits for the next message, which must be this one; only for a blocking socket.
    pub(crate) fn expect(&mut self, expected: &[u8]) -> Result<()> {
        loop {
            if let Some(line) = self.next_message()? {
                let (wanted, got) = (expected.escape_ascii(), line.escape_ascii());
                ensure!(line == expected, "expected \"{wanted}\", got \"{got}\"");
                return Ok(());
            }
            ensure!(self.read()?, "{} waited {STALL:?} for \"{}\"", self.name, expected.escape_ascii());
        }
    }

    /// Fails if the server refused something, or sent a message to a client that should get none.
    pub(crate) fn expect_no_message(&mut self) -> Result<()> {
        self.stream.set_nonblocking(true)?;
        while self.read()? {
            let line = self.next_message()?.map(|line| line.escape_ascii().to_string());
            ensure!(line.is_none(), "{} got a message that no client sent: {line:?}", self.name);
        }
        Ok(())
    }

    /// Connects and sends the login; the greeting remains unread.
    pub(crate) fn connect(address: SocketAddr, name: String) -> Result<Client> {
        let stream = TcpStream::connect(address).with_context(|| format!("{name} cannot connect"))?;
        stream.set_read_timeout(Some(STALL))?;
        stream.set_write_timeout(Some(STALL))?;
        let mut client = Client::new(name, stream)?;
        client.say_name()?;
        Ok(client)
    }

    fn start(address: SocketAddr, name: String) -> Result<Client> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        match net::connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => Client::new(name, TcpStream::from(socket)),
            Err(error) => Err(error).with_context(|| format!("{name} cannot connect")),
        }
    }

    fn new(name: String, stream: TcpStream) -> Result<Client> {
        stream.set_nodelay(true)?;
        Ok(Client { name, stream, buffer: Vec::new(), unread: 0..0 })
    }

    fn say_name(&mut self) -> Result<()> {
        let line = format!("{}\n", self.name);
        self.stream.write_all(line.as_bytes()).with_context(|| self.name.clone())
    }

    fn next_line_range(&mut self) -> Option<Range<usize>> {
        let length = memchr::memchr(b'\n', &self.buffer[self.unread.clone()])?;
        let line = self.unread.start..self.unread.start + length;
        self.unread.start = line.end + 1;
        Some(line)
    }

    /// Moves an unfinished line to the front; doubles a buffer that the last read filled.
    fn make_room(&mut self) {
        let full = self.unread.end == self.buffer.len();
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        if full && self.buffer.len() < BUFFER_BYTES_MAX {
            self.buffer.resize((self.buffer.len() * 2).max(BUFFER_BYTES_MIN), 0);
        }
        assert!(self.unread.end < self.buffer.len(), "{}: a line without an end", self.name);
    }
}
