//! What a session is told of others: who is here, who is away, and who is in which room. Owns what of that may be said; never
//! what they send.

use super::{Asked, ClientModel};
use crate::simulation::oracle::Oracle;

impl ClientModel {
    pub(super) fn kept(&mut self, name: &str, oracle: &Oracle) {
        let peer = oracle.named(name);
        assert!(!self.kept_for.contains(&peer), "session {} is told twice that {name} is away", self.session);
        assert!(!oracle.peers[peer].is_here_since(self.asked_at), "{name} is called away and is here");
        self.kept_for.push(peer);
    }

    pub(super) fn here(&mut self, names: &str, oracle: &Oracle) {
        // A long list goes on in the next line.
        if !self.is_reading_here {
            self.is_answer_to(Asked::Who, oracle);
            self.is_reading_here = true;
        }
        for name in names.split(", ") {
            let peer = &oracle.peers[oracle.named(name)];
            assert!(!peer.is_away_since(self.asked_at), "{name} is called here and is away");
        }
    }

    pub(super) fn here_in(&mut self, room: &str, here: &str, oracle: &Oracle) {
        assert!(self.is_reading_here, "session {} is told who is in {room}, and did not ask", self.session);
        let room = oracle.rooms.named(room);
        // Of a turn that fails, what it changed is told.
        let has_failed = self.is_after(oracle.commit_failed_at);
        let may_be_in = |peer: usize| has_failed || oracle.rooms.may_have_been_in(room, peer, self.asked_at);
        assert!(may_be_in(self.peer), "session {} is told who is in {room} of others", self.session);
        for name in here.split(", ").filter(|name| *name != "nobody is here") {
            let peer = oracle.named(name);
            assert!(may_be_in(peer), "{name} is said to be in {room}");
            assert!(!oracle.peers[peer].is_away_since(self.asked_at), "{name} is called here and is away");
        }
    }

    pub(super) fn alone(&mut self, room: &str, oracle: &Oracle) {
        let place = oracle.rooms.named(room);
        assert!(!self.alone_in.contains(&place), "session {} is told twice that nobody is in {room}", self.session);
        let is_certain = oracle.rooms.is_calm_since(place, self.asked_at);
        assert!(!is_certain || oracle.rooms.is_alone(place, self.peer), "others are in {room}");
        self.alone_in.push(place);
    }

    pub(super) fn joined(&mut self, room: &str, oracle: &mut Oracle) {
        let room = oracle.rooms.named(room);
        self.is_answer_to(Asked::Join(room), oracle);
        oracle.rooms.answered_join(room, self.peer, oracle.step);
        let is_in = oracle.rooms.may_have_been_in(room, self.peer, self.asked_at);
        assert!(is_in && oracle.rooms.are_kept, "session {} is told it is in room {room}, and is not", self.session);
    }

    pub(super) fn left(&mut self, room: &str, oracle: &mut Oracle) {
        let room = oracle.rooms.named(room);
        self.is_answer_to(Asked::Leave(room), oracle);
        oracle.rooms.answered_leave(room, self.peer, oracle.step);
        let is_out = oracle.rooms.may_have_been_out(room, self.peer, self.asked_at, 0);
        assert!(is_out && oracle.rooms.are_kept, "session {} is told it left room {room}, and is in it", self.session);
    }
}
