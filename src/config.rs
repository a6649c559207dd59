//! The configuration: defaults, `holdline.toml` and the flags of the command line become one [`Config`], validated once.
//! Owns the defaults and which values are possible; is never read from anywhere deep: who needs a value is handed it.

mod file;
mod plugins;
mod settings;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use rustix::io::Errno;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use self::file::File;
pub use self::plugins::{Hook, OnFailure, PluginConfig, PluginKind};
use self::settings::{NO_SUCH_FILE, Setting, Settings};
use crate::limits::{
    DEAD_AFTER_S_DEFAULT, DESTINATIONS_DEFAULT, LOGIN_TIMEOUT_S_DEFAULT, MAILBOX_MESSAGES_DEFAULT, ROOMS_DEFAULT,
    UNKNOWN_NAMES_DEFAULT,
};

/// How to run a server. [`Config::default`] is what `holdline` does without flags and files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen, each address once.
    pub listen: Vec<SocketAddr>,
    /// The directory of the database.
    pub data: PathBuf,
    /// The file that names the plugins, for [`load_plugins`]; the default one may be absent.
    pub plugins: PathBuf,
    /// What an accepted message survives.
    pub durability: Durability,
    /// Whether others than this machine may reach the server.
    pub open: bool,
    /// What others may take up.
    pub limits: Limits,
    /// What is removed of the log.
    pub retention: Retention,
}

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

/// A mistake in a file or in a flag, in words that say where it is and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is there and cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line of the file is not TOML, or holds a key or a value that there is not.
    #[error("{}:{line}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The value has the right type and cannot be used.
    #[error("{setting} {problem}")]
    Impossible {
        /// Where it stands and what it is: `holdline.toml:2: data = ""` or `--data ""`.
        setting: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// An address that others can reach, without `open`.
    #[error(
        "{setting} can be reached from other machines{}, and nobody proves who they are yet: anyone who reaches the port \
         can log in as anyone; if that is what you want, say so with --open or with open = true in the configuration \
         file, otherwise listen on 127.0.0.1",
        .address.map(|address| format!(" (as {address})")).unwrap_or_default()
    )]
    Exposed {
        /// Where it stands and what it is.
        setting: String,
        /// What it means, where it does not say it itself.
        address: Option<SocketAddr>,
    },
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 7878))],
            data: PathBuf::from("holdline-data"),
            plugins: PathBuf::from("plugins.toml"),
            durability: Durability::default(),
            open: false,
            limits: Limits::default(),
            retention: Retention::default(),
        }
    }
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

fn age<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Duration>, D::Error> {
    let age = humantime::parse_duration(&String::deserialize(value)?).map_err(D::Error::custom)?;
    if age.is_zero() { Err(D::Error::custom("no time at all")) } else { Ok(Some(age)) }
}

fn size<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    let size: ByteSize = String::deserialize(value)?.parse().map_err(D::Error::custom)?;
    if size.as_u64() == 0 { Err(D::Error::custom("no size at all")) } else { Ok(Some(size.as_u64())) }
}

/// What would be right for `durability`.
const DURABILITY_MEND: &str = r#"use "power-loss" or "crash""#;

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

impl Config {
    /// Reads `holdline.toml`, or the file that `--config` names, lets the flags win over it, and checks all of it, the
    /// file that names the plugins too.
    pub fn load(flags: &Flags) -> Result<Config, ConfigError> {
        let default = Config::default();
        let settings = Settings::load(flags)?;
        let open = settings.open.unwrap_or(default.open);
        settings.plugins.as_ref().map_or(Ok(()), check_is_there)?;
        let plugins = settings.plugins.map_or(default.plugins, |plugins| plugins.value);
        load_plugins(&plugins)?;
        Ok(Config {
            listen: match settings.listen {
                Some(entries) => resolve(&entries, open)?,
                None => default.listen,
            },
            data: settings.data.map_or(default.data, |data| data.value),
            plugins,
            durability: settings.durability.unwrap_or(default.durability),
            open,
            limits: settings.limits,
            retention: settings.retention,
        })
    }

    /// The addresses that others than this machine can reach.
    pub fn exposed(&self) -> impl Iterator<Item = SocketAddr> {
        self.listen.iter().copied().filter(is_exposed)
    }
}

/// The directory of the database by the same rule as [`Config::load`], for those who only read it: no host is resolved
/// and no plugin is looked at.
pub fn data_directory(flags: &Flags) -> Result<PathBuf, ConfigError> {
    Ok(Settings::load(flags)?.data.map_or(Config::default().data, |data| data.value))
}

/// The file that names the plugins by the same rule as [`Config::load`], whether or not it is there.
pub fn plugins_file(flags: &Flags) -> Result<PathBuf, ConfigError> {
    Ok(Settings::load(flags)?.plugins.map_or(Config::default().plugins, |plugins| plugins.value))
}

/// Reads the file that names the plugins, at the start as whenever they are read again: the entries, in its order, each of which
/// is possible as far as it can be told without running it. There are none where a file of the default name is absent.
pub fn load_plugins(path: &Path) -> Result<Vec<PluginConfig>, ConfigError> {
    match File::read(path)? {
        Some(file) => plugins::read(&file),
        None if path.file_name() == Config::default().plugins.file_name() => Ok(Vec::new()),
        None => Err(ConfigError::Unreadable { path: path.to_owned(), source: Errno::NOENT.into() }),
    }
}

/// What [`load_plugins`] would say without the place where the file is named.
fn check_is_there(named: &Setting<PathBuf>) -> Result<(), ConfigError> {
    let may_be_absent = named.value.file_name() == Config::default().plugins.file_name();
    let is_absent = matches!(named.value.try_exists(), Ok(false));
    if is_absent && !may_be_absent { Err(named.impossible(NO_SUCH_FILE)) } else { Ok(()) }
}

fn resolve(entries: &[Setting<String>], open: bool) -> Result<Vec<SocketAddr>, ConfigError> {
    let mut listen = Vec::new();
    for entry in entries {
        for address in resolve_entry(entry)? {
            if is_exposed(&address) && !open {
                let said = entry.value == address.to_string();
                return Err(ConfigError::Exposed {
                    setting: entry.origin.clone(),
                    address: (!said).then_some(address),
                });
            }
            if !listen.contains(&address) {
                listen.push(address);
            }
        }
    }
    Ok(listen)
}

fn resolve_entry(entry: &Setting<String>) -> Result<Vec<SocketAddr>, ConfigError> {
    if let Ok(address) = entry.value.parse() {
        return Ok(vec![address]);
    }
    let (host, port) = entry.value.rsplit_once(':').unwrap_or((&entry.value, ""));
    if host.is_empty() || host.contains([':', '[', ']']) || port.parse::<u16>().is_err() {
        return Err(entry.impossible(
            "is no address; HOST:PORT is wanted, such as 127.0.0.1:7878, [::1]:7878 or localhost:7878, with a port up to \
             65535",
        ));
    }
    match entry.value.to_socket_addrs() {
        Ok(addresses) if addresses.len() > 0 => Ok(addresses.collect()),
        Ok(_) => Err(entry.impossible("has no address; name another host, or its address")),
        Err(error) => Err(entry.impossible(format!("cannot be resolved ({error}); name another host, or its address"))),
    }
}

fn is_exposed(address: &SocketAddr) -> bool {
    // An IPv4 loopback address may be written as IPv6.
    !address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests;
