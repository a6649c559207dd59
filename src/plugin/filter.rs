//! Filter for the requests that a plugin submits, which the other plugins see first. Owns what the session of a plugin needs to
//! know of the chain; filters nothing itself.

use std::pin::Pin;

use crate::broker::Handle;
use crate::message::{PeerName, SessionId};
use crate::protocol::Submission;

/// Sender of the requests that are filtered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageSender<'a> {
    /// Name of the sender.
    pub(crate) name: &'a PeerName,
    /// Session of the sender.
    pub(crate) session: SessionId,
    /// Broker, which knows the messages that were accepted before.
    pub(crate) broker: &'a Handle,
    /// Whether the sender expects a reply to each message, so that a dropped message must be refused.
    pub(crate) wants_accepted: bool,
}

/// Requests that are left after the plugins have filtered them.
pub(super) type FilteredRequests<'a> = Pin<Box<dyn Future<Output = Vec<Submission>> + Send + 'a>>;

/// Plugins that filter requests.
pub(super) trait SubmissionFilter: Send + Sync {
    /// Returns the requests of a sender as the plugins leave them, in order.
    fn filter<'a>(&self, sender: MessageSender<'a>, requests: Vec<Submission>) -> FilteredRequests<'a>;
}
