//! Life cycle of plugins: their sessions, start, notifications, reload and stop. Owns the order in which these happen; never
//! decides what an answer means.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use smol::{Executor, Task, future};

use super::chain::{PluginSet, Plugins};
use super::filter::SubmissionFilter;
use super::link::Link;
use super::load::LoadedPlugin;
use super::running::{Notification, RetryState, RunningPlugin, state};
use super::{Call, Host, MailCall, observe};
use crate::broker::{Event, Handle, NameUse, OutboxReceiver, SessionValue, ValueBatch};
use crate::config::{Hook, PluginConfig, PluginKind};
use crate::limits::{OBSERVATIONS_MAX, PLUGIN_MAILS_MAX, PLUGIN_RETRY_MS_MAX, PLUGIN_START_MS_MAX, PLUGIN_STOP_MS_MAX};
use crate::message::{Message, PeerName, RequestId, Timestamp};
use crate::protocol::{ClientRequest, PluginState, Reply, Request};
use crate::timeout::{sleep, timeout};

const START: Duration = Duration::from_millis(PLUGIN_START_MS_MAX);
const RETRY: Duration = Duration::from_millis(PLUGIN_RETRY_MS_MAX);
const STOP: Duration = Duration::from_millis(PLUGIN_STOP_MS_MAX);

/// Manager of a server's plugins: starts, replaces and stops them.
pub(crate) struct PluginManager {
    plugins: Arc<Plugins>,
    executor: Arc<Executor<'static>>,
    broker: Handle,
    running: Vec<PluginTasks>,
    /// Plugins that were not started, and why.
    refused: Vec<PluginState>,
}

/// A plugin with its tasks.
struct PluginTasks {
    plugin: Arc<RunningPlugin>,
    /// Tasks that run until the plugin is stopped: the plugin itself, and the reader of its session.
    session: Vec<Task<()>>,
    /// Task that calls the start hook, then sends notifications. `None` until the plugin starts, after the notifications
    /// to its predecessor of the same name have ended.
    notifier: Option<Task<()>>,
    mails: Receiver<ReceivedMail>,
}

/// A message to a plugin, and its size in the outbox of the session.
struct ReceivedMail {
    mail: MailCall,
    bytes: usize,
}

/// Name of a plugin that a client has used.
#[derive(Debug, thiserror::Error)]
#[error("plugin {0}: {NAME_IS_TAKEN}")]
pub struct TakenName(PeerName);

const NAME_IS_TAKEN: &str = "a client has used this name, and the plugin would get its messages; choose another name, or allow it with \
                             take_name = true";

/// Step of a reload for one entry.
pub(crate) enum ReloadPlan {
    /// Keep the plugin that runs with this entry.
    Unchanged(PluginConfig),
    /// Start a new plugin.
    New(LoadedPlugin),
}

impl PluginManager {
    /// Starts plugins, in order, and waits until all have started, or until the time limit for starting has passed.
    pub(crate) async fn start(
        loaded: Vec<LoadedPlugin>,
        plugins: Arc<Plugins>,
        executor: Arc<Executor<'static>>,
        broker: Handle,
    ) -> Self {
        let (running, refused) = (Vec::new(), Vec::new());
        let mut manager = PluginManager { plugins, executor, broker, running, refused };
        let refusals = manager.check_names(loaded.iter().map(|loaded| &loaded.config)).await;
        let mut running = Vec::new();
        for (loaded, refusal) in loaded.into_iter().zip(refusals) {
            match refusal {
                None => running.push(manager.spawn(loaded)),
                Some(refusal) => {
                    log::error!("{refusal}; it does not run");
                    manager.refused.push(state(&loaded.config, format!("does not run: {NAME_IS_TAKEN}")));
                }
            }
        }
        manager.take_over(running).await;
        manager
    }

    /// Whether a plugin runs with exactly this entry.
    pub(crate) fn keeps(&self, config: &PluginConfig) -> bool {
        self.running.iter().any(|tasks| tasks.continues_with(config))
    }

    /// Returns a plan that keeps the plugins of the embedding program.
    pub(crate) fn embedded(&self) -> Vec<ReloadPlan> {
        let configs = self.running.iter().map(|tasks| tasks.plugin.config());
        configs.filter(|config| config.kind == PluginKind::Embedded).cloned().map(ReloadPlan::Unchanged).collect()
    }

