//! Completions: what a turn still has to do once its outcome is known, one step for each request and announcement. Owns the data of the
//! steps; the files in `commands` carry them out.

use crate::broker::event::EndReason;
use crate::message::{PeerId, RequestId, Room, RoomId, SessionId, Text};
use crate::protocol::Reply;
use crate::store::ReadReceiver;

/// Client that makes a request: the reply goes to its session, with the id of the request.
#[derive(Clone, Debug)]
pub(super) struct Requester {
    /// Session of the client.
    pub(super) session: SessionId,
    /// Id that the client gave the request, if it gave one.
    pub(super) id: Option<RequestId>,
    /// Peer of the session.
    pub(super) peer: PeerId,
}

/// Step that completes a request, or announces a change, when a turn is delivered.
#[derive(Debug)]
pub(super) enum Completion {
    /// Delivers the next message of the turn, and acknowledges it to its sender. The requester is `None` for a row of the table `outbox`.
    Send { requester: Option<Requester>, notes: Vec<SenderNote> },
    /// Acknowledges the message at index `nth` of the turn again.
    Repeat { requester: Requester, nth: usize },
    /// Replies, whether the turn was committed or not.
    Reply { requester: Requester, reply: Reply },
    /// Replies that the peer is in a room.
    Join { requester: Requester, room: RoomId },
    /// Replies that the peer was in a room before the turn.
    JoinAgain { requester: Requester, room: RoomId },
    /// Replies that the peer has left a room.
    Leave { requester: Requester, room: RoomId },
    /// Replies that the account of the peer is changed, and ends the other sessions of the peer.
    Account { requester: Requester, reply: Reply },
    /// Welcomes a client that registered its name with its login.
    Registration { requester: Requester },
    /// Replies with the topic of a room.
    ShowTopic { requester: Requester, room: Room },
    /// Replies that the topic of a room is set, and announces it to the members that are online.
    SetTopic { requester: Requester, room: RoomId, topic: Option<Text> },
    /// Replies with the peers that are online, and the rooms of the peer.
    Who { requester: Requester },
    /// Replies that a value is stored.
    SetValue { requester: Requester, key: String },
    /// Replies with the values that were read.
    ListValues { requester: Requester, values: ReadReceiver<Vec<(String, String)>> },
    /// Announces that a peer came online or went offline.
    Presence { peer: PeerId },
    /// Ends a session once it has got all messages that wait for it.
    End { session: SessionId, reason: EndReason },
}

/// Notice to the sender of a message, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum SenderNote {
    /// The message is stored for a peer that is offline.
    Stored(PeerId),
    /// The sender is the only member of a room.
    Alone(RoomId),
}
