//! First half of a turn: each event changes the state in memory, and adds entries and reads for the store. Owns the dispatch of events;
//! never handles an outcome.

use super::commands;
use super::completion::{Completion, Requester};
use super::lookup::LookupBuilder;
use super::state::Chat;
use super::turn::TurnBuilder;
use crate::broker::event::Event;
use crate::broker::post::ReadPost;
use crate::message::{SessionId, Timestamp};
use crate::protocol::{Reply, Submission};
use crate::store::Lookup;

impl Chat {
    /// Returns the names and ids that these events and rows of the table `outbox` need and that are not in memory, each once; and the number
    /// of events for which these are enough, because a turn looks up a limited number of names.
    pub(in crate::broker) fn lookup(&self, events: &[Event], posts: &[ReadPost]) -> (Lookup, usize) {
        let mut lookup = LookupBuilder::new(self);
        for post in posts {
            if let Ok(message) = &post.message {
                lookup.peer(&message.sender);
                lookup.destinations(&message.to);
            }
        }
        let mut count = 0;
        while count < events.len() && (count == 0 || lookup.has_room_for(&events[count])) {
            add_event(&events[count], &mut lookup);
            count += 1;
        }
        (lookup.finish(), count)
    }

    /// Decides a turn of events and rows of the table `outbox`. The names and ids that they need must have been looked up.
    pub(in crate::broker) fn decide(
        &mut self,
        events: Vec<Event>,
        posts: Vec<ReadPost>,
        now: Timestamp,
    ) -> TurnBuilder {
        let mut turn = TurnBuilder::new(now);
        self.loudness.begin_turn();
        self.retry_failed_reads();
        for event in events {
            self.decide_event(event, &mut turn);
        }
        self.send_posts(posts, &mut turn);
        self.known_ids.clear();
        self.absent_rooms.clear();
        self.refused_names.clear();
        self.read_pages(&mut turn);
        self.read_for_observers(&mut turn);
        self.continue_scans(&mut turn);
        turn
    }

    fn decide_event(&mut self, event: Event, turn: &mut TurnBuilder) {
        match event {
            Event::Join { session, name, joining } => self.log_in(session, &name, joining, turn),
            Event::Requests { session, requests, permit } => {
                self.decide_requests(session, requests, turn);
                turn.hold_permit(session, permit);
            }
            Event::AnswerRepeats { session, requests, reply } => {
                // The connection may have been cut off meanwhile.
                let _ = reply.send(self.answer_repeats(session, requests));
            }
            Event::DeliveryReport { session, bytes, delivered } => self.take_delivery_report(session, bytes, delivered),
            Event::End { session, reason } => turn.complete(Completion::End { session, reason }),
            Event::Leave { session } => self.log_out(session, turn),
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

    fn decide_requests(&mut self, session: SessionId, requests: Vec<Submission>, turn: &mut TurnBuilder) {
        // A session whose login was refused is not open.
        let Some(peer) = self.sessions.get(&session).map(|session| session.peer) else { return };
        for Submission { id, work } in requests {
            let requester = Requester { session, id, peer };
            if let Err(refusal) = commands::decide(work, &requester, self, turn) {
                turn.reply(requester, Reply::Refused(refusal));
            }
        }
    }
}

fn add_event<'a>(event: &'a Event, lookup: &mut LookupBuilder<'a>) {
    match event {
        Event::Join { session, name, .. } => lookup.login(*session, name),
        Event::Requests { session, requests, .. } | Event::AnswerRepeats { session, requests, .. } => {
            requests.iter().for_each(|submission| commands::lookup(submission, *session, lookup));
        }
        Event::Observe { observer, .. } => lookup.peer(observer),
        Event::DeliveryReport { .. } | Event::End { .. } | Event::Leave { .. } => {}
        Event::OutboxTouched | Event::ObserverAdvanced { .. } | Event::Observers { .. } => {}
    }
}
