//! Failed turns: what was decided in one is undone, and the turn decided ahead of its outcome is correct nevertheless.

use super::*;
use crate::message::RequestId;
use crate::protocol::PluginRequest;

#[test]
fn turn_decided_ahead_stores_the_peers_of_a_failed_turn_before_it() {
    play(async |handle, store| {
        let _outboxes = join_all(&handle, 1..=SENDERS).await;
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
fn id_of_a_failed_turn_is_free_and_each_request_with_it_is_refused() {
    play(async |handle, store| {
        let outbox_receiver = login(&handle, &store).await;
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
fn batch_is_committed_as_a_whole_or_not_at_all() {
    play(async |handle, store| {
        let outboxes = join_all(&handle, 1..=SENDERS + 1).await;
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

fn set(key: usize) -> PluginRequest {
    PluginRequest::SetValue { key: key.to_string(), value: Some("1".to_owned()) }
}
