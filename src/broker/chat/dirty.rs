//! Records and cursors that changed in memory and are not stored yet: they are added to a turn when it is submitted to the store. Owns when
//! each is added; never changes them.

use super::completion::Completion;
use super::state::Chat;
use super::turn::{Turn, TurnBuilder};
use crate::message::PeerId;
use crate::store::{Entry, EventKind};

impl Chat {
    /// Adds the records that must be stored before the other entries of the turn. Called last, just before the turn is submitted: by then a
    /// turn that failed has put its records back, and messages of this turn may refer to them.
    pub(in crate::broker) fn write_dirty_peers(&mut self, turn: &mut TurnBuilder) {
        self.observers.write_unstored(turn);
        // Entries are applied in order, and the entries after these refer to the peers.
        turn.write_all(self.floors.drain(..));
        let Chat { peers, dirty_peers, dirty_sources, .. } = self;
        let source = |id| Some(Entry::Source { peer: id, source: peers[&id].source? });
        let sources = dirty_sources.drain().filter_map(source);
        turn.write_first(dirty_peers.drain().map(|id| Entry::Peer(peers[&id].record.clone())).chain(sources));
    }

    /// Adds everything that changed, cursors too.
    pub(in crate::broker) fn write_all_dirty(&mut self, turn: &mut TurnBuilder) {
        let Chat { peers, dirty_cursors, dirty_peers, observers, .. } = self;
        for id in dirty_cursors.drain() {
            let peer = &peers[&id];
            if !peer.is_plugin {
                observers.record(EventKind::Delivered(peer.record.cursor), id, turn);
            }
            dirty_peers.insert(id);
        }
        self.observers.write_cursors(turn);
        self.write_dirty_peers(turn);
    }

    /// Undoes a turn that could not be committed: reverts its changes and counts in memory, and leaves its records for the next turn. Must be
    /// called before the next turn is decided.
    pub(in crate::broker) fn undo(&mut self, turn: &mut Turn, entries: &[Entry]) {
        self.settle_membership_changes(turn);
        self.observers.undo(entries);
        for entry in entries {
            match entry {
                Entry::Source { peer, .. } => {
                    self.dirty_sources.insert(*peer);
                }
                Entry::Message { recipients, .. } => {
                    for recipient in recipients.iter().filter_map(|recipient| recipient.peer()) {
                        self.peers.get_mut(&recipient).expect("a recipient in flight is in memory").addressed -= 1;
                    }
                }
                Entry::Room { id, name, .. } => self.undo_room(*id, name),
                Entry::Floor { .. } => self.floors.push(entry.clone()),
                _ => {}
            }
        }
        for completion in &turn.completions {
            if let Completion::Registration { requester } = completion {
                self.undo_registration(requester.peer);
            }
        }
        // Once all messages are undone: a name for which none waits is free again.
        for entry in entries {
            if let Entry::Peer(record) = entry {
                self.undo_peer(record.id);
            }
        }
    }

    /// Undoes the use of a name that nobody had used before. Nobody was welcomed by it.
    fn undo_registration(&mut self, id: PeerId) {
        let peer = self.peers.get_mut(&id).expect("a peer in flight is in memory");
        peer.record.seen = false;
        if peer.waiting() > 0 {
            self.unknown_names.take(id, None);
        }
    }

    fn undo_peer(&mut self, id: PeerId) {
        let peer = self.peers.get_mut(&id).expect("a peer in flight is in memory");
        if peer.record.seen || peer.waiting() > 0 {
            self.dirty_peers.insert(id);
        } else {
            peer.is_stored = false;
            self.unknown_names.release(&id);
        }
    }
}
