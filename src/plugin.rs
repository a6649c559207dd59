//! Plugins: their hooks, their answers, and what they can do in the chat. Owns the chain of plugins that decide, and the life
//! cycle of each plugin; never touches client sockets or SQL.

mod answer;
mod call;
mod chain;
mod health;
mod host;
mod link;
mod load;
mod luau;
mod manager;
mod observe;
mod process;
mod running;

use std::pin::Pin;
use std::time::Duration;

use smol::{Timer, future};

pub use self::answer::{Answer, Effect, Verdict};
pub use self::call::{
    Call, CommandCall, ConnectCall, DeliveredCall, LoggedCall, LoginCall, MailCall, MessageCall, PresenceCall,
};
pub(crate) use self::chain::{LoginVerdict, MessageSender, Plugins};
pub use self::host::Host;
pub use self::load::{LoadError, LoadedPlugin, load};
pub use self::luau::{Script, ScriptError};
pub(crate) use self::manager::{PluginManager, ReloadPlan};
pub use self::process::{Process, ProcessError};
pub use crate::config::{Hook, OnFailure, PluginConfig, PluginKind};

/// Boxed future, as the methods of [`Plugin`] return it.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Reason for a missing answer. Its text names the limit or the line of the script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    what: String,
    cause: FailureCause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailureCause {
    /// The plugin failed at this call.
    Call,
    /// The plugin ended during the call. All calls that it had count as one failure.
    End,
    /// The plugin does not run at the moment and was not called. Not counted.
    Down,
}

impl Failure {
    /// Returns a failure of the plugin at this call.
    pub fn new(what: impl Into<String>) -> Self {
        Failure { what: what.into(), cause: FailureCause::Call }
    }

    /// Returns the failure of a call during which the plugin ended. The end itself is reported by [`Host::report_failure`].
    pub fn ended(what: impl Into<String>) -> Self {
        Failure { what: what.into(), cause: FailureCause::End }
    }

    /// Returns the failure of a call that was not made, because the plugin does not run at the moment.
    pub fn down(what: impl Into<String>) -> Self {
        Failure { what: what.into(), cause: FailureCause::Down }
    }

    /// Whether the failure counts toward the quarantine.
    fn counts(&self) -> bool {
        self.cause == FailureCause::Call
    }

    /// Whether the plugin was called at all.
    fn is_tried(&self) -> bool {
        self.cause != FailureCause::Down
    }
}

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
                let timed_out = async {
                    match timeout {
                        Some(timeout) => Timer::after(timeout).await,
                        None => future::pending().await,
                    };
                    Err(Failure::new("no answer in time (timeout_ms)"))
                };
                answers.push(future::or(self.call(call), timed_out).await);
            }
            answers
        })
    }

    /// Receives the reply to a request of [`Host::submit`]: one line of the protocol, without its newline.
    fn hear(&self, line: &str) {
        let _ = line;
    }

    /// Stops the plugin. Everything that it has started is cleaned up when the future resolves.
    fn stop(&self) -> Pending<'_, ()> {
        Box::pin(future::ready(()))
    }
}
