//! Scripts: plugins in Luau, each in a VM of its own on a thread of its own, so that a slow script stalls no socket. Owns the
//! reading of a script, and its queue; never decides what is called.

mod api;
mod deadline;
mod value;
mod vm;
mod worker;

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use smol::future;

use self::worker::{CallBatch, Worker};
use super::{Answer, Call, Failure, Hook, Host, Pending, Plugin, PluginConfig};
use crate::limits::{
    SCRIPT_BATCHES_MAX, SCRIPT_BYTES_MAX, SCRIPT_END_MS_MAX, SCRIPT_MEMORY_BYTES_DEFAULT, SCRIPT_STACK_BYTES,
};
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
    /// Queue of calls that hold up nobody.
    notified: Sender<CallBatch>,
    /// Closed when the thread ends.
    ended: Receiver<Infallible>,
}

/// Reason why a script cannot be run. Its text says where the mistake is, and how to fix it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// The file does not exist, or cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// File of the script.
        path: PathBuf,
        /// Error of the system.
        error: io::Error,
    },
    /// The file is too large.
    #[error("{} has more than {SCRIPT_BYTES_MAX} bytes; move its data to `store`", path.display())]
    TooLarge {
        /// File of the script.
        path: PathBuf,
    },
    /// The file is not a text.
    #[error("{}:{line}: this line is not UTF-8; save the file as UTF-8", path.display())]
    NotUtf8 {
        /// File of the script.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
    },
    /// The script does not compile, or its top level fails.
    #[error("{problem}")]
    Faulty {
        /// Place and description of the mistake.
        problem: String,
    },
    /// The script lacks the function of a hook.
    #[error(
        "{}: the function {hook} is missing, and {name} has the hook \"{hook}\"; add a global `function {hook}(…) … end`, or remove \
         \"{hook}\" from hooks", path.display()
    )]
    NoFunction {
        /// File of the script.
        path: PathBuf,
        /// Name of the hook.
        hook: &'static str,
        /// Name of the plugin.
        name: PeerName,
    },
    /// The thread cannot be started.
    #[error("cannot start a thread for {name}: {error}")]
    Thread {
        /// Name of the plugin.
        name: PeerName,
        /// Error of the system.
        error: io::Error,
    },
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

/// Source and configuration from which a VM is made.
struct ScriptSource {
    config: PluginConfig,
    text: String,
}

impl ScriptSource {
    fn memory_bytes_max(&self) -> usize {
        let bytes_max = self.config.memory_bytes_max.unwrap_or(SCRIPT_MEMORY_BYTES_DEFAULT);
        usize::try_from(bytes_max).unwrap_or(usize::MAX)
    }

    fn no_function(&self, hook: Hook) -> ScriptError {
        let PluginConfig { path, name, .. } = &self.config;
        ScriptError::NoFunction { path: path.clone(), hook: hook.as_str(), name: name.clone() }
    }
}

fn read(path: &Path) -> Result<String, ScriptError> {
    let bytes = read_bytes(path).map_err(|error| ScriptError::Unreadable { path: path.to_owned(), error })?;
    if bytes.len() > SCRIPT_BYTES_MAX {
        return Err(ScriptError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|&&byte| byte == b'\n').count();
        ScriptError::NotUtf8 { path: path.to_owned(), line }
    })
}

/// Reads a file, up to one byte more than the limit for scripts.
fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would block.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(SCRIPT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
