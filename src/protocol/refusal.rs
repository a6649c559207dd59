//! Refusals: a code for programs, and a text for people. Owns the codes, which never change their meaning.

use std::borrow::Cow;

use strum::{EnumString, IntoStaticStr};

use crate::message::{RequestId, printable, quoted};

/// Reason why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Code, for programs.
    pub code: Code,
    /// Text for people: what was wrong, the value, and what happened to the request.
    pub message: String,
}

impl Refusal {
    /// Makes a refusal with this code and text; it may repeat an error of SQLite or of a plugin.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let message = message.into();
        let message = match printable(&message) {
            Cow::Borrowed(_) => message,
            Cow::Owned(shown) => shown,
        };
        Refusal { code, message }
    }

    /// Makes the refusal of a command that does not exist.
    pub fn unknown_command(name: &str) -> Self {
        Refusal::new(Code::UnknownCommand, unknown_command(name)).with_outcome("nothing was done")
    }

    /// Appends what happened to the request, for example "not sent".
    pub fn with_outcome(mut self, outcome: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(outcome);
        self
    }
}

/// Text about a command that does not exist, without its outcome.
pub(super) fn unknown_command(name: &str) -> String {
    format!("{} is not a command; /help lists the commands", quoted(&format!("/{name}")))
}

/// Refusal of a line that is not a request, with the id of the line if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Id that the client gave the line.
    pub id: Option<RequestId>,
    /// The refusal.
    pub refusal: Refusal,
}

impl From<Refusal> for Rejected {
    fn from(refusal: Refusal) -> Self {
        Rejected { id: None, refusal }
    }
}

/// Code of a refusal: the same in every protocol; none ever changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum Code {
    /// The line has none of the valid forms.
    BadRequest,
    /// A name is not valid.
    BadName,
    /// The password is wrong, or the name has none.
    BadPassword,
    /// Only names with a password may log in.
    AccountRequired,
    /// The client may not do that.
    NotAllowed,
    /// The client must use TLS.
    TlsRequired,
    /// A request came before the login.
    NotLoggedIn,
    /// A second login came.
    LoggedInAlready,
    /// A line or a text is longer than its limit.
    TooLong,
    /// A message has no text.
    Empty,
    /// The bytes are not UTF-8.
    NotUtf8,
    /// A JSON line has an unknown type.
    UnknownType,
    /// The command does not exist.
    UnknownCommand,
    /// A message with the same id, and another text or other destinations, was sent before.
    IdReused,
    /// The peer is not a member of the room.
    NotAMember,
    /// As many messages as may wait for a recipient are waiting.
    MailboxFull,
    /// A plugin refuses it.
    Rejected,
    /// As many connections as allowed are open.
    TooManyConnections,
    /// Too many connects come from one address.
    RateLimited,
    /// No login came in time.
    LoginTimeout,
    /// The disk is full, or the database has reached its limit.
    StorageFull,
    /// The server stops.
    ShuttingDown,
    /// The server failed; the client did nothing wrong.
    Internal,
}

impl Code {
    /// Whether the same request may succeed later, without a change by the client.
    pub(crate) fn is_passing(self) -> bool {
        matches!(self, Code::StorageFull | Code::ShuttingDown | Code::Internal)
    }

    /// Returns the name of the code, as every protocol writes it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
