//! `holdline send`: sends a text, or each line of standard input, at once or through a queue, and succeeds only if all of it was accepted.
//! Owns its flags and its messages on standard error; never knows how lines are sent.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bpaf::{OptionParser, Parser, construct, long, positional};
use holdline::client::{
    self, Account, Addressing, ErrorFrame, IdPrefix, LineForm, LineOutcome, LineSource, Queue, QueueError, ReportError,
    Resumption, SendJob, SendReport, Summary,
};
use holdline::limits::SEND_GIVE_UP_S_DEFAULT;
use holdline::message::Destination;

use super::output::report;

/// Time without a reply to any line after which `send` gives up by default.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(SEND_GIVE_UP_S_DEFAULT);

/// Words for a server whose database was replaced meanwhile.
const REPLACED: &str = "the server has another database than before: it was restored, copied or started anew";

/// Arguments of `send`.
#[derive(Clone, Debug)]
pub(crate) enum SendArgs {
    /// Append to a queue.
    Queue {
        /// Directory of the queue.
        directory: PathBuf,
        /// Recipients.
        addressing: Addressing,
        /// Text to append instead of standard input.
        text: Option<String>,
    },
    /// Send what is in a queue.
    Drain {
        /// Directory of the queue.
        directory: PathBuf,
        /// Account of the sender.
        account: Account,
        /// Whether to end once the queue is empty.
        once: bool,
        /// Time without a reply to any line after which it gives up.
        timeout: Option<Duration>,
    },
    /// Send at once.
    Now {
        /// Account of the sender.
        account: Account,
        /// Recipients.
        addressing: Addressing,
        /// Prefix of the ids; random by default.
        id: Option<IdPrefix>,
        /// Time without a reply to any line after which it gives up.
        timeout: Option<Duration>,
        /// Text to send instead of standard input.
        text: Option<String>,
    },
}

/// Error of `send`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendCommandError {
    /// The server cannot be reached, or refuses the client.
    #[error(transparent)]
    Send(#[from] client::SendError),
    /// The queue cannot be used.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// No thread can be started to read standard input.
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
}

/// Returns the flags of `send`, with their help.
pub(crate) fn options() -> OptionParser<SendArgs> {
    construct!([queue(), drain(), now()])
        .to_options()
        .descr("Sends TEXT, or each line of standard input, exactly once, even if connections are lost")
        .header("Exits with 0 if everything was accepted. Otherwise it reports what failed and why, and exits with 1.")
        .footer(FOOTER)
}

fn queue() -> impl Parser<SendArgs> {
    let directory = long("queue")
        .argument::<PathBuf>("DIR")
        .help("Puts the text or the lines into the queue in DIR, and returns once they are on the disk");
    let (addressing, text) = (addressing(), text());
    construct!(SendArgs::Queue { directory, addressing, text })
}

fn drain() -> impl Parser<SendArgs> {
    let directory = long("drain")
        .argument::<PathBuf>("DIR")
        .help("Sends what is in the queue in DIR, and what is put into it, without end");
    let once = long("once").switch().help("With --drain: exits once the queue is empty");
    let (account, timeout) = (super::account::flags(), timeout());
    construct!(SendArgs::Drain { directory, once, timeout, account })
}

fn now() -> impl Parser<SendArgs> {
    let id = long("id")
        .argument::<String>("PREFIX")
        .help("Prefix of the lines' ids: the same lines with the same PREFIX are sent once [default: random]")
        .parse(|prefix| IdPrefix::parse(&prefix).map_err(|error| format!("--id: {error}")))
        .optional();
    let (account, addressing, timeout, text) = (super::account::flags(), addressing(), timeout(), text());
    construct!(SendArgs::Now { account, addressing, id, timeout, text })
}

fn addressing() -> impl Parser<Addressing> {
    long("to")
        .argument::<String>("NAMES")
        .help("Peers and rooms, separated by commas; without it, each line is NAMES: TEXT")
        .parse(|names| destinations(&names))
        .many()
        .map(|lists| if lists.is_empty() { Addressing::InLine } else { Addressing::To(lists.concat()) })
}

fn timeout() -> impl Parser<Option<Duration>> {
    let help = format!(
        "Seconds without a reply to any line until it gives up [default: {SEND_GIVE_UP_S_DEFAULT}; --drain without --once: never]"
    );
    long("timeout").argument::<String>("S").help(help.as_str()).parse(|seconds| seconds_of(&seconds)).optional()
}

fn text() -> impl Parser<Option<String>> {
    positional::<String>("TEXT")
        .help("Text to send [default: each line of standard input]")
        .parse(|text| if text.trim().is_empty() { Err("TEXT is empty; write the text to send") } else { Ok(text) })
        .optional()
}

/// Environment variables, and examples.
const FOOTER: &str =
    "HOLDLINE_PASSWORD is sent as the password. Leave it unset if your name has none, unless a plugin checks logins.

