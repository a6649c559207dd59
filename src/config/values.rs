//! Values of the configuration that other modules take, and the flags of the command line. Owns their defaults and forms; reads no file.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::limits::{
    DEAD_AFTER_S_DEFAULT, DESTINATIONS_DEFAULT, LOGIN_TIMEOUT_S_DEFAULT, MAILBOX_MESSAGES_DEFAULT, ROOMS_DEFAULT,
    UNKNOWN_NAMES_DEFAULT,
};

/// What an accepted message survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Durability {
    /// The loss of power: each commit is synced to the medium.
    #[default]
    PowerLoss,
    /// The end of the process, however it ends; not the loss of power.
    Crash,
}

impl TryFrom<String> for Durability {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        match word.as_str() {
            "power-loss" => Ok(Durability::PowerLoss),
            "crash" => Ok(Durability::Crash),
            _ => Err(DURABILITY_MEND),
        }
    }
}

/// What would be right for `durability`.
pub(super) const DURABILITY_MEND: &str = r#"use "power-loss" or "crash""#;

/// What others may take up: `[limits]` of the file. 0 is no limit, wherever it is said nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at a time; 0: as many as the descriptors of the process allow.
    pub connections_max: u64,
    /// Connections at a time from one address.
    pub connections_per_address_max: u64,
    /// Seconds that a connection may take to log in.
    pub login_timeout_s: u64,
    /// Seconds without a sign of life from a client's system after which its connection counts as dead.
    pub dead_after_s: u64,
    /// Lines a second that are read from one connection.
    pub messages_per_s: u64,
    /// Destinations of one line.
    pub destinations_max: u64,
    /// Messages that may wait for one peer who is away or does not keep up.
    pub mailbox_max: u64,
    /// Names that nobody ever logged in by, and for which messages wait.
    pub unknown_names_max: u64,
    /// Rooms, with members or without.
    pub rooms_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 0,
            connections_per_address_max: 0,
            login_timeout_s: LOGIN_TIMEOUT_S_DEFAULT,
            dead_after_s: DEAD_AFTER_S_DEFAULT,
            messages_per_s: 0,
            destinations_max: DESTINATIONS_DEFAULT,
            mailbox_max: MAILBOX_MESSAGES_DEFAULT,
            unknown_names_max: UNKNOWN_NAMES_DEFAULT,
            rooms_max: ROOMS_DEFAULT,
        }
    }
}

impl Limits {
    /// A limit as a number that everything is compared with.
    pub(crate) fn or_none(limit: u64) -> u64 {
        if limit == 0 { u64::MAX } else { limit }
    }
}

/// What is removed of the log, of what waits for nobody any more: `[retention]` of the file. By default, nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Messages older than this; more than zero.
    #[serde(deserialize_with = "age")]
    pub max_age: Option<Duration>,
    /// The oldest messages, as long as the database takes more than so many bytes; more than zero.
    #[serde(deserialize_with = "size", rename = "max_size")]
    pub max_size_bytes: Option<u64>,
}

fn age<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Duration>, D::Error> {
    let age = humantime::parse_duration(&String::deserialize(value)?).map_err(D::Error::custom)?;
    if age.is_zero() { Err(D::Error::custom("no time at all")) } else { Ok(Some(age)) }
}

pub(super) fn size<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    let size: ByteSize = String::deserialize(value)?.parse().map_err(D::Error::custom)?;
    if size.as_u64() == 0 { Err(D::Error::custom("no size at all")) } else { Ok(Some(size.as_u64())) }
}

/// What the command line says about the configuration; it wins over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--listen`, as often as it was given; any replaces the list of the file.
    pub listen: Vec<String>,
    /// `--data`
    pub data: Option<PathBuf>,
    /// `--config`: read instead of `holdline.toml`, and must exist.
    pub config: Option<PathBuf>,
    /// `--plugins`: must exist.
    pub plugins: Option<PathBuf>,
    /// `--open`
    pub open: bool,
}
