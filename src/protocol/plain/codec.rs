//! Codec of plain lines. The decoder remembers for which name it has asked the password. Owns the framing and the capabilities; never the form of a line.

use super::{encode_login_help, encode_message, encode_reply, parse, parse_login};
use crate::limits::LINE_BYTES_MAX;
use crate::message::{Message, PeerName, RequestId};
use crate::password::Password;
use crate::protocol::{
    Capabilities, Decoder, Encoder, Framing, Login, LoginLine, Rejected, Reply, SessionEncoder, SharedForm,
    SharedForms, Submission,
};

/// Plain lines may hold Telnet's option negotiation.
pub const FRAMING: Framing = Framing { line_bytes_max: LINE_BYTES_MAX, skips_telnet: true };

const FORM: SharedForm = SharedForm::new(b"text", 0);

/// Decoder of a connection.
#[derive(Debug, Default)]
struct PlainDecoder {
    /// Name whose password the next line is. Boxed, because an idle connection holds it.
    asked: Option<Box<PeerName>>,
}

#[derive(Debug)]
struct PlainEncoder;

/// Makes the decoder of a new connection.
pub fn decoder() -> Box<dyn Decoder> {
    Box::<PlainDecoder>::default()
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

    fn decode_login(&mut self, line: &str, replies: &mut Vec<u8>) -> Option<Result<LoginLine, Rejected>> {
        if let Some(name) = self.asked.take_if(|_| !line.trim().is_empty()) {
            let password = Some(Password::new(line.trim().to_owned()));
            return Some(Ok(Login { id: None, name: *name, password, registers: false, acks: false }.into()));
        }
        match line.trim() {
            "/quit" => Some(Ok(LoginLine::Quit)),
            "/help" => {
                encode_login_help(replies);
                None
            }
            line => parse_login(line).map(|login| login.map(LoginLine::Login)),
        }
    }

    fn ask_password(&mut self, name: &PeerName, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(format!("* password for {name}?\n").as_bytes());
        self.asked = Some(Box::new(name.clone()));
        true
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
