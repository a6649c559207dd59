//! Scripts: plugins in Luau, each in a VM of its own on a thread of its own, so that a slow one stalls nobody's sockets. Owns how
//! a script is read, and its queue; never what is asked of it.

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

/// A script. Each call of one of its functions is held to a limit of time and memory.
#[derive(Debug)]
pub struct Script {
    name: PeerName,
    timeout: Duration,
    host: Arc<OnceLock<Host>>,
    awaited: Sender<CallBatch>,
    told: Sender<CallBatch>,
    /// Closes with the thread.
    ended: Receiver<Infallible>,
}

/// Why a script cannot be run, in words that say where the mistake is and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// There is no such file, or it may not be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It is larger than any script.
    #[error("{} is of more than {SCRIPT_BYTES_MAX} bytes; keep in it what it does, and what it knows in `store`", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is no text.
    #[error("{}:{line}: this line is not UTF-8; save the file as UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// It does not compile, or its top level fails.
    #[error("{problem}")]
    Faulty {
        /// Where, and what is wrong.
        problem: String,
    },
    /// A hook of `plugins.toml` is not in it.
    #[error(
        "{}: there is no function {hook}, which the hooks of {name} name; write `function {hook}(…) … end`, not local, or take \
         \"{hook}\" out of the hooks", path.display()
    )]
    NoFunction {
        /// The file.
        path: PathBuf,
        /// The hook.
        hook: &'static str,
        /// The plugin.
        name: PeerName,
    },
    /// The system gives no thread.
    #[error("no thread for {name}: {error}")]
    Thread {
        /// The plugin.
        name: PeerName,
        /// Why not.
        error: io::Error,
    },
}

impl Script {
    /// Reads a script, runs its top level, and finds its functions. Waits for all of that.
    pub fn load(config: &PluginConfig) -> Result<Script, ScriptError> {
        let source = ScriptSource { config: config.clone(), text: read(&config.path)? };
        let host = Arc::new(OnceLock::new());
        let (awaited, awaited_batches) = async_channel::bounded(SCRIPT_BATCHES_MAX);
        let (told, told_batches) = async_channel::bounded(SCRIPT_BATCHES_MAX);
        let (ended_sender, ended) = async_channel::bounded(1);
        let worker = Worker {
            source,
            host: Arc::clone(&host),
            awaited: awaited_batches,
            told: told_batches,
            ended: ended_sender,
        };
        let (begun, has_begun) = oneshot::async_channel();
        thread::Builder::new()
            .name(config.name.to_string())
            .stack_size(SCRIPT_STACK_BYTES)
            .spawn(move || worker.run(begun))
            .map_err(|error| ScriptError::Thread { name: config.name.clone(), error })?;
        let panicked = || ScriptError::Faulty { problem: format!("{}: its thread panicked", config.path.display()) };
        future::block_on(has_begun).unwrap_or_else(|_| Err(panicked()))?;
        Ok(Script { name: config.name.clone(), timeout: config.timeout, host, awaited, told, ended })
    }

    /// Where the queue is full, waits for room in it: each call ends in its time, so there will be.
    async fn answers(&self, calls: Vec<Call>, is_awaited: bool) -> Vec<Result<Answer, Failure>> {
        let count = calls.len();
        let (sender, answers) = oneshot::async_channel();
        let batches = if is_awaited { &self.awaited } else { &self.told };
        let answers = match batches.send(CallBatch { calls, is_awaited, answers: sender }).await {
            Ok(()) => answers.await.ok().map(|(answers, _calls)| answers),
            Err(_) => None,
        };
        answers.unwrap_or_else(|| vec![Err(Failure::new("the thread of the script has ended")); count])
    }
}

impl Plugin for Script {
    fn run(&self, host: Host) -> Pending<'_, ()> {
        // Whoever runs it twice has one host for it.
        let _ = self.host.set(host);
        Box::pin(future::pending())
    }

    fn call(&self, call: Call) -> Pending<'_, Result<Answer, Failure>> {
        Box::pin(async move {
            let is_awaited = call.hook().decides();
            let mut answers = self.answers(vec![call], is_awaited).await;
            answers.pop().expect("there is an answer for each call")
        })
    }

    fn call_all(&self, calls: Vec<Call>, timeout: Option<Duration>) -> Pending<'_, Vec<Result<Answer, Failure>>> {
        Box::pin(self.answers(calls, timeout.is_some()))
    }

    fn end(&self) -> Pending<'_, ()> {
        self.awaited.close();
        self.told.close();
        Box::pin(async move {
            let time_max = self.timeout + Duration::from_millis(SCRIPT_END_MS_MAX);
            if timeout(time_max, self.ended.recv()).await.is_err() {
                log::warn!("plugin {}: its thread does not end, and is left alone", self.name);
            }
        })
    }
}

/// What a VM is made of.
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

/// One byte more than a script may have, if there are so many.
fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe would keep us waiting.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(SCRIPT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
