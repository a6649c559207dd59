//! The life of each plugin: its session, what it is told of, its end; and how others take their place at a reload. Owns the order
//! in which these happen; never decides what an answer means.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use serde::Deserialize;
use serde_json::Value;
use smol::{Executor, Task, future};

use super::chain::{PluginSet, Plugins};
use super::link::Link;
use super::load::LoadedPlugin;
use super::running::{Notification, RetryState, RunningPlugin};
use super::{Call, Host, MailCall, observe};
use crate::broker::{Event, Handle, OutboxReceiver};
use crate::config::{Hook, PluginConfig, PluginKind};
use crate::limits::{MAILS_WAITING_MAX, OBSERVED_MAX, PLUGIN_RETRY_MS_MAX, PLUGIN_START_MS_MAX, PLUGIN_STOP_MS_MAX};
use crate::message::{Destination, PeerName, Room, Seq, Text, Timestamp};
use crate::protocol::{ClientRequest, Request};
use crate::timeout::{sleep, timeout};

const START: Duration = Duration::from_millis(PLUGIN_START_MS_MAX);
const RETRY: Duration = Duration::from_millis(PLUGIN_RETRY_MS_MAX);
const STOP: Duration = Duration::from_millis(PLUGIN_STOP_MS_MAX);

/// Begins, replaces and ends the plugins of a server.
pub(crate) struct PluginManager {
    plugins: Arc<Plugins>,
    executor: Arc<Executor<'static>>,
    broker: Handle,
    lives: Vec<PluginTasks>,
}

/// One plugin, and the tasks that are for it alone.
struct PluginTasks {
    plugin: Arc<RunningPlugin>,
    /// As long as it lives.
    session: Vec<Task<()>>,
    /// As long as it is told things.
    retry_state: Option<Task<()>>,
    mails: Receiver<ReceivedMail>,
}

/// A message to a plugin, and the bytes that it takes of its outbox.
struct ReceivedMail {
    mail: MailCall,
    bytes: usize,
}

impl PluginManager {
    /// Begins these plugins, in order, and waits until each has had the time to start.
    pub(crate) async fn begin(
        loaded: Vec<LoadedPlugin>,
        plugins: Arc<Plugins>,
        executor: Arc<Executor<'static>>,
        broker: Handle,
    ) -> Self {
        let mut manager = PluginManager { plugins, executor, broker, lives: Vec::new() };
        let lives: Vec<PluginTasks> = loaded.into_iter().map(|loaded| manager.live(loaded)).collect();
        manager.take_over(lives).await;
        manager
    }

    /// Whether an entry is that of a plugin that runs as it is.
    pub(crate) fn keeps(&self, config: &PluginConfig) -> bool {
        self.lives.iter().any(|life| life.goes_on(config))
    }

    /// Those that are part of the program: they go on.
    pub(crate) fn embedded(&self) -> Vec<ReloadPlan> {
        let configs = self.lives.iter().map(|life| life.plugin.config());
        configs.filter(|config| config.kind == PluginKind::Embedded).cloned().map(ReloadPlan::Unchanged).collect()
    }

    /// These plugins, in this order, take the place of all: those that are not loaded anew go on.
    pub(crate) async fn reload(&mut self, wanted: Vec<ReloadPlan>) {
        let mut before = std::mem::take(&mut self.lives);
        let mut lives = Vec::new();
        for wanted in wanted {
            match wanted {
                ReloadPlan::New(loaded) => lives.push(self.live(loaded)),
                ReloadPlan::Unchanged(config) => {
                    let place = before.iter().position(|life| life.plugin.config().name == config.name);
                    let life = before.swap_remove(place.expect("it is kept"));
                    let settings = life.plugin.config().settings.clone();
                    life.plugin.notify(Call::Reload { settings }, Some(START)).await;
                    lives.push(life);
                }
            }
        }
        // Of two with one name, one is told things at a time.
        for life in &mut before {
            life.retry_state = None;
        }
        self.take_over(lives).await;
        end(before, &self.executor).await;
    }

    /// Ends all plugins.
    pub(crate) async fn end(self) {
        let PluginManager { plugins, executor, lives, .. } = self;
        end(lives, &executor).await;
        plugins.replace(PluginSet::default());
    }

