//! The broker: the one task that owns all peers, sessions and rooms. It takes events from its inbox, decides a turn, has the store commit
//! it, and delivers it. Owns the inbox and the order of these steps; never touches a socket or SQL, and waits only for the store.

mod budget;
mod chat;
mod event;
mod flush_timer;
mod outbox;
mod post;
mod postponed;
mod purge;
mod running_time;
#[cfg(test)]
mod tests;
mod turn_queue;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use smol::{Timer, future};

pub(crate) use self::chat::taken;
use self::chat::{Chat, Turn, TurnBuilder};
pub(crate) use self::event::{Access, EndReason, Event, FoundAccount, Joining, NameUse, Observation, SessionOutput};
use self::flush_timer::FlushTimer;
pub(crate) use self::outbox::{Chunk, Delivered, Mark, OutboxReceiver, SessionValue, ValueBatch, outbox};
use self::post::ReadPost;
use self::postponed::Postponed;
use self::purge::{PurgeProgress, PurgeSchedule};
use self::running_time::RunningTime;
use self::turn_queue::TurnQueue;
use crate::config::Limits;
use crate::limits::{
    CURSOR_FLUSH_MS_MAX, INBOX_EVENTS_MAX, PRESENCE_MS, READ_RETRY_MS, TURN_REQUESTS_MAX, WEIGHT_REPLY_BYTES,
};
use crate::message::{PeerName, SessionId, Timestamp};
use crate::outage_log::OutageLog;
use crate::protocol::{Refusal, Submission};
use crate::store::{Commit, Entry, Lookup, Post, SeqRange, Store, TurnOutcome};

/// Makes a broker, and the handle with which connections send it events.
pub(crate) fn open(mut store: Store, limits: &Limits) -> (Handle, Broker) {
    let (sender, inbox) = async_channel::bounded(INBOX_EVENTS_MAX);
    let running_time = RunningTime::new(store.found.ran_s);
    let chat = Chat::new(limits, &mut store);
    let outbox_bytes_max = chat.published_outbox_bytes_max();
    let broker = Broker {
        inbox,
        pending: TurnQueue::default(),
        flush_within: Duration::from_millis(CURSOR_FLUSH_MS_MAX),
        flush_timer: None,
        presence_timer: None,
        outbox_table: OutboxTableState::Unknown,
        removal: None,
        running_time,
        purges: PurgeSchedule::default(),
        limits: *limits,
        chat,
        store,
        commits: OutageLog::new("cannot commit; rejecting sends", "can commit again; accepting sends"),
        reads: OutageLog::new("cannot read the log; replay is paused", "can read the log again; replay continues"),
        lookups: OutageLog::new("cannot look up names; rejecting requests that name them", "can look up names again"),
    };
    (Handle { inbox: sender, outbox_bytes_max }, broker)
}

/// Sending end of the inbox. The broker ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) inbox: Sender<Event>,
    /// Bytes that one outbox may hold at the moment.
    outbox_bytes_max: Arc<AtomicUsize>,
}

impl Handle {
    /// Returns the number of replies that one batch may cause: they fit about into an outbox.
    pub(crate) fn batch_replies_max(&self) -> usize {
        self.outbox_bytes_max.load(Ordering::Relaxed) / WEIGHT_REPLY_BYTES
    }

    /// Replaces requests that send a message again by their replies.
    pub(crate) async fn answer_repeats(&self, session: SessionId, requests: Vec<Submission>) -> Vec<Submission> {
        let (reply, answered) = oneshot::async_channel();
        self.send(Event::AnswerRepeats { session, requests, reply }).await;
        answered.await.expect("the broker handles all events before it ends")
    }

    /// Returns who has used each of these names. `None`: one could not be looked up.
    pub(crate) async fn name_uses(&self, names: Vec<PeerName>) -> Option<Vec<NameUse>> {
        let (reply, uses) = oneshot::async_channel();
        self.send(Event::FindNameUses { names, reply }).await;
        uses.await.ok()
    }

