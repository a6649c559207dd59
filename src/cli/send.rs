//! `holdline send`: sends a text, or each line of standard input, and succeeds only if all of it was accepted. Owns its flags and its
//! messages on standard error; never knows how lines are sent.

use std::io;
use std::time::Duration;

use bpaf::{OptionParser, Parser, construct, long, positional};
use holdline::client::{self, Account, Addressing, ErrorFrame, IdPrefix, LineSource, SendJob};
use holdline::limits::SEND_GIVE_UP_S_DEFAULT;
use holdline::message::Destination;

/// Arguments of `send`.
#[derive(Clone, Debug)]
pub(crate) struct SendArgs {
    /// Account of the sender.
    account: Account,
    /// Recipients.
    addressing: Addressing,
    /// Prefix of the ids; random by default.
    id: Option<IdPrefix>,
    /// Time without a reply to any line after which it gives up.
    timeout: Duration,
    /// Text to send instead of standard input.
    text: Option<String>,
}

/// Error of `send`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendCommandError {
    /// The server cannot be reached, or refuses the client.
    #[error(transparent)]
    Send(#[from] client::SendError),
    /// No thread can be started to read standard input.
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
}

/// Returns the flags of `send`, with their help.
pub(crate) fn options() -> OptionParser<SendArgs> {
    let account = super::account::flags();
    let addressing = long("to")
        .argument::<String>("NAMES")
        .help("Peers and rooms, separated by commas; without it, each line is NAMES: TEXT")
        .parse(|names| destinations(&names))
        .many()
        .map(|lists| if lists.is_empty() { Addressing::InLine } else { Addressing::To(lists.concat()) });
    let id = long("id")
        .argument::<String>("PREFIX")
        .help("Prefix of the lines' ids: the same lines with the same PREFIX are sent once [default: random]")
        .parse(|prefix| IdPrefix::parse(&prefix).map_err(|error| format!("--id: {error}")))
        .optional();
    let timeout = long("timeout")
        .argument::<String>("S")
        .help(
            format!("Seconds without a reply to any line until it gives up [default: {SEND_GIVE_UP_S_DEFAULT}]")
                .as_str(),
        )
        .parse(|seconds| seconds_of(&seconds))
        .fallback(Duration::from_secs(SEND_GIVE_UP_S_DEFAULT));
    let text = positional::<String>("TEXT")
        .help("Text to send [default: each line of standard input]")
        .parse(|text| if text.trim().is_empty() { Err("TEXT is empty; write the text to send") } else { Ok(text) })
        .optional();
    construct!(SendArgs { account, addressing, id, timeout, text })
        .to_options()
        .descr("Sends TEXT, or each line of standard input, exactly once, even if connections are lost")
        .header("Exits with 0 if everything was accepted. Otherwise it reports what failed and why, and exits with 1.")
        .footer(FOOTER)
}

/// Environment variables, and examples.
const FOOTER: &str =
    "HOLDLINE_PASSWORD is sent as the password. Leave it unset, unless a plugin of the server checks logins.

Examples:

        holdline send --to=bob,#home 'dinner at 7'
        df -h / | holdline send --as=backup --to=alice
        sensor | holdline send --as=boiler --to=#home --server=pi.local:7878";

/// Sends everything. Returns `true` if all of it was accepted.
pub(crate) fn run(args: SendArgs) -> Result<bool, SendCommandError> {
    let SendArgs { account, addressing, id, timeout, text } = args;
    let is_one_text = text.is_some();
    let input = match text {
        Some(text) => LineSource::of_text(text, &addressing),
        None => LineSource::read(io::stdin(), addressing).map_err(SendCommandError::Input)?,
    };
    let ids = id.unwrap_or_else(IdPrefix::random);
    let job = SendJob { ids, give_up_after: timeout, input };
    let report = |number, error: &ErrorFrame| {
        if is_one_text {
            eprintln!("holdline: not sent: {error}");
        } else {
            eprintln!("holdline: line {number}: {error}");
        }
    };
    let summary = smol::block_on(client::send(account, job, report))?;
    Ok(summary.failed == 0)
}

fn destinations(names: &str) -> Result<Vec<Destination>, String> {
    let names = names.split(',').map(|name| Destination::parse(name.trim()));
    names.collect::<Result<_, _>>().map_err(|error| format!("--to: {error}"))
}

/// Parses a time of up to a day, which is more than enough and which every clock can count.
fn seconds_of(seconds: &str) -> Result<Duration, &'static str> {
    let seconds = seconds.parse().ok().filter(|seconds| (1..=86_400).contains(seconds));
    seconds.map(Duration::from_secs).ok_or("--timeout must be a whole number of seconds from 1 to 86400")
}
