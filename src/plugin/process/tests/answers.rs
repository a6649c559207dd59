//! Calls and answers: which answer belongs to which call, and what becomes of invalid lines.

use super::*;
use crate::limits::PROCESS_CALLS_MAX;

#[test]
fn calls_overlap_and_are_answered_in_any_order() {
    let script = Script::new(
        r#"
        ask; first=$id; ask; second=$id; ask; answer ',"text":"third"'
        id=$second; answer; id=$first; answer ',"reject":"no"'
        ask; answer ',"text":"of \"two\""'; ask; answer
        "#,
    );
    script.run(async |process, _| {
        let answers = process.call_all(vec![message("1"), message("2"), message("3")], None).await;
        let answers: Vec<_> = answers.into_iter().map(words).collect();
        assert_eq!(answers, [r#"Reject("no")"#, "pass", "third"]);
        assert_eq!(ask(process, "4").await, "of \"two\"");
        assert_eq!(ask(process, "5").await, "pass");
    });
}

#[test]
fn more_calls_than_fit_in_flight_are_answered() {
    let script = Script::new("while ask; do answer; done");
    script.run(async |process, _| {
        let calls = || (0..3 * PROCESS_CALLS_MAX).map(|_| message("x")).collect::<Vec<_>>();
        let (some, others) = future::zip(process.call_all(calls(), None), process.call_all(calls(), None)).await;
        assert!(some.into_iter().chain(others).all(|answer| answer == Ok(Answer::default())));
    });
}

#[test]
fn late_answer_is_not_passed_to_another_call() {
    let script = Script::new(
        r#"ask; late=$id; ask; now=$id; id=$late; answer ',"text":"late"'; id=999; answer; id=$now; answer ',"text":"now"'"#,
    );
    script.run(async |process, recorder| {
        let timeout = Duration::from_millis(20);
        let began = Instant::now();
        let answers = process.call_all(vec![message("1")], Some(timeout)).await;
        assert!(began.elapsed() >= timeout);
        let answers: Vec<_> = answers.into_iter().map(words).collect();
        assert_eq!(answers, ["! no answer to message within 200 ms (timeout_ms)"]);
        assert_eq!(ask(process, "2").await, "now");
        assert!(recorder.failures().is_empty(), "{:?}", recorder.failures());
    });
}

#[test]
fn answers_that_are_there_at_the_timeout_count() {
    let script = Script::new("ask; ask; answer; ask; answer; say answered; ask");
    script.run(async |process, recorder| {
        let calls = vec![message("1"), message("2"), message("3")];
        let (answers, ()) = future::zip(
            process.call_all(calls, Some(Duration::from_millis(200))),
            until(|| recorder.logged() == ["answered"]),
        )
        .await;
        let answers: Vec<_> = answers.into_iter().map(words).collect();
        assert_eq!(answers, ["! no answer to message within 200 ms (timeout_ms)", "pass", "pass"]);
    });
}

#[test]
fn invalid_lines_are_dropped_and_reported() {
    let script = Script::new(
        r#"
        turn() { ask; echo "$1"; answer; }
        turn hello
        turn '{"text":"x"}'
        turn '{"id":7}'
        turn '["1"]'
        ask; printf '\377\n'; answer
        ask; head -c 70000 /dev/zero | tr '\0' x; echo; answer
        turn ''
        ask; echo a; echo b; answer
        "#,
    );
    script.run(async |process, recorder| {
        for _ in 0..8 {
            assert_eq!(ask(process, "x").await, "pass");
        }
        let failures = recorder.failures();
        // Whether two lines are read together is up to the system.
        let (first, last) = failures.split_at(6);
        assert_eq!(
            first,
            [
                "the program wrote a line that is not a JSON object: \"hello\"; dropped",
                "the program wrote a line with neither \"id\" nor \"type\": \"{\"text\":\"x\"}\"; dropped",
                "the program wrote an \"id\" that is not a string: \"{\"id\":7}\"; dropped",
                "the program wrote a line that is not a JSON object: \"[\"1\"]\"; dropped",
                "the program wrote a line that is not UTF-8; dropped",
                "the program wrote a line of more than 65536 bytes; dropped",
            ]
        );
        assert!(last[0].contains("\"a\""), "{last:?}");
    });
}

#[test]
fn invalid_answer_fails_only_its_call() {
    let script = Script::new(
        r#"
        ask; answer ',"rejct":"x"'; ask; answer ',"allow":true'; ask; answer ',"error":"no network"'; ask; answer
        "#,
    );
    script.run(async |process, recorder| {
        assert!(ask(process, "x").await.starts_with("! invalid answer: unknown field `rejct`"));
        assert_eq!(ask(process, "x").await, "! the answer to message has a verdict that this hook does not allow");
        assert_eq!(ask(process, "x").await, "! message failed: no network");
        assert_eq!(ask(process, "x").await, "pass");
        assert!(recorder.failures().is_empty());
    });
}