Examples:

        holdline send --to=bob,#home 'dinner at 7'
        df -h / | holdline send --as=backup --to=alice
        sensor | holdline send --as=boiler --to=#home --server=pi.local:7878
        holdline send --queue=/var/spool/motion --to=bob 'motion in the hall'
        holdline send --drain=/var/spool/motion --as=motion --server=pi.local:7878";

/// Sends or queues everything. Returns `true` if all of it was accepted.
pub(crate) fn run(args: SendArgs) -> Result<bool, SendCommandError> {
    let _signals = (super::hangup::outlive(), super::file_limit::outlive());
    match args {
        SendArgs::Queue { directory, addressing, text } => {
            let is_one_text = text.is_some();
            let mut queue = Queue::open(&directory)?;
            // The queue gives each message an id of its own.
            let input = input(text, LineForm { addressing, ids: IdPrefix::random() })?;
            let summary = queue.append_all(&input, |number, error| {
                print_failure((!is_one_text).then_some(number), "queued", error);
            })?;
            Ok(summary.failed == 0)
        }
        SendArgs::Drain { directory, account, once, timeout } => drain_queue(&directory, account, once, timeout),
        SendArgs::Now { account, addressing, id, timeout, text } => {
            let account = super::known_servers::confirm(account);
            let is_one_text = text.is_some();
            let ids = id.unwrap_or_else(IdPrefix::random);
            let resumption = Resumption::Ids(ids.clone());
            let input = input(text, LineForm { addressing, ids: ids.clone() })?;
            let timeout = timeout.unwrap_or(TIMEOUT_DEFAULT);
            let job = SendJob { give_up_after: Some(timeout), resumption, input };
            Ok(is_whole(smol::block_on(client::send(account, job, NowReport { is_one_text, ids }))?))
        }
    }
}

fn drain_queue(
    directory: &Path,
    account: Account,
    once: bool,
    timeout: Option<Duration>,
) -> Result<bool, SendCommandError> {
    let account = super::known_servers::confirm(account);
    let queue = Queue::open(directory)?;
    let reader = queue.read(once)?;
    let timeout = timeout.or(once.then_some(TIMEOUT_DEFAULT));
    let job = SendJob { give_up_after: timeout, resumption: Resumption::Queue, input: reader.lines.clone() };
    let summary = smol::block_on(client::send(account, job, DrainReport { queue }))?;
    reader.join()?;
    Ok(is_whole(summary))
}

/// Whether the server has every line, as far as it is known.
fn is_whole(summary: Summary) -> bool {
    summary.failed == 0 && summary.uncertain == 0
}

/// Prints what a person should know of lines that are sent at once.
struct NowReport {
    is_one_text: bool,
    /// Beginning of the lines' ids.
    ids: IdPrefix,
}

impl SendReport for NowReport {
    fn outcome(&mut self, number: u64, outcome: LineOutcome<'_>) -> Result<(), ReportError> {
        if let LineOutcome::Failed(error) = outcome {
            print_failure((!self.is_one_text).then_some(number), "sent", error);
        }
        Ok(())
    }

    fn waiting(&mut self, reason: &str) {
        report(reason);
    }

    fn database_replaced(&mut self, accepted: u64) {
        let (accepted, ids) = (accepted_lines(accepted), &self.ids);
        report(format_args!(
            "{REPLACED}, and may lack {accepted}; run this again with --id={ids} and the same input: only what it lacks is sent"
        ));
    }
}

/// Notes outcomes in the queue, and prints what a person should know.
struct DrainReport {
    queue: Queue,
}

impl SendReport for DrainReport {
    fn outcome(&mut self, number: u64, outcome: LineOutcome<'_>) -> Result<(), ReportError> {
        self.queue.note(number, outcome)?;
        if let LineOutcome::Failed(error) = outcome {
            report(format_args!("message {number} is not sent, and moved to the table refused: {error}"));
        }
        Ok(())
    }

    fn waiting(&mut self, reason: &str) {
        report(reason);
    }

    fn disconnected(&mut self, reason: &str) {
        report(format_args!("{reason}; trying again"));
    }

    fn reconnected(&mut self) {
        report("reconnected");
    }

    fn database_replaced(&mut self, accepted: u64) {
        report(format_args!("{REPLACED}, and may lack {}, which left the queue", accepted_lines(accepted)));
    }
}

fn accepted_lines(accepted: u64) -> String {
    match accepted {
        1 => "the line that it had accepted".to_owned(),
        lines => format!("the {lines} lines that it had accepted"),
    }
}

fn input(text: Option<String>, form: LineForm) -> Result<LineSource, SendCommandError> {
    match text {
        Some(text) => Ok(LineSource::of_text(text, &form)),
        None => LineSource::read(io::stdin(), form).map_err(SendCommandError::Input),
    }
}

fn print_failure(line: Option<u64>, done: &str, error: &ErrorFrame) {
    match line {
        Some(number) => report(format_args!("line {number}: {error}")),
        None => report(format_args!("not {done}: {error}")),
    }
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
