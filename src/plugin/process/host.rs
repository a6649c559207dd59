//! Part of the host that a process uses, as a trait, so that tests can record it. Owns the trait; never what its methods do.

use serde_json::Value;

use crate::plugin::{Effect, Failure, Host, Pending};
use crate::protocol::ParsedRequest;

/// Host of a process.
pub(super) trait ProcessHost: Send + Sync {
    /// Submits requests, in order.
    fn submit(&self, requests: Vec<ParsedRequest>) -> Pending<'_, ()>;

    /// Returns a stored value.
    fn get(&self, key: &str) -> Option<Value>;

    /// Stores a value, or removes it.
    fn set(&self, key: String, value: Option<Value>) -> Pending<'_, Result<(), Failure>>;

    /// Reports a failure that is not the answer to a call.
    fn report_failure(&self, failure: Failure);

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

    fn report_failure(&self, failure: Failure) {
        Host::report_failure(self, failure);
    }

    fn log(&self, line: &str) {
        Host::log(self, line);
    }
}
