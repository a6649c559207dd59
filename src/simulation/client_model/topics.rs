//! Topics of rooms as a client reads them: in replies, and in announcements of other sessions' changes. Owns which topic
//! may be read, and which must be; never what is committed.

use super::{ClientModel, ModelRequest, Stage};
use crate::simulation::oracle::{Oracle, Topic};

impl ClientModel {
    /// `the topic of #ROOM: TOPIC`, where `words` begin with the room.
    pub(super) fn topic_line(&mut self, words: &str, oracle: &Oracle) {
        let (room, topic) = room_and_topic(words, oracle);
        if self.topic_may_follow == Some(room) {
            self.topic_may_follow = None;
            let may_be_read = oracle.topics.may_have_been(room, topic, self.submitted_at) && oracle.rooms.are_kept;
            assert!(may_be_read, "session {} reads that the topic of room {room} is {topic:?}", self.session);
        } else {
            self.topic_reply(room, topic, oracle);
        }
    }

    /// `#ROOM has no topic`
    pub(super) fn no_topic_line(&mut self, room: &str, oracle: &Oracle) {
        self.no_topic_follows(oracle);
        self.topic_reply(oracle.rooms.named(room), None, oracle);
    }

    fn topic_reply(&mut self, room: usize, topic: Topic, oracle: &Oracle) {
        let session = self.session;
        self.skip_accepted(oracle);
        match self.pending.pop_front() {
            Some(ModelRequest::ShowTopic(asked)) if asked == room => {
                let topics = oracle.topics.of_turn(room);
                // A topic that was announced to the session before is not undone.
                let told = self.topics_read.iter().rev().find(|(other, _)| *other == room);
                let from =
                    told.and_then(|(_, told)| topics[1..].iter().position(|set| set == told)).map_or(0, |n| n + 1);
                let may_be_shown = topics[from..].contains(&topic);
                assert!(may_be_shown, "session {session} is shown {topic:?} of room {room}, and not of {topics:?}");
                let may_be_in = self.is_after(oracle.commit_failed_at)
                    || oracle.rooms.may_have_been_in(room, self.peer, self.submitted_at);
                assert!(may_be_in, "session {session} is shown the topic of room {room}, and is not a member");
            }
            Some(ModelRequest::SetTopic(asked, set)) if (asked, set) == (room, topic) => {
                self.check_topic_is_kept(room, topic, oracle);
                let may_be_in = oracle.rooms.may_have_been_in(room, self.peer, self.submitted_at);
                assert!(may_be_in, "session {session} sets the topic of room {room}, and is not a member");
                self.topics_read.push((room, topic));
            }
            other => panic!("session {session} reads the topic {topic:?} of room {room} as the reply to {other:?}"),
        }
    }

    /// `NAME set the topic of #ROOM: TOPIC`, where `words` begin with the room.
    pub(super) fn topic_set(&mut self, name: &str, words: &str, oracle: &Oracle) {
        let (room, topic) = room_and_topic(words, oracle);
        self.topic_announced(name, room, topic, oracle);
    }

    /// `NAME cleared the topic of #ROOM`
    pub(super) fn topic_announced(&mut self, name: &str, room: usize, topic: Topic, oracle: &Oracle) {
        let listens = self.wants_topics && self.stage == Stage::Greeted;
        assert!(listens, "session {} gets a topic, and does not listen", self.session);
        assert!(
            oracle.rooms.is_member(room, self.peer),
            "session {} is told that the topic of room {room} is {topic:?}, and is not a member",
            self.session
        );
        self.check_topic_is_kept(room, topic, oracle);
        let is_requested = oracle.topics.is_requested_by(oracle.named(name), room, topic);
        assert!(is_requested, "{name} did not ask for the topic {topic:?} of room {room}");
        self.topics_read.push((room, topic));
    }

    /// Checks that a topic is committed by the turn that is being delivered, and that no power cut would undo it.
    fn check_topic_is_kept(&self, room: usize, topic: Topic, oracle: &Oracle) {
        let is_kept = oracle.topics.undelivered().contains(&(room, topic)) && oracle.rooms.are_kept;
        assert!(is_kept, "session {} reads that the topic of room {room} is now {topic:?}", self.session);
    }

    /// Notes that the topic of a room must be the next line, if it has one.
    pub(super) fn topic_follows(&mut self, room: usize) {
        self.topic_may_follow = Some(room);
    }

    /// Checks that a room whose topic did not follow had none.
    pub(super) fn no_topic_follows(&mut self, oracle: &Oracle) {
        if let Some(room) = self.topic_may_follow.take() {
            let may_have_none = oracle.topics.may_have_been(room, None, self.submitted_at);
            assert!(may_have_none, "session {} is not shown the topic of room {room}", self.session);
        }
    }

    /// Notes whether the session certainly gets the announcements of topics if the broker delivered a turn when it last ran: it was online
    /// before, and has certainly enough room in its outbox.
    pub(in crate::simulation) fn may_get_topics(&mut self, has_room: bool, oracle: &Oracle) {
        let since = |(session, since): &(usize, u64)| *session == self.session && *since < oracle.step;
        let is_online = oracle.peers[self.peer].here.iter().any(since);
        self.may_miss_topics |= !has_room || !self.wants_topics || !is_online;
    }

    /// Checks the announcements of the topics that a turn set in the session's rooms, once the turn is certainly delivered: in order, its
    /// own in replies and those of others in announcements. All of them if it certainly gets them.
    pub(in crate::simulation) fn check_topics_told(&mut self, oracle: &Oracle) {
        let is_own_room = |(room, _): &&(usize, Topic)| oracle.rooms.is_member(*room, self.peer);
        let read: Vec<_> = self.topics_read.iter().filter(is_own_room).copied().collect();
        let mut set = oracle.topics.undelivered().iter().filter(is_own_room).copied();
        if std::mem::take(&mut self.may_miss_topics) {
            let is_in_order = read.iter().all(|topic| set.any(|set| set == *topic));
            assert!(is_in_order, "session {} gets topics out of order: {read:?}", self.session);
        } else {
            assert_eq!(read, set.collect::<Vec<_>>(), "session {} gets the topics of its rooms", self.session);
        }
        self.topics_read.clear();
    }
}

fn room_and_topic(words: &str, oracle: &Oracle) -> (usize, Topic) {
    let (room, topic) = words.split_once(": ").expect("a topic comes after its room");
    (oracle.rooms.named(room), Some(topic.parse().expect("a topic is a number")))
}
