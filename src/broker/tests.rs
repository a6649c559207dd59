//! Turns that follow one another, with a store that the test answers for. Owns what is decided before it is known what became of
//! the turn before; all else is the simulation's.

use std::sync::{Arc, mpsc};

use smol::future;
use smol::lock::Semaphore;

use super::*;
use crate::limits::{ABSENT_PEERS_MAX, BATCH_REQUESTS_MAX, DESTINATIONS_DEFAULT};
use crate::message::{Destination, PeerId, PeerName, RequestId, Room, RoomId, Seq, SessionId, Text};
use crate::protocol::{Capabilities, Draft, PluginRequest, Request, Submission, Work, plain};
use crate::store::{
    CommitError, Entry, EventFilter, EventKind, Found, FoundPosts, LookedUp, Lookup, Observed, ObservedPage,
    ObserverCursor, PeerEvent, Read, StoreRequest, TurnRequest,
};

/// As many as it takes to fill a turn.
const SENDERS: u64 = (TURN_REQUESTS_MAX / BATCH_REQUESTS_MAX) as u64;

/// The store's end.
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

    /// The next turn; nobody who is looked up is known.
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
    let joining = Joining { id: None, encoder, is_plugin: false, outbox: outbox_sender };
    (Event::Join { session, name: name(sender), joining }, outbox_receiver)
}

/// Lines to the first sender.
fn batch(sender: u64, lines: usize) -> Event {
    asks(sender, vec![send("s1"); lines])
}

fn send(to: &str) -> Request {
    Request::Send(Draft { to: vec![Destination::parse(to).unwrap()], text: Text::clean("hi").unwrap() })
}

