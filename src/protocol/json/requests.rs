//! Requests in JSON lines: how each command's keys are read. Owns the words about what is wrong with them.

use std::collections::HashSet;

use super::fields::{FieldError, Fields};
use crate::limits::{HISTORY_MESSAGES_DEFAULT, HISTORY_MESSAGES_MAX, LINE_BYTES_MAX, TOPIC_BYTES_MAX};
use crate::message::{Destination, Room, Seq, Text};
use crate::password::Password;
use crate::protocol::refusal::{Code, unknown_command};
use crate::protocol::request::{Draft, HistoryRequest, Request};

/// Reads `send`.
pub(in crate::protocol) fn send(fields: &Fields<'_>, destinations_max: u64) -> Result<Request, FieldError> {
    let to = parse_destinations(&fields.to.strings("to")?, destinations_max)?;
    let text = fields.text.string("text")?;
    if text.len() > LINE_BYTES_MAX {
        return Err(FieldError::new(Code::TooLong, format_args!("a \"text\" of more than {LINE_BYTES_MAX} bytes")));
    }
    let text = Text::verbatim(&text).ok_or_else(|| FieldError::new(Code::Empty, "\"text\" is empty"))?;
    Ok(Request::Send(Draft { to, text }))
}

/// Reads `ack`.
pub(in crate::protocol) fn ack(fields: &Fields<'_>, _: u64) -> Result<Request, FieldError> {
    Ok(Request::Ack { seq: Seq::new(fields.seq.number("seq")?) })
}

/// Reads the key `room`.
pub(in crate::protocol) fn room(fields: &Fields<'_>) -> Result<Room, FieldError> {
    Room::parse(&fields.room.string("room")?).map_err(|bad| FieldError::new(Code::BadName, bad))
}

/// Reads `topic`: without `text` it shows the topic, and an empty `text` clears it.
pub(in crate::protocol) fn topic(fields: &Fields<'_>, _: u64) -> Result<Request, FieldError> {
    let room = room(fields)?;
    let Some(text) = fields.text.optional_string("text")? else { return Ok(Request::ShowTopic { room }) };
    if text.len() > TOPIC_BYTES_MAX {
        return Err(FieldError::new(Code::TooLong, format_args!("the topic is longer than {TOPIC_BYTES_MAX} bytes")));
    }
    Ok(Request::SetTopic { room, topic: Text::verbatim(&text) })
}

/// Reads `register`.
pub(in crate::protocol) fn register(fields: &Fields<'_>, _: u64) -> Result<Request, FieldError> {
    Ok(Request::Register { password: Password::new(fields.password.string("password")?) })
}

/// Reads `password`.
pub(in crate::protocol) fn change_password(fields: &Fields<'_>, _: u64) -> Result<Request, FieldError> {
    let [old, new] = [fields.old.string("old")?, fields.new.string("new")?].map(Password::new);
    Ok(Request::ChangePassword { old, new })
}

/// Reads `history`.
pub(in crate::protocol) fn history(fields: &Fields<'_>, _: u64) -> Result<Request, FieldError> {
    Ok(Request::History(HistoryRequest {
        with: fields.with.optional_string("with")?.map(|with| parse_destination(&with)).transpose()?,
        before: fields.before.optional_number("before")?.map(Seq::new),
        count: parse_limit(fields)?,
    }))
}

/// Reads `search`.
pub(in crate::protocol) fn search(fields: &Fields<'_>, _: u64) -> Result<Request, FieldError> {
    let text = fields.text.string("text")?;
    let words = Text::clean(&text).ok_or_else(|| FieldError::new(Code::Empty, "\"text\" contains no words"))?;
    Ok(Request::Search { words, count: parse_limit(fields)? })
}

/// Reads `command`.
pub(in crate::protocol) fn command(fields: &Fields<'_>, _: u64) -> Result<Request, FieldError> {
    let arguments = fields.arguments.optional_string("arguments")?.unwrap_or_default();
    let name = fields.name.string("name")?;
    Request::command(&name, &arguments).map_err(|_| FieldError::new(Code::UnknownCommand, unknown_command(&name)))
}

fn parse_destinations(names: &[String], destinations_max: u64) -> Result<Vec<Destination>, FieldError> {
    let mut to = Vec::new();
    let mut named = HashSet::new();
    for name in names {
        let destination = parse_destination(name)?;
        if !named.insert(destination.clone()) {
            continue;
        }
        if to.len() as u64 == destinations_max {
            let what = format_args!("more than {destinations_max} names (destinations_max) in \"to\"");
            return Err(FieldError::new(Code::BadRequest, what));
        }
        to.push(destination);
    }
    if to.is_empty() {
        return Err(FieldError::new(Code::BadRequest, "\"to\" is empty; expected a name or a room"));
    }
    Ok(to)
}

fn parse_destination(name: &str) -> Result<Destination, FieldError> {
    Destination::parse(name).map_err(|bad| FieldError::new(Code::BadName, bad))
}

fn parse_limit(fields: &Fields<'_>) -> Result<usize, FieldError> {
    let limit = fields.limit.optional_number("limit")?;
    let count = limit.map_or(Some(HISTORY_MESSAGES_DEFAULT), |limit| usize::try_from(limit).ok());
    count.filter(|count| (1..=HISTORY_MESSAGES_MAX).contains(count)).ok_or_else(|| {
        let what = format_args!("\"limit\" is {}; expected 1 to {HISTORY_MESSAGES_MAX}", limit.unwrap_or_default());
        FieldError::new(Code::BadRequest, what)
    })
}
