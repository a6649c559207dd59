//! Feeds: put messages into the outboxes of sessions, live or page by page. Owns how far each session is fed; never the encoding of a
//! message.

use foldhash::HashMap as IdMap;

use super::delivery::{CommittedMessage, Delivery};
use super::encoded::{Encodings, OutgoingMessage};
use super::rooms::RoomState;
use super::session_outbox::SessionOutbox;
use super::state::{Chat, Feed, Peer, Session};
use super::turn::TurnBuilder;
use crate::broker::budget::OutboxBudget;
use crate::broker::outbox::{Delivered, SessionValue};
use crate::limits::{PAGE_BYTES_MAX, TURN_PAGES_MAX};
use crate::message::{Message, Room, RoomId, Seq, SessionId};
use crate::protocol::Reply;
use crate::store::{Fed, Page, PageQuery, Read, ReadFailure};

impl Chat {
    /// Adds reads of pages for the sessions in the queue, up to the limit of a turn.
    pub(super) fn read_pages(&mut self, turn: &mut TurnBuilder) {
        while turn.pages() < TURN_PAGES_MAX
            && let Some(id) = self.page_queue.pop_front()
        {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let Some(bytes_max) = session.outbox.room_for_page(&self.budget) else {
                // The outbox was filled meanwhile; the session is queued again when its bytes are written.
                session.awaits_page = false;
                continue;
            };
            let is_addressed = session.outbox.capabilities().shows_recipients;
            let query = PageQuery { peer: session.peer, after: session.fed, is_addressed, bytes_max };
            let page = turn.read(Read::Page, query);
            turn.feed_page(id, page);
        }
    }

    /// Puts a page into the outbox of a session. If the page reaches the newest message, the session is live from then on.
    pub(super) fn feed_page(&mut self, id: SessionId, page: Result<Page, ReadFailure>, delivery: &mut Delivery) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Ok(page) = page else {
            self.failed_reads.push(id);
            return self.allow_requests(id);
        };
        if page.reached == session.fed && !page.complete {
            // Other pages used up the time or the bytes of the turn.
            self.page_queue.push_back(id);
            return;
        }
        session.awaits_page = false;
        session.note_missed(&page, &self.rooms, &mut self.budget);
        let Page { messages, reached, complete, .. } = page;
        let peer = &self.peers[&session.peer];
        for Fed { message, is_direct } in messages {
            assert!(message.seq > session.fed, "a feed goes forward: {} after {}", message.seq, session.fed);
            count_removed(session, peer, message.seq);
            session.feed(message, is_direct, &mut self.budget);
        }
        let reached = if complete { self.newest } else { reached };
        count_removed(session, peer, reached.next());
        session.fed = session.fed.max(reached);
        if complete {
            session.feed = Feed::Live;
        }
        delivery.add(id, session);
        if complete || session.outbox.appended_bytes() >= PAGE_BYTES_MAX as u64 {
            self.allow_requests(id);
        }
        self.end_if_fed(id, delivery);
    }

    /// Allows a session to submit requests, now that it has the first page of its messages, or as it cannot be read. So the reply to a
    /// `ping` right after the login comes after what waited, up to a page.
    fn allow_requests(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id)
            && std::mem::take(&mut session.awaits_first_page)
        {
            self.end_unfinished(id);
        }
    }

    /// Puts a message into the outboxes of all live sessions that get it. Returns the other sessions of its sender that want a copy, and the
    /// copy.
    pub(super) fn feed_message(
        &mut self,
        committed: CommittedMessage,
        sent_by: Option<SessionId>,
        delivery: &mut Delivery,
    ) -> Option<(Vec<SessionId>, Reply)> {
        let CommittedMessage { seq, at, sender, recipients, text } = committed;
        let Chat { peers, rooms, sessions, subscribers, budget, .. } = self;
        let peer = &peers[&sender];
        let message = Message { seq, at, sender: peer.record.name.clone(), to: Vec::new(), room: None, text };
        let mut outgoing = OutgoingMessage { message, recipients: &recipients, peers, rooms };
        delivery.encodings.clear();
        for peer in recipients.iter().filter_map(|recipient| recipient.peer()) {
            feed_peer(&peers[&peer], (sessions, budget), None, &mut outgoing, delivery);
        }
        // A session that has the message already, through another destination, does not get it again.
        for room in recipients.iter().filter_map(|recipient| recipient.room()) {
            let RoomState { name, online, .. } = &rooms[&room];
            for peer in online.iter().filter(|peer| **peer != sender) {
                let peer = &peers[peer];
                if peer.rooms[&room].is_reached_by(seq) {
                    feed_peer(peer, (sessions, budget), Some((room, name)), &mut outgoing, delivery);
                }
            }
        }
        let wants_copy = |id: &SessionId| {
            Some(*id) != sent_by && subscribers.contains(id) && sessions[id].outbox.capabilities().wants_copies
        };
        let copied: Vec<SessionId> = peer.sessions.iter().copied().filter(wants_copy).collect();
        (!copied.is_empty()).then(|| (copied, Reply::Sent(outgoing.into_copy())))
    }

    /// Notes that messages are delivered to a session, and moves the cursor of its peer.
    pub(super) fn note_delivered(&mut self, id: SessionId, delivered: Option<Delivered>) {
        let Some(Delivered { seq, messages }) = delivered else { return };
        let session = self.sessions.get_mut(&id).expect("only a session receives messages");
        session.delivered += messages;
        let peer = self.peers.get_mut(&session.peer).expect("the peer of a session is in memory");
        // Another session of the peer may have received more.
        peer.delivered = peer.delivered.max(session.delivered);
        if seq > peer.record.cursor {
            peer.record.cursor = seq;
            self.dirty_cursors.insert(session.peer);
        }
    }
}

