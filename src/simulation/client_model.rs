//! Model of one session as its client sees it: checks every line that it reads against the oracle. Owns the promises
//! that concern readers and replies; never looks into the broker.

mod acks;
mod delivered;
mod messages;
mod others;
mod past;
mod refusals;
mod topics;

use std::collections::VecDeque;

use self::acks::Acks;
use super::oracle::{Fate, Oracle, Topic, is_padding, number};
use crate::message::Seq;

/// State of a session: what it has read, and which requests are pending.
pub(super) struct ClientModel {
    pub(super) peer: usize,
    /// Index in the order of the connections.
    session: usize,
    stage: Stage,
    /// Step in which the join was sent to the broker.
    joined_at: u64,
    /// Newest message that the broker knew delivered to the peer when the session joined.
    reported_before: Seq,
    /// Last index in the peer's log at which the replay may begin.
    begins_by: usize,
    /// Number of waiting messages in the greeting.
    pub(super) greeted_waiting: u64,
    /// Index in the peer's log of the next message; `None` before the first.
    next: Option<usize>,
    /// Messages read.
    pub(super) messages_read: u64,
    /// Messages that the session was notified it missed.
    missed: u64,
    /// Messages that it skipped and must be notified of.
    skipped: u64,
    /// Bytes read.
    stream_bytes: u64,
    /// Messages in flight to the client: where each ends in the stream, and its index in the log.
    on_their_way: VecDeque<(u64, usize)>,
    /// Acknowledgements, if the client acknowledges explicitly.
    acks: Option<Acks>,
    /// Requests that are not answered, in order.
    pending: VecDeque<ModelRequest>,
    /// Step in which they were submitted.
    submitted_at: u64,
    /// Index in the peer's log up to which the broker knew messages delivered at the first ping of the batch.
    delivered_before_ping: usize,
    /// Recipients of the batch, as they were when it was submitted.
    then: Vec<RecipientSnapshot>,
    /// Recipients reported as away since then.
    away_notices: Vec<usize>,
    /// Rooms reported as empty since then.
    empty_room_notices: Vec<usize>,
    /// Newest message of the history that is being read.
    history: Option<Seq>,
    /// Newest copy of that message.
    shown_up_to: Seq,
    /// Message that the history must reach.
    shown_at_least: Option<usize>,
    /// Room of the history.
    shown_room: Option<usize>,
    is_reading_who: bool,
    /// Whether the session gets announcements when others set the topics of its rooms.
    wants_topics: bool,
    /// Room whose topic comes next, if it has one.
    topic_may_follow: Option<usize>,
    /// Topics that were set, as announced to the session since the last turn was delivered.
    topics_read: Vec<(usize, Topic)>,
    /// Whether the session may have got no announcement of a topic since then.
    may_miss_topics: bool,
    /// Index in the log before which everything is still to be read after the session ended.
    ends_at: Option<usize>,
    is_shut_down: bool,
    /// Turn after which the broker was sent the leave.
    pub(super) left_in_turn: Option<u64>,
}

/// State of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Joining,
    Greeted,
    Refused,
}

/// Request, as the model knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelRequest {
    /// Send the line with this number.
    Send(usize),
    /// Ping with this token.
    Ping(u64),
    /// Malformed request with this text in its refusal.
    Malformed(u64),
    Who,
    History {
        /// Whether it covers all conversations.
        is_whole: bool,
        /// The only room that it covers.
        room: Option<usize>,
    },
    Join(usize),
    Leave(usize),
    ShowTopic(usize),
    SetTopic(usize, Topic),
    /// Acknowledge everything up to here; there is no reply.
    Ack(Seq),
    Quit,
}

/// Recipient as it was when a batch was submitted.
struct RecipientSnapshot {
    peer: usize,
    /// Index in its log up to which the broker knew messages delivered.
    reported: usize,
    failed: u64,
}

impl ClientModel {
    pub(super) fn new(session: usize, peer: usize, acks: bool, wants_topics: bool) -> Self {
        ClientModel {
            peer,
            session,
            stage: Stage::Joining,
            joined_at: 0,
            reported_before: Seq::ZERO,
            begins_by: 0,
            greeted_waiting: 0,
            next: None,
            messages_read: 0,
            missed: 0,
            skipped: 0,
            stream_bytes: 0,
            on_their_way: VecDeque::new(),
            acks: acks.then(Acks::new),
            pending: VecDeque::new(),
            submitted_at: 0,
            delivered_before_ping: 0,
            then: Vec::new(),
            away_notices: Vec::new(),
            empty_room_notices: Vec::new(),
            history: None,
            shown_up_to: Seq::ZERO,
            shown_at_least: None,
            shown_room: None,
            is_reading_who: false,
            wants_topics,
            topic_may_follow: None,
            topics_read: Vec::new(),
            may_miss_topics: false,
            ends_at: None,
            is_shut_down: false,
            left_in_turn: None,
        }
    }

