//! Sender and receiver, and the messages between them. Owns both clients and how far the sender may be ahead; never
//! waits for a socket.

use std::fmt;
use std::net::{SocketAddr, TcpStream};

use anyhow::Result;
use smol::Async;

use crate::client::Client;
use crate::lines::{Lines, Numbered, TEXT_BYTES};
use crate::reader::Reader;

/// Pairs of a sender and a receiver in the throughput scenarios.
pub(crate) const PAIRS: usize = 50;

/// Messages that a sender may be ahead of its receiver: fewer than holdline lets wait for one peer, and more than any
/// server routes for one pair while the sender is not polling.
const WINDOW_MESSAGES: u32 = 4000;

/// Bytes of texts that it may be ahead, so that large messages do not exceed what a server writes at once.
const WINDOW_BYTES: u32 = WINDOW_MESSAGES * TEXT_BYTES as u32;

/// Load of the pairs of a run.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    /// Number of pairs.
    pub(crate) pairs: usize,
    /// Messages that each sender sends.
    pub(crate) messages: u32,
    /// Bytes of each text.
    pub(crate) text_bytes: usize,
}

/// Sender and receiver, with their progress.
pub(crate) struct Pair {
    sender: Client,
    receiver: Reader,
    lines: Lines,
    /// Messages that the sender may be ahead.
    window_messages: u32,
}

impl Load {
    /// Load with texts of the usual size.
    pub(crate) fn new(pairs: usize, messages: u32) -> Load {
        Load { pairs, messages, text_bytes: TEXT_BYTES }
    }

    /// Messages of all pairs.
    pub(crate) fn messages_of_all(&self) -> f64 {
        self.pairs as f64 * f64::from(self.messages)
    }

    fn window_messages(&self) -> u32 {
        WINDOW_MESSAGES.min(WINDOW_BYTES / self.text_bytes as u32)
    }
}

impl Pair {
    /// Logs in this many pairs, each for this many messages.
    pub(crate) fn login_all(address: SocketAddr, pairs: usize, messages: u32) -> Result<Vec<Pair>> {
        Pair::login_load(address, Load::new(pairs, messages))
    }

    /// Logs in the pairs of any load.
    pub(crate) fn login_load(address: SocketAddr, load: Load) -> Result<Vec<Pair>> {
        let senders = Client::login_all(address, (0..load.pairs).map(|pair| format!("s{pair:02}")))?;
        let receivers = Client::login_all(address, (0..load.pairs).map(|pair| format!("r{pair:02}")))?;
        Ok(senders.into_iter().zip(receivers).map(|(sender, receiver)| Pair::new(sender, receiver, load)).collect())
    }

    /// Sockets of the sender and the receiver, to wait for. From then on neither blocks.
    pub(crate) fn sockets(&self) -> Result<(Async<TcpStream>, Async<TcpStream>)> {
        Ok((self.sender.socket()?, self.receiver.socket()?))
    }

    /// Both clients.
    pub(crate) fn clients(&mut self) -> [&mut Client; 2] {
        [&mut self.sender, self.receiver.client()]
    }

    /// Adds messages to send.
    pub(crate) fn add(&mut self, messages: u32) {
        self.receiver.add(messages);
    }

    /// Whether every message arrived.
    pub(crate) fn is_done(&self) -> bool {
        self.receiver.is_done()
    }

    /// Writes until the socket takes no more. Returns true if the window or the load ended first.
    pub(crate) fn send(&mut self) -> Result<bool> {
        let made_max = self.receiver.messages().min(self.receiver.received() + self.window_messages);
        self.lines.write_to(&mut self.sender, made_max)
    }

    /// Reads and verifies until nothing is there. Returns the number of messages.
    pub(crate) fn receive(&mut self) -> Result<u64> {
        self.receiver.receive()
    }

    /// Fails with the server's text if it refused a message.
    pub(crate) fn expect_no_refusal(&mut self) -> Result<()> {
        self.sender.expect_no_message()
    }

    fn new(sender: Client, receiver: Client, load: Load) -> Pair {
        // A small text has room for the number only.
        let text = match load.text_bytes < TEXT_BYTES {
            true => String::new(),
            false => format!("{} to {} ", sender.name(), receiver.name()),
        };
        let lines = Numbered::sized(&format!("{}: ", receiver.name()), &text, load.text_bytes, "\n");
        let expected = Numbered::sized(&format!("from {}: ", sender.name()), &text, load.text_bytes, "");
        let receiver = Reader::new(receiver, expected, load.messages);
        Pair { sender, receiver, lines: Lines::new(lines), window_messages: load.window_messages() }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.receiver.fmt(f)
    }
}
