//! The configuration: defaults, `holdline.toml` and the flags of the command line become one [`Config`], which is checked once.
//! Owns the defaults and the valid values. Code that needs a value receives it as an argument; nothing else reads the configuration.

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
pub use self::values::{AccountsConfig, Durability, Flags, Limits, Registration, Retention, TlsConfig};
pub use crate::trust::TrustError;

/// Configuration of a server. [`Config::default`] is what `holdline` uses without flags and files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Addresses to listen on, without duplicates.
    pub listen: Vec<SocketAddr>,
    /// Directory of the database.
    pub data: PathBuf,
    /// File that lists the plugins, for [`load_plugins`]. A file of the default name may be absent.
    pub plugins: PathBuf,
    /// Failures that an accepted message survives.
    pub durability: Durability,
    /// Whether other machines may reach the server.
    pub open: bool,
    /// Names that may log in.
    pub accounts: AccountsConfig,
    /// Certificate for TLS; `None`: TLS is not spoken.
    pub tls: Option<TlsConfig>,
    /// Limits of what clients may use.
    pub limits: Limits,
    /// Messages that are removed from the log.
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
            accounts: AccountsConfig::default(),
            tls: None,
            limits: Limits::default(),
            retention: Retention::default(),
        }
    }
}

impl Config {
    /// Reads `holdline.toml`, or the file of `--config`, and checks everything, including the file that lists the plugins. Flags win
    /// over the file.
    pub fn load(flags: &Flags) -> Result<Config, ConfigError> {
        let default = Config::default();
        let settings = Settings::load(flags)?;
        let open = settings.open.unwrap_or(default.open);
        // Nobody reads or writes as somebody else, and nobody listens on the way.
        let is_guarded = settings.accounts.required && settings.tls.is_some();
        settings.plugins.as_ref().map_or(Ok(()), check_exists)?;
        let plugins = settings.plugins.map_or(default.plugins, |plugins| plugins.value);
        load_plugins(&plugins)?;
        Ok(Config {
            listen: match settings.listen {
                Some(entries) => resolve(&entries, open || is_guarded)?,
                None => default.listen,
            },
            data: settings.data.map_or(default.data, |data| data.value),
            plugins,
            durability: settings.durability.unwrap_or(default.durability),
            open,
            accounts: settings.accounts,
            tls: settings.tls,
            limits: settings.limits,
            retention: settings.retention,
        })
    }

    /// Whether clients on other machines must use TLS.
    pub fn requires_tls(&self) -> bool {
        !self.open && self.exposed().next().is_some()
    }

    /// Returns the addresses that other machines can reach.
    pub fn exposed(&self) -> impl Iterator<Item = SocketAddr> {
        self.listen.iter().copied().filter(is_exposed)
    }
}

/// Returns the directory of the database, by the same rule as [`Config::load`]. Resolves no host and reads no plugin, so that
/// commands that only read the database do not depend on them.
pub fn data_directory(flags: &Flags) -> Result<PathBuf, ConfigError> {
    Ok(Settings::load(flags)?.data.map_or(Config::default().data, |data| data.value))
}

/// Returns the path of the file that lists the plugins, by the same rule as [`Config::load`], whether or not the file exists.
pub fn plugins_file(flags: &Flags) -> Result<PathBuf, ConfigError> {
    Ok(Settings::load(flags)?.plugins.map_or(Config::default().plugins, |plugins| plugins.value))
}

/// Returns the certificate for TLS, by the same rule as [`Config::load`], without reading it.
pub fn tls(flags: &Flags) -> Result<Option<TlsConfig>, ConfigError> {
    Ok(Settings::load(flags)?.tls)
}

/// Reads the file that lists the plugins, at the start and at each reload. Returns its entries in order, checked as far as that is
/// possible without running a plugin. Without a file of the default name there are no plugins.
pub fn load_plugins(path: &Path) -> Result<Vec<PluginConfig>, ConfigError> {
    match File::read(path)? {
        Some(file) => plugins::read(&file),
        None if path.file_name() == Config::default().plugins.file_name() => Ok(Vec::new()),
        None => Err(ConfigError::Unreadable { path: path.to_owned(), source: Errno::NOENT.into() }),
    }
}

/// Checks what [`load_plugins`] would find, with an error that says where the file is named.
fn check_exists(named: &Setting<PathBuf>) -> Result<(), ConfigError> {
    let may_be_absent = named.value.file_name() == Config::default().plugins.file_name();
    let is_absent = matches!(named.value.try_exists(), Ok(false));
    if is_absent && !may_be_absent { Err(named.invalid(NO_SUCH_FILE)) } else { Ok(()) }
}

fn resolve(entries: &[Setting<String>], may_be_exposed: bool) -> Result<Vec<SocketAddr>, ConfigError> {
    let mut listen = Vec::new();
    for entry in entries {
        for address in resolve_entry(entry)? {
            if is_exposed(&address) && !may_be_exposed {
                let is_literal = entry.value == address.to_string();
                return Err(ConfigError::Exposed {
                    setting: entry.origin.clone(),
                    address: (!is_literal).then_some(address),
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
        return Err(entry.invalid(
            "is not an address; expected HOST:PORT, such as 127.0.0.1:7878, [::1]:7878 or localhost:7878, with a port up to \
             65535",
        ));
    }
    match entry.value.to_socket_addrs() {
        Ok(addresses) if addresses.len() > 0 => Ok(addresses.collect()),
        Ok(_) => Err(entry.invalid("has no address; use another host, or an IP address")),
        Err(error) => Err(entry.invalid(format!("cannot be resolved ({error}); use another host, or an IP address"))),
    }
}

fn is_exposed(address: &SocketAddr) -> bool {
    // An IPv4 loopback address may be written as IPv6.
    !address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests;
