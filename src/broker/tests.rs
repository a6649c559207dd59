//! Turns in sequence, with a store that the test plays. Owns the cases in which a turn is decided before the outcome of the turn before it
//! is known; the simulation covers everything else.

use std::sync::{Arc, mpsc};

use smol::future;
use smol::lock::Semaphore;

use super::*;
use crate::limits::{BATCH_REQUESTS_MAX, DESTINATIONS_DEFAULT, OFFLINE_PEERS_CACHED_MAX};
use crate::message::{Destination, PeerId, PeerName, RequestId, Room, RoomId, Seq, SessionId, Text};
use crate::protocol::{Capabilities, Draft, PluginRequest, Request, Submission, Work, plain};
use crate::store::{
    CommitError, Entry, EventFilter, EventKind, Found, FoundPosts, LookedUp, Lookup, Observed, ObservedPage,
    ObserverCursor, PeerEvent, Read, StoreRequest, TurnRequest,
};

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
                    let Lookup { peers, rooms, ids } = lookup;
                    let (peers, rooms) = (vec![None; peers.len()], vec![None; rooms.len()]);
                    reply.send(Ok(LookedUp { peers, rooms, ids: vec![None; ids.len()] })).unwrap();
                }
                StoreRequest::Posts(reply) => {
                    reply.send(Ok(FoundPosts { posts: Vec::new(), is_settled: true })).unwrap()
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
    let (outbox_sender, outbox_receiver) = outbox();
    let session = SessionId::new(sender);
    let encoder = plain::session(Capabilities::default());
    let joining = Joining { id: None, output: SessionOutput::Lines { encoder, outbox: outbox_sender } };
    (Event::Join { session, name: name(sender), joining }, outbox_receiver)
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
    Event::Requests { session: SessionId::new(sender), requests, permit }
}

fn join_room() -> Request {
    Request::Join { room: Room::stored("#a") }
}

fn set(key: usize) -> PluginRequest {
    PluginRequest::SetValue { key: key.to_string(), value: Some("1".to_owned()) }
}

const PRESENCE: EventFilter = EventFilter { logged: false, join: true, leave: true, delivered: false };

/// A request of the first sender for its next observations.
fn observe(wants: EventFilter) -> (Event, oneshot::AsyncReceiver<Observation>) {
    let (reply, told) = oneshot::async_channel();
    (Event::Observe { observer: name(1), wants, reply }, told)
}

fn events(entries: &[Entry]) -> Vec<(EventKind, i64)> {
    let event = |entry: &Entry| match entry {
        Entry::Event(PeerEvent { kind, peer, .. }) => Some((*kind, peer.get())),
        _ => None,
    };
    entries.iter().filter_map(event).collect()
}

/// Answers reads for observers with a page that ends behind these items.
fn show(reads: Vec<Read>, items: &[Observed], event: i64) {
    for read in reads {
        let Read::Observed(_, reply) = read else { panic!("{read:?}") };
        let (after, seen) = (ObserverCursor::START, ObserverCursor { event, ..ObserverCursor::START });
        reply.send(Ok(Some(ObservedPage { items: items.to_vec(), after, seen, complete: true }))).unwrap();
    }
}

/// Returns the cursor after which the only read of a turn begins.
fn observed_after(reads: &[Read]) -> Option<ObserverCursor> {
    let [Read::Observed(query, _)] = reads else { panic!("{reads:?}") };
    query.after
}

fn came(event: i64) -> Observed {
    Observed::Joined { event, at: Timestamp::from_millis(1), name: name(2) }
}

/// Outcome of a turn that could not be committed.
fn failed(entries: Vec<Entry>) -> TurnOutcome {
    let commit = Err(CommitError::Storage("full".to_owned()));
    TurnOutcome { entries, commit, before: Seq::ZERO, newest: Seq::ZERO, reads: None }
}