    fn live(&self, loaded: LoadedPlugin) -> PluginTasks {
        let name = loaded.config.name.clone();
        let link = Link::new(name.clone(), self.broker.clone(), Arc::downgrade(&self.plugins));
        let plugin = Arc::new(RunningPlugin { loaded, host: Host::linked(name, link) });
        PluginTasks::begin(plugin, &self.executor)
    }

    async fn take_over(&mut self, lives: Vec<PluginTasks>) {
        self.lives = lives;
        let configs = self.lives.iter().map(|life| life.plugin.config());
        let only =
            configs.filter(|config| observe::wants(config).is_some()).map(|config| config.name.clone()).collect();
        self.broker.tell(Event::Observers { only }).await;
        let mut starts = Vec::new();
        for life in &mut self.lives {
            starts.extend(life.start(&self.executor));
        }
        let all_started = async {
            for start in starts {
                let _ = start.await;
            }
        };
        let _ = timeout(START, all_started).await;
        self.plugins.replace(PluginSet::new(self.lives.iter().map(|life| life.plugin.clone()).collect()));
    }
}

/// What is to be of an entry after a reload.
pub(crate) enum ReloadPlan {
    /// A plugin of this name runs as the entry wants it.
    Unchanged(PluginConfig),
    /// It begins.
    New(LoadedPlugin),
}

impl PluginTasks {
    fn begin(plugin: Arc<RunningPlugin>, executor: &Executor<'static>) -> Self {
        let (received, mails) = async_channel::bounded(MAILS_WAITING_MAX);
        let session = vec![executor.spawn(run(plugin.clone())), executor.spawn(attend(plugin.clone(), received))];
        PluginTasks { plugin, session, retry_state: None, mails }
    }

    /// Whether it need not be loaded anew for this entry.
    fn goes_on(&self, config: &PluginConfig) -> bool {
        self.plugin.loaded.is_still(config) && !self.plugin.host.is_aside()
    }

    /// Starts it and tells it of things from then on, unless that is so already. Says when it has started.
    fn start(&mut self, executor: &Executor<'static>) -> Option<oneshot::AsyncReceiver<()>> {
        if self.retry_state.is_some() {
            return None;
        }
        let (started, start) = oneshot::async_channel();
        let (plugin, mails) = (self.plugin.clone(), self.mails.clone());
        self.retry_state = Some(executor.spawn(async move {
            // What happens from here on is for it, though it may take its time to start.
            let next = observe::ask(&plugin).await;
            begin(&plugin).await;
            let _ = started.send(());
            let told = future::zip(tell_mails(&plugin, mails), observe::observe(&plugin, next));
            future::zip(told, future::zip(tick(&plugin), do_later(&plugin))).await;
        }));
        Some(start)
    }

    async fn end(self) {
        let PluginTasks { plugin, session, retry_state, .. } = self;
        drop(retry_state);
        plugin.notify(Call::Stop, Some(STOP)).await;
        plugin.plugin().end().await;
        if let Ok(link) = plugin.host.link() {
            link.close().await;
        }
        drop(session);
    }
}

/// Ends them side by side: each may take its time.
async fn end(lives: Vec<PluginTasks>, executor: &Executor<'static>) {
    let endings: Vec<Task<()>> = lives.into_iter().map(|life| executor.spawn(life.end())).collect();
    for ending in endings {
        ending.await;
    }
}

/// What it has kept is known again, and it has started, or had the time for it.
async fn begin(plugin: &RunningPlugin) {
    while let Err(refusal) = plugin.host.load_values().await {
        log::warn!("plugin {}: what it keeps cannot be read yet: {}", plugin.config().name, refusal.message);
        sleep(RETRY).await;
    }
    let settings = plugin.config().settings.clone();
    plugin.notify(Call::Start { settings }, Some(START)).await;
}

/// Runs the plugin, until it is set aside.
async fn run(plugin: Arc<RunningPlugin>) {
    let set_aside = async {
        plugin.host.set_aside().await;
        plugin.plugin().end().await;
    };
    future::or(plugin.plugin().run(plugin.host.clone()), set_aside).await;
}

/// Reads what comes for a plugin over its session.
async fn attend(plugin: Arc<RunningPlugin>, mails: Sender<ReceivedMail>) {
    let Ok(link) = plugin.host.link() else { return };
    loop {
        let receiver = link.join().await;
        read_frames(&plugin, link, &receiver, &mails).await;
        // It could not be looked up, or the server ends.
        sleep(RETRY).await;
    }
}

