//! Codec of plain lines: neither half has state. Owns the framing and the capabilities; never the form of a line.

use super::{encode_message, encode_reply, parse, parse_login};
use crate::limits::LINE_BYTES_MAX;
use crate::message::{Message, RequestId};
use crate::protocol::{
    Capabilities, Decoder, Encoder, Framing, Login, Rejected, Reply, SessionEncoder, SharedForm, SharedForms,
    Submission,
};

/// Plain lines may hold Telnet's option negotiation.
pub const FRAMING: Framing = Framing { line_bytes_max: LINE_BYTES_MAX, skips_telnet: true };

const FORM: SharedForm = SharedForm::new(b"text", 0);

#[derive(Debug)]
struct PlainDecoder;

#[derive(Debug)]
struct PlainEncoder;

/// Makes the decoder of a new connection.
pub fn decoder() -> Box<dyn Decoder> {
    Box::new(PlainDecoder)
}

/// Makes the encoder of a session with these capabilities.
pub(crate) fn session(capabilities: Capabilities) -> SessionEncoder {
    SessionEncoder { encoder: Box::new(PlainEncoder), forms: SharedForms::shared(FORM), capabilities }
}

impl Decoder for PlainDecoder {
    fn protocol(&self) -> &'static str {
        "plain"
    }

    fn framing(&self) -> Framing {
        FRAMING
    }

    fn decode_login(&mut self, line: &str, _: &mut Vec<u8>) -> Option<Result<Login, Rejected>> {
        parse_login(line)
    }

    fn encode_rejection(&self, Rejected { refusal, .. }: Rejected, out: &mut Vec<u8>) {
        encode_reply(&Reply::Refused(refusal), out);
    }

    fn start_session(&mut self, _: &Login) -> SessionEncoder {
        session(Capabilities { wants_topics: true, ..Capabilities::default() })
    }

    fn decode(&mut self, line: &str, destinations_max: u64, requests: &mut Vec<Submission>) {
        requests.extend(parse(line, destinations_max).map(Submission::from));
    }
}

impl Encoder for PlainEncoder {
    fn encode_message(&mut self, message: &Message, out: &mut Vec<u8>) {
        encode_message(message, out);
    }

    fn encode_reply(&mut self, _: Option<&RequestId>, reply: &Reply, out: &mut Vec<u8>) {
        encode_reply(reply, out);
    }
}
