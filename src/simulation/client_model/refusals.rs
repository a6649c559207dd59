//! Refusals. Owns the reasons for which each request may be refused; never what is accepted.

use super::{ClientModel, ModelRequest, Stage, line};
use crate::simulation::oracle::{Fate, Oracle, Topic, number};

impl ClientModel {
    /// `! CODE: WORDS`
    pub(super) fn refusal(&mut self, rest: &[u8], oracle: &mut Oracle) -> usize {
        let line = line(rest);
        if self.stage == Stage::Joining {
            self.stage = Stage::Refused;
            oracle.peers[self.peer].is_ending(self.session);
            assert!(oracle.lookup_failed_at >= self.joined_at, "a login is refused: {line}");
            return line.len() + 1;
        }
        self.skip_not_refused(line, oracle);
        match self.pending.pop_front() {
            Some(ModelRequest::Send(number)) => self.send_refused(number, line, oracle),
            Some(ModelRequest::Malformed(token)) => assert_eq!(line, format!("! bad_request: {token}")),
            Some(ModelRequest::History { room, .. }) => self.history_refused(room, line, oracle),
            Some(ModelRequest::Join(room)) => self.join_refused(room, line, oracle),
            Some(ModelRequest::Leave(room)) => self.leave_refused(room, line, oracle),
            Some(ModelRequest::ShowTopic(room)) => self.show_topic_refused(room, line, oracle),
            Some(ModelRequest::SetTopic(room, topic)) => self.set_topic_refused(room, topic, line, oracle),
            other => panic!("session {} reads {line:?} instead of the reply to {other:?}", self.session),
        }
        line.len() + 1
    }

    /// Skips accepted messages, which get no reply. A message that is sent again may be refused although it was accepted
    /// before.
    fn skip_not_refused(&mut self, line: &str, oracle: &Oracle) {
        let is_lookup = line.starts_with("! internal: the id cannot be looked up now");
        let is_reuse = line.starts_with("! id_reused: ");
        while let Some(ModelRequest::Send(number)) = self.pending.front().copied()
            && matches!(oracle.sent[number].fate, Fate::Committed(_))
        {
            let has_failed = oracle.sent[number].failed_at >= self.submitted_at;
            let is_it = is_lookup && oracle.sent[number].id.is_some()
                || line.starts_with("! storage_full: ") && line.ends_with("; not sent") && has_failed
                || is_reuse && oracle.ids.belongs_to_another(number, self.submitted_at, &oracle.sent);
            if is_it {
                return;
            }
            let others = self.pending.split_off(1);
            self.skip_accepted(oracle);
            self.pending = others;
        }
    }

    fn send_refused(&mut self, number: usize, line: &str, oracle: &mut Oracle) {
        let is_lookup = line.contains(" cannot be looked up now");
        assert!(line.contains("; not sent"), "line {number} is refused with {line:?}");
        let sent = &oracle.sent[number];
        let has_failed = sent.failed_at >= self.submitted_at;
        let is_for_size = line.starts_with("! storage_full: the database ");
        if is_for_size {
            assert!(self.is_after(oracle.full_at), "line {number} is refused with {line:?}");
        } else if line.starts_with("! storage_full: ") {
            assert!(has_failed, "line {number} is refused with {line:?}");
        } else if let Some(full) = line.strip_prefix("! mailbox_full: ") {
            self.check_full(number, full, oracle);
        } else if line.starts_with("! not_a_member: ") {
            let is_due = sent.rooms().any(|room| self.may_be_no_member(room, line, oracle));
            assert!(is_due, "line {number} is refused with {line:?}");
        } else if line.starts_with("! id_reused: ") {
            let is_due = oracle.ids.belongs_to_another(number, self.submitted_at, &oracle.sent);
            assert!(is_due, "line {number} is refused with {line:?}");
        } else {
            let is_due = line.starts_with("! internal: ") && is_lookup && self.is_after(oracle.lookup_failed_at);
            assert!(is_due, "line {number} is refused with {line:?}");
        }
        let sent = &mut oracle.sent[number];
        match sent.fate {
            Fate::Failed if sent.attempts == 1 => assert!(has_failed && line.starts_with("! storage_full: "), "{line}"),
            Fate::Committed(_) => return,
            _ => {}
        }
        sent.fate = Fate::Refused;
    }

    fn history_refused(&self, room: Option<usize>, line: &str, oracle: &Oracle) {
        let failed_at = oracle.read_failed_at.max(oracle.lookup_failed_at);
        let has_failed = line.starts_with("! internal: ") && self.is_after(failed_at);
        let is_out = || room.is_some_and(|room| self.may_be_no_member(room, line, oracle));
        assert!(has_failed || line.starts_with("! not_a_member: ") && is_out(), "a history is refused with {line:?}");
    }

