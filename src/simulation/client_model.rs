//! One session as its client sees it: every line that it reads, held against the truth. Owns the promises that concern a
//! reader and an asker; never looks into the broker.

mod acks;
mod delivered;
mod messages;
mod others;
mod past;
mod refusals;

use std::collections::VecDeque;

use self::acks::Acks;
use super::oracle::{Fate, Oracle, is_padding, number};
use crate::message::Seq;

/// What a session has read, and what it asked.
pub(super) struct ClientModel {
    pub(super) peer: usize,
    /// Counted from 0, in the order of the connections.
    session: usize,
    stage: Stage,
    /// When the broker was told.
    joined_at: u64,
    /// What the broker had been told of the peer's deliveries when this session joined.
    reported_before: Seq,
    /// The place in the peer's log where its replay may begin at the latest.
    begins_by: usize,
    /// How many messages wait, as it was told.
    pub(super) greeted_with: u64,
    /// The place of the message that it is to read next; `None` until it reads one.
    next: Option<usize>,
    /// Messages that it was handed.
    pub(super) messages_read: u64,
    /// Bytes that it was handed.
    stream_bytes: u64,
    /// Messages on their way to it: where in the stream they end, and their places in the log.
    on_their_way: VecDeque<(u64, usize)>,
    /// What it has acknowledged, if it says so itself.
    acks: Option<Acks>,
    /// What it asked and was not answered, in order.
    asked: VecDeque<Asked>,
    /// When it asked that.
    asked_at: u64,
    /// The place in the peer's log up to which the broker knew it delivered when it was asked for the first barrier.
    reported_when_asked: usize,
    /// What was known then of those to whom something is sent.
    then: Vec<Then>,
    /// Those of whom it was told since that they are away.
    kept_for: Vec<usize>,
    /// Rooms of which it was told since that nobody else is in them.
    alone_in: Vec<usize>,
    /// The last message of the history that it is reading.
    history: Option<Seq>,
    /// The newest place in the log where that stands.
    shown_up_to: Seq,
    /// The line that this history ends with at the earliest.
    shown_at_least: Option<usize>,
    /// The room that this history is of.
    shown_room: Option<usize>,
    is_reading_here: bool,
    /// Nothing more is asked: what was committed before this place is still to come.
    ends_at: Option<usize>,
    is_shut_down: bool,
    /// The turn after which it told the broker that it left.
    pub(super) left_in_turn: Option<u64>,
}

/// How far a login got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Joining,
    Greeted,
    Refused,
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The line with this number.
    Send(usize),
    /// With this token.
    Ping(u64),
    /// What cannot be understood, with this in its refusal.
    Malformed(u64),
    Who,
    History {
        /// Of everyone.
        is_whole: bool,
        /// Only what was sent in this room.
        room: Option<usize>,
    },
    Join(usize),
    Leave(usize),
    /// It has got everything up to here; nothing is answered.
    Ack(Seq),
    Quit,
}

/// What was known of a recipient when a batch was handed in.
struct Then {
    peer: usize,
    /// The place in its log up to which the broker knew it delivered.
    reported: usize,
    failed: u64,
}

impl ClientModel {
    pub(super) fn new(session: usize, peer: usize, acks: bool) -> Self {
        ClientModel {
            peer,
            session,
            stage: Stage::Joining,
            joined_at: 0,
            reported_before: Seq::ZERO,
            begins_by: 0,
            greeted_with: 0,
            next: None,
            messages_read: 0,
            stream_bytes: 0,
            on_their_way: VecDeque::new(),
            acks: acks.then(Acks::new),
            asked: VecDeque::new(),
            asked_at: 0,
            reported_when_asked: 0,
            then: Vec::new(),
            kept_for: Vec::new(),
            alone_in: Vec::new(),
            history: None,
            shown_up_to: Seq::ZERO,
            shown_at_least: None,
            shown_room: None,
            is_reading_here: false,
            ends_at: None,
            is_shut_down: false,
            left_in_turn: None,
        }
    }

    /// The place in the peer's log that it has read up to.
    pub(super) fn place(&self) -> usize {
        self.next.unwrap_or(if self.stage == Stage::Greeted { self.begins_by } else { 0 })
    }

    /// Whether it may have been there when this turn was decided, with all fed to it before this place.
    pub(super) fn may_keep_up(&self, fed: usize, oracle: &Oracle) -> bool {
        let is_fed = oracle.is_settled(self.peer, self.place(), fed);
        match self.left_in_turn {
            None => is_fed,
            // Its greeting may not have been seen.
            Some(left) => left + 2 >= oracle.turn && (is_fed || self.stage == Stage::Joining),
        }
    }

    pub(super) fn is_refused(&self) -> bool {
        self.stage == Stage::Refused
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ends_at.is_some()
    }

    /// The broker is told to let it join.
    pub(super) fn joins(&mut self, oracle: &mut Oracle) {
        let peer = &mut oracle.peers[self.peer];
        self.reported_before = peer.reported;
        peer.sessions.push(self.session);
        peer.joined_at = oracle.step;
        self.joined_at = oracle.step;
    }

