//! The broker: one task that alone owns who is here and what each of them still has to get. It takes what is waiting in
//! its inbox, decides, has the store commit once, and delivers. Owns the inbox and the turn; never touches a socket or SQL,
//! and waits for nobody but the store.

mod chat;
mod outbox;
mod post;
#[cfg(test)]
mod tests;
mod turn_queue;

use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use smol::lock::SemaphoreGuardArc;
use smol::{Timer, future};

use self::chat::{Chat, Turn, TurnBuilder};
pub(crate) use self::outbox::{Chunk, Mark, OutboxReceiver, OutboxSender, outbox};
use self::post::ReadPost;
use self::turn_queue::TurnQueue;
use crate::config::Limits;
use crate::limits::{INBOX_EVENTS_MAX, KEEP_MS_MAX, READ_RETRY_MS, TURN_REQUESTS_MAX};
use crate::message::{PeerName, RequestId, Seq, SessionId, Timestamp};
use crate::outage_log::OutageLog;
use crate::protocol::{ClientRequest, SessionEncoder};
use crate::store::{Commit, EventFilter, Observed, ObserverCursor, Post, Store, TurnOutcome};

/// What the broker is told. The order of the inbox is the order of the chat.
#[derive(Debug)]
pub(crate) enum Event {
    /// A client has logged in.
    Join {
        /// Its connection.
        session: SessionId,
        /// The peer it speaks for.
        name: PeerName,
        /// How.
        joining: Joining,
    },
    /// A client asks for things.
    Requests {
        /// Its connection.
        session: SessionId,
        /// In the order in which they were read.
        requests: Vec<ClientRequest>,
        /// The connection's right to hand in requests: given back when these are dealt with and the client is taking
        /// what it is answered. So each connection has one batch under way, and none outruns its own outbox.
        permit: SemaphoreGuardArc,
    },
    /// A client takes what it is sent.
    DeliveryReport {
        /// Its connection.
        session: SessionId,
        /// How many bytes were written to it, or dropped: the outbox has room again.
        bytes: usize,
        /// The messages that its system has acknowledged since, if any.
        delivered: Option<Delivered>,
    },
    /// No more requests come from a client: it gets what waits for it, and the outbox is dropped.
    End {
        /// Its connection.
        session: SessionId,
        /// Why, for the last words.
        reason: EndReason,
    },
    /// A connection is gone.
    Leave {
        /// The connection.
        session: SessionId,
    },
    /// Somebody may have written into the table `outbox`.
    OutboxTouched,
    /// A peer that lives inside wants the next things that happen after what it has seen. From the first time in the life of a
    /// server on, and until it is said to be gone, what happens is kept for it: so it is told before the first client may come.
    Observe {
        /// By which name it goes.
        observer: PeerName,
        /// What it wants.
        wants: EventFilter,
        /// Answered as soon as there is something; dropped where its name cannot be looked up now: it asks again after
        /// [`READ_RETRY_MS`].
        reply: oneshot::Sender<Observation>,
    },
    /// An observer has dealt with what it was told.
    ObserverAdvanced {
        /// By which name it goes.
        observer: PeerName,
        /// All up to here.
        seen: ObserverCursor,
    },
    /// These, and nobody else, may observe: how far others got is forgotten, and what they wait for never comes. Told when the
    /// server starts, and whenever it changes who observes.
    Observers {
        /// By which names they go.
        only: Vec<PeerName>,
    },
}

/// The next things for an observer.
#[derive(Debug)]
pub(crate) struct Observation {
    /// In the order in which they happened: at least one, at most [`OBSERVED_MAX`](crate::limits::OBSERVED_MAX). They come
    /// again until they are [`Event::ObserverAdvanced`].
    pub(crate) items: Vec<Observed>,
    /// What has been seen once all of them are dealt with.
    pub(crate) seen: ObserverCursor,
}

/// How a client takes part.
#[derive(Debug)]
pub(crate) struct Joining {
    /// By what it wants to know the welcome again.
    pub(crate) id: Option<RequestId>,
    /// Encodes what is written to it; with what it declared.
    pub(crate) encoder: SessionEncoder,
    /// Whether it lives inside: it is here, and nobody observes that it came.
    pub(crate) is_plugin: bool,
    /// Takes what is written to it; dropped by the broker once nothing more comes.
    pub(crate) outbox: OutboxSender,
}

