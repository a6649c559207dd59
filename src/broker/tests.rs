//! Turns in sequence, with a store that the test plays. The submodules own the cases in which a turn is decided before the outcome of the turn
//! before it is known; the simulation covers everything else.

mod accounts;
mod failed_turns;
mod lookups;
mod observers;
mod rooms;

use std::ops::RangeInclusive;
use std::sync::{Arc, mpsc};

use smol::future;
use smol::lock::Semaphore;

use super::*;
use crate::limits::BATCH_REQUESTS_MAX;
use crate::message::{Destination, PeerId, PeerName, Room, RoomId, Seq, SessionId, Text};
use crate::protocol::{Capabilities, Draft, Request, Submission, Work, plain};
use crate::source::Source;
use crate::store::{CommitError, Entry, Found, FoundPosts, LookedUp, Lookup, StoreRequest, TurnRequest};

/// Number of senders whose batches fill a turn.
const SENDERS: u64 = (TURN_REQUESTS_MAX / BATCH_REQUESTS_MAX) as u64;

/// Requests to the store, which the test answers.
struct StoreInbox(mpsc::Receiver<StoreRequest>);

impl StoreInbox {
    async fn request(&self) -> StoreRequest {
        loop {
            match self.0.try_recv() {
                Ok(request) => return request,
                Err(_) => future::yield_now().await,
            }
        }
    }

    /// Returns the next turn. Lookups before it find nothing.
    async fn turn(&self) -> (TurnRequest, oneshot::Sender<TurnOutcome>) {
        loop {
            match self.request().await {
                StoreRequest::Lookup(lookup, reply) => {
                    let Lookup { peers, rooms, ids, .. } = lookup;
                    let (peers, rooms) = (vec![None; peers.len()], vec![None; rooms.len()]);
                    reply
                        .send(Ok(LookedUp { peers, rooms, ids: vec![None; ids.len()], ..LookedUp::default() }))
                        .unwrap();
                }
                StoreRequest::Posts(reply) => {
                    reply.send(Ok(FoundPosts { posts: Vec::new(), purge: None, is_settled: true })).unwrap()
                }
                StoreRequest::Turn(request, reply) => return (request, reply),
            }
        }
    }
}

fn name(sender: u64) -> PeerName {
    PeerName::parse(&format!("s{sender}")).unwrap()
}

fn join(sender: u64) -> (Event, OutboxReceiver) {
    join_as(sender, name(sender), Access::Free)
}

/// A session that logs in by a name, with this proof.
fn join_as(sender: u64, name: PeerName, access: Access) -> (Event, OutboxReceiver) {
    let (outbox_sender, outbox_receiver) = outbox();
    let session = SessionId::new(sender);
    let encoder = plain::session(Capabilities::default());
    let joining = Joining {
        id: None,
        source: Source::Operator,
        access,
        output: SessionOutput::Lines { encoder, outbox: outbox_sender },
        permit: None,
    };
    (Event::Join { session, name, joining: Box::new(joining) }, outbox_receiver)
}

/// A batch of messages to the first sender.
fn batch(sender: u64, lines: usize) -> Event {
    requests(sender, vec![send("s1"); lines])
}

fn send(to: &str) -> Request {
    Request::Send(Draft { to: vec![Destination::parse(to).unwrap()], text: Text::clean("hi").unwrap() })
}

fn requests<T: Into<Work>>(sender: u64, requests: Vec<T>) -> Event {
    submits(sender, requests.into_iter().map(|work| Submission { id: None, work: work.into() }).collect())
}

fn submits(sender: u64, requests: Vec<Submission>) -> Event {
    let permit = Arc::new(Semaphore::new(1)).try_acquire_arc().unwrap();
    Event::Requests { session: SessionId::new(sender), requests, permit: Some(permit) }
}

fn join_room() -> Request {
    Request::Join { room: Room::stored("#a") }
}

/// Outcome of a turn that could not be committed.
fn failed(entries: Vec<Entry>) -> TurnOutcome {
    let commit = Err(CommitError::Storage("full".to_owned()));
    TurnOutcome { entries, commit, before: Seq::ZERO, newest: Seq::ZERO, floors: Vec::new(), purged: None, reads: None }
}

/// Outcome of the first turn that was committed.
fn committed(entries: Vec<Entry>) -> TurnOutcome {
    let newest = Seq::new(entries.iter().filter(is_message).count() as i64);
    TurnOutcome { entries, commit: Ok(()), before: Seq::ZERO, newest, floors: Vec::new(), purged: None, reads: None }
}

/// Lets these senders join, and returns their outboxes.
async fn join_all(handle: &Handle, senders: RangeInclusive<u64>) -> Vec<OutboxReceiver> {
    let mut outboxes = Vec::new();
    for sender in senders {
        let (event, outbox_receiver) = join(sender);
        handle.send(event).await;
        outboxes.push(outbox_receiver);
    }
    outboxes
}

/// Logs the first sender in, and returns its outbox after the greeting.
async fn login(handle: &Handle, store: &StoreInbox) -> OutboxReceiver {
    let (event, outbox_receiver) = join(1);
    handle.send(event).await;
    let (turn, reply) = store.turn().await;
    reply.send(committed(turn.entries)).unwrap();
    next_output(&outbox_receiver).await;
    outbox_receiver
}

/// Returns the rooms that are created, and the number of messages that are sent into a room.
fn of_rooms(entries: &[Entry]) -> (Vec<i64>, usize) {
    let made =
        entries.iter().filter_map(|entry| if let Entry::Room { id, .. } = entry { Some(id.get()) } else { None });
    let is_into_room = |entry: &&Entry| match entry {
        Entry::Message { recipients, .. } => recipients.iter().any(|recipient| recipient.room().is_some()),
        _ => false,
    };
    (made.collect(), entries.iter().filter(is_into_room).count())
}

/// Returns what a client is sent next.
async fn next_output(outbox_receiver: &OutboxReceiver) -> String {
    String::from_utf8(outbox_receiver.take().await.expect("the session is open").bytes).unwrap()
}

fn is_message(entry: &&Entry) -> bool {
    matches!(entry, Entry::Message { .. })
}

fn peers(entries: &[Entry]) -> Vec<PeerId> {
    let peer = |entry: &Entry| if let Entry::Peer(record) = entry { Some(record.id) } else { None };
    let mut peers: Vec<PeerId> = entries.iter().filter_map(peer).collect();
    peers.sort_unstable();
    peers
}

/// A broker with an empty database.
fn new() -> (Handle, Broker, StoreInbox) {
    let (store, asked, _removals) = Store::without_thread(Found::default());
    let (handle, broker) = open(store, &Limits::default());
    (handle, broker, StoreInbox(asked))
}

/// Runs a script beside a broker.
fn play<T>(script: impl AsyncFnOnce(Handle, StoreInbox) -> T) -> T {
    let (handle, broker, store) = new();
    let running = async {
        broker.run().await;
        unreachable!("the script holds a handle")
    };
    smol::block_on(future::or(running, script(handle, store)))
}
