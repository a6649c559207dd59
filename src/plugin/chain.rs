//! Chain of plugins with deciding hooks, in the order of `plugins.toml`: each plugin gets a message as the plugin before it left it. Owns
//! the effect of their verdicts on connections, logins, messages and commands; waits for nothing but plugins.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::answer::Verdict;
use super::call::{Call, CommandCall, ConnectCall, LoginCall, MessageCall};
use super::failure::Failure;
use super::filter::{FilteredRequests, MessageSender, SubmissionFilter};
use super::running::RunningPlugin;
use crate::config::{Hook, PluginKind};
use crate::message::{Destination, PeerName, Text};
use crate::protocol::{Code, Draft, FilteredSend, PluginPart, PluginState, Refusal, Reply, Request, Submission, Work};

/// Current plugins of the server. A reload replaces them.
#[derive(Debug, Default)]
pub(crate) struct Plugins {
    set: RwLock<Arc<PluginSet>>,
}

impl Plugins {
    /// Returns the current plugins.
    pub(crate) fn current(&self) -> Arc<PluginSet> {
        self.set.read().clone()
    }

    /// Replaces all plugins.
    pub(super) fn replace(&self, set: PluginSet) {
        *self.set.write() = Arc::new(set);
    }
}

impl SubmissionFilter for Plugins {
    fn filter<'a>(&self, sender: MessageSender<'a>, requests: Vec<Submission>) -> FilteredRequests<'a> {
        let set = self.current();
        Box::pin(async move { if set.concerns(&requests) { set.filter(sender, requests).await } else { requests } })
    }
}

/// Running plugins, in the order of `plugins.toml`, and those of each deciding hook.
#[derive(Debug, Default)]
pub(crate) struct PluginSet {
    plugins: Vec<Arc<RunningPlugin>>,
    /// Plugins that were not started, and why.
    refused: Vec<PluginState>,
    connect: Vec<Arc<RunningPlugin>>,
    login: Vec<Arc<RunningPlugin>>,
    message: Vec<Arc<RunningPlugin>>,
    commands: HashMap<String, Arc<RunningPlugin>>,
}

/// Verdict of all plugins on a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LoginVerdict {
    /// No plugin decided: the account of the name does.
    Pass,
    /// The login succeeds, with any password or none.
    Allow,
    /// The login is refused.
    Refuse(Refusal),
}

impl PluginSet {
    pub(super) fn new(plugins: Vec<Arc<RunningPlugin>>, refused: Vec<PluginState>) -> Self {
        let with = |hook| plugins.iter().filter(|plugin| plugin.config().hooks_into(hook)).cloned().collect();
        let (connect, login, message) = (with(Hook::Connect), with(Hook::Login), with(Hook::Message));
        let commands = plugins
            .iter()
            .flat_map(|plugin| plugin.config().commands.iter().map(|(command, _)| (command.clone(), plugin.clone())));
        let commands = commands.collect();
        PluginSet { plugins, refused, connect, login, message, commands }
    }

    /// Whether there are no plugins.
    pub(crate) fn is_empty(&self) -> bool {
        self.plugins.is_empty() && self.refused.is_empty()
    }

    /// Whether a plugin has this name.
    pub(crate) fn has(&self, name: &PeerName) -> bool {
        self.plugins.iter().any(|plugin| plugin.config().name == *name)
    }

    /// Calls the hook `connect` of all plugins. Fails with the refusal of the first that rejects the connection.
    pub(crate) async fn connect(&self, call: impl Fn() -> ConnectCall) -> Result<(), Refusal> {
        for plugin in &self.connect {
            if let Verdict::Reject(reason) = only(plugin.decide(vec![Call::Connect(call())]).await) {
                return Err(rejected(plugin, &reason, "connection closed"));
            }
        }
        Ok(())
    }

