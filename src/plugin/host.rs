//! Host of a plugin: its interface to the server, for requests, effects, values and log lines. Owns the cache of the plugin's values; never
//! calls the plugin.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use async_channel::{Receiver, Sender};
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;

use super::health::Health;
use super::link::Link;
use super::{Effect, Failure};
use crate::limits::{
    EFFECTS_WAITING_MAX, PLUGIN_FAILURES_MAX, PLUGIN_FAILURES_S, VALUE_BYTES_MAX, VALUE_KEY_BYTES_MAX,
    VALUES_BYTES_MAX, VALUES_MAX,
};
use crate::message::{PeerName, RequestId, printable};
use crate::protocol::{Code, Draft, ParsedRequest, PluginRequest, Refusal, Reply, Request, Submission, Work};

/// Access of a plugin to the chat. All clones share one state.
#[derive(Clone, Debug)]
pub struct Host {
    inner: Arc<HostState>,
}

#[derive(Debug)]
struct HostState {
    name: PeerName,
    /// Session with the broker; `None` in a dry run, without a server.
    link: Option<Link>,
    /// Receives submitted requests in a dry run.
    recorder: Option<Sender<Vec<ParsedRequest>>>,
    values: Mutex<ValueCache>,
    health: Mutex<Health>,
    /// Queue of the effects of deciding calls. No caller waits for them.
    later: Sender<Vec<Effect>>,
    next_later: Receiver<Vec<Effect>>,
    /// Sends one message when the plugin is quarantined.
    quarantine: Sender<()>,
    quarantined: Receiver<()>,
}

/// All values of a plugin, in memory.
#[derive(Clone, Debug, Default)]
struct ValueCache {
    /// Whether the stored values were read.
    is_loaded: bool,
    /// Values as JSON, by key.
    json: BTreeMap<String, String>,
    /// Size of all keys and values.
    bytes: usize,
}

impl Host {
    /// Returns a host without a server: it refuses requests, and stores values in memory only.
    pub fn dry(name: PeerName) -> Self {
        Host::of(name, None, None)
    }

    /// Returns a host without a server, and a receiver of the requests that the plugin submits. The caller answers them by
    /// [`Plugin::receive_reply`](super::Plugin::receive_reply).
    pub fn with_recorder(name: PeerName) -> (Self, Receiver<Vec<ParsedRequest>>) {
        let (recorder, recorded) = async_channel::bounded(1);
        (Host::of(name, None, Some(recorder)), recorded)
    }

    pub(super) fn linked(name: PeerName, link: Link) -> Self {
        Host::of(name, Some(link), None)
    }

    fn of(name: PeerName, link: Option<Link>, recorder: Option<Sender<Vec<ParsedRequest>>>) -> Self {
        let (later, next_later) = async_channel::bounded(EFFECTS_WAITING_MAX);
        let (quarantine, quarantined) = async_channel::bounded(1);
        let (values, health) = (Mutex::default(), Mutex::default());
        Host {
            inner: Arc::new(HostState {
                name,
                link,
                recorder,
                values,
                health,
                later,
                next_later,
                quarantine,
                quarantined,
            }),
        }
    }

    /// Returns the name of the plugin.
    pub fn name(&self) -> &PeerName {
        &self.inner.name
    }

    /// Sends a request that changes nothing ([`Request::Who`], [`Request::History`], [`Request::Search`]), and returns the
    /// reply.
    pub async fn ask(&self, request: Request) -> Result<Reply, Refusal> {
        self.link()?.ask(request).await
    }

    /// Applies the values of a call's effects to the cache. Returns the effects without those that the limits forbid, which count
    /// as failures of the plugin.
    pub(super) fn cache_values(&self, effects: Vec<Effect>) -> Vec<Effect> {
        effects.into_iter().filter(|effect| self.cache_value(effect)).collect()
    }

