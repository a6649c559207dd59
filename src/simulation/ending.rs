//! End of a run: nothing fails any more, every peer comes back, and what only shows at the end is checked. Owns the
//! promises of completeness and the exact limits; never takes a random step.

use super::behaviour::source;
use super::client_model::ModelRequest;
use super::oracle::{Fate, Target};
use super::world::World;
use crate::broker::EndReason;
use crate::limits::{DESTINATIONS_DEFAULT, OFFLINE_PEERS_CACHED_MAX};
use crate::protocol::Work;
use crate::shares::{Holder, Ledger};

impl World {
    /// Checks that every message arrives, that the limits are met exactly, and that a shutdown loses nothing.
    pub(super) fn finish(&mut self) {
        self.quiesce();
        self.everyone_leaves();
        self.everyone_comes();
        self.check_everything_arrived();
        self.check_mailbox();
        self.check_unknown_names();
        self.shut_down();
        self.everyone_comes();
    }

    /// Promise 6: offline peers are evicted from memory, however many are named.
    pub(super) fn check_forgetting(&mut self) {
        self.cuts_lookups = false;
        self.join(0);
        self.arrive();
        self.name_everyone();
        let before = self.looked_up;
        self.name_everyone();
        let remembered = self.oracle.peers.len() - (self.looked_up - before);
        assert!(
            remembered <= OFFLINE_PEERS_CACHED_MAX + DESTINATIONS_DEFAULT as usize,
            "{remembered} peers are remembered"
        );
    }

    fn name_everyone(&mut self) {
        let names: Vec<usize> = (0..self.oracle.peers.len()).collect();
        for to in names.chunks(DESTINATIONS_DEFAULT as usize) {
            let line = self.line(0, to.iter().copied().map(Target::Peer).collect(), 0);
            self.submit(0, vec![line]);
            self.arrive();
        }
    }

    fn everyone_leaves(&mut self) {
        for place in 0..self.clients.len() {
            self.end(place, EndReason::Client);
        }
        self.arrive();
        assert!(self.clients.is_empty(), "every client that ended is released");
    }

    fn everyone_comes(&mut self) {
        self.check_greetings(0..self.swarm.peers + self.swarm.rare_peers);
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

    /// Checks that exactly `mailbox_max` messages wait for an offline peer.
    fn check_mailbox(&mut self) {
        let Some(mailbox_max) = Some(self.swarm.mailbox_max as usize).filter(|max| *max > 0) else { return };
        // After the shutdown, peers that logged in for the first time are committed as known.
        self.shut_down();
        self.join(0);
        self.arrive();
        let away = self.swarm.peers + self.swarm.rare_peers - 1;
        if away == 0 {
            return;
        }
        let accepted = self.accepted((0..mailbox_max + 2).map(|_| vec![away]));
        assert_eq!(accepted, mailbox_max, "messages that wait for an offline peer");
        self.check_greetings(away..=away);
        let accepted = self.accepted((0..mailbox_max + 2).map(|_| vec![away]));
        assert_eq!(accepted, mailbox_max + 2, "messages for a peer that keeps up");
    }

    /// Checks that messages wait for exactly `unknown_names_max` unknown names.
    fn check_unknown_names(&mut self) {
        let unknown_max = self.swarm.unknown_names_max as usize;
        let spare = self.swarm.peers + self.swarm.rare_peers;
        if unknown_max == 0 {
            return;
        }
        // After the shutdown, peers that logged in for the first time are committed as known.
        self.shut_down();
        self.join(0);
        self.arrive();
        let free = self.unknown_names_left();
        let accepted = self.accepted((spare..self.swarm.names()).map(|unknown| vec![unknown]));
        assert_eq!(accepted, free, "unknown names");
        if free > 0 {
            // An unknown name that logs in makes room for another.
            self.check_greetings(spare..=spare);
            let accepted = self.accepted((spare + free..self.swarm.names()).map(|unknown| vec![unknown]));
            assert_eq!(accepted, 1, "unknown names, once one is known");
        }
    }

    /// Number of unknown names for which the first client may still send.
    fn unknown_names_left(&self) -> usize {
        let sender = self.store.disk.peer(&self.oracle.peers[0].name).expect("a client that logged in is stored").id;
        let holder = Holder { sender, source: source(self.clients[0].session) };
        let usage = Ledger::from_iter(self.store.disk.found().unknown_names).usage(holder);
        let limit = self.swarm.unknown_names_max;
        (1..).take_while(|more| usage.admits(limit, *more)).count()
    }

    /// Sends a message to each of these groups of recipients. Returns how many are accepted.
    fn accepted(&mut self, to: impl Iterator<Item = Vec<usize>>) -> usize {
        let first = self.oracle.sent.len();
        let lines: Vec<(ModelRequest, Work)> =
            to.map(|to| self.line(0, to.into_iter().map(Target::Peer).collect(), 0)).collect();
        self.submit(0, lines);
        self.arrive();
        let is_accepted = |fate: &Fate| matches!(fate, Fate::Committed(_));
        self.oracle.sent[first..].iter().filter(|sent| is_accepted(&sent.fate)).count()
    }
}
