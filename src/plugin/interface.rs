//! Interface that each kind of plugin implements. Owns the calls, and their time limits; never decides what is called.

use std::pin::Pin;
use std::time::Duration;

use smol::future;

use super::answer::Answer;
use super::call::Call;
use super::failure::Failure;
use super::host::Host;
use crate::message::RequestId;
use crate::protocol::Reply;
use crate::timeout::Elapsed;

/// Boxed future, as the methods of [`Plugin`] return it.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A plugin. The scripts and programs of `plugins.toml` are two implementors; a program that embeds holdline can add others.
pub trait Plugin: Send + Sync + 'static {
    /// Runs the plugin, which can use the host. The server drops the future to end the plugin.
    fn run(&self, host: Host) -> Pending<'_, ()> {
        drop(host);
        Box::pin(future::pending())
    }

    /// Answers one call. Calls of different connections may overlap.
    fn call(&self, call: Call) -> Pending<'_, Result<Answer, Failure>>;

    /// Answers calls of one connection, or consecutive observations, one after another. Returns one answer per call, in order.
    /// Each call has `timeout` for its answer, counted from the end of the call before it.
    fn call_all(&self, calls: Vec<Call>, timeout: Option<Duration>) -> Pending<'_, Vec<Result<Answer, Failure>>> {
        Box::pin(async move {
            let mut answers = Vec::with_capacity(calls.len());
            for call in calls {
                let answer = crate::timeout::timeout(timeout, self.call(call)).await;
                answers.push(answer.unwrap_or_else(|Elapsed| Err(Failure::new("no answer in time (timeout_ms)"))));
            }
            answers
        })
    }

    /// Receives the reply to a request of [`Host::submit`], or an announcement, which has no id.
    fn receive_reply(&self, id: Option<&RequestId>, reply: &Reply) {
        let _ = (id, reply);
    }

    /// Returns in words why the plugin does not run at the moment. `None` if it runs.
    fn outage(&self) -> Option<String> {
        None
    }

    /// Stops the plugin. Everything that it has started is cleaned up when the future resolves.
    fn stop(&self) -> Pending<'_, ()> {
        Box::pin(future::ready(()))
    }
}
