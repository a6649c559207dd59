//! Arguments of plain lines: how each command's are read, and the destinations of a message. Owns the words about what is wrong with
//! them.

use std::collections::HashSet;
use std::fmt::Display;

use crate::limits::{HISTORY_MESSAGES_DEFAULT, HISTORY_MESSAGES_MAX, TOPIC_BYTES_MAX};
use crate::message::{Destination, Room, Text, quoted};
use crate::password::Password;
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::request::{Draft, HistoryRequest, Request};

/// Reads `NAME, #ROOM: TEXT`.
pub(super) fn message(line: &str, destinations_max: u64) -> Result<Request, Refusal> {
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

/// Reads `NAME, #ROOM, …`: at most this many destinations.
pub(crate) fn parse_destinations(list: &str, destinations_max: u64) -> Result<Vec<Destination>, Refusal> {
    if !list.contains(',') {
        return Ok(vec![destination(list)?]);
    }
    let mut to = Vec::new();
    let mut named = HashSet::new();
    for name in list.split(',') {
        let destination = destination(name)?;
        if !named.insert(destination.clone()) {
            continue;
        }
        if to.len() as u64 == destinations_max {
            let what = format_args!(
                "more than {destinations_max} names (destinations_max) before the \":\"; write to fewer at a time"
            );
            return Err(not_sent(Code::BadRequest, what));
        }
        to.push(destination);
    }
    Ok(to)
}

fn destination(name: &str) -> Result<Destination, Refusal> {
    Destination::parse(name.trim()).map_err(|bad| not_sent(Code::BadName, bad))
}

/// Returns the request of a command that takes no arguments.
pub(in crate::protocol) fn alone(command: &str, arguments: &str, request: Request) -> Result<Request, Refusal> {
    if arguments.is_empty() {
        return Ok(request);
    }
    let arguments = quoted(arguments);
    Err(not_done(Code::BadRequest, format_args!("{arguments} after {command}, which takes no arguments")))
}

/// Reads `#ROOM`.
pub(in crate::protocol) fn room(command: &str, arguments: &str) -> Result<Room, Refusal> {
    if arguments.is_empty() {
        return Err(not_done(Code::BadRequest, format_args!("{command} takes a #ROOM, such as {command} #home")));
    }
    if arguments.contains(char::is_whitespace) {
        let arguments = quoted(arguments);
        return Err(not_done(Code::BadRequest, format_args!("{arguments} after {command}, which takes one #ROOM")));
    }
    Room::parse(arguments).map_err(|bad| not_done(Code::BadName, bad))
}

/// Reads `#ROOM [TEXT]`, where the text `-` clears the topic.
pub(in crate::protocol) fn topic(command: &str, arguments: &str) -> Result<Request, Refusal> {
    let (name, text) = arguments.split_once(char::is_whitespace).unwrap_or((arguments, ""));
    let (room, text) = (room(command, name)?, text.trim());
    if text.len() > TOPIC_BYTES_MAX {
        return Err(not_done(Code::TooLong, format_args!("the topic is longer than {TOPIC_BYTES_MAX} bytes")));
    }
    Ok(match text {
        "" => Request::ShowTopic { room },
        "-" => Request::SetTopic { room, topic: None },
        text => Request::SetTopic { room, topic: Text::clean(text) },
    })
}

/// Reads `PASSWORD`.
pub(in crate::protocol) fn register(command: &str, arguments: &str) -> Result<Request, Refusal> {
    let [password] = words(command, "one password without blanks", arguments)?;
    Ok(Request::Register { password: Password::new(password.to_owned()) })
}

/// Reads `OLD NEW`.
pub(in crate::protocol) fn change_password(command: &str, arguments: &str) -> Result<Request, Refusal> {
    let [old, new] = words(command, "the old password and the new one", arguments)?.map(str::to_owned);
    Ok(Request::ChangePassword { old: Password::new(old), new: Password::new(new) })
}

/// Splits arguments into this many words. They are not repeated in the refusal, because they may be passwords.
fn words<'a, const N: usize>(command: &str, wanted: &str, arguments: &'a str) -> Result<[&'a str; N], Refusal> {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let count = words.len();
    words
        .try_into()
        .map_err(|_| not_done(Code::BadRequest, format_args!("{count} words after {command}, which takes {wanted}")))
}

/// Reads `WORDS`.
pub(in crate::protocol) fn search(command: &str, arguments: &str) -> Result<Request, Refusal> {
    let words = Text::clean(arguments).ok_or_else(|| {
        not_done(Code::BadRequest, format_args!("{command} takes words to look for, such as {command} dinner"))
    })?;
    Ok(Request::Search { words, count: HISTORY_MESSAGES_DEFAULT })
}

/// Reads `[NAME or #ROOM] [COUNT]`.
pub(in crate::protocol) fn history(command: &str, arguments: &str) -> Result<Request, Refusal> {
    let mut words = arguments.split_whitespace();
    let (with, count) = match (words.next(), words.next(), words.next()) {
        (None, ..) => (None, None),
        (Some(count), None, _) if is_number(count) => (None, Some(count)),
        (Some(name), count, None) => (Some(name), count),
        _ => {
            let arguments = quoted(arguments);
            let what = format_args!("{arguments} after {command}, which takes a name or #ROOM and a count at most");
            return Err(not_done(Code::BadRequest, what));
        }
    };
    let with = with.map(Destination::parse).transpose().map_err(|bad| not_done(Code::BadName, bad))?;
    let count = count.map_or(Ok(HISTORY_MESSAGES_DEFAULT), |count| parse_count(command, count))?;
    Ok(Request::History(HistoryRequest { with, before: None, count }))
}

/// Reads `[TOKEN]`.
pub(in crate::protocol) fn ping(_: &str, arguments: &str) -> Result<Request, Refusal> {
    Ok(Request::Ping { token: Text::clean(arguments) })
}

fn parse_count(command: &str, count: &str) -> Result<usize, Refusal> {
    count.parse().ok().filter(|count| (1..=HISTORY_MESSAGES_MAX).contains(count)).ok_or_else(|| {
        let count = quoted(count);
        let what =
            format_args!("{count} is not a valid count for {command}: give a number from 1 to {HISTORY_MESSAGES_MAX}");
        not_done(Code::BadRequest, what)
    })
}

/// Whether a word is meant as a number, valid or not.
fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn not_sent(code: Code, what: impl Display) -> Refusal {
    Refusal::new(code, format!("{what}; not sent"))
}

fn not_done(code: Code, what: impl Display) -> Refusal {
    Refusal::new(code, format!("{what}; nothing was done"))
}
