//! JSON lines: one object a line in both directions, for programs.
//! Owns the form of every frame; never does I/O, and never decides who may be written to.

mod codec;
mod encode;
mod fields;

use std::collections::HashSet;

use self::fields::{FieldError, Fields};
use crate::limits::{HISTORY_MESSAGES_DEFAULT, HISTORY_MESSAGES_MAX, LINE_BYTES_MAX, REQUEST_ID_BYTES_MAX};
use crate::message::{Destination, PeerName, RequestId, Room, Seq, Text, quoted};
use crate::protocol::{
    ClientRequest, Code, Draft, HistoryRequest, Login, ParsedRequest, Refusal, Rejected, Request,
    too_many_destinations, unknown_command,
};

pub(crate) use self::codec::session;
pub use self::codec::{DETECTOR, FRAMING, decoder};
pub use self::encode::{encode_message, encode_reply};

/// Reads a frame of one who is not logged in; `None` for a line of blanks.
pub fn parse_login(line: &str) -> Option<Result<Login, Rejected>> {
    parse_line(
        line,
        |_| "not logged in",
        |id, fields| match fields.kind()? {
            "login" => Ok(Login {
                id: id.clone(),
                name: PeerName::parse(&fields.name.string("name")?)
                    .map_err(|bad| FieldError::new(Code::BadName, bad))?,
                password: fields.password.optional_string("password")?.filter(|password| !password.is_empty()),
                acks: fields.acks.optional("acks", "true or false")?.unwrap_or(false),
            }),
            kind if is_known(kind) => Err(FieldError::new(
                Code::NotLoggedIn,
                format_args!("\"{kind}\" before a login; send {{\"type\":\"login\",\"name\":…}} first"),
            )),
            kind => Err(unknown(kind)),
        },
    )
}

/// Reads a frame of one who is logged in, which may name so many destinations; `None` for a line of blanks.
pub fn parse(line: &str, destinations_max: u64) -> Option<ParsedRequest> {
    let outcome = |fields: &Fields<'_>| match fields.kind() {
        Ok("send") => "not sent",
        _ => "nothing was done",
    };
    parse_line(line, outcome, |id, fields| {
        let request = parse_request(fields, destinations_max)?;
        Ok(ClientRequest { id: id.clone(), request })
    })
}

