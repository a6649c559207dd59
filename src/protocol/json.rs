//! JSON lines, for programs: one object a line in both directions. Owns how the frames of clients are read; never does I/O, and never decides
//! what is sent.

mod codec;
mod encode;
pub(super) mod fields;
pub(super) mod requests;

use self::fields::{FieldError, Fields};
use super::commands::{RESERVED_TYPES, json_command};
use super::refusal::{Code, Refusal, Rejected};
use super::request::{ClientRequest, Login, ParsedRequest, Request};
use crate::limits::REQUEST_ID_BYTES_MAX;
use crate::message::{PeerName, RequestId, quoted};
use crate::password::Password;

pub use self::codec::{DETECTOR, FRAMING, decoder};
pub use self::encode::{encode_message, encode_reply, reply_frame};

/// Reads a frame before the login; `None` for a line of blanks.
pub fn parse_login(line: &str) -> Option<Result<Login, Rejected>> {
    parse_line(
        line,
        |_| "not logged in",
        |id, fields| match fields.kind()? {
            kind @ ("login" | "register") => {
                let registers = kind == "register";
                let password = fields.password.optional_string("password")?.filter(|password| !password.is_empty());
                if registers && password.is_none() {
                    return Err(FieldError::new(Code::BadRequest, "\"password\" is missing"));
                }
                Ok(Login {
                    id: id.clone(),
                    name: PeerName::parse(&fields.name.string("name")?)
                        .map_err(|bad| FieldError::new(Code::BadName, bad))?,
                    password: password.map(Password::new),
                    registers,
                    acks: fields.acks.optional("acks", "true or false")?.unwrap_or(false),
                })
            }
            kind if is_known(kind) => Err(FieldError::new(
                Code::NotLoggedIn,
                format_args!("\"{kind}\" needs a login; send {{\"type\":\"login\",\"name\":…}} first"),
            )),
            kind => Err(unknown(kind)),
        },
    )
}

/// Reads a frame after the login, which may name this many destinations; `None` for a line of blanks.
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
    // The id is known even if something else is wrong.
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
        let what = format_args!("\"id\" has {} bytes; expected 1 to {REQUEST_ID_BYTES_MAX}", id.len());
        FieldError::new(Code::BadRequest, what)
    })
}

/// Whether a type exists, or is reserved for a later version.
fn is_known(kind: &str) -> bool {
    json_command(kind).is_some() || RESERVED_TYPES.contains(&kind)
}

fn unknown(kind: &str) -> FieldError {
    FieldError::new(Code::UnknownType, format_args!("{} is not a type of this version", quoted(kind)))
}

fn parse_request(fields: &Fields<'_>, destinations_max: u64) -> Result<Request, FieldError> {
    let kind = fields.kind()?;
    match json_command(kind) {
        Some(command) => (command.parse)(fields, destinations_max),
        None if kind == "login" => {
            Err(FieldError::new(Code::LoggedInAlready, "you are logged in already; connect again to use another name"))
        }
        None => Err(unknown(kind)),
    }
}

impl FieldError {
    fn refusal(self, outcome: &str) -> Refusal {
        Refusal::new(self.code, self.what).with_outcome(outcome)
    }
}

#[cfg(test)]
mod tests;
