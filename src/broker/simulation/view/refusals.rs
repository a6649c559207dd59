//! What a session is refused. Owns for which reasons that may be; never what is accepted.

use super::{Asked, Stage, View, line};
use crate::broker::simulation::truth::{Fate, Truth, number};

impl View {
    /// `! CODE: WORDS`
    pub(super) fn refusal(&mut self, rest: &[u8], truth: &mut Truth) -> usize {
        let line = line(rest);
        if self.stage == Stage::Joining {
            self.stage = Stage::Refused;
            truth.peers[self.peer].is_ending(self.session);
            assert!(truth.lookup_failed_at >= self.joined_at, "a login is refused: {line}");
            return line.len() + 1;
        }
        self.pass_not_refused(line, truth);
        match self.asked.pop_front() {
            Some(Asked::Send(number)) => self.send_refused(number, line, truth),
            Some(Asked::Malformed(token)) => assert_eq!(line, format!("! bad_request: {token}")),
            Some(Asked::History { room, .. }) => self.history_refused(room, line, truth),
            Some(Asked::Join(room)) => self.join_refused(room, line, truth),
            Some(Asked::Leave(room)) => self.leave_refused(room, line, truth),
            other => panic!("session {} reads {line:?} where {other:?} is answered", self.session),
        }
        line.len() + 1
    }

    /// Nothing is said of what was accepted; and what was sent before may be refused though it was accepted then.
    fn pass_not_refused(&mut self, line: &str, truth: &Truth) {
        let is_lookup = line.starts_with("! internal: the id cannot be looked up now");
        let is_reuse = line.starts_with("! id_reused: ");
        while let Some(Asked::Send(number)) = self.asked.front().copied()
            && matches!(truth.sent[number].fate, Fate::Committed(_))
        {
            let has_failed = truth.sent[number].failed_at >= self.asked_at;
            let is_it = is_lookup && truth.sent[number].id.is_some()
                || line.starts_with("! storage_full: ") && line.ends_with("; not sent") && has_failed
                || is_reuse && truth.ids.is_anothers(number, self.asked_at, &truth.sent);
            if is_it {
                return;
            }
            let others = self.asked.split_off(1);
            self.pass_committed(truth);
            self.asked = others;
        }
    }

    fn send_refused(&mut self, number: usize, line: &str, truth: &mut Truth) {
        let is_lookup = line.contains(" cannot be looked up now");
        assert!(line.contains("; not sent"), "line {number} is refused with {line:?}");
        let sent = &truth.sent[number];
        let has_failed = sent.failed_at >= self.asked_at;
        if line.starts_with("! storage_full: ") {
            assert!(has_failed, "line {number} is refused with {line:?}");
        } else if let Some(full) = line.strip_prefix("! mailbox_full: ") {
            self.check_full(number, full, truth);
        } else if line.starts_with("! not_a_member: ") {
            let is_due = sent.rooms().any(|room| self.may_be_no_member(room, line, truth));
            assert!(is_due, "line {number} is refused with {line:?}");
        } else if line.starts_with("! id_reused: ") {
            let is_due = truth.ids.is_anothers(number, self.asked_at, &truth.sent);
            assert!(is_due, "line {number} is refused with {line:?}");
        } else {
            let is_due = line.starts_with("! internal: ") && is_lookup && self.is_after(truth.lookup_failed_at);
            assert!(is_due, "line {number} is refused with {line:?}");
        }
        let sent = &mut truth.sent[number];
        match sent.fate {
            Fate::Failed if sent.attempts == 1 => assert!(has_failed && line.starts_with("! storage_full: "), "{line}"),
            Fate::Committed(_) => return,
            _ => {}
        }
        sent.fate = Fate::Refused;
    }

