//! Visibility: which messages a peer may see. Owns the rule, for messages as rows, for ranges of inboxes, and as SQL; never reads
//! a message.
//!
//! A peer sees what it sent, what was addressed to it, and what was sent into one of its rooms after it joined that room, or while it was a
//! member before. What was sent between two memberships it does not see.

use super::members::{Members, RoomRange};
use crate::message::{PeerId, Recipient, RoomId, Seq};

/// Newest message of a room that a member has received, that was sent before it joined, or that is no longer replayed; for a join of
/// `peer`, `member` and `room`. Newer ones still wait for it.
pub(crate) const MEMBER_POSITION: &str = "max(peer.cursor, member.joined, room.floor)";

/// Peer that reads messages, with its rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Viewer {
    peer: PeerId,
    /// Ranges of its rooms that it sees, in order.
    rooms: Vec<RoomRange>,
}

/// Messages to one recipient, after one place in the log, up to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InboxRange {
    pub(crate) recipient: Recipient,
    pub(crate) after: Seq,
    pub(crate) until: Seq,
}

impl From<&RoomRange> for InboxRange {
    fn from(&RoomRange { room, after, until }: &RoomRange) -> Self {
        InboxRange { recipient: room.into(), after, until }
    }
}

/// Way in which a message reached a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The viewer sent it: into this room, or only to peers.
    Sent(Option<RoomId>),
    /// The message was addressed to the viewer by name.
    Direct,
    /// The message was sent into this room of the viewer.
    Room(RoomId),
}

impl Viewer {
    /// Reads the rooms of a peer.
    pub(crate) fn of(peer: PeerId, members: &mut Members<'_>) -> rusqlite::Result<Self> {
        Ok(Viewer::with_ranges(peer, members.seen(peer)?))
    }

    /// Returns a viewer with these rooms, each with the newest message when the peer joined it.
    pub(crate) fn with_rooms(peer: PeerId, rooms: Vec<(RoomId, Seq)>) -> Self {
        Viewer::with_ranges(peer, rooms.into_iter().map(RoomRange::since).collect())
    }

    fn with_ranges(peer: PeerId, mut rooms: Vec<RoomRange>) -> Self {
        rooms.sort_unstable();
        Viewer { peer, rooms }
    }

    /// Returns a viewer of all that was ever sent into one room, and of nothing else: for the owner of the file.
    pub(crate) fn of_whole_room(room: RoomId) -> Self {
        // No peer has this id.
        Viewer::with_rooms(PeerId::new(0), vec![(room, Seq::ZERO)])
    }

    /// Returns the peer that reads.
    pub(crate) fn peer(&self) -> PeerId {
        self.peer
    }

    /// Iterates over the messages that were sent to the viewer: its own inbox first, then those of its rooms, in order.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = InboxRange> {
        let own = InboxRange { recipient: self.peer.into(), after: Seq::ZERO, until: Seq::MAX };
        [own].into_iter().chain(self.rooms.iter().map(InboxRange::from))
    }

    /// Iterates over what the viewer sees of one room.
    pub(crate) fn ranges_of(&self, room: RoomId) -> impl Iterator<Item = InboxRange> {
        let start = self.rooms.partition_point(|range| range.room < room);
        self.rooms[start..].iter().take_while(move |range| range.room == room).map(InboxRange::from)
    }

    /// Whether the viewer sees a message to this recipient.
    fn sees(&self, recipient: Recipient, seq: Seq) -> bool {
        match recipient {
            Recipient::Peer(peer) => peer == self.peer,
            Recipient::Room(room) => self.ranges_of(room).any(|range| range.after < seq && seq <= range.until),
        }
    }

    /// Returns how a message reached the viewer; `None` if the viewer may not see it. Its own name counts before all rooms, and a room
    /// before those that were addressed after it.
    pub(crate) fn route(
        &self,
        seq: Seq,
        sender: PeerId,
        recipients: impl Iterator<Item = Recipient> + Clone,
    ) -> Option<Route> {
        if sender == self.peer {
            return Some(Route::Sent(recipients.filter_map(|recipient| recipient.room()).next()));
        }
        let mut reached = recipients.filter(|recipient| self.sees(*recipient, seq));
        let first = reached.next()?;
        let is_direct = |recipient: Recipient| recipient.room().is_none();
        match first {
            Recipient::Room(room) if !reached.any(is_direct) => Some(Route::Room(room)),
            _ => Some(Route::Direct),
        }
    }
}

