//! What a program asks by itself: the requests of the protocol, and its values. Owns the form of `get` and `set`; never
//! decides what comes of a request.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::exchange::Exchange;
use super::host::ProcessHost;
use crate::limits::{DESTINATIONS_DEFAULT, REQUEST_ID_BYTES_MAX, VALUE_BYTES_MAX, VALUE_KEY_BYTES_MAX};
use crate::message::RequestId;
use crate::plugin::Failure;
use crate::plugin::answer::RawAnswer;
use crate::protocol::{Code, ParsedRequest, Refusal, Rejected, Reply, json};

/// One line with a `type`.
#[derive(Debug, PartialEq)]
pub(super) enum ProgramRequest {
    /// A request of the protocol.
    Ask(ParsedRequest),
    /// Which value has it kept under this key?
    Get { id: Option<RequestId>, key: String },
    /// Keep a value, or forget it.
    Set { id: Option<RequestId>, key: String, value: Option<Value> },
    /// It has dealt with what it was told.
    Answer { id: String, answer: Result<RawAnswer, Failure> },
}

/// `get` and `set` as they are written.
#[derive(Deserialize)]
struct RawProgramRequest {
    id: Option<String>,
    key: String,
    value: Option<Value>,
}

/// What is answered to them.
#[derive(Serialize)]
struct ValueReply<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    key: &'a str,
    /// Of a `value`: null where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
}

impl ProgramRequest {
    /// Reads a line that is an object with this `type`. What is wrong with it is answered in its place.
    pub(super) fn parse(kind: &Value, line: &str) -> ProgramRequest {
        match kind.as_str() {
            Some("get") => {
                ProgramRequest::value(line, |RawProgramRequest { key, .. }, id| ProgramRequest::Get { id, key })
            }
            Some("set") => ProgramRequest::value(line, |RawProgramRequest { key, value, .. }, id| {
                ProgramRequest::Set { id, key, value }
            }),
            _ => match json::parse(line, DESTINATIONS_DEFAULT) {
                Some(asked) => ProgramRequest::Ask(asked),
                None => unreachable!("an object is no line of blanks"),
            },
        }
    }

    fn value(line: &str, said: impl FnOnce(RawProgramRequest, Option<RequestId>) -> ProgramRequest) -> ProgramRequest {
        let raw = match serde_json::from_str::<RawProgramRequest>(line) {
            Ok(raw) => raw,
            Err(error) => return malformed(None, error.to_string()),
        };
        let id = raw.id.as_deref().map(RequestId::parse);
        if id == Some(None) {
            return malformed(None, format!("\"id\" is not of 1 to {REQUEST_ID_BYTES_MAX} bytes"));
        }
        let id = id.flatten();
        if !(1..=VALUE_KEY_BYTES_MAX).contains(&raw.key.len()) {
            let what = format!("\"key\" is of {} bytes; 1 to {VALUE_KEY_BYTES_MAX} are wanted", raw.key.len());
            return malformed(id, what);
        }
        if raw.value.as_ref().is_some_and(|value| value.to_string().len() > VALUE_BYTES_MAX) {
            return malformed(id, format!("\"value\" is of more than {VALUE_BYTES_MAX} bytes"));
        }
        said(raw, id)
    }
}

fn malformed(id: Option<RequestId>, what: String) -> ProgramRequest {
    ProgramRequest::Ask(Err(Rejected { id, refusal: refusal(Code::BadRequest, what) }))
}

fn refusal(code: Code, what: String) -> Refusal {
    Refusal::new(code, what).with_outcome("nothing was done")
}

/// Does what was said, in order; what stands together is handed in together. Nothing that may be answered at length is asked
/// while the program does not read.
pub(super) async fn serve(said: Vec<ProgramRequest>, exchange: &Exchange, host: &dyn ProcessHost) {
    let mut asked = Vec::new();
    for said in said {
        match said {
            ProgramRequest::Ask(Ok(next)) if next.request.has_large_reply() => {
                submit(&mut asked, exchange, host).await;
                asked.push(Ok(next));
                submit(&mut asked, exchange, host).await;
            }
            ProgramRequest::Ask(next) => asked.push(next),
            ProgramRequest::Answer { id, answer } => {
                submit(&mut asked, exchange, host).await;
                exchange.answer(&id, answer);
            }
            ProgramRequest::Get { id, key } => {
                submit(&mut asked, exchange, host).await;
                exchange.until_read().await;
                let value = Some(host.get(&key).unwrap_or_default());
                tell(exchange, &ValueReply { r#type: "value", id: as_str(&id), key: &key, value });
            }
            ProgramRequest::Set { id, key, value } => {
                submit(&mut asked, exchange, host).await;
                exchange.until_read().await;
                match host.set(key.clone(), value).await {
                    Ok(()) => tell(exchange, &ValueReply { r#type: "set", id: as_str(&id), key: &key, value: None }),
                    Err(failure) => refuse(exchange, id.as_ref(), failure.to_string()),
                }
            }
        }
    }
    submit(&mut asked, exchange, host).await;
}

async fn submit(asked: &mut Vec<ParsedRequest>, exchange: &Exchange, host: &dyn ProcessHost) {
    if !asked.is_empty() {
        exchange.until_read().await;
        host.submit(std::mem::take(asked)).await;
    }
}

fn as_str(id: &Option<RequestId>) -> Option<&str> {
    id.as_ref().map(RequestId::as_str)
}

fn tell(exchange: &Exchange, kept: &ValueReply<'_>) {
    let line = serde_json::to_string(kept).expect("a value is JSON");
    exchange.tell(&line);
}

fn refuse(exchange: &Exchange, id: Option<&RequestId>, what: String) {
    let mut line = Vec::new();
    json::encode_reply(id, &Reply::Refused(refusal(Code::Internal, what)), &mut line);
    exchange.tell(String::from_utf8_lossy(&line).trim_end());
}
