//! What `holdline doctor` finds in a data directory: each check, in which words it is told, and how a fault is mended. Owns
//! the order of the checks; never changes what it looks at.

mod check;
mod file;
mod links;
mod plugins;
mod rooms;
mod rows;
mod surroundings;

use std::path::Path;

use super::read_only::{self, LookError, ReadOnlyDatabase};

/// What one check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub verdict: Verdict,
    /// What is so, on one line.
    pub what: String,
    /// What to do about it, or that nothing needs to be done.
    pub advice: Option<String>,
    /// What mends it, or shows more of it.
    pub fix: Option<Fix>,
}

/// A command for the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// On one line, as it is typed.
    pub command: String,
    /// Whether it changes the database: no server may have it then.
    pub at_rest: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// Unusual, and nothing is wrong with it.
    Note,
    /// May become a problem.
    Warning,
    /// Keeps the server from what it promises.
    Problem,
}

impl Finding {
    fn fine(what: impl Into<String>) -> Self {
        Self::of(Verdict::Fine, what)
    }

    fn note(what: impl Into<String>) -> Self {
        Self::of(Verdict::Note, what)
    }

    fn warning(what: impl Into<String>) -> Self {
        Self::of(Verdict::Warning, what)
    }

    fn problem(what: impl Into<String>) -> Self {
        Self::of(Verdict::Problem, what)
    }

    fn of(verdict: Verdict, what: impl Into<String>) -> Self {
        Finding { verdict, what: what.into(), advice: None, fix: None }
    }

    fn advise(self, advice: impl Into<String>) -> Self {
        Finding { advice: Some(advice.into()), ..self }
    }

    fn mended_by(self, command: String) -> Self {
        Finding { fix: Some(Fix { command, at_rest: false }), ..self }
    }

    fn mended_at_rest(self, command: String) -> Self {
        Finding { fix: Some(Fix { command, at_rest: true }), ..self }
    }

    fn mended_by_sql(self, database: &Path, sql: &str) -> Self {
        let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        debug_assert!(!sql.contains(['"', '$', '`', '\\', '!']), "a shell takes it in quotes as it is: {sql}");
        self.mended_at_rest(format!("sqlite3 {} \"{sql}\"", for_shell(database)))
    }
}

/// Looks at a data directory and all that is in it, beside a running server or without one.
pub fn examine(data: &Path) -> Vec<Finding> {
    let mut findings = surroundings::look_at_files(data);
    match read_only::look(data, |database| Ok::<_, LookError>(look_at_database(database))) {
        Ok(inside) => findings.extend(inside),
        Err(error) => findings.push(not_examined(&error)),
    }
    findings.extend(surroundings::look_at_disk(data));
    findings
}

fn not_examined(error: &LookError) -> Finding {
    match error {
        LookError::Disturbed { .. } => Finding::warning(error.to_string()),
        _ => Finding::problem(error.to_string()),
    }
}

fn look_at_database(database: &ReadOnlyDatabase) -> Vec<Finding> {
    let (mut findings, can_be_asked) = file::look(database);
    if !can_be_asked {
        findings.push(Finding::note("what is in it was not examined"));
    } else if let Err(error) = look_at_content(database, &mut findings) {
        findings.push(Finding::problem(format!("not everything in it could be examined ({error})")));
    }
    findings
}

fn look_at_content(database: &ReadOnlyDatabase, findings: &mut Vec<Finding>) -> rusqlite::Result<()> {
    findings.extend(rows::look(database)?);
    findings.extend(links::look(database)?);
    findings.extend(rooms::look(database)?);
    findings.extend(plugins::look(database)?);
    findings.extend(rows::count(database.connection())?);
    Ok(())
}

/// `2 messages are lost (seq 5, 7)`: how many rows have a fault, and the first of them.
fn said(count: u64, one: &str, many: &str, key: &str, named: &[String]) -> String {
    let words = if count == 1 { one } else { many };
    let more = if count > named.len() as u64 { ", …" } else { "" };
    format!("{count} {words} ({})", format!("{key} {}{more}", named.join(", ")).trim())
}

/// A path as a shell takes it.
fn for_shell(path: &Path) -> String {
    let path = path.display().to_string();
    if path.chars().all(|c| c.is_alphanumeric() || "/-_.,:@+=".contains(c)) {
        path
    } else {
        format!("'{}'", path.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_a_path_as_it_is_meant() {
        for (path, said) in [
            ("/var/lib/holdline/holdline.db", "/var/lib/holdline/holdline.db"),
            ("/my data/holdline.db", "'/my data/holdline.db'"),
            ("/it's/$HOME", "'/it'\\''s/$HOME'"),
        ] {
            assert_eq!(for_shell(Path::new(path)), said);
        }
    }
}
