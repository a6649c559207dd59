//! A third protocol, with state in both halves: each line has a number, and the server's lines have the name that they are for. Owns its form;
//! the words are those of plain lines.

use crate::limits::LINE_BYTES_MAX;
use crate::message::{Destination, Message, PeerName, RequestId, Room, Text};
use crate::protocol::{
    Capabilities, Code, Decoder, Detected, Detector, Draft, Encoder, Framing, HistoryRequest, Login, LoginLine, Match,
    Refusal, Rejected, Reply, Request, SessionEncoder, SharedForms, Submission, Work, plain,
};

/// The first line of a client has number 1.
pub(super) const DETECTOR: Detector =
    Detector { matches: |first| Match::prefix(first, b"1 "), then: Detected::Supported(decoder) };

fn decoder() -> Box<dyn Decoder> {
    Box::new(NumberedDecoder::default())
}

#[derive(Debug, Default)]
struct NumberedDecoder {
    lines: u64,
    nick: Option<PeerName>,
}

#[derive(Debug)]
struct NumberedEncoder {
    lines: u64,
    nick: PeerName,
}

impl NumberedDecoder {
    /// Splits `NUMBER VERB REST`; the number is that of the line.
    fn split<'l>(&mut self, line: &'l str) -> Result<(&'l str, &'l str), Refusal> {
        self.lines += 1;
        let (number, rest) = line.split_once(' ').unwrap_or((line, ""));
        if number != self.lines.to_string() {
            return Err(Refusal::new(Code::BadRequest, format!("not line {}; not sent", self.lines)));
        }
        Ok(rest.split_once(' ').unwrap_or((rest, "")))
    }

    fn requests(&mut self, line: &str) -> Result<Vec<Work>, Refusal> {
        let (verb, rest) = self.split(line)?;
        let (first, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let room = || Room::parse(first).unwrap();
        let send = || {
            let to = vec![Destination::parse(first).unwrap()];
            Request::Send(Draft { to, text: Text::clean(text).unwrap() }).into()
        };
        Ok(match verb {
            "SEND" => vec![send()],
            "JOIN" => vec![Request::Join { room: room() }.into()],
            "SAY" => vec![Request::Join { room: room() }.into(), send()],
            "HISTORY" => vec![Request::History(HistoryRequest { with: None, before: None, count: 9 }).into()],
            "PING" => vec![Request::Ping { token: Text::clean(rest) }.into()],
            "NICK" => vec![Work::Answered(Box::new(Reply::Encoded(b"you have a nick\n".to_vec())))],
            "QUIT" => vec![Request::Quit.into()],
            "NOTHING" => vec![],
            _ => return Err(Refusal::unknown_command(verb)),
        })
    }
}

impl Decoder for NumberedDecoder {
    fn protocol(&self) -> &'static str {
        "numbered"
    }

    fn framing(&self) -> Framing {
        Framing { line_bytes_max: LINE_BYTES_MAX, skips_telnet: false }
    }

    /// A login takes two lines, of which the first is answered at once.
    fn decode_login(&mut self, line: &str, replies: &mut Vec<u8>) -> Option<Result<LoginLine, Rejected>> {
        match self.split(line) {
            Ok(("NICK", nick)) => {
                self.nick = PeerName::parse(nick).ok();
                replies.extend_from_slice(format!("you want to be {nick}\n").as_bytes());
                None
            }
            Ok(_) => self
                .nick
                .clone()
                .map(|name| Ok(Login { id: None, name, password: None, registers: false, acks: false }.into())),
            Err(refusal) => Some(Err(refusal.into())),
        }
    }

    fn encode_rejection(&self, Rejected { refusal, .. }: Rejected, out: &mut Vec<u8>) {
        plain::encode_reply(&Reply::Refused(refusal), out);
    }

    fn start_session(&mut self, login: &Login) -> SessionEncoder {
        let encoder = Box::new(NumberedEncoder { lines: 0, nick: login.name.clone() });
        SessionEncoder { encoder, forms: SharedForms::default(), capabilities: Capabilities::default() }
    }

    fn decode(&mut self, line: &str, _: u64, requests: &mut Vec<Submission>) {
        match self.requests(line) {
            Ok(works) => requests.extend(works.into_iter().map(|work| Submission { id: None, work })),
            Err(refusal) => requests.push(Rejected::from(refusal).into()),
        }
    }
}

impl NumberedEncoder {
    fn number(&mut self, lines: &[u8], out: &mut Vec<u8>) {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.lines += 1;
            out.extend_from_slice(format!("{} {} ", self.lines, self.nick).as_bytes());
            out.extend_from_slice(line);
        }
    }
}

impl Encoder for NumberedEncoder {
    fn encode_message(&mut self, message: &Message, out: &mut Vec<u8>) {
        let mut lines = Vec::new();
        plain::encode_message(message, &mut lines);
        self.number(&lines, out);
    }

    fn encode_reply(&mut self, _: Option<&RequestId>, reply: &Reply, out: &mut Vec<u8>) {
        let mut lines = Vec::new();
        plain::encode_reply(reply, &mut lines);
        self.number(&lines, out);
    }
}
