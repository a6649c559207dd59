//! Checks of the database as a file: its schema version, its pages, the names of its tables, its settings and its size. Never
//! reads the rows of a table.

use rusqlite::Connection;

use super::Finding;
use crate::archive::read_only::ReadOnlyDatabase;
use crate::database::at_rest::beside;
use crate::database::schema::{self, APPLICATION_ID, MIGRATIONS};
use crate::database::words::size;
use crate::limits::{EXAMINATION_CACHE_BYTES_MAX, FAULTS_NAMED_MAX};
use crate::message::quoted;
use crate::trust::for_shell;

/// Checks the file. Returns the findings, and whether its tables can be queried.
pub(super) fn check(database: &ReadOnlyDatabase) -> (Vec<Finding>, bool) {
    let mut findings = Vec::new();
    let can_be_queried = try_check(database, &mut findings).unwrap_or_else(|error| {
        findings.push(damaged(database, &[error.to_string()]));
        false
    });
    (findings, can_be_queried)
}

fn try_check(database: &ReadOnlyDatabase, findings: &mut Vec<Finding>) -> rusqlite::Result<bool> {
    let connection = database.connection();
    connection.pragma_update(None, "cache_size", -(EXAMINATION_CACHE_BYTES_MAX as i64 / 1024))?;
    let version = schema::version(connection)?;
    findings.push(check_version(database, version));
    if version == 0 {
        return Ok(false);
    }
    let faults = faults_of_pages(connection)?;
    findings.push(if faults.is_empty() {
        Finding::ok("every page of the database is whole")
    } else {
        damaged(database, &faults)
    });
    if !faults.is_empty() {
        return Ok(false);
    }
    findings.extend(check_tables(database, version)?);
    findings.push(check_settings(database)?);
    findings.push(check_size(database)?);
    Ok(version == MIGRATIONS.len() as i64)
}

fn check_version(database: &ReadOnlyDatabase, version: i64) -> Finding {
    let path = database.path().display();
    let known = MIGRATIONS.len() as i64;
    match version {
        0 => Finding::note(format!("{path} is empty: no server has used it yet")),
        _ if version < known => Finding::note(format!("{path} is a database of holdline, schema version {version}"))
            .advise(format!(
                "the next start upgrades it to version {known}; run doctor again after that to examine its rows"
            )),
        _ => Finding::ok(format!("{path} is a database of holdline, schema version {version}")),
    }
}

/// Returns SQLite's reports on damaged pages and indexes; empty if there are none.
fn faults_of_pages(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut check = connection.prepare(&format!("pragma integrity_check({FAULTS_NAMED_MAX})"))?;
    let reports = check.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    Ok(if reports == ["ok"] { Vec::new() } else { reports })
}

/// Reports damage. An index can be rebuilt from its table; any other damage needs a backup.
fn damaged(database: &ReadOnlyDatabase, faults: &[String]) -> Finding {
    let named = faults.iter().flat_map(|fault| fault.lines()).take(FAULTS_NAMED_MAX).map(one_line);
    let what = format!("{} is damaged: {}", database.path().display(), named.collect::<Vec<_>>().join("; "));
    if faults.iter().all(|fault| fault.contains("index ")) {
        return Finding::problem(what)
            .advise("an index does not match its table; this rebuilds it")
            .with_sql(database.path(), "reindex");
    }
    Finding::problem(what)
        .advise("restore a backup; without one, save what can still be read, and examine that with --data=recovered")
        .with_offline_command(recovery_command(database))
}

/// Returns a command that copies the readable rows into a new database. It does not use `.recover`, which many builds of the
/// sqlite3 shell lack. A dump of a damaged table ends with a rollback, so that is replaced by a commit.
fn recovery_command(database: &ReadOnlyDatabase) -> String {
    let version = schema::version(database.connection()).unwrap_or(MIGRATIONS.len() as i64);
    let pragmas = format!(
        "pragma auto_vacuum = incremental; pragma application_id = {APPLICATION_ID}; pragma user_version = {version};"
    );
    let dump = format!("sqlite3 -readonly {} .dump | sed 's/^ROLLBACK.*/COMMIT;/'", for_shell(database.path()));
    format!("umask 077; mkdir recovered; (echo '{pragmas}'; {dump}) | sqlite3 recovered/holdline.db")
}

fn one_line(report: &str) -> String {
    report.trim().replace('\n', " ")
}

/// Compares the names of tables, indexes, views and triggers with those that the migrations create.
fn check_tables(database: &ReadOnlyDatabase, version: i64) -> rusqlite::Result<Vec<Finding>> {
    let expected = Connection::open_in_memory()?;
    for migration in &MIGRATIONS[..version as usize] {
        expected.execute_batch(migration)?;
    }
    let (expected, found) = (objects(&expected)?, objects(database.connection())?);
    let is_in = |object: &SchemaObject, objects: &[SchemaObject]| objects.iter().any(|other| other.name == object.name);
    let missing = expected.iter().filter(|object| !is_in(object, &found)).map(|object| object.missing(database));
    let foreign = found.iter().filter(|object| !is_in(object, &expected)).map(SchemaObject::foreign);
    Ok(missing.chain(foreign).collect())
}

/// Table, index, view or trigger.
struct SchemaObject {
    kind: String,
    name: String,
    sql: String,
}

fn objects(connection: &Connection) -> rusqlite::Result<Vec<SchemaObject>> {
    connection
        .prepare("select type, name, sql from sqlite_schema where name not like 'sqlite^_%' escape '^' order by name")?
        .query_map([], |row| Ok(SchemaObject { kind: row.get(0)?, name: row.get(1)?, sql: row.get(2)? }))?
        .collect()
}

impl SchemaObject {
    fn missing(&self, database: &ReadOnlyDatabase) -> Finding {
        let fault = Finding::problem(format!("the {} {} is missing", self.kind, self.name));
        if self.kind == "table" {
            fault.advise("its rows are lost: restore a backup")
        } else {
            fault.with_sql(database.path(), &self.sql)
        }
    }

    fn foreign(&self) -> Finding {
        Finding::note(format!("the {} {} does not belong to holdline", self.kind, quoted(&self.name))).advise(
            "if you made it: it may slow the server down or keep it from writing, and a newer version may not work with it",
        )
    }
}

fn check_settings(database: &ReadOnlyDatabase) -> rusqlite::Result<Finding> {
    const INCREMENTAL: i64 = 2;
    let gives_back = schema::pragma_number(database.connection(), "auto_vacuum")? == INCREMENTAL;
    Ok(match (database.is_in_wal_mode(), gives_back) {
        (true, true) => Finding::ok("the database is in WAL mode, and can return free space a little at a time"),
        (false, true) => {
            Finding::note("the database is not in WAL mode, like a backup").advise("the next start changes that")
        }
        (_, false) => Finding::warning(
            "the database cannot return the space of removed messages (auto_vacuum is not incremental)",
        )
        .with_sql(database.path(), "pragma auto_vacuum = incremental; vacuum"),
    })
}

fn check_size(database: &ReadOnlyDatabase) -> rusqlite::Result<Finding> {
    let number = |pragma| schema::pragma_number(database.connection(), pragma).map(|number| number as u64);
    let page = number("page_size")?;
    let (file, free) = (number("page_count")? * page, number("freelist_count")? * page);
    let wal = beside(database.path(), "-wal").metadata().map_or(0, |metadata| metadata.len());
    let (file, free, wal) = (size(file), size(free), size(wal));
    Ok(Finding::ok(format!("the database has {file}, {free} of that free; its write-ahead log (-wal) has {wal}")))
}
