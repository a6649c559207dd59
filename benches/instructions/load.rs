//! Loads, a function each, the same in every run. Owns the clients and what they expect; never counts.
//!
//! A count is repeatable only if what the server meets is. So a load goes step by step: the server is idle before the
//! next step begins. And where a step is small, a reader gets so few messages that its system acknowledges each at once,
//! as Linux does at first: otherwise it would be chance whether the server finds a later one acknowledged at its first
//! poll or its second.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::server::Server;

/// Load, and the lengths in which it runs.
pub(crate) struct Scenario {
    /// Name for `--only`, the tables and the saved counts.
    pub(crate) name: &'static str,
    /// Unit by which the instructions are divided.
    pub(crate) unit: &'static str,
    /// Steps of the short run.
    pub(crate) steps_short: usize,
    /// Steps of the long run. The write-ahead log is checkpointed in neither: that would count in one of them only.
    pub(crate) steps_long: usize,
    /// Messages, or deliveries, of a step.
    pub(crate) messages_per_step: usize,
    /// Prepares this many steps; not counted.
    pub(crate) prepare: Option<Load>,
    /// Runs this many steps; counted.
    pub(crate) run: Load,
}

/// Function that runs steps of a load.
type Load = fn(&Server, usize) -> Result<()>;

/// Every scenario, in the order in which they run.
pub(crate) const SCENARIOS: &[Scenario] = &[
    // One message at a time, as people write.
    Scenario {
        name: "chat",
        unit: "message",
        steps_short: 4 * ACKNOWLEDGED_AT_ONCE,
        steps_long: 20 * ACKNOWLEDGED_AT_ONCE,
        messages_per_step: 1,
        prepare: None,
        run: chat,
    },
    // Many at a time to one reader, as scripts write.
    Scenario {
        name: "batch",
        unit: "message",
        steps_short: 4,
        steps_long: 20,
        messages_per_step: BATCH_MESSAGES,
        prepare: None,
        run: batch,
    },
    // One message at a time to many readers.
    Scenario {
        name: "fan-out",
        unit: "delivery",
        steps_short: 4,
        steps_long: ACKNOWLEDGED_AT_ONCE,
        messages_per_step: READERS,
        prepare: None,
        run: fan_out,
    },
    // Many at a time to an offline peer.
    Scenario {
        name: "kept",
        unit: "message",
        steps_short: 4,
        steps_long: 20,
        messages_per_step: BATCH_MESSAGES,
        prepare: None,
        run: keep,
    },
    // Stored messages, at the login of their recipient.
    Scenario {
        name: "replay",
        unit: "message",
        steps_short: 4,
        steps_long: 20,
        messages_per_step: BATCH_MESSAGES,
        prepare: Some(keep),
        run: replay,
    },
];

/// Messages of a batch: in one write, and in one read of the server.
const BATCH_MESSAGES: usize = 512;

/// Readers of a fan-out, and of a chat one after the other.
const READERS: usize = 50;

/// Messages to a new connection that Linux acknowledges at once: TCP_MAX_QUICKACKS is 16, and the greeting was one.
const ACKNOWLEDGED_AT_ONCE: usize = 14;

/// Text of each message: 64 bytes.
const TEXT: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Time between the arrival of a message and its reading: one that is just being read is acknowledged later.
const READING_DELAY: Duration = Duration::from_millis(1);

/// Time without a line after which one counts as lost: the server is slow under valgrind.
const STALL: Duration = Duration::from_secs(30);

fn chat(server: &Server, steps: usize) -> Result<()> {
    let mut alice = log_in(server, "alice")?;
    let names = reader_names();
    let readers = log_in_all(server, &names)?;
    for step in 0..steps {
        let reader = step / ACKNOWLEDGED_AT_ONCE;
        alice.write_all(format!("{}: {TEXT}\n", names[reader]).as_bytes())?;
        readers[reader].expect_messages(1)?;
        server.settle()?;
    }
    Ok(())
}

