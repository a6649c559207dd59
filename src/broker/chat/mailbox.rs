//! Limits for recipients: how many messages may wait for a peer, and for how many names that were never used. Owns the counts and the
//! refusals; never stores anything.

use super::completion::SenderNote;
use super::state::{Chat, Feed, Peer, Session};
use crate::config::Limits;
use crate::message::{PeerId, PeerName, Recipient};
use crate::protocol::{Code, Refusal};

impl Chat {
    /// Returns the peer of this name. Fails if its mailbox is full.
    pub(super) fn admit(&self, name: &PeerName) -> Result<PeerId, Refusal> {
        let id = self.find_peer(name, "not sent")?;
        let peer = &self.peers[&id];
        let (waiting, mailbox_max) = (peer.waiting(), Limits::or_none(self.limits.mailbox_max));
        if waiting >= mailbox_max && !self.keeps_up(peer) {
            let words = format!("{waiting} messages wait for {name}, and mailbox_max is {mailbox_max}; not sent");
            return Err(Refusal::new(Code::MailboxFull, words));
        }
        Ok(id)
    }

    /// Checks the limit of names that were never used and that messages wait for. Without it, a client could invent names without end.
    pub(super) fn admit_unknown(&self, recipients: &[Recipient]) -> Result<(), Refusal> {
        let peers = recipients.iter().filter_map(|recipient| recipient.peer());
        let mut unknown = peers.map(|id| &self.peers[&id]).filter(|peer| !peer.is_stored);
        let Some(first) = unknown.next() else { return Ok(()) };
        let unknown_names_max = Limits::or_none(self.limits.unknown_names_max);
        if self.unknown_names + 1 + unknown.count() as u64 <= unknown_names_max {
            return Ok(());
        }
        let words = format!(
            "nobody has ever logged in as {}, messages wait for {} such names, and unknown_names_max is {}; not sent",
            first.record.name, self.unknown_names, unknown_names_max
        );
        Err(Refusal::new(Code::MailboxFull, words))
    }

    /// Whether a session of the peer is live and acknowledges in time. Then the undelivered messages are on their way, not waiting: their
    /// number is bounded by the outbox, or by the limit of unacknowledged messages, and many senders at once must not be refused for it.
    fn keeps_up(&self, peer: &Peer) -> bool {
        let keeps_up =
            |session: &Session| session.feed == Feed::Live && session.acks.as_ref().is_none_or(|acks| acks.keeps_up());
        peer.sessions.iter().any(|session| keeps_up(&self.sessions[session]))
    }

    /// Counts a message for the peers that it is addressed to directly. Returns the notices for its sender.
    pub(super) fn address(&mut self, sender: PeerId, recipients: &[Recipient]) -> Vec<SenderNote> {
        let mut notes = Vec::new();
        for recipient in recipients {
            match *recipient {
                Recipient::Peer(id) => {
                    let peer = self.peers.get_mut(&id).expect("a recipient was looked up");
                    peer.addressed += 1;
                    if !peer.is_online() {
                        notes.push(SenderNote::Stored(id));
                        if !std::mem::replace(&mut peer.is_stored, true) {
                            self.unknown_names += 1;
                            self.dirty_peers.insert(id);
                        }
                    }
                }
                Recipient::Room(id) => {
                    if self.rooms[&id].members <= u64::from(self.is_member(sender, id)) {
                        notes.push(SenderNote::Alone(id));
                    }
                }
            }
        }
        notes
    }
}