    /// Carries out effects in one transaction; their values must be in the cache already. An `origin` gives their messages ids, so
    /// that the same effects with the same origin send nothing twice. Fails if nothing was done and a repetition may succeed; a
    /// permanent refusal is logged.
    pub(super) async fn perform(&self, effects: Vec<Effect>, origin: Option<&str>) -> Result<(), Failure> {
        let Ok(link) = self.link() else { return Ok(()) };
        if effects.is_empty() {
            return Ok(());
        }
        let requests = effects.into_iter().enumerate().map(|(nth, effect)| {
            let id = origin
                .map(|origin| RequestId::parse(&format!("{origin}.{nth}")).expect("an origin is shorter than an id"));
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

    /// Carries out effects in one transaction, as those of a call.
    pub async fn apply(&self, effects: Vec<Effect>) -> Result<(), Failure> {
        self.perform(self.cache_values(effects), None).await
    }

    /// Queues effects to be carried out later. A full queue drops them, and counts as a failure of the plugin.
    pub(super) fn apply_later(&self, effects: Vec<Effect>) {
        let effects = self.cache_values(effects);
        if !effects.is_empty() && self.inner.later.try_send(effects).is_err() {
            self.report_failure(Failure::new("its calls have too many effects; those of this call are dropped"));
        }
    }

    /// Waits for the queued effects of the next call.
    pub(super) async fn next_effects(&self) -> Vec<Effect> {
        self.inner.next_later.recv().await.expect("the host holds the sender")
    }

    /// Submits requests as the plugin, in order. [`Plugin::receive_reply`](super::Plugin::receive_reply) receives the replies.
    pub async fn submit(&self, requests: Vec<ParsedRequest>) {
        match (self.link(), &self.inner.recorder) {
            (Ok(link), _) => link.submit(requests.into_iter().map(Submission::from).collect()).await,
            // The receiver may be gone.
            (Err(_), Some(recorder)) => drop(recorder.send(requests).await),
            (Err(_), None) => {}
        }
    }

    /// Returns a value.
    pub fn get(&self, key: &str) -> Option<Value> {
        let values = self.values();
        values.json.get(key).map(|json| serde_json::from_str(json).expect("values are JSON"))
    }

    /// Logs and counts a failure, which may put the plugin into quarantine.
    pub fn report_failure(&self, failure: Failure) {
        if !failure.counts() {
            return;
        }
        let is_one_too_many = {
            let mut health = self.inner.health.lock();
            if health.quarantined().is_some() {
                return;
            }
            health.note(&failure, Instant::now())
        };
        log::warn!("plugin {}: {}", self.name(), printable(&failure.to_string()));
        if is_one_too_many {
            log::error!(
                "plugin {}: quarantined after {PLUGIN_FAILURES_MAX} failures within {PLUGIN_FAILURES_S} s; fix it, then reload the \
                 plugins with holdline reload",
                self.name()
            );
            let _ = self.inner.quarantine.try_send(());
        }
    }

    /// Whether the plugin has failed too often, and is not called any more.
    pub fn is_quarantined(&self) -> bool {
        self.inner.health.lock().quarantined().is_some()
    }

    /// Waits until the plugin is quarantined.
    pub(super) async fn until_quarantined(&self) {
        let _ = self.inner.quarantined.recv().await;
    }

    /// Returns the state of the plugin, in words. The plugin itself knows why it does not run.
    pub(super) fn state(&self, outage: Option<String>) -> String {
        let health = self.inner.health.lock();
        let running = outage.as_deref().map_or("runs".into(), printable);
        match (health.quarantined(), health.failures()) {
            (Some(last), _) => {
                format!("quarantined after {PLUGIN_FAILURES_MAX} failures, the last: {}", printable(last))
            }
            (None, 0) => running.into_owned(),
            (None, 1) => format!("{running}, 1 failure within {PLUGIN_FAILURES_S} s"),
            (None, failures) => format!("{running}, {failures} failures within {PLUGIN_FAILURES_S} s"),
        }
    }

    /// Writes a line of the plugin to the log.
    pub fn log(&self, line: &str) {
        log::info!("plugin {}: {}", self.name(), printable(line));
    }

    /// Reads the stored values of the plugin into the cache.
    pub(super) async fn load_values(&self) -> Result<(), Refusal> {
        let Reply::Values { values: stored } = self.link()?.ask(PluginRequest::ListValues).await? else {
            return Err(Refusal::new(Code::Internal, "the reply has no values"));
        };
        let mut values = self.values();
        values.bytes += stored.iter().map(|(key, json)| key.len() + json.len()).sum::<usize>();
        values.json.extend(stored);
        values.is_loaded = true;
        Ok(())
    }

    /// Whether the values of the plugin are in the cache.
    pub(super) fn is_ready(&self) -> bool {
        self.inner.link.is_none() || self.values().is_loaded
    }

    pub(super) fn link(&self) -> Result<&Link, Refusal> {
        self.inner.link.as_ref().ok_or_else(|| Refusal::new(Code::Internal, "there is no server in a dry run"))
    }

    /// Applies the value of an effect to the cache. Returns false if the limits forbid it, which counts as a failure.
    fn cache_value(&self, effect: &Effect) -> bool {
        let Effect::Set { key, value } = effect else { return true };
        match self.values().set(key, value.as_ref().map(Value::to_string)) {
            Ok(()) => true,
            Err(words) => {
                self.report_failure(Failure::new(words + "; not stored"));
                false
            }
        }
    }

    fn values(&self) -> MutexGuard<'_, ValueCache> {
        self.inner.values.lock()
    }
}

impl ValueCache {
    /// Sets a value, or removes it. Fails with the limit that forbids it.
    fn set(&mut self, key: &str, value: Option<String>) -> Result<(), String> {
        if key.is_empty() || key.len() > VALUE_KEY_BYTES_MAX {
            return Err(format!("the key has {} bytes; 1 to {VALUE_KEY_BYTES_MAX} are allowed", key.len()));
        }
        let before = self.json.get(key).map_or(0, |before| key.len() + before.len());
        let Some(value) = value else {
            self.json.remove(key);
            self.bytes -= before;
            return Ok(());
        };
        if value.len() > VALUE_BYTES_MAX {
            return Err(format!("the value has {} bytes as JSON; at most {VALUE_BYTES_MAX} are allowed", value.len()));
        }
        let bytes = self.bytes - before + key.len() + value.len();
        if bytes > VALUES_BYTES_MAX {
            return Err(format!("all values together have more than {VALUES_BYTES_MAX} bytes"));
        }
        if before == 0 && self.json.len() == VALUES_MAX {
            return Err(format!("the plugin has {VALUES_MAX} values already, and may have no more"));
        }
        self.bytes = bytes;
        self.json.insert(key.to_owned(), value);
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
    fn size_of_values_is_bounded() {
        let mut values = ValueCache::default();
        assert_eq!(values.set("", None).unwrap_err(), "the key has 0 bytes; 1 to 128 are allowed");
        let json = "1".repeat(VALUE_BYTES_MAX);
        for nth in 0..VALUES_BYTES_MAX / (VALUE_BYTES_MAX + 2) {
            values.set(&format!("{nth:02}"), Some(json.clone())).unwrap();
        }
        assert!(values.set("more", Some(json.clone())).unwrap_err().starts_with("all values together"));
        values.set("00", Some("1".to_owned())).unwrap();
        values.set("more", Some(json + "1")).unwrap_err();
        values.set("01", None).unwrap();
        let bytes: usize = values.json.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert_eq!(values.bytes, bytes);
    }

    #[test]
    fn number_of_values_is_bounded() {
        let mut values = ValueCache::default();
        for nth in 0..VALUES_MAX {
            values.set(&nth.to_string(), Some("1".to_owned())).unwrap();
        }
        values.set("one more", Some("1".to_owned())).unwrap_err();
        values.set("0", Some("2".to_owned())).unwrap();
        values.set("0", None).unwrap();
        values.set("one more", Some("1".to_owned())).unwrap();
    }
}