    /// Returns the account of a name. Fails if it cannot be looked up now.
    pub(crate) async fn find_account(&self, name: &PeerName) -> Result<FoundAccount, Refusal> {
        let (reply, found) = oneshot::channel();
        self.send(Event::FindAccount { name: name.clone(), reply }).await;
        found.await.expect("the broker answers every event")
    }

    /// Sends an event to the broker. Waits while the inbox is full.
    pub(crate) async fn send(&self, event: Event) {
        self.inbox.send(event).await.expect("the broker outlives its handles");
    }
}

/// The broker, not yet running.
#[derive(Debug)]
pub(crate) struct Broker {
    inbox: Receiver<Event>,
    /// Events that were taken out of the inbox and wait for a turn.
    pending: TurnQueue,
    /// Longest time until a cursor that moved is stored. The simulation changes it.
    pub(crate) flush_within: Duration,
    /// Timer for changes that are not stored yet. After a failed commit it is not set again until an event comes.
    flush_timer: Option<FlushTimer>,
    /// Timer for announcements of presence that are held back.
    presence_timer: Option<FlushTimer>,
    /// Knowledge about the rows of the table `outbox`.
    outbox_table: OutboxTableState,
    /// Old messages that the store proposed to remove.
    removal: Option<Vec<SeqRange>>,
    running_time: RunningTime,
    /// Peers and rooms that the operator wants removed.
    purges: PurgeSchedule,
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

/// Knowledge about the rows of the table `outbox`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutboxTableState {
    /// There may be rows.
    Unknown,
    /// There are rows that could not be processed yet: they are read again after a while.
    Deferred,
    /// There are no rows until another process writes some.
    Empty,
}

/// Reason why the idle broker wakes.
#[derive(Debug)]
enum Wakeup {
    /// An event came; `None`: no handle is left.
    Event(Option<Event>),
    /// The store proposed a removal.
    Removal(Vec<SeqRange>),
    /// Changes must be stored, or failed reads retried.
    Time,
    /// An announcement of presence was held back for long enough.
    Presence,
    /// The next step of a purge is due.
    Purge,
}

