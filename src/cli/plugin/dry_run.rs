//! `holdline plugin test`: runs a plugin over messages of the log, and prints what it would have done. Owns the calls and the
//! output; never carries out an effect.

mod words;

use std::convert::Infallible;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use async_channel::Receiver;
use bpaf::{OptionParser, Parser, construct, long, positional};
use holdline::archive::{LogLine, LogReader, ReadError, Selection};
use holdline::config::{Flags, Hook, OnFailure, PluginConfig};
use holdline::limits::{AWAY_NAMES_MAX, DRY_RUN_MESSAGES_DEFAULT, DRY_RUN_MESSAGES_MAX, PLUGIN_START_MS_MAX};
use holdline::message::{Destination, PeerName, Seq, Text, Timestamp};
use holdline::plugin::{self, Answer, Call, Failure, Host, LoadError, LoggedCall, MailCall, MessageCall, Plugin};
use holdline::protocol::{ClientRequest, Code, ParsedRequest, Refusal, Rejected, Reply, Request};
use smol::future;

use self::words::{Millis, PlannedEffect, verdict_words};
use crate::cli::flags::UsageError;
use crate::cli::lines::LineFormat;
use crate::cli::output::{SafeOutput, unless_reader_gone};

/// Time for a plugin to start.
const START: Duration = Duration::from_millis(PLUGIN_START_MS_MAX);

/// Number of times that the plugin's task may run after its answer, so that requests that it submitted before arrive.
const YIELDS: usize = 8;

/// Hooks that can be called with a message of the log.
const TESTED_HOOKS: [Hook; 3] = [Hook::Message, Hook::Logged, Hook::Mail];

/// Arguments of `plugin test`.
#[derive(Clone, Debug)]
pub(crate) struct TestPluginArgs {
    /// Locations of `plugins.toml` and the database.
    pub(crate) flags: Flags,
    /// Number of messages, the newest ones.
    count: usize,
    /// Name of the plugin.
    name: PeerName,
}

