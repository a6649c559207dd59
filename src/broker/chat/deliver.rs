//! The second half of a turn: what was committed is fed, what was read is handed on, what was asked is answered.

use foldhash::{HashMap as IdMap, HashSet as IdSet};
use smol::lock::SemaphoreGuardArc;

use super::encoded::{Encodings, Outgoing};
use super::rooms::RoomHere;
use super::searches::Search;
use super::{Chat, Completion, Feed, Greeting, Note, Peer, Requester, Session, Turn};
use crate::broker::{Delivered, EndReason};
use crate::message::{Message, PeerId, PeerName, Recipient, RequestId, Room, RoomId, Seq, SessionId, Text, Timestamp};
use crate::protocol::{Code, Encoder, Refusal, Reply};
use crate::store::{
    CommitError, Entry, EventKind, Fed, Page, PastPage, ReadFailure, ReadReceiver, SearchResult, TurnOutcome,
};

/// Whom the turn has put something out for.
#[derive(Debug)]
struct DeliveryBatch {
    /// When the turn was decided.
    at: Timestamp,
    /// Each once.
    sessions: Vec<SessionId>,
    /// Who was told what: once a turn is enough.
    told: IdSet<(SessionId, Note)>,
    /// The message that is being fed; the next one takes its memory.
    encodings: Encodings,
}

impl DeliveryBatch {
    fn new(at: Timestamp) -> Self {
        DeliveryBatch { at, sessions: Vec::new(), told: IdSet::default(), encodings: Encodings::default() }
    }

    fn add(&mut self, id: SessionId, session: &mut Session) {
        if !session.is_in_batch {
            session.is_in_batch = true;
            self.sessions.push(id);
        }
    }
}

/// The turn's messages, in order, each with its `seq`.
#[derive(Debug)]
struct Committed {
    entries: std::vec::IntoIter<Entry>,
    /// The message that was handed out last.
    seq: Seq,
}

/// One of them.
struct Logged {
    seq: Seq,
    at: Timestamp,
    sender: PeerId,
    recipients: Vec<Recipient>,
    text: Text,
}

impl Iterator for Committed {
    type Item = Logged;

    fn next(&mut self) -> Option<Self::Item> {
        self.entries.find_map(|entry| match entry {
            Entry::Message { at, sender, recipients, text, .. } => {
                self.seq = self.seq.next();
                Some(Logged { seq: self.seq, at, sender, recipients, text })
            }
            _ => None,
        })
    }
}

impl Session {
    /// Puts a reply into the outbox.
    pub(super) fn reply(&mut self, id: Option<&RequestId>, reply: &Reply) {
        self.outbox.append(None, |out| self.encoder.encoder.encode_reply(id, reply, out));
    }

    /// Puts a message for the session's peer into the outbox.
    fn feed(&mut self, seq: Seq, is_direct: bool, encode: impl FnOnce(&mut dyn Encoder, &mut Vec<u8>)) {
        let message = Delivered { seq, messages: u64::from(is_direct) };
        let encode = |out: &mut Vec<u8>| encode(&mut *self.encoder.encoder, out);
        match &mut self.acks {
            // The client acknowledges explicitly; an acknowledgement of its TCP does not count.
            Some(acks) => {
                self.outbox.append(None, encode);
                acks.feed(self.outbox.appended_bytes(), message);
            }
            None => self.outbox.append(Some(message), encode),
        }
        self.fed = seq;
        self.counted += message.messages;
    }
}

impl Chat {
    /// Nothing of the turn was kept: what it changed and counted is taken back, and what changed of peers goes with the next.
    /// So it must be known before the next is decided.
    pub(in crate::broker) fn undo(&mut self, turn: &mut Turn, entries: &[Entry]) {
        self.settle_membership_changes(turn);
        self.observers.undo(entries);
        for entry in entries {
            match entry {
                Entry::Peer(record) => {
                    self.dirty_peers.insert(record.id);
                }
                Entry::Message { recipients, .. } => {
                    for recipient in recipients.iter().filter_map(|recipient| recipient.peer()) {
                        self.peers.get_mut(&recipient).expect("a turn's recipients are remembered").addressed -= 1;
                    }
                }
                Entry::Room { id, name } => self.undo_room(*id, name),
                _ => {}
            }
        }
    }

