//! Requests of a program: those of the protocol, and `get` and `set` for its values. Owns the form of `get` and `set`; never
//! decides the outcome of a request.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::exchange::Exchange;
use super::host::ProcessHost;
use crate::limits::{DESTINATIONS_DEFAULT, REQUEST_ID_BYTES_MAX, VALUE_BYTES_MAX, VALUE_KEY_BYTES_MAX};
use crate::message::{RequestId, brief};
use crate::plugin::Failure;
use crate::plugin::answer::RawAnswer;
use crate::protocol::{Code, ParsedRequest, Refusal, Rejected, Reply, json};

/// Line of a program that is handled in order: a request, or the answer to a notification.
#[derive(Debug, PartialEq)]
pub(super) enum ProgramRequest {
    /// A request of the protocol.
    Protocol(ParsedRequest),
    /// Read a value.
    Get { id: Option<RequestId>, key: String },
    /// Store a value, or remove it.
    Set { id: Option<RequestId>, key: String, value: Option<Value> },
    /// Answer to a call that no client waits for. It counts once the requests before it are submitted.
    Answer { id: String, answer: Result<RawAnswer, Failure> },
}

/// `get` or `set`, as a program writes it.
#[derive(Deserialize)]
struct RawProgramRequest {
    id: Option<String>,
    key: String,
    value: Option<Value>,
}

/// Reply to `get` or `set`.
#[derive(Serialize)]
struct ValueReply<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    key: &'a str,
    /// Value, in the reply to `get`: null if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
}

impl ProgramRequest {
    /// Parses a line that is an object with this `type`. A mistake in it becomes a request that is refused.
    pub(super) fn parse(kind: &Value, line: &str) -> ProgramRequest {
        match kind.as_str() {
            Some("get") => {
                ProgramRequest::parse_value(line, |RawProgramRequest { key, .. }, id| ProgramRequest::Get { id, key })
            }
            Some("set") => ProgramRequest::parse_value(line, |RawProgramRequest { key, value, .. }, id| {
                ProgramRequest::Set { id, key, value }
            }),
            _ => match json::parse(line, DESTINATIONS_DEFAULT) {
                Some(request) => ProgramRequest::Protocol(request),
                None => unreachable!("an object is not a blank line"),
            },
        }
    }

    fn parse_value(
        line: &str,
        make: impl FnOnce(RawProgramRequest, Option<RequestId>) -> ProgramRequest,
    ) -> ProgramRequest {
        let raw = match serde_json::from_str::<RawProgramRequest>(line) {
            Ok(raw) => raw,
            Err(error) => return malformed(None, brief(&error)),
        };
        let id = raw.id.as_deref().map(RequestId::parse);
        if id == Some(None) {
            return malformed(None, format!("\"id\" must have 1 to {REQUEST_ID_BYTES_MAX} bytes"));
        }
        let id = id.flatten();
        if !(1..=VALUE_KEY_BYTES_MAX).contains(&raw.key.len()) {
            let what = format!("\"key\" has {} bytes; 1 to {VALUE_KEY_BYTES_MAX} are allowed", raw.key.len());
            return malformed(id, what);
        }
        if raw.value.as_ref().is_some_and(|value| value.to_string().len() > VALUE_BYTES_MAX) {
            return malformed(id, format!("\"value\" has more than {VALUE_BYTES_MAX} bytes as JSON"));
        }
        make(raw, id)
    }
}

fn malformed(id: Option<RequestId>, what: String) -> ProgramRequest {
    ProgramRequest::Protocol(Err(Rejected { id, refusal: refusal(Code::BadRequest, what) }))
}

fn refusal(code: Code, what: String) -> Refusal {
    Refusal::new(code, what).with_outcome("nothing was done")
}

/// Carries out requests, in order. Consecutive requests of the protocol are submitted together, except those with a large reply.
/// Nothing is carried out while the program does not read its replies.
pub(super) async fn serve(requests: Vec<ProgramRequest>, exchange: &Exchange, host: &dyn ProcessHost) {
    let mut batch = Vec::new();
    for request in requests {
        match request {
            ProgramRequest::Protocol(Ok(next)) if next.request.has_large_reply() => {
                submit(&mut batch, exchange, host).await;
                batch.push(Ok(next));
                submit(&mut batch, exchange, host).await;
            }
            ProgramRequest::Protocol(next) => batch.push(next),
            ProgramRequest::Answer { id, answer } => {
                submit(&mut batch, exchange, host).await;
                exchange.answer(&id, answer);
            }
            ProgramRequest::Get { id, key } => {
                submit(&mut batch, exchange, host).await;
                exchange.until_drained().await;
                let value = Some(host.get(&key).unwrap_or_default());
                reply(exchange, &ValueReply { r#type: "value", id: as_str(&id), key: &key, value });
            }
            ProgramRequest::Set { id, key, value } => {
                submit(&mut batch, exchange, host).await;
                exchange.until_drained().await;
                match host.set(key.clone(), value).await {
                    Ok(()) => reply(exchange, &ValueReply { r#type: "set", id: as_str(&id), key: &key, value: None }),
                    Err(failure) => refuse(exchange, id.as_ref(), failure.to_string()),
                }
            }
        }
    }
    submit(&mut batch, exchange, host).await;
}

async fn submit(batch: &mut Vec<ParsedRequest>, exchange: &Exchange, host: &dyn ProcessHost) {
    if !batch.is_empty() {
        exchange.until_drained().await;
        host.submit(std::mem::take(batch)).await;
    }
}

fn as_str(id: &Option<RequestId>) -> Option<&str> {
    id.as_ref().map(RequestId::as_str)
}

fn reply(exchange: &Exchange, reply: &ValueReply<'_>) {
    exchange.push(|out| {
        serde_json::to_writer(&mut *out, reply).expect("a value is JSON");
        out.push(b'\n');
    });
}

fn refuse(exchange: &Exchange, id: Option<&RequestId>, what: String) {
    exchange.push_reply(id, &Reply::Refused(refusal(Code::Internal, what)));
}
