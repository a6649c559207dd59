//! Random chats, compared with a simple model of which messages must stay.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::limits::CLOCK_PROOF_S;

/// Rooms of the random tests.
const ROOMS: i64 = 2;

/// Step of a random test.
#[derive(Clone, Debug)]
enum Step {
    Send { sender: i64, to: BTreeSet<i64>, copies: usize, bytes: usize },
    Join { room: i64, peer: i64 },
    Leave { room: i64, peer: i64 },
    Deliver { peer: i64, share: u8 },
    Pass { ms: u64 },
    ClockJumps { ms: i64 },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let recipient = || prop_oneof![3 => 1..=PEERS, 2 => -ROOMS..=-1];
    let to = || proptest::collection::btree_set(recipient(), 1..=3);
    let member = || (1..=ROOMS, 1..=PEERS);
    let step = prop_oneof![
        5 => (1..=PEERS, to(), 1..40usize, 1..600usize)
            .prop_map(|(sender, to, copies, bytes)| Step::Send { sender, to, copies, bytes }),
        2 => member().prop_map(|(room, peer)| Step::Join { room, peer }),
        1 => member().prop_map(|(room, peer)| Step::Leave { room, peer }),
        4 => (1..=PEERS, any::<u8>()).prop_map(|(peer, share)| Step::Deliver { peer, share }),
        3 => (0..4_000u64).prop_map(|ms| Step::Pass { ms }),
        1 => (-5_000..5_000i64).prop_map(|ms| Step::ClockJumps { ms }),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Message that was sent.
struct Sent {
    seq: i64,
    at: i64,
    sender: i64,
    /// Recipients; a room is negative.
    to: BTreeSet<i64>,
}

/// Cursor of each peer, and the newest message when it joined each of its rooms.
#[derive(Default)]
struct Readers {
    cursors: BTreeMap<i64, i64>,
    joined: BTreeMap<(i64, i64), i64>,
    /// Room, peer, and the newest messages when it joined and left.
    ended: Vec<(i64, i64, i64, i64)>,
}

impl Readers {
    /// Whether a message is for a peer, directly or through a room.
    fn reaches(&self, sent: &Sent, peer: i64) -> bool {
        let since = |room: &i64| self.joined.get(&(-room, peer)).is_some_and(|joined| *joined < sent.seq);
        sent.to.contains(&peer) || sent.sender != peer && sent.to.iter().any(since)
    }

    /// Whether the history of a peer has a message: it sent it, it is for the peer, or it came during an earlier membership.
    fn shows(&self, sent: &Sent, peer: i64) -> bool {
        let is_during = |&(room, member, joined, left): &(i64, i64, i64, i64)| {
            member == peer && joined < sent.seq && sent.seq <= left && sent.to.contains(&-room)
        };
        let is_member = |room: i64| self.joined.contains_key(&(room, peer));
        sent.sender == peer
            || self.reaches(sent, peer)
            || self.ended.iter().any(|ended| is_during(ended) && is_member(ended.0))
    }

    /// Notes that a peer leaves a room after this message. Returns whether it was a member.
    fn leave(&mut self, room: i64, peer: i64, newest: i64) -> bool {
        let joined = self.joined.remove(&(room, peer));
        self.ended.extend(joined.map(|joined| (room, peer, joined, newest)));
        joined.is_some()
    }

    fn waits(&self, sent: &Sent) -> bool {
        (1..=PEERS)
            .any(|peer| self.reaches(sent, peer) && self.cursors.get(&peer).is_none_or(|cursor| *cursor < sent.seq))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn waiting_messages_and_those_behind_a_young_one_stay_and_all_others_are_removed(
        steps in steps(),
        max_age_ms in proptest::option::of(500..4_000u64),
        max_size_bytes in proptest::option::of(60_000..200_000u64),
    ) {
        let retention = Retention { max_age: max_age_ms.map(Duration::from_millis), max_size_bytes };
        let (_home, connection) = database();
        let mut world = World::new(&connection, retention);
        (1..=ROOMS).for_each(|room| world.make_room(room, &[]));
        let mut sent: Vec<Sent> = Vec::new();
        let mut readers = Readers::default();
        for step in steps {
            match step {
                Step::Send { sender, to, copies, bytes } => {
                    let at = world.now.clock.millis();
                    let recipients = Vec::from_iter(to.iter().copied());
                    let text = "x".repeat(bytes);
                    for _ in 0..copies {
                        sent.push(Sent { seq: sent.len() as i64 + 1, at, sender, to: to.clone() });
                    }
                    world.turn((0..copies).map(|_| message(at, sender, &recipients, &text)).collect());
                }
                Step::Join { room, peer } => {
                    if readers.leave(room, peer, sent.len() as i64) {
                        world.turn(vec![leave(room, peer)]);
                    }
                    readers.joined.insert((room, peer), sent.len() as i64);
                    world.turn(vec![join(room, peer)]);
                }
                Step::Leave { room, peer } => {
                    if readers.leave(room, peer, sent.len() as i64) {
                        world.turn(vec![leave(room, peer)]);
                    }
                }
                Step::Deliver { peer, share } => {
                    let cursor = readers.cursors.entry(peer).or_default();
                    *cursor += (sent.len() as i64 - *cursor) * i64::from(share) / 255;
                    world.turn(vec![record(peer, *cursor)]);
                }
                Step::Pass { ms } => world.pass(ms),
                Step::ClockJumps { ms } => {
                    world.now.clock = Timestamp::from_millis((world.now.clock.millis() + ms).max(0));
                }
                Step::Restart => world.sweep = Sweep::new(&connection, retention, Headroom::default(), world.now),
            }
            let kept: BTreeSet<i64> = world.stored().into_iter().collect();
            for sent in sent.iter().filter(|sent| readers.waits(sent)) {
                assert!(kept.contains(&sent.seq), "{} waited and was removed", sent.seq);
            }
        }
        // After this time with one clock, it is believed, and every message that is due was scanned.
        let clock = world.now.clock;
        world.pass(2 * 1000 * (CLOCK_PROOF_S as u64 + RETENTION_CHECK_S_MAX));
        let now = world.now.clock.millis();
        let kept: BTreeSet<i64> = world.stored().into_iter().collect();
        let is_old = |sent: &Sent| max_age_ms.is_some_and(|max_age| now - sent.at >= max_age as i64);
        let is_large = max_size_bytes.is_some_and(|max_size| world.used_bytes() > max_size);
        for sent in sent.iter().take_while(|sent| is_old(sent) || is_large) {
            assert_eq!(kept.contains(&sent.seq), readers.waits(sent), "{} at {}, now {clock}", sent.seq, sent.at);
        }
        if retention == Retention::default() {
            assert_eq!(kept.len(), sent.len());
        }
        // The index and each history contain exactly the messages that are left.
        let inbox: Vec<i64> = world.numbers(&format!("{INBOX} order by seq, recipient"));
        world.log.catch_up().unwrap();
        let endless = "select count(*) from inbox where last not in (select seq from message)";
        assert_eq!(world.number(endless), 0, "a row goes when its last message goes");
        let expected = sent.iter().filter(|sent| kept.contains(&sent.seq));
        assert_eq!(inbox, Vec::from_iter(expected.flat_map(|sent| sent.to.iter().map(|_| sent.seq))));
        for peer in 1..=PEERS {
            let part = sent.iter().filter(|sent| readers.shows(sent, peer));
            let part = part.filter(|sent| kept.contains(&sent.seq)).count();
            assert_eq!(world.history(peer, 5_000).len(), part, "the history of {peer}");
        }
    }
}
