//! What a plugin can do at any time: ask, send, keep small values, log. Owns the plugin's values in memory; never decides
//! when a plugin is called.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_channel::{Receiver, Sender};
use serde_json::Value;

use super::health::Health;
use super::link::Link;
use super::{Effect, Failure};
use crate::limits::{
    EFFECTS_WAITING_MAX, PLUGIN_FAILURES_MAX, PLUGIN_FAILURES_S, VALUE_BYTES_MAX, VALUE_KEY_BYTES_MAX,
    VALUES_BYTES_MAX, VALUES_MAX,
};
use crate::message::{PeerName, RequestId, printable};
use crate::protocol::{Code, Draft, ParsedRequest, PluginRequest, Refusal, Request, Submission, Work};

/// A plugin's way to the chat. It is one thing, however often it is cloned.
#[derive(Clone, Debug)]
pub struct Host {
    inner: Arc<HostState>,
}

#[derive(Debug)]
struct HostState {
    name: PeerName,
    /// `None`: there is no server.
    link: Option<Link>,
    /// Told of what is handed in where there is none.
    recorder: Option<Sender<Vec<ParsedRequest>>>,
    values: Mutex<ValueCache>,
    health: Mutex<Health>,
    /// What calls that decide want done: nobody waits for it.
    later: Sender<Vec<Effect>>,
    later_taken: Receiver<Vec<Effect>>,
    /// Told when the plugin is set aside.
    quarantined: Sender<()>,
    quarantined_told: Receiver<()>,
}

/// What a plugin keeps, and how much that is.
#[derive(Clone, Debug, Default)]
struct ValueCache {
    /// Whether it is known what was kept.
    are_loaded: bool,
    /// As JSON.
    kept: BTreeMap<String, String>,
    bytes: usize,
}

impl Host {
    /// A host without a server: what is asked of it is refused, what is kept is kept in memory.
    pub fn dry(name: PeerName) -> Self {
        Host::of(name, None, None)
    }

    /// The same, for somebody who hears what the plugin hands in, and answers it by [`Plugin::hear`](super::Plugin::hear).
    pub fn with_recorder(name: PeerName) -> (Self, Receiver<Vec<ParsedRequest>>) {
        let (recorder, heard) = async_channel::bounded(1);
        (Host::of(name, None, Some(recorder)), heard)
    }

    pub(super) fn linked(name: PeerName, link: Link) -> Self {
        Host::of(name, Some(link), None)
    }

    fn of(name: PeerName, link: Option<Link>, recorder: Option<Sender<Vec<ParsedRequest>>>) -> Self {
        let (later, later_taken) = async_channel::bounded(EFFECTS_WAITING_MAX);
        let (quarantined, quarantined_told) = async_channel::bounded(1);
        let (values, health) = (Mutex::default(), Mutex::default());
        Host {
            inner: Arc::new(HostState {
                name,
                link,
                recorder,
                values,
                health,
                later,
                later_taken,
                quarantined,
                quarantined_told,
            }),
        }
    }

    /// What the plugin is called.
    pub fn name(&self) -> &PeerName {
        &self.inner.name
    }

    /// Asks for what the plugin may read ([`Request::Who`], [`Request::History`], [`Request::Search`]): the frame of the protocol
    /// that answers it.
    pub async fn ask(&self, request: Request) -> Result<Value, Refusal> {
        self.link()?.ask(request).await
    }

    /// Takes note of what a call wants done: values are as it wants them from here on. What cannot be is a failure of the plugin,
    /// and left out.
    pub(super) fn note(&self, effects: Vec<Effect>) -> Vec<Effect> {
        effects.into_iter().filter(|effect| self.remember(effect)).collect()
    }

    /// Does all of these together, or none of them; they were noted. An origin that is the same when the same is done again keeps
    /// their messages from being sent twice. A failure means that nothing was done, and that it may be tried again; what is
    /// refused for good is logged.
    pub(super) async fn perform(&self, effects: Vec<Effect>, origin: Option<&str>) -> Result<(), Failure> {
        let Ok(link) = self.link() else { return Ok(()) };
        if effects.is_empty() {
            return Ok(());
        }
        let requests = effects.into_iter().enumerate().map(|(nth, effect)| {
            let id = origin.map(|origin| RequestId::parse(&format!("{origin}.{nth}")).expect("an origin is short"));
            submission(effect, id.unwrap_or_else(|| link.next_id()))
        });
        for answer in link.change(requests.collect()).await {
            match answer {
                Ok(_) => {}
                Err(refusal) if refusal.code.is_passing() => return Err(Failure::down(refusal.message)),
                Err(refusal) => log::warn!("plugin {}: {}: {}", self.name(), refusal.code.as_str(), refusal.message),
            }
        }
        Ok(())
    }

