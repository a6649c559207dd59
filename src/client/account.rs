//! Account of a client: the name of the peer, its password, and the address of the server. Owns the form of an address; never
//! connects.

use std::fmt;

use crate::message::{PeerName, quoted};

/// A peer and the server that it uses.
#[derive(Clone, Debug)]
pub struct Account {
    /// Address of the server.
    pub server: ServerAddress,
    /// Name to log in with.
    pub name: PeerName,
    /// Password of the name, if it has one.
    pub password: Option<Password>,
}

/// Password that never prints itself.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Wraps a password.
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

/// Address of a server, as `HOST:PORT`. Each connection resolves the host again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress(String);

impl ServerAddress {
    /// Checks the form of an address: `127.0.0.1:7878`, `[::1]:7878` or `localhost:7878`.
    pub fn parse(address: &str) -> Result<Self, BadAddress> {
        let is_address = || {
            let (host, port) = address.rsplit_once(':')?;
            let is_bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
            let is_host = is_bracketed || !(host.is_empty() || host.contains([':', '[', ']']));
            (is_host && port.parse().is_ok_and(|port: u16| port > 0)).then_some(())
        };
        match is_address() {
            Some(()) => Ok(ServerAddress(address.to_owned())),
            None => Err(BadAddress(quoted(address))),
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

/// Error about a text that is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not an address; expected HOST:PORT, such as 127.0.0.1:7878, [::1]:7878 or localhost:7878")]
pub struct BadAddress(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_a_host_and_a_port() {
        for good in ["127.0.0.1:7878", "[::1]:7878", "localhost:1", "pi.local:65535"] {
            assert_eq!(ServerAddress::parse(good).map(|address| address.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "7878", "localhost", ":7878", "[]:7878", "::1:7878", "host:0", "host:65536", "host:port"] {
            assert!(ServerAddress::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn password_does_not_print_itself() {
        assert_eq!(format!("{:?}", Password::new("secret".to_owned())), "Password(…)");
    }
}
