//! Life of a session: login, welcome, delivery reports, logout. Owns these steps; never what a session is fed.

use super::acks::Acks;
use super::completion::{Completion, Requester};
use super::delivery::Delivery;
use super::scans::ScanPurpose;
use super::session_outbox::SessionOutbox;
use super::state::{Chat, Feed, Peer, Session};
use super::turn::TurnBuilder;
use crate::broker::event::{Access, FoundAccount, Joining};
use crate::broker::outbox::Delivered;
use crate::message::{PeerId, PeerName, RequestId, SessionId};
use crate::protocol::{Code, Refusal, Reply};
use crate::source::Source;
use crate::store::{Entry, EventKind, WaitingQuery, WaitingScan};

/// Outcome of a login that is refused.
const NOT_LOGGED_IN: &str = "not logged in";

/// Refuses to register a name that somebody uses.
pub(crate) fn taken(name: &PeerName) -> Refusal {
    let words =
        format!("{name} is used by somebody already; choose another name, or log in and type /register PASSWORD");
    Refusal::new(Code::BadName, words).with_outcome(NOT_LOGGED_IN)
}

impl Chat {
    /// Returns what a connection must know of a name before its client may log in.
    pub(super) fn find_account(&self, name: &PeerName) -> Result<FoundAccount, Refusal> {
        let peer = &self.peers[&self.find_peer(name, NOT_LOGGED_IN)?];
        Ok(FoundAccount { password: peer.password.clone(), source: peer.source, is_used: peer.record.seen })
    }

    /// Logs a session in, and welcomes it at once. If the peer has rooms, the welcome waits until the messages that wait in them are counted;
    /// if the client registers its name, until that is committed.
    pub(super) fn log_in(&mut self, session: SessionId, name: &PeerName, joining: Joining, turn: &mut TurnBuilder) {
        let Joining { id, source, access, output, permit } = joining;
        let outbox = SessionOutbox::new(output);
        let peer = match self.find_peer(name, NOT_LOGGED_IN) {
            Ok(peer) => peer,
            Err(refusal) => return self.refuse_login(id.as_ref(), refusal, outbox),
        };
        if let Err(refusal) = self.check_access(peer, &access, turn) {
            return self.refuse_login(id.as_ref(), refusal, outbox);
        }
        self.use_name(peer);
        self.note_source(peer, source);
        let requester = Requester { session, id, peer };
        self.open_session(&requester, source, outbox);
        match access {
            Access::Registration(password) => {
                self.sessions.get_mut(&session).expect("the session is open").unfinished += 1;
                turn.change_account(Entry::Account { peer, password: Some(password), at: turn.at() });
                turn.complete(Completion::Registration { requester });
            }
            Access::Free | Access::Password(_) | Access::Plugin => self.begin_welcome(requester),
        }
        let opened = self.sessions.get_mut(&session).expect("the session is open");
        if opened.unfinished > 0 {
            opened.permit = permit;
        }
        if self.attach(session, peer) {
            turn.complete(Completion::Presence { peer });
            self.record_event(EventKind::Join, peer, turn);
        }
        log::debug!("session {session} joined as {name}");
    }

    /// Checks that a client may use a name, once more: its password may have changed since the connection asked for it.
    fn check_access(&self, peer: PeerId, access: &Access, turn: &TurnBuilder) -> Result<(), Refusal> {
        let Peer { record, password, .. } = &*self.peers[&peer];
        let name = &record.name;
        let words = match access {
            Access::Plugin => return Ok(()),
            Access::Free if password.is_none() && !turn.changes_account(peer) => return Ok(()),
            Access::Free => format!("{name} has a password now"),
            Access::Password(checked) if password.as_ref() == Some(checked) => return Ok(()),
            Access::Password(_) => format!("the password of {name} was changed meanwhile"),
            Access::Registration(_) if password.is_none() && !record.seen && !turn.changes_account(peer) => {
                return Ok(());
            }
            Access::Registration(_) => return Err(taken(name)),
        };
        Err(Refusal::new(Code::BadPassword, words).with_outcome(NOT_LOGGED_IN))
    }

    fn refuse_login(&mut self, id: Option<&RequestId>, refusal: Refusal, mut outbox: SessionOutbox) {
        outbox.reply(id, &Reply::Refused(refusal), &mut self.budget);
        outbox.flush();
        outbox.release(&mut self.budget);
    }

    /// Welcomes a client that registered its name, if that was committed. The client may have left.
    pub(super) fn complete_registration(&mut self, requester: Requester, delivery: &mut Delivery) {
        if delivery.commit.is_err() {
            self.refuse_uncommitted(&requester, "not registered", delivery);
            return self.end(requester.session, delivery);
        }
        let name = self.peers[&requester.peer].record.name.clone();
        self.reply(&requester, &Reply::Registered { name }, delivery);
        let Requester { session, peer, .. } = requester;
        if self.sessions.contains_key(&session) {
            self.begin_welcome(Requester { session, id: None, peer });
            self.end_unfinished(session);
        }
    }

