//! What happened besides messages. Owns the table `event`: the numbers that are given, and which rows go; never who wants to know.

use rusqlite::{Connection, Row, Statement, params};

use super::{EventFilter, EventKind, Observed, PeerEvent};
use crate::limits::{EVENTS_FORGOTTEN_MAX, EVENTS_MAX, OBSERVED_MAX};
use crate::message::{PeerId, PeerName, Seq, Timestamp};

/// The table, through statements that are prepared once.
pub(super) struct Events<'c> {
    put: Statement<'c>,
    after: Statement<'c>,
    kept: Statement<'c>,
    seen: Statement<'c>,
    forget: Statement<'c>,
    /// Not known when nothing was asked yet, and after a transaction that failed.
    numbers: Option<Numbers>,
    /// All may have seen more than is noted in them.
    is_more_seen: bool,
}

/// Which events there are.
#[derive(Clone, Copy)]
struct Numbers {
    /// The oldest that is kept, or would be.
    oldest: i64,
    /// The newest that there ever was.
    newest: i64,
    /// All up to here have been seen by everyone who wants any.
    seen: i64,
    /// How many this transaction adds.
    added: usize,
}

/// An event as it is kept.
pub(super) struct KeptEvent {
    /// Its number.
    pub(super) id: i64,
    /// The newest message when it happened.
    pub(super) seq: Seq,
    /// What an observer is told.
    pub(super) thing: Observed,
}

impl<'c> Events<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Events {
            put: connection
                .prepare("insert into event (id, at, kind, peer, seq, cursor) values (?1, ?2, ?3, ?4, ?5, ?6)")?,
            after: connection.prepare(
                "select event.id, event.at, event.kind, peer.name, event.seq, event.cursor
                 from event join peer on peer.id = event.peer
                 where event.id > ?1 and event.peer <> ?2
                 and (event.kind = 'join' and ?3 or event.kind = 'leave' and ?4 or event.kind = 'delivered' and ?5)
                 order by event.id limit ?6",
            )?,
            kept: connection.prepare(
                "select (select min(id) from event),
                        max(coalesce((select seq from sqlite_sequence where name = 'event'), 0),
                            coalesce((select max(id) from event), 0),
                            coalesce((select max(event) from observer), 0))",
            )?,
            seen: connection.prepare("select min(event) from observer")?,
            forget: connection.prepare("delete from event where id <= ?1")?,
            numbers: None,
            is_more_seen: false,
        })
    }

    /// The newest that there ever was.
    pub(super) fn newest(&mut self) -> rusqlite::Result<i64> {
        Ok(self.numbers()?.newest)
    }

    /// Adds one that happened behind this message.
    pub(super) fn put(&mut self, event: &PeerEvent, seq: Seq) -> rusqlite::Result<()> {
        let numbers = self.numbers()?;
        let id = numbers.newest + 1;
        let (kind, cursor) = match event.kind {
            EventKind::Join => ("join", None),
            EventKind::Leave => ("leave", None),
            EventKind::Delivered(cursor) => ("delivered", Some(cursor.get())),
        };
        self.put.execute(params![id, event.at.millis(), kind, event.peer.get(), seq.get(), cursor])?;
        self.numbers = Some(Numbers { newest: id, added: numbers.added + 1, ..numbers });
        Ok(())
    }

    /// The next events after this one that an observer wants, none of its own.
    pub(super) fn after(
        &mut self,
        event: i64,
        observer: PeerId,
        wants: EventFilter,
    ) -> rusqlite::Result<Vec<KeptEvent>> {
        let EventFilter { logged: _, join, leave, delivered } = wants;
        let next = params![event, observer.get(), join, leave, delivered, OBSERVED_MAX as i64];
        self.after.query_map(next, kept_event)?.collect()
    }

    /// An observer has seen more, or is another one: it is looked which events all have seen.
    pub(super) fn note_seen(&mut self) {
        self.is_more_seen = true;
    }

    /// Forgets some that all have seen, and those that are too many: more than were added, so that it keeps up. The last thing
    /// in a transaction.
    pub(super) fn forget_oldest(&mut self) -> rusqlite::Result<()> {
        let Numbers { oldest, newest, mut seen, added } = self.numbers()?;
        if std::mem::take(&mut self.is_more_seen) {
            seen = self.seen_by_all(newest)?;
        }
        let step = (EVENTS_FORGOTTEN_MAX + 2 * added) as i64;
        let last = seen.max(newest - EVENTS_MAX as i64).min(oldest + step - 1);
        if oldest <= last {
            self.forget.execute([last])?;
        }
        self.numbers = Some(Numbers { oldest: oldest.max(last + 1), newest, seen, added: 0 });
        Ok(())
    }

    /// What was added and forgotten was not.
    pub(super) fn undo(&mut self) {
        (self.numbers, self.is_more_seen) = (None, false);
    }

    fn numbers(&mut self) -> rusqlite::Result<Numbers> {
        if let Some(numbers) = self.numbers {
            return Ok(numbers);
        }
        let (oldest, newest): (Option<i64>, i64) = self.kept.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let seen = self.seen_by_all(newest)?;
        let numbers = Numbers { oldest: oldest.unwrap_or(newest + 1), newest, seen, added: 0 };
        self.numbers = Some(numbers);
        Ok(numbers)
    }

    /// Where nobody wants any, all have been seen.
    fn seen_by_all(&mut self, newest: i64) -> rusqlite::Result<i64> {
        Ok(self.seen.query_row([], |row| row.get::<_, Option<i64>>(0))?.unwrap_or(newest))
    }
}

