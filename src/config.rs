//! The configuration: defaults, `holdline.toml` and the flags of the command line become one [`Config`], validated once.
//! Owns the defaults and which values are possible; is never read from anywhere deep: who needs a value is handed it.

mod error;
mod file;
mod plugins;
mod settings;
mod values;

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

pub use self::error::ConfigError;
use self::file::File;
pub use self::plugins::{Hook, OnFailure, PluginConfig, PluginKind};
use self::settings::{NO_SUCH_FILE, Setting, Settings};
pub use self::values::{Durability, Flags, Limits, Retention};

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
