//! Plan of the lookups for a turn: for which events names are looked up now, and which wait. Owns how a turn's lookups are shared out among
//! the sessions; never looks anything up.

use std::collections::HashSet;

use super::commands;
use super::lookup::LookupBuilder;
use super::session_outbox::SessionOutbox;
use super::state::Chat;
use crate::broker::event::Event;
use crate::broker::post::ReadPost;
use crate::broker::postponed::Postponed;
use crate::limits::TURN_LOOKUPS_MAX;
use crate::message::{PeerName, SessionId};
use crate::store::Lookup;

/// Lookup for a turn, and what it is made for.
#[derive(Debug)]
pub(in crate::broker) struct LookupPlan {
    pub(in crate::broker) lookup: Lookup,
    /// Number of rows of the table `outbox`, from the first on. The others are read again.
    pub(in crate::broker) posts: usize,
    /// Number of parts of each event, from the first on. The others wait for a later turn.
    parts: Vec<usize>,
}

impl Chat {
    /// Plans which names and ids that these events and rows need, and that are not in memory, are looked up for the next turn.
    pub(in crate::broker) fn plan_lookup(&self, events: &[Event], posts: &[ReadPost]) -> LookupPlan {
        let mut lookup = LookupBuilder::new(self);
        let posts = add_posts(posts, &mut lookup);
        for event in events {
            add_parts(event, 0, event.parts(), &mut lookup);
            if lookup.names() > TURN_LOOKUPS_MAX {
                return self.share_out(events, posts);
            }
        }
        LookupPlan { lookup: lookup.finish(), posts: posts.len(), parts: events.iter().map(Event::parts).collect() }
    }

    /// Shares out half of the lookups evenly among the events that need some: an event within its share does not wait, however many names
    /// others need. The other half is for the large ones, one after the other.
    fn share_out(&self, events: &[Event], posts: &[ReadPost]) -> LookupPlan {
        let mut lookup = LookupBuilder::new(self);
        add_posts(posts, &mut lookup);
        let batches = events.iter().filter(|event| matches!(event, Event::Requests { .. })).count();
        let share = (TURN_LOOKUPS_MAX / 2 / batches.max(1)).max(1);
        let mut parts = vec![0; events.len()];
        // Once an event of a session must wait, its later ones wait behind it.
        let mut waiting = HashSet::new();
        for (index, event) in events.iter().enumerate() {
            let session = event.session();
            let is_waiting = session.is_some_and(|session| waiting.contains(&session));
            if is_waiting || self.needs_more_than(share, event) {
                waiting.extend(session);
            } else {
                add_parts(event, 0, event.parts(), &mut lookup);
                parts[index] = event.parts();
            }
        }
        for (index, event) in events.iter().enumerate() {
            if parts[index] == 0 {
                parts[index] = self.add_large(event, &mut lookup);
                if parts[index] < event.parts() {
                    break;
                }
            }
        }
        LookupPlan { lookup: lookup.finish(), posts: posts.len(), parts }
    }

    /// Adds as many parts of an event as there is room for. Returns their number.
    fn add_large<'a>(&self, event: &'a Event, lookup: &mut LookupBuilder<'a>) -> usize {
        if !self.is_divisible(event) {
            if lookup.names() >= TURN_LOOKUPS_MAX {
                return 0;
            }
            add_parts(event, 0, event.parts(), lookup);
            lookup.require_all();
            return event.parts();
        }
        let mut parts = 0;
        while parts < event.parts() && lookup.names() < TURN_LOOKUPS_MAX {
            add_parts(event, parts, parts + 1, lookup);
            parts += 1;
        }
        parts
    }

    /// Whether parts of an event may be in turns of their own. What one call of a script does is in one turn.
    pub(super) fn is_divisible(&self, event: &Event) -> bool {
        let session = event.session().and_then(|session| self.sessions.get(&session));
        session.is_some_and(|session| matches!(session.outbox, SessionOutbox::Lines { .. }))
    }

    fn needs_more_than(&self, names: usize, event: &Event) -> bool {
        let mut lookup = LookupBuilder::counting(self, names + 1);
        add_parts(event, 0, event.parts(), &mut lookup);
        lookup.names() > names
    }

    /// Leaves the events of the plan whose names are known now. Returns the others.
    pub(in crate::broker) fn take_resolved(
        &self,
        plan: LookupPlan,
        unresolved: &HashSet<PeerName>,
        events: &mut Vec<Event>,
    ) -> Postponed {
        let mut postponed = Postponed::default();
        let mut resolved = Vec::with_capacity(events.len());
        for (event, planned) in events.drain(..).zip(plan.parts) {
            let Some(event) = postponed.unless_waiting(event) else { continue };
            match self.resolved_parts(&event, planned, unresolved) {
                parts if parts == event.parts() => resolved.push(event),
                parts if parts > 0 && self.is_divisible(&event) => {
                    let (first, rest) = event.split_at(parts);
                    resolved.push(first);
                    postponed.add_rest(rest);
                }
                _ => postponed.add(event),
            }
        }
        *events = resolved;
        postponed
    }

    /// Returns the number of parts before the first one that needs one of these names, at most as many as planned.
    fn resolved_parts(&self, event: &Event, planned: usize, unresolved: &HashSet<PeerName>) -> usize {
        let is_resolved = |part: &usize| {
            let mut lookup = LookupBuilder::new(self);
            add_parts(event, *part, part + 1, &mut lookup);
            lookup.into_peers().iter().all(|name| !unresolved.contains(name))
        };
        if unresolved.is_empty() { planned } else { (0..planned).take_while(is_resolved).count() }
    }
}

/// Adds the names of rows while they take at most half of the lookups. Returns these rows.
fn add_posts<'a>(posts: &'a [ReadPost], lookup: &mut LookupBuilder<'a>) -> &'a [ReadPost] {
    let mut count = 0;
    while count < posts.len() && lookup.names() < TURN_LOOKUPS_MAX / 2 {
        if let Ok(message) = &posts[count].message {
            lookup.peer(&message.sender);
            lookup.destinations(&message.to);
        }
        count += 1;
    }
    lookup.require_all();
    &posts[..count]
}

/// Adds the names and ids of parts of an event, from `first` to before `end`.
fn add_parts<'a>(event: &'a Event, first: usize, end: usize, lookup: &mut LookupBuilder<'a>) {
    match event {
        Event::Join { session, name, .. } => lookup.login(*session, name),
        Event::Requests { session, requests, .. } => {
            let session: SessionId = *session;
            requests[first..end].iter().for_each(|submission| commands::lookup(submission, session, lookup));
        }
        Event::AnswerRepeats { session, requests, .. } => {
            let session: SessionId = *session;
            requests.iter().for_each(|submission| commands::lookup(submission, session, lookup));
        }
        Event::Observe { observer, .. } => lookup.peer(observer),
        Event::FindNameUses { names, .. } => names.iter().for_each(|name| lookup.peer(name)),
        Event::FindAccount { name, .. } => lookup.peer(name),
        Event::DeliveryReport { .. } | Event::End { .. } | Event::Leave { .. } => {}
        Event::OutboxTouched | Event::ObserverAdvanced { .. } | Event::Observers { .. } => {}
    }
}
