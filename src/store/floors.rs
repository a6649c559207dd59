//! Floors of rooms: finds out when more messages of a room may wait than `room_waiting_max`, and proposes to raise its floor. Owns the
//! counts; never writes a floor, which is the broker's entry.

use foldhash::HashMap as IdMap;

use super::Entry;
use crate::database::index::Index;
use crate::database::members::Members;
use crate::limits::{FLOOR_STEPS, FLOORS_CACHED_MAX};
use crate::message::{RoomId, Seq};

/// Number of messages above the floors of rooms.
#[derive(Debug)]
pub(super) struct Floors {
    /// Messages of a room that may wait for a member; 0: no limit.
    waiting_max: u64,
    /// Rooms that got messages lately, each with the number of its messages above the floor that was proposed last.
    rooms: IdMap<RoomId, u64>,
}

impl Floors {
    pub(super) fn new(waiting_max: u64) -> Self {
        Floors { waiting_max, rooms: IdMap::default() }
    }

    /// Counts the messages of a committed turn, which are in the index. Returns an entry for each room whose floor must be raised.
    pub(super) fn note_committed(
        &mut self,
        entries: &[Entry],
        index: &mut Index<'_>,
        members: &mut Members<'_>,
    ) -> rusqlite::Result<Vec<Entry>> {
        if self.waiting_max == 0 {
            return Ok(Vec::new());
        }
        if self.rooms.len() > FLOORS_CACHED_MAX {
            self.rooms.clear();
        }
        let mut due = Vec::new();
        for room in entries.iter().flat_map(rooms) {
            let count = match self.rooms.get_mut(&room) {
                Some(count) => {
                    *count += 1;
                    *count
                }
                None => {
                    let count = self.count(room, index, members)?;
                    self.rooms.insert(room, count);
                    count
                }
            };
            if count > self.count_max() && !due.contains(&room) {
                due.push(room);
            }
        }
        due.into_iter().map(|room| self.raise(room, index)).collect()
    }

    /// Messages above a floor at which it is not raised yet: a write for each message would cost as much as the message.
    fn count_max(&self) -> u64 {
        self.waiting_max.saturating_add(self.waiting_max / FLOOR_STEPS)
    }

    /// Counts the messages above the stored floor of a room, at most one too many.
    fn count(&self, room: RoomId, index: &mut Index<'_>, members: &mut Members<'_>) -> rusqlite::Result<u64> {
        let floor = members.floor(room)?;
        let newest = self.newest(room, self.count_max().saturating_add(1), index)?;
        Ok(newest.iter().filter(|seq| **seq > floor).count() as u64)
    }

    /// Returns the entry that leaves as many messages above the floor of a room as may wait.
    fn raise(&mut self, room: RoomId, index: &mut Index<'_>) -> rusqlite::Result<Entry> {
        // If the index cannot be read, they are counted again.
        self.rooms.remove(&room);
        let newest = self.newest(room, self.waiting_max.saturating_add(1), index)?;
        let floor = newest.get(self.waiting_max as usize).copied().unwrap_or(Seq::ZERO);
        self.rooms.insert(room, self.waiting_max);
        Ok(Entry::Floor { room, floor })
    }

    /// Returns the newest messages of a room, the newest first, some of which may have been removed.
    fn newest(&self, room: RoomId, count: u64, index: &mut Index<'_>) -> rusqlite::Result<Vec<Seq>> {
        index.last_before(room.into(), Seq::MAX, usize::try_from(count).unwrap_or(usize::MAX))
    }
}

/// Rooms that an entry sends a message into.
fn rooms(entry: &Entry) -> impl Iterator<Item = RoomId> {
    let recipients = match entry {
        Entry::Message { recipients, .. } => &recipients[..],
        _ => &[],
    };
    recipients.iter().filter_map(|recipient| recipient.room())
}
