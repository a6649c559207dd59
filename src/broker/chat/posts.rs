//! Messages from the table `outbox`. Owns whether a row is sent, refused or left for later; never how its columns are read.

use super::commands::send::{self, Origin};
use super::state::Chat;
use super::turn::TurnBuilder;
use crate::broker::post::{PostError, PostedMessage, ReadPost};
use crate::protocol::{Draft, Refusal};
use crate::source::Source;
use crate::store::Entry;

impl Chat {
    /// Sends the messages of rows. The entries that remove the rows come after all messages, because the store inserts consecutive messages
    /// faster.
    pub(super) fn send_posts(&mut self, posts: Vec<ReadPost>, turn: &mut TurnBuilder) {
        let removals = Vec::from_iter(posts.into_iter().filter_map(|post| self.send_post(post, turn)));
        turn.write_all(removals);
    }

    /// Sends the message of a row. Returns the entry that removes the row, or moves it to `outbox_refused` with the reason; `None` if the
    /// message cannot be sent now, and the row stays.
    fn send_post(&mut self, read: ReadPost, turn: &mut TurnBuilder) -> Option<Entry> {
        let ReadPost { post, message } = read;
        let sent = message.and_then(|message| self.send_posted(message, turn).map_err(PostError::from));
        match sent {
            Ok(()) => Some(Entry::OutboxSent(post)),
            Err(PostError::Transient) => None,
            Err(PostError::Permanent(reason)) => Some(Entry::OutboxRefused { post, at: turn.at(), reason }),
        }
    }

    fn send_posted(&mut self, message: PostedMessage, turn: &mut TurnBuilder) -> Result<(), Refusal> {
        let PostedMessage { sender, to, text } = message;
        let sender = self.find_peer(&sender, "not sent")?;
        self.use_name(sender);
        if self.peers[&sender].source.is_none() {
            self.note_source(sender, Source::Operator);
        }
        send::send(Draft { to, text }, Origin::OutboxRow(sender), None, self, turn)
    }
}
