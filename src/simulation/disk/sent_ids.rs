//! The ids of messages that the model remembers. Owns how long; never what is done about one that is known.

use std::collections::VecDeque;

use crate::limits::SENT_IDS_FORGOTTEN_PER_ID;
use crate::message::{PeerId, RequestId, Seq, Timestamp};
use crate::store::{FoundId, SendId};

/// The ids, the oldest first. No time passes here: none becomes too old.
#[derive(Clone, Default)]
pub(super) struct SentIds(VecDeque<(PeerId, RequestId, FoundId)>);

impl SentIds {
    pub(super) fn find(&self, sender: PeerId, id: &RequestId) -> Option<FoundId> {
        let found = self.0.iter().find(|(other, known, _)| *other == sender && known == id);
        found.map(|(_, _, found)| *found)
    }

    pub(super) fn put(&mut self, sender: PeerId, id: &SendId, seq: Seq, at: Timestamp) {
        assert!(self.find(sender, &id.id).is_none(), "the id of {seq} is known, and its message is sent again");
        self.0.push_back((sender, id.id.clone(), FoundId { seq, at, fingerprint: id.fingerprint }));
    }

    /// Removes the oldest ids beyond `stored_max`: a few for each that was added.
    pub(super) fn forget_oldest(&mut self, added: usize, stored_max: usize) {
        let too_many = self.0.len().saturating_sub(stored_max);
        self.0.drain(..too_many.min(added * SENT_IDS_FORGOTTEN_PER_ID));
    }
}
