//! Model of the store and, if requested, the real store beside it: both get the same requests and must answer the same.
//! Owns the comparison; never decides what is requested.

use fastrand::Rng;
use rusqlite::Connection;
use tempfile::TempDir;

use super::disk::{Answers, Disk, injected};
use super::replay::{Recording, assert_same, insert_post};
use crate::config::{Durability, Retention};
use crate::limits::TURN_PAGES_BYTES_MAX;
use crate::store::{
    CommitError, FoundPosts, LookedUp, Lookup, Post, Store, StoreLimits, StoreOptions, TurnOutcome, TurnRequest,
};

/// Model of the store, with the real store to check it against if there is one.
pub(super) struct CheckedStore {
    pub(super) disk: Disk,
    real: Option<RealStore>,
    /// Decides which scans are paused.
    pauses: Rng,
}

/// Real store on a database of its own.
struct RealStore {
    /// `None` only while it is opened again.
    store: Option<Store>,
    data: TempDir,
    limits: StoreLimits,
    recording: Recording,
}

impl CheckedStore {
    pub(super) fn new(durability: Durability, limits: StoreLimits, is_checked: bool, seed: u64) -> Self {
        let (disk, real) = (Disk::new(durability, limits), is_checked.then(|| RealStore::new(limits)));
        CheckedStore { disk, real, pauses: Rng::with_seed(seed) }
    }

    /// Restarts the real store, as after the death of the process.
    pub(super) fn reopen(&mut self) {
        let Some(real) = &mut self.real else { return };
        let store = real.store.take().expect("the store is open");
        let database = store.database;
        store.close().expect("the database is in place");
        let refused = self.disk.refused_posts();
        assert_eq!(
            real.refused().expect("the database can be read"),
            refused,
            "the store and the model hold the same refused rows"
        );
        let store = real.open();
        assert_eq!(store.database, database, "the death of the process takes no commit");
        assert_eq!(store.found, self.disk.found(), "the store and the model start from the same state");
        real.store = Some(store);
    }

    /// Closes the real store, and checks that the serialised entries of all turns rebuild its database.
    pub(super) fn check_replay(mut self) {
        let Some(real) = &mut self.real else { return };
        real.store.take().expect("the store is open").close().expect("the database is in place");
        let replayed = tempfile::tempdir().expect("a temporary directory can be created");
        real.recording.replay(replayed.path(), real.options());
        assert_same(real.data.path(), replayed.path(), real.limits);
    }

    pub(super) fn lookup(&self, lookup: &Lookup) -> LookedUp {
        let found = self.disk.lookup(lookup);
        if let Some(RealStore { store: Some(store), .. }) = &self.real {
            let actual = smol::block_on(store.lookup(lookup.clone()));
            assert_eq!(actual.as_ref(), Ok(&found), "the store and the model answer the same to {lookup:?}");
        }
        found
    }

    /// Returns the next rows of the table `outbox`.
    pub(super) fn posts(&self) -> FoundPosts {
        let found = FoundPosts { posts: self.disk.posts(), purge: None, is_settled: true };
        if let Some(RealStore { store: Some(store), .. }) = &self.real {
            let actual = smol::block_on(store.posts());
            assert_eq!(actual.as_ref(), Ok(&found), "the store and the model read the same rows");
        }
        found
    }

    /// Writes a row into the table `outbox`, as an operator would. Returns its number.
    pub(super) fn insert_post(&mut self, row: impl FnOnce(i64) -> Post) -> i64 {
        let mut inserted = None;
        let number = self.disk.insert_post(|number| inserted.insert(row(number)).clone());
        if let (Some(real), Some(post)) = (&mut self.real, inserted) {
            let inserted = real.connection().and_then(|connection| insert_post(&connection, &post));
            inserted.expect("an operator may write to the database");
            real.recording.outbox_row(post);
        }
        number
    }

    /// Applies a turn. If the disk is full, applies nothing; if it cannot be read, all reads fail.
    pub(super) fn turn(&mut self, request: TurnRequest, is_full: bool, is_unreadable: bool) -> TurnOutcome {
        let TurnRequest { entries, reads } = request;
        let before = self.disk.newest();
        let fails = is_full && !entries.is_empty();
        let applied = if fails { &[][..] } else { &entries[..] };
        if !applied.is_empty() {
            self.disk.commit(applied);
        }
        let read_result = is_unreadable.then(injected).map_or(Ok(()), Err);
        let read_outcome = (!reads.is_empty()).then_some(read_result);
        let floors = self.disk.floors_to_raise(applied);
        let mut answers = Answers::new(is_unreadable, self.real.is_some(), &mut self.pauses);
        let mut page_bytes_left = TURN_PAGES_BYTES_MAX;
        for read in reads {
            self.disk.read(read, &mut page_bytes_left, &mut answers);
        }
        let commit = if fails { Err(CommitError::Storage("injected".into())) } else { Ok(()) };
        let applied = if self.real.is_some() { applied.to_vec() } else { Vec::new() };
        let outcome = TurnOutcome {
            entries,
            commit,
            before,
            newest: self.disk.newest(),
            floors,
            purged: None,
            reads: read_outcome,
        };
        let Answers { reads, checks, .. } = answers;
        self.check(TurnRequest { entries: applied, reads }, &outcome);
        if let Some(RealStore { store: Some(store), .. }) = &self.real {
            checks.into_iter().for_each(|check| check(store));
        }
        outcome
    }

    fn check(&mut self, request: TurnRequest, expected: &TurnOutcome) {
        let Some(RealStore { store: Some(store), recording, .. }) = &mut self.real else { return };
        let applied = request.entries.clone();
        let actual = smol::block_on(store.begin(request).outcome());
        assert!(actual.commit.is_ok(), "the store commits what the model commits: {:?}", actual.commit);
        assert_eq!(actual.entries, applied, "the store returns the entries of the turn");
        recording.turn(&applied);
        assert_eq!(
            (actual.before, actual.newest),
            (expected.before, expected.newest),
            "the store and the model give the same sequence numbers"
        );
    }
}

impl RealStore {
    fn new(limits: StoreLimits) -> Self {
        let mut real = RealStore {
            store: None,
            data: tempfile::tempdir().expect("a temporary directory can be created"),
            limits,
            recording: Recording::default(),
        };
        real.store = Some(real.open());
        real
    }

    fn options(&self) -> StoreOptions {
        StoreOptions { limits: self.limits, ..StoreOptions::new(Durability::Crash, Retention::default()) }
    }

    fn open(&self) -> Store {
        Store::open(self.data.path(), self.options()).expect("it opens")
    }

    fn connection(&self) -> rusqlite::Result<Connection> {
        Connection::open(self.data.path().join("holdline.db"))
    }

    /// The refused rows without their numbers, each with the reason.
    fn refused(&self) -> rusqlite::Result<Vec<(Post, String)>> {
        let connection = self.connection()?;
        let mut rows = connection.prepare(
            "select cast(sender as blob), cast(recipients as blob), cast(text as blob), reason from outbox_refused
             order by rowid",
        )?;
        let rows = rows.query_map([], |row| {
            let post = Post { row: 0, sender: row.get(0)?, recipients: row.get(1)?, text: row.get(2)? };
            Ok((post, row.get(3)?))
        })?;
        rows.collect()
    }
}
