//! `holdline history`: prints the log, beside a running server too. Owns which messages are asked for; never how they are
//! stored, nor how they look.

use std::path::Path;

use bpaf::{OptionParser, Parser, construct};
use holdline::archive::{LogReader, Selection};
use holdline::config::Flags;

use super::lines::{self, Form, PrintError};

/// What is to be printed.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    /// Where the database is.
    pub(crate) flags: Flags,
    /// Which messages.
    selection: Selection,
    /// For whom.
    form: Form,
}

/// The flags of `history`, with their help.
pub(crate) fn options() -> OptionParser<Query> {
    let flags = super::flags::database_flags();
    let selection = lines::selection_flags();
    let form = lines::form_flag();
    construct!(Query { flags, selection, form })
        .to_options()
        .descr("Prints the log, oldest message first; the server may be running")
        .footer("Example:\n\n        holdline history --with=alice --last=5")
}

/// Prints what is asked for.
pub(crate) fn run(data: &Path, query: &Query) -> Result<(), PrintError> {
    let log = LogReader::open(data)?;
    let count = lines::print(query.form, |print| log.history(&query.selection, print))?;
    if count == Some(0) {
        eprintln!("holdline: {}", nothing(data, query));
    }
    Ok(())
}

fn nothing(data: &Path, query: &Query) -> String {
    format!("no message{} in {}", lines::selected(&query.selection), data.display())
}
