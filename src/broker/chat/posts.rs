//! Messages from the table `outbox`. Owns what becomes of a row; never how its columns are read.

use super::commands::send::{self, Origin};
use super::state::Chat;
use super::turn::TurnBuilder;
use crate::broker::post::{PostError, PostedMessage, ReadPost};
use crate::protocol::{Draft, Refusal};
use crate::store::Entry;

impl Chat {
    /// Sends the message of a row, or marks the row with the reason why it cannot be sent. A row that cannot be sent now stays as it is.
    pub(super) fn send_post(&mut self, read: ReadPost, turn: &mut TurnBuilder) {
        let ReadPost { post, message } = read;
        let sent = message.and_then(|message| self.send_posted(message, turn).map_err(PostError::from));
        match sent {
            Ok(()) => turn.write(Entry::Posted(post)),
            Err(PostError::Transient) => {}
            Err(PostError::Permanent(reason)) => turn.write(Entry::Unposted { post, at: turn.at(), reason }),
        }
    }

    fn send_posted(&mut self, message: PostedMessage, turn: &mut TurnBuilder) -> Result<(), Refusal> {
        let PostedMessage { sender, to, text } = message;
        let sender = self.find_peer(&sender, "not sent")?;
        self.use_name(sender);
        send::send(Draft { to, text }, Origin::OutboxRow(sender), None, self, turn)
    }
}
