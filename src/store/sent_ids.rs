//! Ids that programs give their messages, so that a repeated request sends nothing twice. Owns the table `sent_id` and how long
//! an id is remembered; never decides how a repeated request is answered.

use rusqlite::{Connection, OptionalExtension, Statement, params};

use super::{FoundId, SendId};
use crate::database::column::{self, integer};
use crate::limits::{SENT_ID_DAYS_MAX, SENT_IDS_REMOVED_PER_ID};
use crate::message::{PeerId, RequestId, Seq, Timestamp};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Prepared statements on the table `sent_id`.
pub(super) struct SentIds<'c> {
    /// Number of ids that are remembered.
    stored_max: usize,
    insert: Statement<'c>,
    find: Statement<'c>,
    bounds: Statement<'c>,
    oldest: Statement<'c>,
    remove: Statement<'c>,
}

impl<'c> SentIds<'c> {
    pub(super) fn new(connection: &'c Connection, stored_max: usize) -> rusqlite::Result<Self> {
        Ok(SentIds {
            stored_max,
            insert: connection.prepare(
                "insert or replace into sent_id (sender, id, seq, at, fingerprint) values (?1, ?2, ?3, ?4, ?5)",
            )?,
            find: connection.prepare("select seq, at, fingerprint from sent_id where sender = ?1 and id = ?2")?,
            bounds: connection.prepare("select coalesce(min(number), 0), coalesce(max(number), 0) from sent_id")?,
            oldest: connection.prepare("select number, at from sent_id order by number limit ?1")?,
            remove: connection.prepare("delete from sent_id where number <= ?1")?,
        })
    }

    /// Finds the message that a sender gave this id.
    pub(super) fn find(&mut self, sender: PeerId, id: &RequestId) -> rusqlite::Result<Option<FoundId>> {
        let found = self.find.query_row(params![sender.get(), id.as_str()], |row| {
            Ok(FoundId {
                seq: column::seq(row, 0)?,
                at: Timestamp::from_millis(integer(row, 1)?),
                fingerprint: integer(row, 2)?,
            })
        });
        found.optional()
    }

    /// Stores the id of a message, in the transaction that logs the message. Replaces what is left of a peer whose row was removed by hand.
    pub(super) fn insert(&mut self, sender: PeerId, id: &SendId, seq: Seq, at: Timestamp) -> rusqlite::Result<()> {
        let row = params![sender.get(), id.id.as_str(), seq.get(), at.millis(), id.fingerprint];
        self.insert.execute(row).map(drop)
    }

    /// Removes the oldest ids if there are too many or they are too old: [`SENT_IDS_REMOVED_PER_ID`] for each that was
    /// `added`, so that it catches up, and never all at once.
    pub(super) fn remove_oldest(&mut self, added: usize, now: Timestamp) -> rusqlite::Result<()> {
        let (first, last): (i64, i64) = self.bounds.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let too_many = last.saturating_sub(self.stored_max as i64);
        let too_old_ms = now.millis() - SENT_ID_DAYS_MAX * DAY_MS;
        let mut removable = first.saturating_sub(1);
        let mut rows = self.oldest.query([(added * SENT_IDS_REMOVED_PER_ID) as i64])?;
        while let Some(row) = rows.next()? {
            let (number, at) = (row.get(0)?, integer(row, 1)?);
            if number > too_many && at > too_old_ms {
                break;
            }
            removable = number;
        }
        drop(rows);
        if removable < first { Ok(()) } else { self.remove.execute([removable]).map(drop) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::schema;

    #[test]
    fn oldest_ids_are_removed_when_there_are_too_many_or_they_are_too_old() {
        let home = tempfile::tempdir().unwrap();
        let connection = schema::open(&home.path().join("holdline.db")).unwrap();
        const STORED_MAX: usize = 100;
        let mut ids = SentIds::new(&connection, STORED_MAX).unwrap();
        let alice = PeerId::new(1);
        let now = Timestamp::from_millis(100 * DAY_MS);
        let id = |number: usize| SendId { id: RequestId::parse(&number.to_string()).unwrap(), fingerprint: 7 };
        // The first two are too old.
        for number in 0..STORED_MAX + 5 {
            let at = if number < 2 { Timestamp::from_millis(DAY_MS) } else { now };
            ids.insert(alice, &id(number), Seq::new(number as i64 + 1), at).unwrap();
        }
        let is_known = |ids: &mut SentIds<'_>, number: usize| ids.find(alice, &id(number).id).unwrap().is_some();
        assert!(is_known(&mut ids, 0));
        ids.remove_oldest(1, now).unwrap();
        assert!(!is_known(&mut ids, 1), "a step removes some of the old ids");
        ids.remove_oldest(1000, now).unwrap();
        assert!(!is_known(&mut ids, 4) && is_known(&mut ids, 5), "the newest ids stay, up to the limit");
        ids.remove_oldest(1000, Timestamp::from_millis(now.millis() + DAY_MS)).unwrap();
        assert!(is_known(&mut ids, 5));
        ids.remove_oldest(1000, Timestamp::from_millis(now.millis() + 31 * DAY_MS)).unwrap();
        assert!(!is_known(&mut ids, STORED_MAX + 4), "all ids are too old");
        let found = ids.find(alice, &id(STORED_MAX + 4).id).unwrap();
        assert_eq!(found, None);
    }
}
