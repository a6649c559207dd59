//! The clients for programs, behind `holdline send` and `holdline tail`: they speak JSON lines over TCP, connect again when a
//! connection is lost, and repeat what had no answer. Owns what both have in common; never uses a module of the server.

mod connection;
mod input;
#[cfg(test)]
mod scripted;
mod send;
mod tail;
mod wire;

use std::fmt;
use std::io;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::limits::{CLIENT_ANSWER_S_MAX, CLIENT_RETRY_MS_MAX, CLIENT_RETRY_MS_MIN};
use crate::message::{PeerName, quoted};

pub use self::input::{Input, Line};
pub use self::send::{Addressing, GaveUp, IdPrefix, NoPrefix, SendError, SendJob, Summary, send};
pub use self::tail::{Range, Sink, TailError, tail};
pub use self::wire::{Message, Refusal};

/// Whose client it is, and where the server is.
#[derive(Clone, Debug)]
pub struct Account {
    /// Where the server listens.
    pub server: ServerAddress,
    /// The name to log in by.
    pub name: PeerName,
    /// The name's password, where it has one.
    pub password: Option<Password>,
}

/// A password, which is not shown by mistake.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// This password.
    pub fn new(password: String) -> Self {
        Password(password)
    }

    fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Where a server listens, as `HOST:PORT`. The host is looked up each time a connection is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress(String);

impl ServerAddress {
    /// Checks its form: `127.0.0.1:7878`, `[::1]:7878` or `localhost:7878`.
    pub fn parse(address: &str) -> Result<Self, NoAddress> {
        let is_address = || {
            let (host, port) = address.rsplit_once(':')?;
            let is_bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
            let is_host = is_bracketed || !(host.is_empty() || host.contains([':', '[', ']']));
            (is_host && port.parse().is_ok_and(|port: u16| port > 0)).then_some(())
        };
        match is_address() {
            Some(()) => Ok(ServerAddress(address.to_owned())),
            None => Err(NoAddress(quoted(address))),
        }
    }

    fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Says what an address is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no address; HOST:PORT is wanted, such as 127.0.0.1:7878, [::1]:7878 or localhost:7878")]
pub struct NoAddress(String);

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
enum Lost {
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
enum Ended {
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

/// How long a server may take for an answer.
const ANSWER: Duration = Duration::from_secs(CLIENT_ANSWER_S_MAX);

/// Delays between two attempts to connect.
const RECONNECT: Backoff =
    Backoff::new(Duration::from_millis(CLIENT_RETRY_MS_MIN), Duration::from_millis(CLIENT_RETRY_MS_MAX));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["127.0.0.1:7878", "[::1]:7878", "localhost:1", "pi.local:65535"] {
            assert_eq!(ServerAddress::parse(good).map(|address| address.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "7878", "localhost", ":7878", "[]:7878", "::1:7878", "host:0", "host:65536", "host:port"] {
            assert!(ServerAddress::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(format!("{:?}", Password::new("secret".to_owned())), "Password(…)");
    }
}
