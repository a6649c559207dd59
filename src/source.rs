//! Sources: where requests come from, as far as limits are shared out by it. Owns the type and its text; never counts anything.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Bits of an IPv6 address that name a source: a host chooses the rest of its address itself.
const IPV6_PREFIX_BITS: u32 = 64;

/// Text of [`Source::Operator`].
const OPERATOR: &str = "operator";

/// Source of requests. All names that log in from there share what the source may take of a shared limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Network of a client: an IPv4 address, or the /64 prefix of an IPv6 address with zeros behind it.
    Network(IpAddr),
    /// The operator: plugins, and rows of the table `outbox`.
    Operator,
}

impl Source {
    /// Returns the source of a client with this address.
    pub fn of(address: IpAddr) -> Self {
        // An IPv4 address may be written as IPv6.
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let prefix = u128::from(address) & (u128::MAX << (u128::BITS - IPV6_PREFIX_BITS));
                Source::Network(Ipv6Addr::from(prefix).into())
            }
            address => Source::Network(address),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Network(IpAddr::V4(address)) => address.fmt(f),
            Source::Network(IpAddr::V6(prefix)) => write!(f, "{prefix}/{IPV6_PREFIX_BITS}"),
            Source::Operator => f.write_str(OPERATOR),
        }
    }
}

/// The text is not a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotASource;

impl FromStr for Source {
    type Err = NotASource;

    /// Reads the text that `Display` writes, and no other.
    fn from_str(text: &str) -> Result<Self, NotASource> {
        if text == OPERATOR {
            return Ok(Source::Operator);
        }
        let address = text.strip_suffix("/64").unwrap_or(text).parse().map_err(|_| NotASource)?;
        Some(Source::of(address)).filter(|source| source.to_string() == text).ok_or(NotASource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(address: &str) -> String {
        Source::of(address.parse().unwrap()).to_string()
    }

    #[test]
    fn address_of_a_client_is_its_source_and_of_ipv6_the_prefix() {
        assert_eq!(text_of("192.0.2.7"), "192.0.2.7");
        assert_eq!(text_of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(text_of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(text_of("2001:db8:1:2:ffff::"), text_of("2001:db8:1:2::1"));
        assert_ne!(text_of("2001:db8:1:3::"), text_of("2001:db8:1:2::"));
        assert_eq!(text_of("::1"), "::/64");
    }

    #[test]
    fn text_of_a_source_is_read_back_and_nothing_else_is() {
        for source in
            [Source::Operator, Source::of("192.0.2.7".parse().unwrap()), Source::of("fe80::1".parse().unwrap())]
        {
            assert_eq!(source.to_string().parse(), Ok(source));
        }
        for text in ["", "operators", "192.0.2.7/64", "::ffff:192.0.2.7", "2001:db8::1/64", "2001:db8::", "::/65"] {
            assert_eq!(text.parse::<Source>(), Err(NotASource), "{text}");
        }
    }
}
