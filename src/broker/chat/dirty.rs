//! Records and cursors that changed in memory: they are added to a turn when it is begun. Owns when each is added; never what changes.

use super::state::Chat;
use super::turn::{Turn, TurnBuilder};
use crate::store::{Entry, EventKind};

impl Chat {
    /// Adds the records that must be stored before all else in the turn, when the store is about to get it. Those of a turn before
    /// it that could not be committed are among them, as these messages may be theirs.
    pub(in crate::broker) fn write_dirty_peers(&mut self, turn: &mut TurnBuilder) {
        self.observers.write_unstored(turn);
        // Entries are applied in order, and the others name these peers.
        let peers = &self.peers;
        turn.write_first(self.dirty_peers.drain().map(|id| Entry::Peer(peers[&id].record.clone())));
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

    /// Takes back a turn that could not be committed: what it changed and counted is reverted, and changed records go with the next
    /// turn. Must be called before the next turn is decided.
    pub(in crate::broker) fn undo(&mut self, turn: &mut Turn, entries: &[Entry]) {
        self.settle_membership_changes(turn);
        self.observers.undo(entries);
        for entry in entries {
            match entry {
                Entry::Peer(record) => {
                    self.dirty_peers.insert(record.id);
                }
                Entry::Message { recipients, .. } => {
                    for recipient in recipients.iter().filter_map(|recipient| recipient.peer()) {
                        self.peers.get_mut(&recipient).expect("a recipient in flight is in memory").addressed -= 1;
                    }
                }
                Entry::Room { id, name } => self.undo_room(*id, name),
                _ => {}
            }
        }
    }
}
