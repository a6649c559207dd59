//! `/ping`: a reply as soon as everything before it is processed and on disk.

use crate::broker::chat::completion::Requester;
use crate::broker::chat::state::Chat;
use crate::broker::chat::turn::TurnBuilder;
use crate::message::Text;
use crate::protocol::{Refusal, Reply};

pub(super) fn decide(
    token: Option<Text>,
    requester: &Requester,
    chat: &mut Chat,
    turn: &mut TurnBuilder,
) -> Result<(), Refusal> {
    // An acknowledgement before the ping is processed once the cursor is stored.
    let Requester { session, peer, .. } = requester;
    let is_dirty = chat.dirty_cursors.contains(peer) || chat.dirty_peers.contains(peer);
    if is_dirty && chat.sessions[session].acks.is_some() {
        turn.commit_cursors();
    }
    turn.reply(requester.clone(), Reply::Pong { token });
    Ok(())
}
