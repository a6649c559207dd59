//! One connection to a server: connecting, logging in, lines in both directions. Owns the socket and its buffers; never knows
//! what the lines are for.

use std::io;
use std::time::Instant;

use smol::future;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;

use super::account::{Account, ServerAddress};
use super::ended::{ANSWER, Ended, Lost, Refused};
use super::wire::{Answer, Refusal, Request};
use crate::limits::{CLIENT_LINE_BYTES_MAX, CLIENT_READ_BYTES};
use crate::message::quoted;
use crate::timeout::{Elapsed, timeout_at};

/// A connection that is logged in.
pub(super) struct Connection {
    server: ServerAddress,
    /// The side that is read.
    input: TcpStream,
    /// The same socket's side that is written.
    output: TcpStream,
    /// What was read and not yet handed out.
    read: Vec<u8>,
    /// Bytes of it that were handed out already.
    taken: usize,
    /// Bytes of it that hold no end of a line.
    searched: usize,
    /// What is to be written.
    unwritten: Vec<u8>,
    /// Bytes of it that are written already.
    written: usize,
}

/// What happened on a connection.
pub(super) enum Event {
    /// The server sent this line.
    Line(String),
    /// The system took all that was queued.
    Drained,
    /// It became too late.
    TimedOut,
}

impl Connection {
    /// Connects and logs in, and says how many messages wait. Nothing that comes counts as delivered until it is acknowledged.
    pub(super) async fn open(account: &Account) -> Result<(Self, u64), Ended> {
        let until = Instant::now() + ANSWER;
        let mut connection = Connection::connect(&account.server, until).await?;
        let password = account.password.as_ref().map(|password| password.as_str());
        connection.queue(&Request::Login { name: account.name.as_str(), password, acks: true }.encode());
        loop {
            match connection.next(Some(until)).await? {
                Event::Line(line) => match connection.understand(&line)? {
                    Answer::Welcome { waiting } => return Ok((connection, waiting)),
                    Answer::Error { refusal, .. } => return Err(refused_login(account, refusal)),
                    _ => {}
                },
                Event::Drained => {}
                Event::TimedOut => return Err(Lost::Silent(account.server.clone()).into()),
            }
        }
    }

    async fn connect(server: &ServerAddress, until: Instant) -> Result<Self, Lost> {
        let connected = timeout_at(until, TcpStream::connect(server.as_str())).await;
        let connected = connected.unwrap_or_else(|Elapsed| Err(io::ErrorKind::TimedOut.into()));
        let input = connected.map_err(|error| Lost::Unreachable(server.clone(), error))?;
        // A line goes out at once, whether or not the one before it is acknowledged.
        input.set_nodelay(true).map_err(|error| Lost::Broken(server.clone(), error))?;
        Ok(Connection {
            server: server.clone(),
            output: input.clone(),
            input,
            read: Vec::new(),
            taken: 0,
            searched: 0,
            unwritten: Vec::new(),
            written: 0,
        })
    }

    /// Adds a line to what is to be written; [`next`](Self::next) writes it.
    pub(super) fn queue(&mut self, line: &str) {
        self.unwritten.extend_from_slice(line.as_bytes());
        self.unwritten.push(b'\n');
    }

    /// Whether the system took all that was queued.
    pub(super) fn is_drained(&self) -> bool {
        self.unwritten.is_empty()
    }

    /// Reads and writes until something happened. It may be given up at any time, and nothing is lost.
    pub(super) async fn next(&mut self, until: Option<Instant>) -> Result<Event, Ended> {
        loop {
            if let Some(line) = self.take_line()? {
                return Ok(Event::Line(line));
            }
            let Ok(moved) = timeout_at(until, self.write_or_read()).await else { return Ok(Event::TimedOut) };
            match moved.map_err(|error| Lost::Broken(self.server.clone(), error))? {
                Moved::In(0) => return Err(Lost::Closed(self.server.clone()).into()),
                Moved::In(_) => {}
                Moved::Out(bytes) => {
                    self.written += bytes;
                    if self.written == self.unwritten.len() {
                        self.unwritten.clear();
                        self.written = 0;
                        return Ok(Event::Drained);
                    }
                }
            }
        }
    }

    /// A line that has been read already.
    pub(super) fn take_line(&mut self) -> Result<Option<String>, Ended> {
        let unsearched = &self.read[self.searched..];
        let Some(end) = memchr::memchr(b'\n', unsearched).map(|end| self.searched + end) else {
            self.searched = self.read.len();
            if self.read.len() - self.taken > CLIENT_LINE_BYTES_MAX {
                return Err(self.stranger(&String::from_utf8_lossy(&self.read[self.taken..])).into());
            }
            self.read.drain(..self.taken);
            self.searched -= self.taken;
            self.taken = 0;
            return Ok(None);
        };
        let line = &self.read[self.taken..end];
        let Ok(line) = str::from_utf8(line) else {
            return Err(self.stranger(&String::from_utf8_lossy(line)).into());
        };
        let line = line.to_owned();
        self.taken = end + 1;
        self.searched = end + 1;
        Ok(Some(line))
    }

    /// What a line says.
    pub(super) fn understand(&self, line: &str) -> Result<Answer, Refused> {
        Answer::parse(line).ok_or_else(|| self.stranger(line))
    }

    /// Takes an error that is about no single line for the end of the connection.
    pub(super) fn refused(&self, refusal: Refusal) -> Ended {
        if refusal.is_passing() {
            Lost::Told(self.server.clone(), refusal).into()
        } else {
            Refused::Request(refusal).into()
        }
    }

    /// The server has not answered in time.
    pub(super) fn silent(&self) -> Ended {
        Lost::Silent(self.server.clone()).into()
    }

    /// Writing comes first: it ends, as what is queued is bounded, and a flood of messages may not.
    async fn write_or_read(&mut self) -> io::Result<Moved> {
        let Connection { input, output, read, unwritten, written, .. } = self;
        let write = async {
            match &unwritten[*written..] {
                [] => future::pending().await,
                bytes => output.write(bytes).await.map(Moved::Out),
            }
        };
        let read = async {
            let mut chunk = [0; CLIENT_READ_BYTES];
            let bytes = input.read(&mut chunk).await?;
            read.extend_from_slice(&chunk[..bytes]);
            Ok(Moved::In(bytes))
        };
        future::or(write, read).await
    }

    fn stranger(&self, said: &str) -> Refused {
        Refused::Stranger { server: self.server.clone(), said: quoted(said) }
    }
}

/// Bytes that moved.
enum Moved {
    In(usize),
    Out(usize),
}

fn refused_login(account: &Account, refusal: Refusal) -> Ended {
    let server = account.server.clone();
    if refusal.is_passing() {
        Lost::Told(server, refusal).into()
    } else {
        Refused::Login { server, name: account.name.clone(), refusal }.into()
    }
}
