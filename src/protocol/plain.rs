//! Plain lines: what people type at `nc`, and what scripts echo into it.
//! Owns the form of every line in both directions; never does I/O, and never decides who may be written to.

mod codec;
mod encode;

use std::collections::HashSet;
use std::fmt::Display;

use crate::limits::{HISTORY_MESSAGES_DEFAULT, HISTORY_MESSAGES_MAX};
use crate::message::{Destination, PeerName, Room, Text, quoted};
use crate::protocol::{
    ClientRequest, Code, Draft, HistoryRequest, Login, ParsedRequest, Refusal, Rejected, Request, too_many_destinations,
};

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
        .map_err(|bad| Refusal::new(Code::BadName, format!("{bad}; you may try again")).into());
    Some(login)
}

/// Reads a line of one who is logged in, which may name so many destinations; `None` for a line of blanks.
pub fn parse(line: &str, destinations_max: u64) -> Option<ParsedRequest> {
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    let request = if line.starts_with('/') { parse_command(line) } else { parse_message(line, destinations_max) };
    Some(request.map(ClientRequest::from).map_err(Rejected::from))
}

fn parse_message(line: &str, destinations_max: u64) -> Result<Request, Refusal> {
    let (list, text) = line.split_once(':').ok_or_else(|| {
        let line = quoted(line);
        not_sent(Code::BadRequest, format_args!("{line} has no \":\"; write NAME: TEXT, or /help for the commands"))
    })?;
    let to = parse_destinations(list, destinations_max)?;
    let text = Text::clean(text).ok_or_else(|| {
        let line = quoted(line);
        not_sent(Code::Empty, format_args!("{line} has no text after the \":\"; write NAME: TEXT"))
    })?;
    Ok(Request::Send(Draft { to, text }))
}

/// Reads `NAME, #ROOM, …`, which may name so many destinations.
pub(crate) fn parse_destinations(list: &str, destinations_max: u64) -> Result<Vec<Destination>, Refusal> {
    if !list.contains(',') {
        return Ok(vec![parse_destination(list)?]);
    }
    let mut to = Vec::new();
    let mut named = HashSet::new();
    for name in list.split(',') {
        let destination = parse_destination(name)?;
        if !named.insert(destination.clone()) {
            continue;
        }
        if to.len() as u64 == destinations_max {
            let what =
                format!("{} before the \":\"; write to fewer at a time", too_many_destinations(destinations_max));
            return Err(not_sent(Code::BadRequest, what));
        }
        to.push(destination);
    }
    Ok(to)
}

fn parse_destination(name: &str) -> Result<Destination, Refusal> {
    Destination::parse(name.trim()).map_err(|bad| not_sent(Code::BadName, bad))
}

fn parse_command(line: &str) -> Result<Request, Refusal> {
    let (command, arguments) = split_word(line);
    match command {
        "/help" => without_arguments(command, arguments, Request::Help),
        "/who" => without_arguments(command, arguments, Request::Who),
        "/join" => parse_room(command, arguments).map(|room| Request::Join { room }),
        "/leave" => parse_room(command, arguments).map(|room| Request::Leave { room }),
        "/search" => parse_search(arguments),
        "/history" => parse_history(arguments),
        "/ping" => Ok(Request::Ping { token: Text::clean(arguments) }),
        "/plugins" => without_arguments(command, arguments, Request::Plugins),
        "/quit" => without_arguments(command, arguments, Request::Quit),
        _ => Request::command(&command[1..], arguments),
    }
}

fn without_arguments(command: &str, arguments: &str, request: Request) -> Result<Request, Refusal> {
    if arguments.is_empty() {
        return Ok(request);
    }
    let arguments = quoted(arguments);
    Err(not_done(Code::BadRequest, format_args!("{arguments} after {command}, which stands alone")))
}

fn parse_room(command: &str, arguments: &str) -> Result<Room, Refusal> {
    if arguments.is_empty() || arguments.contains(char::is_whitespace) {
        let arguments = quoted(arguments);
        return Err(not_done(Code::BadRequest, format_args!("{arguments} after {command}, which takes one #ROOM")));
    }
    Room::parse(arguments).map_err(|bad| not_done(Code::BadName, bad))
}

fn parse_search(arguments: &str) -> Result<Request, Refusal> {
    let words = Text::clean(arguments)
        .ok_or_else(|| not_done(Code::BadRequest, "\"\" after /search, which takes the words to look for"))?;
    Ok(Request::Search { words, count: HISTORY_MESSAGES_DEFAULT })
}

fn parse_history(arguments: &str) -> Result<Request, Refusal> {
    let mut words = arguments.split_whitespace();
    let (with, count) = match (words.next(), words.next(), words.next()) {
        (None, ..) => (None, None),
        (Some(count), None, _) if is_number(count) => (None, Some(count)),
        (Some(name), count, None) => (Some(name), count),
        _ => {
            let arguments = quoted(arguments);
            let what = format_args!("{arguments} after /history, which takes a name or #ROOM and a count at most");
            return Err(not_done(Code::BadRequest, what));
        }
    };
    let with = with.map(Destination::parse).transpose().map_err(|bad| not_done(Code::BadName, bad))?;
    let count = count.map_or(Ok(HISTORY_MESSAGES_DEFAULT), parse_count)?;
    Ok(Request::History(HistoryRequest { with, before: None, count }))
}

fn parse_count(count: &str) -> Result<usize, Refusal> {
    count.parse().ok().filter(|count| (1..=HISTORY_MESSAGES_MAX).contains(count)).ok_or_else(|| {
        let count = quoted(count);
        let what = format_args!("{count} is no count for /history, which is a number from 1 to {HISTORY_MESSAGES_MAX}");
        not_done(Code::BadRequest, what)
    })
}

/// Whether someone meant a number, if only one that is no count.
fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The first word of a trimmed line, and what follows it, trimmed.
fn split_word(line: &str) -> (&str, &str) {
    line.split_once(char::is_whitespace).map_or((line, ""), |(word, rest)| (word, rest.trim_start()))
}

fn not_sent(code: Code, what: impl Display) -> Refusal {
    Refusal::new(code, format!("{what}; not sent"))
}

fn not_done(code: Code, what: impl Display) -> Refusal {
    Refusal::new(code, format!("{what}; nothing was done"))
}

#[cfg(test)]
mod tests;
