//! Plain lines, for people at `nc` and for scripts. Owns the form of every line in both directions; never does I/O, and never decides
//! what is sent.

pub(super) mod arguments;
mod codec;
mod encode;

use super::commands::plain_commands;
use super::refusal::{Code, Refusal, Rejected};
use super::request::{ClientRequest, Login, ParsedRequest, Request};
use crate::message::PeerName;

pub(crate) use self::arguments::parse_destinations;
#[cfg(test)]
pub(crate) use self::codec::session;
pub use self::codec::{FRAMING, decoder};
pub use self::encode::{encode_message, encode_reply};

/// Reads `NAME` or `NAME PASSWORD`; `None` for a line of blanks.
pub fn parse_login(line: &str) -> Option<Result<Login, Rejected>> {
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    let (name, password) = split_word(line);
    let login = PeerName::parse(name)
        .map(|name| {
            let password = (!password.is_empty()).then(|| password.to_owned());
            Login { id: None, name, password, acks: false }
        })
        .map_err(|bad| Refusal::new(Code::BadName, format!("{bad}; not logged in")).into());
    Some(login)
}

/// Reads a line of a client that is logged in, which may name this many destinations; `None` for a line of blanks.
pub fn parse(line: &str, destinations_max: u64) -> Option<ParsedRequest> {
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    let request = if line.starts_with('/') { parse_command(line) } else { arguments::message(line, destinations_max) };
    Some(request.map(ClientRequest::from).map_err(Rejected::from))
}

fn parse_command(line: &str) -> Result<Request, Refusal> {
    let (name, arguments) = split_word(line);
    match plain_commands().find(|command| command.name == name) {
        Some(command) => (command.parse)(name, arguments),
        None => Request::command(&name[1..], arguments),
    }
}

/// Returns the first word of a trimmed line, and the trimmed text behind it.
fn split_word(line: &str) -> (&str, &str) {
    line.split_once(char::is_whitespace).map_or((line, ""), |(word, rest)| (word, rest.trim_start()))
}

#[cfg(test)]
mod tests;
