//! `holdline search`: prints the messages that contain some words, also while a server runs. Owns the selection of messages; never
//! knows how they are found or printed.

use std::path::Path;

use bpaf::{OptionParser, Parser, construct, positional};
use holdline::archive::{LogReader, Selection};
use holdline::config::Flags;

use super::lines::{self, LineFormat, PrintError};

/// Arguments of `search`.
#[derive(Clone, Debug)]
pub(crate) struct SearchArgs {
    /// Flags that say where the database is.
    pub(crate) flags: Flags,
    /// Messages to search.
    selection: Selection,
    /// Format of the lines.
    format: LineFormat,
    /// Words that a message must contain.
    words: String,
}

/// Returns the flags of `search`, with their help.
pub(crate) fn options() -> OptionParser<SearchArgs> {
    let flags = super::flags::database_flags();
    let selection = lines::selection_flags();
    let format = lines::format_flag();
    let words = positional::<String>("WORDS")
        .help("Words that a message must all contain: whole words, in any case and order")
        .some("no WORDS to search for")
        .map(|words| words.join(" "));
    construct!(SearchArgs { flags, selection, format, words })
        .to_options()
        .descr("Prints the messages that contain all WORDS, newest first; the server may be running")
        .footer("Example:\n\n        holdline search --with='#home' boiler pressure")
}

/// Prints the matching messages.
pub(crate) fn run(data: &Path, args: &SearchArgs) -> Result<(), PrintError> {
    let log = LogReader::open(data)?;
    let count = lines::print(args.format, |print| log.search(&args.words, &args.selection, print))?;
    if count == Some(0) {
        let selected = lines::selected(&args.selection);
        let words = format_args!("no message{selected} contains all these words in {}", data.display());
        super::output::report(words);
    }
    Ok(())
}