impl Route {
    /// Returns the room through which the message came or into which it was sent.
    pub(crate) fn room(self) -> Option<RoomId> {
        match self {
            Route::Sent(room) => room,
            Route::Direct => None,
            Route::Room(room) => Some(room),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn viewer() -> Viewer {
        let range = |room, after, until| RoomRange { room: RoomId::new(room), after: Seq::new(after), until };
        let rooms = [(7, 0, Seq::MAX), (5, 10, Seq::MAX), (5, 2, Seq::new(4)), (5, 6, Seq::new(7))];
        Viewer::with_ranges(PeerId::new(1), rooms.map(|(room, after, until)| range(room, after, until)).into())
    }

    /// How a message from a peer to these, rooms negative, reached peer 1.
    fn route(viewer: &Viewer, seq: i64, sender: i64, to: &[i64]) -> Option<Route> {
        viewer.route(Seq::new(seq), PeerId::new(sender), to.iter().copied().map(Recipient::numbered))
    }

    #[test]
    fn peer_sees_what_it_sent_was_sent_and_what_its_rooms_got_while_it_was_a_member() {
        let room = RoomId::new;
        for (seq, sender, to, expected) in [
            (3, 1, &[2][..], Some(Route::Sent(None))),
            (3, 1, &[1], Some(Route::Sent(None))),
            (3, 1, &[2, -9, -5], Some(Route::Sent(Some(room(9))))),
            (3, 2, &[3, 1], Some(Route::Direct)),
            (3, 2, &[-7, 1], Some(Route::Direct)),
            (3, 2, &[-7], Some(Route::Room(room(7)))),
            (11, 2, &[3, -5, -7], Some(Route::Room(room(5)))),
            (10, 2, &[-5, -7], Some(Route::Room(room(7)))),
            (10, 2, &[-5], None),
            (2, 2, &[-5], None),
            (3, 2, &[-5], Some(Route::Room(room(5)))),
            (4, 2, &[-5], Some(Route::Room(room(5)))),
            (5, 2, &[-5], None),
            (7, 2, &[-5], Some(Route::Room(room(5)))),
            (11, 2, &[-5], Some(Route::Room(room(5)))),
            (11, 2, &[-6], None),
            (11, 2, &[2, 3], None),
            (11, 2, &[], None),
        ] {
            assert_eq!(route(&viewer(), seq, sender, to), expected, "seq {seq} from {sender} to {to:?}");
        }
    }

    #[test]
    fn ranges_of_inboxes_hold_exactly_the_messages_that_are_visible() {
        let viewer = viewer();
        for (seq, to) in (1..=20).flat_map(|seq| [1, 2, -5, -6, -7].map(|to| (seq, to))) {
            let mut in_range =
                viewer.ranges().filter(|range| range.after < Seq::new(seq) && Seq::new(seq) <= range.until);
            assert_eq!(
                route(&viewer, seq, 2, &[to]).is_some(),
                in_range.any(|range| range.recipient.number() == to),
                "seq {seq} to {to}"
            );
        }
    }

    #[test]
    fn whole_room_is_seen_from_its_first_message_and_nothing_else() {
        let viewer = Viewer::of_whole_room(RoomId::new(5));
        assert_eq!(route(&viewer, 1, 2, &[-5]), Some(Route::Room(RoomId::new(5))));
        assert_eq!(route(&viewer, 1, 2, &[-7, 1]), None);
    }
}
