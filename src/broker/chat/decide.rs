//! The first half of a turn: what each event changes, and what the store is to write and read for it.

use super::{Act, Chat, Feed, Peer, Session, Turn};
use crate::broker::outbox::Outbox;
use crate::broker::{Delivered, EndReason, Event, Inlet};
use crate::limits::TURN_PAGES_MAX;
use crate::message::{Destination, PeerId, PeerName, SessionId, Text, Timestamp};
use crate::protocol::{Code, Protocol, Refusal, Reply, Request};
use crate::store::{Entry, Read, TurnRequest};

impl Chat {
    /// Takes a turn's events: what follows from them once the store has done what it is to do.
    pub(in crate::broker) fn decide(&mut self, events: Vec<Event>, now: Timestamp) -> (Turn, TurnRequest) {
        let mut turn = Turn::default();
        let mut request = TurnRequest::default();
        self.feed_starved();
        for event in events {
            match event {
                Event::Join { session, name, protocol, outbox } => self.join(session, &name, protocol, outbox),
                Event::Requests { session, requests, permit } => {
                    self.requests(session, requests, now, &mut turn, &mut request);
                    turn.asked.push((session, permit));
                }
                Event::Taken { session, bytes, delivered } => self.taken(session, bytes, delivered),
                Event::End { session, reason } => end(session, reason, &mut turn),
                Event::Leave { session } => self.leave(session),
            }
        }
        self.ask_for_pages(&mut turn, &mut request);
        (turn, request)
    }

    /// A login needs nothing of the disk but that it can be read: it is answered at once.
    fn join(&mut self, session: SessionId, name: &PeerName, protocol: Protocol, inlet: Inlet) {
        let mut outbox = Outbox::new(inlet);
        let Some(peer) = self.ids.get(name).and_then(|id| self.peers.get_mut(id)) else {
            let refusal = unreachable_peer(name, "not logged in");
            outbox.append(None, |out| protocol.encode_reply(&Reply::Refused(refusal), out));
            outbox.flush();
            return;
        };
        let id = peer.record.id;
        if !peer.record.seen {
            if std::mem::replace(&mut peer.is_kept, true) {
                self.unknown_names -= 1;
            }
            peer.record.seen = true;
            self.changed.insert(id);
        }
        let welcome = Reply::Welcome { name: name.clone(), waiting: peer.waiting() };
        outbox.append(None, |out| protocol.encode_reply(&welcome, out));
        outbox.flush();
        peer.sessions.push(session);
        let joined = Session {
            peer: id,
            protocol,
            outbox,
            feed: if peer.waiting() == 0 { Feed::Live } else { Feed::Replaying },
            fed: peer.record.cursor,
            counted: peer.delivered,
            delivered: peer.delivered,
            ends_at: None,
            permit: None,
            is_hungry: false,
            is_gathered: false,
        };
        let earlier = self.sessions.insert(session, joined);
        assert!(earlier.is_none(), "session {session} joins once");
        self.feed_again(session);
        log::debug!("session {session} joined as {name}");
    }

    fn requests(
        &mut self,
        id: SessionId,
        requests: Vec<Request>,
        now: Timestamp,
        turn: &mut Turn,
        request: &mut TurnRequest,
    ) {
        // One whose login was refused is nobody.
        let Some(peer) = self.sessions.get(&id).map(|session| session.peer) else { return };
        turn.acts.extend(requests.into_iter().map(|asked| self.request(id, peer, asked, now, request)));
    }

    fn request(
        &mut self,
        id: SessionId,
        peer: PeerId,
        asked: Request,
        now: Timestamp,
        request: &mut TurnRequest,
    ) -> Act {
        let act = match asked {
            Request::Send { to, text } => self.send(id, peer, to, text, now, request),
            Request::History { with, count } => self.history(id, peer, with, count, request),
            Request::Who => Ok(Act::Reply { session: id, reply: Reply::Who { here: self.here() } }),
            Request::Ping { token } => Ok(Act::Reply { session: id, reply: Reply::Pong { token } }),
            Request::Help => Ok(Act::Reply { session: id, reply: Reply::Help }),
            Request::Quit => Ok(Act::End { session: id }),
            Request::Malformed(refusal) => Err(refusal),
        };
        act.unwrap_or_else(|refusal| Act::Reply { session: id, reply: Reply::Refused(refusal) })
    }

    /// Appends a message to the turn, for all destinations or for none.
    fn send(
        &mut self,
        session: SessionId,
        sender: PeerId,
        to: Vec<Destination>,
        text: Text,
        now: Timestamp,
        request: &mut TurnRequest,
    ) -> Result<Act, Refusal> {
        let recipients = to.iter().map(|destination| self.recipient(destination)).collect::<Result<Vec<_>, _>>()?;
        self.admit_unknown(&recipients)?;
        let mut kept_for = Vec::new();
        for id in &recipients {
            let peer = self.peers.get_mut(id).expect("a recipient was met");
            peer.addressed += 1;
            if !peer.is_here() {
                kept_for.push(*id);
                if !std::mem::replace(&mut peer.is_kept, true) {
                    self.unknown_names += 1;
                    self.changed.insert(*id);
                }
            }
        }
        request.entries.push(Entry::Message { at: now, sender, recipients, text });
        Ok(Act::Deliver { sender: session, kept_for })
    }

