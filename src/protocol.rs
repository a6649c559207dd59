//! What clients ask and what they are answered, as types; each protocol is a thin codec over them, a file of its own.
//! Owns the requests, the replies and the codes; never does I/O.

mod codec;
pub mod json;
mod line_buffer;
pub mod plain;
mod refusal;
mod reply;
mod request;
mod submission;

pub use self::codec::{
    Capabilities, Decoder, Detected, Detector, Encoder, Form, Forms, Match, ProtocolTable, SessionEncoder, StartDecoder,
};
pub use self::line_buffer::{Framing, Line, LineBuffer};
use self::refusal::unknown_command;
pub use self::refusal::{Code, Refusal, Rejected};
pub use self::reply::{PastMessage, PluginState, Reply, RoomHere};
pub use self::request::{
    ClientRequest, Draft, HistoryRequest, Login, ParsedRequest, PluginRequest, Request, is_command_name,
};
pub use self::submission::{FilteredSend, Submission, Work};

/// The version of the protocols, as [`Reply::Welcome`] says it to programs. It grows when a client must know of a change.
pub const VERSION: u32 = 1;

/// What is wrong with a list of destinations that is too long.
fn too_many_destinations(destinations_max: u64) -> String {
    format!("more than {destinations_max} names (destinations_max)")
}
