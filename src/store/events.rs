//! Events for plugins besides messages: joins, leaves and deliveries. Owns the table `event`, the numbers of its rows and their
//! removal; never decides which plugin is interested.

use std::collections::VecDeque;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Statement, params};

use super::{EventFilter, EventKind, Observed, PeerEvent};
use crate::database::column::{self, integer, name, number, seq};
use crate::limits::{EVENTS_MAX, EVENTS_REMOVED_MAX, OBSERVATIONS_MAX};
use crate::message::{PeerId, Seq, Timestamp};

/// Limits of the table `event`; the defaults are those of the server, tests lower them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventLimits {
    /// Events that are stored for observers that have not seen them.
    pub(crate) stored_max: usize,
    /// Events that one turn removes, besides two for each that it adds.
    pub(crate) removed_per_turn_max: usize,
}

impl Default for EventLimits {
    fn default() -> Self {
        EventLimits { stored_max: EVENTS_MAX, removed_per_turn_max: EVENTS_REMOVED_MAX }
    }
}

/// Prepared statements on the table `event`, and a cache of its bounds.
pub(super) struct Events<'c> {
    limits: EventLimits,
    insert: Statement<'c>,
    after: Statement<'c>,
    stored: Statement<'c>,
    seen: Statement<'c>,
    remove: Statement<'c>,
    remove_of: Statement<'c>,
    /// `None` before the first use, and after a transaction that failed or removed the events of a peer.
    bounds: Option<EventBounds>,
    /// Whether `bounds.seen` may be too low, because an observer's cursor was written.
    is_more_seen: bool,
    /// Whether events are removed that an observer has not seen. The log says so when that begins.
    loses_unseen: bool,
}

/// Numbers of the events that are stored.
#[derive(Clone, Copy)]
struct EventBounds {
    /// Oldest stored event; the number of the next one if none is stored.
    oldest: i64,
    /// Newest event that was ever stored.
    newest: i64,
    /// Every observer that wants events has seen all up to here.
    seen: i64,
    /// Events added in this transaction.
    added: usize,
}

/// Row of the table `event`.
pub(super) struct StoredEvent {
    /// Number of the event.
    pub(super) id: i64,
    /// Newest message at the time of the event.
    pub(super) seq: Seq,
    /// Form in which the observer gets the event; `None` if the observer does not want it.
    pub(super) observed: Option<Observed>,
}

/// Events for an observer after a cursor, read piece by piece as they are needed: most of many thousands may be of kinds that the observer
/// does not want.
pub(super) struct EventQueue {
    observer: PeerId,
    filter: EventFilter,
    /// Event up to which rows were read; `None` if there are no more.
    read_to: Option<i64>,
    rows: VecDeque<StoredEvent>,
}

impl EventQueue {
    /// Makes a queue of the events after `event`, also of those that the filter does not include, or that are the observer's own.
    pub(super) fn after(event: i64, observer: PeerId, filter: EventFilter) -> Self {
        EventQueue { observer, filter, read_to: filter.events().then_some(event), rows: VecDeque::new() }
    }

    /// Takes the next event, if it happened before this message, or if there is no message.
    pub(super) fn next_before(
        &mut self,
        message: Option<Seq>,
        events: &mut Events<'_>,
    ) -> rusqlite::Result<Option<StoredEvent>> {
        if self.rows.is_empty()
            && let Some(after) = self.read_to
        {
            self.rows = events.after(after, self.observer, self.filter)?.into();
            self.read_to = self.rows.back().map(|event| event.id);
        }
        let is_before = |event: &StoredEvent| message.is_none_or(|message| event.seq < message);
        Ok(if self.rows.front().is_some_and(is_before) { self.rows.pop_front() } else { None })
    }
}

impl<'c> Events<'c> {
    pub(super) fn new(connection: &'c Connection, limits: EventLimits) -> rusqlite::Result<Self> {
        Ok(Events {
            limits,
            insert: connection
                .prepare("insert into event (id, at, kind, peer, seq, cursor) values (?1, ?2, ?3, ?4, ?5, ?6)")?,
            after: connection.prepare(
                "select event.id, event.at, event.kind, peer.name, event.seq, event.cursor, event.peer
                 from event left join peer on peer.id = event.peer
                 where event.id > ?1 and event.id <= 1e18 order by event.id limit ?2",
            )?,
            stored: connection.prepare(
                "select (select min(id) from event),
                        max(coalesce((select seq from sqlite_sequence
                                      where name = 'event' and typeof(seq) = 'integer' and seq <= 1e18), 0),
                            coalesce((select max(id) from event where id <= 1e18), 0),
                            coalesce((select max(event) from observer
                                      where typeof(event) = 'integer' and event <= 1e18), 0))",
            )?,
            seen: connection
                .prepare("select min(event) from observer where typeof(event) = 'integer' and event <= 1e18")?,
            remove: connection.prepare("delete from event where id <= ?1")?,
            remove_of: connection.prepare("delete from event where peer = ?1")?,
            bounds: None,
            is_more_seen: false,
            loses_unseen: false,
        })
    }

