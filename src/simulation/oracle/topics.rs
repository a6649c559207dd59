//! Topics of the rooms, from committed entries and requests. Owns the promises that concern topics; never who is a
//! member.

use std::collections::HashMap;

use crate::message::{Room, Text};
use crate::simulation::disk::Disk;

/// Topic of a room, which is a number that is used once. `None` if there is none.
pub(in crate::simulation) type Topic = Option<u64>;

/// Topics of all rooms.
pub(in crate::simulation) struct Topics {
    rooms: Vec<RoomTopics>,
    /// Topics that the last turn committed, in order, until the broker has delivered the turn.
    undelivered: Vec<(usize, Topic)>,
    /// Peers that asked to set a topic of a room, or to clear it.
    requests: HashMap<(usize, Topic), Vec<usize>>,
}

#[derive(Clone, Default)]
struct RoomTopics {
    committed: Topic,
    /// Former topics, each with the step in which it was replaced, the oldest first.
    former: Vec<(Topic, u64)>,
}

/// Returns the topic with this number, as a client sends it.
pub(in crate::simulation) fn topic_text(number: u64) -> Text {
    Text::stored(number.to_string())
}

impl Topics {
    pub(in crate::simulation) fn new(rooms: usize) -> Self {
        let rooms = vec![RoomTopics::default(); rooms];
        Topics { rooms, undelivered: Vec::new(), requests: HashMap::new() }
    }

    /// Topics that a room had in the turn that is being delivered, in order; the first is the one before the turn.
    pub(in crate::simulation) fn of_turn(&self, room: usize) -> Vec<Topic> {
        let RoomTopics { committed, former } = &self.rooms[room];
        let set = self.undelivered.iter().filter(|(other, _)| *other == room).count();
        let before = former[former.len() - set..].iter().map(|(topic, _)| *topic);
        before.chain([*committed]).collect()
    }

    /// Whether this was the topic of a room at some time since this step.
    pub(in crate::simulation) fn may_have_been(&self, room: usize, topic: Topic, step: u64) -> bool {
        let RoomTopics { committed, former } = &self.rooms[room];
        let recent = former.iter().rev().take_while(|(_, replaced_at)| *replaced_at >= step);
        *committed == topic || recent.into_iter().any(|(former, _)| *former == topic)
    }

    /// Topics that the turn which is being delivered has committed, in order.
    pub(in crate::simulation) fn undelivered(&self) -> &[(usize, Topic)] {
        &self.undelivered
    }

    /// Whether a peer asked for this topic.
    pub(in crate::simulation) fn is_requested_by(&self, peer: usize, room: usize, topic: Topic) -> bool {
        self.requests.get(&(room, topic)).is_some_and(|peers| peers.contains(&peer))
    }

    /// Notes a request to set a topic, or to clear it.
    pub(in crate::simulation) fn requested(&mut self, peer: usize, room: usize, topic: Topic) {
        self.requests.entry((room, topic)).or_default().push(peer);
    }

    /// Notes that a turn is committed; its topics follow.
    pub(in crate::simulation) fn begin_turn(&mut self) {
        self.undelivered.clear();
    }

    /// Checks and notes a committed topic.
    pub(in crate::simulation) fn set(&mut self, room: usize, topic: Topic, step: u64) {
        assert!(self.requests.contains_key(&(room, topic)), "room {room} gets the topic {topic:?} without a request");
        assert!(topic.is_none() || !self.was_committed(room, topic), "the topic {topic:?} is committed twice");
        let RoomTopics { committed, former } = &mut self.rooms[room];
        former.push((*committed, step));
        *committed = topic;
        self.undelivered.push((room, topic));
    }

    /// Notes that a room was removed.
    pub(in crate::simulation) fn removed(&mut self, room: usize, step: u64) {
        let RoomTopics { committed, former } = &mut self.rooms[room];
        former.push((committed.take(), step));
    }

    /// Whether this is the topic of a room, or ever was.
    pub(in crate::simulation) fn was_committed(&self, room: usize, topic: Topic) -> bool {
        self.may_have_been(room, topic, 0)
    }

    /// Notes that the broker has delivered the last committed turn.
    pub(in crate::simulation) fn delivered(&mut self) {
        self.undelivered.clear();
    }

    /// Forgets requests after a restart, and checks that the disk holds every topic.
    pub(in crate::simulation) fn restarted<'a>(&mut self, disk: &Disk, names: impl Iterator<Item = &'a Room>) {
        self.forget_requests();
        self.undelivered.clear();
        for (room, name) in self.rooms.iter().zip(names) {
            assert_eq!(disk.topic(name), room.committed.map(topic_text), "the topic of {name} is stored");
        }
    }

    /// Forgets requests that can have no effect any more.
    pub(in crate::simulation) fn forget_requests(&mut self) {
        self.requests.clear();
    }
}
