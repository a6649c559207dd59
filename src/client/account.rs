//! Account of a client: the name of the peer, its password, and the address of the server. Owns the form of an address; never
//! connects.

use std::fmt;

use crate::fingerprint::Fingerprint;
use crate::message::{PeerName, quoted};
use crate::password::Password;

/// A peer and the server that it uses.
#[derive(Clone, Debug)]
pub struct Account {
    /// Address of the server.
    pub server: ServerAddress,
    /// Name to log in with.
    pub name: PeerName,
    /// Password of the name, if it has one.
    pub password: Option<Password>,
    /// Certificates of the server that are trusted, if the address asks for TLS.
    pub trust: ServerTrust,
}

/// Certificates of a server that a client trusts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerTrust {
    /// Certificates for the host of the address that lead to a root certificate of the system.
    #[default]
    SystemRoots,
    /// Only the certificate with this fingerprint, whatever it says.
    Pin(Fingerprint),
}

/// Certificate of a server that the client does not trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntrustedCertificate {
    /// Fingerprint of the certificate.
    pub fingerprint: Fingerprint,
    /// Reason why it is not trusted.
    pub distrust: Distrust,
}

/// Reason why a certificate is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// Another one, with this fingerprint, was pinned or confirmed.
    Another(Fingerprint),
    /// No proof: it does not lead to a root certificate of the system, or is not for this host and this time. The reason, as a clause.
    Unproven(String),
}

impl fmt::Display for UntrustedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = self.fingerprint;
        match &self.distrust {
            Distrust::Another(expected) => write!(
                f,
                "its certificate has the SHA-256 fingerprint {fingerprint} and not {expected}: either another machine answers, or \
                 the certificate was replaced; ask the owner of the server before you pin or confirm the new one"
            ),
            Distrust::Unproven(reason) => write!(
                f,
                "{reason}; its certificate has the SHA-256 fingerprint {fingerprint}; if the owner of the server confirms \
                 that, use --pin={fingerprint}"
            ),
        }
    }
}

/// Beginning of an address that asks for TLS.
const TLS_SCHEME: &str = "tls://";

/// Address of a server, as `HOST:PORT`, or `tls://HOST:PORT` for TLS. Each connection resolves the host again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress(String);

impl ServerAddress {
    /// Checks the form of an address: `127.0.0.1:7878`, `[::1]:7878`, `localhost:7878` or `tls://pi.local:7878`.
    pub fn parse(address: &str) -> Result<Self, BadAddress> {
        let is_address = || {
            let (host, port) = address.strip_prefix(TLS_SCHEME).unwrap_or(address).rsplit_once(':')?;
            let is_bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
            let is_host = is_bracketed || !(host.is_empty() || host.contains([':', '[', ']', '/']));
            (is_host && port.parse().is_ok_and(|port: u16| port > 0)).then_some(())
        };
        match is_address() {
            Some(()) => Ok(ServerAddress(address.to_owned())),
            None => Err(BadAddress(quoted(address))),
        }
    }

    /// Whether the client must use TLS.
    pub fn is_encrypted(&self) -> bool {
        self.0.starts_with(TLS_SCHEME)
    }

    /// Returns the address without its scheme.
    pub fn host_and_port(&self) -> &str {
        self.0.strip_prefix(TLS_SCHEME).unwrap_or(&self.0)
    }

    /// Returns the host, without brackets.
    pub(super) fn host(&self) -> &str {
        let (host, _) = self.host_and_port().rsplit_once(':').expect("an address has a port");
        host.trim_matches(['[', ']'])
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Error about a text that is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not an address; expected HOST:PORT, such as 127.0.0.1:7878, [::1]:7878 or localhost:7878, or tls://HOST:PORT"
)]
pub struct BadAddress(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_a_host_and_a_port() {
        for good in ["127.0.0.1:7878", "[::1]:7878", "localhost:1", "pi.local:65535", "tls://pi.local:7878"] {
            assert_eq!(ServerAddress::parse(good).map(|address| address.to_string()), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "7878",
            "localhost",
            ":7878",
            "[]:7878",
            "::1:7878",
            "host:0",
            "host:65536",
            "host:port",
            "tls://",
            "tls://host",
            "http://host:80",
        ] {
            assert!(ServerAddress::parse(bad).is_err(), "{bad}");
        }
    }
}
