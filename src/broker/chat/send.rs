//! Sending: to whom a message may go, and whether it has been sent before. Owns what is refused and counted; never the commit.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::{Chat, Completion, Feed, Note, Peer, Requester, Session, TurnBuilder, unreachable_peer};
use crate::broker::post::{PostError, ReadPost};
use crate::config::Limits;
use crate::message::{Destination, PeerId, PeerName, Recipient, RequestId, Text};
use crate::protocol::{Code, Draft, Refusal, Reply};
use crate::store::{Entry, FoundId, SendId};

/// What is known of an id that a program gave its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KnownId {
    /// Nothing: it is the first of this id.
    New,
    /// It was accepted before this turn.
    Before(FoundId),
    /// It is in this turn, as the so-manieth message.
    Here { nth: usize, fingerprint: i64 },
}

/// Origin of a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin<'a> {
    /// A client, over its connection.
    Client(&'a Requester),
    /// A row of the table `outbox`, in the name of this peer.
    OutboxRow(PeerId),
}

impl Origin<'_> {
    fn peer(self) -> PeerId {
        match self {
            Origin::Client(requester) => requester.peer,
            Origin::OutboxRow(peer) => peer,
        }
    }

    fn requester(self) -> Option<Requester> {
        match self {
            Origin::Client(requester) => Some(requester.clone()),
            Origin::OutboxRow(_) => None,
        }
    }
}

impl Chat {
    /// Appends a message to the turn, for all destinations or for none; one that was sent before is only answered.
    pub(super) fn send(
        &mut self,
        origin: Origin<'_>,
        send_id: Option<Box<SendId>>,
        to: &[Destination],
        text: Text,
        turn: &mut TurnBuilder,
    ) -> Result<(), Refusal> {
        match (origin, &send_id) {
            (Origin::Client(requester), Some(send_id)) if self.send_again(requester, send_id, turn)? => Ok(()),
            _ => self.send_new(origin, send_id, to, text, turn),
        }
    }

    /// The same with a message that plugins have changed or refused. What was sent before was accepted, whatever they say now.
    pub(super) fn send_filtered(
        &mut self,
        requester: &Requester,
        send_id: Option<Box<SendId>>,
        outcome: Result<Box<Draft>, Refusal>,
        turn: &mut TurnBuilder,
    ) -> Result<(), Refusal> {
        if let Some(send_id) = &send_id
            && self.send_again(requester, send_id, turn)?
        {
            return Ok(());
        }
        let Draft { to, text } = *outcome?;
        self.send_new(Origin::Client(requester), send_id, &to, text, turn)
    }

    fn send_new(
        &mut self,
        origin: Origin<'_>,
        send_id: Option<Box<SendId>>,
        to: &[Destination],
        text: Text,
        turn: &mut TurnBuilder,
    ) -> Result<(), Refusal> {
        let sender = origin.peer();
        let recipients = to.iter().map(|to| self.recipient(origin, to)).collect::<Result<Vec<_>, _>>()?;
        self.admit_unknown(&recipients)?;
        let notes = self.address(sender, &recipients);
        let known = send_id.as_ref().map(|send_id| (send_id.id.clone(), send_id.fingerprint));
        let nth = turn.write_message(Entry::Message { at: turn.at(), sender, recipients, text, id: send_id });
        if let Some((id, fingerprint)) = known {
            self.known_ids.insert((sender, id), KnownId::Here { nth, fingerprint });
        }
        turn.complete(Completion::Send { requester: origin.requester(), notes });
        Ok(())
    }

    /// Sends what stands in a row of the table `outbox`, or has it marked with the reason why not.
    pub(super) fn send_post(&mut self, read: ReadPost, turn: &mut TurnBuilder) {
        let ReadPost { post, message } = read;
        let sent = message.and_then(|message| {
            let sender = self.use_name(&message.sender)?;
            self.send(Origin::OutboxRow(sender), None, &message.to, message.text, turn).map_err(PostError::from)
        });
        match sent {
            Ok(()) => turn.write(Entry::Posted(post)),
            // It is tried again.
            Err(PostError::Transient) => {}
            Err(PostError::Permanent(reason)) => turn.write(Entry::Unposted { post, at: turn.at(), reason }),
        }
    }

    /// Somebody with a shell sends by this name: so it is used.
    fn use_name(&mut self, name: &PeerName) -> Result<PeerId, PostError> {
        let id = *self.ids.get(name).ok_or(PostError::Transient)?;
        self.see(id);
        Ok(id)
    }

    /// Notes that somebody uses the name of a peer.
    pub(super) fn see(&mut self, id: PeerId) {
        let peer = self.peers.get_mut(&id).expect("whoever is seen was met");
        if !peer.record.seen {
            if std::mem::replace(&mut peer.is_kept, true) {
                self.unknown_names -= 1;
            }
            peer.record.seen = true;
            self.dirty_peers.insert(id);
        }
    }