    /// Index in the peer's log up to which the session has read.
    pub(super) fn place(&self) -> usize {
        self.next.unwrap_or(if self.stage == Stage::Greeted { self.begins_by } else { 0 })
    }

    /// Whether the session may have been online when this turn was decided, with everything before this index fed to it.
    pub(super) fn may_keep_up(&self, fed: usize, oracle: &Oracle) -> bool {
        let is_fed = oracle.may_skip(self.peer, self.place(), fed);
        match self.left_in_turn {
            None => is_fed,
            // The session may have left before its greeting was read.
            Some(left) => left + 2 >= oracle.turn && (is_fed || self.stage == Stage::Joining),
        }
    }

    pub(super) fn is_refused(&self) -> bool {
        self.stage == Stage::Refused
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ends_at.is_some()
    }

    /// Notes that the broker is sent the join.
    pub(super) fn joins(&mut self, oracle: &mut Oracle) {
        let peer = &mut oracle.peers[self.peer];
        self.reported_before = peer.reported;
        peer.sessions.push(self.session);
        peer.joined_at = oracle.step;
        self.joined_at = oracle.step;
    }

    /// Notes that the broker is sent a batch.
    pub(super) fn asks(&mut self, asked: Vec<ModelRequest>, oracle: &mut Oracle) {
        assert!(self.pending.is_empty(), "one batch is in flight at a time");
        self.submitted_at = oracle.step;
        self.delivered_before_ping = 0;
        for asked in &asked {
            match *asked {
                ModelRequest::Ping(_) if self.delivered_before_ping == 0 => {
                    self.delivered_before_ping = self.soon_delivered(oracle);
                }
                ModelRequest::Join(room) => oracle.rooms.asked_to_join(room, self.peer, oracle.step),
                ModelRequest::Leave(room) => oracle.rooms.asked_to_leave(room, self.peer, oracle.step),
                ModelRequest::SetTopic(room, topic) => oracle.topics.requested(self.peer, room, topic),
                ModelRequest::Ack(seq) => self.submits_ack(seq, oracle),
                _ => {}
            }
        }
        self.pending.extend(asked.into_iter().filter(|asked| !matches!(asked, ModelRequest::Ack(_))));
        self.away_notices.clear();
        self.empty_room_notices.clear();
        self.then.clear();
        self.history = None;
        self.is_reading_who = false;
        if oracle.mailbox_max > 0 {
            self.remember_recipients(oracle);
        }
        if self.pending.back() == Some(&ModelRequest::Quit) {
            self.ends(oracle);
        }
    }

    fn remember_recipients(&mut self, oracle: &Oracle) {
        for asked in &self.pending {
            let ModelRequest::Send(number) = asked else { continue };
            for peer in oracle.sent[*number].peers() {
                if !self.then.iter().any(|then| then.peer == peer) {
                    let known = &oracle.peers[peer];
                    let reported = known.place_after(known.reported);
                    self.then.push(RecipientSnapshot { peer, reported, failed: known.failed });
                }
            }
        }
    }

    /// Notes that the broker is sent the end of the session.
    pub(super) fn ends(&mut self, oracle: &mut Oracle) {
        let peer = &mut oracle.peers[self.peer];
        self.ends_at = Some(peer.log.len());
        peer.is_ending(self.session);
    }

    /// Notes that the broker is sent the end of the session for a shutdown.
    pub(super) fn is_shut_down(&mut self, oracle: &mut Oracle) {
        self.is_shut_down = true;
        self.ends(oracle);
    }

    /// Notes that the broker is sent the leave.
    pub(super) fn leaves(&mut self, oracle: &mut Oracle) {
        self.left_in_turn = Some(oracle.turn);
        oracle.peers[self.peer].is_ending(self.session);
    }

    /// Notes that the session may not have been fed everything for a while.
    pub(super) fn falls_behind(&self, oracle: &mut Oracle) {
        oracle.peers[self.peer].falls_behind(self.session);
    }

    /// Reads and checks output of the broker. Returns how many of the bytes are messages.
    pub(super) fn reads(&mut self, bytes: &[u8], oracle: &mut Oracle) -> usize {
        let (mut rest, mut messages) = (bytes, 0);
        while let Some(first) = rest.first() {
            // The members of a room may be on several lines.
            if !rest.starts_with(b"* the topic of ") && !rest.starts_with(b"* #") {
                self.no_topic_follows(oracle);
            }
            let line = match first {
                b'f' => self.message(rest, oracle),
                b'!' => self.refusal(rest, oracle),
                _ => self.notice(rest, oracle),
            };
            messages += if *first == b'f' { line } else { 0 };
            self.stream_bytes += line as u64;
            rest = &rest[line..];
        }
        messages
    }

