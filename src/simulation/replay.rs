//! Replay of a run: the serialised entries of its turns, applied to an empty database, rebuild the database of the run. Owns the recording
//! and the comparison; never runs a broker.
//!
//! All tables must be equal row by row, except the caches that follow the log at their own pace. These are brought up to date in both
//! databases first, and then must say the same: `inbox`, `peer.sent` and `indexed` (closing the store does it), and the search index with
//! `searched`. The rows of `inbox` may be cut at other places, and may still name messages that were removed.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use crate::database::schema;
use crate::database::search::LazySearchIndex;
use crate::message::Seq;
use crate::store::{Entry, Post, Store, StoreLimits, StoreOptions, TurnRequest};

/// Everything that changed the database of a run, in order. Restarts are not recorded: they change nothing.
#[derive(Default)]
pub(super) struct Recording(Vec<Change>);

enum Change {
    /// Entries of a committed turn, serialised.
    Turn(Vec<Vec<u8>>),
    /// Row that an operator inserted into the table `outbox`.
    OutboxRow(Post),
}

impl Recording {
    /// Records the entries of a committed turn.
    pub(super) fn turn(&mut self, entries: &[Entry]) {
        let serialised = entries.iter().map(|entry| {
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            bytes
        });
        self.0.push(Change::Turn(serialised.collect()));
    }

    /// Records a row that an operator inserted into the table `outbox`.
    pub(super) fn outbox_row(&mut self, row: Post) {
        self.0.push(Change::OutboxRow(row));
    }

    /// Applies the recording to an empty database.
    pub(super) fn replay(&self, data: &Path, options: StoreOptions) {
        let store = Store::open(data, options).expect("the store opens");
        for change in &self.0 {
            match change {
                Change::Turn(serialised) => {
                    let entries = serialised.iter().map(|bytes| Entry::decode(bytes).expect("the bytes are an entry"));
                    let request = TurnRequest { entries: entries.collect(), reads: Vec::new() };
                    let outcome = smol::block_on(store.begin(request).outcome());
                    assert!(outcome.commit.is_ok(), "the entries can be applied: {:?}", outcome.commit);
                }
                Change::OutboxRow(row) => insert_post(&open(data), row).expect("an operator may write to the database"),
            }
        }
        store.close().expect("the database is in place");
    }
}

/// Inserts a row into the table `outbox`, as an operator does.
pub(super) fn insert_post(connection: &Connection, post: &Post) -> rusqlite::Result<()> {
    let row = params![post.row, post.sender, post.recipients, post.text];
    let insert = "insert into outbox (rowid, sender, recipients, text)
                  values (?1, cast(?2 as text), cast(?3 as text), cast(?4 as text))";
    connection.execute(insert, row).map(drop)
}

/// Compares the databases of two data directories whose stores are closed.
pub(super) fn assert_same(data: &Path, other: &Path, limits: StoreLimits) {
    let databases = [data, other].map(open);
    databases.iter().for_each(|database| complete_search(database, limits));
    let tables = databases.each_ref().map(tables);
    assert_eq!(tables[0], tables[1], "the tables");
    for table in &tables[0] {
        let [rows, replayed] = databases.each_ref().map(|database| rows(database, &contents(table)));
        assert_eq!(rows, replayed, "the rows of {table}");
    }
    let [rows, replayed] = databases.each_ref().map(searchable);
    assert_eq!(rows, replayed, "the search index");
}

fn open(data: &Path) -> Connection {
    Connection::open(data.join("holdline.db")).expect("the database opens")
}

/// All tables but the identity, which each database has of its own, and the parts of the search index.
fn tables(database: &Connection) -> BTreeSet<String> {
    let sql = "select name from sqlite_schema
               where type = 'table' and name <> 'identity' and (name not like 'search%' or name = 'searched')";
    let mut tables = database.prepare(sql).expect("the query fits the schema");
    let tables = tables.query_map([], |row| row.get(0)).expect("the schema can be read");
    tables.collect::<rusqlite::Result<_>>().expect("the schema can be read")
}

/// Query for the rows of a table, in a fixed order.
fn contents(table: &str) -> String {
    match table {
        "inbox" => "select recipient, entry.value from inbox join json_each(seqs) as entry
                    join message on message.seq = entry.value order by 1, 2"
            .to_owned(),
        // The order is that of the rowids, or of the primary key; it must be the same, too.
        table => format!("select * from {table}"),
    }
}

/// Reads rows, each value as SQL would write it. A text may be any bytes.
fn rows(database: &Connection, sql: &str) -> Vec<Vec<String>> {
    let mut statement = database.prepare(sql).expect("the query fits the schema");
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|column| row.get_ref(column).map(literal)).collect());
    rows.expect("the table can be read").collect::<rusqlite::Result<_>>().expect("the table can be read")
}

fn literal(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) => format!("'{}'", text.escape_ascii()),
        ValueRef::Blob(bytes) => format!("x'{}'", bytes.escape_ascii()),
    }
}

/// Adds the rest of the log to the search index.
fn complete_search(database: &Connection, limits: StoreLimits) {
    let newest = database.query_row(&format!("select {}", schema::NEWEST), [], |row| row.get(0).map(Seq::new));
    let newest = newest.expect("the log can be read");
    let mut search = LazySearchIndex::new(database, limits.search);
    let search = search.open().expect("the search index opens");
    while !search.step(newest).expect("messages can be added to the search index") {
        search.committed();
    }
    search.committed();
    database.execute_batch("insert into search (search) values ('optimize')").expect("the index can be merged");
}

/// Returns the search index of a database whose store is closed, and the same made anew from its messages.
pub(super) fn searchable_rebuilt(data: &Path, limits: StoreLimits) -> [Vec<Vec<String>>; 2] {
    let database = open(data);
    complete_search(&database, limits);
    let actual = searchable(&database);
    let anew = "drop table temp.token; insert into search (search) values ('delete-all'); update searched set seq = 0";
    database.execute_batch(anew).expect("an operator may write to the database");
    complete_search(&database, limits);
    [actual, searchable(&database)]
}

/// Every token of the search index with the messages that have it.
fn searchable(database: &Connection) -> Vec<Vec<String>> {
    let vocabulary = "create virtual table temp.token using fts5vocab(main, search, instance)";
    database.execute_batch(vocabulary).expect("SQLite has fts5vocab");
    rows(database, "select term, doc from temp.token order by 1, 2")
}
