//! Ends of a connection: whether the client may connect again, and when. Owns the errors that say why it ended; never connects.

use std::io;
use std::time::Duration;

use super::account::ServerAddress;
use super::wire::Refusal;
use crate::backoff::Backoff;
use crate::limits::{CLIENT_ANSWER_S_MAX, CLIENT_RETRY_MS_MAX, CLIENT_RETRY_MS_MIN};
use crate::message::PeerName;

/// How long a server may take for an answer.
pub(super) const ANSWER: Duration = Duration::from_secs(CLIENT_ANSWER_S_MAX);

/// Delays between two attempts to connect.
pub(super) const RECONNECT: Backoff =
    Backoff::new(Duration::from_millis(CLIENT_RETRY_MS_MIN), Duration::from_millis(CLIENT_RETRY_MS_MAX));

/// Why a client ends where connecting again would not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The server does not let this name in.
    #[error("the server at {server} does not let {name} in: {refusal}")]
    Login {
        /// Where it listens.
        server: ServerAddress,
        /// Who wanted in.
        name: PeerName,
        /// Its words.
        refusal: Refusal,
    },
    /// The server does not understand what we send.
    #[error("the server does not understand this client: {0}")]
    Request(Refusal),
    /// Whatever listens there is no holdline.
    #[error("{server} does not answer as a holdline server does; it sent {said}")]
    Stranger {
        /// Where it listens.
        server: ServerAddress,
        /// What it sent, in quotes.
        said: String,
    },
}

/// Why a connection ended where another one may do better.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("cannot connect to {0}: {1}")]
    Unreachable(ServerAddress, #[source] io::Error),
    #[error("the connection to {0} broke: {1}")]
    Broken(ServerAddress, #[source] io::Error),
    #[error("the server at {0} closed the connection")]
    Closed(ServerAddress),
    #[error("the server at {0} does not answer")]
    Silent(ServerAddress),
    #[error("the server at {0} says {1}")]
    Told(ServerAddress, Refusal),
}

/// How a connection ends.
#[derive(Debug)]
pub(super) enum Ended {
    /// It may be made again.
    Lost(Lost),
    /// There is no use in it.
    Refused(Refused),
}

impl From<Lost> for Ended {
    fn from(lost: Lost) -> Self {
        Ended::Lost(lost)
    }
}

impl From<Refused> for Ended {
    fn from(refused: Refused) -> Self {
        Ended::Refused(refused)
    }
}
