//! `/history`: the newest messages that the peer sent or received.

use crate::broker::chat::completion::Requester;
use crate::broker::chat::delivery::Delivery;
use crate::broker::chat::lookup::LookupBuilder;
use crate::broker::chat::scans::ScanPurpose;
use crate::broker::chat::state::Chat;
use crate::message::{Destination, PeerId, Recipient, Seq};
use crate::protocol::{Code, HistoryRequest, Refusal, Reply};
use crate::store::{HistoryQuery, HistoryScan, PastPage, ReadFailure, ScanResult};

pub(super) fn lookup<'a>(range: &'a HistoryRequest, lookup: &mut LookupBuilder<'a>) {
    range.with.iter().for_each(|with| lookup.destination(with));
}

pub(super) fn decide(range: HistoryRequest, requester: &Requester, chat: &mut Chat) -> Result<(), Refusal> {
    let HistoryRequest { with, before, count } = range;
    let with = with.map(|with| recipient(requester.peer, &with, chat)).transpose()?;
    let is_addressed = chat.shows_recipients(requester.session);
    let query = HistoryQuery { peer: requester.peer, with, before: before.unwrap_or(Seq::MAX), count, is_addressed };
    chat.begin_scan(requester.clone(), ScanPurpose::History, HistoryScan::new(query));
    Ok(())
}

fn recipient(peer: PeerId, with: &Destination, chat: &Chat) -> Result<Recipient, Refusal> {
    match with {
        Destination::Peer(name) => chat.find_peer(name, "nothing is shown").map(Recipient::Peer),
        Destination::Room(room) => chat.membership(peer, room, "nothing is shown").map(Recipient::Room),
    }
}

pub(super) fn complete(
    requester: &Requester,
    result: Result<ScanResult, ReadFailure>,
    chat: &mut Chat,
    delivery: &mut Delivery,
) {
    let reply = match result {
        Ok(ScanResult::Messages(PastPage { messages, more, .. })) => Reply::History { messages, more },
        Ok(ScanResult::Waiting(_)) | Err(_) => {
            let words = "the history cannot be read now, the server's log says why; nothing is shown";
            Reply::Refused(Refusal::new(Code::Internal, words))
        }
    };
    chat.reply(requester, &reply, delivery);
}