    /// Calls the hook `login` of all plugins, up to the first that allows or rejects the login.
    pub(crate) async fn log_in(&self, call: impl Fn() -> LoginCall) -> LoginVerdict {
        for plugin in &self.login {
            match only(plugin.decide(vec![Call::Login(call())]).await) {
                Verdict::Allow => return LoginVerdict::Allow,
                Verdict::Reject(reason) => return LoginVerdict::Refuse(rejected(plugin, &reason, "not logged in")),
                _ => {}
            }
        }
        LoginVerdict::Pass
    }

    /// Whether plugins must see any of these requests.
    pub(crate) fn concerns(&self, requests: &[Submission]) -> bool {
        let concerns = |submission: &Submission| match &submission.work {
            Work::Client(request) => match request.plugin_part() {
                PluginPart::Filter => !self.message.is_empty(),
                PluginPart::Answer => true,
                PluginPart::None => false,
            },
            Work::Plugin(_) | Work::Account(_) | Work::Filtered(_) | Work::Refused(_) | Work::Answered(_) => false,
        };
        !self.is_empty() && requests.iter().any(concerns)
    }

    /// Filters requests through the plugins, and keeps their order: messages may be changed, refused or dropped, and commands are
    /// answered.
    pub(crate) async fn filter(&self, sender: MessageSender<'_>, mut requests: Vec<Submission>) -> Vec<Submission> {
        for submission in &mut requests {
            if let Some(answer) = self.answer(sender.name, &mut submission.work).await {
                submission.work = answer;
            }
        }
        // A plugin never sees its own messages.
        let mut plugins: Vec<&RunningPlugin> = self.message.iter().map(|plugin| &**plugin).collect();
        plugins.retain(|plugin| plugin.config().name != *sender.name);
        if !plugins.is_empty() && requests.iter().any(may_repeat) {
            requests = sender.broker.answer_repeats(sender.session, requests).await;
        }
        for plugin in plugins {
            let calls: Vec<Call> =
                requests.iter().filter_map(|submission| call(sender.name, &submission.work)).collect();
            if calls.is_empty() {
                break;
            }
            let mut verdicts = plugin.decide(calls).await.into_iter();
            requests.retain_mut(|submission| {
                let has_verdict = draft_of(&submission.work).is_some();
                let verdict = if has_verdict { verdicts.next() } else { None };
                verdict.is_none_or(|verdict| apply(verdict, plugin, sender, submission))
            });
        }
        requests
    }

    /// Answers a request that only plugins can answer. `None` if the request is for the broker.
    async fn answer(&self, from: &PeerName, work: &mut Work) -> Option<Work> {
        let Work::Client(request) = work else { return None };
        if let Request::Command { name, arguments } = request {
            let (command, arguments) = (std::mem::take(name), std::mem::take(arguments));
            Some(self.command(CommandCall { from: from.clone(), command, arguments }).await)
        } else if *request == Request::Help {
            Some(answered(Reply::Help { commands: self.help() }))
        } else if *request == Request::Plugins {
            Some(answered(Reply::Plugins { plugins: self.states() }))
        } else {
            None
        }
    }

    async fn command(&self, call: CommandCall) -> Work {
        let Some(plugin) = self.commands.get(&call.command) else {
            return Work::Refused(Refusal::unknown_command(&call.command));
        };
        let command = call.command.clone();
        match plugin.answer(call).await {
            Ok(Verdict::Reply(text)) => match Text::verbatim(&text) {
                Some(text) => answered(Reply::Answer { text }),
                None => answered(Reply::Answer { text: done() }),
            },
            Ok(Verdict::Reject(reason)) => Work::Refused(rejected(plugin, &reason, "nothing was done")),
            Ok(_) => answered(Reply::Answer { text: done() }),
            Err(failure) => Work::Refused(failed(plugin, &command, &failure)),
        }
    }

    fn help(&self) -> Vec<(String, String)> {
        self.plugins.iter().flat_map(|plugin| plugin.config().commands.iter().cloned()).collect()
    }

