//! The first half of a turn: what each event changes, and what the store is to write and read for it.

use super::{Acks, Chat, Completion, Feed, Greeting, Session, Turn, unreachable_peer};
use crate::broker::outbox::Outbox;
use crate::broker::post::ReadPost;
use crate::broker::{Delivered, EndReason, Event, Joining};
use crate::limits::TURN_PAGES_MAX;
use crate::message::{PeerName, RequestId, SessionId, Timestamp};
use crate::protocol::{Protocol, Reply};
use crate::store::{Entry, EventKind, Read, TurnRequest};

impl Chat {
    /// Takes a turn's events, and what was found in the table `outbox`: what follows from them once the store has done what it
    /// is to do.
    pub(in crate::broker) fn decide(
        &mut self,
        events: Vec<Event>,
        posts: Vec<ReadPost>,
        now: Timestamp,
    ) -> (Turn, TurnRequest) {
        let mut turn = Turn::new(now);
        let mut request = TurnRequest::default();
        self.retry_failed_reads();
        for event in events {
            match event {
                Event::Join { session, name, joining } => self.join(session, &name, joining, &mut turn, &mut request),
                Event::Requests { session, requests, permit } => {
                    self.requests(session, requests, &mut turn, &mut request);
                    turn.asked.push((session, permit));
                }
                Event::DeliveryReport { session, bytes, delivered } => self.taken(session, bytes, delivered),
                Event::End { session, reason } => end(session, reason, &mut turn),
                Event::Leave { session } => self.leave(session, &mut turn, &mut request),
                Event::OutboxTouched => {}
                Event::Observe { observer, wants, reply } => self.observe(&observer, wants, reply, &mut request),
                Event::ObserverAdvanced { observer, seen } => self.seen(&observer, seen),
                Event::Observers { only } => self.only_observers(only, &mut request),
            }
        }
        for post in posts {
            self.send_post(post, &mut turn, &mut request);
        }
        self.known_ids.clear();
        self.absent_rooms.clear();
        self.ask_for_observers(&mut turn, &mut request);
        self.ask_for_searches(&mut turn, &mut request);
        self.ask_for_pages(&mut turn, &mut request);
        (turn, request)
    }

    /// A login needs nothing of the disk but that it can be read: it is answered at once, where nothing is to be counted.
    fn join(
        &mut self,
        session: SessionId,
        name: &PeerName,
        joining: Joining,
        turn: &mut Turn,
        request: &mut TurnRequest,
    ) {
        let Joining { id, protocol, acks, is_plugin, outbox: sender } = joining;
        let mut outbox = Outbox::new(sender);
        let Some(peer_id) = self.ids.get(name).copied() else {
            let refusal = Reply::Refused(unreachable_peer(name, "not logged in"));
            outbox.append(None, |out| protocol.encode_reply(id.as_ref(), &refusal, out));
            outbox.flush();
            return;
        };
        self.see(peer_id);
        let peer = self.peers.get_mut(&peer_id).expect("a known peer is remembered");
        peer.is_plugin = is_plugin;
        let (waiting, is_in_rooms, cursor) = (peer.waiting(), !peer.rooms.is_empty(), peer.record.cursor);
        let joined = Session {
            peer: peer_id,
            protocol,
            outbox,
            feed: if waiting == 0 && !is_in_rooms { Feed::Live } else { Feed::Replaying },
            fed: cursor,
            counted: peer.delivered,
            delivered: peer.delivered,
            acks: acks.then(|| Box::new(Acks::new(cursor))),
            ends_at: None,
            permit: None,
            is_searching: false,
            awaits_page: false,
            is_in_batch: false,
        };
        let earlier = self.sessions.insert(session, joined);
        assert!(earlier.is_none(), "session {session} joins once");
        if is_in_rooms {
            turn.greeted.push(Greeting { session, id, read: request.reads.len() });
            request.reads.push(Read::Waiting { peer: peer_id, after: cursor });
        } else {
            self.greet(session, id.as_ref(), waiting);
        }
        if self.attach(session, peer_id) {
            turn.completions.push(Completion::Presence { name: name.clone(), here: true });
            self.note(EventKind::Join, peer_id, turn.at, request);
        }
        self.feed_again(session);
        log::debug!("session {session} joined as {name}");
    }

