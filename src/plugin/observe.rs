//! Observation of other peers by a plugin: read the next observations, notify the plugin, advance its cursor. Owns that loop;
//! never stores the cursor, which is in the database.

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

/// Observation that the broker sends when there is one.
pub(super) type NextObservation = oneshot::AsyncReceiver<Observation>;

/// Returns what the plugin observes. `None` if it observes nothing.
pub(super) fn event_filter(config: &PluginConfig) -> Option<EventFilter> {
    let hooks = |hook| config.hooks_into(hook);
    let filter = EventFilter {
        logged: hooks(Hook::Logged),
        join: hooks(Hook::Join),
        leave: hooks(Hook::Leave),
        delivered: hooks(Hook::Delivered),
    };
    (filter != EventFilter::default()).then_some(filter)
}

/// Requests the first observation after the plugin's cursor. The plugin misses nothing that happens after this request.
pub(super) async fn request(plugin: &RunningPlugin) -> Option<NextObservation> {
    let (filter, link) = (event_filter(plugin.config())?, plugin.host.link().ok()?);
    Some(request_next(filter, plugin, link).await)
}

async fn request_next(wants: EventFilter, plugin: &RunningPlugin, link: &Link) -> NextObservation {
    let (reply, next) = oneshot::async_channel();
    link.send(Event::Observe { observer: plugin.config().name.clone(), wants, reply }).await;
    next
}

/// Notifies a plugin of everything that it observes, starting with the observation requested before.
pub(super) async fn observe(plugin: &RunningPlugin, mut next: Option<NextObservation>) {
    let (Some(filter), Ok(link)) = (event_filter(plugin.config()), plugin.host.link()) else { return };
    loop {
        let observation = match next.take() {
            Some(next) => next,
            None => request_next(filter, plugin, link).await,
        };
        match observation.await {
            Ok(observation) => notify(observation, plugin, link).await,
            // The log cannot be read at the moment.
            Err(_) => _ = sleep(Duration::from_millis(READ_RETRY_MS)).await,
        }
    }
}

/// Notifies a plugin of one page of observations, and reports its progress to the broker.
async fn notify(Observation { items, seen: end }: Observation, plugin: &RunningPlugin, link: &Link) {
    let cursors: Vec<ObserverCursor> = items.iter().map(Observed::seen).collect();
    let notifications: Vec<Notification> = items.into_iter().map(Notification::from).collect();
    let mut retries = RetryState::default();
    let (mut handled, mut cursor) = (0, ObserverCursor::START);
    while handled < notifications.len() {
        let more = plugin.notify_all(&notifications[handled..], &mut retries).await;
        cursor = cursors[handled..handled + more].iter().fold(cursor, |cursor, seen| cursor.union(*seen));
        handled += more;
        let seen = if handled == notifications.len() { end } else { cursor };
        if more > 0 {
            link.send(Event::ObserverAdvanced { observer: plugin.config().name.clone(), seen }).await;
        }
    }
}

impl From<Observed> for Notification {
    fn from(observed: Observed) -> Self {
        let presence = |event, at, name, here| PresenceCall { r#type: "presence", event, at, name, here };
        match observed {
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