    /// Does all of these together, or none of them, as what a call leads to is done.
    pub async fn apply(&self, effects: Vec<Effect>) -> Result<(), Failure> {
        self.perform(self.note(effects), None).await
    }

    /// The same some time after this; when too much waits already, it is a failure of the plugin.
    pub(super) fn apply_later(&self, effects: Vec<Effect>) {
        let effects = self.note(effects);
        if !effects.is_empty() && self.inner.later.try_send(effects).is_err() {
            self.failed(Failure::new("it wants more done than can be done; what this call wanted is not done"));
        }
    }

    /// What calls that decide want done, one after another.
    pub(super) async fn next_effects(&self) -> Vec<Effect> {
        self.inner.later_taken.recv().await.expect("the host holds the other end")
    }

    /// Hands in requests, in order, as the plugin's own; each is answered to [`Plugin::hear`](super::Plugin::hear).
    pub async fn submit(&self, requests: Vec<ParsedRequest>) {
        match (self.link(), &self.inner.recorder) {
            (Ok(link), _) => link.submit(requests.into_iter().map(Submission::from).collect()).await,
            // Whoever has stopped listening hears nothing.
            (Err(_), Some(recorder)) => drop(recorder.send(requests).await),
            (Err(_), None) => {}
        }
    }

    /// A value that was kept.
    pub fn get(&self, key: &str) -> Option<Value> {
        let values = self.values();
        values.kept.get(key).map(|json| serde_json::from_str(json).expect("what is kept was JSON"))
    }

    /// The plugin has failed at something else than an answer, as a process does that ends.
    pub fn failed(&self, failure: Failure) {
        if !failure.counts() {
            return;
        }
        let is_one_too_many = {
            let mut health = self.inner.health.lock().unwrap_or_else(PoisonError::into_inner);
            if health.quarantined().is_some() {
                return;
            }
            health.note(&failure, Instant::now())
        };
        log::warn!("plugin {}: {}", self.name(), printable(&failure.to_string()));
        if is_one_too_many {
            log::error!(
                "plugin {}: it has failed {PLUGIN_FAILURES_MAX} times within {PLUGIN_FAILURES_S} s, and is set quarantined; mend it, then reload the \
                 plugins with SIGHUP",
                self.name()
            );
            let _ = self.inner.quarantined.try_send(());
        }
    }

    /// Whether the plugin has failed too often, and is asked nothing more.
    pub fn is_aside(&self) -> bool {
        self.inner.health.lock().unwrap_or_else(PoisonError::into_inner).quarantined().is_some()
    }

    /// Waits until it has.
    pub(super) async fn set_aside(&self) {
        let _ = self.inner.quarantined_told.recv().await;
    }

    /// How the plugin is, for people.
    pub(super) fn state(&self) -> String {
        let health = self.inner.health.lock().unwrap_or_else(PoisonError::into_inner);
        match (health.quarantined(), health.failures()) {
            (Some(last), _) => format!("set aside after {PLUGIN_FAILURES_MAX} failures, the last: {}", printable(last)),
            (None, 0) => "runs".to_owned(),
            (None, 1) => format!("runs, 1 failure within {PLUGIN_FAILURES_S} s"),
            (None, failures) => format!("runs, {failures} failures within {PLUGIN_FAILURES_S} s"),
        }
    }

    /// Writes a line of the plugin to the log.
    pub fn log(&self, line: &str) {
        log::info!("plugin {}: {}", self.name(), printable(line));
    }

