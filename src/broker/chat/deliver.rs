//! The second half of a turn: what was committed is fed, what was read is handed on, what was asked is answered.

use foldhash::HashSet as IdSet;
use smol::lock::SemaphoreGuardArc;

use super::{Act, Chat, Feed, Peer, Session, Turn};
use crate::message::{PeerId, PeerName, Seq, SessionId, Text};
use crate::protocol::{Code, Protocol, Refusal, Reply};
use crate::store::{Answer, CommitError, Entry, Page, TurnOutcome};

/// Whom the turn has put something out for.
#[derive(Debug, Default)]
struct Gathered {
    /// Each once.
    sessions: Vec<SessionId>,
    /// Who was told that something is kept for whom: once a turn is enough.
    told: IdSet<(SessionId, PeerId)>,
    /// The message that is being fed; the next one takes its memory.
    encoded: Encoded,
}

impl Gathered {
    fn add(&mut self, id: SessionId, session: &mut Session) {
        if !session.is_gathered {
            session.is_gathered = true;
            self.sessions.push(id);
        }
    }
}

/// The turn's messages, in order, each with its `seq`.
#[derive(Debug)]
struct Committed {
    entries: std::vec::IntoIter<Entry>,
    seq: Seq,
}

impl Iterator for Committed {
    type Item = (Seq, PeerId, Vec<PeerId>, Text);

    fn next(&mut self) -> Option<Self::Item> {
        self.entries.find_map(|entry| match entry {
            Entry::Message { sender, recipients, text, .. } => {
                self.seq = self.seq.next();
                Some((self.seq, sender, recipients, text))
            }
            Entry::Peer(_) => None,
        })
    }
}

/// A message as the protocols write it: encoded once for all who speak one.
#[derive(Debug, Default)]
struct Encoded {
    plain: Vec<u8>,
}

impl Encoded {
    fn clear(&mut self) {
        self.plain.clear();
    }

    fn get(&mut self, protocol: Protocol, sender: &PeerName, text: &Text) -> &[u8] {
        let bytes = match protocol {
            Protocol::Plain => &mut self.plain,
        };
        if bytes.is_empty() {
            protocol.encode_message(sender, text, bytes);
        }
        bytes
    }
}

impl Session {
    /// A message of its peer was put into its outbox.
    fn feeds(&mut self, seq: Seq) {
        self.fed = seq;
        self.counted += 1;
    }
}

impl Chat {
    /// Nothing of the turn was kept: what it counted is taken back, and what changed of peers goes with the next.
    /// So it must be known before the next is decided.
    pub(in crate::broker) fn undo(&mut self, entries: &[Entry]) {
        for entry in entries {
            match entry {
                Entry::Peer(record) => {
                    self.changed.insert(record.id);
                }
                Entry::Message { recipients, .. } => {
                    for recipient in recipients {
                        self.peers.get_mut(recipient).expect("a turn's recipients are remembered").addressed -= 1;
                    }
                }
            }
        }
    }

    /// Feeds what was committed and read, answers, and hands everyone what was gathered for them.
    pub(in crate::broker) fn deliver(&mut self, turn: Turn, outcome: TurnOutcome) {
        let Turn { acts, pages, asked } = turn;
        let TurnOutcome { entries, commit, before, newest, mut answers } = outcome;
        assert!(newest >= self.newest, "the log grows: {newest} after {}", self.newest);
        self.newest = newest;
        let mut gathered = Gathered::default();
        // The pages hold this turn's commit too: who reaches its end is live when the turn's messages come.
        let page_answers = answers.split_off(answers.len() - pages.len());
        for (session, answer) in pages.into_iter().zip(page_answers) {
            self.feed_page(session, answer, &mut gathered);
        }
        let mut committed = Committed { entries: entries.into_iter(), seq: before };
        for act in acts {
            match act {
                Act::Deliver { sender, kept_for } => {
                    let message = committed.next().expect("each act of delivery has its entry");
                    match &commit {
                        Ok(()) => self.deliver_message(message, sender, kept_for, &mut gathered),
                        Err(error) => self.reply(sender, &Reply::Refused(not_committed(error)), &mut gathered),
                    }
                }
                Act::Reply { session, reply } => self.reply(session, &reply, &mut gathered),
                Act::History { session, read } => {
                    let reply = history_reply(std::mem::replace(&mut answers[read], Answer::History(Vec::new())));
                    self.reply(session, &reply, &mut gathered);
                }
                Act::End { session } => self.end_at_newest(session),
            }
        }
        self.flush(gathered);
        for (session, permit) in asked {
            self.give_back(session, permit);
        }
    }

