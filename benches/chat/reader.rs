//! Client that reads the messages of one sender, and the proof that each arrived once, in order and unchanged. Owns its
//! progress; never writes.

use std::cell::Cell;
use std::fmt;
use std::net::TcpStream;

use anyhow::{Result, ensure};
use smol::Async;

use crate::client::Client;
use crate::lines::Numbered;

/// Client, and the messages that it must get.
pub(crate) struct Reader {
    client: Client,
    /// Next message to arrive.
    expected: Numbered,
    /// Messages that arrived.
    received: u32,
    /// Messages that must arrive.
    messages: u32,
}

impl Reader {
    /// Creates a reader of this many messages, of which this is the first.
    pub(crate) fn new(client: Client, first: Numbered, messages: u32) -> Reader {
        Reader { client, expected: first, received: 0, messages }
    }

    /// The client.
    pub(crate) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Socket to wait for.
    pub(crate) fn socket(&self) -> Result<Async<TcpStream>> {
        self.client.socket()
    }

    /// Adds messages that must arrive.
    pub(crate) fn add(&mut self, messages: u32) {
        self.messages += messages;
    }

    /// Messages that must arrive, including those that did.
    pub(crate) fn messages(&self) -> u32 {
        self.messages
    }

    /// Messages that arrived.
    pub(crate) fn received(&self) -> u32 {
        self.received
    }

    /// Whether every message arrived.
    pub(crate) fn is_done(&self) -> bool {
        self.received == self.messages
    }

    /// Reads and verifies until nothing is there. Returns the number of messages.
    pub(crate) fn receive(&mut self) -> Result<u64> {
        let before = self.received;
        self.verify()?;
        while !self.is_done() && self.client.read()? {
            self.verify()?;
        }
        Ok(u64::from(self.received - before))
    }

    /// Reads and verifies until every message arrived, and counts them for all readers together.
    pub(crate) async fn receive_all(&mut self, socket: &Async<TcpStream>, arrived: &Cell<u64>) -> Result<()> {
        loop {
            arrived.set(arrived.get() + self.receive()?);
            if self.is_done() {
                return Ok(());
            }
            socket.readable().await?;
        }
    }

    /// Logs the client in first, then reads likewise.
    pub(crate) async fn log_in_and_receive_all(&mut self, arrived: &Cell<u64>) -> Result<()> {
        let socket = self.client.log_in().await?;
        self.receive_all(&socket, arrived).await
    }

    fn verify(&mut self) -> Result<()> {
        while let Some(line) = self.client.next_message()? {
            ensure!(
                self.received < self.messages && line == self.expected.line(),
                "a message is lost, doubled, out of order or changed, after {} of {}: expected \"{}\", got \"{}\"",
                self.received,
                self.messages,
                self.expected.line().escape_ascii(),
                line.escape_ascii(),
            );
            self.expected.count_up();
            self.received += 1;
        }
        Ok(())
    }
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has {} of {} messages", self.client.name(), self.received, self.messages)
    }
}
