//! `holdline plugin test`: runs a plugin over messages of the log, and says what it would have done. Owns what is asked of it, and how
//! that looks; never does what the plugin wants.

mod words;

use std::convert::Infallible;
use std::io::{self, StdoutLock, Write};
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
use holdline::protocol::{ClientRequest, Code, ParsedRequest, Refusal, Rejected, Reply, Request, json};
use smol::future;

use self::words::{Millis, PlannedEffect, on_one_line, verdict_words};
use crate::cli::UsageError;
use crate::cli::lines::Form;

/// How long a plugin may take to start.
const START: Duration = Duration::from_millis(PLUGIN_START_MS_MAX);

/// How often a plugin that has answered may go on, so that what it has handed in before comes: it is on its way already.
const YIELDS: usize = 8;

/// The hooks that the log can be held against.
const TRIED: [Hook; 3] = [Hook::Message, Hook::Logged, Hook::Mail];

/// What is to be tried.
#[derive(Clone, Debug)]
pub(crate) struct TestPluginArgs {
    /// Where the plugins and the database are.
    pub(crate) flags: Flags,
    /// How many of the newest messages.
    count: usize,
    /// Which plugin.
    name: PeerName,
}

/// Why a plugin was not tried, or not over all of them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DryRunError {
    /// There is none of this name.
    #[error("{0}")]
    Unknown(#[source] UsageError),
    /// It does not load.
    #[error("{0}")]
    Load(#[source] LoadError),
    /// The log.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Standard output could not be written.
    #[error("what the plugin would have done cannot be written")]
    Write(#[source] io::Error),
}

/// The flags of `test`, with their help.
pub(crate) fn options() -> OptionParser<TestPluginArgs> {
    let data = crate::cli::data_flag();
    let config = crate::cli::config_flag();
    let plugins = crate::cli::plugins_flag();
    let flags = construct!(data, config, plugins).map(|(data, config, plugins)| {
        // Nothing listens, and nothing is served.
        Flags { data, config, plugins, ..Flags::default() }
    });
    let count = long("last")
        .argument::<String>("N")
        .help(format!("Over how many of the newest messages [default: {DRY_RUN_MESSAGES_DEFAULT}]").as_str())
        .parse(|count| match count.parse().map(NonZeroUsize::get) {
            Ok(count) if count <= DRY_RUN_MESSAGES_MAX => Ok(count),
            _ => Err(format!("--last wants a whole number from 1 to {DRY_RUN_MESSAGES_MAX}")),
        })
        .fallback(DRY_RUN_MESSAGES_DEFAULT);
    let name = positional::<String>("NAME")
        .help("The plugin, as plugins.toml calls it")
        .parse(|name| PeerName::parse(&name).map_err(|error| format!("a plugin wants a name: {error}")));
    construct!(TestPluginArgs { flags, count, name })
        .to_options()
        .descr("Runs a plugin over the newest messages of the log, and prints what it would have done; nothing is done")
        .header(
            "It tries the hooks message, logged, and mail for what was written to NAME; a server may be running. Exits with 1 \
             if a call failed.",
        )
        .footer("Example:\n\n        holdline plugin test manners --last=20 --data=/var/lib/holdline")
}

/// Tries one of these plugins. Whether it answered every call.
pub(crate) fn run(data: &Path, plugins: Vec<PluginConfig>, args: &TestPluginArgs) -> Result<bool, DryRunError> {
    match run_whole(data, plugins, args) {
        // Whoever has seen enough has not seen whether it is well.
        Err(DryRunError::Write(error)) => {
            crate::cli::unless_reader_gone(Err(error)).map(|()| true).map_err(DryRunError::Write)
        }
        other => other,
    }
}

fn run_whole(data: &Path, plugins: Vec<PluginConfig>, args: &TestPluginArgs) -> Result<bool, DryRunError> {
    let entry = find(plugins, &args.name).map_err(DryRunError::Unknown)?;
    let plugin = plugin::load(entry.clone()).map_err(DryRunError::Load)?.plugin;
    let log = LogReader::open(data)?;
    let selection = Selection { with: None, before: Seq::MAX, count: args.count };
    let (host, submitted) = Host::with_recorder(entry.name.clone());
    let mut life = pin!(async {
        plugin.run(host.clone()).await;
        future::pending().await
    });
    let out = io::stdout().lock();
    let (plugin, host) = (&*plugin, host.clone());
    let mut dry_run = DryRun { entry, plugin, host, submitted, out, times: Vec::new(), failures: 0 };
    meanwhile(life.as_mut(), dry_run.begin()).map_err(DryRunError::Write)?;
    let messages =
        log.history(&selection, |line| meanwhile(life.as_mut(), dry_run.message(&line)).map_err(DryRunError::Write))?;
    meanwhile(life, dry_run.end(messages)).map_err(DryRunError::Write)?;
    Ok(dry_run.failures == 0)
}

/// Does something while the plugin lives, and after it has begun to.
fn meanwhile<T>(life: Pin<&mut impl Future<Output = Infallible>>, doing: impl Future<Output = T>) -> T {
    smol::block_on(future::or(async { match life.await {} }, doing))
}

fn find(plugins: Vec<PluginConfig>, name: &PeerName) -> Result<PluginConfig, UsageError> {
    let names: Vec<_> = plugins.iter().map(|plugin| plugin.name.to_string()).collect();
    let known = if names.is_empty() { "there are none".to_owned() } else { format!("there are {}", names.join(", ")) };
    let plugin = plugins.into_iter().find(|plugin| plugin.name == *name);
    plugin.ok_or_else(|| UsageError(format!("there is no plugin {name}; {known}")))
}

/// A plugin that is asked and told what it would have been.
struct DryRun<'a> {
    entry: PluginConfig,
    plugin: &'a dyn Plugin,
    host: Host,
    /// What it hands in beside its answers.
    submitted: Receiver<Vec<ParsedRequest>>,
    out: StdoutLock<'static>,
    /// How long each call took.
    times: Vec<Duration>,
    failures: usize,
}

impl DryRun<'_> {
    async fn begin(&mut self) -> io::Result<()> {
        let settings = self.entry.settings.clone();
        self.call_if_hooked(Call::Start { settings }).await
    }

    /// Asks and tells it about a message.
    async fn message(&mut self, line: &LogLine) -> io::Result<()> {
        let calls = calls(&self.entry, line);
        if !calls.is_empty() {
            Form::People.write(line, &mut self.out)?;
        }
        for call in calls {
            self.call(call, line.seq).await?;
        }
        Ok(())
    }

    async fn end(&mut self, messages: usize) -> io::Result<()> {
        self.call_if_hooked(Call::Stop).await?;
        let listening = listen(self.plugin, &self.submitted, Seq::ZERO, |_| ());
        future::or(self.plugin.end(), listening).await;
        writeln!(self.out, "{}", self.conclusion(messages))
    }

    async fn call_if_hooked(&mut self, call: Call) -> io::Result<()> {
        if !self.entry.hooks_into(call.hook()) {
            return Ok(());
        }
        writeln!(self.out, "{}", self.entry.name)?;
        self.call(call, Seq::ZERO).await
    }

    async fn call(&mut self, call: Call, seq: Seq) -> io::Result<()> {
        let hook = call.hook();
        // The first one waits for a program that is being started.
        let is_first = self.times.is_empty();
        let timeout = if is_first { START.max(self.entry.timeout) } else { self.entry.timeout };
        let answers = self.plugin.call_all(vec![call], (hook.decides() || is_first).then_some(timeout));
        let mut wishes = Vec::new();
        let listening =
            listen(self.plugin, &self.submitted, seq, |request| wishes.extend(PlannedEffect::of_request(request)));
        let began = Instant::now();
        let answered = async {
            let answer = answers.await.pop().unwrap_or_else(|| Err(Failure::new("there was no answer")));
            let took = began.elapsed();
            for _ in 0..YIELDS {
                future::yield_now().await;
            }
            (answer, took)
        };
        let (answer, took) = future::or(answered, listening).await;
        self.times.push(took);
        self.report(hook, answer, wishes, took).await
    }

    async fn report(
        &mut self,
        hook: Hook,
        answer: Result<Answer, Failure>,
        mut wishes: Vec<PlannedEffect>,
        took: Duration,
    ) -> io::Result<()> {
        let said = match answer {
            Ok(Answer { verdict, effects }) => {
                wishes.extend(effects.iter().map(PlannedEffect::of_effect));
                // What it keeps, it finds again.
                let _ = self.host.apply(effects).await;
                verdict_words(hook, &verdict)
            }
            Err(failure) => {
                self.failures += 1;
                let outcome = match (hook.decides(), self.entry.on_failure) {
                    (true, OnFailure::Reject) => "; so it is rejected",
                    (true, OnFailure::Pass) => "; so it passes",
                    (false, _) => "",
                };
                format!("no answer: {failure}{outcome}")
            }
        };
        writeln!(self.out, "    {}: {} ({})", hook.as_str(), on_one_line(&said), Millis(took))?;
        wishes.iter().try_for_each(|effect| writeln!(self.out, "        would {effect}"))
    }

    fn conclusion(&self, messages: usize) -> String {
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
            _ => format!("messages: {messages}, calls: 0; {}", self.why_none()),
        }
    }

    fn why_none(&self) -> &'static str {
        if TRIED.iter().any(|hook| self.entry.hooks_into(*hook)) {
            "no message is one that it would be asked or told about"
        } else {
            "none of its hooks is message, logged or mail"
        }
    }
}

