//! Errors of a connection, and whether the client may connect again. Owns the words of these errors; never connects.

use std::io;
use std::time::Duration;

use super::account::{ServerAddress, UntrustedCertificate};
use crate::backoff::Backoff;
use crate::limits::{CLIENT_RETRY_MS_MAX, CLIENT_RETRY_MS_MIN, SERVER_REPLY_S_MAX};
use crate::message::PeerName;
use crate::wire::ErrorFrame;

/// Longest wait for a reply of the server.
pub(super) const REPLY: Duration = Duration::from_secs(SERVER_REPLY_S_MAX);

/// Delays between two attempts to connect.
pub(super) const RECONNECT: Backoff =
    Backoff::new(Duration::from_millis(CLIENT_RETRY_MS_MIN), Duration::from_millis(CLIENT_RETRY_MS_MAX));

/// Error that reconnecting does not cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PermanentError {
    /// The server refused the login.
    #[error("the server at {server} refused the login of {name}: {error}")]
    Login {
        /// Address of the server.
        server: ServerAddress,
        /// Name of the login.
        name: PeerName,
        /// Error that the server sent.
        error: ErrorFrame,
    },
    /// The server does not understand a request of this client.
    #[error("the server does not understand this client: {0}")]
    Request(ErrorFrame),
    /// The server's certificate is not trusted.
    #[error("{server} is not trusted: {certificate}")]
    Untrusted {
        /// Address of the server.
        server: ServerAddress,
        /// The certificate.
        certificate: UntrustedCertificate,
    },
    /// Another program than holdline listens at the address.
    #[error("{server} is not a holdline server; it sent {sent}")]
    NotHoldline {
        /// Address of the program.
        server: ServerAddress,
        /// Line that the program sent, in quotes.
        sent: String,
    },
}

/// End of a connection after which another connection may succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionLost {
    #[error("cannot connect to {0}: {1}")]
    Unreachable(ServerAddress, #[source] io::Error),
    #[error("the connection to {0} broke: {1}")]
    Broken(ServerAddress, #[source] io::Error),
    #[error("the server at {0} closed the connection")]
    Closed(ServerAddress),
    #[error("the server at {0} does not answer")]
    Silent(ServerAddress),
    #[error("the server at {0} reported {1}")]
    Reported(ServerAddress, ErrorFrame),
}

/// Error of a connection.
#[derive(Debug)]
pub(super) enum ConnectionError {
    /// Reconnecting may help.
    Lost(ConnectionLost),
    /// Reconnecting does not help.
    Permanent(PermanentError),
}

impl From<ConnectionLost> for ConnectionError {
    fn from(lost: ConnectionLost) -> Self {
        ConnectionError::Lost(lost)
    }
}

impl From<PermanentError> for ConnectionError {
    fn from(error: PermanentError) -> Self {
        ConnectionError::Permanent(error)
    }
}
