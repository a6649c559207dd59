//! Settings of the flags and of `holdline.toml`, each with the place where it is written. Owns the keys of the file, and that flags
//! win; never a default.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::error::ConfigError;
use super::file::{File, Key};
use super::values::{AccountsConfig, Durability, Flags, Limits, Retention, TlsConfig};

/// File that is read from the current directory, unless `--config` names another.
pub(super) const CONFIG_FILE: &str = "holdline.toml";

/// Problem with a path of the user where no file is.
pub(super) const NO_SUCH_FILE: &str = "does not exist; correct the path, or leave it out for the default";

/// Settings of the flags and the file; `None` where neither has one.
#[derive(Default)]
pub(super) struct Settings {
    /// Addresses to listen on; never an empty list.
    pub(super) listen: Option<Vec<Setting<String>>>,
    /// Directory of the database, relative to the current directory.
    pub(super) data: Option<Setting<PathBuf>>,
    /// File that lists the plugins, relative to the current directory.
    pub(super) plugins: Option<Setting<PathBuf>>,
    /// Failures that an accepted message survives.
    pub(super) durability: Option<Durability>,
    /// Whether other machines may reach the server.
    pub(super) open: Option<bool>,
    /// Names that may log in, with defaults where the file has none.
    pub(super) accounts: AccountsConfig,
    /// Certificate for TLS.
    pub(super) tls: Option<TlsConfig>,
    /// Limits, with defaults where the file has none.
    pub(super) limits: Limits,
    /// Retention, with defaults where the file has none.
    pub(super) retention: Retention,
}

/// A value and the place where it is written.
pub(super) struct Setting<T> {
    /// Value as the user wrote it.
    pub(super) value: T,
    /// Place and value, as errors begin: `holdline.toml:2: data = "log"`, or `--data "log"`.
    pub(super) origin: String,
}

impl Settings {
    /// Reads the file and the flags, which win.
    pub(super) fn load(flags: &Flags) -> Result<Settings, ConfigError> {
        let mut settings = match Settings::file(flags)? {
            Some(file) => Settings::of_file(&file)?,
            None => Settings::default(),
        };
        if !flags.listen.is_empty() {
            let entry = |value: &String| Setting { value: value.clone(), origin: format!("--listen {value:?}") };
            settings.listen = Some(flags.listen.iter().map(entry).collect());
        }
        if let Some(path) = &flags.data {
            settings.data = Some(Setting::of_path_flag("--data", path)?);
        }
        if let Some(path) = &flags.plugins {
            settings.plugins = Some(Setting::of_path_flag("--plugins", path)?);
        }
        if flags.open {
            settings.open = Some(true);
        }
        Ok(settings)
    }

    fn file(flags: &Flags) -> Result<Option<File>, ConfigError> {
        let Some(path) = &flags.config else { return File::read(Path::new(CONFIG_FILE)) };
        let setting = Setting::of_path_flag("--config", path)?;
        File::read(path)?.map_or_else(|| Err(setting.invalid(NO_SUCH_FILE)), |file| Ok(Some(file)))
    }

    fn of_file(file: &File) -> Result<Settings, ConfigError> {
        let keys: ConfigKeys = file.parse(CONFIG_KEYS)?;
        Ok(Settings {
            listen: keys.listen.map(|entries| Setting::of_listen_key(file, entries)).transpose()?,
            data: keys.data.map(|path| Setting::of_path_key(file, "data", path)).transpose()?,
            plugins: keys.plugins.map(|path| Setting::of_path_key(file, "plugins", path)).transpose()?,
            durability: keys.durability,
            open: keys.open,
            accounts: keys.accounts,
            tls: keys.tls.certificate(file)?,
            limits: keys.limits,
            retention: keys.retention,
        })
    }
}

impl Setting<String> {
    fn of_listen_key(file: &File, entries: Spanned<Vec<Spanned<String>>>) -> Result<Vec<Self>, ConfigError> {
        if entries.get_ref().is_empty() {
            let setting = Setting { origin: file.origin("listen", entries.span()), value: () };
            return Err(setting.invalid("lists no address; add one, or leave it out for the default"));
        }
        let entry = |entry: Spanned<String>| Setting {
            origin: file.element_origin("listen", entry.span()),
            value: entry.into_inner(),
        };
        Ok(entries.into_inner().into_iter().map(entry).collect())
    }
}

impl Setting<PathBuf> {
    fn of_path_flag(flag: &str, path: &Path) -> Result<Self, ConfigError> {
        Setting { value: path.to_owned(), origin: format!("{flag} {path:?}") }.checked()
    }

    /// A path of a file is relative to the file, so that it means the same wherever the server is started.
    fn of_path_key(file: &File, key: &str, path: Spanned<PathBuf>) -> Result<Self, ConfigError> {
        let origin = file.origin(key, path.span());
        let Setting { value, origin } = Setting { value: path.into_inner(), origin }.checked()?;
        Ok(Setting { value: file.directory().join(value), origin })
    }

