//! Events and their observers, over failed turns and a shutdown.

use super::*;
use crate::limits::{DESTINATIONS_DEFAULT, OFFLINE_PEERS_CACHED_MAX};
use crate::store::{EventFilter, EventKind, Observed, ObservedPage, ObserverCursor, PeerEvent, Read};

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
        handle.send(observing).await;
        let _outboxes = join_all(&handle, 2..=4).await;
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
