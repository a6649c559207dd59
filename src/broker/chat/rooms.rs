//! State of rooms in memory: their names, their members, and which of those are online. Owns these types; never who may join.

use foldhash::HashSet as IdSet;

use crate::message::{PeerId, Room, RoomId, Seq, Text};

/// Room that a peer in memory is a member of, or that was named lately.
#[derive(Debug)]
pub(super) struct RoomState {
    /// Name of the room.
    pub(super) name: Room,
    /// Number of members, online or not.
    pub(super) members: u64,
    /// Members that are online, by what is committed or by what is decided.
    pub(super) online: IdSet<PeerId>,
    /// Topic by what is committed, if one is set.
    pub(super) topic: Option<Text>,
}

/// Membership of a peer in a room. The outcome of what is decided is not known until the next turn is decided; what was committed
/// before is delivered after that.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Member {
    /// Newest message when the peer joined, if its membership is committed.
    pub(super) joined: Option<Seq>,
    /// Whether the peer is a member, by what is decided.
    pub(super) is_in: bool,
}

impl Member {
    /// A membership that is stored: the peer joined after this message.
    pub(super) fn stored(joined: Seq) -> Self {
        Member { joined: Some(joined), is_in: true }
    }

    /// Whether the peer gets a message that was committed into the room.
    pub(super) fn is_reached_by(self, seq: Seq) -> bool {
        self.joined.is_some_and(|joined| joined < seq)
    }
}

/// Change of the membership of one peer in one room, by a turn.
#[derive(Debug)]
pub(super) struct MembershipChange {
    /// The peer.
    pub(super) peer: PeerId,
    /// The room.
    pub(super) room: RoomId,
}
