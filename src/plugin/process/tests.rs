//! The life of programs: small scripts that behave as programs should, and as they should not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::config::{OnFailure, PluginKind};
use crate::limits::{
    PROCESS_CALLS_MAX, PROCESS_ERROR_LINES_PER_S_MAX, PROCESS_HEARD_BYTES_MAX, PROCESS_LINES_AT_ONCE_MAX,
};
use crate::message::{Destination, Text, Timestamp};
use crate::plugin::{MessageCall, Verdict};
use crate::protocol::{ParsedRequest, Request};

/// What a test waits for at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// What every script begins with: `ask` reads a call, `answer WHAT` answers the one that was read last.
const PRELUDE: &str = r#"
id_of() { id=${1#*'"id":"'}; id=${id%%'"'*}; }
ask() { read -r line || exit 0; id_of "$line"; }
answer() { printf '{"id":"%s"%s}\n' "$id" "$1"; }
say() { echo "$@" >&2; }
"#;

/// A chat that keeps what it is handed.
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
    /// Nothing more is taken.
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
            _ if key == "full" => return Box::pin(future::ready(Err(Failure::new("there is no room")))),
            Some(value) => seen.values.insert(key, value),
            None => seen.values.remove(&key),
        };
        Box::pin(future::ready(Ok(())))
    }

    fn failed(&self, failure: Failure) {
        self.seen().failures.push(failure.to_string());
    }

    fn log(&self, line: &str) {
        self.seen().logged.push(line.to_owned());
    }
}

/// A script that is to run.
struct Script {
    config: PluginConfig,
    timeouts: Timeouts,
    directory: TempDir,
}

impl Script {
    /// `sh` itself is the program: a file that was just written cannot be run while another test starts something.
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
        // No test waits for any of these unless it says so.
        let timeouts = Timeouts {
            silence: PATIENCE,
            stop: PATIENCE,
            restart_min: Duration::from_millis(1),
            restart_max: Duration::from_millis(1),
            steady: PATIENCE,
        };
        Script { config, timeouts, directory }
    }

    /// Runs it while the test does, and ends it.
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
                in_time(process.end()).await;
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
        panic!("this takes too long");
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
        text: Text::kept(text).unwrap(),
    })
}

/// What a call was answered, in short: the text that it goes on with, or the words of a failure.
fn words(answer: Result<Answer, Failure>) -> String {
    match answer.map(|answer| answer.verdict) {
        Ok(Verdict::Pass) => "pass".to_owned(),
        Ok(Verdict::Replace { text: Some(text), .. }) => text.as_str().to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(failure) => format!("! {failure}"),
    }
}

async fn ask(process: &Process, text: &str) -> String {
    words(process.call(message(text)).await)
}

/// Whoever is told that the program is gone asks again.
async fn ask_until_it_is_back(process: &Process) -> String {
    loop {
        match ask(process, "x").await {
            failure if failure.starts_with('!') => Timer::after(Duration::from_millis(1)).await,
            answer => return answer,
        };
    }
}

