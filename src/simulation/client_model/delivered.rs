//! Delivery to a session that acknowledges explicitly. Owns how it changes with the events that the broker is sent;
//! never what the broker makes of them.

use super::ClientModel;
use crate::message::Seq;
use crate::simulation::oracle::Oracle;

impl ClientModel {
    /// Newest message that has arrived, if the client acknowledges explicitly and has not acknowledged it.
    pub(in crate::simulation) fn unacknowledged(&self) -> Option<Seq> {
        let acks = self.acks.as_ref()?;
        let arrived = acks.flushed.partition_point(|(end, _, _)| *end <= acks.arrived_bytes);
        let seq = acks.flushed[arrived.checked_sub(1)?].2;
        (seq > acks.soon_at_least).then_some(seq)
    }

    /// Picks a message that was flushed to the session, whether it has arrived or not.
    pub(in crate::simulation) fn any_handed(&self, chosen: usize) -> Option<Seq> {
        let acks = self.acks.as_ref()?;
        acks.flushed.get(chosen % acks.flushed.len().max(1)).map(|(_, _, seq)| *seq)
    }

    /// Newest message that is acknowledged.
    pub(in crate::simulation) fn acknowledged(&self) -> Seq {
        self.acks.as_ref().map_or(Seq::ZERO, |acks| acks.soon_at_least)
    }

    pub(in crate::simulation) fn has_acks(&self) -> bool {
        self.acks.is_some()
    }

    /// Whether the session leaves so much unacknowledged that it may not keep up.
    pub(in crate::simulation) fn leaves_much_unacknowledged(&self) -> bool {
        self.acks.as_ref().is_some_and(|acks| acks.flushed.len() - acks.delivered > 1000)
    }

    /// Notes that the broker is sent an acknowledgement.
    pub(super) fn submits_ack(&mut self, seq: Seq, oracle: &mut Oracle) {
        let Some(acks) = &mut self.acks else { return };
        acks.soon_at_least = acks.soon_at_least.max(seq.min(acks.last_handed()));
        acks.said = acks.said.max(seq);
        self.note_delivered(oracle);
    }

    /// Notes that the acknowledgements of the batch are processed: they cannot cover messages that are flushed later.
    pub(in crate::simulation) fn acks_processed(&mut self, oracle: &mut Oracle) {
        let Some(acks) = &mut self.acks else { return };
        if acks.said > Seq::ZERO {
            acks.at_most = acks.at_most.max(acks.said.min(acks.last_handed()));
            acks.at_least = acks.soon_at_least;
            acks.said = Seq::ZERO;
            oracle.peers[self.peer].is_uncertain |= acks.at_most != acks.at_least;
            self.note_delivered(oracle);
        }
    }

    /// Forgets the acknowledgements in flight when the broker dies: the disk says whether they were processed.
    pub(in crate::simulation) fn forgets_pending_ack(&mut self) {
        if let Some(acks) = &mut self.acks {
            acks.said = Seq::ZERO;
        }
    }

    /// Notes that the broker is sent the number of bytes that are written.
    pub(in crate::simulation) fn reports_written(&mut self, bytes: usize, oracle: &mut Oracle) {
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
        while let Some((end, place, seq)) = acks.flushed.get(acks.delivered)
            && *end <= acks.written_bytes
            && *seq <= at_most
        {
            peer.arrived(*place);
            acks.delivered += 1;
        }
        peer.reported = peer.reported.max(acks.delivered_up_to(acks.at_least));
    }

    /// Index in the peer's log up to which messages are delivered once the broker has processed its events.
    pub(super) fn soon_delivered(&self, oracle: &Oracle) -> usize {
        let peer = &oracle.peers[self.peer];
        let acknowledged = self.acks.as_ref().map_or(Seq::ZERO, |acks| acks.delivered_up_to(acks.soon_at_least));
        peer.place_after(acknowledged)
    }

    /// After a pong, the acknowledgements before it are stored, unless the disk is full.
    pub(super) fn check_acks_kept(&self, oracle: &Oracle) {
        let peer = &oracle.peers[self.peer];
        let is_kept = peer.place_after(peer.kept) >= self.delivered_before_ping;
        let may_fail = self.acks.is_none() || oracle.commit_failed_at >= self.submitted_at;
        assert!(is_kept || may_fail, "session {} reads a pong, and its acknowledgements are not stored", self.session);
    }
}
