//! Rooms in failed turns: members, topics and messages.

use super::*;

#[test]
fn failed_join_makes_no_member_and_may_be_tried_again() {
    play(async |handle, store| {
        let outbox_receiver = login(&handle, &store).await;
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
        let _outbox = login_to_room(&handle, &store).await;
        handle.send(requests(1, vec![Request::Leave { room: Room::stored("#a") }])).await;
        let (turn, reply) = store.turn().await;
        reply.send(failed(turn.entries)).unwrap();
        handle.send(requests(1, vec![send("#a")])).await;
        let (turn, _reply) = store.turn().await;
        assert_eq!(of_rooms(&turn.entries), (vec![], 1));
    });
}

#[test]
fn no_turn_is_decided_ahead_of_a_change_of_membership() {
    play(async |handle, store| {
        let _outboxes = join_all(&handle, 1..=SENDERS).await;
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
fn topic_of_a_failed_turn_is_not_shown() {
    play(async |handle, store| {
        let outbox_receiver = login_to_room(&handle, &store).await;
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
        let outbox_receiver = login(&handle, &store).await;
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
        let outbox_receiver = login(&handle, &store).await;
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

/// Logs the first sender in, and lets it join the room.
async fn login_to_room(handle: &Handle, store: &StoreInbox) -> OutboxReceiver {
    let outbox_receiver = login(handle, store).await;
    handle.send(requests(1, vec![join_room()])).await;
    let (turn, reply) = store.turn().await;
    reply.send(committed(turn.entries)).unwrap();
    while !next_output(&outbox_receiver).await.contains("* you are in #a now\n") {}
    outbox_receiver
}
