//! Events that must wait for a later turn. Owns the order in which they come back; never decides that an event must wait.

use std::collections::HashMap;

use super::event::Event;
use crate::message::SessionId;

/// Events that wait for a later turn.
#[derive(Debug, Default)]
pub(super) struct Postponed {
    /// Events of sessions of which nothing was decided: they come before all others.
    front: Vec<Event>,
    /// Rests of batches, and what follows them in their sessions: they come behind all others, so that these have their turn first.
    back: Vec<Event>,
    /// Sessions that wait, and whether they come behind the others.
    sessions: HashMap<SessionId, bool>,
}

impl Postponed {
    /// Postpones an event if an earlier one of its session waits; otherwise returns it.
    pub(super) fn unless_waiting(&mut self, event: Event) -> Option<Event> {
        match event.session().and_then(|session| self.sessions.get(&session)) {
            Some(true) => self.back.push(event),
            Some(false) => self.front.push(event),
            None => return Some(event),
        }
        None
    }

    /// Postpones an event of which nothing was decided.
    pub(super) fn add(&mut self, event: Event) {
        self.sessions.extend(event.session().map(|session| (session, false)));
        self.front.push(event);
    }

    /// Postpones the rest of an event.
    pub(super) fn add_rest(&mut self, rest: Event) {
        self.sessions.extend(rest.session().map(|session| (session, true)));
        self.back.push(rest);
    }

    /// Returns the events that come before all others, and those that come behind them.
    pub(super) fn into_parts(self) -> (Vec<Event>, Vec<Event>) {
        (self.front, self.back)
    }
}