fn batch(server: &Server, steps: usize) -> Result<()> {
    let mut alice = log_in(server, "alice")?;
    let bob = Reader::log_in(server, "bob")?;
    let lines = format!("bob: {TEXT}\n").repeat(BATCH_MESSAGES);
    for _ in 0..steps {
        alice.write_all(lines.as_bytes())?;
        bob.expect_messages(BATCH_MESSAGES)?;
        server.settle()?;
    }
    Ok(())
}

fn fan_out(server: &Server, steps: usize) -> Result<()> {
    let mut alice = log_in(server, "alice")?;
    let names = reader_names();
    let readers = log_in_all(server, &names)?;
    let line = format!("{}: {TEXT}\n", names.join(", "));
    for _ in 0..steps {
        alice.write_all(line.as_bytes())?;
        readers.iter().try_for_each(|reader| reader.expect_messages(1))?;
        server.settle()?;
    }
    Ok(())
}

fn keep(server: &Server, steps: usize) -> Result<()> {
    let alice = Reader::log_in(server, "alice")?;
    let lines = format!("bob: {TEXT}\n").repeat(BATCH_MESSAGES) + "/ping\n";
    for _ in 0..steps {
        (&alice.stream).write_all(lines.as_bytes())?;
        // Once for each read of the server, of which the first are small.
        let mut line = alice.next_line()?;
        while line.ends_with("kept for later") {
            line = alice.next_line()?;
        }
        ensure!(line == "* pong", "a line that was not expected: {line:?}");
        server.settle()?;
    }
    Ok(())
}

fn replay(server: &Server, steps: usize) -> Result<()> {
    let bob = Reader::log_in(server, "bob")?;
    bob.expect_messages(steps * BATCH_MESSAGES)?;
    server.settle()
}

fn reader_names() -> Vec<String> {
    (0..READERS).map(|reader| format!("reader{reader:02}")).collect()
}

fn log_in_all(server: &Server, names: &[String]) -> Result<Vec<Reader>> {
    names.iter().map(|name| Reader::log_in(server, name)).collect()
}

/// Client that only writes.
fn log_in(server: &Server, name: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(server.address())?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("{name}\n").as_bytes())?;
    server.settle()?;
    Ok(stream)
}

/// Client that reads, in a thread of its own.
struct Reader {
    stream: TcpStream,
    lines: Receiver<String>,
}

impl Reader {
    fn log_in(server: &Server, name: &str) -> Result<Reader> {
        let stream = log_in(server, name)?;
        let (sender, lines) = mpsc::sync_channel(BATCH_MESSAGES);
        let reading = stream.try_clone()?;
        thread::spawn(move || read_lines(reading, sender));
        let reader = Reader { stream, lines };
        reader.expect_lines(1, |line| line.starts_with("* hello "))?;
        Ok(reader)
    }

    fn expect_messages(&self, messages: usize) -> Result<()> {
        self.expect_lines(messages, |line| line.strip_prefix("from alice: ") == Some(TEXT))?;
        ensure!(self.lines.try_recv().is_err(), "a line more than was expected");
        Ok(())
    }

    fn expect_lines(&self, lines: usize, is_it: impl Fn(&str) -> bool) -> Result<()> {
        for _ in 0..lines {
            let line = self.next_line()?;
            ensure!(is_it(&line), "a line that was not expected: {line:?}");
        }
        Ok(())
    }

    fn next_line(&self) -> Result<String> {
        self.lines.recv_timeout(STALL).context("a line is lost")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Its thread holds the socket too, and ends with it.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// Passes on what is read until the connection ends, or the receiver is dropped.
fn read_lines(mut stream: TcpStream, lines: SyncSender<String>) {
    let mut unread = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(bytes) = read_late(&mut stream, &mut buffer) {
        unread.extend_from_slice(&buffer[..bytes]);
        while let Some(end) = memchr::memchr(b'\n', &unread) {
            let line = unread.drain(..=end).take(end).collect();
            if lines.send(String::from_utf8(line).unwrap_or_default()).is_err() {
                return;
            }
        }
    }
}

fn read_late(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<usize> {
    // Waits until there is something, and reads nothing, so that nothing is acknowledged by it.
    stream.peek(&mut [0])?;
    thread::sleep(READING_DELAY);
    match stream.read(buffer)? {
        0 => bail!("the connection ended"),
        bytes => Ok(bytes),
    }
}