/// Outcome of the first turn that was committed.
fn committed(entries: Vec<Entry>) -> TurnOutcome {
    let newest = Seq::new(entries.iter().filter(is_message).count() as i64);
    TurnOutcome { entries, commit: Ok(()), before: Seq::ZERO, newest, reads: None }
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
    let found = Found { newest: Seq::ZERO, last_peer: PeerId::new(0), last_room: RoomId::new(0), unknown_names: 0 };
    let (store, asked, _removals) = Store::without_thread(found);
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

#[test]
fn turn_decided_ahead_stores_the_peers_of_a_failed_turn_before_it() {
    play(async |handle, store| {
        let mut outboxes = Vec::new();
        for sender in 1..=SENDERS {
            let (event, outbox_receiver) = join(sender);
            handle.send(event).await;
            outboxes.push(outbox_receiver);
        }
        let (logins, reply) = store.turn().await;
        assert_eq!(peers(&logins.entries).len() as u64, SENDERS);

        // While the turn is in flight, its senders fill another turn with messages.
        for sender in 1..=SENDERS {
            handle.send(batch(sender, BATCH_REQUESTS_MAX)).await;
        }
        while !handle.inbox.is_empty() {
            future::yield_now().await;
        }
        // One more message is too late for that turn.
        handle.send(batch(1, 1)).await;
        for _ in 0..10 {
            future::yield_now().await;
        }
        assert_eq!(handle.inbox.len(), 1, "the turn is decided");
        let to_be_kept = peers(&logins.entries);
        reply.send(failed(logins.entries)).unwrap();

        let (messages, _reply) = store.turn().await;
        assert_eq!(messages.entries.iter().filter(is_message).count(), TURN_REQUESTS_MAX);
        assert_eq!(peers(&messages.entries), to_be_kept, "messages are committed together with their senders");
    });
}

#[test]
fn failed_join_makes_no_member_and_may_be_tried_again() {
    play(async |handle, store| {
        let (event, outbox_receiver) = join(1);
        handle.send(event).await;
        let (login, reply) = store.turn().await;
        reply.send(committed(login.entries)).unwrap();
        next_output(&outbox_receiver).await;
        handle.send(requests(1, vec![join_room(), send("#a")])).await;
        let (turn, reply) = store.turn().await;
        assert_eq!(of_rooms(&turn.entries), (vec![1], 1));
        reply.send(failed(turn.entries)).unwrap();
        let said = next_output(&outbox_receiver).await;
        assert_eq!(said.matches("! storage_full: ").count(), 2, "{said}");

        handle
            .send(requests(1, vec![send("#a"), Request::Leave { room: Room::stored("#a") }, join_room(), send("#a")]))
            .await;
        let (turn, reply) = store.turn().await;
        assert_eq!(of_rooms(&turn.entries), (vec![1], 1), "the id of a room that was not committed is free");
        reply.send(committed(turn.entries)).unwrap();
        let said = next_output(&outbox_receiver).await;
        assert_eq!(said.matches("! not_a_member: you are not in #a").count(), 2, "{said}");
        assert!(said.contains("* you are in #a now\n* nobody else is in #a\n"), "{said}");
    });
}

#[test]
fn failed_leave_keeps_the_member() {
    play(async |handle, store| {
        let (event, outbox_receiver) = join(1);
        handle.send(event).await;
        handle.send(requests(1, vec![join_room()])).await;
        let (turn, reply) = store.turn().await;
        reply.send(committed(turn.entries)).unwrap();
        handle.send(requests(1, vec![Request::Leave { room: Room::stored("#a") }])).await;
        let (turn, reply) = store.turn().await;
        reply.send(failed(turn.entries)).unwrap();
        handle.send(requests(1, vec![send("#a")])).await;
        let (turn, _reply) = store.turn().await;
        assert_eq!(of_rooms(&turn.entries), (vec![], 1));
        drop(outbox_receiver);
    });
}

#[test]
fn no_turn_is_decided_ahead_of_a_change_of_membership() {
    play(async |handle, store| {
        let mut outboxes = Vec::new();
        for sender in 1..=SENDERS {
            let (event, outbox_receiver) = join(sender);
            handle.send(event).await;
            outboxes.push(outbox_receiver);
        }
        let (turn, reply) = store.turn().await;
        reply.send(committed(turn.entries)).unwrap();
        handle.send(requests(1, vec![join_room()])).await;
        let (turn, reply) = store.turn().await;
        // A full turn, which would go into the room if the joining counted as committed.
        handle.send(requests(1, vec![send("#a"); BATCH_REQUESTS_MAX])).await;
        for sender in 2..=SENDERS {
            handle.send(batch(sender, BATCH_REQUESTS_MAX)).await;
        }
        for _ in 0..100 {
            future::yield_now().await;
        }
        reply.send(failed(turn.entries)).unwrap();
        let (turn, _reply) = store.turn().await;
        assert_eq!(of_rooms(&turn.entries), (vec![], 0), "the room does not exist");
        assert_eq!(turn.entries.iter().filter(is_message).count(), TURN_REQUESTS_MAX - BATCH_REQUESTS_MAX);
    });
}

#[test]
fn id_of_a_failed_turn_is_free_and_each_request_with_it_is_refused() {
    play(async |handle, store| {
        let (event, outbox_receiver) = join(1);
        handle.send(event).await;
        let (login, reply) = store.turn().await;
        reply.send(committed(login.entries)).unwrap();
        next_output(&outbox_receiver).await;
        let with_id = Submission { id: RequestId::parse("x"), work: send("s1").into() };
        handle.send(submits(1, vec![with_id.clone(), with_id.clone()])).await;
        let (turn, reply) = store.turn().await;
        assert_eq!(
            turn.entries.iter().filter(is_message).count(),
            1,
            "a message sent twice in one turn is logged once"
        );
        reply.send(failed(turn.entries)).unwrap();
        let said = next_output(&outbox_receiver).await;
        assert_eq!(said.matches("! storage_full: ").count(), 2, "{said}");
        handle.send(submits(1, vec![with_id])).await;
        let (turn, _reply) = store.turn().await;
        assert_eq!(turn.entries.iter().filter(is_message).count(), 1);
    });
}

#[test]
fn topic_of_a_failed_turn_is_not_shown() {
    play(async |handle, store| {
        let (event, outbox_receiver) = join(1);
        handle.send(event).await;
        handle.send(requests(1, vec![join_room()])).await;
        let (turn, reply) = store.turn().await;
        reply.send(committed(turn.entries)).unwrap();
        while !next_output(&outbox_receiver).await.contains("* you are in #a now\n") {}
        let room = || Room::stored("#a");
        let topic = Text::clean("lunch");
        let requested =
            vec![Request::SetTopic { room: room(), topic: topic.clone() }, Request::ShowTopic { room: room() }];
        handle.send(requests(1, requested.clone())).await;
        let (turn, reply) = store.turn().await;
        assert_eq!(turn.entries, [Entry::Topic { room: RoomId::new(1), topic }]);
        reply.send(failed(turn.entries)).unwrap();
        let said = next_output(&outbox_receiver).await;
        assert!(said.ends_with("; nothing was done\n* #a has no topic\n"), "{said}");
        handle.send(requests(1, requested)).await;
        let (turn, reply) = store.turn().await;
        reply.send(committed(turn.entries)).unwrap();
        assert_eq!(next_output(&outbox_receiver).await, "* the topic of #a: lunch\n".repeat(2));
    });
}

#[test]
fn topic_of_a_room_that_was_not_created_is_refused() {
    play(async |handle, store| {
        let (event, outbox_receiver) = join(1);
        handle.send(event).await;
        let (login, reply) = store.turn().await;
        reply.send(committed(login.entries)).unwrap();
        next_output(&outbox_receiver).await;
        handle.send(requests(1, vec![join_room(), Request::ShowTopic { room: Room::stored("#a") }])).await;
        let (turn, reply) = store.turn().await;
        reply.send(failed(turn.entries)).unwrap();
        let said = next_output(&outbox_receiver).await;
        assert!(said.ends_with("; nothing is shown\n"), "{said}");
    });
}

#[test]
fn two_joins_of_one_room_in_a_failed_turn_are_both_refused() {
    play(async |handle, store| {
        let (event, outbox_receiver) = join(1);
        handle.send(event).await;
        let (login, reply) = store.turn().await;
        reply.send(committed(login.entries)).unwrap();
        next_output(&outbox_receiver).await;
        handle.send(requests(1, vec![join_room(), join_room()])).await;
        let (turn, reply) = store.turn().await;
        reply.send(failed(turn.entries)).unwrap();
        let said = next_output(&outbox_receiver).await;
        assert_eq!(said.matches("; not joined\n").count(), 2, "{said}");
    });
}

#[test]
fn failed_leave_delivers_messages_sent_before() {
    play(async |handle, store| {
        let (first, outbox_receiver) = join(1);
        let (second, _outbox) = join(2);
        for event in [first, second, requests(1, vec![join_room()]), requests(2, vec![join_room()])] {
            handle.send(event).await;
        }
        let (turn, reply) = store.turn().await;
        reply.send(committed(turn.entries)).unwrap();
        handle.send(requests(2, vec![send("#a")])).await;
        let (sent, reply) = store.turn().await;

        // The leaving is decided after the commit of the message is known, and before the message is delivered.
        handle.send(requests(1, vec![Request::Leave { room: Room::stored("#a") }])).await;
        reply.send(committed(sent.entries)).unwrap();
        let (leaving, reply) = store.turn().await;
        let after = Seq::new(1);
        reply.send(TurnOutcome { before: after, newest: after, ..failed(leaving.entries) }).unwrap();
        let mut said = String::new();
        while !said.contains("! storage_full: ") {
            said.push_str(&next_output(&outbox_receiver).await);
        }
        assert!(said.contains("from s2 in #a: hi\n"), "{said}");
    });
}

#[test]
fn batch_is_committed_as_a_whole_or_not_at_all() {
    play(async |handle, store| {
        let mut outboxes = Vec::new();
        for sender in 1..=SENDERS + 1 {
            let (event, outbox_receiver) = join(sender);
            handle.send(event).await;
            outboxes.push(outbox_receiver);
        }
        let (turn, reply) = store.turn().await;
        reply.send(committed(turn.entries)).unwrap();
        next_output(&outboxes[0]).await;
        let batch =
            || requests::<Work>(1, vec![join_room().into(), send("#a").into(), set(1).into(), send("s1").into()]);
        handle.send(batch()).await;
        let (turn, reply) = store.turn().await;
        let is_value = |entry: &&Entry| matches!(entry, Entry::Value { .. });
        assert_eq!((of_rooms(&turn.entries), turn.entries.iter().filter(is_value).count()), ((vec![1], 1), 1));
        reply.send(failed(turn.entries)).unwrap();
        let said = next_output(&outboxes[0]).await;
        assert_eq!(said.matches("! storage_full: ").count(), 4, "{said}");
        assert!(said.contains("; not stored\n"), "{said}");

        // A batch is in one turn, however many clients flood the broker.
        for sender in 2..=SENDERS + 1 {
            handle.send(self::batch(sender, BATCH_REQUESTS_MAX)).await;
        }
        handle.send(requests(1, (0..BATCH_REQUESTS_MAX).map(set).collect())).await;
        loop {
            let (turn, reply) = store.turn().await;
            let values = turn.entries.iter().filter(is_value).count();
            assert!(values == 0 || values == BATCH_REQUESTS_MAX, "{values} of a batch are in a turn");
            reply.send(failed(turn.entries)).unwrap();
            if values > 0 {
                break;
            }
        }
    });
}

#[test]
fn events_are_not_stored_without_observers() {
    play(async |handle, store| {
        let (event, _outbox) = join(2);
        handle.send(event).await;
        let (turn, _reply) = store.turn().await;
        assert_eq!(events(&turn.entries), []);
        assert!(turn.reads.is_empty(), "{:?}", turn.reads);
    });
}

#[test]
fn events_of_a_failed_turn_are_stored_with_the_next_and_observed_after_that() {
    play(async |handle, store| {
        let (observing, observation) = observe(PRESENCE);
        handle.send(observing).await;
        let (turn, reply) = store.turn().await;
        assert!(matches!(turn.entries[..], [Entry::Peer(_), Entry::Observe { .. }]), "{:?}", turn.entries);
        assert_eq!(observed_after(&turn.reads), None);
        show(turn.reads, &[], 0);
        reply.send(committed(turn.entries)).unwrap();

        let (event, _outbox) = join(2);
        handle.send(event).await;
        let (turn, reply) = store.turn().await;
        let joined = (EventKind::Join, 2);
        assert_eq!(events(&turn.entries), [joined]);
        reply.send(failed(turn.entries)).unwrap();
        // Another event happens.
        handle.send(Event::Leave { session: SessionId::new(2) }).await;
        let (turn, reply) = store.turn().await;
        assert_eq!(events(&turn.entries), [joined, (EventKind::Leave, 2)]);
        reply.send(committed(turn.entries)).unwrap();
        let (turn, reply) = store.turn().await;
        assert_eq!(observed_after(&turn.reads), Some(ObserverCursor::START));
        show(turn.reads, &[came(1)], 2);
        reply.send(committed(turn.entries)).unwrap();
        let Observation { items, seen } = observation.await.unwrap();
        assert_eq!((items, seen.event), (vec![came(1)], 2));
    });
}

#[test]
fn unprocessed_events_are_read_again_and_cursors_are_stored_soon() {
    play(async |handle, store| {
        let (observing, observation) = observe(PRESENCE);
        handle.send(observing).await;
        let (turn, reply) = store.turn().await;
        show(turn.reads, &[came(1)], 1);
        reply.send(committed(turn.entries)).unwrap();
        let seen = observation.await.unwrap().seen;

        let (observing, observation) = observe(PRESENCE);
        handle.send(observing).await;
        let (turn, reply) = store.turn().await;
        assert_eq!(observed_after(&turn.reads), Some(ObserverCursor::START));
        show(turn.reads, &[came(1)], 1);
        reply.send(committed(turn.entries)).unwrap();
        observation.await.unwrap();

        handle.send(Event::ObserverAdvanced { observer: name(1), seen }).await;
        let (observing, _observation) = observe(PRESENCE);
        handle.send(observing).await;
        let (turn, reply) = store.turn().await;
        assert_eq!(turn.entries, [Entry::ObserverAdvanced { observer: PeerId::new(1), seen }]);
        assert!(turn.reads.is_empty(), "everything was read before: {:?}", turn.reads);
        reply.send(failed(turn.entries)).unwrap();
        // A failed commit is tried again with the next event.
        let (event, _outbox) = join(2);
        handle.send(event).await;
        let (turn, reply) = store.turn().await;
        show(turn.reads, &[], 1);
        reply.send(committed(turn.entries)).unwrap();
        let is_seen = |entry: &Entry| *entry == Entry::ObserverAdvanced { observer: PeerId::new(1), seen };
        while let (turn, reply) = store.turn().await
            && !turn.entries.iter().any(is_seen)
        {
            show(turn.reads, &[], 1);
            reply.send(committed(turn.entries)).unwrap();
        }
    });
}

#[test]
fn unwanted_events_cause_no_reads_for_an_observer() {
    play(async |handle, store| {
        let (observing, mut observation) = observe(EventFilter { leave: true, ..EventFilter::default() });
        let (first, _first) = join(1);
        let (second, _second) = join(2);
        for event in [observing, first, second] {
            handle.send(event).await;
        }
        let (turn, reply) = store.turn().await;
        assert_eq!(events(&turn.entries), []);
        show(turn.reads, &[], 0);
        reply.send(committed(turn.entries)).unwrap();
        handle.send(batch(2, 1)).await;
        let (turn, reply) = store.turn().await;
        reply.send(committed(turn.entries)).unwrap();
        for _ in 0..100 {
            future::yield_now().await;
        }
        assert!(store.0.try_recv().is_err(), "the observer does not want messages");
        assert!(future::poll_once(&mut observation).await.is_none());
        handle.send(Event::Leave { session: SessionId::new(2) }).await;
        let (turn, reply) = store.turn().await;
        assert_eq!(events(&turn.entries), [(EventKind::Leave, 2)]);
        reply.send(TurnOutcome { before: Seq::new(1), newest: Seq::new(1), ..committed(turn.entries) }).unwrap();
        assert_eq!(store.turn().await.0.reads.len(), 1);
    });
}

#[test]
fn removed_observer_gets_no_answer() {
    play(async |handle, store| {
        let (observing, observation) = observe(PRESENCE);
        handle.send(observing).await;
        let (turn, reply) = store.turn().await;
        show(turn.reads, &[], 0);
        reply.send(committed(turn.entries)).unwrap();
        handle.send(Event::Observers { only: vec![name(7)] }).await;
        let (turn, reply) = store.turn().await;
        assert_eq!(turn.entries, [Entry::RetainObservers { only: vec![name(7)] }]);
        reply.send(committed(turn.entries)).unwrap();
        observation.await.unwrap_err();
        let (event, _outbox) = join(2);
        handle.send(event).await;
        assert_eq!(events(&store.turn().await.0.entries), []);
    });
}

#[test]
fn shutdown_stores_that_all_peers_leave() {
    let (handle, broker, store) = new();
    let script = async move {
        let (observing, _observation) = observe(PRESENCE);
        let mut outboxes = Vec::new();
        handle.send(observing).await;
        for sender in 2..=4 {
            let (event, outbox_receiver) = join(sender);
            handle.send(event).await;
            outboxes.push(outbox_receiver);
        }
        let (turn, reply) = store.turn().await;
        assert_eq!(events(&turn.entries).len(), 3);
        show(turn.reads, &[], 3);
        reply.send(committed(turn.entries)).unwrap();
        // One session ends in order, one leaves, and one is open until the end.
        handle.send(Event::End { session: SessionId::new(2), reason: EndReason::Shutdown }).await;
        drop(handle);
        let mut gone = Vec::new();
        while gone.len() < 3 {
            let (turn, reply) = store.turn().await;
            gone.extend(events(&turn.entries));
            show(turn.reads, &[], 3);
            reply.send(committed(turn.entries)).unwrap();
        }
        gone.sort_by_key(|(_, peer)| *peer);
        assert_eq!(gone, [2, 3, 4].map(|peer| (EventKind::Leave, peer)));
        store
    };
    smol::block_on(future::zip(broker.run(), script));
}

#[test]
fn observer_without_a_session_stays_in_memory_when_many_names_are_used() {
    play(async |handle, store| {
        let (observing, _observation) = observe(PRESENCE);
        let (event, outbox_receiver) = join(2);
        for event in [observing, event] {
            handle.send(event).await;
        }
        let (turn, reply) = store.turn().await;
        show(turn.reads, &[], 0);
        reply.send(committed(turn.entries)).unwrap();
        next_output(&outbox_receiver).await;
        let names: Vec<Destination> =
            (0..2 * OFFLINE_PEERS_CACHED_MAX).map(|name| Destination::parse(&format!("n{name}")).unwrap()).collect();
        for (seq, to) in (0..).zip(names.chunks(DESTINATIONS_DEFAULT as usize)) {
            let send = Request::Send(Draft { to: to.to_vec(), text: Text::clean("hi").unwrap() });
            handle.send(requests(2, vec![send])).await;
            let (turn, reply) = store.turn().await;
            let (before, newest) = (Seq::new(seq), Seq::new(seq + 1));
            reply.send(TurnOutcome { before, newest, ..committed(turn.entries) }).unwrap();
        }
        let (observing, _observation) = observe(PRESENCE);
        handle.send(Event::Observers { only: vec![name(1)] }).await;
        handle.send(observing).await;
        let (event, _outbox) = join(3);
        handle.send(event).await;
        let (turn, _reply) = store.turn().await;
        let begins = |entry: &Entry| matches!(entry, Entry::Observe { .. });
        assert!(!turn.entries.iter().any(begins), "the observer was registered all the time");
        assert_eq!(events(&turn.entries).len(), 1);
    });
}
