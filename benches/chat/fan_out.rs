//! Fan-out: one sender whose every message goes to 200 readers, all named in its line. Owns who writes when; `reader.rs`
//! has the proof that each reader got every message once and in order.

use std::cell::Cell;
use std::time::Duration;

use anyhow::Result;
use smol::Timer;
use smol::future::FutureExt;

use crate::client::Client;
use crate::drive::run_all;
use crate::lines::{Lines, Numbered};
use crate::meter::Meter;
use crate::reader::Reader;
use crate::scenario::{Bar, Figures, Measure, Run, Scenario};
use crate::server::{Contestant, Server};

/// Maximum number of deliveries.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "fan-out",
    title: "One sender to 200 readers",
    contestants: &[Contestant::Relay, Contestant::Holdline],
    measures: &[Measure {
        name: "",
        unit: "deliveries/s",
        bars: &[(Contestant::Holdline, Bar::AtLeast(2.0, Contestant::Relay))],
    }],
    run: Run::Each(|contestant, options| {
        let server = Server::start(contestant, options)?;
        let figures = measure(&server, READERS, MESSAGES)?;
        server.stop()?;
        Ok(Some(figures))
    }),
    on_request: false,
};

/// Readers of each message.
const READERS: u32 = 200;

/// Messages of a run.
const MESSAGES: u32 = 5000;

/// Messages that the sender may be ahead of the readers.
const WINDOW_MESSAGES: u32 = 1000;

/// Time after which a sender that is far enough ahead checks again.
const PAUSE: Duration = Duration::from_millis(1);

/// Beginning of each text.
const TEXT: &str = "to all ";

/// Sends messages to readers through a running server, and leaves it running: deliveries per second, and their cost.
pub(crate) fn measure(server: &Server, readers: u32, messages: u32) -> Result<Figures> {
    let clients = Client::login_all(server.address(), (0..readers).map(|reader| format!("r{reader:03}")))?;
    let names: Vec<_> = clients.iter().map(|client| client.name().to_owned()).collect();
    let sender = Client::login_all(server.address(), ["s".to_string()])?.remove(0);
    measure_to(&names.join(", "), "from s: ", clients, sender, server, messages)
}

/// Sends likewise into a room of which all readers are members.
pub(crate) fn measure_in_room(server: &Server, room: &str, readers: u32, messages: u32) -> Result<Figures> {
    let mut clients = Client::login_all(server.address(), (0..readers).map(|reader| format!("r{reader:03}")))?;
    let mut sender = Client::login_all(server.address(), ["s".to_string()])?.remove(0);
    for client in clients.iter_mut().chain([&mut sender]) {
        client.write_all(format!("/join {room}\n").as_bytes())?;
        Client::barrier([client], "joined")?;
    }
    measure_to(room, &format!("from s in {room}: "), clients, sender, server, messages)
}

fn measure_to(
    destinations: &str,
    from: &str,
    clients: Vec<Client>,
    mut sender: Client,
    server: &Server,
    messages: u32,
) -> Result<Figures> {
    let lines = Lines::new(Numbered::new(&format!("{destinations}: "), TEXT, "\n"));
    let reader = |client| Reader::new(client, Numbered::new(from, TEXT, ""), messages);
    let mut readers: Vec<_> = clients.into_iter().map(reader).collect();
    let meter = Meter::start(server)?;
    flood(&mut sender, lines, &mut readers, messages)?;
    let reading = meter.stop()?;
    // No reader gets one message too many, and the server's work after the last delivery counts as well.
    Client::barrier(readers.iter_mut().map(Reader::client).chain([&mut sender]), "done")?;
    reading.of_messages(readers.len() as f64 * f64::from(messages))
}

fn flood(sender: &mut Client, lines: Lines, readers: &mut [Reader], messages: u32) -> Result<()> {
    let arrived = Cell::new(0);
    let count = readers.len() as u64;
    let sends = send_all(sender, lines, messages, count, &arrived).boxed_local();
    let reads = readers.iter_mut().map(|reader| read_all(reader, &arrived).boxed_local());
    run_all(reads.chain([sends]), &arrived)
}

async fn send_all(
    sender: &mut Client,
    mut lines: Lines,
    messages: u32,
    readers: u64,
    arrived: &Cell<u64>,
) -> Result<()> {
    let socket = sender.socket()?;
    loop {
        let read_by_all = (arrived.get() / readers) as u32;
        let made_max = messages.min(read_by_all + WINDOW_MESSAGES);
        if !lines.write_to(sender, made_max)? {
            socket.writable().await?;
        } else if made_max == messages {
            return Ok(());
        } else {
            Timer::after(PAUSE).await;
        }
    }
}

async fn read_all(reader: &mut Reader, arrived: &Cell<u64>) -> Result<()> {
    let socket = reader.socket()?;
    reader.receive_all(&socket, arrived).await
}
