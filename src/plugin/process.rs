//! Plugins that are programs of their own, with JSON lines on their standard input and output. Owns the life of the program:
//! starts it, reads and writes its streams, restarts it, stops it, and leaves no process behind; never carries out an answer.

mod children;
mod confine;
mod descendants;
mod errors;
mod exchange;
mod host;
mod output;
mod procfs;
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
use self::output::Output;
use self::program::{Child, Exit, Program};
use self::requests::ProgramRequest;
use super::{Answer, Call, Failure, Host, Pending, Plugin};
use crate::backoff::Backoff;
use crate::config::{Hook, PluginConfig};
use crate::limits::{
    PROCESS_RESTART_MS_MAX, PROCESS_RESTART_MS_MIN, PROCESS_SILENCE_S_MAX, PROCESS_STEADY_S_MIN, PROCESS_STOP_MS_MAX,
};
use crate::message::{PeerName, RequestId};
use crate::protocol::Reply;
use crate::timeout::timeout;

pub(crate) use self::children::reap_orphans;
pub use self::program::ProcessError;

/// A plugin that is a program. [`Plugin::run`] starts the program; earlier calls wait for it.
///
/// A call is a line on its standard input and the answer a line on its standard output, matched by `id`, so that many calls can
/// be in flight. A line of the program that has a `type` is a request of the protocol.
pub struct Process {
    name: PeerName,
    program: Program,
    /// Time for one answer, as failures report it.
    timeout: Duration,
    timeouts: Timeouts,
    exchange: Exchange,
    /// Closed to stop the program.
    stop: Sender<()>,
    stopped: Receiver<()>,
    /// Held while the program is supervised.
    running: smol::lock::Mutex<()>,
}

/// Time limits of a program. The tests use shorter ones.
#[derive(Clone, Copy, Debug)]
struct Timeouts {
    /// Silence of a program that owes an answer, and of its standard input while there is something to write.
    silence: Duration,
    /// Time for a program to end after SIGTERM.
    stop: Duration,
    /// Delay before the first restart.
    restart_min: Duration,
    /// Longest delay before a restart.
    restart_max: Duration,
    /// Run time after which a program counts as working.
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

/// Way in which one run of the program ended.
#[derive(Debug)]
enum ProgramEnd {
    NotStarted(io::Error),
    /// The program ended by itself, or by a signal from outside.
    Exited(Exit),
    /// The program closed its standard output, so no answer can come, and was stopped.
    ClosedOutput,
    /// The program did not do this for so long, and was killed.
    Hung(&'static str, Duration),
    /// The program left too many bytes unread, and was killed.
    Overfull,
    /// The plugin was stopped.
    Stopped,
}

impl fmt::Display for ProgramEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProgramEnd::NotStarted(error) => {
                write!(f, "the program could not be started: {error}{}", start_hint(error))
            }
            ProgramEnd::Exited(exit) => write!(f, "the program {exit}"),
            ProgramEnd::ClosedOutput => f.write_str("the program closed its standard output"),
            ProgramEnd::Hung(what, time) => write!(f, "the program {what} for {} s", time.as_secs_f32()),
            ProgramEnd::Overfull => f.write_str("the program does not read its replies"),
            ProgramEnd::Stopped => f.write_str("the program was stopped"),
        }
    }
}

/// Returns another likely cause, where the system's words mislead.
fn start_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; if the file exists, check the interpreter in its first line",
        io::ErrorKind::PermissionDenied => {
            "; check the permissions of its directories, and of the interpreter in its first line"
        }
        io::ErrorKind::WouldBlock => "; its user has as many processes as it may have (processes_max)",
        _ => "",
    }
}

