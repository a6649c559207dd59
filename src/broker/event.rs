//! Events of the broker's inbox: what connections and plugins send to it. Owns these types; never handles an event.

use smol::lock::SemaphoreGuardArc;

use super::outbox::{Delivered, OutboxSender, ValueBatch};
use crate::limits::BATCH_REQUESTS_MAX;
use crate::message::{PeerName, RequestId, SessionId};
use crate::password::PasswordHash;
use crate::protocol::{Capabilities, Refusal, SessionEncoder, Submission};
use crate::source::Source;
use crate::store::{EventFilter, Observed, ObserverCursor};

/// Event for the broker. The order of the inbox is the order of the chat.
#[derive(Debug)]
pub(crate) enum Event {
    /// A client has logged in.
    Join {
        /// Session of the client.
        session: SessionId,
        /// Name of the peer that the client logged in as.
        name: PeerName,
        /// Properties of the session. Boxed, because every event takes the memory of the largest, in the inbox and in each connection.
        joining: Box<Joining>,
    },
    /// A connection needs the account of a name, before its client may log in.
    FindAccount {
        /// The name.
        name: PeerName,
        /// Sender of the answer.
        reply: oneshot::Sender<Result<FoundAccount, Refusal>>,
    },
    /// A client submits requests.
    Requests {
        /// Session of the client.
        session: SessionId,
        /// Requests in the order in which they were read.
        requests: Vec<Submission>,
        /// Right of the session to submit requests. The broker gives it back when these are handled and the client is reading its replies. So
        /// each connection has one batch in flight, and cannot cause more replies than its outbox has room for. `None`: the rest of the
        /// batch has it, in a later turn.
        permit: Option<SemaphoreGuardArc>,
    },
    /// Plugins are about to filter requests of a client: messages among them that were accepted before are replaced by their replies, so
    /// that no plugin is called for them.
    AnswerRepeats {
        /// Session of the client. It submits the requests afterwards, whatever they have become.
        session: SessionId,
        /// Requests in the order in which they were read.
        requests: Vec<Submission>,
        /// Sender of the same requests, in the same order.
        reply: oneshot::Sender<Vec<Submission>>,
    },
    /// A writer reports progress: it has written bytes of the outbox, or messages were acknowledged.
    DeliveryReport {
        /// Session of the client.
        session: SessionId,
        /// Number of bytes that were written to the client, or dropped: the outbox has room again.
        bytes: usize,
        /// Messages that the client's system has acknowledged since, if any.
        delivered: Option<Delivered>,
    },
    /// No more requests come from a client: it gets the messages that wait for it, then its outbox is closed.
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
    /// Plugins are about to start: who has used their names?
    FindNameUses {
        /// Names of the plugins.
        names: Vec<PeerName>,
        /// Sender of the uses, in the same order. Dropped if a name cannot be looked up now.
        reply: oneshot::Sender<Vec<NameUse>>,
    },
    /// Another process may have written into the table `outbox`.
    OutboxTouched,
    /// A plugin requests the next messages and events after those that it has processed. From its first request on, and until it is missing
    /// in [`Event::Observers`], events are stored for it. So it must send the first request before clients may connect.
    Observe {
        /// Name of the plugin.
        observer: PeerName,
        /// Messages and events that the plugin wants.
        wants: EventFilter,
        /// Sender of the answer, used as soon as there is one. Dropped if the name cannot be looked up now: then the plugin repeats the
        /// request after [`READ_RETRY_MS`](crate::limits::READ_RETRY_MS).
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

/// Use of a name before a plugin has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameUse {
    /// Unused, or last used by a plugin of this name.
    Free,
    /// The name was used before the database stored by whom.
    Unknown,
    /// A client has used the name.
    Client,
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

/// Account of a name, as far as a login needs it.
#[derive(Clone, Debug)]
pub(crate) struct FoundAccount {
    /// Password; `None`: the name is free.
    pub(crate) password: Option<PasswordHash>,
    /// Source of the latest login, if it is known.
    pub(crate) source: Option<Source>,
    /// Whether anyone ever logged in by the name.
    pub(crate) is_used: bool,
}

/// Proof that a client may use its name.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// None: the name must be free.
    Free,
    /// The client sent the password with this hash.
    Password(PasswordHash),
    /// The client registers the name with the password of this hash.
    Registration(PasswordHash),
    /// The client is a plugin, or a plugin has admitted it.
    Plugin,
}

/// Properties of a session that logs in.
#[derive(Debug)]
pub(crate) struct Joining {
    /// Id of the login: the welcome carries it.
    pub(crate) id: Option<RequestId>,
    /// Source of the client.
    pub(crate) source: Source,
    /// Proof that the client may use its name.
    pub(crate) access: Access,
    /// Output of the session.
    pub(crate) output: SessionOutput,
    /// Right of the session to submit requests, given back with the welcome, so that the welcome is the first reply. `None` for a plugin,
    /// whose replies have ids.
    pub(crate) permit: Option<SemaphoreGuardArc>,
}

/// Form of a session's output, and the sending end of its outbox. The broker drops that end when there is no more output.
#[derive(Debug)]
pub(crate) enum SessionOutput {
    /// Lines for a client.
    Lines {
        /// Encoder of the lines, with the capabilities that the client declared.
        encoder: SessionEncoder,
        /// Outbox, which the connection's writer reads.
        outbox: OutboxSender,
    },
    /// Values for a plugin: the plugin is online, and its presence is not announced.
    Values {
        /// Capabilities of the plugin.
        capabilities: Capabilities,
        /// Outbox, which the plugin's session reads.
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
    /// Returns the weight of the requests in the event: its share of a turn. A single heavy request counts as a whole batch.
    pub(in crate::broker) fn weight(&self) -> usize {
        match self {
            Event::Requests { requests, .. } | Event::AnswerRepeats { requests, .. } => {
                requests.iter().map(Submission::weight).sum::<usize>().clamp(requests.len(), BATCH_REQUESTS_MAX)
            }
            Event::Join { .. } | Event::FindAccount { .. } | Event::DeliveryReport { .. } => 0,
            Event::End { .. } | Event::Leave { .. } => 0,
            Event::OutboxTouched | Event::Observe { .. } | Event::ObserverAdvanced { .. } => 0,
            Event::Observers { .. } | Event::FindNameUses { .. } => 0,
        }
    }

    /// Returns the number of parts that may be in turns of their own: the requests of a batch.
    pub(super) fn parts(&self) -> usize {
        if let Event::Requests { requests, .. } = self { requests.len() } else { 1 }
    }

    /// Divides a batch after this many requests. The rest has the permit.
    pub(super) fn split_at(self, parts: usize) -> (Event, Event) {
        let Event::Requests { session, mut requests, permit } = self else { unreachable!("only a batch has parts") };
        let rest = requests.split_off(parts);
        (Event::Requests { session, requests, permit: None }, Event::Requests { session, requests: rest, permit })
    }

    /// Returns the session that the event comes from, if it comes from one.
    pub(super) fn session(&self) -> Option<SessionId> {
        match self {
            Event::Join { session, .. }
            | Event::Requests { session, .. }
            | Event::AnswerRepeats { session, .. }
            | Event::DeliveryReport { session, .. }
            | Event::End { session, .. }
            | Event::Leave { session } => Some(*session),
            Event::OutboxTouched | Event::Observe { .. } | Event::ObserverAdvanced { .. } => None,
            Event::Observers { .. } | Event::FindNameUses { .. } | Event::FindAccount { .. } => None,
        }
    }
}
