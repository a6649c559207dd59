//! Messages of a history. Owns which messages may be in it; never new messages.

use super::{ClientModel, ModelRequest, check_text};
use crate::message::Seq;
use crate::simulation::oracle::{Fate, Oracle};

impl ClientModel {
    /// Checks a line of `/history`.
    pub(super) fn past_message(&mut self, line: &[u8], oracle: &Oracle) -> usize {
        const TIME_BYTES: usize = "2026-11-23T06:18:35.123Z".len();
        if self.history.is_none() {
            self.begin_history(oracle);
        }
        let last = self.history.expect("it began");
        let words = &line[b"* ".len() + TIME_BYTES..];
        let colon = words.iter().position(|byte| *byte == b':').expect("a message names its peers");
        let (number, length) = check_text(&words[colon + 2..], oracle);
        let seq = oracle.check_durable(number, |copy| copy > last);
        assert!(seq > last, "the history of session {} is out of order at line {number}", self.session);
        // What came during an earlier membership of a room is shown to those who have joined it again.
        let is_part = oracle.sent[number].sender == self.peer || oracle.peers[self.peer].logged(seq).is_some();
        assert!(is_part, "the history of session {} shows line {number} of others", self.session);
        if let Some(room) = self.shown_room {
            assert!(oracle.sent[number].rooms().any(|other| other == room), "line {number} is not of room {room}");
        }
        self.history = Some(seq);
        // If the message has several copies in the log, this may be the latest.
        self.shown_up_to = oracle.sent[number].copies.last().copied().unwrap_or(seq);
        b"* ".len() + TIME_BYTES + colon + 2 + length + 1
    }

    pub(super) fn begin_history(&mut self, oracle: &Oracle) {
        self.skip_accepted(oracle);
        let asked = self.pending.pop_front();
        let Some(ModelRequest::History { is_whole, room }) = asked else {
            panic!("a history is read instead of the reply to {asked:?}")
        };
        self.history = Some(Seq::ZERO);
        self.shown_up_to = Seq::ZERO;
        self.shown_room = room;
        // If the history covers one peer only, the last line may be for another.
        self.shown_at_least = oracle.last_committed(self.session).filter(|_| is_whole);
    }

    pub(super) fn check_history_is_whole(&self, oracle: &Oracle) {
        if let (Some(_), Some(number)) = (self.history, self.shown_at_least) {
            let last = self.shown_up_to;
            let is_shown = matches!(oracle.sent[number].fate, Fate::Committed(seq) if seq <= last);
            assert!(is_shown || oracle.is_line_removed(number), "the history ends with {last}, before line {number}");
        }
    }
}
