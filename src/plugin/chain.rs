//! The plugins that decide, one after another in the order of the file: the answer of one is what the next is asked about. Owns
//! what their verdicts mean for a connection, a login, a message and a command; never waits for anybody but a plugin.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::running::RunningPlugin;
use super::{Call, CommandCall, ConnectCall, LoginCall, MessageCall, Verdict};
use crate::config::Hook;
use crate::message::{Destination, PeerName, Text, printable};
use crate::protocol::{self, ClientRequest, Code, PluginState, Refusal, Reply, Request};

/// The plugins, as they are at the moment: a reload puts others in their place.
#[derive(Debug, Default)]
pub(crate) struct Plugins {
    set: RwLock<Arc<PluginSet>>,
}

impl Plugins {
    /// Those of this moment.
    pub(crate) fn current(&self) -> Arc<PluginSet> {
        self.set.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts others in their place.
    pub(super) fn replace(&self, set: PluginSet) {
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
    }
}

/// Plugins that are asked together.
#[derive(Debug, Default)]
pub(crate) struct PluginSet {
    plugins: Vec<Arc<RunningPlugin>>,
    connect: Vec<Arc<RunningPlugin>>,
    login: Vec<Arc<RunningPlugin>>,
    message: Vec<Arc<RunningPlugin>>,
    commands: HashMap<String, Arc<RunningPlugin>>,
}

/// What plugins say to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LoginVerdict {
    /// Nothing: the accounts decide.
    Pass,
    /// It is let in.
    Allow,
    /// It is not.
    Refuse(Refusal),
}

/// Who sends what is screened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender<'a> {
    /// Its name.
    pub(crate) name: &'a PeerName,
    /// Whether it is told of each message that it is accepted, so that one which is dropped must be refused.
    pub(crate) wants_accepted: bool,
}

impl PluginSet {
    pub(super) fn new(plugins: Vec<Arc<RunningPlugin>>) -> Self {
        let with = |hook| plugins.iter().filter(|plugin| plugin.config().hooks_into(hook)).cloned().collect();
        let (connect, login, message) = (with(Hook::Connect), with(Hook::Login), with(Hook::Message));
        let commands = plugins
            .iter()
            .flat_map(|plugin| plugin.config().commands.iter().map(|(command, _)| (command.clone(), plugin.clone())));
        let commands = commands.collect();
        PluginSet { plugins, connect, login, message, commands }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.plugins.is_empty()
    }

    /// Whether a plugin speaks by this name.
    pub(crate) fn has(&self, name: &PeerName) -> bool {
        self.plugins.iter().any(|plugin| plugin.config().name == *name)
    }

    /// Asks whether a connection may stay.
    pub(crate) async fn connect(&self, connecting: impl Fn() -> ConnectCall) -> Result<(), Refusal> {
        for plugin in &self.connect {
            if let Verdict::Reject(reason) = only(plugin.decide(vec![Call::Connect(connecting())]).await) {
                return Err(rejected(plugin, &reason, "goodbye"));
            }
        }
        Ok(())
    }

    /// Asks whether somebody may log in. The first that has an opinion decides.
    pub(crate) async fn log_in(&self, logging_in: impl Fn() -> LoginCall) -> LoginVerdict {
        for plugin in &self.login {
            match only(plugin.decide(vec![Call::Login(logging_in())]).await) {
                Verdict::Allow => return LoginVerdict::Allow,
                Verdict::Reject(reason) => return LoginVerdict::Refuse(rejected(plugin, &reason, "not logged in")),
                _ => {}
            }
        }
        LoginVerdict::Pass
    }

    /// Whether any of these requests is something for plugins.
    pub(crate) fn concerns(&self, requests: &[ClientRequest]) -> bool {
        !self.is_empty()
            && requests.iter().any(|asked| match asked.request {
                Request::Send { .. } => !self.message.is_empty(),
                Request::Command { .. } | Request::Help | Request::Plugins => true,
                _ => false,
            })
    }

    /// Has plugins look at what a client asks, each request in its place: messages may change or go, commands are answered.
    pub(crate) async fn filter(&self, sender: Sender<'_>, mut requests: Vec<ClientRequest>) -> Vec<ClientRequest> {
        for asked in &mut requests {
            match &mut asked.request {
                Request::Command { name, arguments } => {
                    let (name, arguments) = (std::mem::take(name), std::mem::take(arguments));
                    asked.request = self.command(sender.name, name, arguments).await;
                }
                Request::Help => asked.request = answered(Reply::Help { commands: self.help() }),
                Request::Plugins => asked.request = answered(Reply::Plugins { plugins: self.states() }),
                _ => {}
            }
        }
        // A plugin never sees its own messages.
        for plugin in self.message.iter().filter(|plugin| plugin.config().name != *sender.name) {
            let calls: Vec<Call> = requests.iter().filter_map(|asked| draft(sender.name, &asked.request)).collect();
            if calls.is_empty() {
                break;
            }
            let mut verdicts = plugin.decide(calls).await.into_iter();
            requests.retain_mut(|asked| {
                let is_asked_about = draft_of(&asked.request).is_some();
                let verdict = if is_asked_about { verdicts.next() } else { None };
                verdict.is_none_or(|verdict| apply(verdict, plugin, sender.wants_accepted, asked))
            });
        }
        requests
    }

