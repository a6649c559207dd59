//! Requests of a program, and the values that it stores.

use super::*;
use crate::message::{RequestId, Room, Timestamp};
use crate::protocol::Request;

#[test]
fn requests_are_submitted_and_replies_are_written() {
    let script = Script::new(
        r##"
        echo '{"type":"join","id":"j","room":"#home"}'
        echo '{"type":"send","id":"s","to":["#home"],"text":"hi"}'
        echo '{"type":"nonsense"}'
        read -r line; say "$line"
        "##,
    );
    script.run(async |process, recorder| {
        until(|| recorder.seen().submitted.len() == 3).await;
        let submitted = std::mem::take(&mut recorder.seen().submitted);
        let [Ok(joining), Ok(sending), Err(_)] = &submitted[..] else { panic!("{submitted:?}") };
        assert!(matches!(&joining.request, Request::Join { room } if room.as_str() == "#home"));
        assert!(matches!(&sending.request, Request::Send(draft) if draft.text.as_str() == "hi"));
        assert_eq!(sending.id.as_ref().map(|id| id.as_str()), Some("s"));
        let (id, room) = (RequestId::parse("j"), Room::parse("#home").unwrap());
        process.receive_reply(id.as_ref(), &Reply::Joined { room, topic: None });
        until(|| recorder.logged() == [r##"{"type":"joined","id":"j","room":"#home"}"##]).await;
    });
}

#[test]
fn requests_are_submitted_before_a_later_answer_to_a_notification_counts() {
    let script =
        Script::new(r#"ask; echo '{"type":"send","to":["bob"],"text":"hi"}'; answer; ask; answer ',"text":"x"'; ask"#);
    script.run(async |process, recorder| {
        recorder.seen().is_held_up = true;
        let mut tick = process.call(Call::Tick { at: Timestamp::from_millis(0) });
        assert_eq!(future::poll_once(&mut tick).await, None);
        // The answer to a deciding call does not wait for the request before it.
        assert_eq!(ask(process, "y").await, "x");
        assert_eq!(future::poll_once(&mut tick).await, None, "the message is not submitted yet");
        recorder.seen().is_held_up = false;
        assert_eq!(tick.await, Ok(Answer::default()));
        assert_eq!(recorder.seen().submitted.len(), 1);
    });
}

#[test]
fn values_are_stored_and_read() {
    let script = Script::new(
        r#"
        turn() { echo "$1"; read -r line; say "$line"; }
        turn '{"type":"get","id":"1","key":"k"}'
        turn '{"type":"set","id":"2","key":"k","value":{"a":[1]}}'
        turn '{"type":"get","key":"k"}'
        turn '{"type":"set","key":"k","value":null}'
        turn '{"type":"set","id":"3","key":"full","value":1}'
        turn '{"type":"get","id":"4","key":"k"}'
        echo '{"type":"set","id":"5","key":""}'
        read -r line
        "#,
    );
    script.run(async |_, recorder| {
        until(|| recorder.logged().len() == 6 && recorder.seen().submitted.len() == 1).await;
        assert_eq!(
            recorder.logged(),
            [
                r#"{"type":"value","id":"1","key":"k","value":null}"#,
                r#"{"type":"set","id":"2","key":"k"}"#,
                r#"{"type":"value","key":"k","value":{"a":[1]}}"#,
                r#"{"type":"set","key":"k"}"#,
                r#"{"type":"error","id":"3","code":"internal","message":"the disk is full; nothing was done"}"#,
                r#"{"type":"value","id":"4","key":"k","value":null}"#,
            ]
        );
        let rejected = recorder.seen().submitted[0].clone().expect_err("an empty key must be refused");
        assert_eq!(rejected.refusal.message, "\"key\" has 0 bytes; 1 to 128 are allowed; nothing was done");
    });
}
