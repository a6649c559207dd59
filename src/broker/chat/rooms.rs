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
    /// Members that are online: committed members, and those that a turn in flight adds or removes.
    pub(super) online: IdSet<PeerId>,
    /// Topic that was delivered last, if one is set: a reply shows the topic that was set before its request.
    pub(super) topic: Option<Text>,
}

/// Membership of a peer in a room. The two fields differ while a turn that changes the membership is in flight: requests are decided by
/// `is_in`, messages are delivered by `joined`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Member {
    /// Newest message when the peer joined; `None` if no membership is committed.
    pub(super) joined: Option<Seq>,
    /// Whether the peer is a member, including turns in flight.
    pub(super) is_in: bool,
}

impl Member {
    /// Makes a stored membership: the peer joined after this message.
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