    /// Notes that the client's TCP has acknowledged these bytes. That does not count if the client acknowledges
    /// explicitly.
    pub(super) fn acknowledges(&mut self, bytes: u64, oracle: &mut Oracle) {
        if let Some(acks) = &mut self.acks {
            return acks.arrived(bytes);
        }
        while let Some((end, place)) = self.on_their_way.front()
            && *end <= bytes
        {
            oracle.peers[self.peer].arrived(*place);
            self.on_their_way.pop_front();
        }
    }

    /// Checks that everything is answered when the broker returns the permit.
    pub(super) fn is_answered(&mut self, oracle: &mut Oracle) {
        if self.stage == Stage::Refused {
            return self.pending.clear();
        }
        self.no_topic_follows(oracle);
        self.skip_accepted(oracle);
        assert!(self.pending.is_empty(), "session {} was not answered: {:?}", self.session, self.pending);
        self.check_history_is_whole(oracle);
    }

    /// Checks that the session received everything when the broker drops its outbox.
    pub(super) fn is_released(&mut self, oracle: &mut Oracle) {
        if self.stage == Stage::Refused {
            return;
        }
        self.no_topic_follows(oracle);
        self.skip_accepted(oracle);
        if self.pending.front() == Some(&ModelRequest::Quit) {
            self.pending.pop_front();
        }
        assert!(self.pending.is_empty(), "session {} was released without a reply to {:?}", self.session, self.pending);
        let ends_at =
            self.ends_at.unwrap_or_else(|| panic!("session {} was released without a request to end", self.session));
        self.check_read_up_to(ends_at, oracle);
    }

    /// While nothing fails: checks that the session has received everything. From now on it keeps up.
    pub(super) fn check_quiescent(&mut self, oracle: &mut Oracle) {
        assert_eq!(self.stage, Stage::Greeted, "session {} has joined", self.session);
        self.is_answered(oracle);
        self.check_read_up_to(oracle.peers[self.peer].log.len(), oracle);
        self.keeps_up(oracle);
    }

    fn keeps_up(&self, oracle: &mut Oracle) {
        let peer = &mut oracle.peers[self.peer];
        if !peer.live.iter().any(|(session, _)| *session == self.session) {
            peer.live.push((self.session, oracle.step));
        }
    }

    /// Promise 4: checks that everything before this index was read.
    fn check_read_up_to(&self, place: usize, oracle: &Oracle) {
        let log = &oracle.peers[self.peer].log;
        let from = self.place();
        assert!(oracle.may_skip(self.peer, from, place), "session {} did not get {:?}", self.session, log.get(from));
        self.check_missed(from, place, oracle);
    }

    /// `* WORDS`
    fn notice(&mut self, rest: &[u8], oracle: &mut Oracle) -> usize {
        // A history repeats texts, which may be long and not words: look at the beginning only.
        if rest.get(2).is_some_and(u8::is_ascii_digit) && rest.get(6) == Some(&b'-') {
            return self.past_message(rest, oracle);
        }
        let line = line(rest);
        let words = line.strip_prefix("* ").unwrap_or_else(|| panic!("session {} reads {line:?}", self.session));
        let is_topic = words.starts_with("the topic of ");
        self.is_reading_who &= words.starts_with("here: ") || words.starts_with('#') || is_topic;
        if let Some(hello) = words.strip_prefix("hello ") {
            self.greeting(hello, oracle);
        } else if let Some(name) = words.strip_suffix(" is away, kept for later") {
            self.away_notice(name, oracle);
        } else if let Some(name) = words.strip_prefix("nobody has used the name ") {
            self.away_notice(
                name.strip_suffix(" yet, kept for later").expect("the notice ends with `kept for later`"),
                oracle,
            );
        } else if let Some(room) = words.strip_prefix("nobody else is in ") {
            self.empty_room_notice(room, oracle);
        } else if let Some(missed) = words.strip_prefix("you missed ") {
            self.missed_notice(missed, oracle);
        } else if let Some(room) = words.strip_prefix("you are in ") {
            self.join_reply(room.strip_suffix(" now").expect("the notice ends with `now`"), oracle);
        } else if let Some(room) = words.strip_prefix("you are no longer in ") {
            self.leave_reply(room, oracle);
        } else if let Some(words) = words.strip_prefix("the topic of ") {
            self.topic_line(words, oracle);
        } else if let Some(room) = words.strip_suffix(" has no topic") {
            self.no_topic_line(room, oracle);
        } else if let Some((name, words)) = words.split_once(" set the topic of ") {
            self.topic_set(name, words, oracle);
        } else if let Some((name, room)) = words.split_once(" cleared the topic of ") {
            self.topic_announced(name, oracle.rooms.named(room), None, oracle);
        } else if let Some(token) = words.strip_prefix("pong ") {
            self.is_answer_to(ModelRequest::Ping(token.parse().expect("a pong carries the token of its ping")), oracle);
            self.check_acks_kept(oracle);
        } else if let Some(here) = words.strip_prefix("here: ") {
            self.online_reply(here, oracle);
        } else if let Some((room, here)) = words.split_once(": ").filter(|_| words.starts_with('#')) {
            self.members_reply(room, here, oracle);
        } else if words == "no messages" {
            self.begin_history(oracle);
        } else {
            let is_last = words.starts_with("the server is shutting down") && self.is_shut_down;
            assert!(is_last, "session {} reads {line:?}", self.session);
        }
        line.len() + 1
    }

