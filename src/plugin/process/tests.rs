//! Runs of small shell scripts that behave as programs should, and as they should not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::config::{OnFailure, PluginKind};
use crate::limits::{
    PROCESS_CALLS_MAX, PROCESS_ERROR_LINES_PER_S_MAX, PROCESS_LINES_AT_ONCE_MAX, PROCESS_UNREAD_BYTES_MAX,
};
use crate::message::{Destination, RequestId, Room, Text, Timestamp};
use crate::plugin::{MessageCall, Verdict};
use crate::protocol::{ParsedRequest, Reply, Request};

/// Time limit of a test.
const PATIENCE: Duration = Duration::from_secs(60);

/// Beginning of every script: `ask` reads a call, `answer KEYS` answers the last one that was read.
const PRELUDE: &str = r#"
id_of() { id=${1#*'"id":"'}; id=${id%%'"'*}; }
ask() { read -r line || exit 0; id_of "$line"; }
answer() { printf '{"id":"%s"%s}\n' "$id" "$1"; }
say() { echo "$@" >&2; }
"#;

/// Host that records everything it gets.
#[derive(Default)]
struct Recorder {
    seen: Mutex<Recorded>,
}

#[derive(Default)]
struct Recorded {
    submitted: Vec<ParsedRequest>,
    failures: Vec<String>,
    logged: Vec<String>,
    values: BTreeMap<String, Value>,
    /// Whether `submit` blocks.
    is_held_up: bool,
}

impl Recorder {
    fn seen(&self) -> MutexGuard<'_, Recorded> {
        self.seen.lock().unwrap()
    }

    fn logged(&self) -> Vec<String> {
        self.seen().logged.clone()
    }

    fn failures(&self) -> Vec<String> {
        self.seen().failures.clone()
    }
}

impl ProcessHost for Recorder {
    fn submit(&self, requests: Vec<ParsedRequest>) -> Pending<'_, ()> {
        Box::pin(async {
            self.seen().submitted.extend(requests);
            until(|| !self.seen().is_held_up).await;
        })
    }

    fn get(&self, key: &str) -> Option<Value> {
        self.seen().values.get(key).cloned()
    }

    fn set(&self, key: String, value: Option<Value>) -> Pending<'_, Result<(), Failure>> {
        let mut seen = self.seen();
        match value {
            _ if key == "full" => return Box::pin(future::ready(Err(Failure::new("the disk is full")))),
            Some(value) => seen.values.insert(key, value),
            None => seen.values.remove(&key),
        };
        Box::pin(future::ready(Ok(())))
    }

    fn report_failure(&self, failure: Failure) {
        self.seen().failures.push(failure.to_string());
    }

    fn log(&self, line: &str) {
        self.seen().logged.push(line.to_owned());
    }
}

/// Configuration of a script under test.
struct Script {
    config: PluginConfig,
    timeouts: Timeouts,
    directory: TempDir,
}

impl Script {
    /// Runs the script by `sh -c`: a file that was just written cannot be executed while another test forks.
    fn new(script: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let config = PluginConfig {
            name: PeerName::parse("helper").unwrap(),
            kind: PluginKind::Process,
            path: "/bin/sh".into(),
            directory: directory.path().to_owned(),
            arguments: vec!["-c".to_owned(), format!("{PRELUDE}{script}")],
            hooks: vec![Hook::Message],
            timeout: Duration::from_millis(200),
            on_failure: OnFailure::Pass,
            tick: None,
            commands: Vec::new(),
            settings: json!({}),
            user: None,
            memory_bytes_max: None,
            cpu_s_max: None,
        };
        // No test depends on these limits unless it sets them.
        let timeouts = Timeouts {
            silence: PATIENCE,
            stop: PATIENCE,
            restart_min: Duration::from_millis(1),
            restart_max: Duration::from_millis(1),
            steady: PATIENCE,
        };
        Script { config, timeouts, directory }
    }

    /// Makes the first restart come after the end of the test.
    fn never_restarts(&mut self) {
        (self.timeouts.restart_min, self.timeouts.restart_max) = (PATIENCE, PATIENCE);
    }

    /// Runs the program during the test, then stops it.
    fn run<T>(self, test: impl AsyncFnOnce(&Process, &Recorder) -> T) -> T {
        let Script { config, timeouts, directory } = self;
        let process = Process { timeouts, ..Process::load(&config).unwrap() };
        let recorder = Recorder::default();
        let tested = smol::block_on(async {
            let life = async {
                process.supervise(&recorder).await;
                future::pending().await
            };
            let tested = async {
                let tested = in_time(test(&process, &recorder)).await;
                in_time(process.stop()).await;
                tested
            };
            future::or(life, tested).await
        });
        directory.close().unwrap();
        tested
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    let late = async {
        Timer::after(PATIENCE).await;
        panic!("the test takes too long");
    };
    future::or(work, late).await
}

async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        Timer::after(Duration::from_millis(1)).await;
    }
}

