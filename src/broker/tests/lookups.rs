//! Lookups of names: how they are shared out among the clients, and what happens to requests whose names are not known yet.

use super::*;
use crate::limits::{TURN_DELIVERIES_MAX, TURN_LOOKUPS_MAX};

/// Sessions that get each message.
const CROWD: u64 = 100;

/// A batch of messages to names that nobody else names.
fn to_unknown(sender: u64, names: usize) -> Event {
    requests(sender, (0..names).map(|name| send(&format!("x{sender}-{name}"))).collect())
}

/// Returns the senders of the messages of a turn.
fn senders(entries: &[Entry]) -> Vec<i64> {
    let sender = |entry: &Entry| if let Entry::Message { sender, .. } = entry { Some(sender.get()) } else { None };
    entries.iter().filter_map(sender).collect()
}

/// Commits a turn after this message, and returns the senders of its messages.
fn commit(after: &mut i64, (turn, reply): (TurnRequest, oneshot::Sender<TurnOutcome>)) -> Vec<i64> {
    let senders = senders(&turn.entries);
    let before = Seq::new(*after);
    *after += senders.len() as i64;
    let newest = Seq::new(*after);
    reply
        .send(TurnOutcome {
            entries: turn.entries,
            commit: Ok(()),
            before,
            newest,
            floors: Vec::new(),
            reads: None,
            purged: None,
        })
        .unwrap();
    senders
}

async fn join_and_commit(handle: &Handle, store: &StoreInbox, last: u64) -> Vec<OutboxReceiver> {
    let outboxes = join_all(handle, 1..=last).await;
    commit(&mut 0, store.turn().await);
    outboxes
}

#[test]
fn message_to_one_unknown_name_overtakes_batches_to_thousands() {
    play(async |handle, store| {
        let _outboxes = join_and_commit(&handle, &store, 4).await;
        for sender in 1..=3 {
            handle.send(to_unknown(sender, BATCH_REQUESTS_MAX)).await;
        }
        handle.send(to_unknown(4, 1)).await;
        let mut after = 0;
        let first = commit(&mut after, store.turn().await);
        assert!(first.contains(&4), "the single message is in the first turn");
        assert!(first.len() <= TURN_LOOKUPS_MAX + 1, "{} names were looked up", first.len());
        let mut all = first;
        while all.len() <= 3 * BATCH_REQUESTS_MAX {
            all.extend(commit(&mut after, store.turn().await));
        }
        let begins = Vec::from_iter((1..=3).map(|sender| all.iter().position(|found| *found == sender).unwrap()));
        assert!(begins.is_sorted() && begins[2] <= 3 * TURN_LOOKUPS_MAX, "each batch has its turn: {begins:?}");
        assert!((1..=3).all(|sender| all.iter().filter(|found| **found == sender).count() == BATCH_REQUESTS_MAX));
    });
}

#[test]
fn requests_wait_whose_names_the_store_had_no_time_for() {
    play(async |handle, store| {
        let _outboxes = join_and_commit(&handle, &store, 2).await;
        handle.send(requests(1, vec![send("s1"), send("x"), send("y"), send("s2")])).await;
        handle.send(batch(2, 1)).await;
        let StoreRequest::Lookup(lookup, reply) = store.request().await else { panic!("two names are unknown") };
        assert_eq!(lookup.peers.len(), 2);
        reply.send(Ok(LookedUp { peers: vec![None], ..LookedUp::default() })).unwrap();
        let mut after = 0;
        assert_eq!(commit(&mut after, store.turn().await), [1, 1, 2], "the messages before the unknown name");
        assert_eq!(commit(&mut after, store.turn().await), [1, 1], "the others, in their order");
    });
}

/// A room with many members, and two batches of messages to it, beside a message to one peer.
#[test]
fn message_to_few_overtakes_batches_to_a_crowd() {
    play(async |handle, store| {
        let _outboxes = join_all(&handle, 1..=3).await;
        // Sessions of one peer.
        let mut crowd = Vec::new();
        for session in 10..10 + CROWD {
            let (Event::Join { session, joining, .. }, outbox) = join(session) else { unreachable!() };
            handle.send(Event::Join { session, name: name(1), joining }).await;
            crowd.push(outbox);
        }
        commit(&mut 0, store.turn().await);
        for sender in 2..=3 {
            handle.send(batch(sender, BATCH_REQUESTS_MAX)).await;
        }
        handle.send(requests(10, vec![send("s2")])).await;
        let (mut after, mut all) = (0, Vec::new());
        while all.len() <= 2 * BATCH_REQUESTS_MAX {
            let turn = commit(&mut after, store.turn().await);
            assert!(turn.len() as u64 <= TURN_DELIVERIES_MAX as u64 / CROWD + 3, "{} messages to {CROWD}", turn.len());
            assert!(!all.is_empty() || turn.contains(&1), "the message to one peer is in the first turn");
            all.extend(turn);
        }
        let of = |sender: i64| all.iter().filter(|found| **found == sender).count();
        assert_eq!((of(2), of(3)), (BATCH_REQUESTS_MAX, BATCH_REQUESTS_MAX));
    });
}
