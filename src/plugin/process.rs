//! Plugins that are programs of their own, with JSON lines on their standard input and output. Owns the life of the program:
//! started, listened to, started again when it ends, stopped, and never left behind; never decides what an answer does.

mod confine;
mod errors;
mod exchange;
mod host;
mod notify;
mod output;
mod program;
mod requests;

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use smol::io::AsyncWriteExt;
use smol::process::{ChildStdin, ChildStdout};
use smol::{Timer, future};

use self::exchange::{Exchange, PendingAnswer};
use self::host::ProcessHost;
use self::notify::Notify;
use self::output::Output;
use self::program::{Child, Exit, Program};
use self::requests::ProgramRequest;
use super::{Answer, Call, Failure, Host, Pending, Plugin};
use crate::backoff::Backoff;
use crate::config::{Hook, PluginConfig};
use crate::limits::{
    PROCESS_RESTART_MS_MAX, PROCESS_RESTART_MS_MIN, PROCESS_SILENCE_S_MAX, PROCESS_STEADY_S_MIN, PROCESS_STOP_MS_MAX,
};
use crate::message::PeerName;
use crate::timeout::{Elapsed, timeout};

pub use self::program::ProcessError;

/// A plugin that is a program. It is started when the plugin runs ([`Plugin::run`]), and what is asked of it before waits.
///
/// A call is a line on its standard input and its answer a line on its standard output, matched by `id`, so that many are on
/// their way at a time. What it writes that has a `type` is a request of the protocol.
pub struct Process {
    name: PeerName,
    program: Program,
    /// How long one answer may take, for those who are told that none came.
    timeout: Duration,
    timeouts: Timeouts,
    exchange: Exchange,
    /// Closed when it is to end.
    stop: Sender<()>,
    stopped: Receiver<()>,
    /// Held while it runs.
    life: smol::lock::Mutex<()>,
}

/// How long is waited for what. The tests wait less.
#[derive(Clone, Copy, Debug)]
struct Timeouts {
    /// For any line of a program that was asked something, and for it to read on.
    silence: Duration,
    /// For a program that was asked to end.
    stop: Duration,
    /// Before the first new start.
    restart_min: Duration,
    /// Before every further one, at most.
    restart_max: Duration,
    /// Until a program that lives counts as one that works.
    steady: Duration,
}

impl Timeouts {
    const USUAL: Timeouts = Timeouts {
        silence: Duration::from_secs(PROCESS_SILENCE_S_MAX),
        stop: Duration::from_millis(PROCESS_STOP_MS_MAX),
        restart_min: Duration::from_millis(PROCESS_RESTART_MS_MIN),
        restart_max: Duration::from_millis(PROCESS_RESTART_MS_MAX),
        steady: Duration::from_secs(PROCESS_STEADY_S_MIN),
    };
}

/// How one life of the program came to its end.
#[derive(Debug)]
enum ProgramEnd {
    NotStarted(io::Error),
    /// By itself, or by somebody else's signal.
    Ended(Exit),
    /// It can say nothing more, and was ended.
    ClosedOutput,
    /// It did not do this for so long, and was killed.
    Hung(&'static str, Duration),
    /// It left unread more than is kept for it, and was killed.
    Overfull,
    /// It was asked to.
    Stopped,
}

impl fmt::Display for ProgramEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProgramEnd::NotStarted(error) => {
                write!(f, "the program could not be started: {error}{}", start_hint(error))
            }
            ProgramEnd::Ended(exit) => write!(f, "the program {exit}"),
            ProgramEnd::ClosedOutput => f.write_str("the program closed its standard output"),
            ProgramEnd::Hung(what, time) => write!(f, "the program {what} for {} s", time.as_secs_f32()),
            ProgramEnd::Overfull => f.write_str("the program does not read what it is answered"),
            ProgramEnd::Stopped => f.write_str("the program was stopped"),
        }
    }
}

/// What else may be wrong where the system's words mislead.
fn start_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; if it is there, look at what its first line names",
        io::ErrorKind::PermissionDenied => "; look at the rights of its directories, and of what its first line names",
        _ => "",
    }
}

impl Process {
    /// Checks that there is such a program, and that it may be run as whom it is to be. Starts nothing yet.
    pub fn load(config: &PluginConfig) -> Result<Process, ProcessError> {
        let (stop, stopped) = async_channel::bounded(1);
        Ok(Process {
            name: config.name.clone(),
            program: Program::find(config)?,
            timeout: config.timeout,
            timeouts: Timeouts::USUAL,
            exchange: Exchange::new(),
            stop,
            stopped,
            life: smol::lock::Mutex::new(()),
        })
    }