    /// Returns the number of the newest event that was ever stored.
    pub(super) fn newest(&mut self) -> rusqlite::Result<i64> {
        Ok(self.bounds()?.newest)
    }

    /// Stores an event; `seq` is the newest message at its time.
    pub(super) fn insert(&mut self, event: &PeerEvent, seq: Seq) -> rusqlite::Result<()> {
        let bounds = self.bounds()?;
        let id = bounds.newest + 1;
        let (kind, cursor) = match event.kind {
            EventKind::Join => ("join", None),
            EventKind::Leave => ("leave", None),
            EventKind::Delivered(cursor) => ("delivered", Some(cursor.get())),
        };
        self.insert.execute(params![id, event.at.millis(), kind, event.peer.get(), seq.get(), cursor])?;
        self.bounds = Some(EventBounds { newest: id, added: bounds.added + 1, ..bounds });
        Ok(())
    }

    /// Reads the next rows after `event`.
    fn after(&mut self, event: i64, observer: PeerId, filter: EventFilter) -> rusqlite::Result<Vec<StoredEvent>> {
        let rows = self.after.query_map([event, OBSERVATIONS_MAX as i64], |row| {
            let (id, seq) = (row.get(0)?, seq(row, 4)?);
            let is_own = column::peer(row, 6)? == observer;
            Ok(StoredEvent { id, seq, observed: if is_own { None } else { observed(row, filter)? } })
        })?;
        rows.collect()
    }

    /// Notes that an observer's cursor was written or removed, so that [`remove_oldest`](Self::remove_oldest) reads again
    /// which events all observers have seen.
    pub(super) fn note_seen(&mut self) {
        self.is_more_seen = true;
    }

    /// Removes the oldest events, if all observers have seen them or too many are stored. Removes more than this transaction
    /// added, so that it catches up. Must be the last write of a transaction.
    pub(super) fn remove_oldest(&mut self) -> rusqlite::Result<()> {
        let EventBounds { oldest, newest, mut seen, added } = self.bounds()?;
        if std::mem::take(&mut self.is_more_seen) {
            seen = self.seen_by_all(newest)?;
        }
        let step = (self.limits.removed_per_turn_max + 2 * added) as i64;
        let last = seen.max(newest - self.limits.stored_max as i64).min(oldest.saturating_add(step - 1));
        if oldest <= last {
            self.remove.execute([last])?;
            if last > seen && !self.loses_unseen {
                let stored_max = self.limits.stored_max;
                log::warn!(
                    "a plugin lags behind more than {stored_max} events; the oldest are removed, and it never gets them"
                );
            }
            self.loses_unseen = last > seen;
        }
        self.bounds = Some(EventBounds { oldest: oldest.max(last + 1), newest, seen, added: 0 });
        Ok(())
    }

    /// Removes all events of a peer.
    pub(super) fn remove_of(&mut self, peer: PeerId) -> rusqlite::Result<()> {
        self.undo();
        self.remove_of.execute([peer.get()]).map(drop)
    }

    /// Forgets the cached bounds, as the transaction was rolled back.
    pub(super) fn undo(&mut self) {
        (self.bounds, self.is_more_seen) = (None, false);
    }

    fn bounds(&mut self) -> rusqlite::Result<EventBounds> {
        if let Some(bounds) = self.bounds {
            return Ok(bounds);
        }
        let (oldest, newest): (Option<i64>, i64) =
            self.stored.query_row([], |row| Ok((row.get(0)?, number(row, 1)?)))?;
        let seen = self.seen_by_all(newest)?;
        let bounds = EventBounds { oldest: oldest.unwrap_or(newest + 1), newest, seen, added: 0 };
        self.bounds = Some(bounds);
        Ok(bounds)
    }

    /// Reads the event up to which all observers have seen everything; `newest` if no observer wants events.
    fn seen_by_all(&mut self, newest: i64) -> rusqlite::Result<i64> {
        Ok(self.seen.query_row([], |row| row.get::<_, Option<i64>>(0))?.unwrap_or(newest))
    }
}

