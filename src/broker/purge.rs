//! Removal of peers and rooms as the operator wants. Owns when the next step is taken; never which rows it removes.
//!
//! A step is a turn of its own, taken while no other is in flight and everything that was committed is delivered.

use std::time::Duration;

use smol::future;

use super::chat::Chat;
use super::flush_timer::FlushTimer;
use crate::database::words::counted;
use crate::limits::{PURGE_PAUSE_MS, READ_RETRY_MS};
use crate::message::{Destination, Recipient, Timestamp};
use crate::outage_log::OutageLog;
use crate::store::{Entry, LookedUp, Lookup, PurgeRequest, Store, TurnOutcome, TurnRequest};

/// Requests of the operator.
#[derive(Debug)]
pub(super) struct PurgeSchedule {
    /// Request that is carried out, and the time of its next step.
    pending: Option<(PurgeRequest, FlushTimer)>,
    /// Whether steps can be committed.
    commits: OutageLog,
}

/// Result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PurgeProgress {
    /// There is another step.
    Begun(Recipient),
    /// There is nothing left to do.
    Done,
    /// The step has failed, and is repeated after a while.
    Failed,
}

impl Default for PurgeSchedule {
    fn default() -> Self {
        let commits = OutageLog::new("cannot remove what the operator wants; trying again", "can remove again");
        PurgeSchedule { pending: None, commits }
    }
}

impl PurgeSchedule {
    /// Notes a request that the store has found.
    pub(super) fn note(&mut self, request: Option<PurgeRequest>) {
        if let Some(request) = request
            && self.pending.is_none()
        {
            self.schedule(request, Duration::ZERO);
        }
    }

    /// Whether a step must be taken now.
    pub(super) fn is_due(&self) -> bool {
        self.pending.as_ref().is_some_and(|(_, due)| due.is_over())
    }

    /// Waits until a step must be taken.
    pub(super) async fn wait(&mut self) {
        match &mut self.pending {
            Some((_, due)) => drop((&mut due.timer).await),
            None => future::pending().await,
        }
    }

    fn schedule(&mut self, request: PurgeRequest, after: Duration) {
        self.pending = FlushTimer::after(after).map(|due| (request, due));
    }

    /// Takes the next step. No turn may be in flight.
    pub(super) async fn continue_next(
        &mut self,
        chat: &mut Chat,
        store: &Store,
        lookups: &mut OutageLog,
    ) -> PurgeProgress {
        let Some((mut request, _)) = self.pending.take() else { return PurgeProgress::Done };
        let progress = match request.target {
            None => self.begin(&request, chat, store, lookups).await,
            Some(target) => self.take_step(&request, target, chat, store).await,
        };
        match progress {
            PurgeProgress::Begun(target) => {
                request.target = Some(target);
                self.schedule(request, Duration::from_millis(PURGE_PAUSE_MS));
            }
            PurgeProgress::Done => {}
            PurgeProgress::Failed => self.schedule(request, Duration::from_millis(READ_RETRY_MS)),
        }
        progress
    }

    async fn begin(
        &mut self,
        request: &PurgeRequest,
        chat: &mut Chat,
        store: &Store,
        lookups: &mut OutageLog,
    ) -> PurgeProgress {
        let PurgeRequest { id, name, .. } = request;
        let found = find(&Destination::stored(name), chat, store).await;
        lookups.note(found.as_ref().err());
        let Ok(found) = found else { return PurgeProgress::Failed };
        let target = match found {
            None => return self.refuse(*id, format!("there is no {name}"), store).await,
            Some(target) if chat.is_running_plugin(target) => {
                let reason = format!("{name} is a plugin that runs; remove it from plugins.toml first");
                return self.refuse(*id, reason, store).await;
            }
            Some(target) => target,
        };
        let begin = Entry::BeginPurge { request: *id, name: name.clone(), target };
        if self.commit(begin, store).await.is_none() {
            return PurgeProgress::Failed;
        }
        log::info!("removing {name}, as the operator wants");
        chat.forget(target, Timestamp::now());
        PurgeProgress::Begun(target)
    }

    async fn refuse(&mut self, request: i64, reason: String, store: &Store) -> PurgeProgress {
        let refuse = Entry::RefusePurge { request, reason };
        self.commit(refuse, store).await.map_or(PurgeProgress::Failed, |_| PurgeProgress::Done)
    }

    async fn take_step(
        &mut self,
        request: &PurgeRequest,
        target: Recipient,
        chat: &mut Chat,
        store: &Store,
    ) -> PurgeProgress {
        let Some(outcome) = self.commit(Entry::ContinuePurge, store).await else { return PurgeProgress::Failed };
        let step = outcome.purged.expect("a step that was committed has a result");
        chat.note_purged(&step);
        if !step.is_done {
            return PurgeProgress::Begun(target);
        }
        log::info!("removed {} and {}", request.name, counted(step.messages, "message"));
        PurgeProgress::Done
    }

    /// Commits a turn with this entry alone. `None` if that fails.
    async fn commit(&mut self, entry: Entry, store: &Store) -> Option<TurnOutcome> {
        let request = TurnRequest { entries: vec![entry], reads: Vec::new() };
        let outcome = store.begin(request).outcome().await;
        self.commits.note(outcome.commit.as_ref().err());
        outcome.commit.is_ok().then_some(outcome)
    }
}

/// Returns the id of a peer or a room; `None` if it is not stored.
async fn find(name: &Destination, chat: &Chat, store: &Store) -> Result<Option<Recipient>, String> {
    match chat.stored_id(name) {
        Some(known) => Ok(Some(known)),
        None => store.lookup(Lookup::purged(name)).await.map(LookedUp::purged),
    }
}
