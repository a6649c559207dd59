//! What a plugin is told of others: it asks for the next things, deals with them, and says so. Owns that loop; never how far the
//! plugin got, which the database keeps.

use std::time::Duration;

use super::link::Link;
use super::running::{Notification, RetryState, RunningPlugin};
use super::{Call, DeliveredCall, LoggedCall, PresenceCall};
use crate::broker::{Event, Observation};
use crate::config::{Hook, PluginConfig};
use crate::limits::READ_RETRY_MS;
use crate::message::Message;
use crate::store::{EventFilter, Observed, ObserverCursor};
use crate::timeout::sleep;

/// The next things, when there are some.
pub(super) type NextObservation = oneshot::AsyncReceiver<Observation>;

/// What a plugin wants to be told, if anything.
pub(super) fn wants(config: &PluginConfig) -> Option<EventFilter> {
    let hooks = |hook| config.hooks_into(hook);
    let wants = EventFilter {
        logged: hooks(Hook::Logged),
        join: hooks(Hook::Join),
        leave: hooks(Hook::Leave),
        delivered: hooks(Hook::Delivered),
    };
    (wants != EventFilter::default()).then_some(wants)
}

/// Asks for what comes after that with which the plugin has dealt. From the first time on, nothing is missed.
pub(super) async fn ask(plugin: &RunningPlugin) -> Option<NextObservation> {
    let (wants, link) = (wants(plugin.config())?, plugin.host.link().ok()?);
    Some(ask_for(wants, plugin, link).await)
}

async fn ask_for(wants: EventFilter, plugin: &RunningPlugin, link: &Link) -> NextObservation {
    let (reply, next) = oneshot::async_channel();
    link.tell(Event::Observe { observer: plugin.config().name.clone(), wants, reply }).await;
    next
}

/// Tells a plugin what it asked for, and goes on asking.
pub(super) async fn observe(plugin: &RunningPlugin, mut next: Option<NextObservation>) {
    let (Some(wants), Ok(link)) = (wants(plugin.config()), plugin.host.link()) else { return };
    loop {
        let asked = match next.take() {
            Some(next) => next,
            None => ask_for(wants, plugin, link).await,
        };
        match asked.await {
            Ok(observation) => deal_with(observation, plugin, link).await,
            // It cannot be looked up now.
            Err(_) => _ = sleep(Duration::from_millis(READ_RETRY_MS)).await,
        }
    }
}

async fn deal_with(Observation { items, seen }: Observation, plugin: &RunningPlugin, link: &Link) {
    let (mut told, mut each_seen) = (Vec::new(), Vec::new());
    for thing in items {
        each_seen.push(thing.seen());
        told.push(Notification::from(thing));
    }
    let mut retry_state = RetryState::default();
    let (mut dealt_with, mut so_far) = (0, ObserverCursor::START);
    while dealt_with < told.len() {
        let more = plugin.tell(&told[dealt_with..], &mut retry_state).await;
        so_far = each_seen[dealt_with..dealt_with + more].iter().fold(so_far, |so_far, seen| so_far.union(*seen));
        dealt_with += more;
        let seen = if dealt_with == told.len() { seen } else { so_far };
        if more > 0 {
            link.tell(Event::ObserverAdvanced { observer: plugin.config().name.clone(), seen }).await;
        }
    }
}

impl From<Observed> for Notification {
    fn from(thing: Observed) -> Self {
        let presence = |event, at, name, here| PresenceCall { r#type: "presence", event, at, name, here };
        match thing {
            Observed::Logged { message: Message { seq, at, sender, to, text, .. }, away } => {
                let away = away.into_iter().map(|(_, name)| name).collect();
                let logged = LoggedCall { seq, at, from: sender, to, text, away };
                Notification { call: Call::Logged(logged), origin: format!("logged.{seq}") }
            }
            Observed::Joined { event, at, name } => {
                Notification { call: Call::Join(presence(event, at, name, true)), origin: format!("event.{event}") }
            }
            Observed::Left { event, at, name } => {
                Notification { call: Call::Leave(presence(event, at, name, false)), origin: format!("event.{event}") }
            }
            Observed::Delivered { event, at, name, seq } => Notification {
                call: Call::Delivered(DeliveredCall { event, at, name, seq }),
                origin: format!("event.{event}"),
            },
        }
    }
}
