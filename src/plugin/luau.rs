//! Scripts: plugins in Luau, each in a VM of its own on a thread of its own, so that a slow script stalls no socket. Owns the
//! reading of a script, and its queue; never decides what is called.

mod api;
mod deadline;
mod source;
mod table;
mod value;
mod vm;
mod worker;

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use smol::future;

pub use self::source::ScriptError;
use self::source::{ScriptSource, read};
use self::worker::{CallBatch, Worker};
use super::{Answer, Call, Failure, Host, Pending, Plugin, PluginConfig};
use crate::limits::{SCRIPT_BATCHES_MAX, SCRIPT_END_MS_MAX, SCRIPT_STACK_BYTES};
use crate::message::PeerName;
use crate::timeout::timeout;

/// A script. Each call of one of its functions has a limit of time and memory.
#[derive(Debug)]
pub struct Script {
    name: PeerName,
    timeout: Duration,
    host: Arc<OnceLock<Host>>,
    /// Queue of calls that hold up a client.
    awaited: Sender<CallBatch>,
    /// Queue of calls that no client waits for.
    notified: Sender<CallBatch>,
    /// Closed when the thread ends.
    ended: Receiver<Infallible>,
}

impl Script {
    /// Reads a script, runs its top level, and finds its functions. Blocks until that is done.
    pub fn load(config: &PluginConfig) -> Result<Script, ScriptError> {
        let source = ScriptSource { config: config.clone(), text: read(&config.path)? };
        let host = Arc::new(OnceLock::new());
        let (awaited, awaited_batches) = async_channel::bounded(SCRIPT_BATCHES_MAX);
        let (notified, notified_batches) = async_channel::bounded(SCRIPT_BATCHES_MAX);
        let (ended_sender, ended) = async_channel::bounded(1);
        let worker = Worker {
            source,
            host: Arc::clone(&host),
            awaited: awaited_batches,
            notified: notified_batches,
            ended: ended_sender,
        };
        let (started, has_started) = oneshot::async_channel();
        thread::Builder::new()
            .name(config.name.to_string())
            .stack_size(SCRIPT_STACK_BYTES)
            .spawn(move || worker.run(started))
            .map_err(|error| ScriptError::Thread { name: config.name.clone(), error })?;
        let panicked = || ScriptError::Faulty { problem: format!("{}: its thread panicked", config.path.display()) };
        future::block_on(has_started).unwrap_or_else(|_| Err(panicked()))?;
        Ok(Script { name: config.name.clone(), timeout: config.timeout, host, awaited, notified, ended })
    }

    /// Queues a batch, and waits for its answers. A full queue has room again soon, because each call has a time limit.
    async fn answers(&self, calls: Vec<Call>, is_awaited: bool) -> Vec<Result<Answer, Failure>> {
        let count = calls.len();
        let (sender, answers) = oneshot::async_channel();
        let batches = if is_awaited { &self.awaited } else { &self.notified };
        let answers = match batches.send(CallBatch { calls, is_awaited, answers: sender }).await {
            Ok(()) => answers.await.ok().map(|(answers, _calls)| answers),
            Err(_) => None,
        };
        answers.unwrap_or_else(|| vec![Err(Failure::new("the thread of the script has ended")); count])
    }
}

impl Plugin for Script {
    fn run(&self, host: Host) -> Pending<'_, ()> {
        // A second run keeps the first host.
        let _ = self.host.set(host);
        Box::pin(future::pending())
    }

    fn call(&self, call: Call) -> Pending<'_, Result<Answer, Failure>> {
        Box::pin(async move {
            let is_awaited = call.hook().decides();
            let mut answers = self.answers(vec![call], is_awaited).await;
            answers.pop().expect("each call has an answer")
        })
    }

    fn call_all(&self, calls: Vec<Call>, timeout: Option<Duration>) -> Pending<'_, Vec<Result<Answer, Failure>>> {
        Box::pin(self.answers(calls, timeout.is_some()))
    }

    fn stop(&self) -> Pending<'_, ()> {
        self.awaited.close();
        self.notified.close();
        Box::pin(async move {
            let limit = self.timeout + Duration::from_millis(SCRIPT_END_MS_MAX);
            if timeout(limit, self.ended.recv()).await.is_err() {
                log::warn!("plugin {}: its thread does not end, and is abandoned", self.name);
            }
        })
    }
}

#[cfg(test)]
mod tests;
