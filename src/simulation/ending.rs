//! How each run ends: nothing fails any more, everyone comes back, and what only shows in the end is looked at. Owns the
//! promises of completeness and the exact caps; never takes a random step.

use super::client_model::Asked;
use super::oracle::{Fate, To};
use super::world::World;
use crate::broker::EndReason;
use crate::limits::{ABSENT_PEERS_MAX, DESTINATIONS_DEFAULT};
use crate::protocol::Work;

impl World {
    /// Everyone gets everything, the caps are met exactly, and a server that stops loses nothing.
    pub(super) fn finish(&mut self) {
        self.calm_down();
        self.everyone_leaves();
        self.everyone_comes();
        self.check_everything_arrived();
        self.check_mailbox();
        self.check_unknown_names();
        self.shut_down();
        self.everyone_comes();
    }

    /// Promise 6: those who are absent do not stay in memory, however many are named.
    pub(super) fn check_forgetting(&mut self) {
        self.join(0);
        self.arrive();
        self.name_everyone();
        let before = self.looked_up;
        self.name_everyone();
        let remembered = self.oracle.peers.len() - (self.looked_up - before);
        assert!(remembered <= ABSENT_PEERS_MAX + DESTINATIONS_DEFAULT as usize, "{remembered} peers are remembered");
    }

    fn name_everyone(&mut self) {
        let names: Vec<usize> = (0..self.oracle.peers.len()).collect();
        for to in names.chunks(DESTINATIONS_DEFAULT as usize) {
            let line = self.line(0, to.iter().copied().map(To::Peer).collect(), 0);
            self.hand_in(0, vec![line]);
            self.arrive();
        }
    }

    fn everyone_leaves(&mut self) {
        for place in 0..self.clients.len() {
            self.end(place, EndReason::Client);
        }
        self.arrive();
        assert!(self.clients.is_empty(), "whoever ends is let go");
    }

    fn everyone_comes(&mut self) {
        self.check_greetings(0..self.swarm.peers + self.swarm.strangers);
    }

    /// Promise 4: nothing is lost.
    fn check_everything_arrived(&self) {
        for peer in &self.oracle.peers {
            let is_spare = peer.seen_at.is_none();
            assert!(
                is_spare || peer.frontier == peer.log.len(),
                "{} never got {:?}",
                peer.name,
                peer.log.get(peer.frontier)
            );
        }
    }

    /// As many messages wait for one who is away as may, and no more.
    fn check_mailbox(&mut self) {
        let Some(mailbox_max) = Some(self.swarm.mailbox_max as usize).filter(|max| *max > 0) else { return };
        // Who came for the first time is kept on the disk now.
        self.shut_down();
        self.join(0);
        self.arrive();
        let away = self.swarm.peers + self.swarm.strangers - 1;
        if away == 0 {
            return;
        }
        let accepted = self.accepted((0..mailbox_max + 2).map(|_| vec![away]));
        assert_eq!(accepted, mailbox_max, "messages that wait for one who is away");
        self.check_greetings(away..=away);
        let accepted = self.accepted((0..mailbox_max + 2).map(|_| vec![away]));
        assert_eq!(accepted, mailbox_max + 2, "messages for one who keeps up");
    }

    /// Messages wait for as many names that nobody knows as may, and no more.
    fn check_unknown_names(&mut self) {
        let unknown_max = self.swarm.unknown_names_max as usize;
        let spare = self.swarm.peers + self.swarm.strangers;
        if unknown_max == 0 {
            return;
        }
        // Who came for the first time is kept on the disk now.
        self.shut_down();
        self.join(0);
        self.arrive();
        let free = unknown_max - self.store.disk.unknown_names() as usize;
        let accepted = self.accepted((spare..self.swarm.names()).map(|unknown| vec![unknown]));
        assert_eq!(accepted, free, "names that nobody knows");
        if free > 0 {
            // One of them logs in, and makes room for another.
            self.check_greetings(spare..=spare);
            let accepted = self.accepted((spare + free..self.swarm.names()).map(|unknown| vec![unknown]));
            assert_eq!(accepted, 1, "names that nobody knows, once one is known");
        }
    }

    /// Sends a line to each of these, and says how many are accepted.
    fn accepted(&mut self, to: impl Iterator<Item = Vec<usize>>) -> usize {
        let first = self.oracle.sent.len();
        let lines: Vec<(Asked, Work)> = to.map(|to| self.line(0, to.into_iter().map(To::Peer).collect(), 0)).collect();
        self.hand_in(0, lines);
        self.arrive();
        let is_accepted = |fate: &Fate| matches!(fate, Fate::Committed(_));
        self.oracle.sent[first..].iter().filter(|sent| is_accepted(&sent.fate)).count()
    }
}
