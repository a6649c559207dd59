//! The first half of a turn: what each event changes, and what the store is to write and read for it.

use super::{Acks, Chat, Completion, Feed, Greeting, Requester, Session, TurnBuilder, unreachable_peer};
use crate::broker::outbox::Outbox;
use crate::broker::post::ReadPost;
use crate::broker::{Delivered, Event, Joining};
use crate::limits::TURN_PAGES_MAX;
use crate::message::{PeerName, SessionId, Timestamp};
use crate::protocol::Reply;
use crate::store::{Entry, EventKind, PageQuery, Read, WaitingQuery};

impl Chat {
    /// Takes a turn's events, and what was found in the table `outbox`: what follows from them once the store has done what it
    /// is to do.
    pub(in crate::broker) fn decide(
        &mut self,
        events: Vec<Event>,
        posts: Vec<ReadPost>,
        now: Timestamp,
    ) -> TurnBuilder {
        let mut turn = TurnBuilder::new(now);
        self.retry_failed_reads();
        for event in events {
            match event {
                Event::Join { session, name, joining } => self.join(session, &name, joining, &mut turn),
                Event::Requests { session, requests, permit } => {
                    self.requests(session, requests, &mut turn);
                    turn.hold_permit(session, permit);
                }
                Event::DeliveryReport { session, bytes, delivered } => self.taken(session, bytes, delivered),
                Event::End { session, reason } => turn.complete(Completion::End { session, reason }),
                Event::Leave { session } => self.leave(session, &mut turn),
                Event::OutboxTouched => {}
                Event::Observe { observer, wants, reply } => self.observe(&observer, wants, reply, &mut turn),
                Event::ObserverAdvanced { observer, seen } => self.seen(&observer, seen),
                Event::Observers { only } => self.only_observers(only, &mut turn),
            }
        }
        for post in posts {
            self.send_post(post, &mut turn);
        }
        self.known_ids.clear();
        self.absent_rooms.clear();
        self.ask_for_observers(&mut turn);
        self.ask_for_searches(&mut turn);
        self.ask_for_pages(&mut turn);
        turn
    }

    /// A login needs nothing of the disk but that it can be read: it is answered at once, where nothing is to be counted.
    fn join(&mut self, session: SessionId, name: &PeerName, joining: Joining, turn: &mut TurnBuilder) {
        let Joining { id, mut encoder, is_plugin, outbox: sender } = joining;
        let mut outbox = Outbox::new(sender);
        let Some(peer_id) = self.ids.get(name).copied() else {
            let refusal = Reply::Refused(unreachable_peer(name, "not logged in"));
            outbox.append(None, |out| encoder.encoder.encode_reply(id.as_ref(), &refusal, out));
            outbox.flush();
            return;
        };
        self.see(peer_id);
        let peer = self.peers.get_mut(&peer_id).expect("a known peer is remembered");
        peer.is_plugin = is_plugin;
        let (waiting, is_in_rooms, cursor) = (peer.waiting(), !peer.rooms.is_empty(), peer.record.cursor);
        let joined = Session {
            peer: peer_id,
            outbox,
            feed: if waiting == 0 && !is_in_rooms { Feed::Live } else { Feed::Replaying },
            fed: cursor,
            counted: peer.delivered,
            delivered: peer.delivered,
            acks: encoder.capabilities.acknowledges.then(|| Box::new(Acks::new(cursor))),
            encoder,
            ends_at: None,
            permit: None,
            is_searching: false,
            awaits_page: false,
            is_in_batch: false,
        };
        let earlier = self.sessions.insert(session, joined);
        assert!(earlier.is_none(), "session {session} joins once");
        let requester = Requester { session, id, peer: peer_id };
        if is_in_rooms {
            let waiting = turn.read(Read::Waiting, WaitingQuery { peer: peer_id, after: cursor });
            turn.greet_later(Greeting { requester, waiting });
        } else {
            self.greet(&requester, waiting);
        }
        if self.attach(session, peer_id) {
            turn.complete(Completion::Presence { name: name.clone(), here: true });
            self.note(EventKind::Join, peer_id, turn);
        }
        self.feed_again(session);
        log::debug!("session {session} joined as {name}");
    }

    /// Welcomes a session: that is the first that it is sent.
    pub(super) fn greet(&mut self, requester: &Requester, waiting: u64) {
        let id = requester.session;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let welcome = Reply::Welcome { name: self.peers[&session.peer].record.name.clone(), waiting };
        session.reply(requester.id.as_ref(), &welcome);
        session.outbox.flush();
        if session.encoder.capabilities.wants_announcements() {
            self.subscribers.insert(id);
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

    fn leave(&mut self, id: SessionId, turn: &mut TurnBuilder) {
        // A session whose login was refused never joined.
        let Some(session) = self.sessions.remove(&id) else { return };
        if self.detach(id, session.peer) {
            let name = self.peers[&session.peer].record.name.clone();
            turn.complete(Completion::Presence { name, here: false });
            self.note(EventKind::Leave, session.peer, turn);
        }
        log::debug!("session {id} left");
    }

    /// Adds what is to be kept of peers when the store is about to get the turn: what a turn before it was to keep and did
    /// not is among it, as these messages may be theirs.
    pub(in crate::broker) fn keep_changed(&mut self, turn: &mut TurnBuilder) {
        let peers = &self.peers;
        turn.write_all(self.dirty_peers.drain().map(|id| Entry::Peer(peers[&id].record.clone())));
        self.observers.keep_unkept(turn);
    }

    /// Adds all that has changed of peers, cursors too.
    pub(in crate::broker) fn keep_all_changed(&mut self, turn: &mut TurnBuilder) {
        let Chat { peers, dirty_cursors, dirty_peers, observers, .. } = self;
        for id in dirty_cursors.drain() {
            let peer = &peers[&id];
            if !peer.is_plugin {
                observers.note(EventKind::Delivered(peer.record.cursor), id, turn);
            }
            dirty_peers.insert(id);
        }
        self.observers.keep_moved(turn);
        self.keep_changed(turn);
    }

    fn ask_for_pages(&mut self, turn: &mut TurnBuilder) {
        while turn.pages() < TURN_PAGES_MAX
            && let Some(id) = self.page_queue.pop_front()
        {
            let Some(session) = self.sessions.get(&id) else { continue };
            let is_addressed = session.encoder.capabilities.shows_recipients;
            let query = PageQuery { peer: session.peer, after: session.fed, is_addressed };
            let page = turn.read(Read::Page, query);
            turn.feed_page(id, page);
        }
    }
}
