//! Sender and receiver that exchange one message at a time, to time each. Owns both clients, and the proof that each
//! message arrived unchanged; never sends a second before the first is read.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::client::Client;
use crate::lines::Numbered;

/// Sender and receiver.
pub(crate) struct Probe {
    sender: Client,
    receiver: Client,
    /// Line that is written next.
    line: Numbered,
    /// Line that is read then.
    expected: Numbered,
}

impl Probe {
    /// Logs both in, by names that begin with this one.
    pub(crate) fn login(address: SocketAddr, name: &str) -> Result<Probe> {
        let clients = Client::login_all(address, [format!("{name}-s"), format!("{name}-r")])?;
        let [sender, receiver] = clients.try_into().ok().expect("one for each name");
        let line = Numbered::new(&format!("{}: ", receiver.name()), "one ", "\n");
        let expected = Numbered::new(&format!("from {}: ", sender.name()), "one ", "");
        Ok(Probe { sender, receiver, line, expected })
    }

    /// Sends a message and waits for it. Returns the time from its write to the end of its read.
    pub(crate) fn send_one(&mut self) -> Result<Duration> {
        let started = Instant::now();
        let written = self.sender.write(self.line.line())?;
        ensure!(written == self.line.line().len(), "{} could not write a line at once", self.sender.name());
        self.receiver.expect(self.expected.line())?;
        let elapsed = started.elapsed();
        self.line.count_up();
        self.expected.count_up();
        Ok(elapsed)
    }

    /// Fails if another message arrived, or one was refused.
    pub(crate) fn finish(mut self) -> Result<()> {
        Client::barrier([&mut self.sender, &mut self.receiver], "done")
    }
}
