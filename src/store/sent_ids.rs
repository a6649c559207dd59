//! Ids that programs give their messages, so that a repeated request sends nothing twice. Owns the table `sent_id` and how long
//! an id is remembered, and the table `running`, by which it expires; never decides how a repeated request is answered.
//!
//! A sender whose share of the ids is used up forgets its own oldest ids with each new one, and never another sender's. What is removed
//! follows from the tables alone, so that the same entries always leave the same rows.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Statement, params};

use super::{FoundId, SendId, found};
use crate::database::column::{self, integer};
use crate::limits::{RUNNING_SAVE_S, SENT_ID_DAYS_MAX, SENT_IDS_REMOVED_PER_ID};
use crate::message::{PeerId, RequestId, Seq, Timestamp};
use crate::shares::{Holder, Shares};
use crate::source::Source;

/// Source of senders whose source is not known.
const UNKNOWN: Source = Source::Operator;

/// Running time in seconds from which on an id is forgotten. That of each id was noted up to [`RUNNING_SAVE_S`] before it was accepted.
const REMEMBERED_S: u64 = SENT_ID_DAYS_MAX * 24 * 60 * 60 + RUNNING_SAVE_S;

/// Prepared statements on the table `sent_id`.
pub(super) struct SentIds<'c> {
    /// Number of ids of one sender alone that are remembered.
    stored_max: usize,
    /// Counts of the ids in the table; `None` until they are needed, and after a transaction that failed.
    counts: Option<IdCounts>,
    /// Seconds for which servers have run, as noted; `None` until they are needed, and after a transaction that failed.
    ran_s: Option<u64>,
    insert: Statement<'c>,
    find: Statement<'c>,
    count: Statement<'c>,
    source: Statement<'c>,
    oldest: Statement<'c>,
    oldest_of: Statement<'c>,
    remove: Statement<'c>,
    running_time: Statement<'c>,
    set_running_time: Statement<'c>,
    remove_of: Statement<'c>,
}

/// Ids in the table, by sender and source.
#[derive(Default)]
struct IdCounts {
    shares: Shares,
    /// Sources of the senders that have ids.
    sources: HashMap<PeerId, Source>,
}