    /// Checks the number of waiting messages in the greeting, as far as it is known.
    fn greeting(&mut self, words: &str, oracle: &mut Oracle) {
        assert_eq!(self.stage, Stage::Joining, "session {} is greeted once", self.session);
        self.stage = Stage::Greeted;
        let waiting = words.split(' ').find_map(|word| word.parse::<u64>().ok()).unwrap_or(0);
        let (step, is_readable) = (oracle.step, oracle.read_failed_at < self.joined_at);
        // Messages of rooms are looked up, and fed by pages.
        let is_in_none = oracle.rooms.is_in_none_since(self.peer, self.joined_at);
        let peer = &mut oracle.peers[self.peer];
        // If the log cannot be read, messages of rooms are not counted.
        let at_least = peer.waiting_at_least(is_readable);
        let after = peer.log.len() - peer.place_after(self.reported_before);
        let at_most = after as u64 + peer.in_flight + peer.in_flight_in_rooms;
        assert!(
            (at_least..=at_most).contains(&waiting),
            "{} is told that {waiting} messages wait, and {at_least} to {at_most} are waiting",
            peer.name
        );
        self.begins_by = peer.frontier;
        self.greeted_waiting = waiting;
        peer.seen_at.get_or_insert(step);
        if !self.is_ending() && self.left_in_turn.is_none() {
            peer.here.push((self.session, step));
            if waiting == 0 && is_in_none {
                self.keeps_up(oracle);
            }
        }
    }

    fn is_answer_to(&mut self, asked: ModelRequest, oracle: &Oracle) {
        self.skip_accepted(oracle);
        let front = self.pending.pop_front();
        assert_eq!(
            front,
            Some(asked),
            "session {} is answered out of order, or before an earlier message is on disk",
            self.session
        );
    }

    /// Promise 1: messages before a reply are on disk.
    fn skip_accepted(&mut self, oracle: &Oracle) {
        while let Some(ModelRequest::Send(number)) = self.pending.front().copied()
            && matches!(oracle.sent[number].fate, Fate::Committed(_))
        {
            oracle.check_durable(number, |_| true);
            // A message that is sent again gets no notices.
            if oracle.sent[number].attempts == 1 {
                self.check_notes(number, oracle);
            }
            self.pending.pop_front();
        }
    }

    fn check_notes(&self, number: usize, oracle: &Oracle) {
        for peer in oracle.sent[number].peers() {
            let receive_observation =
                self.away_notices.contains(&peer) || !oracle.peers[peer].is_offline_since(self.submitted_at);
            assert!(
                receive_observation,
                "session {} is not told that {} is away",
                self.session, oracle.peers[peer].name
            );
        }
        for room in oracle.sent[number].rooms() {
            let is_certain = oracle.rooms.is_calm_since(room, self.submitted_at);
            let receive_observation = self.empty_room_notices.contains(&room)
                || !is_certain
                || !oracle.rooms.is_empty_without(room, self.peer);
            assert!(receive_observation, "session {} gets no notice that it is alone in room {room}", self.session);
        }
    }

    fn is_after(&self, step: u64) -> bool {
        step >= self.submitted_at
    }
}

/// Compares a text with the line that was sent. Returns its number and its length in bytes.
fn check_text(rest: &[u8], oracle: &Oracle) -> (usize, usize) {
    let (number, digits) = number(rest);
    let length = digits + oracle.sent[number].padding;
    let is_whole = rest.get(length) == Some(&b'\n') && is_padding(&rest[digits..length]);
    assert!(is_whole, "the text of line {number} is not the one that was sent");
    (number, length)
}

fn line(rest: &[u8]) -> &str {
    let end = rest.iter().position(|byte| *byte == b'\n').expect("the broker flushes whole lines");
    words(&rest[..end])
}

fn words(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("lines are UTF-8")
}