/// Answers what a plugin hands in while it is called, as if all of it were done.
async fn listen<T>(
    plugin: &dyn Plugin,
    submitted: &Receiver<Vec<ParsedRequest>>,
    seq: Seq,
    mut hear: impl FnMut(&ParsedRequest),
) -> T {
    while let Ok(requests) = submitted.recv().await {
        for request in requests {
            hear(&request);
            let (id, reply) = match request {
                Ok(ClientRequest { id, request }) => (id, reply(request, seq)),
                Err(Rejected { id, refusal }) => (id, Reply::Refused(refusal)),
            };
            let mut line = Vec::new();
            json::encode_reply(id.as_ref(), &reply, &mut line);
            plugin.hear(String::from_utf8_lossy(&line).trim_end());
        }
    }
    future::pending().await
}

fn reply(request: Request, seq: Seq) -> Reply {
    let no_server = || Reply::Refused(Refusal::new(Code::Internal, "there is no server here to be asked"));
    match request {
        Request::Send(_) => Reply::Accepted { seq, at: Timestamp::now() },
        Request::Join { room } => Reply::Joined { room },
        Request::Leave { room } => Reply::Left { room },
        Request::Ack { .. } | Request::Who | Request::History(_) | Request::Search { .. } | Request::Ping { .. } => {
            no_server()
        }
        Request::Help | Request::Command { .. } | Request::Plugins | Request::Quit => no_server(),
    }
}

/// What a plugin is asked and told about a message.
fn calls(entry: &PluginConfig, line: &LogLine) -> Vec<Call> {
    let LogLine { seq, at, sender, recipients, text, waiting_for } = line;
    let (seq, at) = (*seq, Timestamp::parse(at));
    let to: Vec<_> = recipients.iter().filter_map(|name| Destination::parse(name).ok()).collect();
    // Only what is damaged lacks any of them.
    let (Some(at), Ok(from), Some(text)) = (at, PeerName::parse(sender), Text::kept(text)) else { return Vec::new() };
    // It is not asked about what it has sent itself.
    let is_asked = entry.hooks_into(Hook::Message) && from != entry.name;
    let is_mail = entry.hooks_into(Hook::Mail) && to.contains(&Destination::Peer(entry.name.clone()));
    let mut calls = Vec::new();
    if is_asked {
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