fn kept_event(row: &Row<'_>) -> rusqlite::Result<KeptEvent> {
    let (id, at) = (row.get(0)?, Timestamp::from_millis(row.get(1)?));
    let name = PeerName::stored(row.get_ref(3)?.as_str()?);
    let seq = Seq::new(row.get(4)?);
    let thing = match row.get_ref(2)?.as_str()? {
        "join" => Observed::Came { event: id, at, name },
        "leave" => Observed::Went { event: id, at, name },
        _ => {
            let cursor = row.get::<_, Option<i64>>(5)?;
            Observed::Delivered { event: id, at, name, seq: cursor.map_or(seq, Seq::new) }
        }
    };
    Ok(KeptEvent { id, seq, thing })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::schema;

    /// A turn with so many events.
    fn turn(events: &mut Events<'_>, count: usize) {
        let event = PeerEvent { at: Timestamp::from_millis(1), kind: EventKind::Join, peer: PeerId::new(1) };
        (0..count).for_each(|_| events.put(&event, Seq::ZERO).unwrap());
        events.note_seen();
        events.forget_oldest().unwrap();
    }

    /// The first and the last that are kept, and how many.
    fn kept(connection: &Connection) -> (i64, i64, usize) {
        let sql = "select coalesce(min(id), 0), coalesce(max(id), 0), count(*) from event";
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)? as usize))).unwrap()
    }

    #[test]
    fn what_all_have_seen_goes_a_few_at_a_time() {
        let home = tempfile::tempdir().unwrap();
        let connection = schema::open(&home.path().join("holdline.db")).unwrap();
        // The third wants no events.
        connection.execute_batch("insert into observer values (1, 0, 0), (2, null, 0), (3, 0, null)").unwrap();
        let mut events = Events::new(&connection).unwrap();
        turn(&mut events, 20);
        assert_eq!(kept(&connection), (1, 20, 20));
        connection.execute_batch("update observer set event = 15 where peer = 1").unwrap();
        turn(&mut events, 0);
        assert_eq!(kept(&connection), (1, 20, 20), "the other has not");
        connection.execute_batch("update observer set event = 10 where peer = 2").unwrap();
        turn(&mut events, 0);
        assert_eq!(kept(&connection), (EVENTS_FORGOTTEN_MAX as i64 + 1, 20, 20 - EVENTS_FORGOTTEN_MAX));
        // What is left goes with turns that have nothing to do with it.
        for _ in 0..10 {
            events.forget_oldest().unwrap();
        }
        assert_eq!(kept(&connection), (11, 20, 10));
        connection.execute_batch("delete from observer").unwrap();
        (0..10).for_each(|_| turn(&mut events, 0));
        assert_eq!(kept(&connection), (0, 0, 0), "nobody wants any");
    }

    #[test]
    fn the_oldest_go_when_they_are_too_many() {
        let home = tempfile::tempdir().unwrap();
        let connection = schema::open(&home.path().join("holdline.db")).unwrap();
        connection.execute_batch("insert into observer values (1, 0, 0)").unwrap();
        let mut events = Events::new(&connection).unwrap();
        connection.execute_batch("begin").unwrap();
        turn(&mut events, EVENTS_MAX);
        assert_eq!(kept(&connection), (1, EVENTS_MAX as i64, EVENTS_MAX));
        turn(&mut events, 7);
        assert_eq!(kept(&connection), (8, EVENTS_MAX as i64 + 7, EVENTS_MAX));
    }

    #[test]
    fn a_number_is_given_once_though_all_are_gone_and_the_server_starts_anew() {
        let home = tempfile::tempdir().unwrap();
        let connection = schema::open(&home.path().join("holdline.db")).unwrap();
        turn(&mut Events::new(&connection).unwrap(), 3);
        assert_eq!(kept(&connection), (0, 0, 0));
        let mut events = Events::new(&connection).unwrap();
        assert_eq!(events.newest().unwrap(), 3);
        connection.execute_batch("insert into observer values (1, 0, 3); begin").unwrap();
        turn(&mut events, 2);
        assert_eq!(kept(&connection), (4, 5, 2));
        connection.execute_batch("rollback").unwrap();
        events.undo();
        turn(&mut events, 1);
        assert_eq!(kept(&connection), (4, 4, 1), "what was not kept has no number");
    }
}