    /// Acknowledges a message again, if it was sent before. Returns whether it was.
    fn send_again(&self, requester: &Requester, send_id: &SendId, turn: &mut TurnBuilder) -> Result<bool, Refusal> {
        let requester = requester.clone();
        let known = self.known_ids.get(&(requester.peer, send_id.id.clone()));
        let (completion, fingerprint) = match known {
            Some(KnownId::New) => return Ok(false),
            Some(KnownId::Before(FoundId { seq, at, fingerprint })) => {
                (Completion::Reply { requester, reply: Reply::Accepted { seq: *seq, at: *at } }, *fingerprint)
            }
            Some(KnownId::Here { nth, fingerprint }) => (Completion::Repeat { requester, nth: *nth }, *fingerprint),
            None => {
                let words =
                    "the id cannot be looked up now, the log says why; not sent, send it again with the same id";
                return Err(Refusal::new(Code::Internal, words));
            }
        };
        if fingerprint == send_id.fingerprint {
            turn.complete(completion);
            return Ok(true);
        }
        let words = "another message was sent with this id, to others or with another text; not sent";
        Err(Refusal::new(Code::IdReused, words))
    }

    fn recipient(&self, origin: Origin<'_>, destination: &Destination) -> Result<Recipient, Refusal> {
        match (destination, origin) {
            (Destination::Peer(name), _) => self.admit(name).map(Recipient::Peer),
            (Destination::Room(room), Origin::Client(requester)) => {
                self.membership(requester.peer, room, "not sent").map(Recipient::Room)
            }
            // Whoever may write to the database may do as any member.
            (Destination::Room(room), Origin::OutboxRow(_)) => {
                self.populated_room(room, "not sent").map(Recipient::Room)
            }
        }
    }

    /// A peer whose mailbox has room.
    fn admit(&self, name: &PeerName) -> Result<PeerId, Refusal> {
        let id = *self.ids.get(name).ok_or_else(|| unreachable_peer(name, "not sent"))?;
        let peer = &self.peers[&id];
        let (waiting, mailbox_max) = (peer.waiting(), Limits::or_none(self.limits.mailbox_max));
        if waiting >= mailbox_max && !self.keeps_up(peer) {
            let words = format!("{waiting} messages wait for {name}, and mailbox_max is {mailbox_max}; not sent");
            return Err(Refusal::new(Code::MailboxFull, words));
        }
        Ok(id)
    }

    /// Refuses names that nobody has used, once messages wait for too many such names: anyone may make names up.
    fn admit_unknown(&self, recipients: &[Recipient]) -> Result<(), Refusal> {
        let peers = recipients.iter().filter_map(|recipient| recipient.peer());
        let mut unknown = peers.map(|id| &self.peers[&id]).filter(|peer| !peer.is_kept);
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

    /// Whether what is not delivered to a peer is on its way to it: that much is bounded by an outbox, or by what a client may leave
    /// unacknowledged, and a crowd of senders must not be refused for it.
    fn keeps_up(&self, peer: &Peer) -> bool {
        let keeps_up =
            |session: &Session| session.feed == Feed::Live && session.acks.as_ref().is_none_or(|acks| acks.keeps_up());
        peer.sessions.iter().any(|session| keeps_up(&self.sessions[session]))
    }

    /// Counts a message for those to whom it is addressed directly. Says what its sender may want to know.
    fn address(&mut self, sender: PeerId, recipients: &[Recipient]) -> Vec<Note> {
        let mut notes = Vec::new();
        for recipient in recipients {
            match *recipient {
                Recipient::Peer(id) => {
                    let peer = self.peers.get_mut(&id).expect("a recipient was met");
                    peer.addressed += 1;
                    if !peer.is_here() {
                        notes.push(Note::Kept(id));
                        if !std::mem::replace(&mut peer.is_kept, true) {
                            self.unknown_names += 1;
                            self.dirty_peers.insert(id);
                        }
                    }
                }
                Recipient::Room(id) => {
                    if self.rooms[&id].members <= u64::from(self.is_in(sender, id)) {
                        notes.push(Note::Alone(id));
                    }
                }
            }
        }
        notes
    }
}

/// By what a message is known when its sender sends it again.
pub(super) fn send_id(id: RequestId, to: &[Destination], text: &Text) -> Box<SendId> {
    Box::new(SendId { id, fingerprint: fingerprint(to, text) })
}

/// A hash of what is sent and to whom, in whatever order: SipHash-1-3 over bytes, so it is the same on every machine and in
/// every version. <https://www.aumasson.jp/siphash/siphash.pdf>
fn fingerprint(to: &[Destination], text: &Text) -> i64 {
    let mut names: Vec<&str> = to.iter().map(Destination::as_str).collect();
    names.sort_unstable();
    let mut hasher = SipHasher13::new();
    for name in names {
        hasher.write(name.as_bytes());
        // No name holds one.
        hasher.write(b"\n");
    }
    hasher.write(b"\n");
    hasher.write(text.as_str().as_bytes());
    hasher.finish().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(to: &[&str], text: &str) -> i64 {
        let to: Vec<_> = to.iter().map(|name| Destination::parse(name).unwrap()).collect();
        fingerprint(&to, &Text::kept(text).unwrap())
    }

    #[test]
    fn a_fingerprint_is_that_of_the_destinations_in_any_order_and_the_text() {
        assert_eq!(of(&["bob", "#home"], "hi"), of(&["#home", "bob"], "hi"));
        assert_ne!(of(&["bob"], "hi"), of(&["bob"], "hi "));
        assert_ne!(of(&["bob"], "hi"), of(&["bo"], "hi"));
        assert_ne!(of(&["bob", "carol"], "hi"), of(&["bob"], "hi"));
    }

    #[test]
    fn a_fingerprint_is_kept_in_databases_and_never_changes() {
        assert_eq!(of(&["bob"], "hi"), FIRST);
    }

    const FIRST: i64 = -3_400_175_996_723_340_846;
}
