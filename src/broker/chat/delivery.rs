//! Delivery of one turn: its outcome, its messages, and the sessions that got output. Owns how replies and announcements reach an outbox;
//! never their contents.

use foldhash::HashSet as IdSet;

use super::completion::{Requester, SenderNote};
use super::encoded::Encodings;
use super::state::{Chat, Feed, Session};
use crate::message::{PeerId, Recipient, RequestId, Seq, SessionId, Text, Timestamp};
use crate::protocol::{Code, Refusal, Reply};
use crate::store::{CommitError, Entry, EventKind};

/// Delivery of one turn.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Time at which the turn was decided.
    pub(super) at: Timestamp,
    /// Result of the commit.
    pub(super) commit: Result<(), CommitError>,
    /// Newest message before the turn.
    pub(super) before: Seq,
    /// Entries of the turn whose messages are not delivered yet.
    entries: std::vec::IntoIter<Entry>,
    /// Message of the turn that was delivered last.
    delivered: Seq,
    /// Sessions with output to flush, each once.
    sessions: Vec<SessionId>,
    /// Notices that were sent to senders in this turn: each is sent once.
    pub(super) notes: IdSet<(SessionId, SenderNote)>,
    /// Encodings of the message that is being delivered; the next message reuses their memory.
    pub(super) encodings: Encodings,
}

/// Message of a committed turn.
#[derive(Debug)]
pub(super) struct CommittedMessage {
    pub(super) seq: Seq,
    pub(super) at: Timestamp,
    pub(super) sender: PeerId,
    pub(super) recipients: Vec<Recipient>,
    pub(super) text: Text,
}

impl Delivery {
    /// Starts the delivery of a turn that was decided at this time, with its outcome and its entries.
    pub(super) fn new(at: Timestamp, commit: Result<(), CommitError>, before: Seq, entries: Vec<Entry>) -> Self {
        Delivery {
            at,
            commit,
            before,
            entries: entries.into_iter(),
            delivered: before,
            sessions: Vec::new(),
            notes: IdSet::default(),
            encodings: Encodings::default(),
        }
    }

    /// Returns the next message of the turn, with its `seq`.
    pub(super) fn next_message(&mut self) -> Option<CommittedMessage> {
        let message = self.entries.find_map(|entry| match entry {
            Entry::Message { at, sender, recipients, text, .. } => Some((at, sender, recipients, text)),
            _ => None,
        });
        let (at, sender, recipients, text) = message?;
        self.delivered = self.delivered.next();
        Some(CommittedMessage { seq: self.delivered, at, sender, recipients, text })
    }

    /// Notes that a session has output to flush.
    pub(super) fn add(&mut self, id: SessionId, session: &mut Session) {
        if !session.is_in_batch {
            session.is_in_batch = true;
            self.sessions.push(id);
        }
    }
}

impl Chat {
    /// Replies to a request.
    pub(super) fn reply(&mut self, requester: &Requester, reply: &Reply, delivery: &mut Delivery) {
        self.append_reply(requester.session, requester.id.as_ref(), reply, delivery);
    }

    /// Replies to a request: with `reply` if its turn was committed, or else with a refusal, in which `outcome` says what that means for the
    /// request ("not sent").
    pub(super) fn reply_if_committed(
        &mut self,
        requester: &Requester,
        reply: impl FnOnce(&Chat) -> Reply,
        outcome: &str,
        delivery: &mut Delivery,
    ) {
        match delivery.commit {
            Ok(()) => self.reply(requester, &reply(self), delivery),
            Err(_) => self.refuse_uncommitted(requester, outcome, delivery),
        }
    }

    /// Refuses a request if its turn could not be committed; `outcome` says what that means for the request.
    pub(super) fn refuse_uncommitted(&mut self, requester: &Requester, outcome: &str, delivery: &mut Delivery) {
        let Err(error) = &delivery.commit else { return };
        let gone = "a file of the server's database was removed, moved or replaced";
        let (code, words) = match error {
            CommitError::Storage(_) => (Code::StorageFull, format!("{error}; {outcome}")),
            CommitError::Busy(_) | CommitError::Database(_) => (Code::Internal, format!("{error}; {outcome}")),
            // Paths are for the operator.
            CommitError::Unreachable(_) => (Code::Internal, format!("{gone}; {outcome}")),
            CommitError::Uncertain(_) => (Code::Internal, format!("{gone} while this was stored; it may be lost")),
        };
        let refusal = Refusal::new(code, words);
        self.reply(requester, &Reply::Refused(refusal), delivery);
    }

