//! Times in which nothing fails and nothing new happens: everything that is under way arrives. Owns what must be true then; never
//! when that is.

use super::client_model::{Asked, ClientModel};
use super::oracle::Fate;
use super::world::World;
use crate::message::Seq;
use crate::protocol::Request;

/// Rounds after which everything that is under way has arrived, however much that is.
const CALM_ROUNDS_MAX: usize = 1_000_000;

impl World {
    /// Nothing fails for a while: everything that is under way arrives, and what the next greeting counts is true.
    pub(super) fn calm_down(&mut self) -> bool {
        (self.is_full, self.is_unreadable) = (false, false);
        self.step(|| "nothing fails now".to_owned());
        let names = self.swarm.peers + self.swarm.strangers;
        // What could not be read is tried again when something happens.
        self.is_outbox_touched = true;
        let somebody = self.rng.usize(..names);
        self.join(somebody);
        self.arrive();
        let peer = self.rng.usize(..names);
        self.check_greetings(peer..=peer);
        true
    }

    /// Everything that is under way arrives.
    pub(super) fn arrive(&mut self) {
        let mut rounds = 0;
        while self.go_on(false) {
            rounds += 1;
            assert!(rounds < CALM_ROUNDS_MAX, "it never becomes calm");
        }
        self.check_calm();
    }

    /// Lets everyone who can do something do it. Says whether anyone did.
    pub(super) fn go_on(&mut self, stalls: bool) -> bool {
        let mut goes_on = self.tell_of_outbox();
        goes_on |= self.run_broker();
        goes_on |= self.answer();
        goes_on |= !stalls && self.observers_go_on();
        for place in (0..self.clients.len()).rev() {
            goes_on |= self.client_goes_on(place, stalls);
        }
        goes_on
    }

    fn client_goes_on(&mut self, place: usize, stalls: bool) -> bool {
        let client = &mut self.clients[place];
        client.is_stalled &= stalls;
        let is_stalled = client.is_stalled;
        // Those who read on have room for everything.
        let socket_bytes = if is_stalled { self.swarm.socket_bytes } else { u64::MAX };
        if !client.queued_events.is_empty() {
            self.tell_untold_of(place)
        } else if client.can_write(socket_bytes) {
            self.write(place, socket_bytes)
        } else if client.is_broken && !client.is_finished() {
            self.leave(place, 0)
        } else if client.can_read() && !is_stalled {
            self.read(place, u64::MAX / 2)
        } else if client.can_acknowledge() {
            self.acknowledge(place, u64::MAX / 2)
        } else if let Some(seq) = self.may_say_it_has(place) {
            self.hand_in(place, vec![(Asked::Ack(seq), Request::Ack { seq }.into())])
        } else {
            let client = &self.clients[place];
            client.is_finished() && self.leave(place, 0)
        }
    }

    fn check_calm(&mut self) {
        for client in &self.clients {
            assert!(!client.is_ending, "#{} is let go", client.session);
            assert!(client.permit().is_some(), "#{} has its permit back", client.session);
            self.views[client.number()].check_calm(&mut self.oracle);
        }
        self.check_dealt_with();
        self.oracle.posts.check_calm();
        self.oracle.observers.check_calm(&self.store.disk);
        self.oracle.rooms.forget_asked();
        self.left = 0;
        for peer in &mut self.oracle.peers {
            peer.sessions.retain(|session| self.views[*session].left_in_turn.is_none());
        }
    }

    /// No line is dropped silently.
    pub(super) fn check_dealt_with(&mut self) {
        // Those who left have been heard too.
        for view in &mut self.views {
            view.has_said(&mut self.oracle);
        }
        let may_refuse = self.swarm.may_refuse() || self.oracle.lookup_failed_at > 0;
        for (number, sent) in self.oracle.sent.iter().enumerate().skip(self.dealt_with) {
            let Some(session) = sent.session else { continue };
            let view = &self.views[session];
            // Whoever left did not hear of a refusal.
            let is_unheard = may_refuse && view.left_in_turn.is_some() || view.is_refused() || sent.attempts > 1;
            assert!(sent.fate != Fate::Told || is_unheard, "line {number} was dropped");
        }
        self.dealt_with = self.oracle.sent.len();
    }

    /// Each of these comes, is told how many messages wait, and gets them.
    pub(super) fn check_greetings(&mut self, peers: impl Iterator<Item = usize>) {
        let mut expected = Vec::new();
        for peer in peers {
            let known = &self.oracle.peers[peer];
            let waiting = known.log[known.place_after(known.reported)..].iter().filter(|logged| !logged.has_lapsed());
            expected.push((self.views.len(), waiting.count() as u64, known.is_vague));
            self.join(peer);
        }
        self.arrive();
        for (session, waiting, is_vague) in expected {
            let ClientModel { peer, greeted_with, .. } = &self.views[session];
            assert!(*greeted_with == waiting || is_vague, "p{peer} is told of {greeted_with} messages of {waiting}");
        }
    }

    /// A shutdown loses no cursor.
    pub(super) fn check_cursors_kept(&self) {
        for (place, peer) in self.oracle.peers.iter().enumerate() {
            let kept = self.store.disk.peer(&peer.name).map_or(Seq::ZERO, |record| record.cursor);
            let (kept, reported) = (peer.place_after(kept), peer.place_after(peer.reported));
            // It may have passed what came into rooms that the peer has left.
            let is_certain = peer.is_vague || self.oracle.is_settled(place, reported, kept);
            let is_kept = kept >= reported && is_certain;
            assert!(is_kept, "the cursor of {} is kept at {kept} of {reported} when the server stops", peer.name);
        }
    }
}
