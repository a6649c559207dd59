//! Lists for people that are not complete: how far each has come. Owns these types; never makes a part of a list. A list holds no names but the
//! last one: each part is made of the names of its time.

use super::completion::Requester;
use crate::message::{PeerName, RoomId};

/// List of the peers that are online, then of the rooms of a peer with their members, of which a session has a part.
#[derive(Debug)]
pub(super) struct PeerList {
    pub(super) requester: Requester,
    /// Room that is being listed; `None`: all peers that are online.
    pub(super) room: Option<RoomId>,
    /// Last name of this room that was listed.
    pub(super) last: Option<PeerName>,
    /// Rooms that follow, the next one last.
    pub(super) rooms: Vec<RoomId>,
    pub(super) is_done: bool,
}
