//! Searches that are not answered yet: the index that they need catches up with the log a step at a time, between the turns of
//! the others. Owns their order; never what is found.

use std::collections::VecDeque;

use super::{Chat, Requester, TurnBuilder};
use crate::limits::TURN_SEARCHES_MAX;
use crate::message::{Seq, SessionId, Text};
use crate::store::{Read, SearchQuery};

/// In the order in which they are carried on.
pub(super) type Searches = VecDeque<Search>;

/// One of them. Its session hands in nothing else until it is answered.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) requester: Requester,
    words: Text,
    /// The index must hold every message up to here.
    until: Option<Seq>,
    count: usize,
}

impl Search {
    pub(super) fn new(requester: Requester, words: Text, count: usize) -> Self {
        Search { requester, words, until: None, count }
    }
}

impl Chat {
    /// Begins a search.
    pub(super) fn search(&mut self, search: Search) {
        if let Some(session) = self.sessions.get_mut(&search.requester.session) {
            session.is_searching = true;
            self.searches.push_back(search);
        }
    }

    /// Has some of them carried on in this turn.
    pub(super) fn ask_for_searches(&mut self, turn: &mut TurnBuilder) {
        while turn.searches() < TURN_SEARCHES_MAX
            && let Some(search) = self.searches.pop_front()
        {
            let Requester { session, peer, .. } = search.requester;
            if self.sessions.contains_key(&session) {
                let query = SearchQuery { peer, words: search.words.clone(), until: search.until, count: search.count };
                let result = turn.read(Read::Search, query);
                turn.search(search, result);
            }
        }
    }

    /// It goes on in another turn: what comes meanwhile is not waited for.
    pub(super) fn search_on(&mut self, mut search: Search) {
        search.until.get_or_insert(self.newest);
        self.searches.push_back(search);
    }

    /// It is answered: its session may ask for more.
    pub(super) fn end_search(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.is_searching = false;
            if session.outbox.has_room(0) {
                session.permit = None;
            }
        }
    }
}
