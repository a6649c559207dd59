//! Acknowledgement of messages. It needs no names and no commit, and is never answered: the cursor of the peer moves.

use crate::broker::chat::completion::Requester;
use crate::broker::chat::state::Chat;
use crate::message::Seq;
use crate::protocol::Refusal;

pub(super) fn decide(seq: Seq, requester: &Requester, chat: &mut Chat) -> Result<(), Refusal> {
    let session = chat.sessions.get_mut(&requester.session).expect("a requester has a session");
    // A client that did not log in with `acks` has nothing to acknowledge.
    if let Some(acks) = &mut session.acks {
        acks.acknowledge(seq, session.fed);
        let delivered = acks.take_delivered();
        chat.note_delivered(requester.session, delivered);
    }
    Ok(())
}
