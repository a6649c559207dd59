//! Protocols: the requests of clients and the replies to them, as types, and a codec for each protocol. A request is parsed into a
//! [`Request`] or [`Rejected`], travels as a [`Submission`], and is answered by a [`Reply`]. Owns these types; never does I/O.

mod codec;
mod commands;
pub mod json;
mod line_buffer;
pub mod plain;
mod refusal;
mod reply;
mod request;
mod submission;

pub use self::codec::{
    Capabilities, Decoder, Detected, Detector, Encoder, Match, ProtocolTable, SessionEncoder, SharedForm, SharedForms,
    StartDecoder,
};
pub use self::commands::is_reserved_command;
pub use self::line_buffer::{Framing, Line, LineBuffer};
pub use self::refusal::{Code, Refusal, Rejected};
pub use self::reply::{PastMessage, PluginState, Reply, RoomSummary};
pub(crate) use self::request::PluginPart;
pub use self::request::{
    AccountChange, ClientRequest, Draft, HistoryRequest, Login, LoginLine, ParsedRequest, PluginRequest, Request,
    is_command_name,
};
pub use self::submission::{FilteredSend, Submission, Work};

/// Version of the protocols, as programs see it in the welcome. It is increased when a client must know of a change.
pub const VERSION: u32 = 1;
