//! Findings of an examination, and their words. Owns how a finding is worded and which command fixes it; never looks for one.

use std::path::Path;

use crate::trust::for_shell;

/// Result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Severity of the finding.
    pub severity: Severity,
    /// State that was found, on one line.
    pub what: String,
    /// Advice, which may be that nothing needs to be done.
    pub advice: Option<String>,
    /// Command that fixes the fault or shows more of it.
    pub fix: Option<Fix>,
}

/// Command for the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// Command on one line, as it is typed.
    pub command: String,
    /// Whether the command changes the database, so that the server must be stopped first.
    pub needs_stopped_server: bool,
}

/// Severity of a [`Finding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Unusual, but nothing is wrong.
    Note,
    /// May become a problem.
    Warning,
    /// The server cannot keep its promises.
    Problem,
}

/// Words for a fault of one row and of several rows; a count precedes them.
#[derive(Clone, Copy, Debug)]
pub(super) struct FaultWords {
    pub(super) one: &'static str,
    pub(super) many: &'static str,
}

impl FaultWords {
    /// Describes faulty rows: `2 messages are lost (seq 5, 7)`. `named` has the keys of the first rows, `key` names the key.
    pub(super) fn describe(self, count: u64, key: &str, named: &[String]) -> String {
        let words = if count == 1 { self.one } else { self.many };
        let more = if count > named.len() as u64 { ", …" } else { "" };
        format!("{count} {words} ({})", format!("{key} {}{more}", named.join(", ")).trim())
    }
}

impl Finding {
    pub(super) fn ok(what: impl Into<String>) -> Self {
        Self::of(Severity::Ok, what)
    }

    pub(super) fn note(what: impl Into<String>) -> Self {
        Self::of(Severity::Note, what)
    }

    pub(super) fn warning(what: impl Into<String>) -> Self {
        Self::of(Severity::Warning, what)
    }

    pub(super) fn problem(what: impl Into<String>) -> Self {
        Self::of(Severity::Problem, what)
    }

    pub(super) fn of(severity: Severity, what: impl Into<String>) -> Self {
        Finding { severity, what: what.into(), advice: None, fix: None }
    }

    pub(super) fn advise(self, advice: impl Into<String>) -> Self {
        Finding { advice: Some(advice.into()), ..self }
    }

    pub(super) fn with_command(self, command: String) -> Self {
        Finding { fix: Some(Fix { command, needs_stopped_server: false }), ..self }
    }

    pub(super) fn with_offline_command(self, command: String) -> Self {
        Finding { fix: Some(Fix { command, needs_stopped_server: true }), ..self }
    }

    pub(super) fn with_sql(self, database: &Path, sql: &str) -> Self {
        let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
        debug_assert!(!sql.contains(['"', '$', '`', '\\', '!']), "SQL must need no escapes in double quotes: {sql}");
        self.with_offline_command(format!("sqlite3 {} \"{sql}\"", for_shell(database)))
    }
}