/// Messages that a client has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// Everything that its feed held up to here.
    pub(crate) seq: Seq,
    /// How many of them were addressed to its peer directly: only those count for the limit of a mailbox.
    pub(crate) messages: u64,
}

/// Why no more requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The client said so: end of input, or `/quit`.
    Client,
    /// The server stops.
    Shutdown,
}

/// Opens the inbox: the end that connections hold, and the broker to run on it.
pub(crate) fn open(store: Store, limits: &Limits) -> (Handle, Broker) {
    let (sender, inbox) = async_channel::bounded(INBOX_EVENTS_MAX);
    let chat = Chat::new(limits, store.found);
    let broker = Broker {
        inbox,
        pending: TurnQueue::default(),
        keep_within: Duration::from_millis(KEEP_MS_MAX),
        alarm: None,
        outbox_table: OutboxTableState::Unknown,
        limits: *limits,
        chat,
        store,
        commits: OutageLog::new("nothing is kept, whoever sends something is told", "what is sent is kept again"),
        reads: OutageLog::new(
            "the log cannot be read, who is to get something of it waits",
            "the log can be read again",
        ),
        lookups: OutageLog::new("peers cannot be looked up, who is named is refused", "peers can be looked up again"),
    };
    (Handle { inbox: sender }, broker)
}

/// A connection's end of the inbox. The broker ends when the last one is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) inbox: Sender<Event>,
}

impl Handle {
    /// Puts an event into the inbox, as soon as there is room.
    pub(crate) async fn tell(&self, event: Event) {
        self.inbox.send(event).await.expect("the broker outlives its handles");
    }
}

/// The broker, not yet running.
#[derive(Debug)]
pub(crate) struct Broker {
    inbox: Receiver<Event>,
    /// Taken out of the inbox, and left for the next turn.
    pending: TurnQueue,
    /// How long a cursor that moved waits until it is kept. The simulation has others.
    pub(crate) keep_within: Duration,
    /// When what has changed is kept at the latest. Not set for what could not be kept, until something happens.
    alarm: Option<Alarm>,
    /// What stands in the table `outbox`.
    outbox_table: OutboxTableState,
    limits: Limits,
    chat: Chat,
    store: Store,
    /// Whether turns can be committed.
    commits: OutageLog,
    /// Whether the log can be read.
    reads: OutageLog,
    /// Whether peers can be looked up.
    lookups: OutageLog,
}

/// What is known of the table `outbox`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutboxTableState {
    /// There may be something in it.
    Unknown,
    /// There is something in it that could not be dealt with: it is looked at again after a while.
    Left,
    /// Nothing, as long as nobody writes.
    None,
}

/// A time to wake at, and the timer that does it.
#[derive(Debug)]
struct Alarm {
    time: Instant,
    /// Kept until it rings: to set one wakes the runtime, each time.
    timer: Timer,
}

impl Broker {
    /// Runs until every handle is dropped and everything told is dealt with; hands the store back, to be closed.
    ///
    /// While a turn commits, the one before it is delivered and, as soon as there is enough for it, the next is decided: the
    /// store waits for nothing.
    pub(crate) async fn run(mut self) -> Store {
        let mut committing = None;
        while let Some(events) = self.take_turn(committing.as_mut()).await {
            // What has failed is undone before anything else is decided, if that is known by now.
            let mut committed = self.outcome_if_known(&mut committing).await;
            if committing.is_none() && self.chat.remembers_too_many() {
                self.deliver(committed.take());
                self.chat.forget_absent();
            }
            let decided = self.decide(events).await;
            if let Some(committing) = committing.take() {
                committed = Some(self.outcome(committing).await);
            }
            let begun = decided.map(|decided| self.begin(decided));
            self.deliver(committed);
            committing = match begun {
                Some((turn, Some(commit))) => Some((turn, commit)),
                Some((turn, None)) => {
                    self.chat.deliver_without_commit(turn);
                    None
                }
                None => None,
            };
            self.arm_flush_timer();
        }
        self.flush_on_shutdown().await;
        self.store
    }

    /// What was not kept yet, or could not be as the disk was full, is kept now.
    async fn flush_on_shutdown(&mut self) {
        let now = Timestamp::now();
        self.chat.record_shutdown_leaves(now);
        if self.chat.has_changed() {
            let mut turn = TurnBuilder::new(now);
            self.chat.keep_all_changed(&mut turn);
            let (turn, request) = turn.finish();
            let commit = self.store.begin(request);
            self.outcome((turn, commit)).await;
        }
    }