    fn states(&self) -> Vec<PluginState> {
        self.plugins.iter().map(|plugin| plugin.state()).chain(self.refused.iter().cloned()).collect()
    }
}

/// Applies a verdict to a message. Returns false if the message is dropped.
fn apply(verdict: Verdict, plugin: &RunningPlugin, sender: MessageSender<'_>, submission: &mut Submission) -> bool {
    match verdict {
        Verdict::Replace { to, text } => replace(to, text, submission),
        Verdict::Drop if sender.wants_accepted => {
            filtered(Err(rejected(plugin, "the message was dropped", "not sent")), submission);
        }
        Verdict::Drop => return false,
        Verdict::Reject(reason) => filtered(Err(rejected(plugin, &reason, "not sent")), submission),
        Verdict::Pass | Verdict::Allow | Verdict::Reply(_) => {}
    }
    true
}

fn replace(to: Option<Vec<Destination>>, text: Option<Text>, submission: &mut Submission) {
    let Some(draft) = draft_of(&submission.work) else { return };
    let to = to.unwrap_or_else(|| draft.to.clone());
    let text = text.unwrap_or_else(|| draft.text.clone());
    filtered(Ok(Draft { to, text }), submission);
}

/// Replaces a message by the outcome of a plugin. For a message with an id, also stores the original, by which the message is recognised
/// when it is sent again.
fn filtered(outcome: Result<Draft, Refusal>, submission: &mut Submission) {
    let Submission { id, work } = submission;
    match (work, outcome) {
        (Work::Filtered(filtered), outcome) => filtered.outcome = outcome.map(Box::new),
        (Work::Client(Request::Send(draft)), outcome) if id.is_some() => {
            let original = Box::new(draft.clone());
            submission.work = Work::Filtered(FilteredSend { original, outcome: outcome.map(Box::new) });
        }
        (work, Ok(draft)) => *work = Work::Client(Request::Send(draft)),
        (work, Err(refusal)) => *work = Work::Refused(refusal),
    }
}

/// Returns the message that the broker would send, if the request is one.
fn draft_of(work: &Work) -> Option<&Draft> {
    match work {
        Work::Client(Request::Send(draft)) => Some(draft),
        Work::Filtered(FilteredSend { outcome, .. }) => outcome.as_deref().ok(),
        Work::Client(_) | Work::Plugin(_) | Work::Account(_) | Work::Refused(_) | Work::Answered(_) => None,
    }
}

/// Whether the request may send a message that was accepted before.
fn may_repeat(submission: &Submission) -> bool {
    submission.id.is_some() && draft_of(&submission.work).is_some()
}

fn call(from: &PeerName, work: &Work) -> Option<Call> {
    let Draft { to, text } = draft_of(work)?;
    Some(Call::Message(MessageCall { from: from.clone(), to: to.clone(), text: text.clone() }))
}

fn only(verdicts: Vec<Verdict>) -> Verdict {
    verdicts.into_iter().next().unwrap_or_default()
}

fn answered(reply: Reply) -> Work {
    Work::Answered(Box::new(reply))
}

fn done() -> Text {
    Text::stored("done".to_owned())
}

/// Returns the refusal of a command that failed. The reason may show paths of the server, and is in the log only.
fn failed(plugin: &RunningPlugin, command: &str, failure: &Failure) -> Refusal {
    if !failure.is_tried() {
        let words = format!("/{command} failed, because its plugin does not run at the moment; try again later");
        return rejected(plugin, &words, "nothing was done");
    }
    // The effects of a script that fails are dropped. A program acts as it likes.
    let outcome =
        if plugin.config().kind == PluginKind::Luau { "nothing was done" } else { "it may have been carried out" };
    rejected(plugin, &format!("/{command} failed; the log of the server has the reason"), outcome)
}

fn rejected(plugin: &RunningPlugin, reason: &str, outcome: &str) -> Refusal {
    let words = format!("{reason} ({})", plugin.config().name);
    Refusal::new(Code::Rejected, words).with_outcome(outcome)
}
