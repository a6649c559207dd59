//! Floors of rooms: finds out when more messages of a room may wait than `room_waiting_max`, or more bytes than its share of `max_size`, and
//! proposes to raise its floor. Owns the counts; never writes a floor, which is the broker's entry.

use foldhash::{HashMap as IdMap, HashSet as IdSet};

use super::Entry;
use crate::config::Retention;
use crate::database::index::Index;
use crate::database::members::Members;
use crate::database::messages::Messages;
use crate::limits::{
    FLOOR_SAMPLE_MESSAGES, FLOOR_STEP_MESSAGES_MAX, FLOOR_STEPS, FLOORS_CACHED_MAX, ROOM_WAITING_PARTS,
};
use crate::message::{RoomId, Seq};

/// Messages of rooms above their floors.
#[derive(Debug)]
pub(super) struct Floors {
    /// Messages of a room that may wait for a member.
    messages_max: u64,
    /// Bytes of them.
    bytes_max: u64,
    /// Rooms that got messages lately.
    rooms: IdMap<RoomId, RoomCount>,
}

/// Tables from which the messages of rooms are counted.
pub(super) struct FloorSources<'a, 'c> {
    pub(super) index: &'a mut Index<'c>,
    pub(super) members: &'a mut Members<'c>,
    pub(super) messages: &'a mut Messages<'c>,
}

/// Messages of one room above the floor that was proposed last.
#[derive(Clone, Copy, Debug)]
struct RoomCount {
    floor: Seq,
    messages: u64,
    /// Approximate bytes of these messages.
    bytes: u64,
}

impl RoomCount {
    /// Adds the message of an entry.
    fn add(&mut self, entry: &Entry) {
        self.messages += 1;
        self.bytes += entry.message_bytes() as u64;
    }
}

impl Floors {
    /// Makes the counts for a limit of messages, 0 for none, and for a share of the size of the database.
    pub(super) fn new(room_waiting_max: u64, retention: Retention) -> Self {
        Floors {
            messages_max: if room_waiting_max == 0 { u64::MAX } else { room_waiting_max },
            bytes_max: retention.max_size_bytes.map_or(u64::MAX, |max_size| max_size / ROOM_WAITING_PARTS),
            rooms: IdMap::default(),
        }
    }

    /// Counts the messages of a committed turn, which are in the index. Returns an entry for each room whose floor must be raised.
    pub(super) fn note_committed(
        &mut self,
        entries: &[Entry],
        sources: &mut FloorSources<'_, '_>,
    ) -> rusqlite::Result<Vec<Entry>> {
        if self.messages_max == u64::MAX && self.bytes_max == u64::MAX {
            return Ok(Vec::new());
        }
        if self.rooms.len() > FLOORS_CACHED_MAX {
            self.rooms.clear();
        }
        let mut touched: IdSet<RoomId> = IdSet::default();
        // Rooms that are counted in this turn: the counts include all of its messages.
        let mut counted: IdSet<RoomId> = IdSet::default();
        for entry in entries {
            let Entry::Message { recipients, .. } = entry else { continue };
            for room in recipients.iter().filter_map(|recipient| recipient.room()) {
                match self.rooms.get_mut(&room) {
                    Some(count) if counted.is_empty() || !counted.contains(&room) => count.add(entry),
                    Some(_) => {}
                    None => {
                        let count = self.count(room, sources)?;
                        self.rooms.insert(room, count);
                        counted.insert(room);
                    }
                }
                touched.insert(room);
            }
        }
        let due = touched.into_iter().filter(|room| self.is_due(self.rooms[room])).collect::<Vec<_>>();
        due.into_iter().map(|room| self.raise(room, sources)).collect()
    }

    /// Whether a floor must be raised: a little later than necessary, as a write for each message would cost as much as the message.
    fn is_due(&self, count: RoomCount) -> bool {
        let is_over = |count: u64, max: u64| count > max.saturating_add(max / FLOOR_STEPS);
        is_over(count.messages, self.messages_max) || is_over(count.bytes, self.bytes_max)
    }

    /// Counts the messages above the stored floor of a room, as far as necessary, and estimates their bytes.
    fn count(&self, room: RoomId, sources: &mut FloorSources<'_, '_>) -> rusqlite::Result<RoomCount> {
        let floor = sources.members.floor(room)?;
        let enough = self.messages_max.saturating_add(self.messages_max / FLOOR_STEPS).saturating_add(1);
        let mut newest = newest(room, enough, sources)?;
        newest.retain(|seq| *seq > floor);
        let mut sample_bytes = 0;
        let sample = &newest[..newest.len().min(FLOOR_SAMPLE_MESSAGES)];
        for seq in sample {
            sample_bytes += sources.messages.bytes(*seq)?;
        }
        let messages = newest.len() as u64;
        Ok(RoomCount { floor, messages, bytes: sample_bytes * messages / sample.len().max(1) as u64 })
    }

    /// Returns the entry that leaves as many messages, or bytes, above the floor of a room as may wait.
    fn raise(&mut self, room: RoomId, sources: &mut FloorSources<'_, '_>) -> rusqlite::Result<Entry> {
        // If something cannot be read, they are counted again.
        let mut count = self.rooms.remove(&room).expect("a room is counted before its floor is raised");
        if count.messages > self.messages_max {
            let newest = newest(room, self.messages_max.saturating_add(1), sources)?;
            count.floor = newest.get(self.messages_max as usize).copied().unwrap_or(Seq::ZERO).max(count.floor);
            count.bytes = (u128::from(count.bytes) * u128::from(self.messages_max) / u128::from(count.messages)) as u64;
            count.messages = self.messages_max;
        } else {
            let oldest = sources.index.first_after(room.into(), count.floor, FLOOR_STEP_MESSAGES_MAX)?;
            // The newest message is always replayed.
            for seq in oldest.into_iter().take(count.messages.saturating_sub(1) as usize) {
                if count.bytes <= self.bytes_max {
                    break;
                }
                count.floor = seq;
                count.messages -= 1;
                count.bytes = count.bytes.saturating_sub(sources.messages.bytes(seq)?);
            }
        }
        self.rooms.insert(room, count);
        Ok(Entry::Floor { room, floor: count.floor })
    }
}

