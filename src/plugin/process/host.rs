//! What a process needs of its host. Owns these few verbs, so that the tests can listen; never what they do.

use serde_json::Value;

use crate::plugin::{Effect, Failure, Host, Pending};
use crate::protocol::ParsedRequest;

/// The host, as a process sees it.
pub(super) trait ProcessHost: Send + Sync {
    /// Hands in requests, in order.
    fn submit(&self, requests: Vec<ParsedRequest>) -> Pending<'_, ()>;

    /// A value that was kept.
    fn get(&self, key: &str) -> Option<Value>;

    /// Keeps a value, or forgets it.
    fn set(&self, key: String, value: Option<Value>) -> Pending<'_, Result<(), Failure>>;

    /// Something failed that is no answer.
    fn failed(&self, failure: Failure);

    /// Writes a line to the log.
    fn log(&self, line: &str);
}

impl ProcessHost for Host {
    fn submit(&self, requests: Vec<ParsedRequest>) -> Pending<'_, ()> {
        Box::pin(Host::submit(self, requests))
    }

    fn get(&self, key: &str) -> Option<Value> {
        Host::get(self, key)
    }

    fn set(&self, key: String, value: Option<Value>) -> Pending<'_, Result<(), Failure>> {
        Box::pin(Host::apply(self, vec![Effect::Set { key, value }]))
    }

    fn failed(&self, failure: Failure) {
        Host::failed(self, failure);
    }

    fn log(&self, line: &str) {
        Host::log(self, line);
    }
}
