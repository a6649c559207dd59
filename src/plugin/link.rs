//! Session of a plugin with the broker: a plugin is a peer inside the server. Owns the session, the order of its requests, and
//! the replies that are awaited; never interprets a request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use smol::lock::Semaphore;

use super::filter::{MessageSender, SubmissionFilter};
use crate::broker::{self, Access, Event, Handle, Joining, OutboxReceiver, SessionOutput, ValueBatch};
use crate::message::{PeerName, RequestId, SessionId, Timestamp};
use crate::protocol::{Capabilities, Code, Refusal, Reply, Submission, Work};
use crate::source::Source;

/// Capabilities of a plugin's session. Presence is not among them: a plugin observes it with its hooks.
const CAPABILITIES: Capabilities = Capabilities {
    acknowledges: true,
    shows_recipients: true,
    wants_presence: false,
    wants_accepted: true,
    wants_copies: false,
    wants_whole_lists: true,
    wants_topics: false,
};

/// Sending side of the session.
#[derive(Debug)]
pub(super) struct Link {
    name: PeerName,
    /// The other plugins, which filter what this one sends.
    filter: Weak<dyn SubmissionFilter>,
    /// Handle of the broker; `None` after the plugin has ended, because the broker ends when the last handle is dropped.
    broker: Mutex<Option<Handle>>,
    session: Mutex<SessionId>,
    /// Permit for requests that change something: one batch is in flight at a time, so they stay in order.
    changes: Arc<Semaphore>,
    /// Permit for requests that only read. They do not wait for messages that other plugins are filtering.
    reads: Arc<Semaphore>,
    /// Receivers of the replies that are awaited, by the id of the request.
    awaited: Mutex<HashMap<RequestId, oneshot::Sender<Reply>>>,
    /// Prefix of all ids, different in each run of the server.
    id_prefix: String,
    last_id: AtomicU64,
}

impl Link {
    pub(super) fn new(name: PeerName, broker: Handle, filter: Weak<dyn SubmissionFilter>) -> Self {
        Link {
            name,
            filter,
            broker: Mutex::new(Some(broker)),
            session: Mutex::new(SessionId::unused()),
            changes: Arc::new(Semaphore::new(1)),
            reads: Arc::new(Semaphore::new(1)),
            awaited: Mutex::default(),
            id_prefix: format!("{:x}", Timestamp::now().millis()),
            last_id: AtomicU64::new(0),
        }
    }

    /// Logs in. The receiver gets everything that is sent to the plugin.
    pub(super) async fn join(&self) -> OutboxReceiver<ValueBatch> {
        let (sender, receiver) = broker::outbox();
        let session = SessionId::unused();
        *self.session.lock() = session;
        let output = SessionOutput::Values { capabilities: CAPABILITIES, outbox: sender };
        let joining = Joining { id: None, source: Source::Operator, access: Access::Plugin, output, permit: None };
        self.send(Event::Join { session, name: self.name.clone(), joining: Box::new(joining) }).await;
        receiver
    }

    /// Logs out permanently, and fails all awaited replies.
    pub(super) async fn close(&self) {
        self.send(Event::Leave { session: self.session() }).await;
        self.broker.lock().take();
        self.fail_awaited();
    }

    /// Fails all awaited replies, because the session has ended: none of them will come.
    pub(super) fn fail_awaited(&self) {
        self.awaited.lock().clear();
    }

    /// Reports that bytes from the receiver are handled, so that the broker can send more.
    pub(super) async fn report_handled(&self, bytes: usize) {
        if bytes > 0 {
            self.send(Event::DeliveryReport { session: self.session(), bytes, delivered: None }).await;
        }
    }

    /// Returns a new id.
    pub(super) fn next_id(&self) -> RequestId {
        let number = self.last_id.fetch_add(1, Ordering::Relaxed);
        RequestId::parse(&format!("{}.{number}", self.id_prefix))
            .expect("a prefix and a number are shorter than an id may be")
    }

    /// Sends a request that changes nothing, and waits for its reply.
    pub(super) async fn ask(&self, request: impl Into<Work>) -> Result<Reply, Refusal> {
        let id = self.next_id();
        let reply = self.await_reply(id.clone());
        let permit = self.reads.acquire_arc().await;
        self.send_requests(vec![Submission { id: Some(id), work: request.into() }], permit).await;
        read(reply.await)
    }

    /// Sends requests that change something, as one batch, and returns their replies in order. Each request must have an id.
    pub(super) async fn change(&self, requests: Vec<Submission>) -> Vec<Result<Reply, Refusal>> {
        let ids = requests.iter().map(|request| request.id.clone().expect("each request has an id"));
        let awaited: Vec<_> = ids.map(|id| self.await_reply(id)).collect();
        self.submit(requests).await;
        let mut replies = Vec::with_capacity(awaited.len());
        for reply in awaited {
            replies.push(read(reply.await));
        }
        replies
    }

    /// Submits requests, in order, after the other plugins have filtered them.
    pub(super) async fn submit(&self, requests: Vec<Submission>) {
        let permit = self.changes.acquire_arc().await;
        let broker = self.broker.lock().clone();
        let Some(broker) = broker else { return };
        let (session, wants_accepted) = (self.session(), CAPABILITIES.wants_accepted);
        let sender = MessageSender { name: &self.name, session, broker: &broker, wants_accepted };
        let requests = match self.filter.upgrade() {
            Some(filter) => filter.filter(sender, requests).await,
            None => requests,
        };
        self.send_requests(requests, permit).await;
    }

    /// Passes a reply to the caller that awaits it. Returns the reply if there is no such caller.
    pub(super) fn receive_reply(&self, id: &RequestId, reply: Reply) -> Result<(), Reply> {
        let Some(awaited) = self.awaited.lock().remove(id) else { return Err(reply) };
        // The caller may have stopped waiting.
        awaited.send(reply).map_err(oneshot::SendError::into_inner)
    }

    fn await_reply(&self, id: RequestId) -> oneshot::AsyncReceiver<Reply> {
        let (sender, reply) = oneshot::async_channel();
        self.awaited.lock().insert(id, sender);
        reply
    }

    async fn send_requests(&self, requests: Vec<Submission>, permit: smol::lock::SemaphoreGuardArc) {
        if !requests.is_empty() {
            self.send(Event::Requests { session: self.session(), requests, permit: Some(permit) }).await;
        }
    }

    /// Sends an event to the broker, unless the plugin has ended.
    pub(super) async fn send(&self, event: Event) {
        let broker = self.broker.lock().clone();
        if let Some(broker) = broker {
            broker.send(event).await;
        }
    }

    fn session(&self) -> SessionId {
        *self.session.lock()
    }
}

/// Turns a reply into a result.
fn read(reply: Result<Reply, oneshot::RecvError>) -> Result<Reply, Refusal> {
    match reply {
        Ok(Reply::Refused(refusal)) => Err(refusal),
        Ok(reply) => Ok(reply),
        Err(_) => Err(Refusal::new(Code::ShuttingDown, "the plugin's session has ended")),
    }
}