    /// Keeps the program alive until the plugin is to end.
    async fn supervise(&self, host: &dyn ProcessHost) {
        let _life = self.life.lock().await;
        let mut backoff = Backoff::new(self.timeouts.restart_min, self.timeouts.restart_max);
        while !self.stopped.is_closed() {
            let began = Instant::now();
            let end = self.live(host).await;
            if matches!(end, ProgramEnd::Stopped) {
                break;
            }
            let is_steady =
                began.elapsed() >= self.timeouts.steady && !matches!(end, ProgramEnd::Hung(..) | ProgramEnd::Overfull);
            if is_steady {
                backoff.reset();
            }
            let delay = backoff.next_delay();
            self.exchange.close(&end.to_string(), &format!("{end}, and is not started again yet"));
            host.failed(Failure::new(format!("{end}; it is started again in {} ms", delay.as_millis())));
            let _ = timeout(delay, self.until_stopped()).await;
            self.exchange.open();
        }
        self.exchange.close("the program was stopped", "the program was stopped");
    }

    async fn until_stopped(&self) {
        // Nothing is ever sent.
        let _ = self.stopped.recv().await;
    }

    /// One life of the program, from its start until it is gone with all that it has started, and waited for.
    async fn live(&self, host: &dyn ProcessHost) -> ProgramEnd {
        let (mut child, streams) = match self.program.start() {
            Ok(started) => started,
            Err(error) => return ProgramEnd::NotStarted(error),
        };
        log::debug!("plugin {}: process {} was started", self.name, child.id());
        let (said, requests) = async_channel::bounded(1);
        let (closed, drained) = (Notify::new(), Notify::new());
        let outputs = async {
            let answers_and_requests =
                future::zip(self.listen(streams.stdout, said, &closed, host), self.serve(requests, host));
            future::zip(answers_and_requests, errors::log(streams.stderr, host)).await;
            drained.ring();
            future::pending().await
        };
        let conduct = async {
            let end = self.attend(&mut child, streams.stdin, &closed).await;
            let end = self.terminate(&mut child, end).await;
            // What it has written last counts. Only somebody who left its group can keep its pipes open now.
            let _ = timeout(self.timeouts.stop, drained.rung()).await;
            end
        };
        future::or(conduct, outputs).await
    }

    /// Tells the program what there is to tell, until its life comes to an end in some way.
    async fn attend(&self, child: &mut Child, stdin: ChildStdin, closed: &Notify) -> ProgramEnd {
        let ended = async { ProgramEnd::Ended(child.wait().await) };
        let closed = async {
            closed.rung().await;
            ProgramEnd::ClosedOutput
        };
        let silent = async {
            self.exchange.until_silent(self.timeouts.silence).await;
            ProgramEnd::Hung("was asked, and wrote no line", self.timeouts.silence)
        };
        let overfull = async {
            self.exchange.until_overfull().await;
            ProgramEnd::Overfull
        };
        let stopped = async {
            self.until_stopped().await;
            ProgramEnd::Stopped
        };
        let by_itself = future::or(ended, closed);
        let by_us = future::or(stopped, future::or(silent, overfull));
        future::or(future::or(by_itself, by_us), self.write(stdin)).await
    }

    /// Ends what is left of it.
    async fn terminate(&self, child: &mut Child, end: ProgramEnd) -> ProgramEnd {
        match end {
            // Where it was about to end by itself, its output was closed before that could be seen.
            ProgramEnd::ClosedOutput => child.stop(self.timeouts.stop).await.map_or(end, ProgramEnd::Ended),
            ProgramEnd::Stopped => {
                child.stop(self.timeouts.stop).await;
                end
            }
            ProgramEnd::Ended(_) | ProgramEnd::NotStarted(_) | ProgramEnd::Hung(..) | ProgramEnd::Overfull => {
                child.kill(self.timeouts.stop).await;
                end
            }
        }
    }

    /// Writes what there is to tell the program. Ends only when it does not read.
    async fn write(&self, mut stdin: ChildStdin) -> ProgramEnd {
        loop {
            let lines = self.exchange.take().await;
            let mut unwritten = &lines[..];
            while !unwritten.is_empty() {
                match timeout(self.timeouts.silence, stdin.write(unwritten)).await {
                    Err(Elapsed) => return ProgramEnd::Hung("did not read what it was told", self.timeouts.silence),
                    Ok(Ok(bytes)) if bytes > 0 => unwritten = &unwritten[bytes..],
                    // It has closed its input, and may have something to say all the same.
                    Ok(_) => {
                        self.exchange.mark_stdin_closed();
                        return future::pending().await;
                    }
                }
            }
        }
    }