    /// Replaces all plugins by those of the plan, in its order. Stops those that the plan does not keep. Fails, and changes nothing, if one of
    /// them may not have its name.
    pub(crate) async fn reload(&mut self, plan: Vec<ReloadPlan>) -> Result<(), TakenName> {
        let new = plan.iter().filter_map(|step| match step {
            ReloadPlan::New(loaded) => Some(&loaded.config),
            ReloadPlan::Unchanged(_) => None,
        });
        if let Some(refusal) = self.check_names(new).await.into_iter().flatten().next() {
            return Err(refusal);
        }
        self.refused.clear();
        let mut before = std::mem::take(&mut self.running);
        let mut running = Vec::new();
        for step in plan {
            match step {
                ReloadPlan::New(loaded) => running.push(self.spawn(loaded)),
                ReloadPlan::Unchanged(config) => {
                    let place = before.iter().position(|tasks| tasks.plugin.config().name == config.name);
                    let tasks = before.swap_remove(place.expect("the plan keeps running plugins only"));
                    let settings = tasks.plugin.config().settings.clone();
                    tasks.plugin.notify(Call::Reload { settings }, Some(START)).await;
                    running.push(tasks);
                }
            }
        }
        // Only one of two plugins with the same name is notified at a time.
        for tasks in &mut before {
            tasks.notifier = None;
        }
        self.take_over(running).await;
        stop(before, &self.executor).await;
        Ok(())
    }

    /// Returns for each entry why it may not have its name, if it may not: a client has used the name, whose messages the plugin would get.
    async fn check_names<'c>(&self, configs: impl Iterator<Item = &'c PluginConfig>) -> Vec<Option<TakenName>> {
        let configs: Vec<&PluginConfig> = configs.collect();
        let names: Vec<PeerName> = configs.iter().map(|config| config.name.clone()).collect();
        let uses = loop {
            match self.broker.name_uses(names.clone()).await {
                Some(uses) => break uses,
                None => _ = sleep(RETRY).await,
            }
        };
        let check = |(config, name_use): (&PluginConfig, NameUse)| match name_use {
            NameUse::Client if !config.takes_name => Some(TakenName(config.name.clone())),
            NameUse::Unknown => {
                log::warn!(
                    "plugin {}: its name was used before this version noted by whom; if by a person, choose another name",
                    config.name
                );
                None
            }
            NameUse::Client | NameUse::Free => None,
        };
        configs.into_iter().zip(uses).map(check).collect()
    }

    /// Stops all plugins.
    pub(crate) async fn stop(self) {
        let PluginManager { plugins, executor, running, .. } = self;
        stop(running, &executor).await;
        plugins.replace(PluginSet::default());
    }

    fn spawn(&self, loaded: LoadedPlugin) -> PluginTasks {
        let name = loaded.config.name.clone();
        let filter: Weak<dyn SubmissionFilter> = Arc::<Plugins>::downgrade(&self.plugins);
        let link = Link::new(name.clone(), self.broker.clone(), filter);
        let plugin = Arc::new(RunningPlugin { loaded, host: Host::linked(name, link) });
        PluginTasks::spawn(plugin, &self.executor)
    }

    /// Starts the plugins that have not started yet, then puts all plugins into the chain.
    async fn take_over(&mut self, running: Vec<PluginTasks>) {
        self.running = running;
        let configs = self.running.iter().map(|tasks| tasks.plugin.config());
        let only = configs
            .filter(|config| observe::event_filter(config).is_some())
            .map(|config| config.name.clone())
            .collect();
        self.broker.send(Event::Observers { only }).await;
        let mut starts = Vec::new();
        for tasks in &mut self.running {
            starts.extend(tasks.start(&self.executor));
        }
        let all_started = async {
            for start in starts {
                let _ = start.await;
            }
        };
        let _ = timeout(START, all_started).await;
        let plugins = self.running.iter().map(|tasks| tasks.plugin.clone()).collect();
        self.plugins.replace(PluginSet::new(plugins, self.refused.clone()));
    }
}

impl PluginTasks {
    fn spawn(plugin: Arc<RunningPlugin>, executor: &Executor<'static>) -> Self {
        let (received, mails) = async_channel::bounded(PLUGIN_MAILS_MAX);
        let session = vec![executor.spawn(run(plugin.clone())), executor.spawn(read_session(plugin.clone(), received))];
        PluginTasks { plugin, session, notifier: None, mails }
    }

    /// Whether the plugin can continue with this entry, and need not be loaded again.
    fn continues_with(&self, config: &PluginConfig) -> bool {
        self.plugin.loaded.is_current(config) && !self.plugin.host.is_quarantined()
    }

    /// Spawns the notifier, unless it runs already. The receiver resolves when the plugin has started.
    fn start(&mut self, executor: &Executor<'static>) -> Option<oneshot::AsyncReceiver<()>> {
        if self.notifier.is_some() {
            return None;
        }
        let (started, start) = oneshot::async_channel();
        let (plugin, mails) = (self.plugin.clone(), self.mails.clone());
        self.notifier = Some(executor.spawn(async move {
            // The plugin observes everything from here on, even if its start takes long.
            let next = observe::request(&plugin).await;
            load_and_start(&plugin).await;
            let _ = started.send(());
            let notifications = future::zip(notify_mails(&plugin, mails), observe::observe(&plugin, next));
            future::zip(notifications, future::zip(tick(&plugin), perform_later(&plugin))).await;
        }));
        Some(start)
    }

    async fn stop(self) {
        let PluginTasks { plugin, session, notifier, .. } = self;
        drop(notifier);
        plugin.notify(Call::Stop, Some(STOP)).await;
        plugin.plugin().stop().await;
        if let Ok(link) = plugin.host.link() {
            link.close().await;
        }
        drop(session);
    }
}

