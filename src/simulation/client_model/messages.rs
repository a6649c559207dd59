//! Messages that a session reads for the first time. Owns which message must come next; never replies to requests.

use super::{ClientModel, Stage, check_text, words};
use crate::message::Seq;
use crate::simulation::oracle::{InboxEntry, Oracle};

impl ClientModel {
    /// `from NAME: TEXT`, or `from NAME in #ROOM: TEXT`.
    pub(super) fn message(&mut self, line: &[u8], oracle: &mut Oracle) -> usize {
        assert_eq!(self.stage, Stage::Greeted, "session {} reads before it has joined", self.session);
        let colon = line.iter().position(|byte| *byte == b':').expect("a message has a sender");
        let from = words(&line[b"from ".len()..colon]);
        let (sender, room) = from.split_once(" in ").map_or((from, None), |(sender, room)| (sender, Some(room)));
        let (sender, room) = (oracle.named(sender), room.map(|room| oracle.rooms.named(room)));
        let (number, length) = check_text(&line[colon + 2..], oracle);
        assert_eq!(
            sender, oracle.sent[number].sender,
            "session {} reads of line {number} that {sender} sent it",
            self.session
        );
        let end = colon + 2 + length + 1;
        self.feed(number, room, self.stream_bytes + end as u64, oracle);
        end
    }

    /// Promises 2 to 5: a message that is read is on disk, and is the next in the log.
    fn feed(&mut self, number: usize, room: Option<usize>, end: u64, oracle: &mut Oracle) {
        let session = self.session;
        if let Some((earliest, latest)) = self.copies_it_may_begin_with(number, oracle) {
            // The next message will tell which copy this is; until then it counts as the latest.
            self.messages_read += 1;
            self.begins_by = self.begins_by.max(latest + 1);
            return self.is_handed(end, latest, earliest);
        }
        let seq = oracle.check_durable(number, |copy| self.is_ahead(copy, oracle));
        let peer = &oracle.peers[self.peer];
        let place = peer.place_after(seq).checked_sub(1).filter(|place| peer.log[*place].seq == seq);
        let place = place.unwrap_or_else(|| panic!("session {session} reads line {number}, which is for others"));
        assert!(
            peer.log[place].comes_through(room),
            "session {session} reads line {number} by way of room {room:?}, and it is {:?}",
            peer.log[place]
        );
        match self.next {
            Some(next) => {
                assert!(
                    place >= next,
                    "session {session} reads line {number} again or late: {seq} at index {place}, and {next} is next"
                );
                let is_next = oracle.may_skip(self.peer, next, place);
                self.skipped += peer.log[next..place].iter().filter(|logged| logged.is_missed()).count() as u64;
                assert!(is_next, "session {session} reads line {number} before {:?}", peer.log[next]);
            }
            None => {
                let is_early = oracle.may_skip(self.peer, self.begins_by, place);
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
        self.is_handed(end, place, seq);
    }

    fn is_handed(&mut self, end: u64, place: usize, seq: Seq) {
        match &mut self.acks {
            Some(acks) => acks.flushed(end, place, seq),
            None => self.on_their_way.push_back((end, place)),
        }
    }

    /// For a first message with several copies in the log of which each may be the beginning: returns the sequence
    /// number of the earliest, and the index of the latest.
    fn copies_it_may_begin_with(&self, number: usize, oracle: &Oracle) -> Option<(Seq, usize)> {
        if self.next.is_some() {
            return None;
        }
        let peer = &oracle.peers[self.peer];
        let copies = oracle.sent[number].copies.iter().copied().filter(|copy| *copy > self.reported_before);
        let places = copies.filter(|copy| peer.logged(*copy).is_some()).map(|copy| (copy, peer.place_after(copy) - 1));
        let possible: Vec<(Seq, usize)> =
            places.filter(|(_, place)| oracle.may_skip(self.peer, self.begins_by, *place)).collect();
        match possible[..] {
            [(earliest, _), .., (_, latest)] => Some((earliest, latest)),
            _ => None,
        }
    }

    /// Whether a message may still be read.
    fn is_ahead(&self, seq: Seq, oracle: &Oracle) -> bool {
        let peer = &oracle.peers[self.peer];
        self.next.map_or(seq > self.reported_before, |next| peer.place_after(seq) > next)
    }

    /// `N in #ROOM, see /history #ROOM`
    pub(super) fn missed_notice(&mut self, words: &str, oracle: &Oracle) {
        assert_eq!(self.stage, Stage::Greeted, "session {} misses messages before it has joined", self.session);
        let (count, rest) = words.split_once(" in ").expect("the notice names a room");
        let (room, history) = rest.split_once(", see /history ").expect("the notice names the history");
        assert_eq!(room, history, "session {} reads of two rooms", self.session);
        let count: u64 = count.replace(',', "").parse().expect("the notice has a number");
        let peer = &oracle.peers[self.peer];
        let room = oracle.rooms.named(room);
        let from = peer.place_after(self.reported_before);
        let may_be_missed = |logged: &&InboxEntry| logged.rooms.iter().any(|through| through.room == room);
        let at_most = peer.log[from..].iter().filter(|logged| logged.may_be_skipped()).filter(may_be_missed).count();
        assert!(
            (1..=at_most as u64).contains(&count),
            "session {} missed {count} messages of room {room}, and at most {at_most}",
            self.session
        );
        self.missed += count;
    }

    /// Checks that the session was notified of every message that it missed, once. It will read none before this index of its peer's log.
    pub(super) fn check_missed(&self, from: usize, place: usize, oracle: &Oracle) {
        let peer = &oracle.peers[self.peer];
        let ahead = peer.log.get(from..place).unwrap_or_default().iter().filter(|logged| logged.is_missed()).count();
        let at_least = self.skipped + ahead as u64;
        let all = peer.log.len() - peer.place_after(self.reported_before);
        let at_most = all as u64 - self.messages_read;
        assert!(
            (at_least..=at_most).contains(&self.missed),
            "session {} missed {} messages, and {at_least} to {at_most} were skipped",
            self.session,
            self.missed
        );
    }
}
