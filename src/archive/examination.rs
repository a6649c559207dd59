//! The checks of `holdline doctor` on a data directory: what is wrong, in words for the operator, and a command that fixes it.
//! Owns the order of the checks; never changes a file.

mod check;
mod columns;
mod file;
mod finding;
mod identity;
mod links;
mod log_loss;
mod plugins;
mod rooms;
mod rows;
mod surroundings;

use std::path::Path;

use self::finding::FaultWords;
pub use self::finding::{Finding, Fix, Severity};
use super::read_only::{self, ReadOnlyDatabase, ReadOnlyError};

/// Examines a data directory and its database. The server may be running.
pub fn examine(data: &Path) -> Vec<Finding> {
    let mut findings = surroundings::check_files(data);
    findings.extend(log_loss::check(data));
    match read_only::read(data, |database| Ok::<_, ReadOnlyError>(check_database(database))) {
        Ok(inside) => findings.extend(inside),
        Err(error) => findings.push(not_examined(&error)),
    }
    findings.extend(surroundings::check_disk(data));
    findings
}

fn not_examined(error: &ReadOnlyError) -> Finding {
    match error {
        ReadOnlyError::Disturbed { .. } => Finding::warning(error.to_string()),
        _ => Finding::problem(error.to_string()),
    }
}

fn check_database(database: &ReadOnlyDatabase) -> Vec<Finding> {
    let (mut findings, can_be_queried) = file::check(database);
    if !can_be_queried {
        findings.push(Finding::note("the content of the database was not examined"));
    } else {
        findings.extend(CONTENT_CHECKS.iter().flat_map(|check| check_content(*check, database)));
    }
    findings
}

/// Check of the content of tables.
type ContentCheck = fn(&ReadOnlyDatabase) -> rusqlite::Result<Vec<Finding>>;

/// Checks of the content, in their order. One that fails, because of values that no server writes, leaves the others.
const CONTENT_CHECKS: [ContentCheck; 7] =
    [identity::check, columns::check, rows::check, links::check, rooms::check, plugins::check, rows::count];

fn check_content(check: ContentCheck, database: &ReadOnlyDatabase) -> Vec<Finding> {
    check(database)
        .unwrap_or_else(|error| vec![Finding::problem(format!("not all of the database could be examined ({error})"))])
}
