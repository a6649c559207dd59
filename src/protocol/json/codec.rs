//! Codec of JSON lines: neither half has state. Owns the framing, the detection, and the capabilities of programs; never the form of a frame.

use super::{encode_message, encode_reply, parse, parse_login};
use crate::limits::JSON_LINE_BYTES_MAX;
use crate::message::{Message, RequestId};
use crate::protocol::{
    Capabilities, Decoder, Detected, Detector, Encoder, Framing, Login, LoginLine, Match, Rejected, Reply,
    SessionEncoder, SharedForm, SharedForms, Submission,
};

/// JSON is UTF-8, which no Telnet command is.
pub const FRAMING: Framing = Framing { line_bytes_max: JSON_LINE_BYTES_MAX, skips_telnet: false };

/// A client that begins with an object speaks JSON lines.
pub const DETECTOR: Detector =
    Detector { matches: |first| Match::prefix(first, b"{"), then: Detected::Supported(decoder) };

const FORM: SharedForm = SharedForm::new(b"json", 0);

/// Capabilities of each program, which can also declare that it acknowledges messages.
const CAPABILITIES: Capabilities = Capabilities {
    acknowledges: false,
    shows_recipients: true,
    wants_presence: true,
    wants_accepted: true,
    wants_copies: true,
    wants_whole_lists: true,
    wants_topics: true,
};

#[derive(Debug)]
struct JsonDecoder;

#[derive(Debug)]
struct JsonEncoder;

/// Makes the decoder of a new connection.
pub fn decoder() -> Box<dyn Decoder> {
    Box::new(JsonDecoder)
}

/// Makes the encoder of a session with these capabilities.
fn session(capabilities: Capabilities) -> SessionEncoder {
    SessionEncoder { encoder: Box::new(JsonEncoder), forms: SharedForms::shared(FORM), capabilities }
}

impl Decoder for JsonDecoder {
    fn protocol(&self) -> &'static str {
        "json"
    }

    fn framing(&self) -> Framing {
        FRAMING
    }

    fn decode_login(&mut self, line: &str, _: &mut Vec<u8>) -> Option<Result<LoginLine, Rejected>> {
        parse_login(line).map(|login| login.map(LoginLine::Login))
    }

    fn encode_rejection(&self, Rejected { id, refusal }: Rejected, out: &mut Vec<u8>) {
        encode_reply(id.as_ref(), &Reply::Refused(refusal), out);
    }

    fn start_session(&mut self, login: &Login) -> SessionEncoder {
        session(Capabilities { acknowledges: login.acks, ..CAPABILITIES })
    }

    fn decode(&mut self, line: &str, destinations_max: u64, requests: &mut Vec<Submission>) {
        requests.extend(parse(line, destinations_max).map(Submission::from));
    }
}

impl Encoder for JsonEncoder {
    fn encode_message(&mut self, message: &Message, out: &mut Vec<u8>) {
        encode_message(message, out);
    }

    fn encode_reply(&mut self, id: Option<&RequestId>, reply: &Reply, out: &mut Vec<u8>) {
        encode_reply(id, reply, out);
    }
}
