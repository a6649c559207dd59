//! Connections to a server that may die at any time, and the address of the current one. Owns sockets; a connection that
//! ends is not a failure here, one that stands still is.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with, sockopt};

/// Time that a client waits before it checks something else.
const TICK: Duration = Duration::from_millis(10);

/// Time that the server may read nothing, or reply nothing.
const PATIENCE: Duration = Duration::from_secs(20);

/// Current address of the server, and what its clients must do.
pub(crate) struct Reach {
    /// Number of the server's life, and its address. `None` while it is dead.
    server: Mutex<Option<(u32, SocketAddr)>>,
    /// Notified when that changes.
    changed: Condvar,
    is_writing_over: AtomicBool,
    is_reading_over: AtomicBool,
}

impl Reach {
    pub(crate) fn new() -> Self {
        let (is_writing_over, is_reading_over) = Default::default();
        Reach { server: Mutex::new(None), changed: Condvar::new(), is_writing_over, is_reading_over }
    }

    /// Notes that a new life begins.
    pub(crate) fn open(&self, life: u32, address: SocketAddr) {
        *self.server.lock().unwrap() = Some((life, address));
        self.changed.notify_all();
    }

    /// Notes that the life has ended.
    pub(crate) fn close(&self) {
        *self.server.lock().unwrap() = None;
    }

    pub(crate) fn end_writing(&self) {
        self.is_writing_over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn end_reading(&self) {
        self.is_reading_over.store(true, Ordering::Relaxed);
    }

    /// Whether senders must stop, once all of their messages have a pong.
    pub(crate) fn is_writing_over(&self) -> bool {
        self.is_writing_over.load(Ordering::Relaxed)
    }

    /// Whether all clients must stop.
    pub(crate) fn is_reading_over(&self) -> bool {
        self.is_reading_over.load(Ordering::Relaxed)
    }

    /// Ends everything when it is dropped.
    pub(crate) fn over_at_last(&self) -> impl Drop {
        OverAtLast(self)
    }

    /// Logs in as soon as a server greets. `None` when everything is over. With a number, the system holds about that
    /// many unread bytes.
    pub(crate) fn log_in(&self, name: &str, held_bytes: Option<usize>) -> Option<(u32, Connection)> {
        while !self.is_reading_over() {
            let before = *self.server.lock().unwrap();
            if let Some((life, address)) = before
                && let Ok(connection) = Connection::log_in(name, address, held_bytes)
                // The next server may get the same port.
                && *self.server.lock().unwrap() == before
            {
                return Some((life, connection));
            }
            self.wait_for_change(before);
        }
        None
    }

    /// Waits until the server is another one, for a while.
    fn wait_for_change(&self, before: Option<(u32, SocketAddr)>) {
        let server = self.server.lock().unwrap();
        drop(self.changed.wait_timeout_while(server, TICK, |server| *server == before).unwrap());
    }
}

struct OverAtLast<'r>(&'r Reach);

impl Drop for OverAtLast<'_> {
    fn drop(&mut self) {
        self.0.end_writing();
        self.0.end_reading();
    }
}

/// Logged-in connection.
pub(crate) struct Connection {
    input: BufReader<TcpStream>,
    /// Incomplete line.
    unfinished: Vec<u8>,
}

impl Connection {
    /// Connects, logs in, and reads the greeting.
    pub(crate) fn log_in(name: &str, address: SocketAddr, held_bytes: Option<usize>) -> io::Result<Self> {
        let stream = open(address, held_bytes)?;
        let mut connection = Connection { input: BufReader::new(stream), unfinished: Vec::new() };
        connection.write(format!("{name}\n").as_bytes())?;
        let greeting = connection.next_line()?;
        assert!(greeting.starts_with(&format!("* hello {name}")), "{name} was greeted with `{greeting}`");
        Ok(connection)
    }

    /// Writes everything.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.input.get_mut().write_all(bytes);
        assert!(!is_timeout(&written), "the server takes nothing any more");
        written
    }

    /// Reads a line, without its newline. Fails if the connection has ended; an incomplete line does not count.
    pub(crate) fn next_line(&mut self) -> io::Result<String> {
        let start = Instant::now();
        loop {
            if let Some(line) = self.line_within_a_tick()? {
                return Ok(line);
            }
            assert!(start.elapsed() < PATIENCE, "the server sends nothing any more");
        }
    }

    /// Reads a line, if it comes soon.
    pub(crate) fn line_within_a_tick(&mut self) -> io::Result<Option<String>> {
        let read = self.input.read_until(b'\n', &mut self.unfinished);
        if is_timeout(&read) {
            return Ok(None);
        }
        read?;
        if self.unfinished.pop() != Some(b'\n') {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(String::from_utf8(std::mem::take(&mut self.unfinished)).expect("lines are UTF-8")))
    }

    /// Ends the input; the server writes what it has, and closes.
    pub(crate) fn end_input(&self) {
        // The connection may have ended already.
        let _ = self.input.get_ref().shutdown(Shutdown::Write);
    }

    /// Breaks the connection: the server reads a reset, and unread bytes are lost.
    pub(crate) fn break_off(self) {
        sockopt::set_socket_linger(self.input.get_ref(), Some(Duration::ZERO)).expect("the linger time can be set");
    }
}

fn open(address: SocketAddr, held_bytes: Option<usize>) -> io::Result<TcpStream> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
    if let Some(bytes) = held_bytes {
        // Before it is connected: the window is agreed on then.
        sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
    }
    connect(&socket, &address)?;
    let stream = TcpStream::from(socket);
    // While no server listens there, a socket can connect to itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn is_timeout<T>(result: &io::Result<T>) -> bool {
    result.as_ref().is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}
