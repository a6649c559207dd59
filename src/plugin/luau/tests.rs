//! Tests of scripts on their threads. Owns the scripts under test and the calls to them; the submodules own the tests.

mod calls;
mod effects;
mod loading;
mod queue;
mod sandbox;

use std::fs;
use std::time::Duration;

use serde_json::{Value as Json, json};
use smol::future;
use tempfile::TempDir;

use super::*;
use crate::message::{Destination, Seq, Text, Timestamp};
use crate::plugin::{Effect, Hook, LoggedCall, MessageCall, OnFailure, PluginKind, Verdict};

/// Long enough for success on a busy machine.
const PATIENT: Duration = Duration::from_secs(20);

/// Short enough for an expected timeout.
const HASTY: Duration = Duration::from_millis(50);

/// Short enough for an expected timeout, and long enough for the calls beside it to succeed.
const MODERATE: Duration = Duration::from_millis(400);

const MIB: u64 = 1024 * 1024;

/// A script in a file, with its entry of `plugins.toml`.
struct Case {
    config: PluginConfig,
    _directory: TempDir,
}

impl Case {
    fn new(text: impl AsRef<[u8]>, hooks: &[Hook]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.luau");
        fs::write(&path, text).unwrap();
        let config = PluginConfig {
            name: PeerName::parse("tester").unwrap(),
            kind: PluginKind::Luau,
            path,
            directory: directory.path().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            hooks: hooks.to_vec(),
            timeout: PATIENT,
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
        Case { config, _directory: directory }
    }

    /// Returns a script with this body of its function `message`.
    fn on_message(body: &str) -> Self {
        Case::new(format!("function message(m) {body} end"), &[Hook::Message])
    }

    fn with(mut self, change: impl FnOnce(&mut PluginConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Returns the error of loading the script, without the directory of the test.
    fn refusal(&self) -> String {
        let directory = format!("{}/", self.config.directory.display());
        Script::load(&self.config).unwrap_err().to_string().replace(&directory, "")
    }

    fn load(&self) -> LoadedScript {
        let script = Script::load(&self.config).unwrap();
        drop(script.run(Host::dry(self.config.name.clone())));
        LoadedScript { script, directory: format!("{}/", self.config.directory.display()) }
    }
}

/// A loaded script.
struct LoadedScript {
    script: Script,
    directory: String,
}

impl LoadedScript {
    fn call(&self, call: Call) -> Result<Answer, String> {
        let answer = future::block_on(self.script.call(call));
        answer.map_err(|failure| failure.to_string().replace(&self.directory, ""))
    }

    fn message(&self, text: &str) -> Result<Answer, String> {
        self.call(message(text))
    }

    fn effects(&self, text: &str) -> Vec<Effect> {
        self.message(text).unwrap().effects
    }
}

fn name(name: &str) -> PeerName {
    PeerName::parse(name).unwrap()
}

fn text(text: &str) -> Text {
    Text::verbatim(text).unwrap()
}

fn to(names: &[&str]) -> Vec<Destination> {
    names.iter().map(|name| Destination::parse(name).unwrap()).collect()
}

fn message(says: &str) -> Call {
    Call::Message(MessageCall { from: name("alice"), to: to(&["bob", "#home"]), text: text(says) })
}

fn logged(says: &str) -> Call {
    let (at, away) = (Timestamp::from_millis(0), vec![name("bob")]);
    Call::Logged(LoggedCall { seq: Seq::new(7), at, from: name("alice"), to: to(&["bob"]), text: text(says), away })
}

fn replaced(says: &str) -> Verdict {
    Verdict::Replace { to: None, text: Some(text(says)) }
}

fn set(key: &str, value: Option<Json>) -> Effect {
    Effect::Set { key: key.to_owned(), value }
}

fn sent(names: &[&str], says: &str) -> Effect {
    Effect::Send { id: None, to: to(names), text: text(says) }
}
