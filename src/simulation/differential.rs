//! The model of the store, and beside it, where that is wanted, the real one: both are asked the same, and must answer the
//! same. Owns the comparison; never decides what is asked.

use rusqlite::{Connection, params};
use tempfile::TempDir;

use super::disk::{Answers, Disk, injected};
use crate::config::{Durability, Retention};
use crate::limits::TURN_PAGES_BYTES_MAX;
use crate::store::{
    CommitError, FoundPosts, LookedUp, Lookup, Post, Store, StoreLimits, StoreOptions, TurnOutcome, TurnRequest,
};

/// A model that is checked against the real store, or trusted.
pub(super) struct CheckedStore {
    pub(super) disk: Disk,
    real: Option<Real>,
}

/// A database of its own.
struct Real {
    /// `None` only while it is opened again.
    store: Option<Store>,
    data: TempDir,
    limits: StoreLimits,
}

impl CheckedStore {
    pub(super) fn new(durability: Durability, limits: StoreLimits, is_checked: bool) -> Self {
        CheckedStore { disk: Disk::new(durability, limits), real: is_checked.then(|| Real::new(limits)) }
    }

    /// The process dies and starts anew.
    pub(super) fn reopen(&mut self) {
        let Some(real) = &mut self.real else { return };
        real.store.take().expect("it is open").close();
        let refused = self.disk.refused_posts();
        assert_eq!(real.refused().expect("it can be read"), refused, "the store keeps what it refused");
        let store = real.open();
        assert_eq!(store.found, self.disk.found(), "the store finds what the model finds");
        real.store = Some(store);
    }

    pub(super) fn lookup(&self, lookup: &Lookup) -> LookedUp {
        let found = self.disk.lookup(lookup);
        if let Some(Real { store: Some(store), .. }) = &self.real {
            let really = smol::block_on(store.lookup(lookup.clone()));
            assert_eq!(really.as_ref(), Ok(&found), "the store knows {lookup:?} as the model does");
        }
        found
    }

    /// What stands in the table `outbox`.
    pub(super) fn posts(&self) -> FoundPosts {
        let found = FoundPosts { posts: self.disk.posts(), is_settled: true };
        if let Some(Real { store: Some(store), .. }) = &self.real {
            let really = smol::block_on(store.posts());
            assert_eq!(really.as_ref(), Ok(&found), "the store reads the rows that the model reads");
        }
        found
    }

    /// Somebody writes a row into the table `outbox`. Says which.
    pub(super) fn insert_post(&mut self, row: impl FnOnce(i64) -> Post) -> i64 {
        let mut inserted = None;
        let number = self.disk.insert_post(|number| inserted.insert(row(number)).clone());
        if let (Some(real), Some(post)) = (&self.real, inserted) {
            real.insert(&post).expect("whoever has a shell may write to the database");
        }
        number
    }

    /// Applies a turn, or only reads if the disk is full. If it cannot be read, all reads fail.
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
        let mut answers = Answers::new(is_unreadable, self.real.is_some());
        let mut page_bytes_left = TURN_PAGES_BYTES_MAX;
        for read in reads {
            self.disk.read(read, &mut page_bytes_left, &mut answers);
        }
        let commit = if fails { Err(CommitError::Storage("injected".into())) } else { Ok(()) };
        let applied = if self.real.is_some() { applied.to_vec() } else { Vec::new() };
        let outcome = TurnOutcome { entries, commit, before, newest: self.disk.newest(), reads: read_outcome };
        self.check(TurnRequest { entries: applied, reads: answers.reads }, &outcome);
        answers.checks.into_iter().for_each(|check| check());
        outcome
    }

    fn check(&self, request: TurnRequest, expected: &TurnOutcome) {
        let Some(Real { store: Some(store), .. }) = &self.real else { return };
        let applied = request.entries.clone();
        let really = smol::block_on(store.begin(request).outcome());
        assert!(really.commit.is_ok(), "the store committed: {:?}", really.commit);
        assert_eq!(really.entries, applied, "the store hands the entries back");
        assert_eq!(
            (really.before, really.newest),
            (expected.before, expected.newest),
            "the store counts as the model does"
        );
    }
}

impl Real {
    fn new(limits: StoreLimits) -> Self {
        let mut real = Real { store: None, data: tempfile::tempdir().expect("there is room for one"), limits };
        real.store = Some(real.open());
        real
    }

    fn open(&self) -> Store {
        let options =
            StoreOptions { limits: self.limits, ..StoreOptions::new(Durability::Crash, Retention::default()) };
        Store::open(self.data.path(), options).expect("it opens")
    }

    fn connection(&self) -> rusqlite::Result<Connection> {
        Connection::open(self.data.path().join("holdline.db"))
    }

    fn insert(&self, post: &Post) -> rusqlite::Result<()> {
        let row = params![post.row, post.sender, post.recipients, post.text];
        let insert = "insert into outbox (rowid, sender, recipients, text)
                      values (?1, cast(?2 as text), cast(?3 as text), cast(?4 as text))";
        self.connection()?.execute(insert, row).map(drop)
    }

    /// The rows that were refused, without their numbers, and why.
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