    /// Reads what the plugin has kept.
    pub(super) async fn load_values(&self) -> Result<(), Refusal> {
        let frame = self.link()?.ask(PluginRequest::ListValues).await?;
        let mut values = self.values();
        for (key, value) in frame["values"].as_object().into_iter().flatten() {
            let json = value.to_string();
            values.bytes += key.len() + json.len();
            values.kept.insert(key.clone(), json);
        }
        values.are_loaded = true;
        Ok(())
    }

    /// Whether it is known what the plugin has kept.
    pub(super) fn is_ready(&self) -> bool {
        self.inner.link.is_none() || self.values().are_loaded
    }

    pub(super) fn link(&self) -> Result<&Link, Refusal> {
        self.inner.link.as_ref().ok_or_else(|| Refusal::new(Code::Internal, "there is no server here to be asked"))
    }

    /// Whether an effect can be: a value that cannot be kept is a failure of the plugin.
    fn remember(&self, effect: &Effect) -> bool {
        let Effect::Set { key, value } = effect else { return true };
        match self.keep(key, value.as_ref().map(Value::to_string)) {
            Ok(()) => true,
            Err(words) => {
                self.failed(Failure::new(words + "; not kept"));
                false
            }
        }
    }

    fn keep(&self, key: &str, value: Option<String>) -> Result<(), String> {
        self.values().keep(key, value)
    }

    fn values(&self) -> MutexGuard<'_, ValueCache> {
        self.inner.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ValueCache {
    fn keep(&mut self, key: &str, value: Option<String>) -> Result<(), String> {
        if key.is_empty() || key.len() > VALUE_KEY_BYTES_MAX {
            return Err(format!("a key of {} bytes; 1 to {VALUE_KEY_BYTES_MAX} are wanted", key.len()));
        }
        let before = self.kept.get(key).map_or(0, |before| key.len() + before.len());
        let Some(value) = value else {
            self.kept.remove(key);
            self.bytes -= before;
            return Ok(());
        };
        if value.len() > VALUE_BYTES_MAX {
            return Err(format!("a value of {} bytes as JSON; {VALUE_BYTES_MAX} are possible", value.len()));
        }
        let bytes = self.bytes - before + key.len() + value.len();
        if bytes > VALUES_BYTES_MAX {
            return Err(format!("all values together are of more than {VALUES_BYTES_MAX} bytes"));
        }
        if before == 0 && self.kept.len() == VALUES_MAX {
            return Err(format!("more than {VALUES_MAX} values"));
        }
        self.bytes = bytes;
        self.kept.insert(key.to_owned(), value);
        Ok(())
    }
}

fn submission(effect: Effect, new_id: RequestId) -> Submission {
    let (id, work): (_, Work) = match effect {
        Effect::Send { id, to, text } => (id, Request::Send(Draft { to, text }).into()),
        Effect::Join(room) => (None, Request::Join { room }.into()),
        Effect::Leave(room) => (None, Request::Leave { room }.into()),
        Effect::Set { key, value } => {
            (None, PluginRequest::SetValue { key, value: value.map(|value| value.to_string()) }.into())
        }
    };
    Submission { id: Some(id.unwrap_or(new_id)), work }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_bounded() {
        let mut values = ValueCache::default();
        assert_eq!(values.keep("", None).unwrap_err(), "a key of 0 bytes; 1 to 128 are wanted");
        let json = "1".repeat(VALUE_BYTES_MAX);
        for nth in 0..VALUES_BYTES_MAX / (VALUE_BYTES_MAX + 2) {
            values.keep(&format!("{nth:02}"), Some(json.clone())).unwrap();
        }
        assert!(values.keep("more", Some(json.clone())).unwrap_err().starts_with("all values together"));
        values.keep("00", Some("1".to_owned())).unwrap();
        values.keep("more", Some(json + "1")).unwrap_err();
        values.keep("01", None).unwrap();
        let bytes: usize = values.kept.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert_eq!(values.bytes, bytes);
    }

    #[test]
    fn there_are_so_many_values_and_no_more() {
        let mut values = ValueCache::default();
        for nth in 0..VALUES_MAX {
            values.keep(&nth.to_string(), Some("1".to_owned())).unwrap();
        }
        values.keep("one more", Some("1".to_owned())).unwrap_err();
        values.keep("0", Some("2".to_owned())).unwrap();
        values.keep("0", None).unwrap();
        values.keep("one more", Some("1".to_owned())).unwrap();
    }
}
