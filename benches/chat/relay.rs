//! Relay: a chat of the shape of the async-std tutorial's a-chat, on smol. It stores nothing. Owns its connections and
//! its peers; shares no code with the server that is compared with it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use async_channel::{Receiver, Sender};
use smol::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use smol::net::{TcpListener, TcpStream};
use smol::stream::StreamExt;

/// Event for the broker.
enum Event {
    /// A client logged in.
    Join {
        /// First line of the client.
        name: String,
        /// Queue of lines for this peer.
        stream: TcpStream,
    },
    /// A client wrote a line.
    Message {
        /// Sender.
        from: String,
        /// Recipients.
        to: Vec<String>,
        /// Text for the recipients.
        text: String,
    },
    /// A connection ended.
    Leave {
        /// Name of its peer.
        name: String,
    },
}

/// Listens and relays until the process is ended.
pub(crate) fn run(listen: SocketAddr) -> Result<()> {
    smol::block_on(accept_loop(listen))
}

async fn accept_loop(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let (events, inbox) = queue();
    smol::spawn(broker_loop(inbox)).detach();
    eprintln!("relay: listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        smol::spawn(connection_loop(events.clone(), stream)).detach();
    }
}

/// Reads one client until it ends; no other client notices.
async fn connection_loop(events: Sender<Event>, stream: TcpStream) {
    let mut lines = BufReader::new(stream.clone()).lines();
    let Some(Ok(name)) = lines.next().await else { return };
    send(&events, Event::Join { name: name.clone(), stream });
    while let Some(Ok(line)) = lines.next().await {
        let Some((to, text)) = line.split_once(':') else { continue };
        let to = to.split(',').map(|name| name.trim().to_string()).collect();
        send(&events, Event::Message { from: name.clone(), to, text: text.trim().to_string() });
    }
    send(&events, Event::Leave { name });
}

/// Owns the peers.
async fn broker_loop(inbox: Receiver<Event>) {
    let mut peers: HashMap<String, Sender<String>> = HashMap::new();
    while let Ok(event) = inbox.recv().await {
        match event {
            Event::Join { name, stream } => join(&mut peers, name, stream),
            Event::Message { from, to, text } => relay(&peers, &from, &to, &text),
            Event::Leave { name } => drop(peers.remove(&name)),
        }
    }
}

fn join(peers: &mut HashMap<String, Sender<String>>, name: String, stream: TcpStream) {
    if let Entry::Vacant(entry) = peers.entry(name) {
        let (outbox, lines) = queue();
        entry.insert(outbox);
        smol::spawn(writer_loop(lines, stream)).detach();
    }
}

fn relay(peers: &HashMap<String, Sender<String>>, from: &str, to: &[String], text: &str) {
    for outbox in to.iter().filter_map(|name| peers.get(name)) {
        send(outbox, format!("from {from}: {text}\n"));
    }
}

/// Writes each line by itself, as in the tutorial.
async fn writer_loop(lines: Receiver<String>, mut stream: TcpStream) {
    while let Ok(line) = lines.recv().await {
        if stream.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// An unbounded queue, as in the tutorial.
#[allow(
    clippy::disallowed_methods,
    reason = "the baseline is meant to be like the original, whose queues have no bound"
)]
fn queue<T>() -> (Sender<T>, Receiver<T>) {
    async_channel::unbounded()
}

/// An unbounded queue refuses only after its reader has ended: then the line is not missed.
fn send<T>(queue: &Sender<T>, item: T) {
    let _ = queue.try_send(item);
}