    /// Feeds what was committed and read, answers, and hands everyone what was gathered for them.
    pub(in crate::broker) fn deliver(&mut self, turn: Turn, outcome: TurnOutcome) {
        let Turn { completions, greetings, observer_reads, searches, pages, permits, at, .. } = turn;
        let TurnOutcome { entries, commit, before, newest, .. } = outcome;
        assert!(newest >= self.newest, "the log grows: {newest} after {}", self.newest);
        self.newest = newest;
        if commit.is_ok() {
            self.observers.note_committed(&entries);
        }
        let mut batch = DeliveryBatch::new(at);
        // Nothing else comes before a welcome.
        for greeting in greetings {
            self.greet_counted(greeting);
        }
        // The pages hold this turn's commit too: who reaches its end is live when the turn's messages come.
        for (session, page) in pages {
            self.feed_page(session, page.result(), &mut batch);
        }
        let mut committed = Committed { entries: entries.into_iter(), seq: before };
        for completion in completions {
            match (completion, &commit) {
                (Completion::Send { requester, notes }, Ok(())) => {
                    let message = committed.next().expect("each sending has its entry");
                    self.deliver_message(message, requester.as_ref(), &notes, &mut batch);
                }
                (Completion::Repeat { requester, nth }, Ok(())) => {
                    let seq = Seq::new(before.get() + 1 + nth as i64);
                    self.reply(&requester, &Reply::Accepted { seq, at }, &mut batch);
                }
                (Completion::Join { requester, room }, Ok(())) => {
                    let reply = Reply::Joined { room: self.rooms[&room].name.clone() };
                    self.reply(&requester, &reply, &mut batch);
                }
                (Completion::Leave { requester, room }, Ok(())) => {
                    let reply = Reply::Left { room: self.rooms[&room].name.clone() };
                    self.reply(&requester, &reply, &mut batch);
                }
                (Completion::SetValue { requester, key }, Ok(())) => {
                    self.reply(&requester, &Reply::Set { key }, &mut batch);
                }
                (
                    Completion::Send { requester: Some(requester), .. } | Completion::Repeat { requester, .. },
                    Err(error),
                ) => {
                    self.reply(&requester, &not_committed(error, "not sent"), &mut batch);
                }
                // It stays where it is, and is tried again.
                (Completion::Send { requester: None, .. }, Err(_)) => {}
                (Completion::Join { requester, .. }, Err(error)) => {
                    self.reply(&requester, &not_committed(error, "not joined"), &mut batch);
                }
                (Completion::Leave { requester, .. }, Err(error)) => {
                    self.reply(&requester, &not_committed(error, "nothing was done"), &mut batch);
                }
                (Completion::SetValue { requester, .. }, Err(error)) => {
                    self.reply(&requester, &not_committed(error, "not kept"), &mut batch);
                }
                (Completion::Reply { requester, reply }, _) => self.reply(&requester, &reply, &mut batch),
                (Completion::History { requester, page }, _) => {
                    self.reply(&requester, &history_reply(page.result()), &mut batch);
                }
                (Completion::Values { requester, values }, _) => {
                    self.reply(&requester, &values_reply(values.result()), &mut batch);
                }
                (Completion::Presence { name, here }, _) => self.announce(name, here, &mut batch),
                (Completion::End { session, reason }, _) => self.end_at_newest(session, reason, &mut batch),
            }
        }
        for (search, result) in searches {
            self.carry_on(search, result, &mut batch);
        }
        self.flush(batch);
        // Who has gone by now is away.
        for read in observer_reads {
            self.tell_observer(read, commit.is_ok());
        }
        for (session, permit) in permits {
            self.give_back(session, permit);
        }
    }

    /// Delivers a turn that asked the store for nothing.
    pub(in crate::broker) fn deliver_without_commit(&mut self, turn: Turn) {
        let (before, newest) = (self.newest, self.newest);
        self.deliver(turn, TurnOutcome { entries: Vec::new(), commit: Ok(()), before, newest, reads: None });
    }

    fn greet_counted(&mut self, Greeting { requester, waiting }: Greeting) {
        let waiting = match waiting.result() {
            Ok(waiting) => waiting,
            // Where it cannot be read, what is known here must do.
            Err(_) => self.sessions.get(&requester.session).map_or(0, |session| self.peers[&session.peer].waiting()),
        };
        self.greet(&requester, waiting);
    }