async fn read_frames(plugin: &RunningPlugin, link: &Link, receiver: &OutboxReceiver, mails: &Sender<ReceivedMail>) {
    while let Some(chunk) = receiver.take().await {
        let mut bytes = 0;
        for line in chunk.bytes.split_inclusive(|byte| *byte == b'\n') {
            match read_frame(plugin, link, line) {
                Some(mail) => {
                    // Whatever waits fits an outbox, so there is room.
                    let _ = mails.send(ReceivedMail { mail, bytes: line.len() }).await;
                }
                None => bytes += line.len(),
            }
        }
        link.taken(bytes).await;
    }
}

/// Understands one frame, and hands it to whom it is for; a message to the plugin is handed back.
fn read_frame(plugin: &RunningPlugin, link: &Link, line: &[u8]) -> Option<MailCall> {
    let line = str::from_utf8(line).expect("frames are UTF-8").trim_end();
    let mut frame: Value = serde_json::from_str(line).expect("frames are JSON");
    let kind = frame["type"].as_str().unwrap_or_default();
    if kind == "message" {
        return Some(MailFrame::deserialize(frame).expect("a message has its fields").into());
    }
    if matches!(kind, "welcome" | "presence" | "sent") {
        return None;
    }
    let id = frame["id"].as_str().map(str::to_owned);
    if !id.is_some_and(|id| link.answer(&id, &mut frame)) {
        plugin.plugin().hear(line);
    }
    None
}

/// Tells a plugin of the messages to it.
async fn tell_mails(plugin: &RunningPlugin, mails: Receiver<ReceivedMail>) {
    let Ok(link) = plugin.host.link() else { return };
    let is_notified = plugin.config().hooks_into(Hook::Mail);
    let mut waiting: VecDeque<ReceivedMail> = VecDeque::new();
    let mut retry_state = RetryState::default();
    loop {
        if waiting.is_empty() {
            waiting.extend(mails.recv().await.ok());
        }
        while waiting.len() < OBSERVED_MAX
            && let Ok(received) = mails.try_recv()
        {
            waiting.push_back(received);
        }
        // What nobody wants to hear of is dealt with.
        let dealt_with = if is_notified {
            let told: Vec<Notification> = waiting.iter().map(|received| mail_notification(&received.mail)).collect();
            plugin.tell(&told, &mut retry_state).await
        } else {
            waiting.len()
        };
        let done: Vec<ReceivedMail> = waiting.drain(..dealt_with).collect();
        if let Some(last) = done.last() {
            link.taken(done.iter().map(|received| received.bytes).sum()).await;
            link.submit(vec![ClientRequest::from(Request::Ack { seq: last.mail.seq }).into()]).await;
        }
    }
}

fn mail_notification(mail: &MailCall) -> Notification {
    Notification { call: Call::Mail(mail.clone()), origin: format!("mail.{}", mail.seq) }
}

/// Does what calls that decide have led to.
async fn do_later(plugin: &RunningPlugin) {
    loop {
        let effects = plugin.host.next_effects().await;
        plugin.perform(effects, None).await;
    }
}

async fn tick(plugin: &RunningPlugin) {
    let Some(period) = plugin.config().tick else { return };
    loop {
        sleep(period).await;
        plugin.notify(Call::Tick { at: Timestamp::now() }, None).await;
    }
}

/// The frame `message` of the protocol.
#[derive(Deserialize)]
struct MailFrame {
    seq: i64,
    at: String,
    from: String,
    to: Vec<String>,
    room: Option<String>,
    text: String,
}

impl From<MailFrame> for MailCall {
    fn from(frame: MailFrame) -> Self {
        let MailFrame { seq, at, from, to, room, text } = frame;
        let destination = |name: &String| match name.starts_with('#') {
            true => Destination::Room(Room::stored(name)),
            false => Destination::Peer(PeerName::stored(name)),
        };
        MailCall {
            r#type: "message",
            seq: Seq::new(seq),
            at: Timestamp::parse(&at).expect("a frame has its time"),
            from: PeerName::stored(&from),
            to: to.iter().map(destination).collect(),
            room: room.as_deref().map(Room::stored),
            text: Text::stored(text),
        }
    }
}
