//! `/search`: the newest messages that contain all of some words. The search index catches up with the log in steps, so a search may take
//! several turns; its session submits nothing else meanwhile.

use crate::broker::chat::completion::Requester;
use crate::broker::chat::delivery::Delivery;
use crate::broker::chat::searches::PendingSearch;
use crate::broker::chat::state::Chat;
use crate::broker::chat::turn::TurnBuilder;
use crate::limits::TURN_SEARCHES_MAX;
use crate::message::{SessionId, Text, quoted};
use crate::protocol::{Code, Refusal, Reply};
use crate::store::{PastPage, Read, ReadFailure, SearchQuery, SearchResult};

pub(super) fn decide(words: Text, count: usize, requester: &Requester, chat: &mut Chat) -> Result<(), Refusal> {
    let session = chat.sessions.get_mut(&requester.session).expect("a requester has a session");
    session.is_searching = true;
    chat.searches.push_back(PendingSearch { requester: requester.clone(), words, until: None, count });
    Ok(())
}

/// Adds a step of each pending search to the turn, up to the limit of a turn.
pub(in crate::broker::chat) fn continue_searches(chat: &mut Chat, turn: &mut TurnBuilder) {
    while turn.searches() < TURN_SEARCHES_MAX
        && let Some(search) = chat.searches.pop_front()
    {
        let Requester { session, peer, .. } = search.requester;
        if chat.sessions.contains_key(&session) {
            let query = SearchQuery { peer, words: search.words.clone(), until: search.until, count: search.count };
            let result = turn.read(Read::Search, query);
            turn.search(search, result);
        }
    }
}

/// Answers a search, or queues it again if the index does not cover the log yet.
pub(in crate::broker::chat) fn complete(
    mut search: PendingSearch,
    result: Result<SearchResult, ReadFailure>,
    chat: &mut Chat,
    delivery: &mut Delivery,
) {
    let reply = match result {
        Ok(SearchResult::Found(PastPage { messages, more, .. })) => Reply::Found { messages, more },
        Ok(SearchResult::Indexing) => {
            // The index need not cover messages that come later.
            search.until.get_or_insert(chat.newest);
            return chat.searches.push_back(search);
        }
        Ok(SearchResult::NoWords) => {
            let query = quoted(search.words.as_str());
            let words = format!(
                "{query} contains no word to search for; give at least one with letters or digits; nothing is shown"
            );
            Reply::Refused(Refusal::new(Code::BadRequest, words))
        }
        Err(_) => {
            let words = "messages cannot be searched now, the server's log says why; nothing is shown";
            Reply::Refused(Refusal::new(Code::Internal, words))
        }
    };
    chat.reply(&search.requester, &reply, delivery);
    end(search.requester.session, chat);
}

/// Allows the session of a search that is answered to submit more.
fn end(id: SessionId, chat: &mut Chat) {
    if let Some(session) = chat.sessions.get_mut(&id) {
        session.is_searching = false;
        if session.outbox.has_room(0) {
            session.permit = None;
        }
    }
}
