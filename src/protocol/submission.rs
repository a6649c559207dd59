//! Requests on their way to the broker: as they were parsed, or as plugins left them. Owns these types; never decides what becomes
//! of a request.

use super::refusal::{Refusal, Rejected};
use super::reply::Reply;
use super::request::{ClientRequest, Draft, ParsedRequest, PluginRequest, Request};
use crate::message::RequestId;

/// Work for the broker, in the place of the line that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Id of the request, if it has one.
    pub id: Option<RequestId>,
    /// Work that is left for the broker.
    pub work: Work,
}

/// Work that a request leaves for the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// A request of a client, as it was parsed.
    Client(Request),
    /// A request of a plugin.
    Plugin(PluginRequest),
    /// A message that plugins changed or refused, and that has an id.
    Filtered(FilteredSend),
    /// A refusal: of a line that is not a request, or by a plugin.
    Refused(Refusal),
    /// A reply that was made before the broker: by a plugin, or by a codec.
    Answered(Box<Reply>),
}

/// Message with an id that plugins changed or refused. It is accepted again if it was accepted before, whatever plugins say now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilteredSend {
    /// Message as the client sent it, by which it is recognised.
    pub original: Box<Draft>,
    /// Message to be sent instead, or why none is sent.
    pub outcome: Result<Box<Draft>, Refusal>,
}

impl Submission {
    /// Whether the client only wants the reply.
    pub fn is_read_only(&self) -> bool {
        match &self.work {
            Work::Client(request) => request.is_read_only(),
            Work::Plugin(PluginRequest::SetValue { .. }) | Work::Filtered(_) => false,
            Work::Plugin(PluginRequest::ListValues) | Work::Refused(_) | Work::Answered(_) => true,
        }
    }

    /// Whether the reply may be large, so that nothing else is submitted together with it.
    pub fn has_large_reply(&self) -> bool {
        match &self.work {
            Work::Client(request) => request.has_large_reply(),
            Work::Plugin(PluginRequest::ListValues) => true,
            Work::Plugin(PluginRequest::SetValue { .. }) => false,
            Work::Filtered(_) | Work::Refused(_) | Work::Answered(_) => false,
        }
    }

    /// Whether the session ends with it.
    pub fn is_quit(&self) -> bool {
        matches!(self.work, Work::Client(Request::Quit))
    }

    /// Whether it runs a command of a plugin.
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
