//! `holdline peer remove` and `holdline room remove`: remove a peer or a room with all that names it, also while a server runs. Owns their
//! flags, the question to the operator, and the output; never removes anything itself.

use std::io::{self, IsTerminal};
use std::path::Path;

use bpaf::{OptionParser, Parser, construct, long, positional};
use holdline::archive::{PurgeError, plan_purge, purge};
use holdline::config::Flags;
use holdline::message::{Destination, PeerName, Room};

use super::UsageError;

/// Arguments of `peer remove` and `room remove`.
#[derive(Clone, Debug)]
pub(crate) struct RemoveArgs {
    /// Flags that say where the database is.
    pub(crate) flags: Flags,
    /// Whether nothing is asked.
    yes: bool,
    /// Peer or room to remove.
    name: Destination,
}

/// Error of `peer remove` and `room remove`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoveError {
    /// The removal failed, or was refused.
    #[error(transparent)]
    Purge(#[from] PurgeError),
    /// The operator did not confirm it.
    #[error("not confirmed; nothing is removed")]
    NotConfirmed,
    /// Standard input is not a terminal.
    #[error("{0}")]
    Usage(#[from] UsageError),
    /// Standard output or standard input failed.
    #[error("cannot use the terminal")]
    Terminal(#[source] io::Error),
}

/// Returns the subcommands of `peer`.
pub(crate) fn peer_options() -> OptionParser<RemoveArgs> {
    let name = positional::<String>("NAME")
        .help("Peer to remove")
        .parse(|name| PeerName::parse(&name).map(Destination::Peer).map_err(|error| error.to_string()));
    let remove = args(name)
        .descr("Removes a peer: its name, its memberships, what waits for it, the messages that it has sent, and those that only it has got")
        .header(
            "A message to several recipients stays for the others. Sessions of the peer end. The name can be used again, and begins \
             anew. The server may be running.",
        )
        .footer("Example:\n\n        holdline peer remove stranger");
    let remove = remove.command("remove").help("Removes a peer and its messages");
    remove.to_options().descr("Manages peers").footer("Example:\n\n        holdline peer remove stranger")
}

/// Returns the subcommands of `room`.
pub(crate) fn room_options() -> OptionParser<RemoveArgs> {
    let name = positional::<String>("ROOM")
        .help("Room to remove, with its #, in quotation marks")
        .parse(|name| Room::parse(&name).map(Destination::Room).map_err(|error| error.to_string()));
    let remove = args(name)
        .descr("Removes a room: its name, its topic, its members, and the messages that were sent only there")
        .header(
            "A message that was also sent elsewhere stays there. Members that are online are notified. The name can be used again, and \
             begins anew. The server may be running.",
        )
        .footer("Example:\n\n        holdline room remove '#old'");
    let remove = remove.command("remove").help("Removes a room and its messages");
    remove.to_options().descr("Manages rooms").footer("Example:\n\n        holdline room remove '#old'")
}

fn args(name: impl Parser<Destination> + 'static) -> OptionParser<RemoveArgs> {
    let flags = super::flags::database_flags();
    let yes = long("yes").help("Removes without a question; needed if standard input is not a terminal").switch();
    construct!(RemoveArgs { flags, yes, name }).to_options()
}

/// Tells what is removed, asks, removes it, and prints the result.
pub(crate) fn run(data: &Path, args: &RemoveArgs) -> Result<(), RemoveError> {
    let RemoveArgs { yes, name, .. } = args;
    let plan = plan_purge(data, name)?;
    super::output::show(&plan.to_string()).map_err(RemoveError::Terminal)?;
    if !yes {
        confirm(name)?;
    }
    let done = purge(data, name)?;
    super::output::show(&done).map_err(RemoveError::Terminal)
}

/// Asks the operator at the terminal.
fn confirm(name: &Destination) -> Result<(), RemoveError> {
    if !io::stdin().is_terminal() {
        let words =
            "standard input is not a terminal, so nobody can confirm this; add --yes to remove without a question";
        return Err(UsageError(words.to_owned()).into());
    }
    super::output::prompt(format_args!("remove {} for good? [y/N] ", name.as_str()));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(RemoveError::Terminal)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") { Ok(()) } else { Err(RemoveError::NotConfirmed) }
}
