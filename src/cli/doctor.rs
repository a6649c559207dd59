//! `holdline doctor`: reports problems of a data directory, and how to fix them, also while a server runs. Owns the form of the
//! report; never examines anything itself.

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use bpaf::{OptionParser, Parser};
use holdline::archive::{self, Finding, Severity};
use holdline::config::Flags;

/// The findings cannot be printed.
#[derive(Debug, thiserror::Error)]
#[error("cannot print the findings")]
pub(crate) struct DoctorError(#[source] io::Error);

/// Returns the flags of `doctor`, with their help.
pub(crate) fn options() -> OptionParser<Flags> {
    super::flags::database_flags()
        .to_options()
        .descr("Examines the database and its directory, and changes nothing; the server may be running")
        .header("Exits with 0 if there is no problem, even with warnings, and with 1 otherwise.")
        .footer("Example:\n\n        holdline doctor --data=/var/lib/holdline")
}

/// Examines a data directory, and prints the findings. Returns `true` if there is no problem.
pub(crate) fn run(data: &Path) -> Result<bool, DoctorError> {
    let findings = archive::examine(data);
    super::output::unless_reader_gone(print(&findings)).map_err(DoctorError)?;
    Ok(count(&findings, Severity::Problem) == 0)
}

fn print(findings: &[Finding]) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for finding in findings {
        writeln!(out, "{}", FindingText(finding))?;
    }
    writeln!(out, "{}", conclusion(findings))?;
    out.flush()
}

fn conclusion(findings: &[Finding]) -> String {
    let result = match (count(findings, Severity::Problem), count(findings, Severity::Warning)) {
        (0, 0) => "all is well".to_owned(),
        (problems, warnings) => format!("problems: {problems}, warnings: {warnings}"),
    };
    let changes_database =
        findings.iter().filter_map(|finding| finding.fix.as_ref()).any(|fix| fix.needs_stopped_server);
    if changes_database {
        format!("{result}; before you run sqlite3, stop the server and keep a copy of the directory")
    } else {
        result
    }
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    findings.iter().filter(|finding| finding.severity == severity).count()
}

/// Prints a finding as `problem: WHAT; ADVICE`, and below it the command that fixes it.
struct FindingText<'a>(&'a Finding);

impl fmt::Display for FindingText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { severity, what, advice, fix } = self.0;
        let severity = match severity {
            Severity::Ok => "ok",
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Problem => "problem",
        };
        write!(f, "{severity}: {what}")?;
        if let Some(advice) = advice {
            write!(f, "; {advice}")?;
        }
        if let Some(fix) = fix {
            write!(f, "\n    {}", fix.command)?;
        }
        Ok(())
    }
}
