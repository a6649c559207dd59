//! Presence that was announced lately. A name that comes and goes all the time is announced once in a while, with its latest state. Owns when
//! a name is announced again; never who is online.

use std::collections::VecDeque;

use foldhash::HashMap as IdMap;

use crate::limits::PRESENCE_MS;
use crate::message::{PeerId, Timestamp};

/// Peers that were announced within the last [`PRESENCE_MS`].
#[derive(Debug, Default)]
pub(super) struct RecentPresence {
    /// Whether each peer has come or gone again since its announcement.
    changed: IdMap<PeerId, bool>,
    /// The same peers with the times of their announcements, the oldest first.
    announced: VecDeque<(Timestamp, PeerId)>,
    /// Number of peers that have changed since.
    held: usize,
}

impl RecentPresence {
    /// Notes that a peer came online or went offline. Returns whether that is announced now; if not, [`expired`](Self::expired) returns the
    /// peer later.
    pub(super) fn change(&mut self, peer: PeerId, now: Timestamp) -> bool {
        match self.changed.get_mut(&peer) {
            None => {
                self.changed.insert(peer, false);
                self.announced.push_back((now, peer));
                true
            }
            Some(changed) => {
                self.held += usize::from(!std::mem::replace(changed, true));
                false
            }
        }
    }

    /// Whether an announcement is held back.
    pub(super) fn holds_any(&self) -> bool {
        self.held > 0
    }

    /// Forgets the peers that were announced long enough ago, and returns those of them that have changed since.
    pub(super) fn expired(&mut self, now: Timestamp) -> Vec<PeerId> {
        let mut expired = Vec::new();
        // The clock may have been set back.
        let is_recent = |at: &Timestamp| (0..PRESENCE_MS as i64).contains(&(now.millis() - at.millis()));
        while let Some((at, peer)) = self.announced.front()
            && !is_recent(at)
        {
            if self.changed.remove(peer) == Some(true) {
                expired.push(*peer);
            }
            self.announced.pop_front();
        }
        self.held -= expired.len();
        expired
    }

    /// Whether a peer must stay in memory, because it is announced later.
    pub(super) fn holds(&self, peer: PeerId) -> bool {
        self.changed.get(&peer) == Some(&true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: PeerId = PeerId::new(1);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis as i64)
    }

    #[test]
    fn first_change_is_announced_at_once_and_all_within_the_interval_once_at_its_end() {
        let mut presence = RecentPresence::default();
        assert!(presence.change(BOB, at(0)));
        assert!(!presence.holds_any());
        for millis in 1..PRESENCE_MS {
            assert!(!presence.change(BOB, at(millis)) && presence.holds(BOB));
            assert_eq!(presence.expired(at(millis)), []);
        }
        assert_eq!(presence.expired(at(PRESENCE_MS)), [BOB]);
        assert!(!presence.holds_any());
        assert!(presence.change(BOB, at(PRESENCE_MS)));
    }

    #[test]
    fn clock_that_is_set_back_holds_nothing_back() {
        let mut presence = RecentPresence::default();
        presence.change(BOB, at(500));
        presence.change(BOB, at(501));
        assert_eq!(presence.expired(at(0)), [BOB]);
    }

    #[test]
    fn peer_that_stays_is_forgotten() {
        let mut presence = RecentPresence::default();
        presence.change(BOB, at(0));
        assert_eq!(presence.expired(at(PRESENCE_MS)), []);
        assert!(presence.changed.is_empty() && presence.announced.is_empty());
    }
}