    /// The broker is told what it asks.
    pub(super) fn asks(&mut self, asked: Vec<Asked>, oracle: &mut Oracle) {
        assert!(self.asked.is_empty(), "one batch is under way at a time");
        self.asked_at = oracle.step;
        self.reported_when_asked = 0;
        for asked in &asked {
            match *asked {
                Asked::Ping(_) if self.reported_when_asked == 0 => {
                    self.reported_when_asked = self.soon_delivered(oracle);
                }
                Asked::Join(room) => oracle.rooms.asked_to_join(room, self.peer, oracle.step),
                Asked::Leave(room) => oracle.rooms.asked_to_leave(room, self.peer, oracle.step),
                Asked::Ack(seq) => self.says_it_has(seq, oracle),
                _ => {}
            }
        }
        self.asked.extend(asked.into_iter().filter(|asked| !matches!(asked, Asked::Ack(_))));
        self.kept_for.clear();
        self.alone_in.clear();
        self.then.clear();
        self.history = None;
        self.is_reading_here = false;
        if oracle.mailbox_max > 0 {
            self.remember_recipients(oracle);
        }
        if self.asked.back() == Some(&Asked::Quit) {
            self.ends(oracle);
        }
    }

    fn remember_recipients(&mut self, oracle: &Oracle) {
        for asked in &self.asked {
            let Asked::Send(number) = asked else { continue };
            for peer in oracle.sent[*number].peers() {
                if !self.then.iter().any(|then| then.peer == peer) {
                    let known = &oracle.peers[peer];
                    let reported = known.place_after(known.reported);
                    self.then.push(Then { peer, reported, failed: known.failed });
                }
            }
        }
    }

    /// The broker is told that it asks no more.
    pub(super) fn ends(&mut self, oracle: &mut Oracle) {
        let peer = &mut oracle.peers[self.peer];
        self.ends_at = Some(peer.log.len());
        peer.is_ending(self.session);
    }

    /// The broker is told that the server stops.
    pub(super) fn is_shut_down(&mut self, oracle: &mut Oracle) {
        self.is_shut_down = true;
        self.ends(oracle);
    }

    /// The broker is told that it is gone.
    pub(super) fn leaves(&mut self, oracle: &mut Oracle) {
        self.left_in_turn = Some(oracle.turn);
        oracle.peers[self.peer].is_ending(self.session);
    }

    /// It may have been fed less than everything for a while.
    pub(super) fn falls_behind(&self, oracle: &mut Oracle) {
        oracle.peers[self.peer].falls_behind(self.session);
    }

