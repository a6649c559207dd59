//! Connection of a client to a server: connecting, logging in, and lines in both directions. Owns the socket and its buffers; never knows
//! what the lines are for.

use std::io;
use std::mem;
use std::time::{Duration, Instant};

use smol::future;
use smol::io::{self as async_io, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use smol::net::TcpStream;

use super::account::{Account, ServerAddress};
use super::error::{ConnectionError, ConnectionLost, PermanentError, REPLY};
use super::stream::{OpenError, ServerStream};
use crate::limits::{CLIENT_LINE_BYTES_MAX, CLIENT_READ_BYTES, SERVER_REPLY_S_MAX, SLOW_REPLY_S_MAX};
use crate::message::{DatabaseId, quoted};
use crate::tcp_state;
use crate::timeout::{Elapsed, timeout_at};
use crate::wire::{ErrorFrame, RequestFrame, ServerFrame};

/// Longest wait for a reply of a server that shows life.
const SLOW_REPLY: Duration = Duration::from_secs(SLOW_REPLY_S_MAX);

/// Shortest time between two looks for signs of life.
const CHECK: Duration = Duration::from_secs(1);

/// A connection that is logged in.
pub(super) struct Connection {
    server: ServerAddress,
    /// Socket under the stream.
    socket: TcpStream,
    input: BufReader<ReadHalf<ServerStream>>,
    output: WriteHalf<ServerStream>,
    /// Beginning of the line that is being read.
    line: Vec<u8>,
    /// Requests that are not written yet.
    unwritten: Vec<u8>,
    /// Bytes of `unwritten` that are written already.
    written: usize,
    /// Whether something was written and not flushed.
    is_unflushed: bool,
}

/// State of the server at a login.
#[derive(Clone, Copy, Debug)]
pub(super) struct Welcome {
    /// Number of messages that wait for the peer.
    pub(super) waiting: u64,
    /// Identity of the server's database. `None`: the server is too old to say it.
    pub(super) database: Option<DatabaseId>,
    /// Newest message of the database.
    pub(super) newest: i64,
}

/// Event on a connection.
pub(super) enum ConnectionEvent {
    /// The server sent this line.
    Line(String),
    /// The system took all queued requests.
    Drained,
    /// The deadline passed.
    TimedOut,
}

impl Connection {
    /// Connects and logs in. A message counts as delivered only when the client acknowledges it. Calls `waiting` with what to tell a person
    /// if the server is slow.
    pub(super) async fn open(
        account: &Account,
        mut waiting: impl FnMut(&str),
    ) -> Result<(Self, Welcome), ConnectionError> {
        let mut connection = Connection::connect(account, Instant::now() + REPLY).await?;
        let mut wait = ReplyWait::new();
        let password = account.password.as_ref().map(|password| password.as_str());
        connection.queue(&RequestFrame::Login { name: account.name.as_str(), password, acks: true }.encode());
        loop {
            match connection.next(Some(wait.deadline())).await? {
                ConnectionEvent::Line(line) => match connection.parse(&line)? {
                    ServerFrame::Welcome { waiting, database, newest, .. } => {
                        let database = DatabaseId::parse(&database);
                        return Ok((connection, Welcome { waiting, database, newest }));
                    }
                    ServerFrame::Error { error, .. } => return Err(login_error(account, error)),
                    _ => {}
                },
                ConnectionEvent::Drained => {}
                ConnectionEvent::TimedOut => wait.continue_if_alive(&connection, &mut waiting)?,
            }
        }
    }

    async fn connect(account: &Account, deadline: Instant) -> Result<Self, ConnectionError> {
        let Account { server, trust, .. } = account;
        let opened = timeout_at(deadline, ServerStream::open(server, trust)).await;
        let stream = match opened.unwrap_or_else(|Elapsed| Err(OpenError::Io(io::ErrorKind::TimedOut.into()))) {
            Ok(stream) => stream,
            Err(OpenError::Io(error)) => return Err(ConnectionLost::Unreachable(server.clone(), error).into()),
            Err(OpenError::Untrusted(certificate)) => {
                return Err(PermanentError::Untrusted { server: server.clone(), certificate }.into());
            }
        };
        let socket = stream.socket();
        let (input, output) = async_io::split(stream);
        Ok(Connection {
            server: server.clone(),
            socket,
            input: BufReader::with_capacity(CLIENT_READ_BYTES, input),
            output,
            line: Vec::new(),
            unwritten: Vec::new(),
            written: 0,
            is_unflushed: false,
        })
    }

    /// Queues a line; [`next`](Self::next) writes it.
    pub(super) fn queue(&mut self, line: &str) {
        self.unwritten.extend_from_slice(line.as_bytes());
        self.unwritten.push(b'\n');
    }

    /// Whether the system took all that was queued.
    pub(super) fn is_drained(&self) -> bool {
        self.unwritten.is_empty()
    }

    /// Reads and writes until there is an event. The future may be dropped at any time; no byte is lost.
    pub(super) async fn next(&mut self, deadline: Option<Instant>) -> Result<ConnectionEvent, ConnectionError> {
        loop {
            let transfer = timeout_at(deadline, self.write_or_read()).await;
            let Ok(transfer) = transfer else { return Ok(ConnectionEvent::TimedOut) };
            match transfer.map_err(|error| self.broken(error))? {
                Transfer::Read => return self.finish_line().map(ConnectionEvent::Line),
                Transfer::Written(bytes) => {
                    self.written += bytes;
                    self.is_unflushed = true;
                }
                Transfer::Flushed => {
                    self.is_unflushed = false;
                    self.unwritten.clear();
                    self.written = 0;
                    return Ok(ConnectionEvent::Drained);
                }
            }
        }
    }

    /// Returns the next line if it was read together with the one before. Never waits.
    pub(super) async fn buffered_line(&mut self) -> Result<Option<String>, ConnectionError> {
        if memchr::memchr(b'\n', self.input.buffer()).is_none() {
            return Ok(None);
        }
        read_line(&mut self.input, &mut self.line).await.map_err(|error| self.broken(error))?;
        self.finish_line().map(Some)
    }

    /// Parses a line of the server.
    pub(super) fn parse<'l>(&self, line: &'l str) -> Result<ServerFrame<'l>, PermanentError> {
        ServerFrame::parse(line).ok_or_else(|| self.not_holdline(line))
    }

    /// Takes an error that concerns no single line for the end of the connection.
    pub(super) fn failed(&self, error: ErrorFrame) -> ConnectionError {
        if error.is_passing() {
            ConnectionLost::Reported(self.server.clone(), error).into()
        } else {
            PermanentError::Request(error).into()
        }
    }

    /// The server has not replied in time.
    pub(super) fn silent(&self) -> ConnectionError {
        ConnectionLost::Silent(self.server.clone()).into()
    }

    /// Writes first: what is queued is bounded, and a flood of messages may not be.
    async fn write_or_read(&mut self) -> io::Result<Transfer> {
        let Connection { input, output, line, unwritten, written, is_unflushed, .. } = self;
        let write = async {
            match &unwritten[*written..] {
                [] if *is_unflushed => output.flush().await.map(|()| Transfer::Flushed),
                [] => future::pending().await,
                bytes => output.write(bytes).await.map(Transfer::Written),
            }
        };
        let read = async {
            read_line(input, line).await?;
            Ok(Transfer::Read)
        };
        future::or(write, read).await
    }

    /// Takes the line that was read, without its end. Fails if the connection ended before the line did, or if no holdline server
    /// sends such a line.
    fn finish_line(&mut self) -> Result<String, ConnectionError> {
        let mut line = mem::take(&mut self.line);
        if line.pop_if(|last| *last == b'\n').is_none() {
            let is_too_long = line.len() > CLIENT_LINE_BYTES_MAX;
            return Err(if is_too_long {
                self.not_holdline(&String::from_utf8_lossy(&line)).into()
            } else {
                ConnectionLost::Closed(self.server.clone()).into()
            });
        }
        String::from_utf8(line).map_err(|error| self.not_holdline(&String::from_utf8_lossy(error.as_bytes())).into())
    }

    fn broken(&self, error: io::Error) -> ConnectionLost {
        ConnectionLost::Broken(self.server.clone(), error)
    }

    fn not_holdline(&self, sent: &str) -> PermanentError {
        PermanentError::NotHoldline { server: self.server.clone(), sent: quoted(sent) }
    }
}