/// Stops plugins concurrently.
async fn stop(running: Vec<PluginTasks>, executor: &Executor<'static>) {
    let stops: Vec<Task<()>> = running.into_iter().map(|tasks| executor.spawn(tasks.stop())).collect();
    for stop in stops {
        stop.await;
    }
}

/// Loads the values of a plugin, and calls its start hook.
async fn load_and_start(plugin: &RunningPlugin) {
    while let Err(refusal) = plugin.host.load_values().await {
        log::warn!("plugin {}: its values cannot be read yet: {}", plugin.config().name, refusal.message);
        sleep(RETRY).await;
    }
    let settings = plugin.config().settings.clone();
    plugin.notify(Call::Start { settings }, Some(START)).await;
}

/// Runs the plugin until it is quarantined.
async fn run(plugin: Arc<RunningPlugin>) {
    let quarantine = async {
        plugin.host.until_quarantined().await;
        plugin.plugin().stop().await;
    };
    future::or(plugin.plugin().run(plugin.host.clone()), quarantine).await;
}

/// Reads the plugin's session, and logs in again whenever the session ends.
async fn read_session(plugin: Arc<RunningPlugin>, mails: Sender<ReceivedMail>) {
    let Ok(link) = plugin.host.link() else { return };
    loop {
        let receiver = link.join().await;
        read_values(&plugin, link, &receiver, &mails).await;
        link.fail_awaited();
        // The login failed because the store cannot be read, or the server shuts down.
        sleep(RETRY).await;
    }
}

async fn read_values(
    plugin: &RunningPlugin,
    link: &Link,
    receiver: &OutboxReceiver<ValueBatch>,
    mails: &Sender<ReceivedMail>,
) {
    while let Some(values) = receiver.take().await {
        let mut handled_bytes = 0;
        for (value, bytes) in values {
            match value {
                SessionValue::Message(message) => {
                    // The queue has room for everything that fits into an outbox.
                    let _ = mails.send(ReceivedMail { mail: message.into(), bytes }).await;
                }
                SessionValue::Reply { id, reply } => {
                    route_reply(id, reply, plugin, link);
                    handled_bytes += bytes;
                }
            }
        }
        link.report_handled(handled_bytes).await;
    }
}

/// Passes a reply to the caller in the server that awaits it, or else to the plugin.
fn route_reply(id: Option<RequestId>, reply: Reply, plugin: &RunningPlugin, link: &Link) {
    if matches!(reply, Reply::Welcome { .. }) {
        return;
    }
    let reply = match &id {
        Some(id) => link.receive_reply(id, reply),
        None => Err(reply),
    };
    if let Err(reply) = reply {
        plugin.plugin().receive_reply(id.as_ref(), &reply);
    }
}

/// Notifies a plugin of the messages to it, and acknowledges those that it has handled.
async fn notify_mails(plugin: &RunningPlugin, mails: Receiver<ReceivedMail>) {
    let Ok(link) = plugin.host.link() else { return };
    let has_hook = plugin.config().hooks_into(Hook::Mail);
    let mut waiting: VecDeque<ReceivedMail> = VecDeque::new();
    let mut retries = RetryState::default();
    loop {
        if waiting.is_empty() {
            waiting.extend(mails.recv().await.ok());
        }
        while waiting.len() < OBSERVATIONS_MAX
            && let Ok(received) = mails.try_recv()
        {
            waiting.push_back(received);
        }
        // Without the hook, all mail counts as handled.
        let handled = if has_hook {
            let notifications: Vec<Notification> = waiting.iter().map(ReceivedMail::notification).collect();
            plugin.notify_all(&notifications, &mut retries).await
        } else {
            waiting.len()
        };
        let done: Vec<ReceivedMail> = waiting.drain(..handled).collect();
        if let Some(last) = done.last() {
            link.report_handled(done.iter().map(|received| received.bytes).sum()).await;
            link.submit(vec![ClientRequest::from(Request::Ack { seq: last.mail.seq }).into()]).await;
        }
    }
}

impl ReceivedMail {
    fn notification(&self) -> Notification {
        Notification { call: Call::Mail(self.mail.clone()), origin: format!("mail.{}", self.mail.seq) }
    }
}

/// Carries out the effects of deciding calls, after the calls are answered.
async fn perform_later(plugin: &RunningPlugin) {
    loop {
        let effects = plugin.host.next_effects().await;
        plugin.perform(effects, None).await;
    }
}

/// Calls the tick hook again and again; each period begins when the last call is answered.
async fn tick(plugin: &RunningPlugin) {
    let Some(period) = plugin.config().tick else { return };
    loop {
        sleep(period).await;
        plugin.notify(Call::Tick { at: Timestamp::now() }, None).await;
    }
}

impl From<Message> for MailCall {
    fn from(Message { seq, at, sender, to, room, text }: Message) -> Self {
        MailCall { r#type: "message", seq, at, from: sender, to, room, text }
    }
}
