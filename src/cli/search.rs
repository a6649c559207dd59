//! `holdline search`: prints the messages that hold some words, beside a running server too. Owns which are asked for; never how
//! they are found, nor how they look.

use std::path::Path;

use bpaf::{OptionParser, Parser, construct, positional};
use holdline::archive::{LogReader, Selection};
use holdline::config::Flags;

use super::lines::{self, Form, PrintError};

/// What is to be found.
#[derive(Clone, Debug)]
pub(crate) struct SearchArgs {
    /// Where the database is.
    pub(crate) flags: Flags,
    /// Among which messages.
    selection: Selection,
    /// For whom.
    form: Form,
    /// All of these.
    words: String,
}

/// The flags of `search`, with their help.
pub(crate) fn options() -> OptionParser<SearchArgs> {
    let flags = super::flags::database_flags();
    let selection = lines::selection_flags();
    let form = lines::form_flag();
    let words = positional::<String>("WORDS")
        .help("What a message must hold, all of it: whole words, in any case and order")
        .some("search wants WORDS to look for")
        .map(|words| words.join(" "));
    construct!(SearchArgs { flags, selection, form, words })
        .to_options()
        .descr("Prints the messages that hold all WORDS, newest first; the server may be running")
        .footer("Example:\n\n        holdline search --with='#home' boiler pressure")
}

/// Prints what is found.
pub(crate) fn run(data: &Path, args: &SearchArgs) -> Result<(), PrintError> {
    let log = LogReader::open(data)?;
    let count = lines::print(args.form, |print| log.search(&args.words, &args.selection, print))?;
    if count == Some(0) {
        eprintln!("holdline: no message{} holds that in {}", lines::selected(&args.selection), data.display());
    }
    Ok(())
}
