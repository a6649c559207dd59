//! Peers and rooms that the operator removes: what the memory must forget, and who is notified. Owns these steps; never removes a row.
//!
//! No turn is in flight meanwhile, and everything that was committed is delivered. So only what waits for a later turn names the peer or the
//! room.

use super::delivery::Delivery;
use super::state::Chat;
use crate::message::{Destination, PeerId, Recipient, RoomId, Seq, SessionId, Timestamp};
use crate::protocol::{Code, Refusal, Reply};
use crate::store::PurgeStep;

impl Chat {
    /// Returns the id of a peer or a room that is stored, or is stored with the next turn; `None` if it must be looked up.
    pub(in crate::broker) fn stored_id(&self, name: &Destination) -> Option<Recipient> {
        match name {
            Destination::Peer(name) => {
                let id = self.ids.get(name).filter(|id| self.peers[id].is_stored)?;
                Some(Recipient::Peer(*id))
            }
            Destination::Room(room) => self.room_ids.get(room).map(|id| Recipient::Room(*id)),
        }
    }

    /// Whether a peer is a plugin that runs.
    pub(in crate::broker) fn is_running_plugin(&self, target: Recipient) -> bool {
        let Some(id) = target.peer() else { return false };
        self.observers.include(id) || self.peers.get(&id).is_some_and(|peer| peer.is_plugin && peer.is_online())
    }

    /// Forgets a peer or a room whose row was removed. Notifies its sessions or members.
    pub(in crate::broker) fn forget(&mut self, target: Recipient, now: Timestamp) {
        let mut delivery = Delivery::new(now, Ok(()), self.newest, Vec::new());
        // A scan may be at a message of it.
        self.scans.restart();
        match target {
            Recipient::Peer(peer) => self.forget_peer(peer, &mut delivery),
            Recipient::Room(room) => self.forget_room(room, &mut delivery),
        }
        self.flush(&mut delivery);
    }

    fn forget_peer(&mut self, id: PeerId, delivery: &mut Delivery) {
        self.unknown_names.release(&id);
        for dirty in [&mut self.dirty_peers, &mut self.dirty_sources, &mut self.dirty_cursors] {
            dirty.remove(&id);
        }
        self.observers.forget_events(id);
        if !self.peers.contains_key(&id) {
            return;
        }
        self.end_sessions(id, delivery);
        let peer = self.peers.remove(&id).expect("the peer is in memory");
        self.ids.remove(&peer.record.name);
        for (room, _) in peer.rooms.into_iter().filter(|(_, member)| member.is_in) {
            let state = self.rooms.get_mut(&room).expect("the rooms of a peer are in memory");
            // The stored number may be wrong.
            state.members = state.members.saturating_sub(1);
            if state.members == 0 {
                self.emptied_rooms.push_back(room);
            }
        }
    }

    /// Ends all sessions of a peer, also those that wait for their last output.
    fn end_sessions(&mut self, id: PeerId, delivery: &mut Delivery) {
        let was_online = self.peers[&id].is_online();
        let words = format!("the operator has removed {}", self.peers[&id].record.name);
        let refusal = Refusal::new(Code::NotLoggedIn, words).with_outcome("this connection is closed");
        let of_peer = self.sessions.iter().filter(|(_, session)| session.peer == id).map(|(number, _)| *number);
        for number in of_peer.collect::<Vec<SessionId>>() {
            self.detach(number, id);
            let mut session = self.sessions.remove(&number).expect("the session is open");
            session.reply(None, &Reply::Refused(refusal.clone()), &mut self.budget);
            session.outbox.flush();
            session.outbox.release(&mut self.budget);
            self.lists.remove(&number);
        }
        if was_online {
            self.announce_presence(id, delivery);
        }
    }

    fn forget_room(&mut self, id: RoomId, delivery: &mut Delivery) {
        for peer in self.peers.values_mut() {
            peer.rooms.remove(&id);
        }
        let Some(state) = self.remove_room(id) else { return };
        let sessions = state.online.iter().flat_map(|peer| self.peers[peer].sessions.iter().copied());
        let notice = Reply::RoomRemoved { room: state.name };
        for session in sessions.collect::<Vec<_>>() {
            if self.sessions[&session].is_welcomed {
                self.notify(session, &notice, delivery);
            }
        }
    }

    /// Corrects the counts of waiting messages after a step has removed some. A session that got one reports its delivery as always.
    pub(in crate::broker) fn note_purged(&mut self, step: &PurgeStep) {
        for (seq, recipients) in &step.removed {
            for id in recipients {
                self.uncount_removed(*id, *seq);
            }
        }
    }

    fn uncount_removed(&mut self, id: PeerId, seq: Seq) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let is_fed = |session: &SessionId| self.sessions[session].fed >= seq;
        if peer.record.cursor < seq {
            peer.is_estimated = true;
            if !peer.sessions.iter().any(is_fed) {
                peer.addressed = peer.addressed.saturating_sub(1);
            }
        }
    }
}
