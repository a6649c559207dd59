//! Peers that hold back retention: for how many old messages each was found not to have received them. Owns the counts of a pass; never
//! decides which messages wait.

use foldhash::HashMap as IdMap;

use crate::limits::{HOLDERS_COUNTED_MAX, HOLDERS_NAMED_MAX};
use crate::message::PeerId;

/// Number of messages that each peer holds back. A message that waits for several peers counts for one of them.
#[derive(Debug, Default)]
pub(super) struct Holders(IdMap<PeerId, u64>);

impl Holders {
    /// Counts a message that waits for a peer.
    pub(super) fn add(&mut self, peer: PeerId) {
        if self.0.len() < HOLDERS_COUNTED_MAX || self.0.contains_key(&peer) {
            *self.0.entry(peer).or_default() += 1;
        }
    }

    /// Returns the peers that hold back the most messages, with the numbers, the largest first.
    pub(super) fn largest(&self) -> Vec<(PeerId, u64)> {
        let mut holders: Vec<(PeerId, u64)> = self.0.iter().map(|(peer, messages)| (*peer, *messages)).collect();
        holders.sort_unstable_by_key(|(peer, messages)| (std::cmp::Reverse(*messages), *peer));
        holders.truncate(HOLDERS_NAMED_MAX);
        holders
    }
}
