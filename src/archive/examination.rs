//! The checks of `holdline doctor` on a data directory: what is wrong, in words for the operator, and a command that fixes it.
//! Owns the order of the checks; never changes a file.

mod check;
mod file;
mod finding;
mod links;
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
    } else if let Err(error) = check_content(database, &mut findings) {
        findings.push(Finding::problem(format!("not all of the database could be examined ({error})")));
    }
    findings
}

fn check_content(database: &ReadOnlyDatabase, findings: &mut Vec<Finding>) -> rusqlite::Result<()> {
    findings.extend(rows::check(database)?);
    findings.extend(links::check(database)?);
    findings.extend(rooms::check(database)?);
    findings.extend(plugins::check(database)?);
    findings.extend(rows::count(database.connection())?);
    Ok(())
}