/// Reads an event; `None` if the filter does not include it, or if the peer's row was removed by hand.
fn observed(row: &Row<'_>, filter: EventFilter) -> rusqlite::Result<Option<Observed>> {
    let kind = match row.get_ref(2)?.as_str() {
        Ok("join") => EventKind::Join,
        Ok("leave") => EventKind::Leave,
        Ok("delivered") => EventKind::Delivered(row.get_ref(5)?.as_i64().map_or(seq(row, 4)?, Seq::new)),
        _ => return Ok(None),
    };
    if !filter.includes(kind) || row.get_ref(3)? == ValueRef::Null {
        return Ok(None);
    }
    let (event, at, name) = (row.get(0)?, Timestamp::from_millis(integer(row, 1)?), name(row, 3)?);
    Ok(Some(match kind {
        EventKind::Join => Observed::Joined { event, at, name },
        EventKind::Leave => Observed::Left { event, at, name },
        EventKind::Delivered(seq) => Observed::Delivered { event, at, name, seq },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::schema;

    /// Limits that are low enough to be reached.
    const LIMITS: EventLimits = EventLimits { stored_max: 100, removed_per_turn_max: 4 };

    /// Writes a turn with `count` events.
    fn turn(events: &mut Events<'_>, count: usize) {
        let event = PeerEvent { at: Timestamp::from_millis(1), kind: EventKind::Join, peer: PeerId::new(1) };
        (0..count).for_each(|_| events.insert(&event, Seq::ZERO).unwrap());
        events.note_seen();
        events.remove_oldest().unwrap();
    }

    /// Returns the first and the last number that is stored, and the number of rows.
    fn stored(connection: &Connection) -> (i64, i64, usize) {
        let sql = "select coalesce(min(id), 0), coalesce(max(id), 0), count(*) from event";
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)? as usize))).unwrap()
    }

    #[test]
    fn events_that_all_observers_have_seen_are_removed_a_few_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let connection = schema::open(&home.path().join("holdline.db")).unwrap();
        // The third observer wants no events.
        connection.execute_batch("insert into observer values (1, 0, 0), (2, null, 0), (3, 0, null)").unwrap();
        let mut events = Events::new(&connection, LIMITS).unwrap();
        turn(&mut events, 20);
        assert_eq!(stored(&connection), (1, 20, 20));
        connection.execute_batch("update observer set event = 15 where peer = 1").unwrap();
        turn(&mut events, 0);
        assert_eq!(stored(&connection), (1, 20, 20), "the second observer has seen none");
        connection.execute_batch("update observer set event = 10 where peer = 2").unwrap();
        turn(&mut events, 0);
        assert_eq!(stored(&connection), (5, 20, 16));
        // Turns without events remove the rest.
        for _ in 0..10 {
            events.remove_oldest().unwrap();
        }
        assert_eq!(stored(&connection), (11, 20, 10));
        connection.execute_batch("delete from observer").unwrap();
        (0..10).for_each(|_| turn(&mut events, 0));
        assert_eq!(stored(&connection), (0, 0, 0), "no observer wants events");
    }

    #[test]
    fn oldest_events_are_removed_when_there_are_too_many() {
        let home = tempfile::tempdir().unwrap();
        let connection = schema::open(&home.path().join("holdline.db")).unwrap();
        connection.execute_batch("insert into observer values (1, 0, 0)").unwrap();
        let mut events = Events::new(&connection, LIMITS).unwrap();
        connection.execute_batch("begin").unwrap();
        turn(&mut events, 100);
        assert_eq!(stored(&connection), (1, 100, 100));
        turn(&mut events, 7);
        assert_eq!(stored(&connection), (8, 107, 100));
    }

    #[test]
    fn numbers_are_never_reused_after_removal_and_restart() {
        let home = tempfile::tempdir().unwrap();
        let connection = schema::open(&home.path().join("holdline.db")).unwrap();
        turn(&mut Events::new(&connection, LIMITS).unwrap(), 3);
        assert_eq!(stored(&connection), (0, 0, 0));
        let mut events = Events::new(&connection, LIMITS).unwrap();
        assert_eq!(events.newest().unwrap(), 3);
        connection.execute_batch("insert into observer values (1, 0, 3); begin").unwrap();
        turn(&mut events, 2);
        assert_eq!(stored(&connection), (4, 5, 2));
        connection.execute_batch("rollback").unwrap();
        events.undo();
        turn(&mut events, 1);
        assert_eq!(stored(&connection), (4, 4, 1), "a rolled back event uses no number");
    }
}
