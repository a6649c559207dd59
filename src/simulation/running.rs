//! The broker as the scheduler sees it: it runs until it waits for something. Owns its loop and its inbox; never what is told.

use std::pin::Pin;
use std::sync::mpsc::Receiver;
use std::task::{Context, Poll, Waker};

use super::differential::CheckedStore;
use super::swarm::Swarm;
use crate::broker::{EndReason, Event, Handle, open};
use crate::config::Limits;
use crate::message::Seq;
use crate::store::{Store, StoreRequest};

/// A broker that runs until it waits for something.
pub(super) struct Running {
    run: Pin<Box<dyn Future<Output = Store>>>,
    /// `None` once it is let go.
    pub(super) handle: Option<Handle>,
    requests: Receiver<StoreRequest>,
    /// What it has asked the store.
    pub(super) asked: Option<StoreRequest>,
    /// The store has answered since it last ran.
    pub(super) is_answered: bool,
}

/// What the broker was told, as far as others must know it.
pub(super) enum Told {
    Join,
    Requests,
    Taken(usize, Option<Seq>),
    End(EndReason),
    Leave,
}

impl Running {
    pub(super) fn new(store: &CheckedStore, swarm: &Swarm) -> Self {
        let (store, requests) = Store::answered_elsewhere(store.disk.found());
        let Swarm { mailbox_max, unknown_names_max, rooms_max, flush_within, .. } = *swarm;
        let limits = Limits { mailbox_max, unknown_names_max, rooms_max, ..Limits::default() };
        let (handle, mut broker) = open(store, &limits);
        broker.flush_within = flush_within;
        Running { run: Box::pin(broker.run()), handle: Some(handle), requests, asked: None, is_answered: false }
    }

    pub(super) fn inbox(&self) -> &async_channel::Sender<Event> {
        &self.handle.as_ref().expect("the broker was not let go").inbox
    }

    pub(super) fn can_run(&self) -> bool {
        self.is_answered || self.asked.is_none() && !self.inbox().is_empty()
    }

    /// Says whether it has ended.
    pub(super) fn run(&mut self) -> Option<Store> {
        self.is_answered = false;
        let waker = Context::from_waker(Waker::noop());
        let mut context = waker;
        if let Poll::Ready(store) = self.run.as_mut().poll(&mut context) {
            return Some(store);
        }
        self.asked = self.requests.try_recv().ok();
        None
    }
}

impl Told {
    pub(super) fn of(event: &Event) -> Self {
        match event {
            Event::Join { .. } => Told::Join,
            Event::Requests { .. } => Told::Requests,
            Event::DeliveryReport { bytes, delivered, .. } => {
                Told::Taken(*bytes, delivered.map(|delivered| delivered.seq))
            }
            Event::End { reason, .. } => Told::End(*reason),
            Event::Leave { .. } => Told::Leave,
            _ => unreachable!("it is no client that says so"),
        }
    }
}
