//! What of a session counts as delivered where its client acknowledges itself. Owns how that changes with what the broker is told; never
//! what the broker makes of it.

use super::ClientModel;
use crate::message::Seq;
use crate::simulation::oracle::Oracle;

impl ClientModel {
    /// The last message that has arrived, if it says itself what it has, and has not said so of this one.
    pub(in crate::simulation) fn unacknowledged(&self) -> Option<Seq> {
        let acks = self.acks.as_ref()?;
        let arrived = acks.handed.partition_point(|(end, _, _)| *end <= acks.arrived_bytes);
        let seq = acks.handed[arrived.checked_sub(1)?].2;
        (seq > acks.soon_at_least).then_some(seq)
    }

    /// Any message that it was handed, whether it has got it or not.
    pub(in crate::simulation) fn any_handed(&self, chosen: usize) -> Option<Seq> {
        let acks = self.acks.as_ref()?;
        acks.handed.get(chosen % acks.handed.len().max(1)).map(|(_, _, seq)| *seq)
    }

    /// What it has acknowledged already.
    pub(in crate::simulation) fn acknowledged(&self) -> Seq {
        self.acks.as_ref().map_or(Seq::ZERO, |acks| acks.soon_at_least)
    }

    pub(in crate::simulation) fn has_acks(&self) -> bool {
        self.acks.is_some()
    }

    /// Whether it leaves so much unacknowledged that it may not count as one who keeps up.
    pub(in crate::simulation) fn leaves_much_unacknowledged(&self) -> bool {
        self.acks.as_ref().is_some_and(|acks| acks.handed.len() - acks.delivered > 1000)
    }

    /// The broker is told that it has got everything up to here.
    pub(super) fn says_it_has(&mut self, seq: Seq, oracle: &mut Oracle) {
        let Some(acks) = &mut self.acks else { return };
        acks.soon_at_least = acks.soon_at_least.max(seq.min(acks.last_handed()));
        acks.said = acks.said.max(seq);
        self.note_delivered(oracle);
    }

    /// What it said is dealt with: it cannot have got what it is handed from now on.
    pub(in crate::simulation) fn has_said(&mut self, oracle: &mut Oracle) {
        let Some(acks) = &mut self.acks else { return };
        if acks.said > Seq::ZERO {
            acks.at_most = acks.at_most.max(acks.said.min(acks.last_handed()));
            acks.at_least = acks.soon_at_least;
            acks.said = Seq::ZERO;
            oracle.peers[self.peer].is_vague |= acks.at_most != acks.at_least;
            self.note_delivered(oracle);
        }
    }

    /// The broker has died: whether it dealt with what it was told stands on the disk.
    pub(in crate::simulation) fn is_cut_off(&mut self) {
        if let Some(acks) = &mut self.acks {
            acks.said = Seq::ZERO;
        }
    }

    /// The broker is told that so many bytes are written.
    pub(in crate::simulation) fn is_written(&mut self, bytes: usize, oracle: &mut Oracle) {
        if let Some(acks) = &mut self.acks {
            acks.written_bytes += bytes as u64;
            self.note_delivered(oracle);
        }
    }

    /// Promise 4: a message counts as delivered when it was written and its receiver has acknowledged it.
    fn note_delivered(&mut self, oracle: &mut Oracle) {
        let Some(acks) = &mut self.acks else { return };
        let peer = &mut oracle.peers[self.peer];
        let at_most = acks.at_most.max(acks.at_least).max(acks.said);
        while let Some((end, place, seq)) = acks.handed.get(acks.delivered)
            && *end <= acks.written_bytes
            && *seq <= at_most
        {
            peer.arrived(*place);
            acks.delivered += 1;
        }
        peer.reported = peer.reported.max(acks.delivered_up_to(acks.at_least));
    }

    /// The place in the peer's log up to which it is delivered once the broker has dealt with what it was told.
    pub(super) fn soon_delivered(&self, oracle: &Oracle) -> usize {
        let peer = &oracle.peers[self.peer];
        let acknowledged = self.acks.as_ref().map_or(Seq::ZERO, |acks| acks.delivered_up_to(acks.soon_at_least));
        peer.place_after(acknowledged)
    }

    /// After a pong, what was acknowledged before it is kept, unless the disk is full.
    pub(super) fn check_acks_kept(&self, oracle: &Oracle) {
        let peer = &oracle.peers[self.peer];
        let is_kept = peer.place_after(peer.kept) >= self.reported_when_asked;
        let may_fail = self.acks.is_none() || oracle.commit_failed_at >= self.asked_at;
        assert!(is_kept || may_fail, "session {} is answered, and its acknowledgements are not kept", self.session);
    }
}
