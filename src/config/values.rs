//! Values of the configuration that other modules use, and the flags of the command line. Owns their defaults and forms; never
//! reads a file.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use strum::EnumString;

use crate::limits::{
    CONNECTIONS_DEFAULT, CONNECTIONS_PER_ADDRESS_DEFAULT, CONNECTS_PER_S_DEFAULT, DEAD_AFTER_S_DEFAULT,
    DESTINATIONS_DEFAULT, LOGIN_TIMEOUT_S_DEFAULT, MAILBOX_MESSAGES_DEFAULT, ROOM_WAITING_MESSAGES_DEFAULT,
    ROOMS_DEFAULT, UNKNOWN_NAMES_DEFAULT,
};

/// Failures that an accepted message survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, EnumString)]
#[serde(try_from = "String")]
#[strum(serialize_all = "kebab-case")]
pub enum Durability {
    /// A power cut: each commit is synced to the medium.
    #[default]
    PowerLoss,
    /// A crash of the process, but not a power cut.
    Crash,
}

/// For serde, which by itself would accept `durability.crash = {}`, too.
impl TryFrom<String> for Durability {
    type Error = strum::ParseError;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        word.parse()
    }
}

/// Limits of what clients may use: `[limits]` of the file. 0 is no limit, unless the field says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open connections. 0 is as many as the process may have descriptors for.
    pub connections_max: u64,
    /// Open connections from one address; of IPv6, from one /64 network.
    pub connections_per_address_max: u64,
    /// Connections a second that one address may open.
    pub connects_per_address_per_s: u64,
    /// Seconds that a connection may take to log in.
    pub login_timeout_s: u64,
    /// Seconds without a sign of life from a client's system after which its connection counts as dead.
    pub dead_after_s: u64,
    /// Lines a second that are read from one connection.
    pub messages_per_s: u64,
    /// Destinations of one line.
    pub destinations_max: u64,
    /// Messages that may wait for one peer that is offline or does not keep up.
    pub mailbox_max: u64,
    /// Messages of a room that may wait for one of its members.
    pub room_waiting_max: u64,
    /// Names that never logged in, and that messages wait for.
    pub unknown_names_max: u64,
    /// Rooms, with members or without.
    pub rooms_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: CONNECTIONS_DEFAULT,
            connections_per_address_max: CONNECTIONS_PER_ADDRESS_DEFAULT,
            connects_per_address_per_s: CONNECTS_PER_S_DEFAULT,
            login_timeout_s: LOGIN_TIMEOUT_S_DEFAULT,
            dead_after_s: DEAD_AFTER_S_DEFAULT,
            messages_per_s: 0,
            destinations_max: DESTINATIONS_DEFAULT,
            mailbox_max: MAILBOX_MESSAGES_DEFAULT,
            room_waiting_max: ROOM_WAITING_MESSAGES_DEFAULT,
            unknown_names_max: UNKNOWN_NAMES_DEFAULT,
            rooms_max: ROOMS_DEFAULT,
        }
    }
}

impl Limits {
    /// Returns a limit to compare with: the largest number if the limit is 0, which is no limit.
    pub(crate) fn or_none(limit: u64) -> u64 {
        if limit == 0 { u64::MAX } else { limit }
    }
}

/// Messages that are removed from the log once they wait for nobody: `[retention]` of the file. By default, none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Age after which a message is removed; never zero.
    #[serde(deserialize_with = "age")]
    pub max_age: Option<Duration>,
    /// Size of the database, in bytes, above which the oldest messages are removed; never zero.
    #[serde(deserialize_with = "size", rename = "max_size")]
    pub max_size_bytes: Option<u64>,
}

fn age<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Duration>, D::Error> {
    let age = humantime::parse_duration(&String::deserialize(value)?).map_err(D::Error::custom)?;
    if age.is_zero() { Err(D::Error::custom("the age is zero")) } else { Ok(Some(age)) }
}

/// Reads a size such as `"64 MB"`, in bytes. Fails if it is zero.
pub(super) fn size<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    let size: ByteSize = String::deserialize(value)?.parse().map_err(D::Error::custom)?;
    if size.as_u64() == 0 { Err(D::Error::custom("the size is zero")) } else { Ok(Some(size.as_u64())) }
}

/// Names that may log in: `[accounts]` of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountsConfig {
    /// Whether only names with a password may log in.
    pub required: bool,
    /// Clients that may register a name.
    pub registration: Registration,
}

/// Clients that may register a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, EnumString)]
#[serde(try_from = "String")]
#[strum(serialize_all = "kebab-case")]
pub enum Registration {
    /// Every client, a name that nobody else has used.
    #[default]
    Open,
    /// No client.
    Closed,
}

impl TryFrom<String> for Registration {
    type Error = strum::ParseError;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        word.parse()
    }
}

/// Certificate of the server for TLS: `[tls]` of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsConfig {
    /// From files in PEM.
    Files {
        /// File with the certificate, and with those that lead to one that clients know.
        certificate: PathBuf,
        /// File with its private key.
        key: PathBuf,
    },
    /// Made by the server, in the data directory.
    SelfSigned,
}

/// Flags of the command line about the configuration. They win over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--listen`, once for each address. Any of them replaces the list of the file.
    pub listen: Vec<String>,
    /// `--data`.
    pub data: Option<PathBuf>,
    /// `--config`: the file to read instead of `holdline.toml`. It must exist.
    pub config: Option<PathBuf>,
    /// `--plugins`: a file that must exist.
    pub plugins: Option<PathBuf>,
    /// `--open`.
    pub open: bool,
}