    fn feed_page(&mut self, id: SessionId, page: Result<Page, ReadFailure>, batch: &mut DeliveryBatch) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Ok(Page { messages, complete }) = page else { return self.failed_reads.push(id) };
        if messages.is_empty() && !complete {
            // The turn's share of pages was used up before its place came: it is the first of the next.
            self.page_queue.push_front(id);
            return;
        }
        session.awaits_page = false;
        let peer = &self.peers[&session.peer];
        for Fed { message, is_direct } in messages {
            assert!(message.seq > session.fed, "a feed goes forward: {} after {}", message.seq, session.fed);
            count_removed(session, peer, message.seq);
            session.feed(message.seq, is_direct, |encoder, out| encoder.encode_message(&message, out));
        }
        if complete {
            count_removed(session, peer, self.newest.next());
            session.feed = Feed::Live;
            session.fed = self.newest;
        }
        batch.add(id, session);
        self.end_if_fed(id, batch);
    }

    fn deliver_message(
        &mut self,
        logged: Logged,
        requester: Option<&Requester>,
        notes: &[Note],
        batch: &mut DeliveryBatch,
    ) {
        let Logged { seq, at, sender: from, recipients, text } = logged;
        let Chat { peers, rooms, sessions, subscribers, .. } = self;
        let peer = &peers[&from];
        let message = Message { seq, at, sender: peer.record.name.clone(), to: Vec::new(), room: None, text };
        let mut outgoing = Outgoing { message, recipients: &recipients, peers, rooms };
        batch.encodings.clear();
        for peer in recipients.iter().filter_map(|recipient| recipient.peer()) {
            feed_peer(&peers[&peer], sessions, None, &mut outgoing, batch);
        }
        // A session that it reached already is not fed it again.
        for room in recipients.iter().filter_map(|recipient| recipient.room()) {
            let RoomHere { name, here, .. } = &rooms[&room];
            for peer in here.iter().filter(|peer| **peer != from) {
                let peer = &peers[peer];
                if peer.rooms[&room].is_reached_by(seq) {
                    feed_peer(peer, sessions, Some((room, name)), &mut outgoing, batch);
                }
            }
        }
        let wants_copy = |id: &SessionId| {
            requester.is_none_or(|requester| requester.session != *id)
                && subscribers.contains(id)
                && sessions[id].encoder.capabilities.wants_copies
        };
        let copied: Vec<SessionId> = peer.sessions.iter().copied().filter(wants_copy).collect();
        let copy = (!copied.is_empty()).then(|| Reply::Sent(outgoing.into_copy()));
        if let Some(requester) = requester {
            self.tell_sender(requester, seq, notes, batch);
        }
        if let Some(copy) = copy {
            copied.into_iter().for_each(|session| self.tell_if_room(session, &copy, batch));
        }
    }

    /// Tells a sender that its message is accepted, or what a person may want to know of it.
    fn tell_sender(&mut self, requester: &Requester, seq: Seq, notes: &[Note], batch: &mut DeliveryBatch) {
        let sender = requester.session;
        if self.sessions.get(&sender).is_some_and(|session| session.encoder.capabilities.wants_accepted) {
            return self.reply(requester, &Reply::Accepted { seq, at: batch.at }, batch);
        }
        for note in notes {
            if batch.told.insert((sender, *note)) {
                let reply = match note {
                    Note::Kept(peer) => {
                        let record = &self.peers[peer].record;
                        Reply::Kept { peer: record.name.clone(), seen: record.seen }
                    }
                    Note::Alone(room) => Reply::Alone { room: self.rooms[room].name.clone() },
                };
                self.tell(sender, &reply, batch);
            }
        }
    }

    /// Tells the subscribers of presence that a peer connected or disconnected.
    fn announce(&mut self, name: PeerName, here: bool, batch: &mut DeliveryBatch) {
        let presence = Reply::Presence { name, here };
        let wants = |id: &SessionId| self.sessions[id].encoder.capabilities.wants_presence;
        for session in self.subscribers.iter().copied().filter(wants).collect::<Vec<_>>() {
            self.tell_if_room(session, &presence, batch);
        }
    }

    /// Tells a session what it did not ask for: one that does not read does without.
    fn tell_if_room(&mut self, id: SessionId, reply: &Reply, batch: &mut DeliveryBatch) {
        if self.sessions.get(&id).is_some_and(|session| session.outbox.has_room_for_page()) {
            self.tell(id, reply, batch);
        }
    }

    fn reply(&mut self, requester: &Requester, reply: &Reply, batch: &mut DeliveryBatch) {
        self.append_reply(requester.session, requester.id.as_ref(), reply, batch);
    }

    fn tell(&mut self, id: SessionId, reply: &Reply, batch: &mut DeliveryBatch) {
        self.append_reply(id, None, reply, batch);
    }

    fn append_reply(&mut self, id: SessionId, request: Option<&RequestId>, reply: &Reply, batch: &mut DeliveryBatch) {
        // One that left in this turn needs no answer.
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.reply(request, reply);
        batch.add(id, session);
    }

    /// Answers a search, unless the index is not ready for it.
    fn carry_on(&mut self, search: Search, result: ReadReceiver<SearchResult>, batch: &mut DeliveryBatch) {
        let Some(reply) = search_reply(result.result()) else { return self.search_on(search) };
        self.reply(&search.requester, &reply, batch);
        self.end_search(search.requester.session);
    }

    fn end_at_newest(&mut self, id: SessionId, reason: EndReason, batch: &mut DeliveryBatch) {
        if reason == EndReason::Shutdown {
            self.tell(id, &Reply::ShuttingDown, batch);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.ends_at = Some(self.newest);
            self.end_if_fed(id, batch);
        }
    }

    /// Closes a session that is to end and has got what waits for it. Its writer reports what it writes, then it leaves.
    fn end_if_fed(&mut self, id: SessionId, batch: &mut DeliveryBatch) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(ends_at) = session.ends_at else { return };
        if session.feed == Feed::Live || session.fed >= ends_at {
            session.outbox.flush();
            session.outbox.close();
            let peer = session.peer;
            self.detach_and_announce(id, peer, batch);
        }
    }

    fn detach_and_announce(&mut self, id: SessionId, peer: PeerId, batch: &mut DeliveryBatch) {
        if self.detach(id, peer) {
            let name = self.peers[&peer].record.name.clone();
            self.note_late(EventKind::Leave, peer, batch.at);
            self.announce(name, false, batch);
        }
    }

    fn flush(&mut self, mut batch: DeliveryBatch) {
        // To close one may have something to be told to others.
        while let Some(id) = batch.sessions.pop() {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            session.is_in_batch = false;
            session.outbox.flush();
            if session.outbox.is_closed() {
                let peer = session.peer;
                self.detach_and_announce(id, peer, &mut batch);
            }
            self.feed_again(id);
        }
    }

    /// Lets a client hand in more, unless it does not take what it is answered, or waits for what it searches.
    fn give_back(&mut self, id: SessionId, permit: SemaphoreGuardArc) {
        if let Some(session) = self.sessions.get_mut(&id)
            && (session.is_searching || !session.outbox.has_room(0))
        {
            session.permit = Some(permit);
        }
    }
}