/// Wait for the next line while a reply is due. It lasts as long as the other end shows life: one of the server's plugins may be slow, and a
/// repeated request would wait behind it again.
pub(super) struct ReplyWait {
    since: Instant,
    check_at: Instant,
    is_reported: bool,
}

impl ReplyWait {
    /// Starts with a request, or with the line before.
    pub(super) fn new() -> Self {
        let since = Instant::now();
        ReplyWait { since, check_at: since + REPLY, is_reported: false }
    }

    /// Returns when to call [`continue_if_alive`](Self::continue_if_alive).
    pub(super) fn deadline(&self) -> Instant {
        self.check_at
    }

    /// Continues to wait if the other end shows life, and says so once. Fails if the connection counts as lost.
    pub(super) fn continue_if_alive(
        &mut self,
        connection: &Connection,
        mut waiting: impl FnMut(&str),
    ) -> Result<(), ConnectionError> {
        let now = Instant::now();
        // A system that does not report the silence closes a dead connection itself.
        let silence = tcp_state::silence(&connection.socket).unwrap_or_default();
        if silence >= REPLY || now.duration_since(self.since) >= SLOW_REPLY {
            return Err(connection.silent());
        }
        self.check_at = now + (REPLY - silence).max(CHECK);
        if !mem::replace(&mut self.is_reported, true) {
            let server = &connection.server;
            waiting(&format!(
                "no reply for {SERVER_REPLY_S_MAX} s, but the server at {server} is still connected: it is busy, or one of its plugins is \
                 slow; waiting"
            ));
        }
        Ok(())
    }
}

/// Progress in one direction of the connection.
enum Transfer {
    /// A line was read, or as much of it as a line may have, or the server closed the connection.
    Read,
    /// Number of bytes that were written.
    Written(usize),
    /// All that was queued is written and flushed.
    Flushed,
}

/// Reads the rest of a line into `line`, which has a newline at its end then. It ends without one where the connection ends, or
/// where the line is too long. The future may be dropped at any time: what it has read is in `line`.
async fn read_line(input: &mut BufReader<ReadHalf<ServerStream>>, line: &mut Vec<u8>) -> io::Result<()> {
    let room = (CLIENT_LINE_BYTES_MAX + 1).saturating_sub(line.len());
    input.take(room as u64).read_until(b'\n', line).await?;
    Ok(())
}

fn login_error(account: &Account, error: ErrorFrame) -> ConnectionError {
    let server = account.server.clone();
    if error.is_passing() {
        ConnectionLost::Reported(server, error).into()
    } else {
        PermanentError::Login { server, name: account.name.clone(), error }.into()
    }
}