    fn recipient(&self, destination: &Destination) -> Result<PeerId, Refusal> {
        let name = match destination {
            Destination::Peer(name) => name,
            Destination::Room(room) => {
                return Err(Refusal::new(Code::NotAMember, format!("you are not in {room}; not sent")));
            }
        };
        let id = *self.ids.get(name).ok_or_else(|| unreachable_peer(name, "not sent"))?;
        let peer = &self.peers[&id];
        let waiting = peer.waiting();
        if waiting >= self.mailbox_max && !self.keeps_up(peer) {
            let words =
                format!("{waiting} messages wait for {name}, and mailbox_max is {}; not sent", self.mailbox_max);
            return Err(Refusal::new(Code::MailboxFull, words));
        }
        Ok(id)
    }

    /// Refuses names that nobody has used, once messages wait for too many such names: anyone may make names up.
    fn admit_unknown(&self, recipients: &[PeerId]) -> Result<(), Refusal> {
        let mut unknown = recipients.iter().map(|id| &self.peers[id]).filter(|peer| !peer.is_kept);
        let Some(first) = unknown.next() else { return Ok(()) };
        if self.unknown_names + 1 + unknown.count() as u64 <= self.unknown_names_max {
            return Ok(());
        }
        let words = format!(
            "nobody has ever logged in as {}, messages wait for {} such names, and unknown_names_max is {}; not sent",
            first.record.name, self.unknown_names, self.unknown_names_max
        );
        Err(Refusal::new(Code::MailboxFull, words))
    }

    /// Whether what is not delivered to a peer is on its way to it: that much is bounded by an outbox, and a crowd of
    /// senders must not be refused for it.
    fn keeps_up(&self, peer: &Peer) -> bool {
        peer.sessions.iter().any(|session| self.sessions[session].feed == Feed::Live)
    }

    fn history(
        &self,
        session: SessionId,
        peer: PeerId,
        with: Option<Destination>,
        count: usize,
        request: &mut TurnRequest,
    ) -> Result<Act, Refusal> {
        let with = match with {
            None => None,
            Some(Destination::Peer(name)) => {
                Some(*self.ids.get(&name).ok_or_else(|| unreachable_peer(&name, "nothing is shown"))?)
            }
            Some(Destination::Room(room)) => {
                return Err(Refusal::new(Code::NotAMember, format!("you are not in {room}; nothing is shown")));
            }
        };
        let read = request.reads.len();
        request.reads.push(Read::History { peer, with, count });
        Ok(Act::History { session, read })
    }

    fn here(&self) -> Vec<PeerName> {
        let here = self.peers.values().filter(|peer| peer.is_here());
        let mut names: Vec<PeerName> = here.map(|peer| peer.record.name.clone()).collect();
        names.sort_unstable();
        names
    }

    fn taken(&mut self, id: SessionId, bytes: usize, delivered: Option<Delivered>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.outbox.written(bytes);
        if session.outbox.has_room(0) {
            session.permit = None;
        }
        if let Some(Delivered { seq, messages }) = delivered {
            session.delivered += messages;
            let peer = self.peers.get_mut(&session.peer).expect("a session's peer is remembered");
            // Another session of the peer may have got further.
            peer.delivered = peer.delivered.max(session.delivered);
            if seq > peer.record.cursor {
                peer.record.cursor = seq;
                self.moved.insert(session.peer);
            }
        }
        self.feed_again(id);
    }

    fn leave(&mut self, id: SessionId) {
        // A session whose login was refused never joined.
        if let Some(session) = self.sessions.remove(&id) {
            self.detach(id, session.peer);
            log::debug!("session {id} left");
        }
    }

    /// Adds what is to be kept of peers when the store is about to get the turn: what a turn before it was to keep and did
    /// not is among it, as these messages may be theirs.
    pub(in crate::broker) fn keep_changed(&mut self, request: &mut TurnRequest) {
        let peers = &self.peers;
        request.entries.extend(self.changed.drain().map(|id| Entry::Peer(peers[&id].record.clone())));
    }

    /// Adds all that has changed of peers, cursors too.
    pub(in crate::broker) fn keep_all_changed(&mut self, request: &mut TurnRequest) {
        self.changed.extend(self.moved.drain());
        self.keep_changed(request);
    }

    fn ask_for_pages(&mut self, turn: &mut Turn, request: &mut TurnRequest) {
        while turn.pages.len() < TURN_PAGES_MAX
            && let Some(id) = self.hungry.pop_front()
        {
            let Some(session) = self.sessions.get(&id) else { continue };
            turn.pages.push(id);
            request.reads.push(Read::Page { peer: session.peer, after: session.fed });
        }
    }
}

fn end(session: SessionId, reason: EndReason, turn: &mut Turn) {
    if reason == EndReason::Shutdown {
        turn.acts.push(Act::Reply { session, reply: Reply::ShuttingDown });
    }
    turn.acts.push(Act::End { session });
}

fn unreachable_peer(name: &PeerName, became: &str) -> Refusal {
    Refusal::new(Code::Internal, format!("{name} cannot be looked up now, the log says why; {became}"))
}
