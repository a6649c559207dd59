//! Table of the ids of messages. Owns how long an id is remembered; never decides what becomes of a message with a known
//! id.

use std::collections::VecDeque;

use crate::limits::SENT_IDS_REMOVED_PER_ID;
use crate::message::{PeerId, RequestId, Seq, Timestamp};
use crate::store::{FoundId, SendId};

/// Ids, the oldest first. No time passes in a simulation, so none becomes too old.
#[derive(Clone, Default)]
pub(super) struct SentIds(VecDeque<(PeerId, RequestId, FoundId)>);

impl SentIds {
    pub(super) fn find(&self, sender: PeerId, id: &RequestId) -> Option<FoundId> {
        let found = self.0.iter().find(|(other, known, _)| *other == sender && known == id);
        found.map(|(_, _, found)| *found)
    }

    pub(super) fn put(&mut self, sender: PeerId, id: &SendId, seq: Seq, at: Timestamp) {
        assert!(self.find(sender, &id.id).is_none(), "the id of {seq} is stored twice");
        self.0.push_back((sender, id.id.clone(), FoundId { seq, at, fingerprint: id.fingerprint }));
    }

    /// Removes the oldest ids over the limit after this many were added.
    pub(super) fn forget_oldest(&mut self, added: usize, stored_max: usize) {
        let too_many = self.0.len().saturating_sub(stored_max);
        self.0.drain(..too_many.min(added * SENT_IDS_REMOVED_PER_ID));
    }
}
