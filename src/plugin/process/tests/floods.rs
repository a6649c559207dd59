//! Programs that write too much, or do not read.

use super::*;
use crate::limits::{PROCESS_LINES_AT_ONCE_MAX, PROCESS_UNREAD_BYTES_MAX};

#[test]
fn flood_of_requests_stalls_no_other_program() {
    let flood = Script::new(r#"ask; answer; yes '{"type":"ping"}' | head -n 100000; say done; ask"#);
    flood.run(async |process, recorder| {
        recorder.seen().is_held_up = true;
        // The flood begins once the recorder blocks.
        assert_eq!(ask(process, "x").await, "pass");
        until(|| !recorder.seen().submitted.is_empty()).await;
        let other = Script::new("while ask; do answer; done");
        let other_process = Process { timeouts: other.timeouts, ..Process::load(&other.config).unwrap() };
        let nobody = Recorder::default();
        let asking = async {
            for _ in 0..100 {
                assert_eq!(ask(&other_process, "x").await, "pass");
            }
            other_process.stop().await;
        };
        future::zip(other_process.supervise(&nobody), asking).await;
        assert!(recorder.logged().is_empty(), "the flood must wait");
        assert!(recorder.seen().submitted.len() <= PROCESS_LINES_AT_ONCE_MAX);
        recorder.seen().is_held_up = false;
        until(|| recorder.logged() == ["done"] && recorder.seen().submitted.len() == 100_000).await;
    });
}

#[test]
fn flood_of_invalid_lines_stalls_nobody() {
    let flood = Script::new("while ask; do answer; yes '{' | head -n 100000; done");
    flood.run(async |process, recorder| {
        for _ in 0..3 {
            assert_eq!(ask(process, "x").await, "pass");
        }
        let failures = recorder.failures();
        assert!(failures.len() < 10_000, "many lines are one failure: {}", failures.len());
        assert!(failures.iter().any(|failure| failure.contains("more invalid lines")), "{:?}", failures.first());
    });
}

#[test]
fn program_that_does_not_read_blocks_nobody_beyond_the_timeout() {
    let script = Script::new("say $$; exec sleep 1000");
    script.run(async |process, recorder| {
        let long = "x".repeat(8000);
        for _ in 0..3 {
            let calls = (0..100).map(|_| message(&long)).collect();
            let answers = process.call_all(calls, Some(Duration::from_millis(20))).await;
            let late = "! no answer to message within 200 ms (timeout_ms)";
            assert!(answers.into_iter().all(|answer| words(answer) == late));
        }
        until(|| recorder.logged().len() == 1).await;
        // Replies are queued for it, up to a bound.
        let mut queued = 0;
        while recorder.failures().is_empty() {
            for _ in 0..100 {
                push(process, &long);
                queued += long.len();
            }
            future::yield_now().await;
        }
        assert!(queued >= PROCESS_UNREAD_BYTES_MAX, "{queued}");
        assert_eq!(recorder.failures(), ["the program does not read its replies; restarting in 1 ms"]);
        until(|| recorder.logged().len() == 2).await;
        assert!(!exists(&recorder.logged()[0]));
        assert_eq!(recorder.failures().len(), 1);
    });
}

#[test]
fn program_that_does_not_read_is_restarted() {
    let mut script = Script::new("say $$; exec sleep 1000");
    script.timeouts.silence = Duration::from_millis(100);
    script.run(async |process, recorder| {
        push(process, &"x".repeat(200_000));
        until(|| !recorder.failures().is_empty()).await;
        let words = "the program did not read its standard input for 0.1 s; restarting in 1 ms";
        assert_eq!(recorder.failures()[0], words);
    });
}