fn message(text: &str) -> Call {
    Call::Message(MessageCall {
        from: PeerName::parse("alice").unwrap(),
        to: vec![Destination::parse("bob").unwrap()],
        text: Text::verbatim(text).unwrap(),
    })
}

/// Describes an answer in short: the replaced text, or the words of a failure.
fn words(answer: Result<Answer, Failure>) -> String {
    match answer.map(|answer| answer.verdict) {
        Ok(Verdict::Pass) => "pass".to_owned(),
        Ok(Verdict::Replace { text: Some(text), .. }) => text.as_str().to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(failure) => format!("! {failure}"),
    }
}

/// Sends the program a line with this text.
fn push(process: &Process, text: &str) {
    process.receive_reply(None, &Reply::Answer { text: Text::stored(text.to_owned()) });
}

async fn ask(process: &Process, text: &str) -> String {
    words(process.call(message(text)).await)
}

/// Repeats a call until the program is back.
async fn ask_until_back(process: &Process) -> String {
    loop {
        match ask(process, "x").await {
            failure if failure.starts_with('!') => Timer::after(Duration::from_millis(1)).await,
            answer => return answer,
        };
    }
}

/// Whether the process exists, possibly as a zombie.
fn exists(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// Whether the process runs. A zombie that was inherited by the first process does not count.
fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

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

#[test]
fn program_that_does_not_answer_is_restarted() {
    let mut script = Script::new("ask; [ -e lived ] && answer; touch lived; exec sleep 1000");
    script.timeouts.silence = Duration::from_millis(200);
    script.run(async |process, recorder| {
        let failure = ask(process, "x").await;
        assert_eq!(failure, "! the program did not answer and wrote no line for 0.2 s; no answer to message");
        assert_eq!(ask_until_back(process).await, "pass");
        assert!(
            recorder.failures()[0].starts_with("the program did not answer and wrote no line for 0.2 s; restarting")
        );
    });
}

#[test]
fn exit_in_the_middle_of_a_line_fails_pending_calls() {
    let script = Script::new(
        r#"
        [ -e lived ] || { touch lived; ask; answer; ask; ask; say $$; printf '{"id":"%s"' "$id"; exit 3; }
        while ask; do answer; done
        "#,
    );
    script.run(async |process, recorder| {
        let answers = process.call_all(vec![message("1"), message("2"), message("3")], None).await;
        let answers: Vec<_> = answers.into_iter().map(words).collect();
        let gone = "! the program ended with exit status 3; no answer to message";
        assert_eq!(answers, ["pass", gone, gone]);
        assert_eq!(ask_until_back(process).await, "pass");
        assert_eq!(recorder.failures(), ["the program ended with exit status 3; restarting in 1 ms"]);
        assert!(!exists(&recorder.logged()[0]), "the process must be waited for");
    });
}

#[test]
fn last_output_before_the_exit_counts() {
    let script = Script::new(
        r#"[ -e lived ] && exec sleep 1000; touch lived; ask; echo '{"type":"ping","id":"p"}'; say why; answer; exit 1"#,
    );
    script.run(async |process, recorder| {
        assert_eq!(ask(process, "x").await, "pass");
        until(|| !recorder.failures().is_empty()).await;
        assert_eq!(recorder.logged(), ["why"]);
        assert_eq!(recorder.seen().submitted.len(), 1);
    });
}

#[test]
fn calls_fail_at_once_while_the_program_is_down() {
    let mut script = Script::new("kill -SEGV $$");
    script.never_restarts();
    script.run(async |process, recorder| {
        until(|| !recorder.failures().is_empty()).await;
        assert_eq!(recorder.failures(), ["the program was ended by SIGSEGV; restarting in 60000 ms"]);
        let failure = "! the program was ended by SIGSEGV; not restarted yet";
        assert_eq!(ask(process, "x").await, failure);
        push(process, "dropped");
    });
}

#[test]
fn restart_delays_grow_until_the_program_works() {
    let mut script = Script::new("exit 1");
    script.timeouts.restart_max = Duration::from_millis(4);
    script.run(async |_, recorder| {
        until(|| recorder.failures().len() >= 5).await;
        let failures = recorder.failures();
        let pauses: Vec<_> = failures[..5].iter().filter_map(|failure| failure.split(' ').rev().nth(1)).collect();
        assert_eq!(pauses, ["1", "2", "4", "4", "4"]);
    });
    let mut script = Script::new("exit 1");
    script.timeouts.restart_max = Duration::from_millis(4);
    script.timeouts.steady = Duration::ZERO;
    script.run(async |_, recorder| {
        until(|| recorder.failures().len() >= 3).await;
        assert!(recorder.failures()[..3].iter().all(|failure| failure.ends_with("in 1 ms")));
    });
}

#[test]
fn failed_start_is_repeated() {
    let mut script = Script::new("");
    let path = script.directory.path().join("helper");
    fs::copy("/bin/sh", &path).unwrap();
    script.config.path = path.clone();
    let process = Process { timeouts: script.timeouts, ..Process::load(&script.config).unwrap() };
    fs::remove_file(path).unwrap();
    let recorder = Recorder::default();
    let tried = async {
        until(|| recorder.failures().len() >= 2).await;
        process.stop().await;
    };
    smol::block_on(in_time(future::zip(process.supervise(&recorder), tried)));
    assert_eq!(
        recorder.failures()[0],
        "the program could not be started: No such file or directory (os error 2); if the file exists, check the interpreter in its first \
         line; restarting in 1 ms"
    );
}

#[test]
fn children_that_hold_the_pipes_are_killed() {
    let script = Script::new("[ -e lived ] && exec sleep 1000; touch lived; sleep 1000 & say $! $$; exit 1");
    script.run(async |_, recorder| {
        until(|| !recorder.failures().is_empty()).await;
        let logged = recorder.logged();
        let (child, parent) = logged[0].split_once(' ').unwrap();
        assert!(!exists(parent));
        until(|| !is_alive(child)).await;
    });
}

#[test]
fn process_that_left_the_group_does_not_delay_the_restart() {
    let mut script = Script::new(
        "[ -e lived ] && exec sleep 1000; touch lived; setsid sh -c 'echo $$ >&2; exec sleep 1000' & read -r line; exit 1",
    );
    script.timeouts.stop = Duration::from_millis(50);
    script.run(async |process, recorder| {
        until(|| !recorder.logged().is_empty()).await;
        let pid = recorder.logged()[0].clone();
        push(process, "go");
        until(|| !recorder.failures().is_empty()).await;
        assert!(is_alive(&pid), "a process outside the group is not killed");
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    });
}

#[test]
fn program_that_closes_its_output_is_stopped() {
    let mut script = Script::new("[ -e lived ] && exec sleep 1000; touch lived; say $$; exec >&-; exec sleep 1000");
    script.never_restarts();
    script.run(async |_, recorder| {
        until(|| !recorder.failures().is_empty()).await;
        assert_eq!(recorder.failures(), ["the program closed its standard output; restarting in 60000 ms"]);
        assert!(!exists(&recorder.logged()[0]));
    });
}

#[test]
fn program_that_closes_its_input_may_still_write() {
    let script = Script::new(
        r#"exec <&-; echo '{"type":"ping"}'; until [ -e go ]; do sleep 0.01; done; echo '{"type":"ping"}'; exec sleep 1000"#,
    );
    let go = script.directory.path().join("go");
    script.run(async |process, recorder| {
        until(|| recorder.seen().submitted.len() == 1).await;
        push(process, "dropped");
        let closed = "! the program has closed its standard input";
        until(|| {
            let answer = smol::block_on(future::poll_once(ask(process, "x")));
            answer.as_deref() == Some(closed)
        })
        .await;
        fs::write(go, "").unwrap();
        until(|| recorder.seen().submitted.len() == 2).await;
        assert!(recorder.failures().is_empty());
    });
}

#[test]
fn stopped_program_can_clean_up() {
    let script = Script::new("trap 'say bye; exit 0' TERM; say ready; while :; do read -r line; done");
    script.run(async |process, recorder| {
        until(|| recorder.logged() == ["ready"]).await;
        process.stop().await;
        assert_eq!(recorder.logged(), ["ready", "bye"]);
        assert_eq!(ask(process, "x").await, "! the program was stopped");
        assert!(recorder.failures().is_empty());
    });
}

#[test]
fn program_that_ignores_sigterm_is_killed() {
    let mut script = Script::new("trap '' TERM; say $$; while :; do sleep 1000; done");
    script.timeouts.stop = Duration::from_millis(50);
    script.run(async |process, recorder| {
        until(|| !recorder.logged().is_empty()).await;
        let (unanswered, ()) = future::zip(ask(process, "x"), process.stop()).await;
        assert_eq!(unanswered, "! the program was stopped; no answer to message");
        until(|| !exists(&recorder.logged()[0])).await;
    });
}

#[test]
fn plugin_that_never_ran_stops_at_once() {
    let script = Script::new("");
    let process = Process::load(&script.config).unwrap();
    smol::block_on(in_time(process.stop()));
    smol::block_on(in_time(process.supervise(&Recorder::default())));
}

#[test]
fn dropped_plugin_leaves_no_process() {
    let script = Script::new("trap '' TERM; sleep 1000 & say $$ $!; while :; do sleep 1000; done");
    let process = Process::load(&script.config).unwrap();
    let recorder = Recorder::default();
    let said = async {
        until(|| !recorder.logged().is_empty()).await;
    };
    smol::block_on(in_time(future::or(process.supervise(&recorder), said)));
    let logged = recorder.logged();
    let (parent, child) = logged[0].split_once(' ').unwrap();
    smol::block_on(in_time(until(|| !exists(parent) && !is_alive(child))));
}

#[test]
fn program_gets_its_directory_name_settings_and_arguments() {
    let mut script = Script::new(r#"say "$HOLDLINE_PLUGIN $HOLDLINE_SETTINGS $1"; say "$(pwd -P)"; say "$PATH"; ask"#);
    script.config.settings = json!({ "words": ["heck", "d'oh"] });
    script.config.arguments.extend(["sh".to_owned(), "an argument".to_owned()]);
    let directory = script.directory.path().canonicalize().unwrap();
    script.run(async |_, recorder| {
        until(|| recorder.logged().len() == 3).await;
        let path = std::env::var("PATH").unwrap();
        assert_eq!(
            recorder.logged(),
            [r#"helper {"words":["heck","d'oh"]} an argument"#, directory.to_str().unwrap(), path.as_str()]
        );
    });
}

#[test]
fn program_leads_its_own_process_group() {
    let script = Script::new("say $$; say $(cut -d ' ' -f 5 /proc/$$/stat); ask");
    script.run(async |_, recorder| {
        until(|| recorder.logged().len() == 2).await;
        let logged = recorder.logged();
        assert_eq!(logged[0], logged[1]);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn program_inherits_no_descriptor_of_the_server() {
    use std::os::fd::BorrowedFd;

    use rustix::io::{FdFlags, fcntl_getfd};

    // Every process inherits the descriptors that the test runner left open.
    #[allow(unsafe_code)]
    let is_inherited = |fd: i32| {
        // SAFETY: the descriptor is only queried; a closed one is an error.
        fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) }).is_ok_and(|flags| !flags.contains(FdFlags::CLOEXEC))
    };
    // A second program, whose pipes the server holds, too.
    let other = Script::new("say running; ask");
    let open = other.run(async |_, other_recorder| {
        until(|| other_recorder.logged() == ["running"]).await;
        let script = Script::new("say $$; ask; answer; ask");
        let (process, recorder) = (Process::load(&script.config).unwrap(), Recorder::default());
        let look = async {
            // While a shell writes to its standard error, its output has another descriptor.
            assert_eq!(ask(&process, "x").await, "pass");
            until(|| !recorder.logged().is_empty()).await;
            let open = fs::read_dir(format!("/proc/{}/fd", recorder.logged()[0])).unwrap();
            let mut open: Vec<i32> =
                open.map(|entry| entry.unwrap().file_name().into_string().unwrap().parse().unwrap()).collect();
            open.sort_unstable();
            process.stop().await;
            open
        };
        future::zip(process.supervise(&recorder), look).await.1
    });
    assert!(open.starts_with(&[0, 1, 2]), "{open:?}");
    assert!(open[3..].iter().all(|fd| is_inherited(*fd)), "{open:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn many_restarts_leave_no_descriptor_and_no_zombie() {
    let script = Script::new("say $$ $(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2); exit 1");
    let logged = script.run(async |_, recorder| {
        until(|| recorder.failures().len() >= 50).await;
        recorder.logged()
    });
    assert!(logged.len() >= 20, "{logged:?}");
    let open_here = || {
        let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.map(|link| link.display().to_string()).collect::<Vec<_>>()
    };
    // Another test may reuse the number of a pipe.
    let pipes: Vec<&str> = logged.iter().flat_map(|line| line.split(' ').skip(1)).collect();
    let left = || open_here().into_iter().filter(|open| pipes.contains(&open.as_str())).count();
    smol::block_on(in_time(until(|| left() == 0)));
    // Descriptors of processes that have ended; another test may hold one for a moment.
    let gone = || {
        let infos =
            fs::read_dir("/proc/self/fdinfo").unwrap().filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
        infos.filter(|info| info.contains("Pid:\t-1\n")).count()
    };
    smol::block_on(in_time(until(|| gone() == 0)));
    assert!(logged.iter().all(|line| !exists(line.split(' ').next().unwrap())));
}

#[test]
fn standard_error_is_logged_up_to_a_rate() {
    let script = Script::new("seq 1000 >&2; say last; ask");
    script.run(async |_, recorder| {
        let most = PROCESS_ERROR_LINES_PER_S_MAX as usize;
        until(|| recorder.logged().iter().any(|line| line.starts_with('('))).await;
        let logged = recorder.logged();
        assert_eq!(logged[..2], ["1", "2"]);
        assert_eq!(logged[most - 1], "20");
        // All lines come within one second, except on a very slow machine.
        let left_out = |line: &str| line.strip_prefix('(')?.split(' ').next()?.parse::<usize>().ok();
        let counted: usize = logged.iter().map(|line| left_out(line).unwrap_or(1)).sum();
        assert!(counted <= 1001 && counted > most, "{logged:?}");
    });
}

#[test]
fn memory_limit_stops_the_program() {
    let mut script = Script::new(
        r#"
        [ -e lived ] && exec sleep 1000; touch lived
        x=xxxxxxxx; while [ ${#x} -lt 134217728 ]; do x=$x$x; done
        say full; exec sleep 1000
        "#,
    );
    script.config.memory_bytes_max = Some(64 * 1024 * 1024);
    script.run(async |_, recorder| {
        until(|| !recorder.failures().is_empty() || recorder.logged() == ["full"]).await;
        // Some shells report that they are out of memory, others crash.
        assert_eq!(recorder.failures().len(), 1, "{:?}", recorder.logged());
    });
}

#[test]
fn processor_time_limit_stops_the_program() {
    let mut script = Script::new("[ -e lived ] && exec sleep 1000; touch lived; while :; do :; done");
    script.config.cpu_s_max = Some(1);
    script.run(async |_, recorder| {
        until(|| !recorder.failures().is_empty()).await;
        assert_eq!(recorder.failures(), ["the program was ended by SIGXCPU (cpu_s_max); restarting in 1 ms"]);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn program_runs_as_its_user() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    // A group of this thread alone, which the program must not have.
    rustix::thread::set_thread_groups(&[rustix::process::Gid::from_raw(4242)]).unwrap();
    let mut script = Script::new("say $(id -un) $(id -gn) $(id -Gn) $HOME $USER; say $(ulimit -v); ask");
    script.config.user = Some("nobody".to_owned());
    script.config.memory_bytes_max = Some(1024 * 1024 * 1024);
    script.run(async |_, recorder| {
        until(|| recorder.logged().len() == 2).await;
        assert_eq!(recorder.logged(), ["nobody nogroup nogroup /nonexistent nobody", "1048576"]);
    });
}

#[test]
fn program_that_cannot_be_run_is_refused() {
    let script = Script::new("");
    let directory = script.directory.path();
    fs::create_dir(directory.join("plugins")).unwrap();
    fs::write(directory.join("plugins/push.sh"), "#!/bin/sh\n").unwrap();
    let refused = |change: fn(&mut PluginConfig)| {
        let mut config = script.config.clone();
        change(&mut config);
        Process::load(&config).map(drop).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|config| config.path = "plugins/pull.sh".into()),
        "path = \"plugins/pull.sh\": No such file or directory (os error 2); the path is relative to the directory of \
         plugins.toml"
    );
    assert_eq!(
        refused(|config| config.path = "plugins".into()),
        "path = \"plugins\" is not a file; name the program itself"
    );
    assert_eq!(
        refused(|config| config.path = "plugins/push.sh".into()),
        "path = \"plugins/push.sh\" is not executable; run: chmod +x plugins/push.sh"
    );
    assert_eq!(
        refused(|config| config.user = Some("no-such-user".to_owned())),
        "user = \"no-such-user\": this system has no such user; list them with: getent passwd"
    );
    assert_eq!(
        refused(|config| config.settings = json!({ "x": "x".repeat(70_000) })),
        "[plugin.settings] has 70008 bytes as JSON; at most 65536 are allowed, so move some of it to a file"
    );
    assert_eq!(
        refused(|config| config.arguments.push("a\0b".to_owned())),
        "arguments: \"a\u{fffd}b\" contains the character U+0000, which ends an argument; remove it"
    );
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
