//! Answers of plugins: a verdict on the call, and the effects that the plugin requests. Owns which answers exist and which of
//! them a hook allows; never carries them out.

use serde::Deserialize;

use super::failure::Failure;
use crate::config::Hook;
use crate::limits::{ANSWER_BYTES_MAX, DESTINATIONS_DEFAULT};
use crate::message::{Destination, RequestId, Room, Text};

/// Answer of a plugin to one [`Call`](super::Call).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Decision about the subject of the call.
    pub verdict: Verdict,
    /// Effects, in order. They are committed together.
    pub effects: Vec<Effect>,
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Self {
        Answer { verdict, effects: Vec::new() }
    }
}

/// Decision of a plugin about the subject of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Leave the subject unchanged. From an observing hook: the call is handled.
    #[default]
    Pass,
    /// Replace parts of a message.
    Replace {
        /// New recipients, never empty; `None` leaves them unchanged.
        to: Option<Vec<Destination>>,
        /// New text; `None` leaves it unchanged.
        text: Option<Text>,
    },
    /// Do not send the message, and do not notify a plain client.
    Drop,
    /// Refuse the subject, with this reason.
    Reject(String),
    /// Let a login succeed, with any password or none.
    Allow,
    /// Answer a command with this text.
    Reply(String),
}

/// Action that a plugin requests.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a message as the plugin.
    Send {
        /// Id of the message; the same id is never sent twice. If `None`, the message gets an id derived from the call, if the
        /// call can be repeated.
        id: Option<RequestId>,
        /// Recipients.
        to: Vec<Destination>,
        /// Text of the message.
        text: Text,
    },
    /// Become a member of a room.
    Join(Room),
    /// Leave a room.
    Leave(Room),
    /// Store or remove a value.
    Set {
        /// Key of the value.
        key: String,
        /// Any JSON; `None` removes the value.
        value: Option<serde_json::Value>,
    },
}

/// An answer as plugins write it, as JSON or as a Luau table. Every key is optional.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawAnswer {
    /// Id of the call, from programs only.
    pub(super) id: Option<String>,
    pub(super) reject: Option<String>,
    pub(super) drop: bool,
    pub(super) text: Option<String>,
    pub(super) to: Option<Vec<String>>,
    pub(super) allow: bool,
    pub(super) answer: Option<String>,
    pub(super) error: Option<String>,
}

impl RawAnswer {
    /// All keys.
    pub(super) const KEYS: [&str; 8] = ["id", "reject", "drop", "text", "to", "allow", "answer", "error"];

    /// Returns the verdict for a call of this hook. Fails if the answer has `error`, contradicts itself, or does not fit the hook.
    pub(super) fn verdict(self, hook: Hook) -> Result<Verdict, Failure> {
        let RawAnswer { id: _, reject, drop, text, to, allow, answer, error } = self;
        if let Some(error) = error {
            return Err(Failure::new(format!("{} failed: {}", hook.as_str(), bounded(error)?)));
        }
        let is_replaced = text.is_some() || to.is_some();
        let verdicts = [reject.is_some(), drop, is_replaced, allow, answer.is_some()];
        if verdicts.iter().filter(|is_given| **is_given).count() > 1 {
            return Err(unfit(hook, "has two verdicts"));
        }
        match hook {
            _ if reject.is_some() && hook.decides() => Ok(Verdict::Reject(bounded(reject.unwrap_or_default())?)),
            Hook::Message if drop => Ok(Verdict::Drop),
            Hook::Message if is_replaced => parse_replacement(to, text),
            Hook::Login if allow => Ok(Verdict::Allow),
            Hook::Command if answer.is_some() => Ok(Verdict::Reply(bounded(answer.unwrap_or_default())?)),
            _ if verdicts.contains(&true) => Err(unfit(hook, "has a verdict that this hook does not allow")),
            _ => Ok(Verdict::Pass),
        }
    }
}

fn parse_replacement(to: Option<Vec<String>>, text: Option<String>) -> Result<Verdict, Failure> {
    let to = to.map(|names| parse_destinations(&names)).transpose()?;
    let text = text.map(|text| parse_text(&text)).transpose()?;
    Ok(Verdict::Replace { to, text })
}

/// Parses the recipients that a plugin names, and removes duplicates.
pub(super) fn parse_destinations(names: &[String]) -> Result<Vec<Destination>, Failure> {
    if names.len() as u64 > DESTINATIONS_DEFAULT {
        return Err(Failure::new(format!("the message has more than {DESTINATIONS_DEFAULT} recipients")));
    }
    let mut to = Vec::new();
    for name in names {
        let destination = Destination::parse(name).map_err(|bad| Failure::new(bad.to_string()))?;
        if !to.contains(&destination) {
            to.push(destination);
        }
    }
    if to.is_empty() { Err(Failure::new("the message has no recipient")) } else { Ok(to) }
}

/// Parses the text of a message as a plugin writes it.
pub(super) fn parse_text(text: &str) -> Result<Text, Failure> {
    let text = bounded(text.to_owned())?;
    Text::verbatim(&text).ok_or_else(|| Failure::new("the text is empty"))
}

fn bounded(text: String) -> Result<String, Failure> {
    if text.len() > ANSWER_BYTES_MAX {
        return Err(Failure::new(format!("the text has {} bytes; at most {ANSWER_BYTES_MAX} are allowed", text.len())));
    }
    Ok(text)
}

fn unfit(hook: Hook, what: &str) -> Failure {
    Failure::new(format!("the answer to {} {what}", hook.as_str()))
}
