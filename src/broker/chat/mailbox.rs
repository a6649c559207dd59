//! Limits for recipients: how many messages may wait for a peer, and for how many names that were never used. Owns the counts and the
//! refusals; never stores anything.

use super::completion::{Requester, SenderNote};
use super::state::{Chat, Feed, Peer, Session};
use crate::broker::event::NameUse;
use crate::config::Limits;
use crate::message::{PeerId, PeerName, Recipient};
use crate::protocol::{Code, Refusal};
use crate::shares::{Holder, Shares, Usage};
use crate::source::Source;

impl Peer {
    /// Returns how much of the mailbox is taken, as a holder sees it. Messages of unknown senders, which are at most half a mailbox, count as
    /// everybody's: then a sender alone gets exactly the limit.
    fn mailbox_usage(&self, holder: Holder) -> Usage {
        let waiting = self.waiting();
        let Some(senders) = &self.senders else { return Usage { sender: waiting, source: waiting, all: waiting } };
        let Usage { sender, source, .. } = senders.usage(holder).scaled_to(waiting);
        let of_unknown = waiting.saturating_sub(senders.all());
        Usage { sender: sender + of_unknown, source: source + of_unknown, all: waiting }
    }

    /// Counts a message that is addressed to the peer directly. Its sender matters only while more than `half` a mailbox of messages waits.
    fn count_message(&mut self, holder: Holder, half: u64) {
        let before = self.waiting();
        self.addressed += 1;
        if before >= half {
            self.count_sender(holder, before);
        } else if self.senders.is_some() {
            self.senders = None;
        }
    }

    #[cold]
    fn count_sender(&mut self, holder: Holder, waiting: u64) {
        let senders = self.senders.get_or_insert_default();
        // What was delivered is taken from all in proportion. Not at each message: that would cost a step for each sender.
        if senders.all() / 2 > waiting {
            senders.scale_to(waiting);
        }
        senders.add(Some(holder), 1);
    }
}

/// Makes an estimate of who sent the messages that wait in a mailbox, from a sample of their senders.
pub(super) fn sampled(senders: &[Option<Holder>], waiting: u64) -> Option<Box<Shares>> {
    let each = waiting.checked_div(senders.len() as u64)?;
    let mut shares = Shares::default();
    senders.iter().for_each(|sender| shares.add(*sender, each));
    Some(Box::new(shares))
}

impl Chat {
    /// Returns the holder of what a client takes of limits that all share.
    pub(super) fn holder(&self, requester: &Requester) -> Holder {
        Holder { sender: requester.peer, source: self.sessions[&requester.session].source }
    }

    /// Notes the source of a login.
    pub(super) fn note_source(&mut self, id: PeerId, source: Source) {
        let peer = self.peers.get_mut(&id).expect("a peer that logs in was looked up");
        if peer.source.replace(source) != Some(source) {
            self.dirty_sources.insert(id);
        }
    }

    /// Returns who has used a name. `None`: it could not be looked up.
    pub(super) fn name_use(&self, name: &PeerName) -> Option<NameUse> {
        if self.refused_names.contains_key(name) {
            return Some(NameUse::Free);
        }
        let peer = &self.peers[self.ids.get(name)?];
        Some(match peer.source {
            Some(Source::Network(_)) => NameUse::Client,
            None if peer.record.seen => NameUse::Unknown,
            None | Some(Source::Operator) => NameUse::Free,
        })
    }

    /// Number of messages above which the senders of a mailbox are known.
    pub(super) fn half_a_mailbox(&self) -> u64 {
        Limits::or_none(self.limits.mailbox_max) / 2
    }

    /// Returns the peer of this name. Fails if the holder's share of its mailbox is used up.
    pub(super) fn admit(&self, holder: Holder, name: &PeerName) -> Result<PeerId, Refusal> {
        let id = self.find_peer(name, "not sent")?;
        let peer = &self.peers[&id];
        let (waiting, mailbox_max) = (peer.waiting(), Limits::or_none(self.limits.mailbox_max));
        if waiting >= mailbox_max && !peer.mailbox_usage(holder).admits(mailbox_max, 1) && !self.keeps_up(peer) {
            let words =
                format!("{waiting} messages wait for {name}, and your share of mailbox_max ({mailbox_max}) is used up");
            return Err(Refusal::new(Code::MailboxFull, words).with_outcome("not sent"));
        }
        Ok(id)
    }

    /// Checks the limit of names that were never used and that messages wait for. Without it, a client could invent names without end.
    pub(super) fn admit_unknown(&self, holder: Holder, recipients: &[Recipient]) -> Result<(), Refusal> {
        let peers = recipients.iter().filter_map(|recipient| recipient.peer());
        let mut unknown = peers.map(|id| &self.peers[&id]).filter(|peer| !peer.is_stored);
        let Some(first) = unknown.next() else { return Ok(()) };
        let unknown_names_max = Limits::or_none(self.limits.unknown_names_max);
        let usage = self.unknown_names.usage(holder);
        if usage.admits(unknown_names_max, 1 + unknown.count() as u64) {
            return Ok(());
        }
        let words = format!(
            "nobody has ever logged in as {}, messages wait for {} such names, and your share of unknown_names_max \
             ({unknown_names_max}) is used up",
            first.record.name, usage.all
        );
        Err(Refusal::new(Code::MailboxFull, words).with_outcome("not sent"))
    }

    /// Whether a session of the peer is live and acknowledges in time. Then the undelivered messages are on their way, not waiting: their
    /// number is bounded by the outbox, or by the limit of unacknowledged messages, and many senders at once must not be refused for it.
    fn keeps_up(&self, peer: &Peer) -> bool {
        let keeps_up =
            |session: &Session| session.feed == Feed::Live && session.acks.as_ref().is_none_or(|acks| acks.keeps_up());
        peer.sessions.iter().any(|session| keeps_up(&self.sessions[session]))
    }

    /// Counts a message for the peers that it is addressed to directly. Returns the notices for its sender, and the number of sessions that
    /// get the message or a copy.
    pub(super) fn address(&mut self, holder: Holder, recipients: &[Recipient]) -> (Vec<SenderNote>, usize) {
        let mut notes = Vec::new();
        let mut deliveries = self.peers[&holder.sender].sessions.len();
        let half = self.half_a_mailbox();
        for recipient in recipients {
            match *recipient {
                Recipient::Peer(id) => {
                    let peer = self.peers.get_mut(&id).expect("a recipient was looked up");
                    peer.count_message(holder, half);
                    deliveries += peer.sessions.len();
                    if !peer.is_online() {
                        notes.push(SenderNote::Stored(id));
                        if !std::mem::replace(&mut peer.is_stored, true) {
                            self.unknown_names.take(id, Some(holder));
                            self.dirty_peers.insert(id);
                        }
                    }
                }
                Recipient::Room(id) => {
                    deliveries += self.sessions_of(*recipient);
                    if self.rooms[&id].members <= u64::from(self.is_member(holder.sender, id)) {
                        notes.push(SenderNote::Alone(id));
                    }
                }
            }
        }
        (notes, deliveries)
    }
}