/// Reason why the dry run could not start, or not finish.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DryRunError {
    /// No plugin has this name.
    #[error("{0}")]
    Unknown(#[source] UsageError),
    /// The plugin does not load.
    #[error("{0}")]
    Load(#[source] LoadError),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Standard output could not be written.
    #[error("cannot write the results")]
    Write(#[source] io::Error),
}

/// Returns the parser of the arguments.
pub(crate) fn options() -> OptionParser<TestPluginArgs> {
    let data = crate::cli::flags::data_flag();
    let config = crate::cli::flags::config_flag();
    let plugins = crate::cli::flags::plugins_flag();
    let flags = construct!(data, config, plugins).map(|(data, config, plugins)| {
        // A dry run neither listens nor serves.
        Flags { data, config, plugins, ..Flags::default() }
    });
    let count = long("last")
        .argument::<String>("N")
        .help(format!("Number of newest messages [default: {DRY_RUN_MESSAGES_DEFAULT}]").as_str())
        .parse(|count| match count.parse().map(NonZeroUsize::get) {
            Ok(count) if count <= DRY_RUN_MESSAGES_MAX => Ok(count),
            _ => Err(format!("--last must be a whole number from 1 to {DRY_RUN_MESSAGES_MAX}")),
        })
        .fallback(DRY_RUN_MESSAGES_DEFAULT);
    let name = positional::<String>("NAME")
        .help("Name of the plugin in plugins.toml")
        .parse(|name| PeerName::parse(&name).map_err(|error| format!("invalid name of a plugin: {error}")));
    construct!(TestPluginArgs { flags, count, name })
        .to_options()
        .descr("Runs a plugin over the newest messages of the log and prints what it would have done; carries out nothing")
        .header(
            "It calls the hooks message, logged, and (for messages to NAME) mail. A server may be running. Exits with 1 if a \
             call failed.",
        )
        .footer("Example:\n\n        holdline plugin test manners --last=20 --data=/var/lib/holdline")
}

/// Runs one of the plugins over the log. Returns true if it answered every call.
pub(crate) fn run(data: &Path, plugins: Vec<PluginConfig>, args: &TestPluginArgs) -> Result<bool, DryRunError> {
    match run_to_end(data, plugins, args) {
        // A reader that closed the pipe, such as `head`, did not wait for the result.
        Err(DryRunError::Write(error)) => unless_reader_gone(Err(error)).map(|()| true).map_err(DryRunError::Write),
        other => other,
    }
}

fn run_to_end(data: &Path, plugins: Vec<PluginConfig>, args: &TestPluginArgs) -> Result<bool, DryRunError> {
    let entry = find(plugins, &args.name).map_err(DryRunError::Unknown)?;
    let plugin = plugin::load(entry.clone()).map_err(DryRunError::Load)?.plugin;
    let log = LogReader::open(data)?;
    let selection = Selection { with: None, before: Seq::MAX, count: args.count };
    let (host, submitted) = Host::with_recorder(entry.name.clone());
    let mut running = pin!(async {
        plugin.run(host.clone()).await;
        future::pending().await
    });
    let out = SafeOutput::stdout();
    let (plugin, host) = (&*plugin, host.clone());
    let mut dry_run = DryRun { entry, plugin, host, submitted, out, times: Vec::new(), failures: 0 };
    meanwhile(running.as_mut(), dry_run.begin()).map_err(DryRunError::Write)?;
    let messages = log
        .history(&selection, |line| meanwhile(running.as_mut(), dry_run.message(&line)).map_err(DryRunError::Write))?;
    meanwhile(running, dry_run.end(messages)).map_err(DryRunError::Write)?;
    Ok(dry_run.failures == 0)
}

/// Blocks until `work` is done, while the plugin runs. The plugin is polled first.
fn meanwhile<T>(running: Pin<&mut impl Future<Output = Infallible>>, work: impl Future<Output = T>) -> T {
    smol::block_on(future::or(async { match running.await {} }, work))
}

fn find(plugins: Vec<PluginConfig>, name: &PeerName) -> Result<PluginConfig, UsageError> {
    let names: Vec<_> = plugins.iter().map(|plugin| plugin.name.to_string()).collect();
    let known = if names.is_empty() { "there are none".to_owned() } else { format!("there are {}", names.join(", ")) };
    let plugin = plugins.into_iter().find(|plugin| plugin.name == *name);
    plugin.ok_or_else(|| UsageError(format!("there is no plugin {name}; {known}")))
}

/// A plugin that is called as the server would have called it.
struct DryRun<'a> {
    entry: PluginConfig,
    plugin: &'a dyn Plugin,
    host: Host,
    /// Receives requests that the plugin submits.
    submitted: Receiver<Vec<ParsedRequest>>,
    out: SafeOutput,
    /// Duration of each call.
    times: Vec<Duration>,
    failures: usize,
}

impl DryRun<'_> {
    async fn begin(&mut self) -> io::Result<()> {
        let settings = self.entry.settings.clone();
        self.call_if_hooked(Call::Start { settings }).await
    }

    /// Calls the plugin for a message, and prints the results.
    async fn message(&mut self, line: &LogLine) -> io::Result<()> {
        let calls = calls(&self.entry, line);
        if !calls.is_empty() {
            LineFormat::People.write(line, &mut self.out)?;
        }
        for call in calls {
            self.call(call, line.seq).await?;
        }
        Ok(())
    }

    async fn end(&mut self, messages: usize) -> io::Result<()> {
        self.call_if_hooked(Call::Stop).await?;
        let replies = reply_to_all(self.plugin, &self.submitted, Seq::ZERO, |_| ());
        future::or(self.plugin.stop(), replies).await;
        self.out.line(self.summary(messages))?;
        self.out.flush()
    }

    async fn call_if_hooked(&mut self, call: Call) -> io::Result<()> {
        if !self.entry.hooks_into(call.hook()) {
            return Ok(());
        }
        self.out.line(&self.entry.name)?;
        self.call(call, Seq::ZERO).await
    }

    async fn call(&mut self, call: Call, seq: Seq) -> io::Result<()> {
        let hook = call.hook();
        // The first call waits for the start of a program.
        let is_first = self.times.is_empty();
        let timeout = if is_first { START.max(self.entry.timeout) } else { self.entry.timeout };
        let answers = self.plugin.call_all(vec![call], (hook.decides() || is_first).then_some(timeout));
        let mut planned = Vec::new();
        let replies = reply_to_all(self.plugin, &self.submitted, seq, |request| {
            planned.extend(PlannedEffect::of_request(request))
        });
        let called_at = Instant::now();
        let answered = async {
            let answer = answers.await.pop().unwrap_or_else(|| Err(Failure::new("there was no answer")));
            let took = called_at.elapsed();
            for _ in 0..YIELDS {
                future::yield_now().await;
            }
            (answer, took)
        };
        let (answer, took) = future::or(answered, replies).await;
        self.times.push(took);
        self.report(hook, answer, planned, took).await
    }

    async fn report(
        &mut self,
        hook: Hook,
        answer: Result<Answer, Failure>,
        mut planned: Vec<PlannedEffect>,
        took: Duration,
    ) -> io::Result<()> {
        let outcome = match answer {
            Ok(Answer { verdict, effects }) => {
                planned.extend(effects.iter().map(PlannedEffect::of_effect));
                // Later calls read the values that this one set.
                let _ = self.host.apply(effects).await;
                verdict_words(hook, &verdict)
            }
            Err(failure) => {
                self.failures += 1;
                let verdict = match (hook.decides(), self.entry.on_failure) {
                    (true, OnFailure::Reject) => "; rejected (on_failure)",
                    (true, OnFailure::Pass) => "; passes (on_failure)",
                    (false, _) => "",
                };
                format!("no answer: {failure}{verdict}")
            }
        };
        self.out.line(format_args!("    {}: {outcome} ({})", hook.as_str(), Millis(took)))?;
        planned.iter().try_for_each(|effect| self.out.line(format_args!("        would {effect}")))?;
        self.out.flush()
    }

    fn summary(&self, messages: usize) -> String {
        let mut times = self.times.clone();
        times.sort();
        match (times.get(times.len() / 2), times.last()) {
            (Some(median), Some(longest)) => format!(
                "messages: {messages}, calls: {}, failures: {}; a call took {} (median), {} at most",
                times.len(),
                self.failures,
                Millis(*median),
                Millis(*longest)
            ),
            _ => format!("messages: {messages}, calls: 0; {}", self.reason_for_no_calls()),
        }
    }

    fn reason_for_no_calls(&self) -> &'static str {
        if TESTED_HOOKS.iter().any(|hook| self.entry.hooks_into(*hook)) {
            "it would be called for none of the messages"
        } else {
            "it has none of the hooks message, logged and mail"
        }
    }
}