    fn join_refused(&self, room: usize, line: &str, oracle: &mut Oracle) {
        oracle.rooms.answered_join(room, self.peer, oracle.step);
        assert!(line.ends_with("; not joined"), "a room is not joined: {line:?}");
        let is_due = if let Some(words) = line.strip_prefix("! storage_full: there are ") {
            let rooms = number(words.as_bytes()).0 as u64;
            let is_full = oracle.rooms_max > 0 && rooms >= oracle.rooms_max && rooms <= oracle.rooms.count() as u64;
            is_full && !oracle.rooms.is_made_since(room, self.submitted_at)
        } else if line.starts_with("! storage_full: ") {
            self.is_after(oracle.commit_failed_at)
        } else {
            line.starts_with("! internal: ") && self.is_after(oracle.lookup_failed_at)
        };
        assert!(is_due, "a room is not joined: {line:?}");
    }

    fn leave_refused(&self, room: usize, line: &str, oracle: &mut Oracle) {
        oracle.rooms.answered_leave(room, self.peer, oracle.step);
        assert!(line.ends_with("; nothing was done"), "a room is not left: {line:?}");
        assert!(self.may_be_refused_to_member(room, line, oracle), "a room is not left: {line:?}");
    }

    fn show_topic_refused(&self, room: usize, line: &str, oracle: &Oracle) {
        assert!(line.ends_with("; nothing is shown"), "a topic is not shown: {line:?}");
        // A failed turn hides the topic only of a room that it would have created.
        let is_new = !oracle.rooms.is_made_since(room, self.submitted_at);
        let is_due = is_new || !line.starts_with("! storage_full: ");
        assert!(is_due && self.may_be_refused_to_member(room, line, oracle), "a topic is not shown: {line:?}");
    }

    fn set_topic_refused(&self, room: usize, topic: Topic, line: &str, oracle: &Oracle) {
        assert!(line.ends_with("; nothing was done"), "a topic is not set: {line:?}");
        assert!(self.may_be_refused_to_member(room, line, oracle), "a topic is not set: {line:?}");
        let is_set = topic.is_some() && oracle.topics.was_committed(room, topic);
        assert!(!is_set, "the topic {topic:?} is committed, and refused with {line:?}");
    }

    /// Whether a request that only members may make may be refused.
    fn may_be_refused_to_member(&self, room: usize, line: &str, oracle: &Oracle) -> bool {
        if line.starts_with("! not_a_member: ") {
            self.may_be_no_member(room, line, oracle)
        } else if line.starts_with("! storage_full: ") {
            self.is_after(oracle.commit_failed_at)
        } else {
            line.starts_with("! internal: ") && self.is_after(oracle.lookup_failed_at)
        }
    }

    /// Whether a refusal may say that the peer is not a member.
    fn may_be_no_member(&self, room: usize, line: &str, oracle: &Oracle) -> bool {
        let (since, failed_at) = (self.submitted_at, oracle.commit_failed_at);
        line.contains(&format!(" {};", oracle.rooms.name(room)))
            && oracle.rooms.may_have_been_out(room, self.peer, since, failed_at)
    }

    /// Promise 6: a message is refused for a limit only if the limit is reached.
    fn check_full(&self, number: usize, line: &str, oracle: &Oracle) {
        if line.starts_with("nobody has ever logged in as ") {
            let kept = number_after(line, "messages wait for ");
            let to = oracle.sent[number].peers().count() as u64;
            assert!(oracle.unknown_names_max > 0 && kept + to > oracle.unknown_names_max, "{line}");
            return assert!(kept <= oracle.unknown_names_at_most(self.submitted_at), "{line}");
        }
        let (waiting, words) = line.split_once(" messages wait for ").expect("the refusal says how many messages wait");
        let waiting: u64 = waiting.parse().expect("the refusal says how many messages wait");
        let name = words.split_once(", and your share of mailbox_max (").expect("the refusal names the recipient").0;
        let peer = oracle.named(name);
        assert!(oracle.sent[number].peers().any(|other| other == peer), "{line}");
        assert!(oracle.mailbox_max > 0 && waiting >= oracle.mailbox_max, "{line}");
        let then = self.then.iter().find(|then| then.peer == peer).expect("the recipient was recorded");
        let now = &oracle.peers[peer];
        let at_most = now.direct_from(then.reported) + now.in_flight + now.failed - then.failed;
        assert!(waiting <= at_most, "{line}: at most {at_most} messages wait");
        assert!(!now.keeps_up_since(self.submitted_at), "{name} keeps up: {line}");
    }
}

fn number_after(line: &str, words: &str) -> u64 {
    let rest = line.split_once(words).expect("the refusal has a number").1;
    number(rest.as_bytes()).0 as u64
}