    /// Sends a session a notice or an announcement: a `Reply` that does not answer a request.
    pub(super) fn notify(&mut self, id: SessionId, reply: &Reply, delivery: &mut Delivery) {
        self.append_reply(id, None, reply, delivery);
    }

    /// Sends a session an announcement, unless its outbox is too full for one.
    pub(super) fn announce_to(&mut self, id: SessionId, reply: &Reply, delivery: &mut Delivery) {
        if self.sessions.get(&id).is_some_and(|session| session.outbox.room_for_page(&self.budget).is_some()) {
            self.notify(id, reply, delivery);
        }
    }

    /// Announces that a peer came online or went offline; later, if it was announced just before.
    pub(super) fn change_presence(&mut self, peer: PeerId, delivery: &mut Delivery) {
        if self.presence.change(peer, delivery.at) {
            self.announce_presence(peer, delivery);
        }
    }

    /// Announces the peers that came or went, and whose announcements were held back for long enough.
    pub(super) fn announce_held_presence(&mut self, delivery: &mut Delivery) {
        for peer in self.presence.expired(delivery.at) {
            self.change_presence(peer, delivery);
        }
    }

    /// Announces to the subscribers of presence whether a peer is online.
    pub(super) fn announce_presence(&mut self, peer: PeerId, delivery: &mut Delivery) {
        let Some(peer) = self.peers.get(&peer) else { return };
        let presence = Reply::Presence { name: peer.record.name.clone(), here: peer.is_online() };
        let wants = |id: &SessionId| self.sessions[id].outbox.capabilities().wants_presence;
        for session in self.subscribers.iter().copied().filter(wants).collect::<Vec<_>>() {
            self.announce_to(session, &presence, delivery);
        }
    }

    fn append_reply(&mut self, id: SessionId, request: Option<&RequestId>, reply: &Reply, delivery: &mut Delivery) {
        // The session may have left in this turn.
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.reply(request, reply, &mut self.budget);
        delivery.add(id, session);
    }

    /// Closes a session that must end, once it has all messages that wait for it. Its writer writes what is left, then the session leaves.
    pub(super) fn end_if_fed(&mut self, id: SessionId, delivery: &mut Delivery) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(ends_at) = session.ends_at.filter(|_| session.is_welcomed) else { return };
        if session.feed == Feed::Live || session.fed >= ends_at {
            self.end(id, delivery);
        }
    }

    /// Closes a session. Its writer writes what is in the outbox, then the session leaves.
    pub(super) fn end(&mut self, id: SessionId, delivery: &mut Delivery) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.outbox.flush();
        session.outbox.close();
        let peer = session.peer;
        self.detach_and_announce(id, peer, delivery);
    }

    fn detach_and_announce(&mut self, id: SessionId, peer: PeerId, delivery: &mut Delivery) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.feed == Feed::Live
            && self.peers[&peer].sessions.contains(&id)
        {
            session.live_to = Some(delivery.delivered);
        }
        if self.detach(id, peer) {
            self.record_event_late(EventKind::Leave, peer, delivery.at);
            self.change_presence(peer, delivery);
        }
    }

    /// Flushes the outboxes of all sessions with output.
    pub(super) fn flush(&mut self, delivery: &mut Delivery) {
        // A session that is detached is announced, which adds output to others: so the list may grow.
        while let Some(id) = delivery.sessions.pop() {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            session.is_in_batch = false;
            session.outbox.flush();
            if session.outbox.is_closed() {
                let peer = session.peer;
                self.detach_and_announce(id, peer, delivery);
            }
            self.queue_page(id);
        }
        self.budget.publish();
    }
}