    /// Welcomes a session: that is the first that it is sent.
    pub(super) fn greet(&mut self, id: SessionId, request: Option<&RequestId>, waiting: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let protocol = session.protocol;
        let welcome = Reply::Welcome { name: self.peers[&session.peer].record.name.clone(), waiting };
        session.outbox.append(None, |out| protocol.encode_reply(request, &welcome, out));
        session.outbox.flush();
        if protocol == Protocol::Json {
            let is_plugin = self.peers[&session.peer].is_plugin;
            if is_plugin {
                self.plugin_sessions.insert(id)
            } else {
                self.presence_subscribers.insert(id)
            };
        }
    }

    fn taken(&mut self, id: SessionId, bytes: usize, delivered: Option<Delivered>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.outbox.written(bytes);
        if session.outbox.has_room(0) && !session.is_searching {
            session.permit = None;
        }
        let delivered = match &mut session.acks {
            Some(acks) => {
                acks.write(session.outbox.written_bytes());
                acks.take_delivered()
            }
            None => delivered,
        };
        self.delivered(id, delivered);
        self.feed_again(id);
    }

    /// A client has got messages.
    pub(super) fn delivered(&mut self, id: SessionId, delivered: Option<Delivered>) {
        let Some(Delivered { seq, messages }) = delivered else { return };
        let session = self.sessions.get_mut(&id).expect("a session that is there got it");
        session.delivered += messages;
        let peer = self.peers.get_mut(&session.peer).expect("a session's peer is remembered");
        // Another session of the peer may have got further.
        peer.delivered = peer.delivered.max(session.delivered);
        if seq > peer.record.cursor {
            peer.record.cursor = seq;
            self.dirty_cursors.insert(session.peer);
        }
    }

    fn leave(&mut self, id: SessionId, turn: &mut Turn, request: &mut TurnRequest) {
        // A session whose login was refused never joined.
        let Some(session) = self.sessions.remove(&id) else { return };
        if self.detach(id, session.peer) {
            let name = self.peers[&session.peer].record.name.clone();
            turn.completions.push(Completion::Presence { name, here: false });
            self.note(EventKind::Leave, session.peer, turn.at, request);
        }
        log::debug!("session {id} left");
    }

    /// Adds what is to be kept of peers when the store is about to get the turn: what a turn before it was to keep and did
    /// not is among it, as these messages may be theirs.
    pub(in crate::broker) fn keep_changed(&mut self, request: &mut TurnRequest) {
        let peers = &self.peers;
        request.entries.extend(self.dirty_peers.drain().map(|id| Entry::Peer(peers[&id].record.clone())));
        self.observers.keep_unkept(request);
    }

    /// Adds all that has changed of peers, cursors too.
    pub(in crate::broker) fn keep_all_changed(&mut self, request: &mut TurnRequest, at: Timestamp) {
        let Chat { peers, dirty_cursors, dirty_peers, observers, .. } = self;
        for id in dirty_cursors.drain() {
            let peer = &peers[&id];
            if !peer.is_plugin {
                observers.note(EventKind::Delivered(peer.record.cursor), id, at, request);
            }
            dirty_peers.insert(id);
        }
        self.observers.keep_moved(request);
        self.keep_changed(request);
    }

    fn ask_for_pages(&mut self, turn: &mut Turn, request: &mut TurnRequest) {
        while turn.pages.len() < TURN_PAGES_MAX
            && let Some(id) = self.page_queue.pop_front()
        {
            let Some(session) = self.sessions.get(&id) else { continue };
            turn.pages.push(id);
            let is_addressed = session.protocol.says_destinations();
            request.reads.push(Read::Page { peer: session.peer, after: session.fed, is_addressed });
        }
    }
}

fn end(session: SessionId, reason: EndReason, turn: &mut Turn) {
    if reason == EndReason::Shutdown {
        turn.completions.push(Completion::Reply { session, id: None, reply: Reply::ShuttingDown });
    }
    turn.completions.push(Completion::End { session });
}