    /// Welcomes a session, at once or when the messages that wait in its rooms are counted.
    fn begin_welcome(&mut self, requester: Requester) {
        let state = &self.peers[&requester.peer];
        if state.rooms.is_empty() && (!state.is_estimated || state.waiting() == 0) {
            self.welcome(&requester, state.waiting());
        } else {
            let query = WaitingQuery { peer: requester.peer, after: state.record.cursor };
            self.begin_scan(requester, ScanPurpose::Welcome, WaitingScan::new(query));
        }
    }

    fn open_session(&mut self, requester: &Requester, source: Source, outbox: SessionOutbox) {
        let Requester { session: id, peer: peer_id, .. } = *requester;
        let peer = self.peers.get_mut(&peer_id).expect("a peer that was looked up is in memory");
        peer.is_plugin = outbox.is_plugin();
        let (waits, cursor) = (peer.waiting() > 0 || !peer.rooms.is_empty(), peer.record.cursor);
        let session = Session {
            peer: peer_id,
            source,
            is_welcomed: false,
            feed: if waits { Feed::Replaying } else { Feed::Live },
            fed: cursor,
            missed: Vec::new(),
            counted: peer.delivered,
            delivered: peer.delivered,
            acks: outbox.capabilities().acknowledges.then(|| Box::new(Acks::new(cursor))),
            outbox,
            ends_at: None,
            live_to: None,
            permit: None,
            unfinished: usize::from(waits),
            awaits_first_page: waits,
            awaits_page: false,
            is_in_batch: false,
        };
        let earlier = self.sessions.insert(id, Box::new(session));
        assert!(earlier.is_none(), "session {id} joins once");
    }

    /// Welcomes a session although the messages that wait could not be counted: with the number of those that were addressed directly.
    pub(super) fn welcome_uncounted(&mut self, requester: &Requester) {
        let waiting = self.peers.get(&requester.peer).map_or(0, |peer| peer.waiting());
        self.welcome(requester, waiting);
    }

    /// Sends a session its first reply; then its messages follow.
    pub(super) fn welcome(&mut self, requester: &Requester, waiting: u64) {
        let Some(session) = self.sessions.get_mut(&requester.session) else { return };
        let name = self.peers[&session.peer].record.name.clone();
        let welcome = Reply::Welcome { name, waiting, database: self.database, newest: self.newest };
        session.reply(requester.id.as_ref(), &welcome, &mut self.budget);
        session.outbox.flush();
        session.is_welcomed = true;
        if session.outbox.capabilities().wants_announcements() {
            self.subscribers.insert(requester.session);
        }
        self.queue_page(requester.session);
    }

    /// Handles a delivery report: bytes that were written to a client, and messages that its system has acknowledged.
    pub(super) fn take_delivery_report(&mut self, id: SessionId, bytes: usize, delivered: Option<Delivered>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.outbox.written(bytes, &mut self.budget);
        if session.outbox.has_room(0, &self.budget) && session.unfinished == 0 {
            session.permit = None;
        }
        let delivered = match &mut session.acks {
            Some(acks) => {
                acks.write(session.outbox.written_bytes());
                acks.take_delivered()
            }
            None => delivered,
        };
        self.note_delivered(id, delivered);
        self.continue_list(id);
        self.queue_page(id);
    }

    /// Moves the cursor past the newest message if a session that leaves has received everything for its peer: the messages that the peer has
    /// sent into its rooms since then are not scanned at its next login.
    fn skip_own_messages(&mut self, id: SessionId, session: &Session) {
        let peer = self.peers.get_mut(&session.peer).expect("the peer of a session is in memory");
        let is_live = session.feed == Feed::Live && peer.sessions.contains(&id);
        let reached = if is_live { Some(self.newest) } else { session.live_to };
        if let Some(reached) = reached
            && (session.fed..reached).contains(&peer.record.cursor)
            && !peer.rooms.is_empty()
        {
            peer.record.cursor = reached;
            self.dirty_cursors.insert(session.peer);
        }
    }

    /// Removes a session whose connection is closed.
    pub(super) fn log_out(&mut self, id: SessionId, turn: &mut TurnBuilder) {
        // A session whose login was refused was never open.
        let Some(mut session) = self.sessions.remove(&id) else { return };
        session.outbox.release(&mut self.budget);
        self.lists.remove(&id);
        self.skip_own_messages(id, &session);
        if session.acks.as_ref().is_some_and(|acks| !acks.counts_exactly()) {
            self.peers.get_mut(&session.peer).expect("the peer of a session is in memory").is_estimated = true;
        }
        if self.detach(id, session.peer) {
            turn.complete(Completion::Presence { peer: session.peer });
            self.record_event(EventKind::Leave, session.peer, turn);
        }
        log::debug!("session {id} left");
    }
}