/// Puts a message into the outboxes of a peer's live sessions, except those that have it from a page of this turn or through another
/// destination.
fn feed_peer(
    peer: &Peer,
    (sessions, budget): (&mut IdMap<SessionId, Box<Session>>, &mut OutboxBudget),
    room: Option<(RoomId, &Room)>,
    outgoing: &mut OutgoingMessage<'_>,
    delivery: &mut Delivery,
) {
    for id in &peer.sessions {
        let session = sessions.get_mut(id).expect("the sessions of a peer are in memory");
        let seq = outgoing.message.seq;
        if session.feed == Feed::Live && seq > session.fed {
            feed_live(session, room, outgoing, &mut delivery.encodings, budget);
            delivery.add(*id, session);
        }
    }
}

/// Puts a message into the outbox of a live session. If the outbox is full, the session replays from the log once there is room.
fn feed_live(
    session: &mut Session,
    room: Option<(RoomId, &Room)>,
    outgoing: &mut OutgoingMessage<'_>,
    encodings: &mut Encodings,
    budget: &mut OutboxBudget,
) {
    let delivered = Delivered { seq: outgoing.message.seq, messages: u64::from(room.is_none()) };
    let mark = session.mark(delivered);
    let is_fed = match &mut session.outbox {
        SessionOutbox::Lines { encoder, outbox } => {
            let bytes = encodings.get(encoder, room, outgoing);
            let has_room = outbox.has_room(bytes.len(), budget);
            if has_room {
                outbox.append(mark, budget, |out| out.extend_from_slice(bytes));
            }
            has_room
        }
        SessionOutbox::Values { outbox, .. } => {
            let value = SessionValue::Message(outgoing.message_through(room.map(|(_, name)| name)));
            let has_room = outbox.has_room(value.bytes(), budget);
            if has_room {
                outbox.push(value, budget);
            }
            has_room
        }
    };
    if is_fed {
        session.note_fed(delivered);
    } else {
        session.feed = Feed::Replaying;
    }
}

/// Counts the messages that were removed before this session got them. That happens to a session that lags behind another session of its
/// peer, to which they were delivered. When its feed passes the peer's cursor, its counts are raised to the peer's.
fn count_removed(session: &mut Session, peer: &Peer, next: Seq) {
    if (session.fed..next).contains(&peer.record.cursor) {
        let removed = peer.delivered.saturating_sub(session.counted);
        session.counted += removed;
        session.delivered += removed;
    }
}