/// Whether there is such a process, and be it one that nobody has waited for.
fn exists(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// Whether it still does anything. One that was handed on to the first process is that one's to wait for.
fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[test]
fn calls_are_on_their_way_together_and_answered_in_any_order() {
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
fn many_more_calls_than_it_may_have_in_hand_are_answered() {
    let script = Script::new("while ask; do answer; done");
    script.run(async |process, _| {
        let calls = || (0..3 * PROCESS_CALLS_MAX).map(|_| message("x")).collect::<Vec<_>>();
        let (some, others) = future::zip(process.call_all(calls(), None), process.call_all(calls(), None)).await;
        assert!(some.into_iter().chain(others).all(|answer| answer == Ok(Answer::default())));
    });
}

#[test]
fn an_answer_that_comes_too_late_is_nobody_elses() {
    let script = Script::new(
        r#"ask; late=$id; ask; now=$id; id=$late; answer ',"text":"late"'; id=999; answer; id=$now; answer ',"text":"now"'"#,
    );
    script.run(async |process, recorder| {
        let timeout = Duration::from_millis(20);
        let began = Instant::now();
        let answers = process.call_all(vec![message("1")], Some(timeout)).await;
        assert!(began.elapsed() >= timeout);
        let answers: Vec<_> = answers.into_iter().map(words).collect();
        assert_eq!(answers, ["! no answer to message came within 200 ms (timeout_ms)"]);
        assert_eq!(ask(process, "2").await, "now");
        assert!(recorder.failures().is_empty(), "{:?}", recorder.failures());
    });
}

#[test]
fn what_is_there_when_the_time_is_over_counts() {
    let script = Script::new("ask; ask; answer; ask; answer; say answered; ask");
    script.run(async |process, recorder| {
        let calls = vec![message("1"), message("2"), message("3")];
        let (answers, ()) = future::zip(
            process.call_all(calls, Some(Duration::from_millis(200))),
            until(|| recorder.logged() == ["answered"]),
        )
        .await;
        let answers: Vec<_> = answers.into_iter().map(words).collect();
        assert_eq!(answers, ["! no answer to message came within 200 ms (timeout_ms)", "pass", "pass"]);
    });
}

#[test]
fn garbage_is_dropped_and_told() {
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
        let (told, last) = failures.split_at(6);
        assert_eq!(
            told,
            [
                "the program wrote a line that is no JSON object: \"hello\"; dropped",
                "the program wrote a line with neither \"id\" nor \"type\": \"{\"text\":\"x\"}\"; dropped",
                "the program wrote an \"id\" that is no string: \"{\"id\":7}\"; dropped",
                "the program wrote a line that is no JSON object: \"[\"1\"]\"; dropped",
                "the program wrote a line that is not UTF-8; dropped",
                "the program wrote a line of more than 65536 bytes; dropped",
            ]
        );
        assert!(last[0].contains("\"a\""), "{last:?}");
    });
}

#[test]
fn an_answer_that_does_not_fit_fails_its_call_alone() {
    let script = Script::new(
        r#"
        ask; answer ',"rejct":"x"'; ask; answer ',"allow":true'; ask; answer ',"error":"no network"'; ask; answer
        "#,
    );
    script.run(async |process, recorder| {
        assert!(ask(process, "x").await.starts_with("! an answer that is none: unknown field `rejct`"));
        assert_eq!(ask(process, "x").await, "! the answer to message says what cannot be said to it");
        assert_eq!(ask(process, "x").await, "! message failed: no network");
        assert_eq!(ask(process, "x").await, "pass");
        assert!(recorder.failures().is_empty());
    });
}

#[test]
fn what_it_asks_is_handed_in_and_what_is_answered_is_written() {
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
        process.hear(r##"{"type":"joined","id":"j","room":"#home"}"##);
        until(|| recorder.logged() == [r##"{"type":"joined","id":"j","room":"#home"}"##]).await;
    });
}

#[test]
fn values_are_kept() {
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
                r#"{"type":"error","id":"3","code":"internal","message":"there is no room; nothing was done"}"#,
                r#"{"type":"value","id":"4","key":"k","value":null}"#,
            ]
        );
        let rejected = recorder.seen().submitted[0].clone().expect_err("it is refused");
        assert_eq!(rejected.refusal.message, "\"key\" is of 0 bytes; 1 to 128 are wanted; nothing was done");
    });
}