    fn checked(self) -> Result<Self, ConfigError> {
        let bytes = self.value.as_os_str().as_encoded_bytes();
        if bytes.is_empty() || bytes.contains(&0) {
            return Err(self.invalid("is not a path; write one, or leave it out for the default"));
        }
        Ok(self)
    }
}

impl<T> Setting<T> {
    /// Returns an error about the value.
    pub(super) fn invalid(&self, problem: impl Into<String>) -> ConfigError {
        ConfigError::Invalid { setting: self.origin.clone(), problem: problem.into() }
    }
}

/// Keys of `holdline.toml`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigKeys {
    listen: Option<Spanned<Vec<Spanned<String>>>>,
    data: Option<Spanned<PathBuf>>,
    plugins: Option<Spanned<PathBuf>>,
    durability: Option<Durability>,
    open: Option<bool>,
    accounts: AccountsConfig,
    tls: TlsKeys,
    limits: Limits,
    retention: Retention,
}

/// Keys of `[tls]`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TlsKeys {
    certificate: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
    self_signed: Option<Spanned<bool>>,
}

impl TlsKeys {
    /// Returns the certificate that the keys name; `None` if they name none.
    fn certificate(self, file: &File) -> Result<Option<TlsConfig>, ConfigError> {
        let TlsKeys { certificate, key, self_signed } = self;
        let self_signed = self_signed.filter(|self_signed| *self_signed.get_ref());
        match (certificate, key, self_signed) {
            (None, None, None) => Ok(None),
            (None, None, Some(_)) => Ok(Some(TlsConfig::SelfSigned)),
            (Some(certificate), Some(key), None) => Ok(Some(TlsConfig::Files {
                certificate: Setting::of_path_key(file, "tls.certificate", certificate)?.value,
                key: Setting::of_path_key(file, "tls.key", key)?.value,
            })),
            (Some(alone), None, None) => Err(file.invalid(
                "tls.certificate",
                alone.span(),
                "is there without tls.key; add the file with its private key",
            )),
            (None, Some(alone), None) => Err(file.invalid(
                "tls.key",
                alone.span(),
                "is there without tls.certificate; add the file with the certificate",
            )),
            (_, _, Some(also)) => {
                let problem = "is there beside a certificate from files; keep one of the two";
                Err(file.invalid("tls.self_signed", also.span(), problem))
            }
        }
    }
}

/// Advice about the keys of [`ConfigKeys`].
pub(super) const CONFIG_KEYS: &[Key] = &[
    Key::new("listen", r#"expected a list of HOST:PORT, such as ["127.0.0.1:7878"]"#),
    Key::new("data", r#"expected a directory, such as "holdline-data""#),
    Key::new("plugins", r#"expected a file, such as "plugins.toml""#),
    Key::new("durability", r#"use "power-loss" or "crash""#),
    Key::new("open", "use true or false"),
    Key::new("accounts", "expected a table: [accounts] on its own line, with its keys below"),
    Key::new("accounts.required", "use true or false"),
    Key::new("accounts.registration", r#"use "open" or "closed""#),
    Key::new("tls", "expected a table: [tls] on its own line, with its keys below"),
    Key::new("tls.certificate", r#"expected a file in PEM, such as "/etc/ssl/chat.crt""#),
    Key::new("tls.key", r#"expected a file in PEM, such as "/etc/ssl/private/chat.key""#),
    Key::new("tls.self_signed", "use true or false"),
    Key::new("limits", "expected a table: [limits] on its own line, with its keys below"),
    Key::new(
        "limits.connections_max",
        "expected a number of connections, such as 500, or 0 for as many as the system allows",
    ),
    Key::new("limits.connections_per_address_max", "expected a number of connections, such as 20, or 0 for no limit"),
    Key::new(
        "limits.connects_per_address_per_s",
        "expected a number of connections a second, such as 100, or 0 for no limit",
    ),
    Key::new("limits.login_timeout_s", "expected a number of seconds, such as 30, or 0 for no timeout"),
    Key::new(
        "limits.dead_after_s",
        "expected a number of seconds, such as 150, or 0 for what the system does by itself",
    ),
    Key::new("limits.messages_per_s", "expected a number of lines a second, such as 50, or 0 for no limit"),
    Key::new("limits.destinations_max", "expected a number of names, such as 256, or 0 for no limit"),
    Key::new("limits.mailbox_max", "expected a number of messages, such as 10000, or 0 for no limit"),
    Key::new("limits.room_waiting_max", "expected a number of messages, such as 10000, or 0 for no limit"),
    Key::new("limits.unknown_names_max", "expected a number of names, such as 10000, or 0 for no limit"),
    Key::new("limits.rooms_max", "expected a number of rooms, such as 10000, or 0 for no limit"),
    Key::new("retention", "expected a table: [retention] on its own line, with its keys below"),
    Key::new(
        "retention.max_age",
        r#"expected a time, such as "90 days", "12h" or "1 year"; leave it out to keep everything"#,
    ),
    Key::new("retention.max_size", r#"expected a size, such as "500 MB" or "2 GiB"; leave it out to keep everything"#),
];
