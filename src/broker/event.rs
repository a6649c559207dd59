//! Events of the broker's inbox: what connections and plugins tell it. Owns these types; never what becomes of an event.

use smol::lock::SemaphoreGuardArc;

use super::outbox::{Delivered, OutboxSender, ValueBatch};
use crate::message::{PeerName, RequestId, SessionId};
use crate::protocol::{Capabilities, SessionEncoder, Submission};
use crate::store::{EventFilter, Observed, ObserverCursor};

/// Event for the broker. The order of the inbox is the order of the chat.
#[derive(Debug)]
pub(crate) enum Event {
    /// A client has logged in.
    Join {
        /// Session of the client.
        session: SessionId,
        /// Peer that the client speaks for.
        name: PeerName,
        /// Properties of the session.
        joining: Joining,
    },
    /// A client submits requests.
    Requests {
        /// Session of the client.
        session: SessionId,
        /// Requests in the order in which they were read.
        requests: Vec<Submission>,
        /// Right of the session to submit requests: given back when these are processed and the client is reading its replies. So
        /// each connection has one batch in flight, and none outruns its own outbox.
        permit: SemaphoreGuardArc,
    },
    /// A client has taken bytes of its outbox.
    DeliveryReport {
        /// Session of the client.
        session: SessionId,
        /// Number of bytes that were written to the client, or dropped: the outbox has room again.
        bytes: usize,
        /// Messages that the client's system has acknowledged since, if any.
        delivered: Option<Delivered>,
    },
    /// No more requests come from a client: it gets what waits for it, then its outbox is dropped.
    End {
        /// Session of the client.
        session: SessionId,
        /// Reason, which decides the last reply.
        reason: EndReason,
    },
    /// A connection is closed.
    Leave {
        /// Session of the connection.
        session: SessionId,
    },
    /// Another process may have written into the table `outbox`.
    OutboxTouched,
    /// A plugin asks for the next messages and events after those that it has processed. From its first request on, and until it
    /// is missing in [`Event::Observers`], events are stored for it: so it must ask before the first client may connect.
    Observe {
        /// Name of the plugin.
        observer: PeerName,
        /// Messages and events that the plugin wants.
        wants: EventFilter,
        /// Takes the answer as soon as there is one. Dropped if the name cannot be looked up now: the plugin asks again after
        /// [`READ_RETRY_MS`](crate::limits::READ_RETRY_MS).
        reply: oneshot::Sender<Observation>,
    },
    /// A plugin has processed what it observed.
    ObserverAdvanced {
        /// Name of the plugin.
        observer: PeerName,
        /// Last message and event that the plugin has processed.
        seen: ObserverCursor,
    },
    /// Only these plugins may observe: the cursors of all others are removed, and their requests are never answered. Sent when
    /// the server starts, and whenever the set of observers changes.
    Observers {
        /// Names of the plugins.
        only: Vec<PeerName>,
    },
}

/// Next messages and events for an observer.
#[derive(Debug)]
pub(crate) struct Observation {
    /// Messages and events in their order: at least one, at most [`OBSERVATIONS_MAX`](crate::limits::OBSERVATIONS_MAX). They are read
    /// again until [`Event::ObserverAdvanced`] covers them.
    pub(crate) items: Vec<Observed>,
    /// Cursor of the observer once it has processed all of them.
    pub(crate) seen: ObserverCursor,
}

/// Properties of a session that logs in.
#[derive(Debug)]
pub(crate) struct Joining {
    /// Id of the login: the welcome carries it.
    pub(crate) id: Option<RequestId>,
    /// Output of the session.
    pub(crate) output: SessionOutput,
}

/// Form of a session's output, and the way to its receiver, which the broker drops once nothing more comes.
#[derive(Debug)]
pub(crate) enum SessionOutput {
    /// Lines for a client.
    Lines {
        /// Encoder of the lines, with the capabilities that the client declared.
        encoder: SessionEncoder,
        /// Way to the connection's writer.
        outbox: OutboxSender,
    },
    /// Values for a plugin: the plugin is online, and its presence is not announced.
    Values {
        /// Capabilities of the plugin.
        capabilities: Capabilities,
        /// Way to the plugin.
        outbox: OutboxSender<ValueBatch>,
    },
}

/// Reason why no more requests come from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The client ended its input, or sent `/quit`.
    Client,
    /// The server stops.
    Shutdown,
}

impl Event {
    /// Number of requests in it: its share of a turn.
    pub(super) fn requests(&self) -> usize {
        match self {
            Event::Requests { requests, .. } => requests.len(),
            Event::Join { .. } | Event::DeliveryReport { .. } | Event::End { .. } | Event::Leave { .. } => 0,
            Event::OutboxTouched | Event::Observe { .. } | Event::ObserverAdvanced { .. } => 0,
            Event::Observers { .. } => 0,
        }
    }

    /// Session that it comes from, if it comes from one.
    pub(super) fn session(&self) -> Option<SessionId> {
        match self {
            Event::Join { session, .. }
            | Event::Requests { session, .. }
            | Event::DeliveryReport { session, .. }
            | Event::End { session, .. }
            | Event::Leave { session } => Some(*session),
            Event::OutboxTouched | Event::Observe { .. } | Event::ObserverAdvanced { .. } | Event::Observers { .. } => {
                None
            }
        }
    }
}