#[test]
fn a_flood_of_requests_waits_and_stalls_nobody() {
    let flood = Script::new(r#"yes '{"type":"ping"}' | head -n 100000; say done; ask"#);
    flood.run(async |_, recorder| {
        recorder.seen().is_held_up = true;
        until(|| !recorder.seen().submitted.is_empty()).await;
        let other = Script::new("while ask; do answer; done");
        let other_process = Process { timeouts: other.timeouts, ..Process::load(&other.config).unwrap() };
        let nobody = Recorder::default();
        let asking = async {
            for _ in 0..100 {
                assert_eq!(ask(&other_process, "x").await, "pass");
            }
            other_process.end().await;
        };
        future::zip(other_process.supervise(&nobody), asking).await;
        assert!(recorder.logged().is_empty(), "the flood is held up");
        assert!(recorder.seen().submitted.len() <= PROCESS_LINES_AT_ONCE_MAX);
        recorder.seen().is_held_up = false;
        until(|| recorder.logged() == ["done"] && recorder.seen().submitted.len() == 100_000).await;
    });
}

#[test]
fn a_flood_of_garbage_stalls_nobody() {
    let flood = Script::new("while ask; do answer; yes '{' | head -n 100000; done");
    flood.run(async |process, recorder| {
        for _ in 0..3 {
            assert_eq!(ask(process, "x").await, "pass");
        }
        let failures = recorder.failures();
        assert!(failures.len() < 10_000, "one for many lines: {}", failures.len());
        assert!(failures.iter().any(|failure| failure.contains("more like it")), "{:?}", failures.first());
    });
}

#[test]
fn who_does_not_read_blocks_nobody_beyond_the_deadline() {
    let script = Script::new("say $$; exec sleep 1000");
    script.run(async |process, recorder| {
        let long = "x".repeat(8000);
        for _ in 0..3 {
            let calls = (0..100).map(|_| message(&long)).collect();
            let answers = process.call_all(calls, Some(Duration::from_millis(20))).await;
            let late = "! no answer to message came within 200 ms (timeout_ms)";
            assert!(answers.into_iter().all(|answer| words(answer) == late));
        }
        until(|| recorder.logged().len() == 1).await;
        // What it is answered is kept for it, up to a bound.
        let mut told = 0;
        while recorder.failures().is_empty() {
            for _ in 0..100 {
                process.hear(&long);
                told += long.len();
            }
            future::yield_now().await;
        }
        assert!(told >= PROCESS_HEARD_BYTES_MAX, "{told}");
        assert_eq!(recorder.failures(), ["the program does not read what it is answered; it is started again in 1 ms"]);
        until(|| recorder.logged().len() == 2).await;
        assert!(!exists(&recorder.logged()[0]));
        assert_eq!(recorder.failures().len(), 1);
    });
}

#[test]
fn who_does_not_read_for_long_hangs() {
    let mut script = Script::new("say $$; exec sleep 1000");
    script.timeouts.silence = Duration::from_millis(100);
    script.run(async |process, recorder| {
        process.hear(&"x".repeat(200_000));
        until(|| !recorder.failures().is_empty()).await;
        let words = "the program did not read what it was told for 0.1 s; it is started again in 1 ms";
        assert_eq!(recorder.failures()[0], words);
    });
}

#[test]
fn who_is_silent_though_asked_hangs() {
    let mut script = Script::new("ask; [ -e lived ] && answer; touch lived; exec sleep 1000");
    script.timeouts.silence = Duration::from_millis(200);
    script.run(async |process, recorder| {
        let failure = ask(process, "x").await;
        assert_eq!(failure, "! the program was asked, and wrote no line for 0.2 s, and had not answered to message");
        assert_eq!(ask_until_it_is_back(process).await, "pass");
        assert!(
            recorder.failures()[0].starts_with("the program was asked, and wrote no line for 0.2 s; it is started")
        );
    });
}

#[test]
fn a_death_in_the_middle_of_a_line_fails_what_is_unanswered() {
    let script = Script::new(
        r#"
        [ -e lived ] || { touch lived; ask; answer; ask; ask; say $$; printf '{"id":"%s"' "$id"; exit 3; }
        while ask; do answer; done
        "#,
    );
    script.run(async |process, recorder| {
        let answers = process.call_all(vec![message("1"), message("2"), message("3")], None).await;
        let answers: Vec<_> = answers.into_iter().map(words).collect();
        let gone = "! the program ended with exit status 3, and had not answered to message";
        assert_eq!(answers, ["pass", gone, gone]);
        assert_eq!(ask_until_it_is_back(process).await, "pass");
        assert_eq!(recorder.failures(), ["the program ended with exit status 3; it is started again in 1 ms"]);
        assert!(!exists(&recorder.logged()[0]), "it was waited for");
    });
}

#[test]
fn what_it_wrote_last_counts() {
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
fn a_program_that_is_down_fails_calls_at_once() {
    let mut script = Script::new("kill -SEGV $$");
    script.timeouts.restart_min = PATIENCE;
    script.run(async |process, recorder| {
        until(|| !recorder.failures().is_empty()).await;
        assert_eq!(recorder.failures(), ["the program was ended by SIGSEGV; it is started again in 60000 ms"]);
        let failure = "! the program was ended by SIGSEGV, and is not started again yet";
        assert_eq!(ask(process, "x").await, failure);
        process.hear("nobody hears it");
    });
}

#[test]
fn pauses_grow_until_it_works_again() {
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
fn a_program_that_cannot_be_started_is_tried_again() {
    let mut script = Script::new("");
    let path = script.directory.path().join("helper");
    fs::copy("/bin/sh", &path).unwrap();
    script.config.path = path.clone();
    let process = Process { timeouts: script.timeouts, ..Process::load(&script.config).unwrap() };
    fs::remove_file(path).unwrap();
    let recorder = Recorder::default();
    let tried = async {
        until(|| recorder.failures().len() >= 2).await;
        process.end().await;
    };
    smol::block_on(in_time(future::zip(process.supervise(&recorder), tried)));
    assert_eq!(
        recorder.failures()[0],
        "the program could not be started: No such file or directory (os error 2); if it is there, look at what its first line \
         names; it is started again in 1 ms"
    );
}

#[test]
fn what_it_leaves_behind_with_its_pipes_is_killed() {
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
fn who_left_its_group_cannot_hold_it_up() {
    let mut script = Script::new(
        "[ -e lived ] && exec sleep 1000; touch lived; setsid sh -c 'echo $$ >&2; exec sleep 1000' & read -r line; exit 1",
    );
    script.timeouts.stop = Duration::from_millis(50);
    script.run(async |process, recorder| {
        until(|| !recorder.logged().is_empty()).await;
        let pid = recorder.logged()[0].clone();
        process.hear("go");
        until(|| !recorder.failures().is_empty()).await;
        assert!(is_alive(&pid), "it is out of our hands");
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    });
}

#[test]
fn who_closes_its_output_is_ended() {
    let mut script = Script::new("[ -e lived ] && exec sleep 1000; touch lived; say $$; exec >&-; exec sleep 1000");
    script.timeouts.restart_min = PATIENCE;
    script.run(async |_, recorder| {
        until(|| !recorder.failures().is_empty()).await;
        assert_eq!(recorder.failures(), ["the program closed its standard output; it is started again in 60000 ms"]);
        assert!(!exists(&recorder.logged()[0]));
    });
}

#[test]
fn who_closes_its_input_is_heard_and_told_nothing() {
    let script = Script::new(
        r#"exec <&-; echo '{"type":"ping"}'; until [ -e go ]; do sleep 0.01; done; echo '{"type":"ping"}'; exec sleep 1000"#,
    );
    let go = script.directory.path().join("go");
    script.run(async |process, recorder| {
        until(|| recorder.seen().submitted.len() == 1).await;
        process.hear("nobody reads it");
        let deaf = "! the program has closed its standard input";
        until(|| {
            let asked = smol::block_on(future::poll_once(ask(process, "x")));
            asked.as_deref() == Some(deaf)
        })
        .await;
        fs::write(go, "").unwrap();
        until(|| recorder.seen().submitted.len() == 2).await;
        assert!(recorder.failures().is_empty());
    });
}

#[test]
fn who_is_asked_to_end_may_put_away_its_things() {
    let script = Script::new("trap 'say bye; exit 0' TERM; say ready; while :; do read -r line; done");
    script.run(async |process, recorder| {
        until(|| recorder.logged() == ["ready"]).await;
        process.end().await;
        assert_eq!(recorder.logged(), ["ready", "bye"]);
        assert_eq!(ask(process, "x").await, "! the program was stopped");
        assert!(recorder.failures().is_empty());
    });
}

#[test]
fn who_does_not_want_to_end_is_killed() {
    let mut script = Script::new("trap '' TERM; say $$; while :; do sleep 1000; done");
    script.timeouts.stop = Duration::from_millis(50);
    script.run(async |process, recorder| {
        until(|| !recorder.logged().is_empty()).await;
        let (unanswered, ()) = future::zip(ask(process, "x"), process.end()).await;
        assert_eq!(unanswered, "! the program was stopped, and had not answered to message");
        until(|| !exists(&recorder.logged()[0])).await;
    });
}

#[test]
fn one_that_never_ran_ends_at_once() {
    let script = Script::new("");
    let process = Process::load(&script.config).unwrap();
    smol::block_on(in_time(process.end()));
    smol::block_on(in_time(process.supervise(&Recorder::default())));
}

#[test]
fn one_that_is_dropped_leaves_nothing_running() {
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
fn it_runs_where_the_plugins_are_and_knows_who_it_is() {
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
fn it_leads_a_group_of_its_own() {
    let script = Script::new("say $$; say $(cut -d ' ' -f 5 /proc/$$/stat); ask");
    script.run(async |_, recorder| {
        until(|| recorder.logged().len() == 2).await;
        let logged = recorder.logged();
        assert_eq!(logged[0], logged[1]);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_of_ours_is_open_in_it() {
    use std::os::fd::BorrowedFd;

    use rustix::io::{FdFlags, fcntl_getfd};

    // What whoever started the tests has left open is handed on by everybody.
    #[allow(unsafe_code)]
    let is_handed_on = |fd: i32| {
        // SAFETY: it is only asked about, and where nothing is open that is the answer.
        fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) }).is_ok_and(|flags| !flags.contains(FdFlags::CLOEXEC))
    };
    // Another one, whose pipes are ours too.
    let other = Script::new("say running; ask");
    let open = other.run(async |_, other_recorder| {
        until(|| other_recorder.logged() == ["running"]).await;
        let script = Script::new("say $$; ask; answer; ask");
        let (process, recorder) = (Process::load(&script.config).unwrap(), Recorder::default());
        let look = async {
            // While it writes to its standard error, a shell has put the output aside.
            assert_eq!(ask(&process, "x").await, "pass");
            until(|| !recorder.logged().is_empty()).await;
            let open = fs::read_dir(format!("/proc/{}/fd", recorder.logged()[0])).unwrap();
            let mut open: Vec<i32> =
                open.map(|entry| entry.unwrap().file_name().into_string().unwrap().parse().unwrap()).collect();
            open.sort_unstable();
            process.end().await;
            open
        };
        future::zip(process.supervise(&recorder), look).await.1
    });
    assert!(open.starts_with(&[0, 1, 2]), "{open:?}");
    assert!(open[3..].iter().all(|fd| is_handed_on(*fd)), "{open:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn many_lives_leave_no_descriptor_and_no_zombie() {
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
    // The number of a pipe may be given again, to that of another test.
    let pipes: Vec<&str> = logged.iter().flat_map(|line| line.split(' ').skip(1)).collect();
    let left = || open_here().into_iter().filter(|open| pipes.contains(&open.as_str())).count();
    smol::block_on(in_time(until(|| left() == 0)));
    // Descriptors of processes that are gone; another test may hold one for a moment.
    let gone = || {
        let infos =
            fs::read_dir("/proc/self/fdinfo").unwrap().filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
        infos.filter(|info| info.contains("Pid:\t-1\n")).count()
    };
    smol::block_on(in_time(until(|| gone() == 0)));
    assert!(logged.iter().all(|line| !exists(line.split(' ').next().unwrap())));
}

#[test]
fn its_errors_are_logged_some_a_second() {
    let script = Script::new("seq 1000 >&2; say last; ask");
    script.run(async |_, recorder| {
        let most = PROCESS_ERROR_LINES_PER_S_MAX as usize;
        until(|| recorder.logged().iter().any(|line| line.starts_with('('))).await;
        let logged = recorder.logged();
        assert_eq!(logged[..2], ["1", "2"]);
        assert_eq!(logged[most - 1], "20");
        // All in one second, but on a machine that is very slow.
        let left_out = |line: &str| line.strip_prefix('(')?.split(' ').next()?.parse::<usize>().ok();
        let counted: usize = logged.iter().map(|line| left_out(line).unwrap_or(1)).sum();
        assert!(counted <= 1001 && counted > most, "{logged:?}");
    });
}

#[test]
fn who_eats_memory_is_stopped() {
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
        // Some shells say that they are out of space, others die of it.
        assert_eq!(recorder.failures().len(), 1, "{:?}", recorder.logged());
    });
}

#[test]
fn who_takes_too_much_processor_time_is_stopped() {
    let mut script = Script::new("[ -e lived ] && exec sleep 1000; touch lived; while :; do :; done");
    script.config.cpu_s_max = Some(1);
    script.run(async |_, recorder| {
        until(|| !recorder.failures().is_empty()).await;
        assert_eq!(recorder.failures(), ["the program was ended by SIGXCPU (cpu_s_max); it is started again in 1 ms"]);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn it_runs_as_its_user() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    // A group of ours, of this thread's alone, which it is not to have.
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
fn what_cannot_be_run_is_refused() {
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
        "path = \"plugins/pull.sh\": No such file or directory (os error 2); a path is looked for from the directory of \
         plugins.toml"
    );
    assert_eq!(
        refused(|config| config.path = "plugins".into()),
        "path = \"plugins\" is no file; name the program itself"
    );
    assert_eq!(
        refused(|config| config.path = "plugins/push.sh".into()),
        "path = \"plugins/push.sh\" is not executable; `chmod +x plugins/push.sh` makes it so"
    );
    assert_eq!(
        refused(|config| config.user = Some("no-such-user".to_owned())),
        "user = \"no-such-user\": there is no such user on this system; `id USER` tells which there are"
    );
    assert_eq!(
        refused(|config| config.settings = json!({ "x": "x".repeat(70_000) })),
        "[plugin.settings] are 70008 bytes as JSON; a program is handed 65536 at most, so keep more in a file"
    );
    assert_eq!(
        refused(|config| config.arguments.push("a\0b".to_owned())),
        "arguments: \"a\u{fffd}b\" holds the character U+0000, which ends an argument; take it out"
    );
}

#[test]
fn what_a_program_asks_is_handed_in_before_what_it_dealt_with_counts() {
    let script =
        Script::new(r#"ask; echo '{"type":"send","to":["bob"],"text":"hi"}'; answer; ask; answer ',"text":"x"'; ask"#);
    script.run(async |process, recorder| {
        recorder.seen().is_held_up = true;
        let mut told = process.call(Call::Tick { at: Timestamp::from_millis(0) });
        assert_eq!(future::poll_once(&mut told).await, None);
        // Nobody who waits for an answer waits for that; and the other answer was read before.
        assert_eq!(ask(process, "y").await, "x");
        assert_eq!(future::poll_once(&mut told).await, None, "what it sent is not handed in yet");
        recorder.seen().is_held_up = false;
        assert_eq!(told.await, Ok(Answer::default()));
        assert_eq!(recorder.seen().submitted.len(), 1);
    });
}
