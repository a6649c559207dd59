//! `/search`: the newest messages that contain all of some words.

use crate::broker::chat::completion::Requester;
use crate::broker::chat::delivery::Delivery;
use crate::broker::chat::scans::ScanPurpose;
use crate::broker::chat::state::Chat;
use crate::limits::SEARCH_WORDS_MAX;
use crate::message::{Text, quoted};
use crate::protocol::{Code, Refusal, Reply};
use crate::store::{PastPage, ReadFailure, ScanResult, SearchScan, UnsearchableWords};

pub(super) fn decide(words: Text, count: usize, requester: &Requester, chat: &mut Chat) -> Result<(), Refusal> {
    match SearchScan::new(requester.peer, words.as_str(), count, chat.shows_recipients(requester.session)) {
        Ok(scan) => {
            chat.begin_scan(requester.clone(), ScanPurpose::Search, scan);
            Ok(())
        }
        Err(UnsearchableWords::None) => {
            let query = quoted(words.as_str());
            let words = format!(
                "{query} contains no word to search for; give at least one with letters or digits; nothing is shown"
            );
            Err(Refusal::new(Code::BadRequest, words))
        }
        Err(UnsearchableWords::TooMany(count)) => {
            let words =
                format!("{count} words are too many to search for; give at most {SEARCH_WORDS_MAX}; nothing is shown");
            Err(Refusal::new(Code::BadRequest, words))
        }
    }
}

pub(super) fn complete(
    requester: &Requester,
    result: Result<ScanResult, ReadFailure>,
    chat: &mut Chat,
    delivery: &mut Delivery,
) {
    let reply = match result {
        Ok(ScanResult::Messages(PastPage { messages, more, .. })) => Reply::Found { messages, more },
        Ok(ScanResult::Waiting(_)) | Err(_) => {
            let words = "messages cannot be searched now, the server's log says why; nothing is shown";
            Reply::Refused(Refusal::new(Code::Internal, words))
        }
    };
    chat.reply(requester, &reply, delivery);
}
