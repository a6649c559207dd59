//! One session as its client sees it: every line that it reads, held against the truth. Owns the promises that concern a
//! reader and an asker; never looks into the broker.

use std::collections::VecDeque;

use super::truth::{Fate, Truth, is_padding, number};
use crate::message::Seq;

/// What a session has read, and what it asked.
pub(super) struct View {
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
    /// What it asked and was not answered, in order.
    asked: VecDeque<Asked>,
    /// When it asked that.
    asked_at: u64,
    /// What was known then of those to whom something is sent.
    then: Vec<Then>,
    /// Those of whom it was told since that they are away.
    kept_for: Vec<usize>,
    /// The last message of the history that it is reading.
    history: Option<Seq>,
    /// The line that this history ends with at the earliest.
    shown_at_least: Option<usize>,
    is_reading_here: bool,
    /// The last of its lines that is committed.
    pub(super) last_committed: Option<usize>,
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
    },
    Quit,
}

/// What was known of a recipient when a batch was handed in.
struct Then {
    peer: usize,
    /// The place in its log up to which the broker knew it delivered.
    reported: usize,
    failed: u64,
}

impl View {
    pub(super) fn new(session: usize, peer: usize) -> Self {
        View {
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
            asked: VecDeque::new(),
            asked_at: 0,
            then: Vec::new(),
            kept_for: Vec::new(),
            history: None,
            shown_at_least: None,
            is_reading_here: false,
            last_committed: None,
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
    pub(super) fn may_keep_up(&self, fed: usize, turn: u64) -> bool {
        match self.left_in_turn {
            None => self.place() >= fed,
            // Its greeting may not have been seen.
            Some(left) => left + 2 >= turn && (self.place() >= fed || self.stage == Stage::Joining),
        }
    }

    pub(super) fn is_refused(&self) -> bool {
        self.stage == Stage::Refused
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ends_at.is_some()
    }

    /// The broker is told to let it join.
    pub(super) fn joins(&mut self, truth: &mut Truth) {
        let peer = &mut truth.peers[self.peer];
        self.reported_before = peer.reported;
        peer.sessions.push(self.session);
        peer.joined_at = truth.step;
        self.joined_at = truth.step;
    }

    /// The broker is told what it asks.
    pub(super) fn asks(&mut self, asked: Vec<Asked>, truth: &mut Truth) {
        assert!(self.asked.is_empty(), "one batch is under way at a time");
        self.asked.extend(asked);
        self.asked_at = truth.step;
        self.kept_for.clear();
        self.then.clear();
        self.history = None;
        self.is_reading_here = false;
        if truth.mailbox_max > 0 {
            self.remember_recipients(truth);
        }
        if self.asked.back() == Some(&Asked::Quit) {
            self.ends(truth);
        }
    }

    fn remember_recipients(&mut self, truth: &Truth) {
        for asked in &self.asked {
            let Asked::Send(number) = asked else { continue };
            for peer in &truth.sent[*number].to {
                if !self.then.iter().any(|then| then.peer == *peer) {
                    let known = &truth.peers[*peer];
                    let reported = known.place_after(known.reported);
                    self.then.push(Then { peer: *peer, reported, failed: known.failed });
                }
            }
        }
    }

    /// The broker is told that it asks no more.
    pub(super) fn ends(&mut self, truth: &mut Truth) {
        let peer = &mut truth.peers[self.peer];
        self.ends_at = Some(peer.log.len());
        peer.is_ending(self.session);
    }

    /// The broker is told that the server stops.
    pub(super) fn is_shut_down(&mut self, truth: &mut Truth) {
        self.is_shut_down = true;
        self.ends(truth);
    }

    /// The broker is told that it is gone.
    pub(super) fn leaves(&mut self, truth: &mut Truth) {
        self.left_in_turn = Some(truth.turn);
        truth.peers[self.peer].is_ending(self.session);
    }

    /// It may have been fed less than everything for a while.
    pub(super) fn falls_behind(&self, truth: &mut Truth) {
        truth.peers[self.peer].falls_behind(self.session);
    }

    /// Reads what it is handed. Says how many bytes of it are messages.
    pub(super) fn reads(&mut self, bytes: &[u8], truth: &mut Truth) -> usize {
        let (mut rest, mut messages) = (bytes, 0);
        while let Some(first) = rest.first() {
            let line = match first {
                b'f' => self.message(rest, truth),
                b'!' => self.refusal(rest, truth),
                _ => self.notice(rest, truth),
            };
            messages += if *first == b'f' { line } else { 0 };
            self.stream_bytes += line as u64;
            rest = &rest[line..];
        }
        messages
    }

    /// Its system has acknowledged so many bytes.
    pub(super) fn acknowledges(&mut self, bytes: u64, truth: &mut Truth) {
        while let Some((end, place)) = self.on_their_way.front()
            && *end <= bytes
        {
            truth.peers[self.peer].arrived(*place);
            self.on_their_way.pop_front();
        }
    }

    /// The broker gives the permit back: everything is answered.
    pub(super) fn is_answered(&mut self, truth: &Truth) {
        if self.stage == Stage::Refused {
            return self.asked.clear();
        }
        self.pass_committed(truth);
        assert!(self.asked.is_empty(), "session {} was not answered: {:?}", self.session, self.asked);
        if let (Some(last), Some(number)) = (self.history, self.shown_at_least) {
            let is_shown = matches!(truth.sent[number].fate, Fate::Committed(seq) if seq <= last);
            assert!(is_shown || truth.is_line_removed(number), "the history ends with {last}, before line {number}");
        }
    }

    /// The broker lets it go: it got everything.
    pub(super) fn is_let_go(&mut self, truth: &Truth) {
        if self.stage == Stage::Refused {
            return;
        }
        self.pass_committed(truth);
        if self.asked.front() == Some(&Asked::Quit) {
            self.asked.pop_front();
        }
        assert!(self.asked.is_empty(), "session {} was let go without an answer to {:?}", self.session, self.asked);
        let ends_at = self.ends_at.unwrap_or_else(|| panic!("session {} was let go and did not ask it", self.session));
        self.check_read_up_to(ends_at, truth);
    }

    /// Nothing happens any more: whoever stays has everything, and keeps up.
    pub(super) fn check_calm(&mut self, truth: &mut Truth) {
        assert_eq!(self.stage, Stage::Greeted, "session {} has joined", self.session);
        self.is_answered(truth);
        self.check_read_up_to(truth.peers[self.peer].log.len(), truth);
        self.keeps_up(truth);
    }

    fn keeps_up(&self, truth: &mut Truth) {
        let peer = &mut truth.peers[self.peer];
        if !peer.live.iter().any(|(session, _)| *session == self.session) {
            peer.live.push((self.session, truth.step));
        }
    }

    /// Promise 4, and the end of a session: everything before this place was read.
    fn check_read_up_to(&self, place: usize, truth: &Truth) {
        let log = &truth.peers[self.peer].log;
        let from = self.place();
        assert!(truth.is_removed(self.peer, from, place), "session {} did not get {:?}", self.session, log.get(from));
    }

    /// `from NAME: TEXT`
    fn message(&mut self, line: &[u8], truth: &mut Truth) -> usize {
        assert_eq!(self.stage, Stage::Greeted, "session {} reads before it has joined", self.session);
        let colon = line.iter().position(|byte| *byte == b':').expect("a message has a sender");
        let sender = truth.named(words(&line[b"from ".len()..colon]));
        let (number, length) = check_text(&line[colon + 2..], truth);
        assert_eq!(
            sender, truth.sent[number].sender,
            "session {} reads of line {number} that {sender} sent it",
            self.session
        );
        let end = colon + 2 + length + 1;
        self.feed(number, self.stream_bytes + end as u64, truth);
        end
    }

    /// Promises 2 to 5: what is read is on disk, and the next in the log.
    fn feed(&mut self, number: usize, end: u64, truth: &Truth) {
        let session = self.session;
        let seq = truth.check_promised(number);
        let peer = &truth.peers[self.peer];
        let place = peer.place_after(seq).checked_sub(1).filter(|place| peer.log[*place].seq == seq);
        let place = place.unwrap_or_else(|| panic!("session {session} reads line {number}, which is for others"));
        match self.next {
            Some(next) => {
                assert!(
                    place >= next,
                    "session {session} reads line {number} again or late: {seq} at {place} of {next}"
                );
                let is_next = truth.is_removed(self.peer, next, place);
                assert!(is_next, "session {session} reads line {number} before {:?}", peer.log[next]);
            }
            None => {
                let is_early = truth.is_removed(self.peer, self.begins_by, place);
                assert!(
                    is_early,
                    "session {session} begins with line {number}, and {:?} waits",
                    peer.log[self.begins_by]
                );
                let before = self.reported_before;
                assert!(seq > before, "session {session} begins with {seq}, and all up to {before} is delivered");
            }
        }
        self.messages_read += 1;
        self.next = Some(place + 1);
        self.on_their_way.push_back((end, place));
    }

    /// `! CODE: WORDS`
    fn refusal(&mut self, rest: &[u8], truth: &mut Truth) -> usize {
        let line = line(rest);
        if self.stage == Stage::Joining {
            self.stage = Stage::Refused;
            truth.peers[self.peer].is_ending(self.session);
            assert!(truth.lookup_failed_at >= self.joined_at, "a login is refused: {line}");
            return line.len() + 1;
        }
        self.pass_committed(truth);
        match self.asked.pop_front() {
            Some(Asked::Send(number)) => self.send_refused(number, line, truth),
            Some(Asked::Malformed(token)) => assert_eq!(line, format!("! bad_request: {token}")),
            Some(Asked::History { .. }) => {
                let failed_at = truth.read_failed_at.max(truth.lookup_failed_at);
                assert!(line.starts_with("! internal: ") && self.is_after(failed_at), "{line}");
            }
            other => panic!("session {} reads {line:?} where {other:?} is answered", self.session),
        }
        line.len() + 1
    }

    fn send_refused(&mut self, number: usize, line: &str, truth: &mut Truth) {
        assert!(line.ends_with("; not sent"), "line {number} is refused with {line:?}");
        let before = std::mem::replace(&mut truth.sent[number].fate, Fate::Refused);
        if before == Fate::Failed {
            assert!(line.starts_with("! storage_full: "), "line {number} is refused with {line:?}");
        } else if let Some(full) = line.strip_prefix("! mailbox_full: ") {
            self.check_full(number, full, truth);
        } else {
            let is_stranger = line.starts_with("! internal: ") && line.contains(" cannot be looked up now");
            assert!(is_stranger && self.is_after(truth.lookup_failed_at), "line {number} is refused with {line:?}");
        }
    }

    /// Promise 6: refused only when due.
    fn check_full(&self, number: usize, line: &str, truth: &Truth) {
        if line.starts_with("nobody has ever logged in as ") {
            let kept = number_after(line, "messages wait for ");
            let to = truth.sent[number].to.len() as u64;
            assert!(truth.unknown_names_max > 0 && kept + to > truth.unknown_names_max, "{line}");
            return assert!(kept <= truth.unknown_at_most(self.asked_at), "{line}");
        }
        let (waiting, words) = line.split_once(" messages wait for ").expect("it says how many wait");
        let waiting: u64 = waiting.parse().expect("it says how many wait");
        let name = words.split_once(", and mailbox_max is ").expect("it says for whom").0;
        let peer = truth.named(name);
        assert!(truth.sent[number].to.contains(&peer), "{line}");
        assert!(truth.mailbox_max > 0 && waiting >= truth.mailbox_max, "{line}");
        let then = self.then.iter().find(|then| then.peer == peer).expect("a recipient");
        let now = &truth.peers[peer];
        let at_most = (now.log.len() - then.reported) as u64 + now.under_way + now.failed - then.failed;
        assert!(waiting <= at_most, "{line}: {at_most} wait at most");
        assert!(!now.keeps_up_since(self.asked_at), "{name} keeps up: {line}");
    }

    /// `* WORDS`
    fn notice(&mut self, rest: &[u8], truth: &mut Truth) -> usize {
        // A history repeats texts, which may be long: only the first of it are words.
        if rest.get(2).is_some_and(u8::is_ascii_digit) && rest.get(6) == Some(&b'-') {
            return self.past_message(rest, truth);
        }
        let line = line(rest);
        let words = line.strip_prefix("* ").unwrap_or_else(|| panic!("session {} reads {line:?}", self.session));
        self.is_reading_here &= words.starts_with("here: ");
        if let Some(hello) = words.strip_prefix("hello ") {
            self.greeting(hello, truth);
        } else if let Some(name) = words.strip_suffix(" is away, kept for later") {
            self.kept(name, truth);
        } else if let Some(name) = words.strip_prefix("nobody has used the name ") {
            self.kept(name.strip_suffix(" yet, kept for later").expect("it is kept for later"), truth);
        } else if let Some(token) = words.strip_prefix("pong ") {
            self.is_answer_to(Asked::Ping(token.parse().expect("a token comes back")), truth);
        } else if let Some(here) = words.strip_prefix("here: ") {
            self.here(here, truth);
        } else if words == "no messages" {
            self.begin_history(truth);
        } else {
            let is_last = words.starts_with("the server is shutting down") && self.is_shut_down;
            assert!(is_last, "session {} reads {line:?}", self.session);
        }
        line.len() + 1
    }

    /// The counts of the greeting are true, as far as a moment is known.
    fn greeting(&mut self, words: &str, truth: &mut Truth) {
        assert_eq!(self.stage, Stage::Joining, "session {} is greeted once", self.session);
        self.stage = Stage::Greeted;
        let waiting = words.split(' ').find_map(|word| word.parse::<u64>().ok()).unwrap_or(0);
        let peer = &mut truth.peers[self.peer];
        let at_least = (peer.log.len() - peer.frontier) as u64;
        let at_most = (peer.log.len() - peer.place_after(self.reported_before)) as u64 + peer.under_way;
        assert!(
            (at_least..=at_most).contains(&waiting),
            "{} is told that {waiting} messages wait, and {at_least} to {at_most} do",
            peer.name
        );
        self.begins_by = peer.frontier;
        self.greeted_with = waiting;
        peer.seen_at.get_or_insert(truth.step);
        if !self.is_ending() && self.left_in_turn.is_none() {
            peer.here.push((self.session, truth.step));
            if waiting == 0 {
                self.keeps_up(truth);
            }
        }
    }

    fn kept(&mut self, name: &str, truth: &Truth) {
        let peer = truth.named(name);
        assert!(!self.kept_for.contains(&peer), "session {} is told twice that {name} is away", self.session);
        assert!(!truth.peers[peer].is_here_since(self.asked_at), "{name} is called away and is here");
        self.kept_for.push(peer);
    }

    fn here(&mut self, names: &str, truth: &Truth) {
        // A long list goes on in the next line.
        if !self.is_reading_here {
            self.is_answer_to(Asked::Who, truth);
            self.is_reading_here = true;
        }
        for name in names.split(", ") {
            let peer = &truth.peers[truth.named(name)];
            assert!(!peer.is_away_since(self.asked_at), "{name} is called here and is away");
        }
    }

    /// A line of `/history`.
    fn past_message(&mut self, line: &[u8], truth: &Truth) -> usize {
        const TIME_BYTES: usize = "2026-11-23T06:18:35.123Z".len();
        if self.history.is_none() {
            self.begin_history(truth);
        }
        let last = self.history.expect("it began");
        let words = &line[b"* ".len() + TIME_BYTES..];
        let colon = words.iter().position(|byte| *byte == b':').expect("a message has its peers");
        let (number, length) = check_text(&words[colon + 2..], truth);
        let seq = truth.check_promised(number);
        assert!(seq > last, "the history of session {} goes back at line {number}", self.session);
        let is_part = truth.sent[number].sender == self.peer || truth.sent[number].to.contains(&self.peer);
        assert!(is_part, "the history of session {} shows line {number} of others", self.session);
        self.history = Some(seq);
        b"* ".len() + TIME_BYTES + colon + 2 + length + 1
    }

    fn begin_history(&mut self, truth: &Truth) {
        self.pass_committed(truth);
        let asked = self.asked.pop_front();
        let Some(Asked::History { is_whole }) = asked else { panic!("a history is shown where {asked:?} is answered") };
        self.history = Some(Seq::ZERO);
        // With only one peer, the asker's last line may be for another.
        self.shown_at_least = self.last_committed.filter(|_| is_whole);
    }

    fn is_answer_to(&mut self, asked: Asked, truth: &Truth) {
        self.pass_committed(truth);
        let front = self.asked.pop_front();
        assert_eq!(front, Some(asked), "session {} is answered out of order, or before it is on disk", self.session);
    }

    /// Promise 1: what came before an answer is on disk.
    fn pass_committed(&mut self, truth: &Truth) {
        while let Some(Asked::Send(number)) = self.asked.front().copied()
            && matches!(truth.sent[number].fate, Fate::Committed(_))
        {
            truth.check_promised(number);
            for peer in &truth.sent[number].to {
                let is_told = self.kept_for.contains(peer) || !truth.peers[*peer].is_away_since(self.asked_at);
                assert!(is_told, "session {} is not told that {} is away", self.session, truth.peers[*peer].name);
            }
            self.asked.pop_front();
        }
    }

    fn is_after(&self, step: u64) -> bool {
        step >= self.asked_at
    }
}

impl Truth {
    /// The place of a line in the log, where it is as safe as it was promised to be.
    fn check_promised(&self, number: usize) -> Seq {
        let Fate::Committed(seq) = self.sent[number].fate else {
            panic!("line {number} is {:?}, and is read or answered", self.sent[number].fate)
        };
        assert!(seq <= self.promised, "line {number} is read or answered before {seq} is safe");
        seq
    }

    /// Names for which messages may wait, and that nobody had logged in by.
    fn unknown_at_most(&self, step: u64) -> u64 {
        self.peers.iter().filter(|peer| peer.seen_at.is_none_or(|seen_at| seen_at >= step)).count() as u64
    }
}

/// Holds a text against what was sent. Says its number and its bytes.
fn check_text(rest: &[u8], truth: &Truth) -> (usize, usize) {
    let (number, digits) = number(rest);
    let length = digits + truth.sent[number].padding;
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

fn number_after(line: &str, words: &str) -> u64 {
    let rest = line.split_once(words).expect("it says a number").1;
    number(rest.as_bytes()).0 as u64
}
