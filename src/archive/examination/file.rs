//! The database as a file: its version, whether it is whole, its tables, its settings, and how large it is. Owns these
//! checks; never asks what is in the tables.

use rusqlite::Connection;

use super::{Finding, for_shell};
use crate::archive::read_only::{ReadOnlyDatabase, beside};
use crate::database::schema::{self, APPLICATION_ID, MIGRATIONS};
use crate::database::words::size;
use crate::limits::{EXAMINATION_CACHE_BYTES_MAX, FAULTS_NAMED_MAX};
use crate::message::quoted;

/// What is so about the file, and whether its tables can be asked.
pub(super) fn look(database: &ReadOnlyDatabase) -> (Vec<Finding>, bool) {
    let mut findings = Vec::new();
    let can_be_asked = try_look(database, &mut findings).unwrap_or_else(|error| {
        findings.push(damaged(database, &[error.to_string()]));
        false
    });
    (findings, can_be_asked)
}

fn try_look(database: &ReadOnlyDatabase, findings: &mut Vec<Finding>) -> rusqlite::Result<bool> {
    let connection = database.connection();
    connection.pragma_update(None, "cache_size", -(EXAMINATION_CACHE_BYTES_MAX as i64 / 1024))?;
    let version = schema::version(connection)?;
    findings.push(look_at_version(database, version));
    if version == 0 {
        return Ok(false);
    }
    let faults = faults_of_pages(connection)?;
    findings.push(if faults.is_empty() {
        Finding::fine("every page of it is whole")
    } else {
        damaged(database, &faults)
    });
    if !faults.is_empty() {
        return Ok(false);
    }
    findings.extend(look_at_tables(database, version)?);
    findings.push(look_at_settings(database)?);
    findings.push(look_at_size(database)?);
    Ok(version == MIGRATIONS.len() as i64)
}

fn look_at_version(database: &ReadOnlyDatabase, version: i64) -> Finding {
    let path = database.path().display();
    let known = MIGRATIONS.len() as i64;
    match version {
        0 => Finding::note(format!("{path} is empty: no server has used it yet")),
        _ if version < known => Finding::note(format!("{path} is a database of holdline, schema version {version}"))
            .advise(format!("the next start brings it to version {known}; its rows are examined after that")),
        _ => Finding::fine(format!("{path} is a database of holdline, schema version {version}")),
    }
}

/// What SQLite says of pages and indexes that are not as they should be; empty: all are.
fn faults_of_pages(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut check = connection.prepare(&format!("pragma integrity_check({FAULTS_NAMED_MAX})"))?;
    let said = check.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    Ok(if said == ["ok"] { Vec::new() } else { said })
}

/// An index alone can be made anew from its table; for all else there is the backup.
fn damaged(database: &ReadOnlyDatabase, faults: &[String]) -> Finding {
    let named = faults.iter().flat_map(|fault| fault.lines()).take(FAULTS_NAMED_MAX).map(one_line);
    let what = format!("{} is damaged: {}", database.path().display(), named.collect::<Vec<_>>().join("; "));
    if faults.iter().all(|fault| fault.contains("index ")) {
        return Finding::problem(what)
            .advise("an index does not fit its table, and can be made anew")
            .mended_by_sql(database.path(), "reindex");
    }
    Finding::problem(what)
        .advise("restore a backup; without one, save what can still be read, and examine that with --data=recovered")
        .mended_at_rest(saving(database))
}

/// Not `.recover`, which the shell of many systems is built without. A dump of a damaged table ends with a rollback.
fn saving(database: &ReadOnlyDatabase) -> String {
    let version = schema::version(database.connection()).unwrap_or(MIGRATIONS.len() as i64);
    let pragmas = format!(
        "pragma auto_vacuum = incremental; pragma application_id = {APPLICATION_ID}; pragma user_version = {version};"
    );
    let dump = format!("sqlite3 -readonly {} .dump | sed 's/^ROLLBACK.*/COMMIT;/'", for_shell(database.path()));
    format!("umask 077; mkdir recovered; (echo '{pragmas}'; {dump}) | sqlite3 recovered/holdline.db")
}

fn one_line(said: &str) -> String {
    said.replace(char::is_control, " ").trim().to_owned()
}

/// Compares the names of tables, indexes and views with those that the migrations make.
fn look_at_tables(database: &ReadOnlyDatabase, version: i64) -> rusqlite::Result<Vec<Finding>> {
    let wanted = Connection::open_in_memory()?;
    for migration in &MIGRATIONS[..version as usize] {
        wanted.execute_batch(migration)?;
    }
    let (wanted, found) = (objects(&wanted)?, objects(database.connection())?);
    let is_in = |object: &Object, objects: &[Object]| objects.iter().any(|other| other.name == object.name);
    let missing = wanted.iter().filter(|object| !is_in(object, &found)).map(|object| object.missing(database));
    let foreign = found.iter().filter(|object| !is_in(object, &wanted)).map(Object::foreign);
    Ok(missing.chain(foreign).collect())
}

/// A table, an index, a view or a trigger.
struct Object {
    kind: String,
    name: String,
    sql: String,
}

fn objects(connection: &Connection) -> rusqlite::Result<Vec<Object>> {
    connection
        .prepare("select type, name, sql from sqlite_schema where name not like 'sqlite^_%' escape '^' order by name")?
        .query_map([], |row| Ok(Object { kind: row.get(0)?, name: row.get(1)?, sql: row.get(2)? }))?
        .collect()
}

impl Object {
    fn missing(&self, database: &ReadOnlyDatabase) -> Finding {
        let fault = Finding::problem(format!("the {} {} is missing", self.kind, self.name));
        if self.kind == "table" {
            fault.advise("what it held is lost: restore a backup")
        } else {
            fault.mended_by_sql(database.path(), &self.sql)
        }
    }

    fn foreign(&self) -> Finding {
        Finding::note(format!("the {} {} is not of holdline", self.kind, quoted(&self.name))).advise(
            "if it is yours, it may slow the server down or stop it from writing; a later version may not know it",
        )
    }
}

fn look_at_settings(database: &ReadOnlyDatabase) -> rusqlite::Result<Finding> {
    const INCREMENTAL: i64 = 2;
    let gives_back = schema::pragma_number(database.connection(), "auto_vacuum")? == INCREMENTAL;
    Ok(match (database.is_in_wal_mode(), gives_back) {
        (true, true) => Finding::fine("it is in WAL mode, and can give back space a little at a time"),
        (false, true) => {
            Finding::note("it is not in WAL mode, as a backup is not").advise("the next start sets it again")
        }
        (_, false) => {
            Finding::warning("it cannot give back the space of what is removed (auto_vacuum is not incremental)")
                .mended_by_sql(database.path(), "pragma auto_vacuum = incremental; vacuum")
        }
    })
}

fn look_at_size(database: &ReadOnlyDatabase) -> rusqlite::Result<Finding> {
    let number = |pragma| schema::pragma_number(database.connection(), pragma).map(|number| number as u64);
    let page = number("page_size")?;
    let (file, free) = (number("page_count")? * page, number("freelist_count")? * page);
    let wal = beside(database.path(), "-wal").metadata().map_or(0, |metadata| metadata.len());
    let (file, free, wal) = (size(file), size(free), size(wal));
    Ok(Finding::fine(format!("{file} in the database, {free} of that free, and {wal} in its -wal")))
}