impl<'c> SentIds<'c> {
    pub(super) fn new(connection: &'c Connection, stored_max: usize) -> rusqlite::Result<Self> {
        Ok(SentIds {
            stored_max,
            counts: None,
            ran_s: None,
            insert: connection.prepare(
                "insert or replace into sent_id (sender, id, seq, at, fingerprint, ran) values (?1, ?2, ?3, ?4, ?5, ?6)",
            )?,
            find: connection.prepare("select seq, at, fingerprint from sent_id where sender = ?1 and id = ?2")?,
            count: connection.prepare(
                "select sent.sender, peer.source, sent.ids
                 from (select sender, count(*) as ids from sent_id group by sender) as sent
                 left join peer on peer.id = sent.sender",
            )?,
            source: connection.prepare("select source from peer where id = ?1")?,
            oldest: connection.prepare("select number, ran, sender from sent_id order by number limit ?1")?,
            oldest_of: connection.prepare("select min(number) from sent_id where sender = ?1")?,
            remove: connection.prepare("delete from sent_id where number = ?1")?,
            running_time: connection.prepare("select max(seconds) from running where rowid = 1")?,
            set_running_time: connection.prepare("insert or replace into running (rowid, seconds) values (1, ?1)")?,
            remove_of: connection.prepare(
                "delete from sent_id where number in (select number from sent_id where sender = ?1 limit ?2)",
            )?,
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

    /// Stores the id of a message, in the transaction that logs the message. If the share of its sender is used up, removes the oldest
    /// ids of the sender, at most [`SENT_IDS_REMOVED_PER_ID`]. Replaces what is left of a peer whose row was removed by hand.
    pub(super) fn insert(&mut self, sender: PeerId, id: &SendId, seq: Seq, at: Timestamp) -> rusqlite::Result<()> {
        let holder = self.holder(sender)?;
        for _ in 0..SENT_IDS_REMOVED_PER_ID {
            let usage = self.counts()?.shares.usage(holder);
            if usage.sender == 0 || usage.admits(self.stored_max as u64, 1) {
                break;
            }
            let number: Option<i64> = self.oldest_of.query_row([sender.get()], |row| row.get(0))?;
            let Some(number) = number else {
                // An operator has removed rows by hand.
                self.counts = None;
                break;
            };
            self.remove(number, holder)?;
        }
        let ran = self.running_time()?.cast_signed();
        let row = params![sender.get(), id.id.as_str(), seq.get(), at.millis(), id.fingerprint, ran];
        self.insert.execute(row)?;
        self.counts()?.shares.add(Some(holder), 1);
        Ok(())
    }

    /// Removes the oldest ids if they are too old: [`SENT_IDS_REMOVED_PER_ID`] for each that was `added`, so that it catches up, and never
    /// all at once. Also if there are many more than all senders may have together, each of which may always have one.
    pub(super) fn remove_oldest(&mut self, added: usize) -> rusqlite::Result<()> {
        let now = self.running_time()?;
        let rows = self.oldest.query_map([(added * SENT_IDS_REMOVED_PER_ID) as i64], |row| {
            Ok((row.get(0)?, column::number(row, 1)?, column::peer(row, 2)?))
        })?;
        for (number, ran, sender) in rows.collect::<rusqlite::Result<Vec<(i64, i64, PeerId)>>>()? {
            let is_young = now.saturating_sub(ran.cast_unsigned()) < REMEMBERED_S;
            if is_young && self.counts()?.shares.all() <= 5 * self.stored_max as u64 {
                break;
            }
            let holder = self.holder(sender)?;
            self.remove(number, holder)?;
        }
        Ok(())
    }

    /// Removes ids of a sender whose row is removed, at most `count`. Returns their number.
    pub(super) fn remove_of(&mut self, sender: PeerId, count: usize) -> rusqlite::Result<usize> {
        let removed = self.remove_of.execute(params![sender.get(), count as i64])?;
        if removed > 0 && self.counts.is_some() {
            let holder = self.holder(sender)?;
            self.counts()?.shares.remove(Some(holder), removed as u64);
        }
        Ok(removed)
    }

    /// Notes that a peer logged in from another source.
    pub(super) fn set_source(&mut self, peer: PeerId, source: Source) {
        let Some(IdCounts { shares, sources }) = &mut self.counts else { return };
        let Some(before) = sources.get_mut(&peer) else { return };
        let holder = Holder { sender: peer, source: std::mem::replace(before, source) };
        let ids = shares.usage(holder).sender;
        if ids > 0 {
            shares.remove(Some(holder), ids);
            shares.add(Some(Holder { source, ..holder }), ids);
        }
    }

    /// Notes how long servers have run with this database.
    pub(super) fn note_running_time(&mut self, seconds: u64) -> rusqlite::Result<()> {
        let seconds = self.running_time()?.max(seconds);
        self.set_running_time.execute([seconds.cast_signed()])?;
        self.ran_s = Some(seconds);
        Ok(())
    }

    /// Forgets what was counted and noted, after the rollback of a transaction.
    pub(super) fn rolled_back(&mut self) {
        self.counts = None;
        self.ran_s = None;
    }

    fn running_time(&mut self) -> rusqlite::Result<u64> {
        if self.ran_s.is_none() {
            self.ran_s = Some(self.running_time.query_row([], |row| column::number(row, 0))?.cast_unsigned());
        }
        Ok(self.ran_s.expect("the running time was just read"))
    }

    fn remove(&mut self, number: i64, holder: Holder) -> rusqlite::Result<()> {
        let rows = self.remove.execute([number])?;
        self.counts()?.shares.remove(Some(holder), rows as u64);
        Ok(())
    }

    fn holder(&mut self, sender: PeerId) -> rusqlite::Result<Holder> {
        if let Some(source) = self.counts()?.sources.get(&sender) {
            return Ok(Holder { sender, source: *source });
        }
        let source = self.source.query_row([sender.get()], |row| found::source(row, 0)).optional()?;
        let source = source.flatten().unwrap_or(UNKNOWN);
        self.counts()?.sources.insert(sender, source);
        Ok(Holder { sender, source })
    }

    fn counts(&mut self) -> rusqlite::Result<&mut IdCounts> {
        if self.counts.is_none() {
            let mut counts = IdCounts::default();
            let mut rows = self.count.query([])?;
            while let Some(row) = rows.next()? {
                let source = found::source(row, 1)?.unwrap_or(UNKNOWN);
                let holder = Holder { sender: column::peer(row, 0)?, source };
                counts.sources.insert(holder.sender, holder.source);
                counts.shares.add(Some(holder), row.get::<_, i64>(2)?.cast_unsigned());
            }
            self.counts = Some(counts);
        }
        Ok(self.counts.as_mut().expect("the counts were just read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::schema;

    const STORED_MAX: usize = 100;

    fn id(number: usize) -> SendId {
        SendId { id: RequestId::parse(&number.to_string()).unwrap(), fingerprint: 7 }
    }

    fn open() -> (tempfile::TempDir, Connection) {
        let home = tempfile::tempdir().unwrap();
        let connection = schema::open(&home.path().join("holdline.db")).unwrap();
        // One transaction: a commit for each id would take long.
        connection.execute_batch("begin").unwrap();
        (home, connection)
    }

    /// Time at which messages are accepted.
    const AT: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    /// Gives ids to messages of a sender, and counts how many are remembered.
    fn send(ids: &mut SentIds<'_>, sender: i64, count: usize) -> usize {
        for number in 0..count {
            ids.insert(PeerId::new(sender), &id(number), Seq::new(number as i64 + 1), AT).unwrap();
            ids.remove_oldest(1).unwrap();
        }
        (0..count).filter(|number| is_known(ids, sender, *number)).count()
    }

    fn is_known(ids: &mut SentIds<'_>, sender: i64, number: usize) -> bool {
        ids.find(PeerId::new(sender), &id(number).id).unwrap().is_some()
    }

    #[test]
    fn sender_alone_has_the_newest_ids_up_to_the_limit() {
        let (_home, connection) = open();
        let mut ids = SentIds::new(&connection, STORED_MAX).unwrap();
        assert_eq!(send(&mut ids, 1, 3 * STORED_MAX), STORED_MAX);
        assert!(!is_known(&mut ids, 1, 2 * STORED_MAX - 1) && is_known(&mut ids, 1, 2 * STORED_MAX));
    }

    #[test]
    fn strangers_with_many_names_never_make_another_sender_forget() {
        let (_home, connection) = open();
        for (peer, source) in (1..=200).map(|peer| (peer, if peer == 1 { "192.0.2.1" } else { "192.0.2.2" })) {
            let row = params![peer, format!("p{peer}"), source];
            connection.execute("insert into peer (id, name, source) values (?1, ?2, ?3)", row).unwrap();
        }
        let mut ids = SentIds::new(&connection, STORED_MAX).unwrap();
        assert_eq!(send(&mut ids, 1, 50), 50);
        for stranger in 2..=200 {
            send(&mut ids, stranger, STORED_MAX / 2);
        }
        assert!((0..50).all(|number| is_known(&mut ids, 1, number)), "the ids of the victim");
        let stored: i64 = connection.query_row("select count(*) from sent_id", [], |row| row.get(0)).unwrap();
        assert!(stored <= 5 * STORED_MAX as i64, "{stored} ids");
        // After a restart, or when the counts were lost, they are the same.
        ids.rolled_back();
        send(&mut ids, 2, STORED_MAX);
        assert!((0..50).all(|number| is_known(&mut ids, 1, number)));
    }

    #[test]
    fn ids_move_with_the_source_of_their_sender() {
        let (_home, connection) = open();
        connection.execute("insert into peer (id, name, source) values (1, 'a', '192.0.2.1')", []).unwrap();
        let mut ids = SentIds::new(&connection, STORED_MAX).unwrap();
        send(&mut ids, 1, 10);
        let [before, after] = ["192.0.2.1", "192.0.2.2"].map(|source| source.parse().unwrap());
        ids.set_source(PeerId::new(1), after);
        let usage = |ids: &mut SentIds<'_>, source| {
            ids.counts().unwrap().shares.usage(Holder { sender: PeerId::new(1), source }).source
        };
        assert_eq!((usage(&mut ids, before), usage(&mut ids, after)), (0, 10));
    }

    /// Seconds of 30 days.
    const DAYS_30_S: u64 = 30 * 24 * 60 * 60;

    #[test]
    fn ids_are_removed_after_thirty_days_of_running_time_whatever_the_clock_shows() {
        let (_home, connection) = open();
        let mut ids = SentIds::new(&connection, STORED_MAX).unwrap();
        for number in 0..10 {
            if number == 2 {
                ids.note_running_time(3 * RUNNING_SAVE_S).unwrap();
            }
            let at = if number < 2 { Timestamp::from_millis(30_000) } else { AT };
            ids.insert(PeerId::new(1), &id(number), Seq::new(number as i64 + 1), at).unwrap();
        }
        ids.note_running_time(DAYS_30_S).unwrap();
        ids.remove_oldest(1000).unwrap();
        assert!((0..10).all(|number| is_known(&mut ids, 1, number)), "the running time is noted once an hour");
        ids.note_running_time(DAYS_30_S + RUNNING_SAVE_S).unwrap();
        // Never decreases.
        ids.note_running_time(5).unwrap();
        ids.remove_oldest(1).unwrap();
        assert!(!is_known(&mut ids, 1, 1) && is_known(&mut ids, 1, 2));
        ids.note_running_time(DAYS_30_S + 4 * RUNNING_SAVE_S).unwrap();
        ids.remove_oldest(1000).unwrap();
        assert!(!is_known(&mut ids, 1, 9), "all ids are too old");
        assert_eq!(ids.counts().unwrap().shares.all(), 0);
    }

    #[test]
    fn running_time_of_a_failed_transaction_counts_no_more() {
        let (_home, connection) = open();
        connection.execute_batch("commit; begin").unwrap();
        let mut ids = SentIds::new(&connection, STORED_MAX).unwrap();
        ids.note_running_time(2 * DAYS_30_S).unwrap();
        connection.execute_batch("rollback").unwrap();
        ids.rolled_back();
        assert_eq!(ids.running_time().unwrap(), 0);
        // A row that was written by hand counts as no time.
        connection.execute("update running set seconds = 'x'", []).unwrap();
        ids.rolled_back();
        assert_eq!(ids.running_time().unwrap(), 0);
    }
}