/// Puts a message into the outboxes of a peer's sessions that are live. What a page of this turn held already is not sent
/// again, nor what came by another way.
fn feed_peer(
    peer: &Peer,
    sessions: &mut IdMap<SessionId, Session>,
    room: Option<(RoomId, &Room)>,
    outgoing: &mut Outgoing<'_>,
    batch: &mut DeliveryBatch,
) {
    for id in &peer.sessions {
        let session = sessions.get_mut(id).expect("a peer's sessions are known");
        let seq = outgoing.message.seq;
        if session.feed == Feed::Live && seq > session.fed {
            let bytes = batch.encodings.get(&mut session.encoder, room, outgoing);
            feed_live(session, seq, room.is_none(), bytes);
            batch.add(*id, session);
        }
    }
}

/// A session that lags behind what another has delivered may find some of that removed. Where it has caught up with the
/// cursor, it counts as delivered what the peer counts.
fn count_removed(session: &mut Session, peer: &Peer, next: Seq) {
    if (session.fed..next).contains(&peer.record.cursor) {
        let removed = peer.delivered.saturating_sub(session.counted);
        session.counted += removed;
        session.delivered += removed;
    }
}

/// A live session whose outbox is full reads on from the log, once there is room again.
fn feed_live(session: &mut Session, seq: Seq, is_direct: bool, bytes: &[u8]) {
    if session.outbox.has_room(bytes.len()) {
        session.feed(seq, is_direct, |_, out| out.extend_from_slice(bytes));
    } else {
        session.feed = Feed::Replaying;
    }
}

fn history_reply(page: Result<PastPage, ReadFailure>) -> Reply {
    match page {
        Ok(PastPage { messages, more, .. }) => Reply::History { messages, more },
        Err(_) => {
            let words = "the history cannot be read now, the server's log says why; nothing is shown";
            Reply::Refused(Refusal::new(Code::Internal, words))
        }
    }
}

fn values_reply(values: Result<Vec<(String, String)>, ReadFailure>) -> Reply {
    match values {
        Ok(values) => Reply::Values { values },
        Err(_) => {
            let words = "the values cannot be read now, the server's log says why; none is shown";
            Reply::Refused(Refusal::new(Code::Internal, words))
        }
    }
}

/// `None`: the index is not ready.
fn search_reply(result: Result<SearchResult, ReadFailure>) -> Option<Reply> {
    match result {
        Ok(SearchResult::Found(PastPage { messages, more, .. })) => Some(Reply::Found { messages, more }),
        Ok(SearchResult::Indexing) => None,
        Ok(SearchResult::NoWords) => {
            let words = "there is no word in it, of letters or digits, to search for; nothing is shown";
            Some(Reply::Refused(Refusal::new(Code::BadRequest, words)))
        }
        Err(_) => {
            let words = "it cannot be searched now, the server's log says why; nothing is shown";
            Some(Reply::Refused(Refusal::new(Code::Internal, words)))
        }
    }
}

fn not_committed(error: &CommitError, outcome: &str) -> Reply {
    let code = match error {
        CommitError::Storage(_) => Code::StorageFull,
        CommitError::Busy(_) | CommitError::Database(_) => Code::Internal,
    };
    Reply::Refused(Refusal::new(code, format!("{error}; {outcome}")))
}