/// Returns the newest messages of a room, the newest first, some of which may have been removed.
fn newest(room: RoomId, count: u64, sources: &mut FloorSources<'_, '_>) -> rusqlite::Result<Vec<Seq>> {
    sources.index.last_before(room.into(), Seq::MAX, usize::try_from(count).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use smol::block_on;

    use super::*;
    use crate::config::Durability;
    use crate::message::{PeerId, PeerName, Recipient, Room, Text, Timestamp};
    use crate::store::{PeerRecord, SeqRange, Store, StoreOptions, TurnRequest};

    const ROOM: RoomId = RoomId::new(1);

    /// Store with a member of a room who never logs in.
    struct World {
        store: Store,
        data: tempfile::TempDir,
        options: StoreOptions,
    }

    impl World {
        fn new(room_waiting_max: u64, max_size_bytes: Option<u64>) -> Self {
            let retention = Retention { max_size_bytes, ..Retention::default() };
            let options = StoreOptions::new(Durability::Crash, retention).with_room_waiting_max(room_waiting_max);
            let data = tempfile::tempdir().unwrap();
            let store = Store::open(data.path(), options).unwrap();
            let world = World { store, data, options };
            let peer = |id, name| {
                let name = PeerName::parse(name).unwrap();
                Entry::Peer(PeerRecord { id: PeerId::new(id), name, seen: true, cursor: Seq::ZERO })
            };
            let room = Entry::Room { id: ROOM, name: Room::parse("#home").unwrap(), creator: None };
            let join = Entry::Join { room: ROOM, peer: PeerId::new(2) };
            assert_eq!(world.turn(vec![peer(1, "alice"), peer(2, "bob"), room, join]), None);
            world
        }

        /// Commits entries. Returns the floor that the outcome proposes.
        fn turn(&self, entries: Vec<Entry>) -> Option<i64> {
            let outcome = block_on(self.store.begin(TurnRequest { entries, reads: Vec::new() }).outcome());
            assert!(outcome.commit.is_ok(), "{:?}", outcome.commit);
            match outcome.floors[..] {
                [] => None,
                [Entry::Floor { room: ROOM, floor }] => Some(floor.get()),
                ref other => panic!("{other:?}"),
            }
        }

        /// Sends messages of this length into the room, in one turn.
        fn send(&self, messages: usize, bytes: usize) -> Option<i64> {
            let message = Entry::Message {
                at: Timestamp::from_millis(0),
                sender: PeerId::new(1),
                recipients: vec![Recipient::Room(ROOM)],
                text: Text::verbatim(&"x".repeat(bytes)).unwrap(),
                id: None,
            };
            self.turn(vec![message; messages])
        }

        fn reopen(self) -> Self {
            let World { store, data, options } = self;
            store.close().unwrap();
            World { store: Store::open(data.path(), options).unwrap(), data, options }
        }
    }

    #[test]
    fn floor_is_raised_once_an_eighth_more_than_the_limit_waits() {
        let world = World::new(80, None);
        assert_eq!(world.send(90, 1), None);
        assert_eq!(world.send(1, 1), Some(11), "80 messages are above it");
        assert_eq!(world.send(10, 1), None);
        assert_eq!(world.send(1, 1), Some(22));
        assert_eq!(world.send(1000, 1), Some(1022), "a large turn raises it as far as necessary");
    }

    #[test]
    fn count_continues_after_a_restart() {
        let world = World::new(80, None);
        assert_eq!(world.send(91, 1), Some(11));
        world.turn(vec![Entry::Floor { room: ROOM, floor: Seq::new(11) }]);
        let world = world.reopen();
        assert_eq!(world.send(10, 1), None);
        assert_eq!(world.send(1, 1), Some(22));
        // A proposal that was lost is repeated.
        let world = world.reopen();
        assert_eq!(world.send(1, 1), Some(23));
    }

    #[test]
    fn floor_is_raised_for_bytes_and_the_newest_message_is_always_replayed() {
        let world = World::new(0, Some(400_000));
        assert_eq!(world.send(100, 1000), None, "a quarter is 100 kB, and an eighth of it is tolerated");
        let floor = world.send(20, 1000).unwrap();
        assert!((20..=30).contains(&floor), "{floor}");
        let world = World::new(0, Some(40_000));
        assert_eq!(world.send(2, 20_000), Some(1));
    }

    #[test]
    fn removed_messages_do_not_lower_a_floor() {
        let world = World::new(80, None);
        assert_eq!(world.send(91, 1), Some(11));
        world.turn(vec![Entry::Floor { room: ROOM, floor: Seq::new(11) }]);
        let last = Seq::new(50);
        world.turn(vec![Entry::Remove { ranges: vec![SeqRange { first: Seq::new(1), last }] }]);
        let connection = rusqlite::Connection::open(world.data.path().join("holdline.db")).unwrap();
        let stored = || connection.query_row("select min(seq) from message", [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(stored(), 12, "those above the floor wait");
        assert_eq!(world.turn(vec![Entry::Floor { room: ROOM, floor: Seq::new(3) }]), None);
        let floor = connection.query_row("select floor from room", [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(floor, 11);
    }
}
