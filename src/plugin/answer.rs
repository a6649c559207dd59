//! What plugins answer: a verdict on what they were asked about, and what they want done. Owns which answers there are and
//! which fit a hook; never does what they say.

use serde::Deserialize;

use super::Failure;
use crate::config::Hook;
use crate::limits::{ANSWER_BYTES_MAX, DESTINATIONS_DEFAULT};
use crate::message::{Destination, RequestId, Room, Text};

/// What a plugin answers to one [`Call`](super::Call).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// What is to become of that about which it was asked.
    pub verdict: Verdict,
    /// What else is to be done, in this order: all of it is kept together.
    pub effects: Vec<Effect>,
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Self {
        Answer { verdict, effects: Vec::new() }
    }
}

/// What is to become of that about which a plugin was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on as it is; of what is only told, it is dealt with.
    #[default]
    Pass,
    /// A message goes on with these in place of what it had.
    Replace {
        /// Whom it is addressed to, where that changes; never empty.
        to: Option<Vec<Destination>>,
        /// What it says, where that changes.
        text: Option<Text>,
    },
    /// A message is not sent, and plain clients are not told so.
    Drop,
    /// It is refused, with this reason.
    Reject(String),
    /// A login is let in, whatever the accounts say.
    Allow,
    /// What is answered to a command.
    Reply(String),
}

/// What a plugin wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send a message as the plugin.
    Send {
        /// The same id is never sent twice; without one, it is given one where that can be known again.
        id: Option<RequestId>,
        /// To whom.
        to: Vec<Destination>,
        /// What.
        text: Text,
    },
    /// Be a member of a room.
    Join(Room),
    /// Be a member no more.
    Leave(Room),
    /// Keep a value, or forget it.
    Set {
        /// Under which key.
        key: String,
        /// Any JSON; `None` forgets it.
        value: Option<serde_json::Value>,
    },
}

/// An answer as plugins write it, as JSON or as a table of Luau: every key may be left out.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawAnswer {
    /// Only from processes: the call that is answered.
    pub(super) id: Option<String>,
    reject: Option<String>,
    drop: bool,
    text: Option<String>,
    to: Option<Vec<String>>,
    allow: bool,
    answer: Option<String>,
    error: Option<String>,
}

impl RawAnswer {
    /// What it says to a call of this hook; a failure where it says what cannot be said there.
    pub(super) fn verdict(self, hook: Hook) -> Result<Verdict, Failure> {
        let RawAnswer { id: _, reject, drop, text, to, allow, answer, error } = self;
        if let Some(error) = error {
            return Err(Failure::new(format!("{} failed: {}", hook.as_str(), bounded(error)?)));
        }
        let is_replaced = text.is_some() || to.is_some();
        let said = [reject.is_some(), drop, is_replaced, allow, answer.is_some()];
        if said.iter().filter(|said| **said).count() > 1 {
            return Err(unfit(hook, "says two things at once"));
        }
        match hook {
            _ if reject.is_some() && hook.decides() => Ok(Verdict::Reject(bounded(reject.unwrap_or_default())?)),
            Hook::Message if drop => Ok(Verdict::Drop),
            Hook::Message if is_replaced => replaced(to, text),
            Hook::Login if allow => Ok(Verdict::Allow),
            Hook::Command if answer.is_some() => Ok(Verdict::Reply(bounded(answer.unwrap_or_default())?)),
            _ if said.contains(&true) => Err(unfit(hook, "says what cannot be said to it")),
            _ => Ok(Verdict::Pass),
        }
    }
}

fn replaced(to: Option<Vec<String>>, text: Option<String>) -> Result<Verdict, Failure> {
    let to = to.map(|names| parse_destinations(&names)).transpose()?;
    let text = text.map(|text| parse_text(&text)).transpose()?;
    Ok(Verdict::Replace { to, text })
}

/// Destinations as a plugin names them, each once.
pub(super) fn parse_destinations(names: &[String]) -> Result<Vec<Destination>, Failure> {
    if names.len() as u64 > DESTINATIONS_DEFAULT {
        return Err(Failure::new(format!("a message is to more than {DESTINATIONS_DEFAULT} names")));
    }
    let mut to = Vec::new();
    for name in names {
        let destination = Destination::parse(name).map_err(|bad| Failure::new(bad.to_string()))?;
        if !to.contains(&destination) {
            to.push(destination);
        }
    }
    if to.is_empty() { Err(Failure::new("a message is to nobody")) } else { Ok(to) }
}

/// A text as a plugin writes it.
pub(super) fn parse_text(text: &str) -> Result<Text, Failure> {
    let text = bounded(text.to_owned())?;
    Text::kept(&text).ok_or_else(|| Failure::new("a text is empty"))
}

fn bounded(text: String) -> Result<String, Failure> {
    if text.len() > ANSWER_BYTES_MAX {
        return Err(Failure::new(format!("a text is of more than {ANSWER_BYTES_MAX} bytes")));
    }
    Ok(text)
}

fn unfit(hook: Hook, what: &str) -> Failure {
    Failure::new(format!("the answer to {} {what}", hook.as_str()))
}
