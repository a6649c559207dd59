//! The command line: which subcommand, with which flags, and the help for both. Owns the words of `--help` and of refused
//! flags; never opens a file or a socket.

mod account;
pub(crate) mod backup;
pub(crate) mod doctor;
mod flags;
pub(crate) mod history;
mod lines;
pub(crate) mod logging;
mod output;
pub(crate) mod plugin;
pub(crate) mod search;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod tail;

use bpaf::{Args, OptionParser, ParseFailure, Parser, construct, long};
use holdline::config::Flags;

use self::backup::BackupArgs;
pub(crate) use self::flags::UsageError;
use self::history::Query;
pub(crate) use self::output::show;
use self::plugin::PluginCommand;
use self::search::SearchArgs;
use self::send::SendArgs;
use self::tail::TailArgs;

/// What `--version` prints.
const VERSION: &str = concat!("holdline ", env!("CARGO_PKG_VERSION"));

/// bpaf's own would say `COMMAND` where a few lines say more. It strips four of the blanks and keeps a line as it is.
const USAGE: &str = "Usage:

        holdline [serve] [--listen=ADDR]... [--data=DIR] [--config=FILE] [--plugins=FILE] [--open]
        holdline send [--to=NAMES] [--as=NAME] [--server=ADDR] [--id=PREFIX] [--timeout=S] [TEXT]
        holdline tail [--as=NAME] [--server=ADDR] [--json] [--after=SEQ] [--count=N]
        holdline history [--data=DIR] [--config=FILE] [--with=NAME] [--before=N] [--last=N] [--json]
        holdline search [--data=DIR] [--config=FILE] [--with=NAME] [--before=N] [--last=N] [--json] WORDS...
        holdline doctor [--data=DIR] [--config=FILE]
        holdline backup [--data=DIR] [--config=FILE] FILE
        holdline plugin check [--config=FILE] [--plugins=FILE]
        holdline plugin new [--config=FILE] [--plugins=FILE] --kind=KIND NAME
        holdline plugin test [--data=DIR] [--config=FILE] [--plugins=FILE] [--last=N] NAME";

/// What no flag sets, and what to type first.
const FOOTER: &str = "HOLDLINE_LOG sets how much is logged: error, warn, info (the default), debug or trace.

Example:

        holdline --data=/var/lib/holdline
        nc localhost 7878                    # in another terminal";

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Run the server.
    Serve(Flags),
    /// Send lines to a server.
    Send(SendArgs),
    /// Print what a server sends.
    Tail(TailArgs),
    /// Print the log.
    History(Query),
    /// Print what of the log holds some words.
    Search(SearchArgs),
    /// Examine a data directory.
    Doctor(Flags),
    /// Copy the database.
    Backup(BackupArgs),
    /// Check a plugin, begin one, or try one.
    Plugin(PluginCommand),
    /// Print this: a help, or the version.
    Show(String),
}

/// Understands the arguments of this process.
pub(crate) fn parse() -> Result<Command, UsageError> {
    match command().run_inner(Args::current_args().set_name("holdline")) {
        Ok(command) => Ok(command),
        // In full, with the examples: bpaf would keep them for `--help --help`.
        Err(ParseFailure::Stdout(text, _)) => Ok(Command::Show(text.monochrome(true))),
        Err(ParseFailure::Completion(text)) => Ok(Command::Show(text)),
        Err(ParseFailure::Stderr(text)) => {
            // It comes wrapped for a terminal; ours is one line, as every other.
            let problem = text.monochrome(true).split_whitespace().collect::<Vec<_>>().join(" ");
            let problem = problem.replace(", pass `--help` for usage information", "");
            Err(UsageError(format!("{problem} (holdline --help tells more)")))
        }
    }
}

fn command() -> OptionParser<Command> {
    let serve = serve::options()
        .command("serve")
        .help("Runs the server; so does holdline without a command")
        .map(Command::Serve);
    let send = send::options().command("send").help("Sends a text, or lines of a program").map(Command::Send);
    let tail = tail::options().command("tail").help("Prints what arrives, for a program").map(Command::Tail);
    let history =
        history::options().command("history").help("Prints the log, for people or programs").map(Command::History);
    let search = search::options().command("search").help("Finds words in the log").map(Command::Search);
    let doctor = doctor::options()
        .command("doctor")
        .help("Examines the database and says what is wrong with it")
        .map(Command::Doctor);
    let backup = backup::options().command("backup").help("Copies the database into a file").map(Command::Backup);
    let plugin =
        plugin::options().command("plugin").help("Checks plugins, begins one, or tries one").map(Command::Plugin);
    let version = long("version").short('V').help("Prints the version").req_flag(Command::Show(VERSION.to_owned()));
    let bare = serve::flags().map(Command::Serve);
    construct!([serve, send, tail, history, search, doctor, backup, plugin, version, bare])
        .to_options()
        .descr("A chat server for small devices, spoken to with nc")
        .usage(USAGE)
        .footer(FOOTER)
}
