//! Plugins: what they are asked and told, what they may answer, and what they can do. Owns the hooks, the chain of those that
//! decide, and the life of each plugin; never touches the sockets of peers, or SQL.

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

use smol::future;

pub use self::answer::{Answer, Effect, Verdict};
pub use self::call::{
    Call, CommandCall, ConnectCall, DeliveredCall, LoggedCall, LoginCall, MailCall, MessageCall, PresenceCall,
};
pub(crate) use self::chain::{LoginVerdict, Plugins, Sender};
pub use self::host::Host;
pub use self::load::{LoadError, LoadedPlugin, load};
pub use self::luau::{Script, ScriptError};
pub(crate) use self::manager::{PluginManager, ReloadPlan};
pub use self::process::{Process, ProcessError};
pub use crate::config::{Hook, OnFailure, PluginConfig, PluginKind};
use crate::timeout::Elapsed;

/// What is on its way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a plugin gave no answer, in words that name the limit or the line of the script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    what: String,
    cause: FailureCause,
}

/// Whose fault it is that there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailureCause {
    /// The plugin's own, with this call.
    Call,
    /// The plugin ended while it had the call, which is counted as one failure of all such calls.
    End,
    /// Nobody's: the plugin does not run now, and was not asked.
    Down,
}

impl Failure {
    /// A failure at a call, in these words.
    pub fn new(what: impl Into<String>) -> Self {
        Failure { what: what.into(), cause: FailureCause::Call }
    }

    /// The plugin ended before it had answered; that it ended was said by [`Host::failed`].
    pub fn ended(what: impl Into<String>) -> Self {
        Failure { what: what.into(), cause: FailureCause::End }
    }

    /// The plugin does not run at the moment, and was not asked.
    pub fn down(what: impl Into<String>) -> Self {
        Failure { what: what.into(), cause: FailureCause::Down }
    }

    /// Whether it counts for setting the plugin aside.
    fn counts(&self) -> bool {
        self.cause == FailureCause::Call
    }

    /// Whether the plugin was asked at all.
    fn is_tried(&self) -> bool {
        self.cause != FailureCause::Down
    }
}

/// A plugin. The scripts and programs of `plugins.toml` are two kinds of it; who embeds holdline may write others.
pub trait Plugin: Send + Sync + 'static {
    /// Lives as long as this runs, and may use the host.
    fn run(&self, host: Host) -> Pending<'_, ()> {
        drop(host);
        Box::pin(future::pending())
    }

    /// Answers one call. Calls of different connections may come while others are not answered yet.
    fn call(&self, call: Call) -> Pending<'_, Result<Answer, Failure>>;

    /// Answers calls of one connection, or things observed one after another: one answer for each, in their order. Each has so
    /// much time for its answer, counted from when its turn comes.
    fn call_all(&self, calls: Vec<Call>, timeout: Option<Duration>) -> Pending<'_, Vec<Result<Answer, Failure>>> {
        Box::pin(async move {
            let mut answers = Vec::with_capacity(calls.len());
            for call in calls {
                let answer = crate::timeout::timeout(timeout, self.call(call)).await;
                answers.push(answer.unwrap_or_else(|Elapsed| Err(Failure::new("no answer came in time (timeout_ms)"))));
            }
            answers
        })
    }

    /// What it asked by [`Host::submit`] is answered: one line of the protocol, without its end.
    fn hear(&self, line: &str) {
        let _ = line;
    }

    /// It ends: whatever it has started is put away when this is done.
    fn end(&self) -> Pending<'_, ()> {
        Box::pin(future::ready(()))
    }
}