    fn history_refused(&self, room: Option<usize>, line: &str, truth: &Truth) {
        let failed_at = truth.read_failed_at.max(truth.lookup_failed_at);
        let has_failed = line.starts_with("! internal: ") && self.is_after(failed_at);
        let is_out = || room.is_some_and(|room| self.may_be_no_member(room, line, truth));
        assert!(has_failed || line.starts_with("! not_a_member: ") && is_out(), "a history is refused with {line:?}");
    }

    fn join_refused(&self, room: usize, line: &str, truth: &mut Truth) {
        truth.rooms.answered_join(room, self.peer, truth.step);
        assert!(line.ends_with("; not joined"), "a room is not joined: {line:?}");
        let is_due = if let Some(words) = line.strip_prefix("! storage_full: there are ") {
            let rooms = number(words.as_bytes()).0 as u64;
            let is_full = truth.rooms_max > 0 && rooms >= truth.rooms_max && rooms <= truth.rooms.count() as u64;
            is_full && !truth.rooms.is_made_since(room, self.asked_at)
        } else if line.starts_with("! storage_full: ") {
            self.is_after(truth.commit_failed_at)
        } else {
            line.starts_with("! internal: ") && self.is_after(truth.lookup_failed_at)
        };
        assert!(is_due, "a room is not joined: {line:?}");
    }

    fn leave_refused(&self, room: usize, line: &str, truth: &mut Truth) {
        truth.rooms.answered_leave(room, self.peer, truth.step);
        assert!(line.ends_with("; nothing was done"), "a room is not left: {line:?}");
        let is_due = if line.starts_with("! not_a_member: ") {
            self.may_be_no_member(room, line, truth)
        } else if line.starts_with("! storage_full: ") {
            self.is_after(truth.commit_failed_at)
        } else {
            line.starts_with("! internal: ") && self.is_after(truth.lookup_failed_at)
        };
        assert!(is_due, "a room is not left: {line:?}");
    }

    /// Whether it may be told that it is not in a room, or that nobody is.
    fn may_be_no_member(&self, room: usize, line: &str, truth: &Truth) -> bool {
        let (since, failed_at) = (self.asked_at, truth.commit_failed_at);
        let is_empty = truth.rooms.may_have_been_empty(room, since, failed_at);
        let is_said_empty = line.contains(": nobody is in ");
        line.contains(&format!(" {};", truth.rooms.name(room)))
            && truth.rooms.may_have_been_out(room, self.peer, since, failed_at)
            && (is_empty || !is_said_empty)
    }

    /// Promise 6: refused only when due.
    fn check_full(&self, number: usize, line: &str, truth: &Truth) {
        if line.starts_with("nobody has ever logged in as ") {
            let kept = number_after(line, "messages wait for ");
            let to = truth.sent[number].peers().count() as u64;
            assert!(truth.unknown_names_max > 0 && kept + to > truth.unknown_names_max, "{line}");
            return assert!(kept <= truth.unknown_at_most(self.asked_at), "{line}");
        }
        let (waiting, words) = line.split_once(" messages wait for ").expect("it says how many wait");
        let waiting: u64 = waiting.parse().expect("it says how many wait");
        let name = words.split_once(", and mailbox_max is ").expect("it says for whom").0;
        let peer = truth.named(name);
        assert!(truth.sent[number].peers().any(|other| other == peer), "{line}");
        assert!(truth.mailbox_max > 0 && waiting >= truth.mailbox_max, "{line}");
        let then = self.then.iter().find(|then| then.peer == peer).expect("a recipient");
        let now = &truth.peers[peer];
        let at_most = now.direct_from(then.reported) + now.under_way + now.failed - then.failed;
        assert!(waiting <= at_most, "{line}: {at_most} wait at most");
        assert!(!now.keeps_up_since(self.asked_at), "{name} keeps up: {line}");
    }
}

fn number_after(line: &str, words: &str) -> u64 {
    let rest = line.split_once(words).expect("it says a number").1;
    number(rest.as_bytes()).0 as u64
}
