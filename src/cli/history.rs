//! `holdline history`: prints the log, also while a server runs. Owns the selection of messages; never knows how they are stored or
//! printed.

use std::path::Path;

use bpaf::{OptionParser, Parser, construct};
use holdline::archive::{LogReader, Selection};
use holdline::config::Flags;

use super::lines::{self, LineFormat, PrintError};

/// Arguments of `history`.
#[derive(Clone, Debug)]
pub(crate) struct HistoryArgs {
    /// Flags that say where the database is.
    pub(crate) flags: Flags,
    /// Messages to print.
    selection: Selection,
    /// Format of the lines.
    format: LineFormat,
}

/// Returns the flags of `history`, with their help.
pub(crate) fn options() -> OptionParser<HistoryArgs> {
    let flags = super::flags::database_flags();
    let selection = lines::selection_flags();
    let format = lines::format_flag();
    construct!(HistoryArgs { flags, selection, format })
        .to_options()
        .descr("Prints the log, oldest message first; the server may be running")
        .footer("Example:\n\n        holdline history --with=alice --last=5")
}

/// Prints the selected messages.
pub(crate) fn run(data: &Path, args: &HistoryArgs) -> Result<(), PrintError> {
    let log = LogReader::open(data)?;
    let count = lines::print(args.format, |print| log.history(&args.selection, print))?;
    if count == Some(0) {
        super::output::report(no_message(data, args));
    }
    Ok(())
}

fn no_message(data: &Path, args: &HistoryArgs) -> String {
    format!("no message{} in {}", lines::selected(&args.selection), data.display())
}
