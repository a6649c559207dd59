//! Turns that follow one another, with a store that the test answers for. Owns what is decided before it is known what became of
//! the turn before; all else is the simulation's.

use std::sync::{Arc, mpsc};

use smol::future;
use smol::lock::Semaphore;

use super::*;
use crate::limits::BATCH_REQUESTS_MAX;
use crate::message::{Destination, PeerId, Text};
use crate::store::{CommitError, Entry, Found, StoreRequest};

/// As many as it takes to fill a turn.
const SENDERS: u64 = (TURN_REQUESTS_MAX / BATCH_REQUESTS_MAX) as u64;

/// The store's end.
struct Asked(mpsc::Receiver<StoreRequest>);

impl Asked {
    async fn request(&self) -> StoreRequest {
        loop {
            match self.0.try_recv() {
                Ok(request) => return request,
                Err(_) => future::yield_now().await,
            }
        }
    }

    /// The next turn; nobody who is looked up is known.
    async fn turn(&self) -> (TurnRequest, oneshot::Sender<TurnOutcome>) {
        loop {
            match self.request().await {
                StoreRequest::Lookup(names, reply) => reply.send(Ok(vec![None; names.len()])).unwrap(),
                StoreRequest::Turn(request, reply) => return (request, reply),
            }
        }
    }
}

fn name(sender: u64) -> PeerName {
    PeerName::parse(&format!("s{sender}")).unwrap()
}

fn join(sender: u64) -> (Event, Outlet) {
    let (inlet, outlet) = outbox();
    let session = SessionId::new(sender);
    (Event::Join { session, name: name(sender), protocol: Protocol::Plain, outbox: inlet }, outlet)
}

/// Lines to the first sender.
fn batch(sender: u64, lines: usize) -> Event {
    let text = Text::clean("hi").unwrap();
    let line = Request::Send { to: vec![Destination::Peer(name(1))], text };
    let permit = Arc::new(Semaphore::new(1)).try_acquire_arc().unwrap();
    Event::Requests { session: SessionId::new(sender), requests: vec![line; lines], permit }
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

/// Runs a script beside a broker.
fn play<T>(script: impl AsyncFnOnce(Handle, Asked) -> T) -> T {
    let found = Found { newest: Seq::ZERO, last_peer: PeerId::new(0), unknown_names: 0 };
    let (store, asked) = Store::answered_elsewhere(found);
    let (handle, broker) = open(store, &Limits::default());
    let running = async {
        broker.run().await;
        unreachable!("the script holds a handle")
    };
    smol::block_on(future::or(running, script(handle, Asked(asked))))
}

#[test]
fn a_turn_that_was_decided_ahead_keeps_what_the_failed_one_before_it_did_not() {
    play(async |handle, asked| {
        let mut outlets = Vec::new();
        for sender in 1..=SENDERS {
            let (event, outlet) = join(sender);
            handle.tell(event).await;
            outlets.push(outlet);
        }
        let (logins, reply) = asked.turn().await;
        assert_eq!(peers(&logins.entries).len() as u64, SENDERS);

        // While it is under way, a whole turn of messages comes from those whom it is to keep.
        for sender in 1..=SENDERS {
            handle.tell(batch(sender, BATCH_REQUESTS_MAX)).await;
        }
        while !handle.inbox.is_empty() {
            future::yield_now().await;
        }
        // One more line is too late for that turn.
        handle.tell(batch(1, 1)).await;
        for _ in 0..10 {
            future::yield_now().await;
        }
        assert_eq!(handle.inbox.len(), 1, "the turn is decided");
        let (failed, commit) = (peers(&logins.entries), Err(CommitError::Storage("full".to_owned())));
        let outcome =
            TurnOutcome { entries: logins.entries, commit, before: Seq::ZERO, newest: Seq::ZERO, answers: Vec::new() };
        reply.send(outcome).unwrap();

        let (messages, _reply) = asked.turn().await;
        assert_eq!(messages.entries.iter().filter(is_message).count(), TURN_REQUESTS_MAX);
        assert_eq!(peers(&messages.entries), failed, "a message stands beside its sender");
    });
}
