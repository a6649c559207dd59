//! Notices and replies about other peers: online, offline, members of rooms. Owns when each may be read; never messages.

use super::{ClientModel, ModelRequest};
use crate::simulation::oracle::Oracle;

impl ClientModel {
    pub(super) fn away_notice(&mut self, name: &str, oracle: &Oracle) {
        let peer = oracle.named(name);
        // Once in a turn, and a batch may be divided.
        let is_again = self.away_notices.contains(&peer) && !self.is_after(oracle.lookup_cut_at);
        assert!(!is_again, "session {} reads twice that {name} is away", self.session);
        assert!(!oracle.peers[peer].is_online_since(self.submitted_at), "{name} is reported as away, and is online");
        self.away_notices.push(peer);
    }

    pub(super) fn online_reply(&mut self, names: &str, oracle: &Oracle) {
        // A long list continues on the next line.
        if !self.is_reading_who {
            self.is_answer_to(ModelRequest::Who, oracle);
            self.is_reading_who = true;
        }
        for name in names.split(", ") {
            let peer = &oracle.peers[oracle.named(name)];
            assert!(!peer.is_offline_since(self.submitted_at), "{name} is listed as online, and is offline");
        }
    }

    pub(super) fn members_reply(&mut self, room: &str, here: &str, oracle: &Oracle) {
        assert!(self.is_reading_who, "session {} reads the members of {room} without a request", self.session);
        let room = oracle.rooms.named(room);
        if self.topic_may_follow != Some(room) {
            self.no_topic_follows(oracle);
        }
        self.topic_follows(room);
        // A reply includes the changes of a turn even if the turn fails.
        let has_failed = self.is_after(oracle.commit_failed_at);
        let may_be_in = |peer: usize| has_failed || oracle.rooms.may_have_been_in(room, peer, self.submitted_at);
        assert!(may_be_in(self.peer), "session {} reads the members of {room}, and is not one", self.session);
        for name in here.split(", ").filter(|name| *name != "nobody is here") {
            let peer = oracle.named(name);
            assert!(may_be_in(peer), "{name} is listed in {room}, and is not a member");
            assert!(
                !oracle.peers[peer].is_offline_since(self.submitted_at),
                "{name} is listed as online, and is offline"
            );
        }
    }

    pub(super) fn empty_room_notice(&mut self, room: &str, oracle: &Oracle) {
        let place = oracle.rooms.named(room);
        let is_again = self.empty_room_notices.contains(&place) && !self.is_after(oracle.lookup_cut_at);
        assert!(!is_again, "session {} reads twice that {room} is empty", self.session);
        let is_certain = oracle.rooms.is_calm_since(place, self.submitted_at);
        assert!(
            !is_certain || oracle.rooms.is_empty_without(place, self.peer),
            "{room} is reported as empty, and has other members"
        );
        self.empty_room_notices.push(place);
    }

    pub(super) fn join_reply(&mut self, room: &str, oracle: &mut Oracle) {
        let room = oracle.rooms.named(room);
        self.is_answer_to(ModelRequest::Join(room), oracle);
        oracle.rooms.answered_join(room, self.peer, oracle.step);
        let is_in = oracle.rooms.may_have_been_in(room, self.peer, self.submitted_at);
        assert!(
            is_in && oracle.rooms.are_kept,
            "session {} reads that it joined room {room}, and is not a member",
            self.session
        );
        self.topic_follows(room);
    }

    pub(super) fn leave_reply(&mut self, room: &str, oracle: &mut Oracle) {
        let room = oracle.rooms.named(room);
        self.is_answer_to(ModelRequest::Leave(room), oracle);
        oracle.rooms.answered_leave(room, self.peer, oracle.step);
        let is_out = oracle.rooms.may_have_been_out(room, self.peer, self.submitted_at, 0);
        assert!(
            is_out && oracle.rooms.are_kept,
            "session {} reads that it left room {room}, and is a member",
            self.session
        );
    }
}