fn parse_line<T>(
    line: &str,
    outcome: impl FnOnce(&Fields<'_>) -> &'static str,
    parse: impl FnOnce(&Option<RequestId>, &Fields<'_>) -> Result<T, FieldError>,
) -> Option<Result<T, Rejected>> {
    if line.trim().is_empty() {
        return None;
    }
    let mut fields = Fields::default();
    let read = fields.read(line);
    // The id is known though something else may be wrong.
    let id = fields.id.optional_string("id").and_then(|id| id.map(|id| parse_id(&id)).transpose());
    let (id, field_error) = match (id, read) {
        (Ok(id), Ok(())) => match parse(&id, &fields) {
            Ok(parsed) => return Some(Ok(parsed)),
            Err(field_error) => (id, field_error),
        },
        (Ok(id), Err(field_error)) => (id, field_error),
        (Err(field_error), _) => (None, field_error),
    };
    Some(Err(Rejected { id, refusal: field_error.refusal(outcome(&fields)) }))
}

fn parse_id(id: &str) -> Result<RequestId, FieldError> {
    RequestId::parse(id).ok_or_else(|| {
        let what = format_args!("\"id\" is of {} bytes; 1 to {REQUEST_ID_BYTES_MAX} are wanted", id.len());
        FieldError::new(Code::BadRequest, what)
    })
}

/// The types of frames that a client may send, but for `login`.
const KINDS: [&str; 11] =
    ["send", "ack", "join", "leave", "who", "history", "search", "command", "plugins", "ping", "register"];

fn is_known(kind: &str) -> bool {
    KINDS.contains(&kind)
}

fn unknown(kind: &str) -> FieldError {
    FieldError::new(Code::UnknownType, format_args!("{} is no type of this version", quoted(kind)))
}

fn parse_request(fields: &Fields<'_>, destinations_max: u64) -> Result<Request, FieldError> {
    match fields.kind()? {
        "send" => parse_send(fields, destinations_max),
        "ack" => Ok(Request::Ack { seq: Seq::new(fields.seq.number("seq")?) }),
        "join" => Ok(Request::Join { room: parse_room(fields)? }),
        "leave" => Ok(Request::Leave { room: parse_room(fields)? }),
        "who" => Ok(Request::Who),
        "history" => Ok(Request::History(HistoryRequest {
            with: fields.with.optional_string("with")?.map(|with| parse_destination(&with)).transpose()?,
            before: fields.before.optional_number("before")?.map(Seq::new),
            count: parse_limit(fields)?,
        })),
        "search" => {
            let text = fields.text.string("text")?;
            let words = Text::clean(&text).ok_or_else(|| FieldError::new(Code::Empty, "\"text\" holds no words"))?;
            Ok(Request::Search { words, count: parse_limit(fields)? })
        }
        "command" => {
            let arguments = fields.arguments.optional_string("arguments")?.unwrap_or_default();
            parse_command(&fields.name.string("name")?, &arguments)
        }
        "plugins" => Ok(Request::Plugins),
        "ping" => Ok(Request::Ping { token: None }),
        "login" => Err(FieldError::new(Code::LoggedInAlready, "a second login; connect again for another name")),
        kind => Err(unknown(kind)),
    }
}

fn parse_send(fields: &Fields<'_>, destinations_max: u64) -> Result<Request, FieldError> {
    let to = parse_destinations(&fields.to.strings("to")?, destinations_max)?;
    let text = fields.text.string("text")?;
    if text.len() > LINE_BYTES_MAX {
        return Err(FieldError::new(Code::TooLong, format_args!("a \"text\" of more than {LINE_BYTES_MAX} bytes")));
    }
    let text = Text::kept(&text).ok_or_else(|| FieldError::new(Code::Empty, "\"text\" is empty"))?;
    Ok(Request::Send(Draft { to, text }))
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
            return Err(FieldError::new(
                Code::BadRequest,
                format_args!("{} in \"to\"", too_many_destinations(destinations_max)),
            ));
        }
        to.push(destination);
    }
    if to.is_empty() {
        return Err(FieldError::new(Code::BadRequest, "\"to\" names nobody"));
    }
    Ok(to)
}

fn parse_destination(name: &str) -> Result<Destination, FieldError> {
    Destination::parse(name).map_err(|bad| FieldError::new(Code::BadName, bad))
}

fn parse_room(fields: &Fields<'_>) -> Result<Room, FieldError> {
    Room::parse(&fields.room.string("room")?).map_err(|bad| FieldError::new(Code::BadName, bad))
}

fn parse_command(name: &str, arguments: &str) -> Result<Request, FieldError> {
    Request::command(name, arguments).map_err(|_| FieldError::new(Code::UnknownCommand, unknown_command(name)))
}

fn parse_limit(fields: &Fields<'_>) -> Result<usize, FieldError> {
    let limit = fields.limit.optional_number("limit")?;
    let count = limit.map_or(Some(HISTORY_MESSAGES_DEFAULT), |limit| usize::try_from(limit).ok());
    count.filter(|count| (1..=HISTORY_MESSAGES_MAX).contains(count)).ok_or_else(|| {
        let what = format_args!("\"limit\" is {}; 1 to {HISTORY_MESSAGES_MAX} is wanted", limit.unwrap_or_default());
        FieldError::new(Code::BadRequest, what)
    })
}

impl FieldError {
    fn refusal(self, outcome: &str) -> Refusal {
        Refusal::new(self.code, self.what).with_outcome(outcome)
    }
}

#[cfg(test)]
mod tests;
