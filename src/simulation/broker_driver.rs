//! Driver of the broker: runs it until it waits. Owns its loop and its inbox; never decides which events it gets.

use std::pin::Pin;
use std::sync::mpsc::Receiver;
use std::task::{Context, Poll, Waker};

use super::checked_store::CheckedStore;
use super::swarm::Swarm;
use crate::broker::{EndReason, Event, Handle, open};
use crate::config::Limits;
use crate::message::Seq;
use crate::store::{Headroom, SeqRange, Store, StoreRequest};

/// Broker that is run by hand.
pub(super) struct BrokerDriver {
    run: Pin<Box<dyn Future<Output = Store>>>,
    /// `None` once the broker is to end.
    pub(super) handle: Option<Handle>,
    requests: Receiver<StoreRequest>,
    removals: async_channel::Sender<Vec<SeqRange>>,
    /// Bytes that messages may take before the database is full of messages that wait.
    pub(super) headroom: Headroom,
    /// Request that waits for the store.
    pub(super) request: Option<StoreRequest>,
    /// Whether the store has answered since the broker last ran.
    pub(super) is_answered: bool,
}

/// Kind of an event, with the data that the models need once the broker has received it.
pub(super) enum EventSummary {
    Join,
    Requests,
    DeliveryReport(usize, Option<Seq>),
    End(EndReason),
    Leave,
}

impl BrokerDriver {
    pub(super) fn new(store: &CheckedStore, swarm: &Swarm) -> Self {
        let (store, requests, removals) = Store::without_thread(store.disk.found());
        let headroom = store.headroom.clone();
        let Swarm { mailbox_max, unknown_names_max, rooms_max, flush_within, .. } = *swarm;
        let limits = Limits { mailbox_max, unknown_names_max, rooms_max, ..Limits::default() };
        let (handle, mut broker) = open(store, &limits);
        broker.flush_within = flush_within;
        let run = Box::pin(broker.run());
        BrokerDriver { run, handle: Some(handle), requests, removals, headroom, request: None, is_answered: false }
    }

    pub(super) fn inbox(&self) -> &async_channel::Sender<Event> {
        &self.handle.as_ref().expect("the broker still has a handle").inbox
    }

    /// Proposes to remove messages. Returns whether nothing else is proposed.
    pub(super) fn propose_removal(&self, range: SeqRange) -> bool {
        self.removals.try_send(vec![range]).is_ok()
    }

    pub(super) fn can_run(&self) -> bool {
        let is_woken = !self.inbox().is_empty() || !self.removals.is_empty();
        self.is_answered || self.request.is_none() && is_woken
    }

    /// Runs until the broker waits. Returns its store if it has ended.
    pub(super) fn run(&mut self) -> Option<Store> {
        self.is_answered = false;
        let waker = Context::from_waker(Waker::noop());
        let mut context = waker;
        if let Poll::Ready(store) = self.run.as_mut().poll(&mut context) {
            return Some(store);
        }
        self.request = self.requests.try_recv().ok();
        None
    }
}

impl EventSummary {
    pub(super) fn of(event: &Event) -> Self {
        match event {
            Event::Join { .. } => EventSummary::Join,
            Event::Requests { .. } | Event::AnswerRepeats { .. } => EventSummary::Requests,
            Event::DeliveryReport { bytes, delivered, .. } => {
                EventSummary::DeliveryReport(*bytes, delivered.map(|delivered| delivered.seq))
            }
            Event::End { reason, .. } => EventSummary::End(*reason),
            Event::Leave { .. } => EventSummary::Leave,
            _ => unreachable!("clients send no other events"),
        }
    }
}