    /// Takes what is waiting in the inbox, as far as it fits a turn: as soon as that is a whole turn, or the store has nothing
    /// to do, and there is something to do. `None`: no handle is left, and nothing is to be done.
    async fn take_turn(&mut self, mut committing: Option<&mut (Turn, Commit)>) -> Option<Vec<Event>> {
        let mut taken = Vec::new();
        loop {
            self.empty_inbox(&mut taken);
            let is_idle = taken.is_empty() && self.pending.is_empty() && !self.is_due();
            match &mut committing {
                // To forget somebody, everything that was decided must be done with.
                Some((turn, _)) if self.is_turn_full() && !turn.is_awaited() && !self.chat.remembers_too_many() => {
                    break;
                }
                Some((_, commit)) if !commit.is_done() => self.wait_beside(commit, &mut taken).await,
                None if is_idle => self.wait(&mut taken).await?,
                _ => break,
            }
        }
        self.pending.take(TURN_REQUESTS_MAX, &mut taken);
        Some(taken)
    }

    fn is_turn_full(&self) -> bool {
        self.pending.requests() >= TURN_REQUESTS_MAX || self.pending.len() >= INBOX_EVENTS_MAX
    }

    fn empty_inbox(&mut self, taken: &mut Vec<Event>) {
        while self.pending.len() < INBOX_EVENTS_MAX
            && let Ok(event) = self.inbox.try_recv()
        {
            self.sort(event, taken);
        }
    }

    /// What a client has taken is no part of the chat's order: it goes first, so that a crowd of senders does not make those
    /// who read look as if they did not.
    fn sort(&mut self, event: Event, taken: &mut Vec<Event>) {
        if matches!(event, Event::DeliveryReport { .. }) { taken.push(event) } else { self.pending.push(event) }
    }

    /// Waits for the store to be done, or for an event if there is room for one.
    async fn wait_beside(&mut self, commit: &mut Commit, taken: &mut Vec<Event>) {
        let is_full = self.is_turn_full();
        let event = async {
            match if is_full { None } else { self.inbox.recv().await.ok() } {
                Some(event) => Some(event),
                None => future::pending().await,
            }
        };
        let done = async {
            commit.done().await;
            None
        };
        if let Some(event) = future::or(done, event).await {
            self.sort(event, taken);
        }
    }

    /// Waits for an event; not for long while something is to be kept, or somebody waits for what could not be read.
    async fn wait(&mut self, taken: &mut Vec<Event>) -> Option<()> {
        let event = async { Some(self.inbox.recv().await) };
        let time_is_up = async {
            match &mut self.alarm {
                Some(alarm) => (&mut alarm.timer).await,
                None if self.chat.has_failed_reads() || self.outbox_table == OutboxTableState::Left => {
                    Timer::after(Duration::from_millis(READ_RETRY_MS)).await
                }
                None => future::pending().await,
            };
            None
        };
        match future::or(event, time_is_up).await {
            Some(event) => self.sort(event.ok()?, taken),
            None => self.try_again(),
        }
        Some(())
    }

    /// What failed and waits for nothing else is tried again.
    fn try_again(&mut self) {
        self.chat.retry_failed_reads();
        if self.outbox_table == OutboxTableState::Left {
            self.outbox_table = OutboxTableState::Unknown;
        }
    }

    /// Whether a turn has something to do though no event came.
    fn is_due(&self) -> bool {
        self.chat.wants_reads() || self.outbox_table == OutboxTableState::Unknown || self.is_time_to_keep()
    }

    fn is_time_to_keep(&self) -> bool {
        self.alarm.as_ref().is_some_and(|alarm| alarm.time <= Instant::now())
    }

    async fn decide(&mut self, events: Vec<Event>) -> Option<TurnBuilder> {
        if events.is_empty() && !self.is_due() {
            return None;
        }
        if events.iter().any(|event| matches!(event, Event::OutboxTouched)) {
            self.outbox_table = OutboxTableState::Unknown;
        }
        let posts = self.read_posts().await;
        self.resolve_names(&events, &posts).await;
        Some(self.chat.decide(events, posts, Timestamp::now()))
    }

