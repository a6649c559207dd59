//! Plain lines, for people at `nc` and for scripts. Owns the form of every line in both directions; never does I/O, and never decides
//! what is sent.

pub(super) mod arguments;
mod codec;
mod encode;

use super::commands::plain_commands;
use super::refusal::{Code, Refusal, Rejected};
use super::request::{ClientRequest, Login, ParsedRequest, Request};
use crate::message::PeerName;
use crate::password::Password;

pub(crate) use self::arguments::parse_destinations;
#[cfg(test)]
pub(crate) use self::codec::session;
pub use self::codec::{FRAMING, decoder};
pub(in crate::protocol) use self::encode::encode_login_help;
pub use self::encode::{encode_message, encode_reply};

/// Registers a name, before a login.
const REGISTER: &str = "/register";

/// Reads `NAME`, `NAME PASSWORD` or `/register NAME PASSWORD`; `None` for a line of blanks.
pub fn parse_login(line: &str) -> Option<Result<Login, Rejected>> {
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    let (word, rest) = split_word(line);
    let registers = word == REGISTER;
    let (name, password) = if registers { split_word(rest) } else { (word, rest) };
    if registers && (password.is_empty() || password.contains(char::is_whitespace)) {
        let words = format!("{REGISTER} takes a name and a password without blanks; not registered");
        return Some(Err(Refusal::new(Code::BadRequest, words).into()));
    }
    let login = PeerName::parse(name)
        .map(|name| {
            let password = (!password.is_empty()).then(|| Password::new(password.to_owned()));
            Login { id: None, name, password, registers, acks: false }
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