impl Process {
    /// Checks that the program exists and can be run as the configured user. Starts nothing yet.
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
            running: smol::lock::Mutex::new(()),
        })
    }

    /// Runs the program, and restarts it whenever it ends, until the plugin is stopped.
    async fn supervise(&self, host: &dyn ProcessHost) {
        let _running = self.running.lock().await;
        let mut restarts = Backoff::new(self.timeouts.restart_min, self.timeouts.restart_max);
        while !self.stopped.is_closed() {
            let started = Instant::now();
            let end = self.run_once(host).await;
            if matches!(end, ProgramEnd::Stopped) {
                break;
            }
            let is_killed = matches!(end, ProgramEnd::Hung(..) | ProgramEnd::Overfull);
            if started.elapsed() >= self.timeouts.steady && !is_killed {
                restarts.reset();
            }
            let delay = restarts.next_delay();
            self.exchange.close(&end.to_string(), Some(Instant::now() + delay));
            host.report_failure(Failure::new(format!("{end}; restarting in {} ms", delay.as_millis())));
            let _ = timeout(delay, self.until_stopped()).await;
            self.exchange.open();
        }
        self.exchange.close(&ProgramEnd::Stopped.to_string(), None);
    }

    async fn until_stopped(&self) {
        // Nothing is ever sent: this resolves when the channel is closed.
        let _ = self.stopped.recv().await;
    }

    /// Runs the program once: from its start until it and all its descendants are gone.
    async fn run_once(&self, host: &dyn ProcessHost) -> ProgramEnd {
        let (mut child, streams) = match self.program.start() {
            Ok(started) => started,
            Err(error) => return ProgramEnd::NotStarted(error),
        };
        log::debug!("plugin {}: process {} was started", self.name, child.id());
        let (submitted, requests) = async_channel::bounded(1);
        let (closing, closed) = oneshot::async_channel();
        let (draining, drained) = oneshot::async_channel();
        let outputs = async {
            let answers_and_requests = future::zip(
                self.read_output(streams.stdout, submitted, closing, host),
                self.serve_requests(requests, host),
            );
            future::zip(answers_and_requests, errors::log(streams.stderr, host)).await;
            let _ = draining.send(());
            future::pending().await
        };
        let life = async {
            let end = self.until_end(&mut child, streams.stdin, closed).await;
            let end = self.terminate(&mut child, end).await;
            // The last output counts. Only a process that cannot be found or killed can keep the pipes open now.
            let _ = timeout(self.timeouts.stop, drained).await;
            end
        };
        future::or(life, outputs).await
    }

    /// Writes to the program until it ends, must be killed, or must stop.
    async fn until_end(&self, child: &mut Child, stdin: ChildStdin, closed: oneshot::AsyncReceiver<()>) -> ProgramEnd {
        let exited = async { ProgramEnd::Exited(child.wait().await) };
        let closed = async {
            // An error means the same: the reader of the output has ended.
            let _ = closed.await;
            ProgramEnd::ClosedOutput
        };
        let silent = async {
            self.exchange.until_silent(self.timeouts.silence).await;
            ProgramEnd::Hung("did not answer and wrote no line", self.timeouts.silence)
        };
        let overfull = async {
            self.exchange.until_overfull().await;
            ProgramEnd::Overfull
        };
        let stopped = async {
            self.until_stopped().await;
            ProgramEnd::Stopped
        };
        let by_itself = future::or(exited, closed);
        let by_us = future::or(stopped, future::or(silent, overfull));
        future::or(future::or(by_itself, by_us), self.write(stdin)).await
    }

    /// Ends what is left of the program.
    async fn terminate(&self, child: &mut Child, end: ProgramEnd) -> ProgramEnd {
        match end {
            // A program that was about to exit may close its output before its exit can be seen.
            ProgramEnd::ClosedOutput => child.stop(self.timeouts.stop).await.map_or(end, ProgramEnd::Exited),
            ProgramEnd::Stopped => {
                child.stop(self.timeouts.stop).await;
                end
            }
            ProgramEnd::Exited(_) | ProgramEnd::NotStarted(_) | ProgramEnd::Hung(..) | ProgramEnd::Overfull => {
                child.kill(self.timeouts.stop).await;
                end
            }
        }
    }

    /// Writes calls and replies to the program. Returns only if the program does not read.
    async fn write(&self, mut stdin: ChildStdin) -> ProgramEnd {
        loop {
            let lines = self.exchange.take_lines().await;
            let mut unwritten = &lines[..];
            while !unwritten.is_empty() {
                match timeout(self.timeouts.silence, stdin.write(unwritten)).await {
                    Err(_) => return ProgramEnd::Hung("did not read its standard input", self.timeouts.silence),
                    Ok(Ok(bytes)) if bytes > 0 => unwritten = &unwritten[bytes..],
                    // The program has closed its input, and may still write.
                    Ok(_) => {
                        self.exchange.mark_stdin_closed();
                        return future::pending().await;
                    }
                }
            }
        }
    }

    /// Reads the program's output until the program closes it. Passes on answers, and submits requests to
    /// [`serve_requests`](Self::serve_requests). Ignores a last line without its end.
    async fn read_output(
        &self,
        mut stdout: ChildStdout,
        submitted: Sender<Vec<ProgramRequest>>,
        closing: oneshot::Sender<()>,
        host: &dyn ProcessHost,
    ) {
        let mut output = Output::new();
        while output.read(&mut stdout).await {
            // Yields after each batch, so that a program that writes much does not stall other tasks.
            while let Some(batch) = output.next_lines(&self.exchange) {
                if batch.late > 0 {
                    log::debug!("plugin {}: {} answers were late, or to no call", self.name, batch.late);
                }
                if let Some(failure) = batch.invalid {
                    host.report_failure(failure);
                }
                if !batch.requests.is_empty() {
                    // While the earlier requests are being submitted, nothing more is read.
                    let _ = submitted.send(batch.requests).await;
                }
                future::yield_now().await;
            }
        }
        let _ = closing.send(());
    }

    /// Carries out the program's requests, until there are no more.
    async fn serve_requests(&self, submitted: Receiver<Vec<ProgramRequest>>, host: &dyn ProcessHost) {
        while let Ok(requests) = submitted.recv().await {
            requests::serve(requests, &self.exchange, host).await;
        }
    }

    async fn answer_all(&self, calls: Vec<Call>, timeout: Option<Duration>) -> Vec<Result<Answer, Failure>> {
        let mut timer = timeout.map_or_else(Timer::never, Timer::after);
        let mut pending = Vec::with_capacity(calls.len());
        for call in &calls {
            pending.push(self.submit(call, timeout, &mut timer).await);
        }
        let mut answers = Vec::with_capacity(calls.len());
        for (call, pending) in calls.iter().zip(pending) {
            answers.push(match pending {
                Ok(pending) => self.receive(call.hook(), pending, timeout, &mut timer).await,
                Err(failure) => Err(failure),
            });
        }
        answers
    }

    /// Submits a call as soon as there is room. Fails if the program stops answering the calls before it.
    async fn submit(
        &self,
        call: &Call,
        timeout: Option<Duration>,
        timer: &mut Timer,
    ) -> Result<PendingAnswer, Failure> {
        loop {
            if let Some(submitted) = unless_expired(timer, self.exchange.call(call)).await {
                return submitted;
            }
            let timeout = timeout.unwrap_or_default();
            if self.exchange.is_quiet(timeout) {
                timer.set_after(Duration::ZERO);
                return Err(self.timed_out(call.hook()));
            }
            timer.set_after(timeout);
        }
    }

    /// Waits for one answer, for as long as its call has time. All calls of a batch share the timer, which is set again only when
    /// it expires: setting it for each call would cost more than the call.
    async fn receive(
        &self,
        hook: Hook,
        mut pending: PendingAnswer,
        timeout: Option<Duration>,
        timer: &mut Timer,
    ) -> Result<Answer, Failure> {
        loop {
            if let Some(answer) = unless_expired(timer, pending.answer()).await {
                return answer;
            }
            match timeout.and_then(|timeout| self.exchange.time_left(&pending, timeout)) {
                Some(left) => timer.set_after(left),
                None => {
                    timer.set_after(Duration::ZERO);
                    return Err(self.timed_out(hook));
                }
            }
        }
    }

    fn timed_out(&self, hook: Hook) -> Failure {
        let ms = self.timeout.as_millis();
        Failure::new(format!("no answer to {} within {ms} ms (timeout_ms)", hook.as_str()))
    }
}

/// Waits for the future, or for the timer: `None` if the timer expired first.
async fn unless_expired<T>(timer: &mut Timer, future: impl Future<Output = T>) -> Option<T> {
    let expired = async {
        timer.await;
        None
    };
    future::or(async { Some(future.await) }, expired).await
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

    fn receive_reply(&self, id: Option<&RequestId>, reply: &Reply) {
        self.exchange.push_reply(id, reply);
    }

    fn outage(&self) -> Option<String> {
        self.exchange.outage()
    }

    fn stop(&self) -> Pending<'_, ()> {
        Box::pin(async {
            self.stop.close();
            self.running.lock().await;
        })
    }
}

#[cfg(test)]
mod tests;
