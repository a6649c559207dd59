//! The queue of calls to the thread of a script: batches, their order, and the end of the thread.

use std::time::Instant;

use super::*;
use crate::timeout::Elapsed;

#[test]
fn each_call_of_a_batch_has_its_own_time_limit() {
    let body = "while m.text == 'go' do end";
    let script = Case::on_message(body).with(|config| config.timeout = MODERATE).load();
    let calls = || vec![message("go"), message("a"), message("go")];
    for timeout in [None, Some(MODERATE)] {
        let answers = future::block_on(script.script.call_all(calls(), timeout));
        let late = Failure::new("message ran longer than 400 ms (timeout_ms)");
        assert_eq!(answers, [Err(late.clone()), Ok(Answer::default()), Err(late)]);
    }
}

#[test]
fn deciding_calls_overtake_notifications() {
    let text = "
        function logged(m)
            if m.text == 'go' then
                local until_then = os.clock() + 0.2
                while os.clock() < until_then do end
            end
            order = (order or '') .. 'logged '
            store.set('order', order)
        end
        function message(m) order = (order or '') .. 'message ' end";
    let order = || {
        let script = Case::new(text, &[Hook::Logged, Hook::Message]).load().script;
        let notifications = script.call_all(vec![logged("go"), logged("a"), logged("b")], None);
        let deciding = async {
            // Waits until the thread has taken the notifications.
            while !script.notified.is_empty() {
                future::yield_now().await;
            }
            script.call(message("hi")).await
        };
        let (answers, _) = future::block_on(future::zip(notifications, deciding));
        answers.into_iter().next_back().unwrap().unwrap().effects
    };
    let expected = [set("order", Some(json!("logged message logged logged ")))];
    // On a busy machine the deciding call may come too late, but not every time.
    assert!((0..20).any(|_| order() == expected));
}

#[test]
fn batches_wait_for_room_in_the_queue() {
    let script = Case::on_message("n = (n or 0) + 1 return { text = tostring(n) }").load().script;
    let executor = smol::Executor::new();
    let calls: Vec<_> = (0..4 * SCRIPT_BATCHES_MAX).map(|_| executor.spawn(script.call(message("hi")))).collect();
    let answers = future::block_on(executor.run(async {
        let mut answers = Vec::new();
        for call in calls {
            answers.push(call.await.unwrap().verdict);
        }
        answers
    }));
    let counted: Vec<Verdict> = (1..=4 * SCRIPT_BATCHES_MAX).map(|n| replaced(&n.to_string())).collect();
    for count in counted {
        assert!(answers.contains(&count), "{count:?}");
    }
}

#[test]
fn stopped_script_answers_nothing() {
    let script = Case::on_message("while m.text == 'go' do end").with(|config| config.timeout = HASTY).load();
    let ended = async {
        future::zip(script.script.call_all(vec![logged("x"), message("go"), message("b")], None), async {
            // The batch was queued already, because its future was polled first.
            script.script.stop().await;
        })
        .await
        .0
    };
    let answers = future::block_on(ended);
    assert_eq!(answers.len(), 3);
    assert!(answers[2].is_err(), "{answers:?}");
    assert_eq!(script.message("hi"), Err("the thread of the script has ended".into()));
    future::block_on(script.script.stop());
}

#[test]
fn panic_is_a_failure() {
    let script = Case::on_message("panic()").load();
    let calls = script.script.call_all(vec![message("a"), message("b")], Some(PATIENT));
    // The second batch may still be in the queue at the panic.
    let (answers, _) = future::block_on(future::zip(calls, script.script.call(message("c"))));
    let ended = || Err(Failure::new("the thread of the script has ended"));
    assert_eq!(answers, [ended(), ended()]);
    assert_eq!(future::block_on(script.script.call(message("c"))), ended());
    future::block_on(script.script.stop());
}

#[test]
fn request_without_a_reply_ends_at_the_deadline() {
    assert_eq!(api::block_until(Instant::now() + HASTY, future::pending::<()>()), Err(Elapsed));
    assert_eq!(api::block_until(Instant::now() + PATIENT, future::ready(5)), Ok(5));
}
