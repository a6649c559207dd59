//! Tests of programs: small shell scripts that behave as programs should, and as they should not. Owns the scripts and the host that they run
//! under; the submodules own the tests.

mod answers;
mod ends;
mod floods;
mod requests;
mod restarts;
mod surroundings;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::config::{OnFailure, PluginKind};
use crate::message::{Destination, Text};
use crate::plugin::{MessageCall, Verdict};
use crate::protocol::{ParsedRequest, Reply};

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
            environment: Vec::new(),
            hooks: vec![Hook::Message],
            timeout: Duration::from_millis(200),
            on_failure: OnFailure::Pass,
            tick: None,
            commands: Vec::new(),
            settings: json!({}),
            takes_name: false,
            user: None,
            memory_bytes_max: None,
            cpu_s_max: None,
            processes_max: None,
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
