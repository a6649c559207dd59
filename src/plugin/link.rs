//! A plugin's own session with the broker: it is a peer that lives inside, and speaks JSON lines as programs outside do. Owns who
//! waits for which answer; never knows what is asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use serde_json::Value;
use smol::lock::Semaphore;

use super::chain::{Plugins, Sender};
use crate::broker::{self, Event, Handle, Joining, OutboxReceiver};
use crate::message::{PeerName, RequestId, SessionId, Timestamp};
use crate::protocol::{Capabilities, Code, Refusal, Submission, Work, json};

/// Told what concerns the plugin itself, and not who connects and disconnects: a plugin observes that.
const CAPABILITIES: Capabilities = Capabilities {
    acknowledges: true,
    shows_recipients: true,
    wants_presence: false,
    wants_accepted: true,
    wants_copies: false,
    wants_membership: false,
    wants_read_marks: false,
};

/// The session, as far as others than its reader use it.
#[derive(Debug)]
pub(super) struct Link {
    name: PeerName,
    /// Those who look at what the plugin sends.
    plugins: Weak<Plugins>,
    /// Taken away when the plugin ends: the broker ends when nobody has one.
    broker: Mutex<Option<Handle>>,
    session: Mutex<SessionId>,
    /// The right to hand in what changes something: one batch is under way at a time, and in order.
    changes: Arc<Semaphore>,
    /// The right to ask: what is asked waits for nothing that is screened.
    questions: Arc<Semaphore>,
    /// Who waits for the answer to which request.
    waiting: Mutex<HashMap<RequestId, oneshot::Sender<Value>>>,
    /// What ids of this life of the server begin with.
    life: String,
    last_id: AtomicU64,
}

impl Link {
    pub(super) fn new(name: PeerName, broker: Handle, plugins: Weak<Plugins>) -> Self {
        Link {
            name,
            plugins,
            broker: Mutex::new(Some(broker)),
            session: Mutex::new(SessionId::unused()),
            changes: Arc::new(Semaphore::new(1)),
            questions: Arc::new(Semaphore::new(1)),
            waiting: Mutex::default(),
            life: format!("{:x}", Timestamp::now().millis()),
            last_id: AtomicU64::new(0),
        }
    }

    /// Logs in: what comes is read from this.
    pub(super) async fn join(&self) -> OutboxReceiver {
        let (sender, receiver) = broker::outbox();
        let session = SessionId::unused();
        *self.session.lock() = session;
        let encoder = json::session(CAPABILITIES);
        let joining = Joining { id: None, encoder, is_plugin: true, outbox: sender };
        self.tell(Event::Join { session, name: self.name.clone(), joining }).await;
        receiver
    }

    /// Logs out, for good.
    pub(super) async fn close(&self) {
        self.tell(Event::Leave { session: self.session() }).await;
        self.broker.lock().take();
        self.waiting.lock().clear();
    }

    /// So many bytes of what came are dealt with.
    pub(super) async fn taken(&self, bytes: usize) {
        self.tell(Event::DeliveryReport { session: self.session(), bytes, delivered: None }).await;
    }

    /// An id that nothing had before.
    pub(super) fn next_id(&self) -> RequestId {
        let number = self.last_id.fetch_add(1, Ordering::Relaxed);
        RequestId::parse(&format!("{}.{number}", self.life)).expect("it is short")
    }

    /// Asks for what changes nothing.
    pub(super) async fn ask(&self, request: impl Into<Work>) -> Result<Value, Refusal> {
        let id = self.next_id();
        let answer = self.await_answer(id.clone());
        let permit = self.questions.acquire_arc().await;
        self.hand_over(vec![Submission { id: Some(id), work: request.into() }], permit).await;
        read(answer.await)
    }

    /// Hands in what changes something, all of it together; each has an id. The answers, in order.
    pub(super) async fn change(&self, requests: Vec<Submission>) -> Vec<Result<Value, Refusal>> {
        let ids = requests.iter().map(|asked| asked.id.clone().expect("each has an id"));
        let waiting: Vec<_> = ids.map(|id| self.await_answer(id)).collect();
        self.submit(requests).await;
        let mut answers = Vec::with_capacity(waiting.len());
        for answer in waiting {
            answers.push(read(answer.await));
        }
        answers
    }

    /// Hands in requests in order, as other plugins let them pass.
    pub(super) async fn submit(&self, requests: Vec<Submission>) {
        let permit = self.changes.acquire_arc().await;
        let requests = match self.plugins.upgrade().map(|plugins| plugins.current()) {
            Some(set) if set.concerns(&requests) => {
                set.filter(Sender { name: &self.name, wants_accepted: CAPABILITIES.wants_accepted }, requests).await
            }
            _ => requests,
        };
        self.hand_over(requests, permit).await;
    }

    /// Hands an answer to who waits for it. Says whether somebody did.
    pub(super) fn answer(&self, id: &str, frame: &mut Value) -> bool {
        let waiting = RequestId::parse(id).and_then(|id| self.waiting.lock().remove(&id));
        match waiting {
            // It may have stopped waiting.
            Some(waiting) => waiting.send(frame.take()).is_ok(),
            None => false,
        }
    }

    fn await_answer(&self, id: RequestId) -> oneshot::AsyncReceiver<Value> {
        let (sender, answer) = oneshot::async_channel();
        self.waiting.lock().insert(id, sender);
        answer
    }

    async fn hand_over(&self, requests: Vec<Submission>, permit: smol::lock::SemaphoreGuardArc) {
        if !requests.is_empty() {
            self.tell(Event::Requests { session: self.session(), requests, permit }).await;
        }
    }

    /// Nothing is told any more once the plugin has ended.
    pub(super) async fn tell(&self, event: Event) {
        let broker = self.broker.lock().clone();
        if let Some(broker) = broker {
            broker.tell(event).await;
        }
    }

    fn session(&self) -> SessionId {
        *self.session.lock()
    }
}

/// An answer as it is meant: a frame `error` is none.
fn read(answer: Result<Value, oneshot::RecvError>) -> Result<Value, Refusal> {
    let frame = answer.map_err(|_| Refusal::new(Code::ShuttingDown, "the plugin's session has ended"))?;
    if frame["type"] != "error" {
        return Ok(frame);
    }
    let code = frame["code"].as_str().and_then(|code| code.parse().ok()).unwrap_or(Code::Internal);
    Err(Refusal::new(code, frame["message"].as_str().unwrap_or_default()))
}
