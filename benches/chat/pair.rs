//! One sender and its receiver: the messages between them, and the proof that each arrived once, in order and unchanged.
//! Owns both clients and how far they are; never waits for a socket.

use std::fmt;
use std::net::{SocketAddr, TcpStream};

use anyhow::{Result, ensure};
use smol::Async;

use crate::client::Client;

/// Bytes of a text.
pub(crate) const TEXT_BYTES: usize = 64;

/// Digits of a message's number in its text.
const NUMBER_DIGITS: usize = 10;

/// Bytes that a sender has ready for one write.
const BLOCK_BYTES: usize = 64 * 1024;

/// Messages that a sender may be ahead of its receiver: fewer than holdline lets wait for one peer, and more than any
/// server routes for one pair while the sender is not looking.
const WINDOW_MESSAGES: u32 = 4000;

/// A sender, its receiver, and how far they are.
pub(crate) struct Pair {
    sender: Client,
    receiver: Client,
    load: Load,
    /// The next message to arrive.
    expected: Numbered,
    /// Messages that arrived.
    received: u32,
    /// Messages to send.
    messages: u32,
}

/// The lines of one sender, made a block at a time before they are written.
struct Load {
    next: Numbered,
    block: Vec<u8>,
    /// Bytes of the block that are written.
    written: usize,
    /// Lines made so far, those of the block among them.
    made: u32,
}

/// A line with a number in it that counts up in place.
struct Numbered {
    line: Vec<u8>,
    /// Where the number ends.
    number_end: usize,
}

impl Pair {
    /// All pairs, logged in.
    pub(crate) fn login_all(address: SocketAddr, pairs: usize, messages: u32) -> Result<Vec<Pair>> {
        let senders = Client::login_all(address, (0..pairs).map(|pair| format!("s{pair:02}")))?;
        let receivers = Client::login_all(address, (0..pairs).map(|pair| format!("r{pair:02}")))?;
        Ok(senders.into_iter().zip(receivers).map(|(sender, receiver)| Pair::new(sender, receiver, messages)).collect())
    }

    /// The sender's socket and the receiver's, to wait for. From then on neither blocks by itself.
    pub(crate) fn sockets(&self) -> Result<(Async<TcpStream>, Async<TcpStream>)> {
        Ok((self.sender.socket()?, self.receiver.socket()?))
    }

    /// Both clients.
    pub(crate) fn clients(&mut self) -> [&mut Client; 2] {
        [&mut self.sender, &mut self.receiver]
    }

    /// Whether every message arrived.
    pub(crate) fn is_done(&self) -> bool {
        self.received == self.messages
    }

    /// Writes until the socket takes no more; true where the window or the load ended first.
    pub(crate) fn send(&mut self) -> Result<bool> {
        let made_max = self.messages.min(self.received + WINDOW_MESSAGES);
        loop {
            let ready = self.load.ready(made_max);
            if ready.is_empty() {
                return Ok(true);
            }
            let written = self.sender.write(ready)?;
            if written == 0 {
                return Ok(false);
            }
            self.load.written += written;
        }
    }

    /// Reads and verifies until nothing is there, and says how many messages that were.
    pub(crate) fn receive(&mut self) -> Result<u64> {
        let before = self.received;
        while !self.is_done() && self.receiver.read()? {
            self.verify()?;
        }
        Ok(u64::from(self.received - before))
    }

    /// Fails with the words of the server if it refused a message.
    pub(crate) fn expect_no_refusal(&mut self) -> Result<()> {
        self.sender.expect_no_message()
    }

    fn new(sender: Client, receiver: Client, messages: u32) -> Pair {
        let text = format!("{} to {} ", sender.name(), receiver.name());
        let load = Load::new(Numbered::new(&format!("{}: ", receiver.name()), &text, "\n"));
        let expected = Numbered::new(&format!("from {}: ", sender.name()), &text, "");
        Pair { sender, receiver, load, expected, received: 0, messages }
    }

    fn verify(&mut self) -> Result<()> {
        while let Some(line) = self.receiver.next_message()? {
            ensure!(
                self.received < self.messages && line == self.expected.line,
                "a message is lost, doubled, out of order or changed, after {} of {}: expected \"{}\", got \"{}\"",
                self.received,
                self.messages,
                self.expected.line.escape_ascii(),
                line.escape_ascii(),
            );
            self.expected.count_up();
            self.received += 1;
        }
        Ok(())
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has {} of {} messages", self.receiver.name(), self.received, self.messages)
    }
}

impl Load {
    fn new(first: Numbered) -> Load {
        Load { next: first, block: Vec::new(), written: 0, made: 0 }
    }

    /// What is to be written next, as long as no more than `made_max` lines are made.
    fn ready(&mut self, made_max: u32) -> &[u8] {
        if self.written == self.block.len() {
            self.make_block(made_max);
        }
        &self.block[self.written..]
    }

    fn make_block(&mut self, made_max: u32) {
        self.block.clear();
        self.written = 0;
        while self.made < made_max && self.block.len() + self.next.line.len() <= BLOCK_BYTES {
            self.block.extend_from_slice(&self.next.line);
            self.next.count_up();
            self.made += 1;
        }
    }
}

impl Numbered {
    /// Between `before` and `end` a text of [`TEXT_BYTES`] that starts with `start`, goes on with the number 0 and is
    /// filled up.
    fn new(before: &str, start: &str, end: &str) -> Numbered {
        let mut text = format!("{start}{:0NUMBER_DIGITS$} ", 0);
        let number_end = before.len() + start.len() + NUMBER_DIGITS;
        text.extend(('a'..='z').cycle().take(TEXT_BYTES - text.len()));
        Numbered { line: format!("{before}{text}{end}").into_bytes(), number_end }
    }

    fn count_up(&mut self) {
        for digit in self.line[..self.number_end].iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
    }
}
