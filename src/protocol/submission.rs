//! Requests on their way to the broker: as they were parsed, or as plugins changed them. Owns these types; never handles a request.

use super::refusal::{Refusal, Rejected};
use super::reply::Reply;
use super::request::{AccountChange, ClientRequest, Draft, ParsedRequest, PluginRequest, Request};
use crate::limits::{TOPIC_BYTES_MAX, WEIGHT_DESTINATIONS, WEIGHT_REPLY_BYTES, WEIGHT_TEXT_BYTES};
use crate::message::RequestId;

/// Work for the broker, from one line of a client or one request of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Id of the request, if it has one.
    pub id: Option<RequestId>,
    /// The work.
    pub work: Work,
}

/// What the broker must do for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// A request of a client, as it was parsed.
    Client(Request),
    /// A request of a plugin.
    Plugin(PluginRequest),
    /// A change of the peer's account, whose passwords are checked.
    Account(AccountChange),
    /// A message that plugins changed or refused, and that has an id.
    Filtered(FilteredSend),
    /// A refusal: of a line that is not a request, or by a plugin.
    Refused(Refusal),
    /// A reply that a plugin or a codec has made. The broker only sends it, so that it stays in order.
    Answered(Box<Reply>),
}

/// Message with an id that plugins changed or refused. If it was accepted before, it is accepted again, whatever the plugins decided now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilteredSend {
    /// Message as the client sent it, by which it is recognised.
    pub original: Box<Draft>,
    /// Message that is sent instead, or the refusal.
    pub outcome: Result<Box<Draft>, Refusal>,
}

/// Share of a turn of a request whose reply shows a topic, in which each control character may have become three bytes.
const TOPIC_WEIGHT: usize = 1 + 3 * TOPIC_BYTES_MAX / WEIGHT_REPLY_BYTES;

impl Submission {
    /// Whether the request changes nothing, so that only its reply matters.
    pub fn is_read_only(&self) -> bool {
        match &self.work {
            Work::Client(request) => request.is_read_only(),
            Work::Plugin(PluginRequest::SetValue { .. }) | Work::Filtered(_) | Work::Account(_) => false,
            Work::Plugin(PluginRequest::ListValues) | Work::Refused(_) | Work::Answered(_) => true,
        }
    }

    /// Whether the reply may be large, so that nothing else is submitted together with it.
    pub fn has_large_reply(&self) -> bool {
        match &self.work {
            Work::Client(request) => request.has_large_reply(),
            Work::Plugin(PluginRequest::ListValues) => true,
            Work::Plugin(PluginRequest::SetValue { .. }) => false,
            Work::Filtered(_) | Work::Refused(_) | Work::Answered(_) | Work::Account(_) => false,
        }
    }

    /// Returns the share of a turn's time that the request takes: one for each [`WEIGHT_DESTINATIONS`], and for each [`WEIGHT_TEXT_BYTES`] of its
    /// text. One whose reply shows a topic takes one for each [`WEIGHT_REPLY_BYTES`] of it.
    pub fn weight(&self) -> usize {
        let draft = |draft: &Draft| draft.to.len().div_ceil(WEIGHT_DESTINATIONS) + draft.text.len() / WEIGHT_TEXT_BYTES;
        match &self.work {
            Work::Client(Request::Send(sent)) => draft(sent),
            Work::Filtered(FilteredSend { original, outcome }) => {
                draft(original) + outcome.as_ref().map_or(0, |sent| draft(sent))
            }
            Work::Client(Request::Join { .. } | Request::ShowTopic { .. } | Request::SetTopic { .. }) => TOPIC_WEIGHT,
            Work::Client(_) | Work::Plugin(_) | Work::Account(_) | Work::Refused(_) | Work::Answered(_) => 1,
        }
    }

    /// Returns the number of replies that the request causes at most, of about [`WEIGHT_REPLY_BYTES`] each: a notice for each destination. Those
    /// of the request `before` cause no further ones, because each notice is sent once in a turn. Names at least as many as it looks up.
    pub fn replies_after(&self, before: Option<&Submission>) -> usize {
        let Some(sent) = self.sent() else { return self.weight() };
        let are_same = |before: &Submission| before.sent().is_some_and(|before| before.to == sent.to);
        if sent.to.len() > 1 && before.is_some_and(are_same) { 1 } else { sent.to.len() }
    }

    /// Returns the message that the request sends, if it sends one.
    fn sent(&self) -> Option<&Draft> {
        match &self.work {
            Work::Client(Request::Send(sent)) => Some(sent),
            Work::Filtered(FilteredSend { outcome, .. }) => outcome.as_deref().ok(),
            Work::Client(_) | Work::Plugin(_) | Work::Account(_) | Work::Refused(_) | Work::Answered(_) => None,
        }
    }

    /// Whether the request ends the session.
    pub fn is_quit(&self) -> bool {
        matches!(self.work, Work::Client(Request::Quit))
    }

    /// Whether the request has passwords, which are checked before the broker gets it.
    pub fn has_passwords(&self) -> bool {
        matches!(self.work, Work::Client(Request::Register { .. } | Request::ChangePassword { .. }))
    }

    /// Whether the request runs a command of a plugin.
    pub fn is_plugin_command(&self) -> bool {
        matches!(self.work, Work::Client(Request::Command { .. }))
    }
}

impl From<ClientRequest> for Submission {
    fn from(ClientRequest { id, request }: ClientRequest) -> Self {
        Submission { id, work: Work::Client(request) }
    }
}

impl From<Rejected> for Submission {
    fn from(Rejected { id, refusal }: Rejected) -> Self {
        Submission { id, work: Work::Refused(refusal) }
    }
}

impl From<ParsedRequest> for Submission {
    fn from(parsed: ParsedRequest) -> Self {
        match parsed {
            Ok(request) => request.into(),
            Err(rejected) => rejected.into(),
        }
    }
}

impl From<Request> for Work {
    fn from(request: Request) -> Self {
        Work::Client(request)
    }
}

impl From<PluginRequest> for Work {
    fn from(request: PluginRequest) -> Self {
        Work::Plugin(request)
    }
}
