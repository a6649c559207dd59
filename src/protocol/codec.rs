//! Interfaces of a protocol's two halves: a decoder in the connection, and an encoder in the broker's session. Owns these interfaces and the
//! capabilities of a client; never does I/O.

use std::fmt::Debug;
use std::num::NonZeroU64;

use super::line_buffer::Framing;
use super::refusal::Rejected;
use super::reply::Reply;
use super::request::{Login, LoginLine};
use super::submission::Submission;
use crate::message::{Message, PeerName, RequestId};

/// Capabilities of a session: declared by the client at its login, or implied by its protocol. The broker knows nothing else of a protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Acknowledges messages with requests; the acknowledgements of its TCP stack do not count.
    pub acknowledges: bool,
    /// Shows to whom a message was addressed, so that [`Message::to`] must be filled in.
    pub shows_recipients: bool,
    /// Gets [`Reply::Presence`] when a peer connects or disconnects.
    pub wants_presence: bool,
    /// Gets [`Reply::Accepted`] for each message that it sends, instead of notices for people.
    pub wants_accepted: bool,
    /// Gets [`Reply::Sent`] when another session of its name sends a message.
    pub wants_copies: bool,
    /// Gets [`Reply::Who`], which has all names. Others get [`Reply::Here`], one part after the other.
    pub wants_whole_lists: bool,
    /// Gets [`Reply::TopicSet`] when another session sets the topic of a room that it is in.
    pub wants_topics: bool,
}

impl Capabilities {
    /// Whether the session must be among the subscribers of presence or copies. Topics are announced to the members of a room.
    pub fn wants_announcements(self) -> bool {
        self.wants_presence || self.wants_copies
    }
}

/// Key of an encoding: sessions with equal forms get equal bytes for the same message, so it is encoded once for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedForm(NonZeroU64);

impl SharedForm {
    /// Makes the form of a protocol, whose tag no other protocol uses, with these options.
    pub const fn new(protocol: &[u8; 4], options: u32) -> Self {
        let protocol = u32::from_be_bytes(*protocol) as u64;
        match NonZeroU64::new(protocol << 32 | options as u64) {
            Some(key) => SharedForm(key),
            None => panic!("a tag is not all zeroes"),
        }
    }
}

/// Forms of a session's messages, fixed at its login. `None`: no other session gets the same bytes, for example because they contain the
/// session's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedForms {
    /// Form of a message that is addressed to the session's name.
    pub direct: Option<SharedForm>,
    /// Form of a message that arrives through a room.
    pub room: Option<SharedForm>,
}

impl SharedForms {
    /// Returns the same form for all messages.
    pub const fn shared(form: SharedForm) -> Self {
        SharedForms { direct: Some(form), room: Some(form) }
    }
}

/// Decoder of one connection: turns lines into a login, then into requests. It may keep state from line to line.
pub trait Decoder: Debug + Send + Sync {
    /// Name of the protocol, for plugins and the log.
    fn protocol(&self) -> &'static str;

    /// Form of the lines that a client sends.
    fn framing(&self) -> Framing;

    /// Decodes a line before the login. `None`: the line does not complete a login and is not an error. Replies of the protocol itself, as to
    /// `CAP LS` in IRC, are appended to `replies`.
    fn decode_login(&mut self, line: &str, replies: &mut Vec<u8>) -> Option<Result<LoginLine, Rejected>>;

    /// Asks for the password of a name, which the next line is; appends the question to `out`. Returns false if the protocol has no such
    /// question: then the login is refused.
    fn ask_password(&mut self, _name: &PeerName, _out: &mut Vec<u8>) -> bool {
        false
    }

    /// Encodes a refusal before the login.
    fn encode_rejection(&self, rejected: Rejected, out: &mut Vec<u8>);

    /// Makes the other half of the codec, once the login is admitted.
    fn start_session(&mut self, login: &Login) -> SessionEncoder;

    /// Decodes a line after the login, with at most `destinations_max` destinations. Appends no, one or several requests. A reply that only
    /// this protocol has is submitted, too, as [`Reply::Encoded`], so that it stays in order.
    fn decode(&mut self, line: &str, destinations_max: u64, requests: &mut Vec<Submission>);
}

/// Encoder of one session. It may keep state from message to message; one without state is a zero-sized type, whose box costs no heap.
pub trait Encoder: Debug + Send + Sync {
    /// Appends a message. Encoders of sessions with equal [`SharedForms`] append equal bytes, whatever their state is.
    fn encode_message(&mut self, message: &Message, out: &mut Vec<u8>);

    /// Appends a reply; nothing if the protocol has no form for it. `id` is that of the request.
    fn encode_reply(&mut self, id: Option<&RequestId>, reply: &Reply, out: &mut Vec<u8>);
}

/// A session's encoder, with what its client declared.
#[derive(Debug)]
pub struct SessionEncoder {
    /// Encoder of all output of the session.
    pub encoder: Box<dyn Encoder>,
    /// Encodings that it shares with other sessions.
    pub forms: SharedForms,
    /// Capabilities of the session.
    pub capabilities: Capabilities,
}

/// Result of comparing a client's first bytes with one protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// The client speaks it.
    Yes,
    /// The client speaks something else.
    No,
    /// More bytes are needed.
    Undecided,
}

impl Match {
    /// Matches bytes that start with `prefix`.
    pub fn prefix(first: &[u8], prefix: &[u8]) -> Self {
        match first.len() >= prefix.len() {
            true if first.starts_with(prefix) => Match::Yes,
            false if prefix.starts_with(first) => Match::Undecided,
            _ => Match::No,
        }
    }
}

/// Makes the decoder of a new connection.
pub type StartDecoder = fn() -> Box<dyn Decoder>;

/// Row of the table of protocols.
#[derive(Clone, Copy, Debug)]
pub struct Detector {
    /// Compares a client's first bytes with the protocol; there is at least one byte.
    pub matches: fn(&[u8]) -> Match,
    /// Action for a client that matches.
    pub then: Detected,
}

/// Action for a client whose protocol was detected.
#[derive(Clone, Copy, Debug)]
pub enum Detected {
    /// Decode the client's lines with this decoder.
    Supported(StartDecoder),
    /// Write these bytes, and close the connection: the server does not support the protocol.
    Refused(&'static [u8]),
}

/// Table of the protocols that share a port.
#[derive(Clone, Copy, Debug)]
pub struct ProtocolTable {
    /// Rows, tried in order; a later row decides only if the earlier ones do not match.
    pub detectors: &'static [Detector],
    /// Protocol of a client that matches none of them, or has sent nothing yet.
    pub fallback: StartDecoder,
}

impl ProtocolTable {
    /// Detects the protocol. `None`: more bytes are needed. `is_all`: no more bytes will come, so an undecided row does not match.
    pub fn detect(&self, first: &[u8], is_all: bool) -> Option<Detected> {
        if first.is_empty() {
            return None;
        }
        for Detector { matches, then } in self.detectors {
            match matches(first) {
                Match::Yes => return Some(*then),
                Match::Undecided if !is_all => return None,
                Match::Undecided | Match::No => {}
            }
        }
        Some(Detected::Supported(self.fallback))
    }
}
