//! Table of the ids of messages. Owns how long an id is remembered; never decides what becomes of a message with a known
//! id.

use std::collections::VecDeque;

use crate::limits::SENT_IDS_REMOVED_PER_ID;
use crate::message::{PeerId, RequestId};
use crate::shares::{Holder, Shares, Usage};
use crate::source::Source;
use crate::store::{FoundId, SendId};

/// Data that decide how many ids a sender may have.
pub(super) struct SenderShare<'a> {
    /// Ids of one sender alone.
    pub(super) stored_max: usize,
    /// Source of a sender.
    pub(super) source_of: &'a dyn Fn(PeerId) -> Source,
}

/// Ids, the oldest first. No time passes in a simulation, so none becomes too old.
#[derive(Clone, Default)]
pub(super) struct SentIds(VecDeque<(PeerId, RequestId, FoundId)>);

impl SentIds {
    pub(super) fn find(&self, sender: PeerId, id: &RequestId) -> Option<FoundId> {
        let found = self.0.iter().find(|(other, known, _)| *other == sender && known == id);
        found.map(|(_, _, found)| *found)
    }

    /// Stores an id. A sender whose share is used up forgets its oldest ones.
    pub(super) fn put(&mut self, sender: PeerId, id: &SendId, found: FoundId, share: &SenderShare<'_>) {
        for _ in 0..SENT_IDS_REMOVED_PER_ID {
            let usage = self.usage(sender, share.source_of);
            if usage.sender == 0 || usage.admits(share.stored_max as u64, 1) {
                break;
            }
            let oldest = self.0.iter().position(|(other, ..)| *other == sender).expect("the sender has ids");
            self.0.remove(oldest);
        }
        let seq = found.seq;
        assert!(self.find(sender, &id.id).is_none(), "the id of {seq} is stored twice");
        self.0.push_back((sender, id.id.clone(), found));
    }

    fn usage(&self, sender: PeerId, source_of: &dyn Fn(PeerId) -> Source) -> Usage {
        let mut shares = Shares::default();
        let holder = |sender| Holder { sender, source: source_of(sender) };
        self.0.iter().for_each(|(sender, ..)| shares.add(Some(holder(*sender)), 1));
        shares.usage(holder(sender))
    }

    /// Removes the oldest ids if there are far too many, after this many were added.
    pub(super) fn forget_oldest(&mut self, added: usize, stored_max: usize) {
        let too_many = self.0.len().saturating_sub(5 * stored_max);
        self.0.drain(..too_many.min(added * SENT_IDS_REMOVED_PER_ID));
    }
}
