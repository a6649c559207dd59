//! Quiescence: nothing fails and nothing new starts until everything in flight has arrived. Owns what must be true then;
//! never decides when it happens.

use super::client_model::{ClientModel, ModelRequest};
use super::oracle::Fate;
use super::world::World;
use crate::message::Seq;
use crate::protocol::Request;

/// Rounds by which everything in flight has arrived, however much it is.
const QUIESCENCE_ROUNDS_MAX: usize = 1_000_000;

impl World {
    /// Stops all failures, lets everything in flight arrive, and checks the number of waiting messages in the next
    /// greeting.
    pub(super) fn quiesce(&mut self) -> bool {
        (self.is_full, self.is_unreadable) = (false, false);
        self.broker.headroom.set(None);
        self.step(|| "nothing fails now".to_owned());
        let names = self.swarm.peers + self.swarm.rare_peers;
        // The broker retries failed reads when something happens.
        self.is_outbox_touched = true;
        let somebody = self.rng.usize(..names);
        self.join(somebody);
        self.arrive();
        let peer = self.rng.usize(..names);
        self.check_greetings(peer..=peer);
        true
    }

    /// Lets everything in flight arrive.
    pub(super) fn arrive(&mut self) {
        let mut rounds = 0;
        while self.make_progress(false) {
            rounds += 1;
            assert!(rounds < QUIESCENCE_ROUNDS_MAX, "the run never becomes quiescent");
        }
        self.check_quiescent();
    }

    /// Lets every part that can do something do it. Returns whether any did.
    pub(super) fn make_progress(&mut self, stalls: bool) -> bool {
        let mut has_progress = self.notify_outbox_touched();
        has_progress |= self.run_broker();
        has_progress |= self.answer();
        has_progress |= !stalls && self.resume_observers();
        for place in (0..self.clients.len()).rev() {
            has_progress |= self.client_makes_progress(place, stalls);
        }
        has_progress
    }

    fn client_makes_progress(&mut self, place: usize, stalls: bool) -> bool {
        let client = &mut self.clients[place];
        client.is_stalled &= stalls;
        let is_stalled = client.is_stalled;
        // A socket that is read has room for everything.
        let socket_bytes = if is_stalled { self.swarm.socket_bytes } else { u64::MAX };
        if !client.queued_events.is_empty() {
            self.send_queued_events_of(place)
        } else if client.can_write(socket_bytes) {
            self.write(place, socket_bytes)
        } else if client.is_broken && !client.is_finished() {
            self.leave(place, 0)
        } else if client.can_read() && !is_stalled {
            self.read(place, u64::MAX / 2)
        } else if client.can_acknowledge() {
            self.acknowledge(place, u64::MAX / 2)
        } else if let Some(seq) = self.pending_ack(place) {
            self.submit(place, vec![(ModelRequest::Ack(seq), Request::Ack { seq }.into())])
        } else {
            let client = &self.clients[place];
            client.is_finished() && self.leave(place, 0)
        }
    }

    fn check_quiescent(&mut self) {
        for client in &self.clients {
            assert!(!client.is_ending, "#{} is released", client.session);
            assert!(client.permit().is_some(), "#{} got its permit back", client.session);
            self.models[client.number()].check_quiescent(&mut self.oracle);
        }
        self.check_no_line_dropped();
        self.oracle.posts.check_quiescent();
        self.oracle.observers.check_quiescent(&self.store.disk);
        self.oracle.rooms.forget_asked();
        self.oracle.topics.forget_requests();
        self.left = 0;
        for peer in &mut self.oracle.peers {
            peer.sessions.retain(|session| self.models[*session].left_in_turn.is_none());
        }
    }

    /// Checks that no message is dropped silently.
    pub(super) fn check_no_line_dropped(&mut self) {
        // Clients that left have acknowledged what they had received.
        for model in &mut self.models {
            model.acks_processed(&mut self.oracle);
        }
        let may_refuse = self.swarm.may_refuse() || self.oracle.lookup_failed_at > 0;
        for (number, sent) in self.oracle.sent.iter().enumerate().skip(self.checked_lines) {
            let Some(session) = sent.session else { continue };
            let model = &self.models[session];
            // A client that left did not read the refusal.
            let is_unheard = may_refuse && model.left_in_turn.is_some() || model.is_refused() || sent.attempts > 1;
            assert!(sent.fate != Fate::InFlight || is_unheard, "line {number} was dropped");
        }
        self.checked_lines = self.oracle.sent.len();
    }

    /// Logs each of these peers in; checks that the greeting counts the waiting messages, and that they arrive.
    pub(super) fn check_greetings(&mut self, peers: impl Iterator<Item = usize>) {
        let mut expected = Vec::new();
        for peer in peers {
            let known = &self.oracle.peers[peer];
            let unread = known.place_after(known.reported)..known.log.len();
            expected.push((self.models.len(), unread.clone(), known.replayed(unread), known.is_uncertain));
            self.join(peer);
        }
        self.arrive();
        for (session, unread, at_most, is_uncertain) in expected {
            let ClientModel { peer, greeted_waiting, .. } = &self.models[session];
            // The turn of the login may have raised floors.
            let at_least = self.oracle.peers[*peer].replayed(unread);
            assert!(
                (at_least..=at_most).contains(greeted_waiting) || is_uncertain,
                "p{peer} is told of {greeted_waiting} messages of {at_least} to {at_most}"
            );
        }
    }

    /// Checks that a shutdown commits every cursor.
    pub(super) fn check_cursors_kept(&self) {
        for (place, peer) in self.oracle.peers.iter().enumerate() {
            let kept = self.store.disk.peer(&peer.name).map_or(Seq::ZERO, |record| record.cursor);
            let (kept, reported) = (peer.place_after(kept), peer.place_after(peer.reported));
            // The cursor may have passed messages of rooms that the peer has left.
            let is_certain = peer.is_uncertain || self.oracle.may_skip(place, reported, kept);
            let is_kept = kept >= reported && is_certain;
            assert!(is_kept, "the cursor of {} is {kept} after a shutdown, and {reported} were delivered", peer.name);
        }
    }
}
