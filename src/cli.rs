//! The command line: subcommands, flags, and their help. Owns the text of `--help` and of errors about flags; never opens a file or
//! a socket.

mod account;
pub(crate) mod backup;
pub(crate) mod doctor;
mod file_limit;
mod flags;
mod hangup;
pub(crate) mod history;
mod known_servers;
mod lines;
pub(crate) mod logging;
mod output;
pub(crate) mod plugin;
pub(crate) mod reload;
pub(crate) mod remove;
pub(crate) mod search;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod tail;
pub(crate) mod tls;

use bpaf::{Args, OptionParser, ParseFailure, Parser, construct, long};
use holdline::config::Flags;

use self::backup::BackupArgs;
pub(crate) use self::flags::UsageError;
use self::history::HistoryArgs;
pub(crate) use self::output::{report, show};
use self::plugin::PluginCommand;
use self::remove::RemoveArgs;
use self::search::SearchArgs;
use self::send::SendArgs;
use self::tail::TailArgs;

/// Text of `--version`.
const VERSION: &str = concat!("holdline ", env!("CARGO_PKG_VERSION"));

/// Usage of all subcommands. bpaf's own usage would only show `COMMAND`. bpaf removes four of the leading blanks and keeps lines as they
/// are.
const USAGE: &str = "Usage:

        holdline [serve] [--listen=ADDR]... [--data=DIR] [--config=FILE] [--plugins=FILE] [--open]
        holdline send [--to=NAMES] [--as=NAME] [--server=ADDR] [--pin=FP] [--id=PREFIX] [--timeout=S] [TEXT]
        holdline send --queue=DIR [--to=NAMES] [TEXT]
        holdline send --drain=DIR [--once] [--as=NAME] [--server=ADDR] [--pin=FP] [--timeout=S]
        holdline tail [--as=NAME] [--server=ADDR] [--pin=FP] [--json] [--after=SEQ] [--count=N]
        holdline history [--data=DIR] [--config=FILE] [--with=NAME] [--before=N] [--last=N] [--json]
        holdline search [--data=DIR] [--config=FILE] [--with=NAME] [--before=N] [--last=N] [--json] WORDS...
        holdline doctor [--data=DIR] [--config=FILE]
        holdline backup [--data=DIR] [--config=FILE] FILE
        holdline peer remove [--data=DIR] [--config=FILE] [--yes] NAME
        holdline room remove [--data=DIR] [--config=FILE] [--yes] ROOM
        holdline reload [--data=DIR] [--config=FILE] [--plugins=FILE]
        holdline plugin check [--config=FILE] [--plugins=FILE]
        holdline plugin new [--config=FILE] [--plugins=FILE] --kind=KIND NAME
        holdline plugin test [--data=DIR] [--config=FILE] [--plugins=FILE] [--last=N] NAME
        holdline tls fingerprint [--data=DIR] [--config=FILE]";

/// Environment variables, and an example.
const FOOTER: &str = "HOLDLINE_LOG sets the level of the log: error, warn, info (the default), debug or trace.

Example:

        holdline --data=/var/lib/holdline
        nc localhost 7878                    # in another terminal";

/// Subcommand with its arguments.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Runs the server.
    Serve(Flags),
    /// Sends lines to a server.
    Send(SendArgs),
    /// Prints the messages of a server.
    Tail(TailArgs),
    /// Prints the log.
    History(HistoryArgs),
    /// Prints the messages of the log that contain some words.
    Search(SearchArgs),
    /// Examines a data directory.
    Doctor(Flags),
    /// Copies the database.
    Backup(BackupArgs),
    /// Prints the fingerprint of the certificate.
    Fingerprint(Flags),
    /// Removes a peer or a room.
    Remove(RemoveArgs),
    /// Makes a running server reload its plugins.
    Reload(Flags),
    /// Checks, creates or tries a plugin.
    Plugin(PluginCommand),
    /// Prints a text: the help, or the version.
    Show(String),
}

/// Parses the arguments of this process.
pub(crate) fn parse() -> Result<Command, UsageError> {
    match command().run_inner(Args::current_args().set_name("holdline")) {
        Ok(command) => Ok(command),
        // The whole text with its examples, which bpaf shows only for `--help --help`.
        Err(ParseFailure::Stdout(text, _)) => Ok(Command::Show(text.monochrome(true))),
        Err(ParseFailure::Completion(text)) => Ok(Command::Show(text)),
        Err(ParseFailure::Stderr(text)) => {
            // bpaf wraps the text for a terminal; all errors of holdline are one line.
            let problem = text.monochrome(true).split_whitespace().collect::<Vec<_>>().join(" ");
            let problem = problem.replace(", pass `--help` for usage information", "").replace("check failed: ", "");
            Err(UsageError(format!("{problem} (see holdline --help)")))
        }
    }
}

fn command() -> OptionParser<Command> {
    let serve = serve::options()
        .command("serve")
        .help("Runs the server, like holdline without a subcommand")
        .map(Command::Serve);
    let send = send::options().command("send").help("Sends a text, or the lines of standard input").map(Command::Send);
    let tail = tail::options().command("tail").help("Prints messages as they arrive").map(Command::Tail);
    let history = history::options().command("history").help("Prints the log").map(Command::History);
    let search = search::options().command("search").help("Searches the log for words").map(Command::Search);
    let doctor =
        doctor::options().command("doctor").help("Examines the database and reports problems").map(Command::Doctor);
    let backup = backup::options().command("backup").help("Copies the database to a file").map(Command::Backup);
    let peer = remove::peer_options().command("peer").help("Removes a peer").map(Command::Remove);
    let room = remove::room_options().command("room").help("Removes a room").map(Command::Remove);
    let reload =
        reload::options().command("reload").help("Makes the running server reload its plugins").map(Command::Reload);
    let plugin =
        plugin::options().command("plugin").help("Checks plugins, creates one, or tries one").map(Command::Plugin);
    let tls = tls::options().command("tls").help("Shows the server's certificate").map(Command::Fingerprint);
    let version = long("version").short('V').help("Prints the version").req_flag(Command::Show(VERSION.to_owned()));
    let bare = serve::flags().map(Command::Serve);
    construct!([serve, send, tail, history, search, doctor, backup, reload, peer, room, plugin, tls, version, bare])
        .to_options()
        .descr("A chat server for small devices; nc is enough as a client")
        .usage(USAGE)
        .footer(FOOTER)
}