    /// Delivers a turn that asked the store for nothing.
    pub(in crate::broker) fn deliver_unasked(&mut self, turn: Turn) {
        let (before, newest) = (self.newest, self.newest);
        self.deliver(turn, TurnOutcome { entries: Vec::new(), commit: Ok(()), before, newest, answers: Vec::new() });
    }

    fn feed_page(&mut self, id: SessionId, answer: Answer, gathered: &mut Gathered) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Page { messages, complete } = match answer {
            Answer::Page(page) => page,
            Answer::Failed(_) => {
                self.starved.push(id);
                return;
            }
            Answer::History(_) => unreachable!("a page was asked for"),
        };
        if messages.is_empty() && !complete {
            // The turn's share of pages was used up before its place came: it is the first of the next.
            self.hungry.push_front(id);
            return;
        }
        session.is_hungry = false;
        let protocol = session.protocol;
        let peer = &self.peers[&session.peer];
        for message in messages {
            assert!(message.seq > session.fed, "a feed goes forward: {} after {}", message.seq, session.fed);
            count_removed(session, peer, message.seq);
            session
                .outbox
                .append(Some(message.seq), |out| protocol.encode_message(&message.sender, &message.text, out));
            session.feeds(message.seq);
        }
        if complete {
            count_removed(session, peer, self.newest.next());
            session.feed = Feed::Live;
            session.fed = self.newest;
        }
        gathered.add(id, session);
        self.end_if_fed(id);
    }

    fn deliver_message(
        &mut self,
        (seq, from, recipients, text): (Seq, PeerId, Vec<PeerId>, Text),
        sender: SessionId,
        kept_for: Vec<PeerId>,
        gathered: &mut Gathered,
    ) {
        let from = &self.peers[&from].record.name;
        gathered.encoded.clear();
        for id in recipients.iter().flat_map(|recipient| &self.peers[recipient].sessions) {
            let session = self.sessions.get_mut(id).expect("a peer's sessions are known");
            // What a page of this turn held already is not sent again.
            if session.feed == Feed::Live && seq > session.fed {
                feed_live(session, seq, gathered.encoded.get(session.protocol, from, &text));
                gathered.add(*id, session);
            }
        }
        for peer in kept_for {
            if gathered.told.insert((sender, peer)) {
                let record = &self.peers[&peer].record;
                let kept = Reply::Kept { peer: record.name.clone(), seen: record.seen };
                self.reply(sender, &kept, gathered);
            }
        }
    }

    fn reply(&mut self, id: SessionId, reply: &Reply, gathered: &mut Gathered) {
        // One that left in this turn needs no answer.
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let protocol = session.protocol;
        session.outbox.append(None, |out| protocol.encode_reply(reply, out));
        gathered.add(id, session);
    }

    fn end_at_newest(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.ends_at = Some(self.newest);
            self.end_if_fed(id);
        }
    }

    /// Closes a session that is to end and has got what waits for it. Its writer reports what it writes, then it leaves.
    fn end_if_fed(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(ends_at) = session.ends_at else { return };
        if session.feed == Feed::Live || session.fed >= ends_at {
            session.outbox.flush();
            session.outbox.close();
            let peer = session.peer;
            self.detach(id, peer);
        }
    }

    fn flush(&mut self, gathered: Gathered) {
        for id in gathered.sessions {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            session.is_gathered = false;
            session.outbox.flush();
            if session.outbox.is_closed() {
                let peer = session.peer;
                self.detach(id, peer);
            }
            self.feed_again(id);
        }
    }

    /// Lets a client hand in more, unless it does not take what it is answered.
    fn give_back(&mut self, id: SessionId, permit: SemaphoreGuardArc) {
        if let Some(session) = self.sessions.get_mut(&id)
            && !session.outbox.has_room(0)
        {
            session.permit = Some(permit);
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
fn feed_live(session: &mut Session, seq: Seq, bytes: &[u8]) {
    if session.outbox.has_room(bytes.len()) {
        session.outbox.append(Some(seq), |out| out.extend_from_slice(bytes));
        session.feeds(seq);
    } else {
        session.feed = Feed::Replaying;
    }
}

fn history_reply(answer: Answer) -> Reply {
    match answer {
        Answer::History(messages) => Reply::History { messages },
        Answer::Failed(_) => {
            let words = "the history cannot be read now, the server's log says why; nothing is shown";
            Reply::Refused(Refusal::new(Code::Internal, words))
        }
        Answer::Page(_) => unreachable!("a history was asked for"),
    }
}

fn not_committed(error: &CommitError) -> Refusal {
    let code = match error {
        CommitError::Storage(_) => Code::StorageFull,
        CommitError::Busy(_) | CommitError::Database(_) => Code::Internal,
    };
    Refusal::new(code, format!("{error}; not sent"))
}
