//! First half of a turn: each event changes the state in memory, and adds entries and reads for the store. Owns the dispatch of events;
//! never handles an outcome.

use super::commands;
use super::completion::{Completion, Requester};
use super::state::Chat;
use super::turn::TurnBuilder;
use crate::broker::event::Event;
use crate::broker::post::ReadPost;
use crate::broker::postponed::Postponed;
use crate::limits::{FEW_RECEIVERS_MAX, TURN_DELIVERIES_MAX};
use crate::message::{SessionId, Timestamp};
use crate::protocol::{Reply, Submission};

impl Chat {
    /// Decides a turn of events and rows of the table `outbox`. The names and ids that they need must have been looked up. Returns the events
    /// that wait for the next turn, because their messages have too many receivers, too.
    pub(in crate::broker) fn decide(
        &mut self,
        events: Vec<Event>,
        posts: Vec<ReadPost>,
        now: Timestamp,
    ) -> (TurnBuilder, Postponed) {
        let mut turn = TurnBuilder::new(now);
        self.loudness.begin_turn();
        self.retry_failed_reads();
        let postponed = self.decide_events(events, &mut turn);
        self.send_posts(posts, &mut turn);
        self.known_ids.clear();
        self.absent_rooms.clear();
        self.refused_names.clear();
        self.read_pages(&mut turn);
        self.read_for_observers(&mut turn);
        self.continue_scans(&mut turn);
        (turn, postponed)
    }

    /// Decides events. The deliveries of a turn are shared out evenly among the batches; a request with few receivers never waits for them.
    fn decide_events(&mut self, events: Vec<Event>, turn: &mut TurnBuilder) -> Postponed {
        let batches = events.iter().filter(|event| matches!(event, Event::Requests { .. })).count();
        let share = TURN_DELIVERIES_MAX / batches.max(1);
        let mut postponed = Postponed::default();
        for event in events {
            let Some(event) = postponed.unless_waiting(event) else { continue };
            let is_divisible = self.is_divisible(&event);
            let deliveries_max =
                if is_divisible { (turn.deliveries() + share).min(TURN_DELIVERIES_MAX) } else { usize::MAX };
            self.decide_event(event, deliveries_max, &mut postponed, turn);
        }
        postponed
    }

    fn decide_event(&mut self, event: Event, deliveries_max: usize, postponed: &mut Postponed, turn: &mut TurnBuilder) {
        match event {
            Event::Join { session, name, joining } => self.log_in(session, &name, *joining, turn),
            Event::FindAccount { name, reply } => drop(reply.send(self.find_account(&name))),
            Event::Requests { session, requests, permit } => {
                let count = requests.len();
                let rest = self.decide_requests(session, requests, deliveries_max, turn);
                if rest.is_empty() {
                    permit.into_iter().for_each(|permit| turn.hold_permit(session, permit));
                } else if rest.len() == count {
                    postponed.add(Event::Requests { session, requests: rest, permit });
                } else {
                    postponed.add_rest(Event::Requests { session, requests: rest, permit });
                }
            }
            Event::AnswerRepeats { session, requests, reply } => {
                // The connection may have been cut off meanwhile.
                let _ = reply.send(self.answer_repeats(session, requests));
            }
            Event::DeliveryReport { session, bytes, delivered } => self.take_delivery_report(session, bytes, delivered),
            Event::End { session, reason } => turn.complete(Completion::End { session, reason }),
            Event::Leave { session } => self.log_out(session, turn),
            Event::FindNameUses { names, reply } => {
                if let Some(uses) = names.iter().map(|name| self.name_use(name)).collect() {
                    // A server that stops does not wait for it.
                    let _ = reply.send(uses);
                }
            }
            Event::OutboxTouched => {}
            Event::Observe { observer, wants, reply } => self.observe(&observer, wants, reply, turn),
            Event::ObserverAdvanced { observer, seen } => self.advance_observer(&observer, seen),
            Event::Observers { only } => self.retain_observers(only, turn),
        }
    }

    /// Replaces messages that were accepted before by their replies.
    fn answer_repeats(&self, session: SessionId, mut requests: Vec<Submission>) -> Vec<Submission> {
        if let Some(session) = self.sessions.get(&session) {
            requests.iter_mut().for_each(|submission| commands::send::answer_repeat(submission, session.peer, self));
        }
        requests
    }

    /// Decides requests until the turn has this many deliveries. Returns the others.
    fn decide_requests(
        &mut self,
        session: SessionId,
        requests: Vec<Submission>,
        deliveries_max: usize,
        turn: &mut TurnBuilder,
    ) -> Vec<Submission> {
        // A session whose login was refused is not open.
        let Some(peer) = self.sessions.get(&session).map(|session| session.peer) else { return Vec::new() };
        let mut requests = requests.into_iter();
        while let Some(next) = requests.as_slice().first() {
            if turn.deliveries() >= deliveries_max && commands::receivers(next, peer, self) > FEW_RECEIVERS_MAX {
                return requests.collect();
            }
            let Some(Submission { id, work }) = requests.next() else { break };
            let requester = Requester { session, id, peer };
            if let Err(refusal) = commands::decide(work, &requester, self, turn) {
                turn.reply(requester, Reply::Refused(refusal));
            }
        }
        Vec::new()
    }
}
