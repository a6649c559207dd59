//! `holdline send`: sends a text, or each line of standard input, and ends well only when all of it was accepted. Owns its
//! flags and what it says on standard error; never knows how lines are sent.

use std::io;
use std::time::Duration;

use bpaf::{OptionParser, Parser, construct, long, positional};
use holdline::client::{self, Account, Addressing, ErrorFrame, IdPrefix, LineSource, SendJob};
use holdline::limits::SEND_GIVE_UP_S_DEFAULT;
use holdline::message::Destination;

/// What is to be sent, and by whom.
#[derive(Clone, Debug)]
pub(crate) struct SendArgs {
    /// Who sends.
    account: Account,
    /// To whom.
    addressing: Addressing,
    /// How the ids begin; at random where nobody cares.
    id: Option<IdPrefix>,
    /// How long no line may get an answer.
    timeout: Duration,
    /// What to send instead of standard input.
    text: Option<String>,
}

/// Why not all was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendCommandError {
    /// The server cannot be reached, or does not want us.
    #[error(transparent)]
    Send(#[from] client::SendError),
    /// There is no thread to read it.
    #[error("standard input cannot be read")]
    Input(#[source] io::Error),
}

/// The flags of `send`, with their help.
pub(crate) fn options() -> OptionParser<SendArgs> {
    let account = super::account::flags();
    let addressing = long("to")
        .argument::<String>("NAMES")
        .help("Peers and rooms, with commas between them; without it every line begins with them, NAMES: TEXT")
        .parse(|names| destinations(&names))
        .many()
        .map(|lists| if lists.is_empty() { Addressing::InLine } else { Addressing::To(lists.concat()) });
    let id = long("id")
        .argument::<String>("PREFIX")
        .help("How the ids of the lines begin: the same lines with the same PREFIX are sent once [default: at random]")
        .parse(|prefix| IdPrefix::parse(&prefix).map_err(|error| format!("--id: {error}")))
        .optional();
    let timeout = long("timeout")
        .argument::<String>("S")
        .help(
            format!("Seconds without an answer to any line until it gives up [default: {SEND_GIVE_UP_S_DEFAULT}]")
                .as_str(),
        )
        .parse(|seconds| seconds_of(&seconds))
        .fallback(Duration::from_secs(SEND_GIVE_UP_S_DEFAULT));
    let text = positional::<String>("TEXT")
        .help("What to send [default: each line of standard input]")
        .parse(|text| if text.trim().is_empty() { Err("TEXT is empty; there is nothing to send") } else { Ok(text) })
        .optional();
    construct!(SendArgs { account, addressing, id, timeout, text })
        .to_options()
        .descr("Sends TEXT, or each line of standard input, over lost connections too, and each exactly once")
        .header("It ends with 0 when all was accepted, and with 1 when something was not: it says what and why.")
        .footer(FOOTER)
}

/// What to type, and what no flag sets.
const FOOTER: &str = "HOLDLINE_PASSWORD holds the password of a name that has one.

Examples:

        holdline send --to=bob,#home 'dinner at 7'
        df -h / | holdline send --as=backup --to=alice
        sensor | holdline send --as=boiler --to=#home --server=pi.local:7878";

/// Sends it; whether all was accepted.
pub(crate) fn run(args: SendArgs) -> Result<bool, SendCommandError> {
    let SendArgs { account, addressing, id, timeout, text } = args;
    let is_one_text = text.is_some();
    let input = match text {
        Some(text) => LineSource::of_text(text),
        None => LineSource::read(io::stdin()).map_err(SendCommandError::Input)?,
    };
    let ids = id.unwrap_or_else(IdPrefix::random);
    let job = SendJob { addressing, ids, give_up_after: timeout, input };
    let tell = |number, error: &ErrorFrame| {
        if is_one_text {
            eprintln!("holdline: not sent: {error}");
        } else {
            eprintln!("holdline: line {number}: {error}");
        }
    };
    let summary = smol::block_on(client::send(account, job, tell))?;
    Ok(summary.failed == 0)
}

fn destinations(names: &str) -> Result<Vec<Destination>, String> {
    let names = names.split(',').map(|name| Destination::parse(name.trim()));
    names.collect::<Result<_, _>>().map_err(|error| format!("--to wants names: {error}"))
}

/// A day is patient enough, and any clock can count it.
fn seconds_of(seconds: &str) -> Result<Duration, &'static str> {
    let seconds = seconds.parse().ok().filter(|seconds| (1..=86_400).contains(seconds));
    seconds.map(Duration::from_secs).ok_or("--timeout wants seconds, a whole number from 1 to 86400")
}
