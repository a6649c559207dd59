//! Account of a client: the server's address, the name, and the password. Owns their forms; never connects.

use std::fmt;

use crate::message::{PeerName, quoted};

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

    pub(super) fn as_str(&self) -> &str {
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

    pub(super) fn as_str(&self) -> &str {
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