fn asks<T: Into<Work>>(sender: u64, requests: Vec<T>) -> Event {
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

/// The first sender waits for what it wants.
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

/// Answers reads for observers with a page that ends behind these.
fn show(reads: Vec<Read>, items: &[Observed], event: i64) {
    for read in reads {
        let Read::Observed(_, reply) = read else { panic!("{read:?}") };
        let (after, seen) = (ObserverCursor::START, ObserverCursor { event, ..ObserverCursor::START });
        reply.send(Ok(Some(ObservedPage { items: items.to_vec(), after, seen, complete: true }))).unwrap();
    }
}

/// The cursor after which the only read of a turn begins.
fn observed_after(reads: &[Read]) -> Option<ObserverCursor> {
    let [Read::Observed(query, _)] = reads else { panic!("{reads:?}") };
    query.after
}

fn came(event: i64) -> Observed {
    Observed::Joined { event, at: Timestamp::from_millis(1), name: name(2) }
}

/// What the store answers to a turn of which it has kept nothing.
fn failed(entries: Vec<Entry>) -> TurnOutcome {
    let commit = Err(CommitError::Storage("full".to_owned()));
    TurnOutcome { entries, commit, before: Seq::ZERO, newest: Seq::ZERO, reads: None }
}

/// What it answers to the first turn that it has kept.
fn kept(entries: Vec<Entry>) -> TurnOutcome {
    let newest = Seq::new(entries.iter().filter(is_message).count() as i64);
    TurnOutcome { entries, commit: Ok(()), before: Seq::ZERO, newest, reads: None }
}

/// The rooms that are made, and how many messages are sent into one.
fn of_rooms(entries: &[Entry]) -> (Vec<i64>, usize) {
    let made =
        entries.iter().filter_map(|entry| if let Entry::Room { id, .. } = entry { Some(id.get()) } else { None });
    let is_into_room = |entry: &&Entry| match entry {
        Entry::Message { recipients, .. } => recipients.iter().any(|recipient| recipient.room().is_some()),
        _ => false,
    };
    (made.collect(), entries.iter().filter(is_into_room).count())
}

/// What a client is told next.
async fn told(outbox_receiver: &OutboxReceiver) -> String {
    String::from_utf8(outbox_receiver.take().await.expect("it is served").bytes).unwrap()
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

/// A broker over a database that is empty.
fn new() -> (Handle, Broker, StoreInbox) {
    let found = Found { newest: Seq::ZERO, last_peer: PeerId::new(0), last_room: RoomId::new(0), unknown_names: 0 };
    let (store, asked) = Store::answered_elsewhere(found);
    let (handle, broker) = open(store, &Limits::default());
    (handle, broker, StoreInbox(asked))
}

/// Runs a script beside a broker.
fn play<T>(script: impl AsyncFnOnce(Handle, StoreInbox) -> T) -> T {
    let (handle, broker, asked) = new();
    let running = async {
        broker.run().await;
        unreachable!("the script holds a handle")
    };
    smol::block_on(future::or(running, script(handle, asked)))
}

#[test]
fn a_turn_that_was_decided_ahead_keeps_what_the_failed_one_before_it_did_not() {
    play(async |handle, asked| {
        let mut outlets = Vec::new();
        for sender in 1..=SENDERS {
            let (event, outbox_receiver) = join(sender);
            handle.tell(event).await;
            outlets.push(outbox_receiver);
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
        let to_be_kept = peers(&logins.entries);
        reply.send(failed(logins.entries)).unwrap();

        let (messages, _reply) = asked.turn().await;
        assert_eq!(messages.entries.iter().filter(is_message).count(), TURN_REQUESTS_MAX);
        assert_eq!(peers(&messages.entries), to_be_kept, "a message stands beside its sender");
    });
}

#[test]
fn who_could_not_join_a_room_is_not_in_it_and_may_try_again() {
    play(async |handle, asked| {
        let (event, outbox_receiver) = join(1);
        handle.tell(event).await;
        let (login, reply) = asked.turn().await;
        reply.send(kept(login.entries)).unwrap();
        told(&outbox_receiver).await;
        handle.tell(asks(1, vec![join_room(), send("#a")])).await;
        let (turn, reply) = asked.turn().await;
        assert_eq!(of_rooms(&turn.entries), (vec![1], 1));
        reply.send(failed(turn.entries)).unwrap();
        let said = told(&outbox_receiver).await;
        assert_eq!(said.matches("! storage_full: ").count(), 2, "{said}");

        handle
            .tell(asks(1, vec![send("#a"), Request::Leave { room: Room::stored("#a") }, join_room(), send("#a")]))
            .await;
        let (turn, reply) = asked.turn().await;
        assert_eq!(of_rooms(&turn.entries), (vec![1], 1), "a number that was not kept is free");
        reply.send(kept(turn.entries)).unwrap();
        let said = told(&outbox_receiver).await;
        assert_eq!(said.matches("! not_a_member: nobody is in #a").count(), 2, "{said}");
        assert!(said.contains("* you are in #a now\n* nobody else is in #a\n"), "{said}");
    });
}

#[test]
fn who_could_not_leave_a_room_is_still_in_it() {
    play(async |handle, asked| {
        let (event, outbox_receiver) = join(1);
        handle.tell(event).await;
        handle.tell(asks(1, vec![join_room()])).await;
        let (turn, reply) = asked.turn().await;
        reply.send(kept(turn.entries)).unwrap();
        handle.tell(asks(1, vec![Request::Leave { room: Room::stored("#a") }])).await;
        let (turn, reply) = asked.turn().await;
        reply.send(failed(turn.entries)).unwrap();
        handle.tell(asks(1, vec![send("#a")])).await;
        let (turn, _reply) = asked.turn().await;
        assert_eq!(of_rooms(&turn.entries), (vec![], 1));
        drop(outbox_receiver);
    });
}

#[test]
fn nothing_is_decided_ahead_of_a_turn_that_changes_who_is_in_a_room() {
    play(async |handle, asked| {
        let mut outlets = Vec::new();
        for sender in 1..=SENDERS {
            let (event, outbox_receiver) = join(sender);
            handle.tell(event).await;
            outlets.push(outbox_receiver);
        }
        let (turn, reply) = asked.turn().await;
        reply.send(kept(turn.entries)).unwrap();
        handle.tell(asks(1, vec![join_room()])).await;
        let (turn, reply) = asked.turn().await;
        // Enough for a whole turn, that would go into the room if the joining were taken for done.
        handle.tell(asks(1, vec![send("#a"); BATCH_REQUESTS_MAX])).await;
        for sender in 2..=SENDERS {
            handle.tell(batch(sender, BATCH_REQUESTS_MAX)).await;
        }
        for _ in 0..100 {
            future::yield_now().await;
        }
        reply.send(failed(turn.entries)).unwrap();
        let (turn, _reply) = asked.turn().await;
        assert_eq!(of_rooms(&turn.entries), (vec![], 0), "the room is not there");
        assert_eq!(turn.entries.iter().filter(is_message).count(), TURN_REQUESTS_MAX - BATCH_REQUESTS_MAX);
    });
}

#[test]
fn an_id_whose_turn_failed_is_free_and_each_who_used_it_is_told() {
    play(async |handle, asked| {
        let (event, outbox_receiver) = join(1);
        handle.tell(event).await;
        let (login, reply) = asked.turn().await;
        reply.send(kept(login.entries)).unwrap();
        told(&outbox_receiver).await;
        let with_id = Submission { id: RequestId::parse("x"), work: send("s1").into() };
        handle.tell(submits(1, vec![with_id.clone(), with_id.clone()])).await;
        let (turn, reply) = asked.turn().await;
        assert_eq!(turn.entries.iter().filter(is_message).count(), 1, "twice in one turn is once");
        reply.send(failed(turn.entries)).unwrap();
        let said = told(&outbox_receiver).await;
        assert_eq!(said.matches("! storage_full: ").count(), 2, "{said}");
        handle.tell(submits(1, vec![with_id])).await;
        let (turn, _reply) = asked.turn().await;
        assert_eq!(turn.entries.iter().filter(is_message).count(), 1);
    });
}

#[test]
fn who_asks_twice_for_a_room_in_a_turn_that_fails_is_told_so_twice() {
    play(async |handle, asked| {
        let (event, outbox_receiver) = join(1);
        handle.tell(event).await;
        let (login, reply) = asked.turn().await;
        reply.send(kept(login.entries)).unwrap();
        told(&outbox_receiver).await;
        handle.tell(asks(1, vec![join_room(), join_room()])).await;
        let (turn, reply) = asked.turn().await;
        reply.send(failed(turn.entries)).unwrap();
        let said = told(&outbox_receiver).await;
        assert_eq!(said.matches("; not joined\n").count(), 2, "{said}");
    });
}

#[test]
fn who_could_not_leave_a_room_gets_what_was_sent_there_before() {
    play(async |handle, asked| {
        let (first, outbox_receiver) = join(1);
        let (second, _outlet) = join(2);
        for event in [first, second, asks(1, vec![join_room()]), asks(2, vec![join_room()])] {
            handle.tell(event).await;
        }
        let (turn, reply) = asked.turn().await;
        reply.send(kept(turn.entries)).unwrap();
        handle.tell(asks(2, vec![send("#a")])).await;
        let (sent, reply) = asked.turn().await;

        // The leaving is decided when it is known that the message is kept, and before that is delivered.
        handle.tell(asks(1, vec![Request::Leave { room: Room::stored("#a") }])).await;
        reply.send(kept(sent.entries)).unwrap();
        let (leaving, reply) = asked.turn().await;
        let after = Seq::new(1);
        reply.send(TurnOutcome { before: after, newest: after, ..failed(leaving.entries) }).unwrap();
        let mut said = String::new();
        while !said.contains("! storage_full: ") {
            said.push_str(&told(&outbox_receiver).await);
        }
        assert!(said.contains("from s2 in #a: hi\n"), "{said}");
    });
}

#[test]
fn what_one_batch_asks_for_is_kept_together_or_not_at_all() {
    play(async |handle, asked| {
        let mut outlets = Vec::new();
        for sender in 1..=SENDERS + 1 {
            let (event, outbox_receiver) = join(sender);
            handle.tell(event).await;
            outlets.push(outbox_receiver);
        }
        let (turn, reply) = asked.turn().await;
        reply.send(kept(turn.entries)).unwrap();
        told(&outlets[0]).await;
        let batch = || asks::<Work>(1, vec![join_room().into(), send("#a").into(), set(1).into(), send("s1").into()]);
        handle.tell(batch()).await;
        let (turn, reply) = asked.turn().await;
        let is_value = |entry: &&Entry| matches!(entry, Entry::Value { .. });
        assert_eq!((of_rooms(&turn.entries), turn.entries.iter().filter(is_value).count()), ((vec![1], 1), 1));
        reply.send(failed(turn.entries)).unwrap();
        let said = told(&outlets[0]).await;
        assert_eq!(said.matches("! storage_full: ").count(), 4, "{said}");
        assert!(said.contains("; not kept\n"), "{said}");

        // However many others flood, a whole batch is in one turn.
        for sender in 2..=SENDERS + 1 {
            handle.tell(self::batch(sender, BATCH_REQUESTS_MAX)).await;
        }
        handle.tell(asks(1, (0..BATCH_REQUESTS_MAX).map(set).collect())).await;
        loop {
            let (turn, reply) = asked.turn().await;
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
fn nothing_is_kept_of_what_nobody_observes() {
    play(async |handle, asked| {
        let (event, _outlet) = join(2);
        handle.tell(event).await;
        let (turn, _reply) = asked.turn().await;
        assert_eq!(events(&turn.entries), []);
        assert!(turn.reads.is_empty(), "{:?}", turn.reads);
    });
}

#[test]
fn what_happened_in_a_turn_that_failed_is_kept_with_the_next_and_told_once_it_is() {
    play(async |handle, asked| {
        let (observing, observation) = observe(PRESENCE);
        handle.tell(observing).await;
        let (turn, reply) = asked.turn().await;
        assert!(matches!(turn.entries[..], [Entry::Peer(_), Entry::Observe { .. }]), "{:?}", turn.entries);
        assert_eq!(observed_after(&turn.reads), None);
        show(turn.reads, &[], 0);
        reply.send(kept(turn.entries)).unwrap();

        let (event, _outlet) = join(2);
        handle.tell(event).await;
        let (turn, reply) = asked.turn().await;
        let joined = (EventKind::Join, 2);
        assert_eq!(events(&turn.entries), [joined]);
        reply.send(failed(turn.entries)).unwrap();
        // Something else happens.
        handle.tell(Event::Leave { session: SessionId::new(2) }).await;
        let (turn, reply) = asked.turn().await;
        assert_eq!(events(&turn.entries), [joined, (EventKind::Leave, 2)]);
        reply.send(kept(turn.entries)).unwrap();
        let (turn, reply) = asked.turn().await;
        assert_eq!(observed_after(&turn.reads), Some(ObserverCursor::START));
        show(turn.reads, &[came(1)], 2);
        reply.send(kept(turn.entries)).unwrap();
        let Observation { items, seen } = observation.await.unwrap();
        assert_eq!((items, seen.event), (vec![came(1)], 2));
    });
}

#[test]
fn what_was_not_seen_is_read_again_and_what_was_is_kept_soon() {
    play(async |handle, asked| {
        let (observing, observation) = observe(PRESENCE);
        handle.tell(observing).await;
        let (turn, reply) = asked.turn().await;
        show(turn.reads, &[came(1)], 1);
        reply.send(kept(turn.entries)).unwrap();
        let seen = observation.await.unwrap().seen;

        let (observing, observation) = observe(PRESENCE);
        handle.tell(observing).await;
        let (turn, reply) = asked.turn().await;
        assert_eq!(observed_after(&turn.reads), Some(ObserverCursor::START));
        show(turn.reads, &[came(1)], 1);
        reply.send(kept(turn.entries)).unwrap();
        observation.await.unwrap();

        handle.tell(Event::ObserverAdvanced { observer: name(1), seen }).await;
        let (observing, _observation) = observe(PRESENCE);
        handle.tell(observing).await;
        let (turn, reply) = asked.turn().await;
        assert_eq!(turn.entries, [Entry::ObserverAdvanced { observer: PeerId::new(1), seen }]);
        assert!(turn.reads.is_empty(), "all there is was read: {:?}", turn.reads);
        reply.send(failed(turn.entries)).unwrap();
        // What could not be kept is tried again when something else happens.
        let (event, _outlet) = join(2);
        handle.tell(event).await;
        let (turn, reply) = asked.turn().await;
        show(turn.reads, &[], 1);
        reply.send(kept(turn.entries)).unwrap();
        let is_seen = |entry: &Entry| *entry == Entry::ObserverAdvanced { observer: PeerId::new(1), seen };
        while let (turn, reply) = asked.turn().await
            && !turn.entries.iter().any(is_seen)
        {
            show(turn.reads, &[], 1);
            reply.send(kept(turn.entries)).unwrap();
        }
    });
}

#[test]
fn who_observes_wakes_nobody_while_nothing_happens_that_it_wants() {
    play(async |handle, asked| {
        let (observing, mut observation) = observe(EventFilter { leave: true, ..EventFilter::default() });
        let (first, _first) = join(1);
        let (second, _second) = join(2);
        for event in [observing, first, second] {
            handle.tell(event).await;
        }
        let (turn, reply) = asked.turn().await;
        assert_eq!(events(&turn.entries), []);
        show(turn.reads, &[], 0);
        reply.send(kept(turn.entries)).unwrap();
        handle.tell(batch(2, 1)).await;
        let (turn, reply) = asked.turn().await;
        reply.send(kept(turn.entries)).unwrap();
        for _ in 0..100 {
            future::yield_now().await;
        }
        assert!(asked.0.try_recv().is_err(), "a message is nothing to it");
        assert!(future::poll_once(&mut observation).await.is_none());
        handle.tell(Event::Leave { session: SessionId::new(2) }).await;
        let (turn, reply) = asked.turn().await;
        assert_eq!(events(&turn.entries), [(EventKind::Leave, 2)]);
        reply.send(TurnOutcome { before: Seq::new(1), newest: Seq::new(1), ..kept(turn.entries) }).unwrap();
        assert_eq!(asked.turn().await.0.reads.len(), 1);
    });
}

#[test]
fn one_who_is_said_to_be_gone_is_forgotten_and_is_answered_nothing() {
    play(async |handle, asked| {
        let (observing, observation) = observe(PRESENCE);
        handle.tell(observing).await;
        let (turn, reply) = asked.turn().await;
        show(turn.reads, &[], 0);
        reply.send(kept(turn.entries)).unwrap();
        handle.tell(Event::Observers { only: vec![name(7)] }).await;
        let (turn, reply) = asked.turn().await;
        assert_eq!(turn.entries, [Entry::Observers { only: vec![name(7)] }]);
        reply.send(kept(turn.entries)).unwrap();
        observation.await.unwrap_err();
        let (event, _outlet) = join(2);
        handle.tell(event).await;
        assert_eq!(events(&asked.turn().await.0.entries), []);
    });
}

#[test]
fn when_the_server_stops_it_is_kept_that_everybody_goes() {
    let (handle, broker, asked) = new();
    let script = async move {
        let (observing, _observation) = observe(PRESENCE);
        let mut outlets = Vec::new();
        handle.tell(observing).await;
        for sender in 2..=4 {
            let (event, outbox_receiver) = join(sender);
            handle.tell(event).await;
            outlets.push(outbox_receiver);
        }
        let (turn, reply) = asked.turn().await;
        assert_eq!(events(&turn.entries).len(), 3);
        show(turn.reads, &[], 3);
        reply.send(kept(turn.entries)).unwrap();
        // One ends in good order, one leaves, and one is there until the end.
        handle.tell(Event::End { session: SessionId::new(2), reason: EndReason::Shutdown }).await;
        drop(handle);
        let mut gone = Vec::new();
        while gone.len() < 3 {
            let (turn, reply) = asked.turn().await;
            gone.extend(events(&turn.entries));
            show(turn.reads, &[], 3);
            reply.send(kept(turn.entries)).unwrap();
        }
        gone.sort_by_key(|(_, peer)| *peer);
        assert_eq!(gone, [2, 3, 4].map(|peer| (EventKind::Leave, peer)));
        asked
    };
    smol::block_on(future::zip(broker.run(), script));
}

#[test]
fn one_who_observes_is_remembered_though_it_has_no_session_and_very_many_are_named() {
    play(async |handle, asked| {
        let (observing, _observation) = observe(PRESENCE);
        let (event, outbox_receiver) = join(2);
        for event in [observing, event] {
            handle.tell(event).await;
        }
        let (turn, reply) = asked.turn().await;
        show(turn.reads, &[], 0);
        reply.send(kept(turn.entries)).unwrap();
        told(&outbox_receiver).await;
        let names: Vec<Destination> =
            (0..2 * ABSENT_PEERS_MAX).map(|name| Destination::parse(&format!("n{name}")).unwrap()).collect();
        for (seq, to) in (0..).zip(names.chunks(DESTINATIONS_DEFAULT as usize)) {
            let send = Request::Send(Draft { to: to.to_vec(), text: Text::clean("hi").unwrap() });
            handle.tell(asks(2, vec![send])).await;
            let (turn, reply) = asked.turn().await;
            let (before, newest) = (Seq::new(seq), Seq::new(seq + 1));
            reply.send(TurnOutcome { before, newest, ..kept(turn.entries) }).unwrap();
        }
        let (observing, _observation) = observe(PRESENCE);
        handle.tell(Event::Observers { only: vec![name(1)] }).await;
        handle.tell(observing).await;
        let (event, _outlet) = join(3);
        handle.tell(event).await;
        let (turn, _reply) = asked.turn().await;
        let begins = |entry: &Entry| matches!(entry, Entry::Observe { .. });
        assert!(!turn.entries.iter().any(begins), "it has observed all the time");
        assert_eq!(events(&turn.entries).len(), 1);
    });
}