    async fn command(&self, from: &PeerName, command: String, arguments: String) -> Request {
        let Some(plugin) = self.commands.get(&command) else {
            return Request::Malformed(Refusal::unknown_command(&command));
        };
        let typed = CommandCall { from: from.clone(), command, arguments };
        match only(plugin.decide(vec![Call::Command(typed)]).await) {
            Verdict::Reply(text) => match Text::kept(&text) {
                Some(text) => answered(Reply::Answer { text }),
                None => answered(Reply::Answer { text: done() }),
            },
            Verdict::Reject(reason) => Request::Malformed(rejected(plugin, &reason, "nothing was done")),
            _ => answered(Reply::Answer { text: done() }),
        }
    }

    fn help(&self) -> Vec<(String, String)> {
        self.plugins.iter().flat_map(|plugin| plugin.config().commands.iter().cloned()).collect()
    }

    fn states(&self) -> Vec<PluginState> {
        self.plugins.iter().map(|plugin| plugin.state()).collect()
    }
}

/// Applies a verdict on a message. Says whether anything is left of it.
fn apply(verdict: Verdict, plugin: &RunningPlugin, wants_accepted: bool, asked: &mut ClientRequest) -> bool {
    match verdict {
        Verdict::Replace { to, text } => replace(to, text, asked),
        Verdict::Drop if wants_accepted => {
            refuse(rejected(plugin, "it is dropped", "not sent"), asked);
        }
        Verdict::Drop => return false,
        Verdict::Reject(reason) => refuse(rejected(plugin, &reason, "not sent"), asked),
        Verdict::Pass | Verdict::Allow | Verdict::Reply(_) => {}
    }
    true
}

fn replace(to: Option<Vec<Destination>>, text: Option<Text>, asked: &mut ClientRequest) {
    let Some(draft) = draft_of(&asked.request) else { return };
    let changed =
        protocol::Draft { to: to.unwrap_or_else(|| draft.0.to_vec()), text: text.unwrap_or_else(|| draft.1.clone()) };
    filtered(Ok(Box::new(changed)), asked);
}

fn refuse(refusal: Refusal, asked: &mut ClientRequest) {
    filtered(Err(refusal), asked);
}

/// What becomes of a message; what was asked at first stays known, for who sends it again.
fn filtered(outcome: Result<Box<protocol::Draft>, Refusal>, asked: &mut ClientRequest) {
    let request = std::mem::replace(&mut asked.request, Request::Help);
    asked.request = match (request, outcome) {
        (Request::Send { to, text }, outcome) if asked.id.is_some() => {
            Request::Filtered { asked: Box::new(protocol::Draft { to, text }), outcome }
        }
        (Request::Filtered { asked, .. }, outcome) => Request::Filtered { asked, outcome },
        (_, Ok(draft)) => Request::Send { to: draft.to, text: draft.text },
        (_, Err(refusal)) => Request::Malformed(refusal),
    };
}

/// What a request would send as it is now.
fn draft_of(request: &Request) -> Option<(&[Destination], &Text)> {
    match request {
        Request::Send { to, text } => Some((to, text)),
        Request::Filtered { outcome: Ok(draft), .. } => Some((&draft.to, &draft.text)),
        _ => None,
    }
}

fn draft(from: &PeerName, request: &Request) -> Option<Call> {
    let (to, text) = draft_of(request)?;
    Some(Call::Message(MessageCall { from: from.clone(), to: to.to_vec(), text: text.clone() }))
}

fn only(verdicts: Vec<Verdict>) -> Verdict {
    verdicts.into_iter().next().unwrap_or_default()
}

fn answered(reply: Reply) -> Request {
    Request::Answered(Box::new(reply))
}

fn done() -> Text {
    Text::stored("done".to_owned())
}

fn rejected(plugin: &RunningPlugin, reason: &str, outcome: &str) -> Refusal {
    let words = format!("{} ({})", printable(reason), plugin.config().name);
    Refusal::new(Code::Rejected, words).with_outcome(outcome)
}