    /// Reads what it is handed. Says how many bytes of it are messages.
    pub(super) fn reads(&mut self, bytes: &[u8], oracle: &mut Oracle) -> usize {
        let (mut rest, mut messages) = (bytes, 0);
        while let Some(first) = rest.first() {
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

    /// Its system has acknowledged so many bytes. Of one who says itself what it has, that is nothing.
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

    /// The broker gives the permit back: everything is answered.
    pub(super) fn is_answered(&mut self, oracle: &mut Oracle) {
        if self.stage == Stage::Refused {
            return self.asked.clear();
        }
        self.pass_committed(oracle);
        assert!(self.asked.is_empty(), "session {} was not answered: {:?}", self.session, self.asked);
        self.check_history_is_whole(oracle);
    }

    /// The broker lets it go: it got everything.
    pub(super) fn is_let_go(&mut self, oracle: &mut Oracle) {
        if self.stage == Stage::Refused {
            return;
        }
        self.pass_committed(oracle);
        if self.asked.front() == Some(&Asked::Quit) {
            self.asked.pop_front();
        }
        assert!(self.asked.is_empty(), "session {} was let go without an answer to {:?}", self.session, self.asked);
        let ends_at = self.ends_at.unwrap_or_else(|| panic!("session {} was let go and did not ask it", self.session));
        self.check_read_up_to(ends_at, oracle);
    }

    /// Nothing happens any more: whoever stays has everything, and keeps up.
    pub(super) fn check_calm(&mut self, oracle: &mut Oracle) {
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

    /// Promise 4, and the end of a session: everything before this place was read.
    fn check_read_up_to(&self, place: usize, oracle: &Oracle) {
        let log = &oracle.peers[self.peer].log;
        let from = self.place();
        assert!(oracle.is_settled(self.peer, from, place), "session {} did not get {:?}", self.session, log.get(from));
    }

    /// `* WORDS`
    fn notice(&mut self, rest: &[u8], oracle: &mut Oracle) -> usize {
        // A history repeats texts, which may be long: only the first of it are words.
        if rest.get(2).is_some_and(u8::is_ascii_digit) && rest.get(6) == Some(&b'-') {
            return self.past_message(rest, oracle);
        }
        let line = line(rest);
        let words = line.strip_prefix("* ").unwrap_or_else(|| panic!("session {} reads {line:?}", self.session));
        self.is_reading_here &= words.starts_with("here: ") || words.starts_with('#');
        if let Some(hello) = words.strip_prefix("hello ") {
            self.greeting(hello, oracle);
        } else if let Some(name) = words.strip_suffix(" is away, kept for later") {
            self.kept(name, oracle);
        } else if let Some(name) = words.strip_prefix("nobody has used the name ") {
            self.kept(name.strip_suffix(" yet, kept for later").expect("it is kept for later"), oracle);
        } else if let Some(room) = words.strip_prefix("nobody else is in ") {
            self.alone(room, oracle);
        } else if let Some(room) = words.strip_prefix("you are in ") {
            self.joined(room.strip_suffix(" now").expect("it is in it now"), oracle);
        } else if let Some(room) = words.strip_prefix("you are no longer in ") {
            self.left(room, oracle);
        } else if let Some(token) = words.strip_prefix("pong ") {
            self.is_answer_to(Asked::Ping(token.parse().expect("a token comes back")), oracle);
            self.check_acks_kept(oracle);
        } else if let Some(here) = words.strip_prefix("here: ") {
            self.here(here, oracle);
        } else if let Some((room, here)) = words.split_once(": ").filter(|_| words.starts_with('#')) {
            self.here_in(room, here, oracle);
        } else if words == "no messages" {
            self.begin_history(oracle);
        } else {
            let is_last = words.starts_with("the server is shutting down") && self.is_shut_down;
            assert!(is_last, "session {} reads {line:?}", self.session);
        }
        line.len() + 1
    }

    /// The counts of the greeting are true, as far as a moment is known.
    fn greeting(&mut self, words: &str, oracle: &mut Oracle) {
        assert_eq!(self.stage, Stage::Joining, "session {} is greeted once", self.session);
        self.stage = Stage::Greeted;
        let waiting = words.split(' ').find_map(|word| word.parse::<u64>().ok()).unwrap_or(0);
        let (step, is_readable) = (oracle.step, oracle.read_failed_at < self.joined_at);
        // Of one who may be in a room it is looked up what waits, and that is fed by pages.
        let is_in_none = oracle.rooms.is_in_none_since(self.peer, self.joined_at);
        let peer = &mut oracle.peers[self.peer];
        // Where it cannot be read, those of its rooms are not counted.
        let at_least = peer.waiting_at_least(is_readable);
        let after = peer.log.len() - peer.place_after(self.reported_before);
        let at_most = after as u64 + peer.under_way + peer.under_way_in_rooms;
        assert!(
            (at_least..=at_most).contains(&waiting),
            "{} is told that {waiting} messages wait, and {at_least} to {at_most} do",
            peer.name
        );
        self.begins_by = peer.frontier;
        self.greeted_with = waiting;
        peer.seen_at.get_or_insert(step);
        if !self.is_ending() && self.left_in_turn.is_none() {
            peer.here.push((self.session, step));
            if waiting == 0 && is_in_none {
                self.keeps_up(oracle);
            }
        }
    }

    fn is_answer_to(&mut self, asked: Asked, oracle: &Oracle) {
        self.pass_committed(oracle);
        let front = self.asked.pop_front();
        assert_eq!(front, Some(asked), "session {} is answered out of order, or before it is on disk", self.session);
    }

    /// Promise 1: what came before an answer is on disk.
    fn pass_committed(&mut self, oracle: &Oracle) {
        while let Some(Asked::Send(number)) = self.asked.front().copied()
            && matches!(oracle.sent[number].fate, Fate::Committed(_))
        {
            oracle.check_promised(number, |_| true);
            // Of what was sent before, nothing more is said.
            if oracle.sent[number].attempts == 1 {
                self.check_notes(number, oracle);
            }
            self.asked.pop_front();
        }
    }

    fn check_notes(&self, number: usize, oracle: &Oracle) {
        for peer in oracle.sent[number].peers() {
            let is_told = self.kept_for.contains(&peer) || !oracle.peers[peer].is_away_since(self.asked_at);
            assert!(is_told, "session {} is not told that {} is away", self.session, oracle.peers[peer].name);
        }
        for room in oracle.sent[number].rooms() {
            let is_certain = oracle.rooms.is_calm_since(room, self.asked_at);
            let is_told = self.alone_in.contains(&room) || !is_certain || !oracle.rooms.is_alone(room, self.peer);
            assert!(is_told, "session {} is not told that it is alone in room {room}", self.session);
        }
    }

    fn is_after(&self, step: u64) -> bool {
        step >= self.asked_at
    }
}

/// Holds a text against what was sent. Says its number and its bytes.
fn check_text(rest: &[u8], oracle: &Oracle) -> (usize, usize) {
    let (number, digits) = number(rest);
    let length = digits + oracle.sent[number].padding;
    let is_whole = rest.get(length) == Some(&b'\n') && is_padding(&rest[digits..length]);
    assert!(is_whole, "line {number} is read as something else");
    (number, length)
}

fn line(rest: &[u8]) -> &str {
    let end = rest.iter().position(|byte| *byte == b'\n').expect("whole lines are handed over");
    words(&rest[..end])
}

fn words(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("lines are UTF-8")
}