    /// Reads what the program says until it has closed its output, and deals with the answers in it. A line without its end is
    /// none.
    async fn listen(
        &self,
        mut stdout: ChildStdout,
        said: Sender<Vec<ProgramRequest>>,
        closed: &Notify,
        host: &dyn ProcessHost,
    ) {
        let mut output = Output::new();
        while output.read(&mut stdout).await {
            // Whoever says much lets the others go first.
            while let Some(heard) = output.next_lines(&self.exchange) {
                if heard.late > 0 {
                    log::debug!("plugin {}: {} answers came too late, or to no call", self.name, heard.late);
                }
                if let Some(garbage) = heard.garbage {
                    host.failed(garbage);
                }
                if !heard.said.is_empty() {
                    // While the requests before it are being handed in, nothing more is read.
                    let _ = said.send(heard.said).await;
                }
                future::yield_now().await;
            }
        }
        closed.ring();
    }

    /// Hands in what the program asks, until it asks no more.
    async fn serve(&self, requests: Receiver<Vec<ProgramRequest>>, host: &dyn ProcessHost) {
        while let Ok(said) = requests.recv().await {
            requests::serve(said, &self.exchange, host).await;
        }
    }

    async fn answer_all(&self, calls: Vec<Call>, timeout: Option<Duration>) -> Vec<Result<Answer, Failure>> {
        let mut timer = timeout.map_or_else(Timer::never, Timer::after);
        let mut answering = Vec::with_capacity(calls.len());
        for call in &calls {
            answering.push(self.hand_in(call, timeout, &mut timer).await);
        }
        let mut answers = Vec::with_capacity(calls.len());
        for (call, answering) in calls.iter().zip(answering) {
            answers.push(match answering {
                Ok(answering) => self.answered(call.hook(), answering, timeout, &mut timer).await,
                Err(failure) => Err(failure),
            });
        }
        answers
    }

    /// Hands in a call as soon as there is room, as long as the program answers those before it.
    async fn hand_in(
        &self,
        call: &Call,
        timeout: Option<Duration>,
        timer: &mut Timer,
    ) -> Result<PendingAnswer, Failure> {
        loop {
            let rung = async {
                (&mut *timer).await;
                None
            };
            if let Some(answering) = future::or(async { Some(self.exchange.call(call).await) }, rung).await {
                return answering;
            }
            let timeout = timeout.unwrap_or_default();
            if self.exchange.is_quiet(timeout) {
                timer.set_after(Duration::ZERO);
                return Err(self.too_late(call.hook()));
            }
            timer.set_after(timeout);
        }
    }

    /// One answer, or none in its time. The timer is that of all the calls that stand together: it is set anew only when it rings.
    async fn answered(
        &self,
        hook: Hook,
        mut answering: PendingAnswer,
        timeout: Option<Duration>,
        timer: &mut Timer,
    ) -> Result<Answer, Failure> {
        loop {
            let rung = async {
                (&mut *timer).await;
                None
            };
            if let Some(answer) = future::or(async { Some(answering.answer().await) }, rung).await {
                return answer;
            }
            match timeout.and_then(|timeout| self.exchange.time_left(&answering, timeout)) {
                Some(left) => timer.set_after(left),
                None => {
                    timer.set_after(Duration::ZERO);
                    return Err(self.too_late(hook));
                }
            }
        }
    }

    fn too_late(&self, hook: Hook) -> Failure {
        let ms = self.timeout.as_millis();
        Failure::new(format!("no answer to {} came within {ms} ms (timeout_ms)", hook.as_str()))
    }
}

impl Plugin for Process {
    fn run(&self, host: Host) -> Pending<'_, ()> {
        Box::pin(async move { self.supervise(&host).await })
    }

    fn call(&self, call: Call) -> Pending<'_, Result<Answer, Failure>> {
        Box::pin(async move { self.exchange.call(&call).await?.answer().await })
    }

    fn call_all(&self, calls: Vec<Call>, timeout: Option<Duration>) -> Pending<'_, Vec<Result<Answer, Failure>>> {
        Box::pin(self.answer_all(calls, timeout))
    }

    fn hear(&self, line: &str) {
        self.exchange.tell(line);
    }

    fn end(&self) -> Pending<'_, ()> {
        Box::pin(async {
            self.stop.close();
            self.life.lock().await;
        })
    }
}

#[cfg(test)]
mod tests;