    /// What could not be sent now is not tried again at once.
    fn defer_outbox_rows(&mut self) {
        if self.outbox_table == OutboxTableState::Unknown {
            self.outbox_table = OutboxTableState::Left;
        }
    }

    /// What stands in the table `outbox`, as far as a turn takes it.
    async fn read_posts(&mut self) -> Vec<ReadPost> {
        if self.outbox_table != OutboxTableState::Unknown {
            return Vec::new();
        }
        let posts = self.store.posts().await;
        self.reads.note(posts.as_ref().err());
        self.outbox_table = match &posts {
            Ok(found) if found.posts.is_empty() && found.is_settled => OutboxTableState::None,
            // What follows is read when these are dealt with; what is being written, a while later.
            Ok(found) if !Post::is_a_turns_worth(&found.posts) => OutboxTableState::Left,
            Ok(_) => OutboxTableState::Unknown,
            Err(_) => OutboxTableState::Left,
        };
        let posts = posts.map_or_else(|_| Vec::new(), |found| found.posts);
        posts.into_iter().map(|post| post::read(post, &self.limits)).collect()
    }

    /// Has the store begin a turn, if it asks the store for anything. Cursors wait for a while, and are kept all at once: a commit for
    /// each message's would take as long as the message's own but for the sync, and the next message would wait for it.
    fn begin(&mut self, mut turn: TurnBuilder) -> (Turn, Option<Commit>) {
        if self.is_time_to_keep() || turn.commits_cursors() {
            self.alarm = None;
            self.chat.keep_all_changed(&mut turn);
        } else if turn.has_entries() || self.chat.owes_observers(&turn) {
            self.chat.keep_changed(&mut turn);
        }
        if self.alarm.is_none() && self.chat.has_changed() {
            self.alarm = Alarm::after(self.keep_within);
        }
        let (turn, request) = turn.finish();
        let commit = (!request.is_empty()).then(|| self.store.begin(request));
        (turn, commit)
    }

    /// What happened while turns were delivered is kept soon, though nothing else may come.
    fn arm_flush_timer(&mut self) {
        if self.chat.is_late() && self.alarm.is_none() {
            self.alarm = Alarm::after(self.keep_within);
        }
    }

    async fn outcome_if_known(&mut self, committing: &mut Option<(Turn, Commit)>) -> Option<(Turn, TurnOutcome)> {
        match committing.take_if(|(_, commit)| commit.is_done()) {
            Some(done) => Some(self.outcome(done).await),
            None => None,
        }
    }

    async fn outcome(&mut self, (mut turn, commit): (Turn, Commit)) -> (Turn, TurnOutcome) {
        let outcome = commit.outcome().await;
        if !outcome.entries.is_empty() {
            self.commits.note(outcome.commit.as_ref().err());
        }
        if let Some(reads) = &outcome.reads {
            self.reads.note(reads.as_ref().err());
        }
        if outcome.commit.is_ok() {
            self.chat.keep_membership_changes(&mut turn, &outcome);
        } else {
            self.defer_outbox_rows();
            self.chat.undo(&mut turn, &outcome.entries);
        }
        (turn, outcome)
    }

    fn deliver(&mut self, committed: Option<(Turn, TurnOutcome)>) {
        if let Some((turn, outcome)) = committed {
            self.chat.deliver(turn, outcome);
        }
    }

    /// Looks up who and what is named in these events and not known here. A turn in which everyone is known asks nothing.
    async fn resolve_names(&mut self, events: &[Event], posts: &[ReadPost]) {
        let lookup = self.chat.lookup(events, posts);
        if lookup.is_empty() {
            return;
        }
        let found = self.store.lookup(lookup.clone()).await;
        self.lookups.note(found.as_ref().err());
        match found {
            Ok(found) => self.chat.meet(lookup, found),
            Err(_) => self.defer_outbox_rows(),
        }
    }
}

impl Alarm {
    /// `None`: so late is never.
    fn after(duration: Duration) -> Option<Self> {
        let time = Instant::now().checked_add(duration)?;
        Some(Alarm { time, timer: Timer::at(time) })
    }
}

impl Event {
    /// How much of a turn it takes.
    fn requests(&self) -> usize {
        match self {
            Event::Requests { requests, .. } => requests.len(),
            _ => 0,
        }
    }

    /// Whose it is, if it is a connection's.
    fn session(&self) -> Option<SessionId> {
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