impl Broker {
    /// Runs until every handle is dropped and every event is processed. Returns the store, to be closed.
    ///
    /// While a turn commits, the turn before it is delivered and, as soon as there are enough events, the next one is decided. So under load
    /// the store is never idle.
    pub(crate) async fn run(mut self) -> Store {
        let mut committing = None;
        while let Some(events) = self.take_turn(committing.as_mut()).await {
            // If the turn has failed already, it is undone before the next one is decided.
            let mut committed = self.outcome_if_known(&mut committing).await;
            if committing.is_none() && self.needs_quiet() {
                self.deliver(committed.take());
                self.use_quiet().await;
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
            self.arm_timers();
        }
        self.flush_on_shutdown().await;
        self.store
    }

    /// Whether something must be done while no turn is in flight.
    fn needs_quiet(&self) -> bool {
        self.chat.has_too_many_peers() || self.purges.is_due()
    }

    /// Does what requires that no turn is in flight, and that everything that was committed is delivered.
    async fn use_quiet(&mut self) {
        if self.chat.has_too_many_peers() {
            self.chat.evict_offline_peers();
        }
        if self.purges.is_due() {
            let Broker { purges, chat, store, lookups, .. } = self;
            if purges.continue_next(chat, store, lookups).await == PurgeProgress::Done {
                // There may be another request.
                self.outbox_table = OutboxTableState::Unknown;
            }
        }
    }

    /// Stores every change that is not stored yet, including those whose commit failed because the disk was full.
    async fn flush_on_shutdown(&mut self) {
        let now = Timestamp::now();
        self.chat.record_shutdown_leaves(now);
        let ran = self.running_time.last();
        if self.chat.is_dirty() || ran.is_some() {
            let mut turn = TurnBuilder::new(now);
            turn.note_running_time(ran);
            self.chat.write_all_dirty(&mut turn);
            let (turn, request) = turn.finish();
            let commit = self.store.begin(request);
            self.outcome((turn, commit)).await;
        }
    }

    /// Returns the events of the next turn, once they fill it, or once the store is idle and there is something to do. `None`: no handle is
    /// left, and there is nothing to do.
    async fn take_turn(&mut self, mut committing: Option<&mut (Turn, Commit)>) -> Option<Vec<Event>> {
        let mut taken = Vec::new();
        loop {
            // A removal gets a turn of its own, also while there are always events: its failure must not fail messages.
            if taken.is_empty() && self.has_removal() && !self.chat.has_too_many_peers() {
                return Some(taken);
            }
            self.drain_inbox(&mut taken);
            let is_idle = taken.is_empty() && self.pending.is_empty() && !self.is_due();
            match &mut committing {
                Some((turn, _)) if self.is_turn_full() && !turn.is_awaited() && !self.needs_quiet() => break,
                Some((_, commit)) if !commit.is_done() => self.wait_for_commit(commit, &mut taken).await,
                None if is_idle => self.wait_for_event(&mut taken).await?,
                // No turn is in flight whose outcome is not known: the rooms are as empty as they seem.
                _ if taken.is_empty() && self.chat.has_emptied_rooms() => return Some(taken),
                _ => break,
            }
        }
        self.pending.take(TURN_REQUESTS_MAX, &mut taken);
        Some(taken)
    }

    fn is_turn_full(&self) -> bool {
        self.pending.weight() >= TURN_REQUESTS_MAX || self.pending.len() >= INBOX_EVENTS_MAX
    }

    fn drain_inbox(&mut self, taken: &mut Vec<Event>) {
        while self.pending.len() < INBOX_EVENTS_MAX
            && let Ok(event) = self.inbox.try_recv()
        {
            self.sort(event, taken);
        }
    }

    /// Puts an event into the turn or into the queue. Delivery reports do not take part in the order of the chat. They go first: if they
    /// waited behind the requests of many senders, the broker would think that the readers do not read.
    fn sort(&mut self, event: Event, taken: &mut Vec<Event>) {
        if matches!(event, Event::DeliveryReport { .. }) { taken.push(event) } else { self.pending.push(event) }
    }

    /// Waits until the store has committed, or for an event if there is room for one.
    async fn wait_for_commit(&mut self, commit: &mut Commit, taken: &mut Vec<Event>) {
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

    /// Waits for an event: until the flush timer fires if there is something to store, or for a limited time if a read failed. `None`: no
    /// handle is left.
    async fn wait_for_event(&mut self, taken: &mut Vec<Event>) -> Option<()> {
        let event = async { Wakeup::Event(self.inbox.recv().await.ok()) };
        let removal = async { Wakeup::Removal(self.store.removal().await) };
        let time_is_up = async {
            match &mut self.flush_timer {
                Some(flush) => (&mut flush.timer).await,
                None if self.chat.has_failed_reads() || self.outbox_table == OutboxTableState::Deferred => {
                    Timer::after(Duration::from_millis(READ_RETRY_MS)).await
                }
                None => future::pending().await,
            };
            Wakeup::Time
        };
        let presence = async {
            match &mut self.presence_timer {
                Some(presence) => (&mut presence.timer).await,
                None => future::pending().await,
            };
            Wakeup::Presence
        };
        let purge = async {
            self.purges.wait().await;
            Wakeup::Purge
        };
        let time = future::or(time_is_up, future::or(presence, purge));
        match future::or(event, future::or(removal, time)).await {
            Wakeup::Event(event) => self.sort(event?, taken),
            Wakeup::Removal(ranges) => self.removal = Some(ranges),
            Wakeup::Time => self.retry(),
            Wakeup::Presence | Wakeup::Purge => {}
        }
        Some(())
    }

    /// Repeats what failed and is not repeated by an event.
    fn retry(&mut self) {
        self.chat.retry_failed_reads();
        if self.outbox_table == OutboxTableState::Deferred {
            self.outbox_table = OutboxTableState::Unknown;
        }
    }

    /// Whether there is work for a turn without an event.
    fn is_due(&self) -> bool {
        self.chat.has_pending_reads()
            || self.outbox_table == OutboxTableState::Unknown
            || self.is_time_to_flush()
            || self.is_time_for_presence()
            || self.has_removal()
            || self.purges.is_due()
            || self.chat.has_emptied_rooms()
    }

    fn is_time_for_presence(&self) -> bool {
        self.presence_timer.as_ref().is_some_and(FlushTimer::is_over)
    }

    fn has_removal(&self) -> bool {
        self.removal.is_some() || self.store.proposes_removal()
    }

    fn is_time_to_flush(&self) -> bool {
        self.flush_timer.as_ref().is_some_and(FlushTimer::is_over)
    }

    async fn decide(&mut self, events: Vec<Event>) -> Option<TurnBuilder> {
        if events.is_empty() && !self.is_due() {
            return None;
        }
        if events.is_empty() && self.has_removal() {
            let ranges = match self.removal.take() {
                Some(ranges) => ranges,
                None => self.store.removal().await,
            };
            return Some(TurnBuilder::removal(ranges, Timestamp::now()));
        }
        if events.is_empty() && self.chat.has_emptied_rooms() {
            return self.remove_unused_rooms().await;
        }
        if events.iter().any(|event| matches!(event, Event::OutboxTouched)) {
            self.outbox_table = OutboxTableState::Unknown;
        }
        if self.is_time_for_presence() {
            self.presence_timer = None;
        }
        let (events, posts) = self.resolve_names(events).await;
        let (turn, postponed) = self.chat.decide(events, posts, Timestamp::now());
        self.postpone(postponed);
        Some(turn)
    }

    /// Decides a turn that removes rooms whose last member has left, if they have no messages. If that cannot be looked up, they stay until
    /// the next start.
    async fn remove_unused_rooms(&mut self) -> Option<TurnBuilder> {
        let lookup = Lookup { unused_rooms: self.chat.take_emptied_rooms(), ..Lookup::default() };
        if lookup.is_empty() {
            return None;
        }
        let found = self.store.lookup(lookup).await;
        self.lookups.note(found.as_ref().err());
        let unused = found.map_or_else(|_| Vec::new(), |found| found.unused_rooms);
        (!unused.is_empty()).then(|| TurnBuilder::room_removal(unused, Timestamp::now()))
    }

    /// Schedules another read of the rows of the table `outbox` that could not be processed, after a while.
    fn defer_outbox_rows(&mut self) {
        if self.outbox_table == OutboxTableState::Unknown {
            self.outbox_table = OutboxTableState::Deferred;
        }
    }

    /// Reads as many rows of the table `outbox` as a turn takes.
    async fn read_posts(&mut self) -> Vec<ReadPost> {
        if self.outbox_table != OutboxTableState::Unknown {
            return Vec::new();
        }
        let posts = self.store.posts().await;
        self.reads.note(posts.as_ref().err());
        self.outbox_table = match &posts {
            Ok(found) if found.posts.is_empty() && found.is_settled => OutboxTableState::Empty,
            // If another process is writing, the rows are read again after a while; the rows behind a full turn, with the next turn.
            Ok(found) if !Post::fill_a_turn(&found.posts) => OutboxTableState::Deferred,
            Ok(_) => OutboxTableState::Unknown,
            Err(_) => OutboxTableState::Deferred,
        };
        let (posts, purge) = posts.map_or_else(|_| (Vec::new(), None), |found| (found.posts, found.purge));
        self.purges.note(purge);
        posts.into_iter().map(|post| post::read(post, &self.limits)).collect()
    }

    /// Submits a turn to the store, if it has entries or reads. Cursors wait for a while, and are stored all at once: the commit of a single
    /// cursor would take as long as that of a message, except for the sync, and the next message would wait for it.
    fn begin(&mut self, mut turn: TurnBuilder) -> (Turn, Option<Commit>) {
        if turn.is_removal() {
            // What changed goes with the next turn.
        } else if self.is_time_to_flush() || turn.commits_cursors() {
            self.flush_timer = None;
            self.chat.write_all_dirty(&mut turn);
        } else if turn.has_entries() || self.chat.must_store_for_observers(&turn) {
            self.chat.write_dirty_peers(&mut turn);
        }
        if self.flush_timer.is_none() && self.chat.is_dirty() {
            self.flush_timer = FlushTimer::after(self.flush_within);
        }
        if turn.has_entries() && !turn.is_removal() {
            turn.note_running_time(self.running_time.due());
        }
        let (turn, request) = turn.finish();
        let commit = (!request.is_empty()).then(|| self.store.begin(request));
        (turn, commit)
    }

    /// Sets the timers for what happened while a turn was delivered: no other event may come.
    fn arm_timers(&mut self) {
        if self.presence_timer.is_none() && self.chat.holds_presence() {
            self.presence_timer = FlushTimer::after(Duration::from_millis(PRESENCE_MS));
        }
        if self.chat.take_needs_flush() && self.flush_timer.is_none() {
            self.flush_timer = FlushTimer::after(self.flush_within);
        }
    }

    async fn outcome_if_known(&mut self, committing: &mut Option<(Turn, Commit)>) -> Option<(Turn, TurnOutcome)> {
        match committing.take_if(|(_, commit)| commit.is_done()) {
            Some(done) => Some(self.outcome(done).await),
            None => None,
        }
    }

    /// Waits for the outcome of a turn, and applies its room changes. If the commit failed, undoes the turn.
    async fn outcome(&mut self, (mut turn, commit): (Turn, Commit)) -> (Turn, TurnOutcome) {
        let outcome = commit.outcome().await;
        // The store itself reports a removal that fails.
        if !outcome.entries.iter().all(|entry| matches!(entry, Entry::Remove { .. })) {
            self.commits.note(outcome.commit.as_ref().err());
        }
        if let Some(reads) = &outcome.reads {
            self.reads.note(reads.as_ref().err());
        }
        if outcome.commit.is_ok() {
            self.chat.apply_room_changes(&mut turn, &outcome);
        } else {
            self.defer_outbox_rows();
            self.running_time.undo(&outcome.entries);
            self.chat.undo(&mut turn, &outcome.entries);
        }
        (turn, outcome)
    }

    fn deliver(&mut self, committed: Option<(Turn, TurnOutcome)>) {
        if let Some((turn, outcome)) = committed {
            self.chat.deliver(turn, outcome);
        }
    }

    /// Reads rows of the table `outbox`, and looks up the names and ids in them and in these events that are not in memory. If all are,
    /// makes no request to the store. Returns the events and rows whose names are known then; the other events wait for the next turn, and the
    /// other rows are read again.
    async fn resolve_names(&mut self, mut events: Vec<Event>) -> (Vec<Event>, Vec<ReadPost>) {
        let mut posts = self.read_posts().await;
        let plan = self.chat.plan_lookup(&events, &posts);
        if plan.posts < posts.len() {
            posts.truncate(plan.posts);
            self.outbox_table = OutboxTableState::Unknown;
        }
        let mut unresolved = HashSet::new();
        if !plan.lookup.is_empty() {
            let found = self.store.lookup(plan.lookup.clone()).await;
            self.lookups.note(found.as_ref().err());
            match found {
                Ok(found) => unresolved = self.chat.add_looked_up(plan.lookup.clone(), found),
                Err(_) => self.defer_outbox_rows(),
            }
        }
        let postponed = self.chat.take_resolved(plan, &unresolved, &mut events);
        self.postpone(postponed);
        (events, posts)
    }

    fn postpone(&mut self, postponed: Postponed) {
        let (front, back) = postponed.into_parts();
        self.pending.put_back(front.into_iter());
        self.pending.put_behind(back);
    }
}