/// Replies to the requests that a plugin submits, as if they had been carried out. Never returns.
async fn reply_to_all<T>(
    plugin: &dyn Plugin,
    submitted: &Receiver<Vec<ParsedRequest>>,
    seq: Seq,
    mut each: impl FnMut(&ParsedRequest),
) -> T {
    while let Ok(requests) = submitted.recv().await {
        for request in requests {
            each(&request);
            let (id, reply) = match request {
                Ok(ClientRequest { id, request }) => (id, reply(request, seq)),
                Err(Rejected { id, refusal }) => (id, Reply::Refused(refusal)),
            };
            plugin.receive_reply(id.as_ref(), &reply);
        }
    }
    future::pending().await
}

fn reply(request: Request, seq: Seq) -> Reply {
    let no_server = || Reply::Refused(Refusal::new(Code::Internal, "there is no server in a dry run"));
    match request {
        Request::Send(_) => Reply::Accepted { seq, at: Timestamp::now() },
        Request::Join { room } => Reply::Joined { room, topic: None },
        Request::Leave { room } => Reply::Left { room },
        Request::SetTopic { room, topic } => Reply::Topic { room, topic },
        Request::Ack { .. }
        | Request::ShowTopic { .. }
        | Request::Who
        | Request::History(_)
        | Request::Search { .. }
        | Request::Ping { .. } => no_server(),
        Request::Register { .. } | Request::ChangePassword { .. } => no_server(),
        Request::Help | Request::Command { .. } | Request::Plugins | Request::Quit => no_server(),
    }
}

/// Returns the calls for a message.
fn calls(entry: &PluginConfig, line: &LogLine) -> Vec<Call> {
    let LogLine { seq, at, sender, recipients, text, waiting_for } = line;
    let (seq, at) = (*seq, Timestamp::parse(at));
    let to: Vec<_> = recipients.iter().filter_map(|name| Destination::parse(name).ok()).collect();
    // A damaged message may lack any of them.
    let (Some(at), Ok(from), Some(text)) = (at, PeerName::parse(sender), Text::verbatim(text)) else {
        return Vec::new();
    };
    // A plugin is not called for its own messages.
    let decides = entry.hooks_into(Hook::Message) && from != entry.name;
    let is_mail = entry.hooks_into(Hook::Mail) && to.contains(&Destination::Peer(entry.name.clone()));
    let mut calls = Vec::new();
    if decides {
        calls.push(Call::Message(MessageCall { from: from.clone(), to: to.clone(), text: text.clone() }));
    }
    if entry.hooks_into(Hook::Logged) {
        let away = waiting_for.iter().filter_map(|name| PeerName::parse(name).ok()).take(AWAY_NAMES_MAX).collect();
        calls.push(Call::Logged(LoggedCall { seq, at, from: from.clone(), to: to.clone(), text: text.clone(), away }));
    }
    if is_mail {
        calls.push(Call::Mail(MailCall { r#type: "message", seq, at, from, to, room: None, text }));
    }
    calls
}
