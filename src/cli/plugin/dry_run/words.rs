//! Words for the verdicts and effects of a plugin. Owns these words; never calls a plugin.

use std::fmt::{self, Display};
use std::time::Duration;

use holdline::config::Hook;
use holdline::message::{Destination, Room, Text};
use holdline::plugin::{Effect, Verdict};
use holdline::protocol::{ParsedRequest, Request};

/// Describes a verdict.
pub(super) fn verdict_words(hook: Hook, verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pass if hook.decides() => "passes".to_owned(),
        Verdict::Pass => "done".to_owned(),
        Verdict::Replace { to, text } => {
            let to = to.as_ref().map(|to| format!(" to {}", names(to))).unwrap_or_default();
            let text = text.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
            format!("replaced{to}{text}")
        }
        Verdict::Drop => "dropped".to_owned(),
        Verdict::Reject(why) => format!("rejected: {why}"),
        Verdict::Allow => "allowed".to_owned(),
        Verdict::Reply(text) => format!("answered: {text}"),
    }
}

/// Effect or request of a plugin, in words that follow "would".
pub(super) struct PlannedEffect(String);

impl PlannedEffect {
    pub(super) fn of_effect(effect: &Effect) -> PlannedEffect {
        match effect {
            Effect::Send { id: _, to, text } => PlannedEffect::send(to, text),
            Effect::Join(room) => PlannedEffect::join(room),
            Effect::Leave(room) => PlannedEffect::leave(room),
            Effect::Set { key, value } => PlannedEffect::set(key, value.as_ref()),
        }
    }

    /// Describes a request. `None` if it would do nothing.
    pub(super) fn of_request(request: &ParsedRequest) -> Option<PlannedEffect> {
        let request = match request {
            Ok(request) => &request.request,
            Err(rejected) => {
                let (code, words) = (rejected.refusal.code.as_str(), &rejected.refusal.message);
                return Some(PlannedEffect(format!("be refused: {code}: {words}")));
            }
        };
        match request {
            Request::Send(draft) => Some(PlannedEffect::send(&draft.to, &draft.text)),
            Request::Join { room } => Some(PlannedEffect::join(room)),
            Request::Leave { room } => Some(PlannedEffect::leave(room)),
            Request::SetTopic { room, topic: Some(topic) } => {
                Some(PlannedEffect(format!("set the topic of {room}: {topic}")))
            }
            Request::SetTopic { room, topic: None } => Some(PlannedEffect(format!("clear the topic of {room}"))),
            Request::ShowTopic { .. } | Request::Who | Request::History(_) | Request::Search { .. } => {
                Some(PlannedEffect("ask the server; there is none in a dry run".to_owned()))
            }
            Request::Ack { .. } | Request::Ping { .. } | Request::Help | Request::Command { .. } => None,
            Request::Plugins | Request::Quit | Request::Register { .. } | Request::ChangePassword { .. } => None,
        }
    }

    fn send(to: &[Destination], text: &Text) -> PlannedEffect {
        PlannedEffect(format!("send to {}: {text}", names(to)))
    }

    fn join(room: &Room) -> PlannedEffect {
        PlannedEffect(format!("join {room}"))
    }

    fn leave(room: &Room) -> PlannedEffect {
        PlannedEffect(format!("leave {room}"))
    }

    fn set(key: &str, value: Option<&impl Display>) -> PlannedEffect {
        PlannedEffect(value.map_or_else(|| format!("remove {key}"), |value| format!("store {key} = {value}")))
    }
}

impl Display for PlannedEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn names(to: &[Destination]) -> String {
    to.iter().map(Destination::as_str).collect::<Vec<_>>().join(", ")
}

/// Duration, displayed as in `0.4 ms`.
pub(super) struct Millis(pub(super) Duration);

impl Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ms", self.0.as_secs_f64() * 1000.0)
    }
}
