//! `holdline doctor`: reports problems of a data directory, and how to fix them, also while a server runs. Owns the form of the
//! report; never examines anything itself.

use std::io;
use std::path::Path;

use bpaf::{OptionParser, Parser};
use holdline::archive::{self, Finding, Severity};
use holdline::config::Flags;

use super::output::{SafeOutput, unless_reader_gone};

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
    unless_reader_gone(print(&findings)).map_err(DoctorError)?;
    Ok(count(&findings, Severity::Problem) == 0)
}

fn print(findings: &[Finding]) -> io::Result<()> {
    let mut out = SafeOutput::stdout();
    for finding in findings {
        out.line(words(finding))?;
        if let Some(fix) = &finding.fix {
            out.line(format_args!("    {}", fix.command))?;
        }
    }
    out.line(conclusion(findings))?;
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

/// Describes a finding as `problem: WHAT; ADVICE`.
fn words(Finding { severity, what, advice, fix: _ }: &Finding) -> String {
    let severity = match severity {
        Severity::Ok => "ok",
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Problem => "problem",
    };
    match advice {
        Some(advice) => format!("{severity}: {what}; {advice}"),
        None => format!("{severity}: {what}"),
    }
}
